package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

func fieldsOf(mistakes []catalog.FieldError) []string {
	var fields []string
	for _, mistake := range mistakes {
		fields = append(fields, mistake.Field)
	}
	return fields
}

func TestItemsOfEveryKindAreValid(t *testing.T) {
	t.Parallel()
	for _, item := range everything() {
		require.Empty(t, item.Validate(shop().Item), item.SKU)
	}
}

// Each change makes exactly the mistakes that are named, in order; none: it is allowed.
func TestValidation(t *testing.T) {
	t.Parallel()
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, test := range []struct {
		of     catalog.Item
		change func(*catalog.Item)
		want   []string
	}{
		{gun(), func(i *catalog.Item) { i.SKU = strings.Repeat("a", 255) }, nil},
		{gun(), func(i *catalog.Item) { i.SKU = strings.Repeat("a", 256) }, []string{"sku"}},
		{gun(), func(i *catalog.Item) { i.SKU = "" }, []string{"sku"}},
		{gun(), func(i *catalog.Item) { i.SKU = ".." }, []string{"sku"}},
		{gun(), func(i *catalog.Item) { i.SKU = "a/b" }, []string{"sku"}},
		{gun(), func(i *catalog.Item) { i.SKU = "coins" }, []string{"sku"}},
		{gun(), func(i *catalog.Item) { i.Type = "nft" }, []string{"type", "virtual_item_type"}},
		{gun(), func(i *catalog.Item) { i.VirtualItemType = "" }, []string{"virtual_item_type"}},
		{gun(), func(i *catalog.Item) { i.VirtualItemType = "x" }, []string{"virtual_item_type"}},
		{gold(), func(i *catalog.Item) { i.VirtualItemType = "x" }, []string{"virtual_item_type"}},
		{gun(), func(i *catalog.Item) { i.BundleType = catalog.StandardBundle }, []string{"bundle_type"}},
		{chest(), func(i *catalog.Item) { i.BundleType = "" }, []string{"bundle_type"}},
		{gun(), func(i *catalog.Item) { i.Status = "" }, []string{"status"}},
		{gun(), func(i *catalog.Item) { i.Name = nil }, []string{"name"}},
		{gun(), func(i *catalog.Item) { i.Name = catalog.Text{"en": ""} }, []string{"name.en"}},
		{gun(), func(i *catalog.Item) { i.Name = catalog.Text{"pt-BR": strings.Repeat("я", 200)} }, nil},
		{gun(), func(i *catalog.Item) { i.Name = catalog.Text{"pt-BR": strings.Repeat("я", 201)} }, []string{"name.pt-BR"}},
		{gun(), func(i *catalog.Item) { i.Name = catalog.Text{"english": "x"} }, []string{"name"}},
		{gun(), func(i *catalog.Item) { i.Name = catalog.Text{"EN": "x"} }, []string{"name"}},
		{gun(), func(i *catalog.Item) { i.Name = text("x\x00") }, []string{"name.en"}},
		{gun(), func(i *catalog.Item) { i.Description = text("two\nlines") }, nil},
		{gun(), func(i *catalog.Item) { i.Description = text("x\x00y") }, []string{"description.en"}},
		{gun(), func(i *catalog.Item) { i.LongDescription = text("x\xff") }, []string{"long_description.en"}},
		{gun(), func(i *catalog.Item) { i.ImageURL = "javascript:alert(1)" }, []string{"image_url"}},
		{gun(), func(i *catalog.Item) { i.ImageURL = "https://example.com/a.png" }, nil},
		{gun(), func(i *catalog.Item) { i.Order = -1 }, []string{"order"}},
		{gun(), func(i *catalog.Item) { i.CustomAttributes = json.RawMessage(`[]`) }, []string{"custom_attributes"}},
		{gun(), func(i *catalog.Item) {
			i.CustomAttributes = json.RawMessage(`{"a":"` + strings.Repeat("я", 492) + `"}`)
		}, nil},
		{gun(), func(i *catalog.Item) {
			i.CustomAttributes = json.RawMessage(`{"a":"` + strings.Repeat("я", 493) + `"}`)
		}, []string{"custom_attributes"}},
		{gun(), func(i *catalog.Item) { i.CustomAttributes = json.RawMessage(`{"a":"\u0000"}`) }, []string{"custom_attributes"}},
		{gun(), func(i *catalog.Item) { i.MediaList = []catalog.Media{{Type: "sound", URL: "https://example.com"}} }, []string{"media_list[0]"}},
		{gun(), func(i *catalog.Item) { i.MediaList = []catalog.Media{{Type: "video"}} }, []string{"media_list[0]"}},
		{gun(), func(i *catalog.Item) { i.Groups = []string{"a", "all", "a"} }, []string{"groups[1]", "groups[2]"}},
		{gun(), func(i *catalog.Item) { i.Countries = []string{"DE", "de", "UK", "EU", "DE"} }, []string{"countries[1]", "countries[2]", "countries[3]", "countries[4]"}},
		{gun(), func(i *catalog.Item) { i.Attributes = attributes(20, 6) }, nil},
		{gun(), func(i *catalog.Item) { i.Attributes = attributes(21, 1) }, []string{"attributes"}},
		{gun(), func(i *catalog.Item) { i.Attributes = attributes(1, 7) }, []string{"attributes[0].values"}},
		{gun(), func(i *catalog.Item) { i.Attributes = attributes(1, 0) }, []string{"attributes[0].values"}},
		{gun(), func(i *catalog.Item) { i.Attributes = append(attributes(1, 1), attributes(1, 1)...) }, []string{"attributes[1].external_id"}},
		{gun(), func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: now, Until: &now}} }, []string{"periods[0]"}},
		{gun(), func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{}} }, []string{"periods[0]"}},
		{gun(), func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: year(10_000)}} }, []string{"periods[0]"}},
		{gun(), func(i *catalog.Item) { i.IsFree = true }, []string{"is_free"}},
		{game(), func(i *catalog.Item) { i.Prices = usd("1") }, []string{"prices"}},
		{game(), func(i *catalog.Item) { i.IsFree = true }, []string{"prices"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("0.0001") }, nil},
		{gun(), func(i *catalog.Item) { i.Prices = usd("0.00001") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("1.000000000") }, nil},
		{gun(), func(i *catalog.Item) { i.Prices = usd("0") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("-1") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("1000000000000") }, nil},
		{gun(), func(i *catalog.Item) { i.Prices = usd("1000000000000.01") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("1e10000") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices = usd("1e-10000") }, []string{"prices[0].amount"}},
		{gun(), func(i *catalog.Item) { i.Prices[0].Currency = "usd" }, []string{"prices[0].currency"}},
		{gun(), func(i *catalog.Item) { i.Prices = append(i.Prices, i.Prices[0]) }, []string{"prices[1]", "prices"}},
		{gun(), func(i *catalog.Item) { i.Prices[0].IsDefault = false }, []string{"prices"}},
		{gun(), func(i *catalog.Item) { i.Prices[0].Country = "DE" }, []string{"prices[0].is_default"}},
		{pass(), func(i *catalog.Item) { i.Prices[1].Country = "XX" }, []string{"prices[1].country_iso"}},
		{gun(), func(i *catalog.Item) { i.Prices = nil }, nil},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].SKU = "gone" }, []string{"vc_prices[0].sku"}},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].SKU = "gun_1" }, []string{"vc_prices[0].sku"}},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].SKU = "coins" }, []string{"vc_prices[1].sku"}},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].Amount = 0 }, []string{"vc_prices[0].amount"}},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].Amount = 1_000_000_000_001 }, []string{"vc_prices[0].amount"}},
		{pass(), func(i *catalog.Item) { i.VirtualPrices[0].IsDefault = false }, []string{"vc_prices"}},
		{gold(), func(i *catalog.Item) {
			i.VirtualPrices = []catalog.VirtualPrice{{SKU: "gold", Amount: 1, IsDefault: true}}
		}, []string{"vc_prices[0].sku"}},
		{gun(), func(i *catalog.Item) { i.InventoryOptions.Consumable = &catalog.ConsumableOptions{} }, []string{"inventory_options.consumable.usages_count"}},
		{skin(), func(i *catalog.Item) { i.InventoryOptions.Consumable = &catalog.ConsumableOptions{UsagesCount: 1} }, []string{"inventory_options.consumable"}},
		{pass(), func(i *catalog.Item) { i.InventoryOptions.ExpirationPeriod = nil }, []string{"inventory_options.expiration_period"}},
		{gun(), func(i *catalog.Item) {
			i.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: subscriptions.Day, Value: 1}
		}, []string{"inventory_options.expiration_period"}},
		{pass(), func(i *catalog.Item) {
			i.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: "decade", Value: 1}
		}, []string{"inventory_options.expiration_period"}},
		{pass(), func(i *catalog.Item) {
			i.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: subscriptions.Year, Value: 101}
		}, []string{"inventory_options.expiration_period"}},
		{gun(), func(i *catalog.Item) { i.Limits = catalog.Limits{PerUser: -1, PerItem: 1_000_000_001} }, []string{"limits.per_user", "limits.per_item"}},
		{gun(), func(i *catalog.Item) { i.Limits.Recurrent.PerUser = &catalog.Recurrence{Interval: catalog.Daily} }, []string{"limits.recurrent_schedule.per_user"}},
		{gun(), func(i *catalog.Item) {
			i.Limits = catalog.Limits{
				PerUser:   1,
				Recurrent: catalog.RecurrentSchedule{PerUser: &catalog.Recurrence{Interval: "hourly", TimeZone: "Local"}},
			}
		}, []string{"limits.recurrent_schedule.per_user.interval_type", "limits.recurrent_schedule.per_user.time_zone"}},
		{gun(), func(i *catalog.Item) { i.Promotions = append(i.Promotions, i.Promotions[0]) }, []string{"promotions[1].id"}},
		{gun(), func(i *catalog.Item) { i.Promotions = []catalog.Promotion{{ID: "x y"}} }, []string{"promotions[0].id", "promotions[0].name", "promotions[0]"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.From, p.Until = &now, &now }), []string{"promotions[0].date_end"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Limits.PerUser = -1 }), []string{"promotions[0].limits.per_user"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = percent("100") }), nil},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = percent("100.01") }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = percent("0") }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = percent("0.001") }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = percent("1e10000") }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount.Value, p.Discount.Currency = new(dec("1")), "USD" }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = &catalog.Discount{} }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) { p.Discount = &catalog.Discount{Value: new(dec("1"))} }), []string{"promotions[0].discount"}},
		{gun(), promotion(func(p *catalog.Promotion) {
			p.Bonus = []catalog.Content{{SKU: "gone", Quantity: 1}, {SKU: "game", Quantity: 0}}
		}),
			[]string{"promotions[0].bonus[0].sku", "promotions[0].bonus[1].sku", "promotions[0].bonus[1].quantity"}},
		{gun(), func(i *catalog.Item) { i.Content = []catalog.Content{{SKU: "gold", Quantity: 1}} }, []string{"content"}},
		{chest(), func(i *catalog.Item) { i.Content = nil }, []string{"content"}},
		{chest(), func(i *catalog.Item) { i.Content = append(i.Content, i.Content[0]) }, []string{"content[2].sku"}},
		{chest(), func(i *catalog.Item) { i.Content[0].Quantity = 0 }, []string{"content[0].quantity"}},
		{chest(), func(i *catalog.Item) { i.Content[0].SKU = "gone" }, []string{"content[0].sku"}},
		{chest(), func(i *catalog.Item) { i.Content[0].SKU = "game" }, []string{"content[0].sku"}},
		{chest(), func(i *catalog.Item) { i.Content[0].SKU = "chest" }, []string{"content"}},
		{goldPack(), func(i *catalog.Item) { i.Content = append(i.Content, catalog.Content{SKU: "gun_1", Quantity: 1}) }, []string{"content[1].sku", "content"}},
		{goldPack(), func(i *catalog.Item) { i.Content[0].Quantity = 1_000_001 }, []string{"content[0].quantity"}},
		{key(), func(i *catalog.Item) { i.UnitSKU = "gun_1" }, []string{"unit_sku"}},
		{key(), func(i *catalog.Item) { i.DRM = "floppy" }, []string{"drm_sku"}},
		{gun(), func(i *catalog.Item) { i.UnitSKU, i.DRM, i.IsPreOrder = "game", "steam", true }, []string{"unit_sku", "drm_sku", "is_pre_order"}},
		{key(), func(i *catalog.Item) { i.ReleaseDate = new(year(1999)) }, []string{"release_date"}},
		{gun(), func(i *catalog.Item) { i.SKU, i.Status, i.Order = "", "x", -1 }, []string{"sku", "status", "order"}},
	} {
		item := changed(test.of, test.change)
		require.Equal(t, test.want, fieldsOf(item.Validate(shop().Item)), "%+v", item)
	}
}

func attributes(n, values int) []catalog.Attribute {
	var list []catalog.Attribute
	for i := range n {
		one := catalog.Attribute{ExternalID: fmt.Sprint("a", i), Name: text("x")}
		for k := range values {
			one.Values = append(one.Values, catalog.AttributeValue{ExternalID: fmt.Sprint("v", k), Value: text("x")})
		}
		list = append(list, one)
	}
	return list
}

func promotion(change func(*catalog.Promotion)) func(*catalog.Item) {
	return func(i *catalog.Item) { change(&i.Promotions[0]) }
}

// A bundle that is put into one of its own contents contains itself through that.
func TestBundleThatContainsItselfThroughOthers(t *testing.T) {
	t.Parallel()
	bundle := func(sku, content string) catalog.Item {
		return changed(chest(), func(i *catalog.Item) { i.SKU, i.Content = sku, []catalog.Content{{SKU: content, Quantity: 1}} })
	}
	c := shop(bundle("outer", "middle"), bundle("middle", "inner"), bundle("inner", "gun_1"))
	require.Empty(t, bundle("inner", "gold_100").Validate(c.Item))
	for _, content := range []string{"outer", "middle", "inner"} {
		require.Equal(t, []string{"content"}, fieldsOf(bundle("inner", content).Validate(c.Item)), content)
	}
	deep := []catalog.Item{bundle("b0", "gun_1")}
	for n := range 8 {
		deep = append(deep, bundle(fmt.Sprint("b", n+1), fmt.Sprint("b", n)))
	}
	c = shop(deep...)
	require.Empty(t, deep[7].Validate(c.Item))
	require.Equal(t, []string{"content"}, fieldsOf(deep[8].Validate(c.Item)))
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, item := range everything() {
		stripped := item
		stripped.VirtualItemType = ""
		if item.SKU == "gun_1" {
			stripped.InventoryOptions.Consumable = &catalog.ConsumableOptions{UsagesCount: 1}
		}
		require.Equal(t, item.VirtualItemType, stripped.WithDefaults().VirtualItemType, item.SKU)
	}
	require.Equal(t, catalog.Draft, catalog.Item{}.WithDefaults().Status)
	require.Equal(t, catalog.StandardBundle, catalog.Item{Type: catalog.Bundle}.WithDefaults().BundleType)
}

func TestStatusOfTheTwoSwitches(t *testing.T) {
	t.Parallel()
	require.Equal(t, catalog.Published, catalog.StatusOf(true, true))
	for _, switches := range [][2]bool{{false, true}, {true, false}, {false, false}} {
		require.Equal(t, catalog.Draft, catalog.StatusOf(switches[0], switches[1]))
	}
}

func TestCurrencies(t *testing.T) {
	t.Parallel()
	for currency, want := range map[string]int32{"USD": 2, "EUR": 2, "RUB": 2, "JPY": 0, "KRW": 0, "KWD": 3, "CLF": 4} {
		decimals, ok := catalog.Decimals(currency)
		require.True(t, ok, currency)
		require.Equal(t, want, decimals, currency)
	}
	for _, none := range []string{"", "usd", "XXX", "BTC", "coins"} {
		_, ok := catalog.Decimals(none)
		require.False(t, ok, none)
	}
}
