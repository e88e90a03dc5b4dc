package catalog_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
)

var itemFields = []string{"attributes", "can_be_bought", "custom_attributes", "description", "groups", "image_url", "inventory_options", "is_free",
	"item_id", "limits", "name", "order", "periods", "price", "promotions", "sku", "type", "virtual_item_type", "virtual_prices", "vp_rewards"}

// Each shape has exactly the fields that clients know.
func TestShapes(t *testing.T) {
	t.Parallel()
	c := shop()
	plain := func(more ...string) []string { // what is no virtual good has no virtual_item_type
		fields := more
		for _, field := range itemFields {
			if field != "virtual_item_type" {
				fields = append(fields, field)
			}
		}
		return fields
	}
	all := view
	all.MediaList, all.LongDescription = true, true
	require.ElementsMatch(t, itemFields, keysOf(t, c.ShowItem(pass(), view)))
	require.ElementsMatch(t, append([]string{"media_list", "long_description"}, itemFields...), keysOf(t, c.ShowItem(pass(), all)))
	require.ElementsMatch(t, plain(), keysOf(t, c.ShowItem(gold(), view)))
	require.ElementsMatch(t, plain("bundle_type", "content"), keysOf(t, c.ShowPackage(goldPack(), view)))
	require.ElementsMatch(t, plain("bundle_type", "content", "total_content_price"), keysOf(t, c.ShowBundle(chest(), view)))
	require.ElementsMatch(t, []string{"item_id", "sku", "name", "type", "description", "image_url", "quantity", "inventory_options", "limits"},
		keysOf(t, c.ShowPackage(goldPack(), view).Content[0]))
	require.ElementsMatch(t, []string{"sku", "name", "type", "description", "image_url", "quantity", "virtual_item_type", "attributes", "price", "virtual_prices",
		"limits", "is_free", "groups"}, keysOf(t, c.ShowBundle(chest(), view).Content[0]))
	require.ElementsMatch(t, []string{"item_id", "order", "sku", "name", "groups", "attributes", "type", "unit_type", "description", "image_url", "promotions", "unit_items"},
		keysOf(t, c.ShowUnit(game(), view)))
	unitItem := []string{"item_id", "sku", "type", "is_free", "price", "virtual_prices", "can_be_bought", "drm_name", "drm_sku", "has_keys", "is_pre_order",
		"release_date", "promotions", "periods", "vp_rewards"}
	require.ElementsMatch(t, unitItem, keysOf(t, c.ShowUnit(game(), view).UnitItems[0]))
	require.ElementsMatch(t, append([]string{"name", "description", "image_url", "groups", "attributes", "limits"}, unitItem...), keysOf(t, c.ShowKey(key(), view)))
	require.ElementsMatch(t, []string{"sku", "name", "groups", "description"}, keysOf(t, c.ShowShort(gun(), view)))
	virtual := []string{"sku", "name", "type", "description", "image_url", "amount", "amount_without_discount", "is_default"}
	require.ElementsMatch(t, virtual, keysOf(t, c.ShowItem(pass(), view).VirtualPrices[0]))
	all.Sellable = true
	require.ElementsMatch(t, append([]string{"item_id", "calculated_price"}, virtual...), keysOf(t, c.ShowItem(pass(), all).VirtualPrices[0]))
	require.ElementsMatch(t, []string{"sku", "name", "image", "link", "redeem_instruction_link", "drm_id"}, keysOf(t, catalog.DRMs()[0]))
}

func TestShownItemToTheLetter(t *testing.T) {
	t.Parallel()
	item := changed(pass(), func(i *catalog.Item) {
		i.Groups, i.ImageURL = []string{"weapons", "off", "gone"}, "https://example.com/pass.png"
		i.Attributes = []catalog.Attribute{{ExternalID: "rarity", Name: text("Rarity"), Values: []catalog.AttributeValue{{ExternalID: "r1", Value: text("rare")}}}}
		i.Limits = catalog.Limits{PerUser: 3, PerItem: 10}
		i.Promotions = []catalog.Promotion{
			{ID: "half", Name: text("half price"), From: &before, Discount: percent("50"), Limits: catalog.PromotionLimits{PerUser: 2},
				Bonus: []catalog.Content{{SKU: "chest", Quantity: 1}, {SKU: "gone", Quantity: 1}}},
			{ID: "over", Name: text("over"), Until: &before, Discount: percent("60")},
			{ID: "off", Name: text("off"), Discount: &catalog.Discount{Value: new(dec("1.5")), Currency: "EUR"}},
		}
		i.Periods = []catalog.SalePeriod{{From: before}}
		i.CustomAttributes = json.RawMessage(`{"tier":1}`)
		i.Order = 4
	})
	looking := view
	looking.Usages = map[string]catalog.Usage{"pass_s3": {ByUser: 1, Reserved: 2, Sold: 3, Promotions: map[string]int64{"half": 1}}}
	shown, err := json.Marshal(shop().ShowItem(item, looking))
	require.NoError(t, err)
	require.JSONEq(t, `{"item_id":2,"sku":"pass_s3","name":"Season 3 pass","description":"","type":"virtual_good","virtual_item_type":"non_renewing_subscription",
		"groups":[{"external_id":"weapons","name":"Weapons"}],"attributes":[{"external_id":"rarity","name":"Rarity","values":[{"external_id":"r1","value":"rare"}]}],
		"image_url":"https://example.com/pass.png","is_free":false,"price":{"amount":"4.50","amount_without_discount":"9.00","currency":"EUR"},
		"virtual_prices":[{"sku":"gold","name":"Gold","type":"virtual_currency","description":"","image_url":null,"amount":450,"amount_without_discount":900,"is_default":true},
			{"sku":"coins","name":"Coins","type":"virtual_currency","description":"","image_url":null,"amount":5,"amount_without_discount":9,"is_default":false}],
		"can_be_bought":true,"inventory_options":{"consumable":null,"expiration_period":{"type":"day","value":30}},
		"promotions":[{"name":"half price","date_start":"2026-11-22T11:00:00Z","date_end":null,"discount":{"percent":"50.00","value":null},
			"bonus":[{"sku":"chest","quantity":1,"type":"bundle","name":"Chest","image_url":null,"bundle_type":"standard"}],"limits":{"per_user":{"available":1,"total":2}}},
			{"name":"off","date_start":null,"date_end":null,"discount":{"percent":null,"value":"1.50"},"bonus":[],"limits":null}],
		"limits":{"per_user":{"available":2,"total":3,"recurrent_schedule":null},"per_item":{"available":5,"total":10,"reserved":2,"sold":3}},
		"periods":[{"date_from":"2026-11-22T11:00:00Z","date_until":null}],"custom_attributes":{"tier":1},"vp_rewards":[],"order":4}`, string(shown))
}

// What there is none of is an empty list or null, so that a client can go through it.
func TestBareItemToTheLetter(t *testing.T) {
	t.Parallel()
	asked := view
	asked.MediaList, asked.LongDescription = true, true
	shown, err := json.Marshal(shop().ShowItem(skin(), asked))
	require.NoError(t, err)
	require.JSONEq(t, `{"item_id":8,"sku":"skin","name":"Skin","description":"","type":"virtual_good","virtual_item_type":"non_consumable","groups":[],"attributes":[],
		"image_url":null,"is_free":true,"price":null,"virtual_prices":[],"can_be_bought":true,"inventory_options":{"consumable":null,"expiration_period":null},
		"promotions":[],"limits":null,"periods":[],"custom_attributes":{},"vp_rewards":[],"order":0,"media_list":[],"long_description":""}`, string(shown))
}

func TestCanBeBought(t *testing.T) {
	t.Parallel()
	c := shop()
	require.True(t, c.ShowItem(gun(), view).CanBeBought)
	require.True(t, c.ShowItem(skin(), view).CanBeBought, "free")
	require.False(t, c.ShowItem(gold(), view).CanBeBought, "a draft")
	inPounds := view
	inPounds.Currency = "GBP"
	shown := c.ShowItem(gun(), inPounds)
	require.Nil(t, shown.Price)
	require.False(t, shown.CanBeBought, "no price")
	require.True(t, c.ShowItem(pass(), inPounds).CanBeBought, "for gold")
}

func TestTotalContentPrice(t *testing.T) {
	t.Parallel()
	total := func(content ...catalog.Content) *catalog.Quote {
		return shop().ShowBundle(changed(chest(), func(i *catalog.Item) { i.Content = content }), view).TotalContentPrice
	}
	gun2, pack3, free, none := catalog.Content{
		SKU:      "gun_1",
		Quantity: 2,
	}, catalog.Content{SKU: "gold_100", Quantity: 3}, catalog.Content{SKU: "skin", Quantity: 1}, catalog.Content{SKU: "gold", Quantity: 1}
	require.JSONEq(t, `{"amount":"4.99","amount_without_discount":"6.98","currency":"USD"}`, quoteText(t, *total(gun2, pack3, free)))
	require.Nil(t, total(free))
	require.Nil(t, total(gun2, none), "a part without a price")
	require.Nil(t, total(gun2, catalog.Content{SKU: "pass_s3", Quantity: 1}), "parts in two currencies")
}

func TestUnitShowsItsPublishedKeys(t *testing.T) {
	t.Parallel()
	c := shop(changed(key(), func(i *catalog.Item) { i.SKU, i.DRM, i.Order = "game_gog", "gog", -1 }),
		changed(key(), func(i *catalog.Item) { i.SKU, i.DRM, i.Status = "game_xbox", "xbox", catalog.Draft }))
	looking := view
	looking.Usages = map[string]catalog.Usage{"game_gog": {Keys: 1}}
	keys := c.ShowUnit(game(), looking).UnitItems
	require.Len(t, keys, 2)
	require.Equal(t, []any{"game_gog", "GOG", true, true}, []any{keys[0].SKU, keys[0].DRMName, keys[0].HasKeys, keys[0].CanBeBought})
	require.Equal(t, []any{"game_steam", "Steam", false, false}, []any{keys[1].SKU, keys[1].DRMName, keys[1].HasKeys, keys[1].CanBeBought})
}

func TestGroups(t *testing.T) {
	t.Parallel()
	shown, err := json.Marshal(shop().ShowGroups(view))
	require.NoError(t, err)
	require.JSONEq(t, `[{"external_id":"weapons","name":"Weapons","description":"","image_url":null,"order":0,"level":0,"parent_external_id":null,"children":[
		{"external_id":"bows","name":"Bows","description":"","image_url":null,"order":1,"level":1,"parent_external_id":"weapons","children":[]},
		{"external_id":"guns","name":"Guns","description":"","image_url":null,"order":2,"level":1,"parent_external_id":"weapons","children":[]}]}]`, string(shown))
	for id, on := range map[string]bool{"weapons": true, "guns": true, "off": false, "below_off": false, "gone": false, "": false} {
		require.Equal(t, on, shop().GroupIsOn(id), id)
	}
}

func TestGroupsAreValidated(t *testing.T) {
	t.Parallel()
	group := func(id, parent string) catalog.Group {
		return catalog.Group{ExternalID: id, ParentExternalID: parent, Name: text(id), IsEnabled: true}
	}
	require.Empty(t, catalog.ValidateGroups([]catalog.Group{group("a", ""), group("b", "a"), group("c", "b"), group("d", "c"), group("e", "d")}))
	for name, test := range map[string]struct {
		groups []catalog.Group
		want   []string
	}{
		"six levels":      {[]catalog.Group{group("a", ""), group("b", "a"), group("c", "b"), group("d", "c"), group("e", "d"), group("f", "e")}, []string{"groups[5].parent_external_id"}},
		"itself":          {[]catalog.Group{group("a", "a")}, []string{"groups[0].parent_external_id"}},
		"a circle":        {[]catalog.Group{group("a", "b"), group("b", "a")}, []string{"groups[0].parent_external_id", "groups[1].parent_external_id"}},
		"no parent":       {[]catalog.Group{group("a", "gone")}, []string{"groups[0].parent_external_id"}},
		"twice":           {[]catalog.Group{group("a", ""), group("a", "")}, []string{"groups[1].external_id"}},
		"the word all":    {[]catalog.Group{group("all", "")}, []string{"groups[0].external_id"}},
		"several at once": {[]catalog.Group{{ExternalID: "a b", Order: -1, ImageURL: "x"}}, []string{"groups[0].external_id", "groups[0].name", "groups[0].image_url", "groups[0].order"}},
	} {
		require.Equal(t, test.want, fieldsOf(catalog.ValidateGroups(test.groups)), name)
	}
}

func TestWhatTheShopShows(t *testing.T) {
	t.Parallel()
	summer := changed(skin(), func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: before, Until: &now}} })
	local := changed(skin(), func(i *catalog.Item) { i.Countries = []string{"DE"} })
	there := view
	there.Country = "DE"
	require.True(t, skin().IsShown(view, false))
	require.False(t, gold().IsShown(view, true), "a draft")
	require.False(t, summer.IsShown(view, false), "its last instant has passed")
	require.True(t, summer.IsShown(view, true))
	require.False(t, local.IsShown(view, true), "the country is not known")
	require.True(t, local.IsShown(there, false))
}
