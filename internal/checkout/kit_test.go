package checkout_test

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

var (
	now  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	dec  = decimal.RequireFromString
	view = catalog.View{Locale: "en", DefaultLocale: "en", Now: now}
)

func usd(amount string) []catalog.Price {
	return []catalog.Price{{Amount: dec(amount), Currency: "USD", IsDefault: true}}
}

func good(sku string, kind catalog.VirtualItemType, prices []catalog.Price) catalog.Item {
	return catalog.Item{
		SKU:             sku,
		Type:            catalog.VirtualGood,
		VirtualItemType: kind,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": sku, "de": sku + "-de"},
		Prices:          prices,
		IsFree:          prices == nil,
	}
}

func percentOff(percent string) []catalog.Promotion {
	return []catalog.Promotion{{ID: "off", Discount: &catalog.Discount{Percent: new(dec(percent))}}}
}

func with(item catalog.Item, change func(*catalog.Item)) catalog.Item {
	change(&item)
	return item
}

// shop sells what the tests need, gun_1 of seeds 002 and 004 among it.
func shop(more ...catalog.Item) *catalog.Catalog {
	month := &subscriptions.Period{Unit: subscriptions.Month, Value: 1}
	return catalog.New(append([]catalog.Item{
		with(good("gun_1", catalog.Consumable, usd("1.99")), func(i *catalog.Item) { i.Promotions = percentOff("50") }),
		with(good("pass", catalog.NonRenewingSubscription, usd("9")), func(i *catalog.Item) {
			i.InventoryOptions.ExpirationPeriod = month
			i.VirtualPrices = []catalog.VirtualPrice{{SKU: "coins", Amount: 900, IsDefault: true}}
		}),
		good("euro", catalog.Consumable, []catalog.Price{{Amount: dec("3"), Currency: "EUR", IsDefault: true}}),
		good("free", catalog.Consumable, nil),
		good("skin", catalog.NonConsumable, usd("5")),
		with(good("draft", catalog.Consumable, usd("1")), func(i *catalog.Item) { i.Status = catalog.Draft }),
		with(good("over", catalog.Consumable, usd("1")), func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: now.Add(-time.Hour), Until: &now}} }),
		with(good("three", catalog.Consumable, usd("1")), func(i *catalog.Item) { i.Limits.PerUser = 3 }),
		with(good("daily", catalog.Consumable, usd("1")), func(i *catalog.Item) {
			i.Limits = catalog.Limits{
				PerUser:   3,
				Recurrent: catalog.RecurrentSchedule{PerUser: &catalog.Recurrence{Interval: catalog.Daily}},
			}
		}),
		with(good("ten", catalog.Consumable, usd("1")), func(i *catalog.Item) { i.Limits.PerItem = 10 }),
		with(good("dear", catalog.Consumable, usd("1000000000")), func(i *catalog.Item) {
			i.VirtualPrices = []catalog.VirtualPrice{{SKU: "coins", Amount: 1_000_000_000_000, IsDefault: true}}
		}),
		with(good("gives", catalog.Consumable, usd("2")), func(i *catalog.Item) {
			i.Promotions = []catalog.Promotion{{ID: "gift", Limits: catalog.PromotionLimits{PerUser: 1},
				Bonus: []catalog.Content{{SKU: "gold", Quantity: 10}, {SKU: "skin", Quantity: 1}, {SKU: "key", Quantity: 1}, {SKU: "gone", Quantity: 1}}}}
		}),
		{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft, Name: catalog.Text{"en": "Gold"}},
		{SKU: "game", Type: catalog.Unit, Status: catalog.Published, Name: catalog.Text{"en": "Game"}},
		{SKU: "key", Type: catalog.GameKey, UnitSKU: "game", DRM: "steam", Status: catalog.Published, Name: catalog.Text{"en": "Key"}, Prices: usd("20")},
		{SKU: "chest", Type: catalog.Bundle, BundleType: catalog.StandardBundle, Status: catalog.Published, Name: catalog.Text{"en": "Chest"}, Prices: usd("7"),
			Content: []catalog.Content{{SKU: "pass", Quantity: 2}, {SKU: "pouch", Quantity: 3}, {SKU: "key", Quantity: 1}}},
		{SKU: "pouch", Type: catalog.Bundle, BundleType: catalog.CurrencyPackage, Status: catalog.Published, Name: catalog.Text{"en": "Pouch"}, Prices: usd("1"),
			Content: []catalog.Content{{SKU: "gold", Quantity: 100}}},
	}, more...), nil)
}

func using(usages map[string]catalog.Usage) catalog.View {
	v := view
	v.Usages = usages
	return v
}

func want(sku string, quantity int64) checkout.LineRequest {
	return checkout.LineRequest{SKU: sku, Quantity: quantity}
}
