package catalog_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

var (
	now    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	view   = catalog.View{Locale: "en", DefaultLocale: "de", Now: now}
	dec    = decimal.RequireFromString
	before = now.Add(-time.Hour)
	after  = now.Add(time.Hour)
)

func text(s string) catalog.Text { return catalog.Text{"en": s} }

func usd(amount string) []catalog.Price {
	return []catalog.Price{{Amount: dec(amount), Currency: "USD", IsDefault: true}}
}

func percent(p string) *catalog.Discount { return &catalog.Discount{Percent: new(dec(p))} }

// gun is the item of seeds 002 and 004: 1.99 USD, at half price.
func gun() catalog.Item {
	return catalog.Item{ItemID: 1, SKU: "gun_1", Type: catalog.VirtualGood, VirtualItemType: catalog.Consumable, Status: catalog.Published,
		Name: text("Basic Blaster"), Groups: []string{"weapons"}, Prices: usd("1.99"),
		Promotions: []catalog.Promotion{{ID: "half", Name: text("half price"), Discount: percent("50")}}}
}

func pass() catalog.Item {
	return catalog.Item{
		ItemID:          2,
		SKU:             "pass_s3",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.NonRenewingSubscription,
		Status:          catalog.Published,
		Name:            text("Season 3 pass"),
		Prices: []catalog.Price{{Amount: dec("9"), Currency: "EUR", IsDefault: true}, {Amount: dec("900"), Currency: "JPY", Country: "JP"},
			{Amount: dec("10"), Currency: "USD"}, {Amount: dec("8"), Currency: "EUR", Country: "DE"}},
		VirtualPrices:    []catalog.VirtualPrice{{SKU: "gold", Amount: 900, IsDefault: true}, {SKU: catalog.CoinsSKU, Amount: 9}},
		InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &subscriptions.Period{Unit: subscriptions.Day, Value: 30}},
	}
}

func gold() catalog.Item {
	return catalog.Item{ItemID: 3, SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft, Name: text("Gold")}
}

func goldPack() catalog.Item {
	return catalog.Item{ItemID: 4, SKU: "gold_100", Type: catalog.Bundle, BundleType: catalog.CurrencyPackage, Status: catalog.Published,
		Name: text("100 gold"), Prices: usd("1"), Content: []catalog.Content{{SKU: "gold", Quantity: 100}}}
}

func chest() catalog.Item {
	return catalog.Item{
		ItemID:     5,
		SKU:        "chest",
		Type:       catalog.Bundle,
		BundleType: catalog.StandardBundle,
		Status:     catalog.Published,
		Name:       text("Chest"),
		Prices:     usd("5"),
		Content:    []catalog.Content{{SKU: "gun_1", Quantity: 2}, {SKU: "gold_100", Quantity: 3}},
	}
}

func game() catalog.Item {
	return catalog.Item{ItemID: 6, SKU: "game", Type: catalog.Unit, Status: catalog.Published, Name: text("Game")}
}

func key() catalog.Item {
	return catalog.Item{
		ItemID:  7,
		SKU:     "game_steam",
		Type:    catalog.GameKey,
		Status:  catalog.Published,
		Name:    text("Game on Steam"),
		Prices:  usd("20"),
		UnitSKU: "game",
		DRM:     "steam",
	}
}

func skin() catalog.Item {
	return catalog.Item{
		ItemID:          8,
		SKU:             "skin",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.NonConsumable,
		Status:          catalog.Published,
		Name:            text("Skin"),
		IsFree:          true,
	}
}

func everything() []catalog.Item {
	return []catalog.Item{gun(), pass(), gold(), goldPack(), chest(), game(), key(), skin()}
}

// shop with some items replaced, or added.
func shop(changed ...catalog.Item) *catalog.Catalog {
	return catalog.New(append(everything(), changed...), []catalog.Group{
		{ExternalID: "weapons", Name: text("Weapons"), IsEnabled: true},
		{ExternalID: "guns", Name: text("Guns"), IsEnabled: true, ParentExternalID: "weapons", Order: 2},
		{ExternalID: "bows", Name: text("Bows"), IsEnabled: true, ParentExternalID: "weapons", Order: 1},
		{ExternalID: "off", Name: text("Off"), IsEnabled: false},
		{ExternalID: "below_off", Name: text("Below off"), IsEnabled: true, ParentExternalID: "off"},
	})
}

func changed(item catalog.Item, change func(*catalog.Item)) catalog.Item {
	change(&item)
	return item
}

// keysOf are the fields of an object in its JSON.
func keysOf(t *testing.T, value any) []string {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	var object map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &object))
	return slices.Sorted(maps.Keys(object))
}
