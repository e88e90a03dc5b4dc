package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

func text(s string) catalog.Text { return catalog.Text{"en": s} }

func usd(amount string) []catalog.Price {
	return []catalog.Price{{Amount: decimal.RequireFromString(amount), Currency: "USD", IsDefault: true}}
}

// catalogItems are one of each kind; the first is that of seeds 002 and 004.
func catalogItems() []catalog.Item {
	half := []catalog.Promotion{{ID: "half", Name: text("Half price"), Discount: &catalog.Discount{Percent: new(decimal.NewFromInt(50))}}}
	return []catalog.Item{
		{SKU: "gun_1", Type: catalog.VirtualGood, VirtualItemType: catalog.Consumable, Status: catalog.Published, Name: catalog.Text{
			"en": "Basic Blaster",
			"de": "Basis-Blaster",
		},
			Groups: []string{"weapons"}, Order: 1, Prices: usd("1.99"), Promotions: half, MediaList: []catalog.Media{{Type: "image", URL: "https://example.com/gun.png"}}},
		{SKU: "pass", Type: catalog.VirtualGood, VirtualItemType: catalog.NonRenewingSubscription, Status: catalog.Published, Name: text("Season pass"), Groups: []string{"passes"}, Order: 2,
			Prices: append(usd("9"), catalog.Price{
				Amount:   decimal.NewFromInt(8),
				Currency: "EUR",
				Country:  "DE",
			}, catalog.Price{Amount: decimal.NewFromInt(10), Currency: "EUR"}),
			VirtualPrices:    []catalog.VirtualPrice{{SKU: "gold", Amount: 900, IsDefault: true}, {SKU: catalog.CoinsSKU, Amount: 90}},
			InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &subscriptions.Period{Unit: subscriptions.Day, Value: 30}},
			Limits: catalog.Limits{
				PerUser:   3,
				PerItem:   100,
				Recurrent: catalog.RecurrentSchedule{PerUser: &catalog.Recurrence{Interval: catalog.Monthly}},
			}},
		{SKU: "skin", Type: catalog.VirtualGood, VirtualItemType: catalog.NonConsumable, Status: catalog.Published, Name: text("Skin"), Order: 3, IsFree: true},
		{SKU: "summer", Type: catalog.VirtualGood, VirtualItemType: catalog.NonConsumable, Status: catalog.Published, Name: text("Summer skin"), Order: 4, IsFree: true,
			Periods: []catalog.SalePeriod{{From: time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC), Until: new(time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC))}}},
		{SKU: "local", Type: catalog.VirtualGood, VirtualItemType: catalog.NonConsumable, Status: catalog.Published, Name: text("Local skin"), Order: 5, IsFree: true, Countries: []string{"DE"}},
		{SKU: "secret", Type: catalog.VirtualGood, VirtualItemType: catalog.NonConsumable, Status: catalog.Draft, Name: text("Secret"), IsFree: true},
		{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft, Name: text("Gold")},
		{SKU: "dust", Type: catalog.VirtualCurrency, Status: catalog.Published, Name: text("Dust"), Prices: usd("0.01")},
		{SKU: "gold_100", Type: catalog.Bundle, BundleType: catalog.CurrencyPackage, Status: catalog.Published, Name: text("100 gold"), Prices: usd("1"), Content: []catalog.Content{{SKU: "gold", Quantity: 100}}},
		{SKU: "chest", Type: catalog.Bundle, Status: catalog.Published, Name: text("Chest"), Groups: []string{"weapons"}, Prices: usd("5"),
			Content: []catalog.Content{{SKU: "gun_1", Quantity: 2}, {SKU: "game_steam", Quantity: 1}}},
		{SKU: "game", Type: catalog.Unit, Status: catalog.Published, Name: text("Game"), Groups: []string{"weapons"}},
		{SKU: "game_steam", Type: catalog.GameKey, Status: catalog.Published, Name: text("Game on Steam"), Groups: []string{"weapons"}, Prices: usd("20"), UnitSKU: "game", DRM: "steam"},
	}
}

// newCatalog is a shop whose project 1 has a catalog.
func newCatalog(t testing.TB, change ...func(*Options)) *shop {
	t.Helper()
	s := newShop(t, change...).openV2()
	s.importItems(catalogItems()...)
	require.NoError(t, s.db.PutCatalogGroups(t.Context(), 1, []catalog.Group{
		{ExternalID: "weapons", Name: text("Weapons"), IsEnabled: true}, {ExternalID: "passes", Name: text("Passes"), ParentExternalID: "weapons", IsEnabled: true},
		{ExternalID: "off", Name: text("Off")},
	}, "test", time.Now()))
	return s
}

func (s *shop) importItems(items ...catalog.Item) {
	s.t.Helper()
	rows := make([]json.RawMessage, len(items))
	for i, item := range items {
		var err error
		rows[i], err = json.Marshal(item)
		require.NoError(s.t, err)
	}
	_, mistakes, _, err := s.db.ImportItems(s.t.Context(), postgres.ItemImport{ProjectID: 1, Rows: rows, Actor: "test"}, time.Now())
	require.NoError(s.t, err)
	require.Empty(s.t, mistakes)
}

const v2Project = "/api/v2/project/1"

// items calls for a part of the catalog, as nobody unless said.
func (s *shop) items(path string, changes ...with) answer {
	s.t.Helper()
	return s.call("", "GET", v2Project+"/items"+path, "", changes...)
}

func skusOf(t testing.TB, a answer) []string {
	t.Helper()
	require.Equal(t, 200, a.status, "%s", a.body)
	page := into[struct{ Items []struct{ SKU string } }](t, a)
	return each(page.Items, func(i struct{ SKU string }) string { return i.SKU })
}

// Every list and every form is held to openapi.yaml by the kit.
func TestCatalogLists(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	for path, want := range map[string][]string{
		"/virtual_items":                        {"gun_1", "pass", "skin"},
		"/virtual_items?country=de":             {"gun_1", "pass", "skin", "local"},
		"/virtual_items?promo_code=unknown":     {"gun_1", "pass", "skin"},
		"/virtual_items?unknown=1":              {"gun_1", "pass", "skin"},
		"/virtual_items?limit=1&offset=1":       {"pass"},
		"/virtual_items?offset=3":               {},
		"/virtual_items/all":                    {"gun_1", "pass", "skin"},
		"/virtual_items/group/weapons":          {"gun_1"},
		"/virtual_items/group/all":              {"gun_1", "pass", "skin"},
		"/virtual_items/group/passes?limit=50":  {"pass"},
		"/virtual_currency":                     {"dust"},
		"/virtual_currency/package":             {"gold_100"},
		"/bundle":                               {"chest"},
		"/bundle/group/weapons":                 {"chest"},
		"/bundle/group/passes":                  {},
		"/game":                                 {"game"},
		"/game/group/weapons":                   {"game"},
		"/game/key/group/weapons":               {"game_steam"},
		"":                                      {"chest", "dust", "game_steam", "gold_100", "gun_1", "pass", "skin"},
		"/group/weapons":                        {"chest", "game_steam", "gun_1"},
		"?show_inactive_time_limited_items=1":   {"chest", "dust", "game_steam", "gold_100", "gun_1", "pass", "skin", "summer"},
		"?show_inactive_time_limited_items=0":   {"chest", "dust", "game_steam", "gold_100", "gun_1", "pass", "skin"},
		"/game?additional_fields[]=media_list":  {"game"},
		"/bundle?locale=pt_BR&currency=EUR":     {"chest"},
		"/virtual_currency/package?currency=XX": nil,
	} {
		a := s.items(path)
		if want == nil {
			require.Equal(t, 422, a.status, path)
			continue
		}
		require.Equal(t, want, skusOf(t, a), path)
	}
	require.True(t, into[struct {
		HasMore bool `json:"has_more"`
	}](t, s.items("/virtual_items?limit=2")).HasMore)
	require.Contains(t, string(s.items("/virtual_items?limit=3").body), `"has_more":false`)
	require.JSONEq(t, `{"groups":[{"external_id":"weapons","name":"Weapons","description":"","image_url":null,"order":0,"level":0,"parent_external_id":null,"children":[
		{"external_id":"passes","name":"Passes","description":"","image_url":null,"order":0,"level":1,"parent_external_id":"weapons","children":[]}]}]}`, string(s.items("/groups").body))
	require.Len(t, into[DRMList](t, s.items("/game/drm")).Drm, 15)
}

func TestCatalogItems(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	byID := map[string]int64{}
	for _, path := range []string{"/virtual_items/sku/gun_1", "/virtual_currency/sku/dust", "/virtual_currency/package/sku/gold_100", "/bundle/sku/chest", "/game/sku/game", "/game/key/sku/game_steam",
		"/sku/gun_1", "/sku/gold_100", "/sku/chest", "/sku/game_steam", "/sku/dust"} {
		a := s.items(path)
		require.Equal(t, 200, a.status, path)
		item := into[struct {
			ItemID int64 `json:"item_id"`
			SKU    string
		}](t, a)
		if id, known := byID[item.SKU]; known {
			require.Equal(t, id, item.ItemID)
		}
		byID[item.SKU] = item.ItemID
		if item.SKU != "game" {
			require.Equal(t, s.items("/sku/"+item.SKU).body, s.items(fmt.Sprint("/id/", item.ItemID)).body)
		}
	}

	gun := into[catalog.ShownItem](t, s.items("/virtual_items/sku/gun_1?locale=de&additional_fields[]=media_list&additional_fields[]=long_description"))
	require.Equal(t, []string{"Basis-Blaster", "0.9950 1.9900 USD"}, []string{gun.Name, amounts(t, gun.Price)})
	require.True(t, gun.CanBeBought)
	require.Len(t, gun.MediaList, 1)
	require.NotNil(t, gun.LongDescription)

	for query, want := range map[string]string{"": "9.00 9.00 USD", "?country=DE": "8.00 8.00 EUR", "?currency=EUR": "10.00 10.00 EUR", "?currency=EUR&country=DE": "8.00 8.00 EUR", "?currency=JPY": "null", "?country=FR": "9.00 9.00 USD"} {
		require.Equal(t, want, amounts(t, into[catalog.ShownItem](t, s.items("/virtual_items/sku/pass"+query)).Price), query)
	}
	pass := into[catalog.ShownItem](t, s.items("/sku/pass"))
	require.Equal(t, []string{"gold", "coins"}, each(pass.VirtualPrices, func(v catalog.ShownVirtual) string { return v.SKU }))
	require.NotNil(t, pass.VirtualPrices[0].CalculatedPrice)
	require.Nil(t, into[catalog.ShownItem](t, s.items("/virtual_items/sku/pass")).VirtualPrices[0].CalculatedPrice)
}

// amounts of a price as they are written.
func amounts(t testing.TB, quote *catalog.Quote) string {
	t.Helper()
	if quote == nil {
		return "null"
	}
	encoded, err := json.Marshal(quote)
	require.NoError(t, err)
	var written struct {
		Amount                string
		AmountWithoutDiscount string `json:"amount_without_discount"`
		Currency              string
	}
	require.NoError(t, json.Unmarshal(encoded, &written))
	return written.Amount + " " + written.AmountWithoutDiscount + " " + written.Currency
}

func TestCatalogMisses(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	for path, code := range map[string]int{
		"/virtual_items/sku/none": 4001, "/virtual_items/sku/secret": 4001, "/virtual_items/sku/chest": 4001, "/virtual_items/sku/summer": 4001, "/virtual_items/sku/local": 4001,
		"/virtual_items/sku/local?country=FR": 4001, "/virtual_currency/sku/gold": 4001, "/virtual_currency/package/sku/chest": 4001, "/bundle/sku/gold_100": 4001, "/game/sku/game_steam": 4001,
		"/game/key/sku/game": 4001, "/sku/game": 4001, "/id/999999": 4001, "/sku/none": 4001,
		"/virtual_items/group/none": 4403, "/virtual_items/group/off": 4403, "/group/none": 4403, "/bundle/group/none": 4403, "/game/group/off": 4403, "/game/key/group/none": 4403,
		"/virtual_items?limit=51": 1102, "/virtual_items?limit=0": 1102, "/virtual_items?limit=x": 1102, "/virtual_items?offset=-1": 1102, "/virtual_items?offset=99999999999999999999": 1102,
		"/virtual_items?country=DEU": 1102, "/virtual_items?currency=ABC": 1102, "/virtual_items?locale=%00": 1102, "/virtual_items?show_inactive_time_limited_items=2": 1102,
		"/id/0": 1102, "/id/x": 1102, "/virtual_items/sku/%20": 1102, "/virtual_items?limit=1&limit=2": 1102,
	} {
		a := s.items(path)
		refused := into[v2Error](t, a)
		require.Equal(t, code, refused.ErrorCode, path)
		require.Equal(t, map[bool]int{true: 422, false: 404}[code == 1102], a.status, path)
	}
	require.Equal(t, 200, s.items("/virtual_items/sku/summer?show_inactive_time_limited_items=1").status)
	require.Equal(t, 200, s.items("/virtual_items/sku/local?country=DE").status)
	for _, project := range []string{"2", "0", "-1", "x", "99999999999"} {
		require.Equal(t, 404, s.call("", "GET", "/api/v2/project/"+project+"/items", "").status, project)
	}
}

func TestCatalogOfAUser(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	testkit.AddUser(s.t, s.db, "12345", 0)
	month := catalog.Recurrence{Interval: catalog.Monthly}.PeriodAt(time.Now()).Start.UTC().Format(time.RFC3339)
	for _, statement := range []string{
		"INSERT INTO item_usages (project_id, user_id, sku, promotion, period_start, used) VALUES (1, '12345', 'pass', '', '" + month + "', 3)",
		"INSERT INTO inventory (project_id, user_id, sku, kind, quantity, snapshot, updated_at) VALUES (1, '12345', 'skin', 'non_consumable', 1, '{}', now())",
		"UPDATE item_sales SET reserved = 5, sold = 10 WHERE sku = 'pass'",
	} {
		testkit.Exec(t, s.db, statement)
	}
	for _, test := range []struct {
		who       string
		by        []with
		available int64
		pass      bool
		skin      bool
	}{
		{"nobody", nil, 3, true, true},
		{"the server", []with{byServer()}, 3, true, true},
		{"the user", []with{byUser(t, "12345")}, 0, false, false},
		{"another user", []with{byUser(t, "other")}, 3, true, true},
	} {
		page := into[CatalogItemPage](t, s.items("/virtual_items", test.by...))
		pass, skin := page.Items[1], page.Items[2]
		require.Equal(t, []any{test.available, test.pass, test.skin}, []any{pass.Limits.PerUser.Available, pass.CanBeBought, skin.CanBeBought}, test.who)
		require.Equal(t, &catalog.ShownItemLimit{
			ShownTotal: catalog.ShownTotal{Available: 85, Total: 100},
			Reserved:   5,
			Sold:       10,
		}, pass.Limits.PerItem, test.who)
		require.Equal(t, test.available, into[catalog.ShownItem](t, s.items("/sku/pass", test.by...)).Limits.PerUser.Available, test.who)
	}
}

// A game that runs out of keys, and the bundle that contains it, are not sold until there are some again.
func TestCatalogShowsKeys(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	buyable := func() []bool {
		unit := into[catalog.ShownUnit](t, s.items("/game/sku/game"))
		return []bool{unit.UnitItems[0].HasKeys, unit.UnitItems[0].CanBeBought, into[catalog.ShownKey](t, s.items("/game/key/sku/game_steam")).CanBeBought,
			into[catalog.ShownBundle](t, s.items("/bundle/sku/chest")).CanBeBought}
	}
	require.Equal(t, []bool{false, false, false, false}, buyable())
	_, _, err := s.db.AddGameKeys(t.Context(), 1, "game_steam", []string{"AAAA"}, "test", time.Now())
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true, true}, buyable())
}

// An edit by any process shows at once.
func TestCatalogIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	require.Len(t, skusOf(t, s.items("/virtual_items")), 3)
	s.importItems(catalog.Item{
		SKU:             "bow",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            text("Bow"),
		IsFree:          true,
	})
	require.Contains(t, skusOf(t, s.items("/virtual_items")), "bow")
	_, err := s.db.EditItem(t.Context(), 1, "bow", func(i catalog.Item) (catalog.Item, error) {
		i.Status = catalog.Draft
		return i, nil
	}, "another process", time.Now())
	require.NoError(t, err)
	require.NotContains(t, skusOf(t, s.items("/virtual_items")), "bow")
}

func TestCatalogPages(t *testing.T) {
	t.Parallel()
	s := newShop(t).openV2()
	items := make([]catalog.Item, 120)
	for i := range items {
		items[i] = catalog.Item{
			SKU:             fmt.Sprintf("item_%03d", i),
			Type:            catalog.VirtualGood,
			VirtualItemType: catalog.Consumable,
			Status:          catalog.Published,
			Name:            text("Item"),
			IsFree:          true,
		}
	}
	s.importItems(items...)
	var seen []string
	for offset := 0; ; offset += 50 {
		a := s.items(fmt.Sprint("/virtual_items?offset=", offset))
		seen = append(seen, skusOf(t, a)...)
		if !into[CatalogItemPage](t, a).HasMore {
			break
		}
	}
	require.Len(t, seen, 120)
	require.True(t, slices.IsSorted(seen))
	require.Len(t, skusOf(t, s.items("/virtual_items/all")), 120)
}
