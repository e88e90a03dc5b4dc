package catalog_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
)

func encoded(t *testing.T, item catalog.Item) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(item)
	require.NoError(t, err)
	return raw
}

func TestItemsSurviveJSON(t *testing.T) {
	t.Parallel()
	for _, item := range everything() {
		back, mistakes := catalog.DecodeItem(encoded(t, item))
		require.Empty(t, mistakes)
		require.True(t, item.Same(back), "%s", encoded(t, back))
		require.Empty(t, back.Validate(shop().Item))
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	item, mistakes := catalog.DecodeItem(json.RawMessage(`{"sku":"x","type":"virtual_good","name":{"en":"X"},"is_enabled":true,"is_show_in_store":true,
		"prices":[{"amount":4.50,"currency":"EUR","is_default":true}],"inventory_options":{"expiration_period":{"type":"month","value":1}},
		"periods":[{"date_from":"2026-11-22T15:00:00+03:00"}],"custom_attributes":{"b":1, "a":2.0}}`))
	require.Empty(t, mistakes)
	require.Empty(t, item.Validate(shop().Item))
	require.Equal(t, catalog.Published, item.Status)
	require.Equal(t, catalog.NonRenewingSubscription, item.VirtualItemType)
	require.Equal(t, now, item.Periods[0].From)
	require.Equal(t, `{"a":2,"b":1}`, string(item.CustomAttributes))
	for raw, want := range map[string]string{
		`{"sku":1}`:                      "sku",
		`{"limits":{"per_user":"3"}}`:    "limits.per_user",
		`{"prices":[{"amount":"x"}]}`:    "",
		`{"colour":"red"}`:               "colour",
		`{"prices":[{"amont":"1"}]}`:     "amont",
		`{"vc_prices":[{"amount":1.5}]}`: "vc_prices.amount",
		`{"release_date":"tomorrow"}`:    "",
		`{`:                              "", ``: "", `[]`: "", `{} {}`: "", `7`: "",
	} {
		_, mistakes := catalog.DecodeItem(json.RawMessage(raw))
		require.Len(t, mistakes, 1, raw)
		require.Equal(t, want, mistakes[0].Field, raw)
		require.NotContains(t, mistakes[0].Message, "Go ", raw)
		require.NotContains(t, mistakes[0].Message, "json:", raw)
	}
	for raw, want := range map[string]catalog.Status{`{}`: catalog.Draft, `{"status":"published"}`: catalog.Published, `{"is_enabled":true}`: catalog.Published,
		`{"is_enabled":false}`: catalog.Draft, `{"status":"published","is_show_in_store":false}`: catalog.Draft} {
		item, mistakes := catalog.DecodeItem(json.RawMessage(raw))
		require.Empty(t, mistakes)
		require.Equal(t, want, item.Status, raw)
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	item := changed(gun(), func(i *catalog.Item) {
		i.Version, i.UpdatedAt = 3, now
		i.Limits, i.Name = catalog.Limits{PerUser: 3, PerItem: 9}, catalog.Text{"en": "Gun", "de": "Gewehr"}
	})
	for patch, change := range map[string]func(*catalog.Item){
		`{}`:                                     func(*catalog.Item) {},
		`{"order":7}`:                            func(i *catalog.Item) { i.Order = 7 },
		`{"limits":{"per_user":null}}`:           func(i *catalog.Item) { i.Limits.PerUser = 0 },
		`{"limits":null}`:                        func(i *catalog.Item) { i.Limits = catalog.Limits{} },
		`{"name":{"de":null,"fr":"Fusil"}}`:      func(i *catalog.Item) { i.Name = catalog.Text{"en": "Gun", "fr": "Fusil"} },
		`{"promotions":[]}`:                      func(i *catalog.Item) { i.Promotions = nil },
		`{"groups":["a"]}`:                       func(i *catalog.Item) { i.Groups = []string{"a"} },
		`{"is_enabled":false}`:                   func(i *catalog.Item) { i.Status = catalog.Draft },
		`{"custom_attributes":{"a":{"b":null}}}`: func(i *catalog.Item) { i.CustomAttributes = json.RawMessage(`{"a":{}}`) },
		`{"prices":[{"amount":"12345678901.2345","currency":"USD","is_default":true}]}`: func(i *catalog.Item) { i.Prices = usd("12345678901.2345") },
	} {
		after, mistakes := catalog.Patch(item, json.RawMessage(patch))
		require.Empty(t, mistakes, patch)
		require.Equal(t, string(encoded(t, changed(item, change))), string(encoded(t, after)), patch)
		require.Equal(t, item.ItemID, after.ItemID)
		require.Equal(t, item.Version, after.Version)
		require.Empty(t, after.Validate(shop().Item), patch)
	}
	for patch, want := range map[string]string{
		`[]`: "", `null`: "", `7`: "", `{`: "", `{} {}`: "", `{"colour":1}`: "colour", `{"sku":"other"}`: "sku", `{"type":"unit"}`: "type", `{"order":"x"}`: "order",
	} {
		_, mistakes := catalog.Patch(item, json.RawMessage(patch))
		require.Len(t, mistakes, 1, patch)
		require.Equal(t, want, mistakes[0].Field, patch)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	bundle := func(sku, content string) catalog.Item {
		return changed(chest(), func(i *catalog.Item) { i.SKU, i.Content = sku, []catalog.Content{{SKU: content, Quantity: 1}} })
	}
	edited := changed(pass(), func(i *catalog.Item) { i.Order = 5 })
	steps, mistakes := catalog.PlanImport([]json.RawMessage{encoded(t, bundle("early", "late")), encoded(t, gun()), encoded(t, edited), encoded(t, bundle("late", "gun_1"))}, shop().Item)
	require.Empty(t, mistakes)
	var actions []catalog.ImportAction
	for _, step := range steps {
		actions = append(actions, step.Action)
	}
	require.Equal(t, []catalog.ImportAction{catalog.ImportCreate, catalog.ImportUnchanged, catalog.ImportReplace, catalog.ImportCreate}, actions)
	require.Equal(t, pass().ItemID, steps[2].Item.ItemID)

	_, mistakes = catalog.PlanImport([]json.RawMessage{
		encoded(t, changed(gun(), func(i *catalog.Item) { i.Order, i.Status = -1, "x" })),
		encoded(t, gun()),
		json.RawMessage(`{"sku":"x","colour":1}`),
		encoded(t, changed(skin(), func(i *catalog.Item) { i.VirtualItemType = catalog.Consumable })),
		encoded(t, bundle("a", "b")), encoded(t, bundle("b", "a")),
		json.RawMessage(`{"sku":"pass_s3","type":"virtual_good","virtual_item_type":"consumable","name":{"en":"x"},"prices":[{"amount":1e10000,"currency":"USD","is_default":true}]}`),
	}, shop().Item)
	var found []catalog.RowError
	for _, mistake := range mistakes {
		found = append(found, catalog.RowError{Row: mistake.Row, FieldError: catalog.FieldError{Field: mistake.Field}})
	}
	at := func(row int, field string) catalog.RowError {
		return catalog.RowError{Row: row, FieldError: catalog.FieldError{Field: field}}
	}
	require.Equal(t, []catalog.RowError{at(1, "order"), at(1, "status"), at(2, "sku"), at(3, "colour"), at(4, "virtual_item_type"), at(5, "content"), at(6, "content"),
		at(7, "prices[0].amount"), at(7, "virtual_item_type")}, found)
}
