package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const ofProject = "/api/v2/project/1"

// newChest is a shop whose project has things to own, with a clock of its own.
func newChest(t testing.TB) *chest {
	t.Helper()
	c := &chest{now: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}
	c.shop = newShop(t, func(o *Options) { o.Clock = c.clock }).openV2()
	month := &subscriptions.Period{Unit: subscriptions.Month, Value: 1}
	good := func(sku string, kind catalog.VirtualItemType) catalog.Item {
		return catalog.Item{
			SKU:             sku,
			Type:            catalog.VirtualGood,
			VirtualItemType: kind,
			Status:          catalog.Published,
			Name:            catalog.Text{"en": sku, "de": "de " + sku},
		}
	}
	pass, week := good("pass", catalog.NonRenewingSubscription), good("week", catalog.NonRenewingSubscription)
	pass.InventoryOptions.ExpirationPeriod = month
	week.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: subscriptions.Week, Value: 1}
	potion := good("potion", catalog.Consumable)
	potion.InventoryOptions.Consumable = &catalog.ConsumableOptions{UsagesCount: 3}
	for _, item := range []catalog.Item{pass, week, potion, good("sword", catalog.NonConsumable),
		{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Published, Name: catalog.Text{"en": "Gold"}},
		{SKU: "game", Type: catalog.Unit, Status: catalog.Published, Name: catalog.Text{"en": "Game"}},
		{SKU: "key", Type: catalog.GameKey, Status: catalog.Published, Name: catalog.Text{"en": "Key"}},
		{SKU: "starter", Type: catalog.Bundle, BundleType: catalog.StandardBundle, Status: catalog.Published, Name: catalog.Text{"en": "Starter"},
			Content: []catalog.Content{{SKU: "purse", Quantity: 2}, {SKU: "pass", Quantity: 1}}},
		{SKU: "purse", Type: catalog.Bundle, BundleType: catalog.CurrencyPackage, Status: catalog.Draft, Name: catalog.Text{"en": "Purse"}, Content: []catalog.Content{{SKU: "gold", Quantity: 50}}},
		{SKU: "loop", Type: catalog.Bundle, Status: catalog.Draft, Name: catalog.Text{"en": "Loop"}, Content: []catalog.Content{{SKU: "loop", Quantity: 1}}}} {
		c.store(item)
	}
	return c
}

type chest struct {
	*shop
	mu  sync.Mutex
	now time.Time
}

func (c *chest) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *chest) later(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *chest) store(item catalog.Item) {
	c.t.Helper()
	definition, err := json.Marshal(item)
	require.NoError(c.t, err)
	_, err = c.db.Pool().Exec(c.t.Context(), `INSERT INTO catalog_items (project_id, sku, type, status, definition, created_at, updated_at) VALUES (1, $1, $2, $3, $4, now(), now())`,
		item.SKU, string(item.Type), string(item.Status), definition)
	require.NoError(c.t, err)
}

// asks as the user "u", with its time.
func (c *chest) user(method, path, body string, changes ...with) answer {
	c.t.Helper()
	bearer := "Bearer " + token(c.t, "u", func(claims jwt.MapClaims) { claims["exp"] = c.clock().Add(time.Hour).Unix() })
	return c.call("", method, ofProject+path, body, append([]with{header("Authorization", bearer)}, changes...)...)
}

func (c *chest) server(method, path, body string, changes ...with) answer {
	c.t.Helper()
	return c.call("", method, ofProject+path, body, append([]with{byServer()}, changes...)...)
}

func (c *chest) give(sku string, quantity int) answer {
	c.t.Helper()
	return c.server("POST", "/inventory/reward", one(sku, quantity))
}

// one operation on the user "u".
func one(sku string, quantity int) string {
	return fmt.Sprintf(`[{"user":{"id":"u"},"items":[{"sku":"%s","quantity":%d}],"comment":"quest"}]`, sku, quantity)
}

func (a answer) v2() (status, code int) {
	var e struct{ ErrorCode int }
	_ = json.Unmarshal(a.body, &e)
	return a.status, e.ErrorCode
}

func requireV2(t testing.TB, status, code int, a answer) {
	t.Helper()
	gotStatus, gotCode := a.v2()
	require.Equal(t, [2]int{status, code}, [2]int{gotStatus, gotCode}, "%s", a.body)
}

func (c *chest) timeLimited() map[string]TimeLimitedItem {
	c.t.Helper()
	a := c.user("GET", "/user/time_limited_items", "")
	require.Equal(c.t, a.body, c.user("GET", "/user/subscriptions", "").body)
	bySKU := map[string]TimeLimitedItem{}
	for _, item := range into[TimeLimitedItems](c.t, a).Items {
		bySKU[item.Sku] = item
	}
	return bySKU
}

func (c *chest) entitlement(sku string) Entitlement {
	c.t.Helper()
	a := c.server("GET", "/entitlements/u/"+sku, "")
	require.Equal(c.t, http.StatusOK, a.status)
	require.Equal(c.t, "no-store", a.header.Get("Cache-Control"))
	require.JSONEq(c.t, string(a.body), string(c.user("GET", "/entitlements/u/"+sku, "").body))
	return into[Entitlement](c.t, a)
}

// A subscription from nothing to the end, as the seed tells it: given, extended, run out, begun anew, revoked.
func TestSubscriptionByTheClock(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	none := c.timeLimited()
	require.Len(t, none, 2)
	require.Equal(t, subscriptions.None, none["pass"].Status)
	require.Nil(t, none["pass"].ExpiredAt)
	require.Equal(t, Entitlement{UserID: "u", Sku: "pass", Status: "none"}, c.entitlement("pass"))

	require.JSONEq(t, `{"count":1,"operations":[{"user_id":"u","platform":"xsolla","comment":"quest","items":[{"sku":"pass","quantity":1,"balance":1}]}]}`, string(c.give("pass", 1).body))
	february := time.Date(2026, 2, 28, 12, 0, 0, 0, time.UTC)
	require.Equal(t, february.Unix(), *c.timeLimited()["pass"].ExpiredAt)
	require.Equal(t, http.StatusOK, c.give("pass", 2).status)
	april := time.Date(2026, 4, 28, 12, 0, 0, 0, time.UTC)
	require.Equal(t, Entitlement{
		UserID:    "u",
		Sku:       "pass",
		Status:    "active",
		Active:    true,
		ExpiresAt: &april,
		Quantity:  1,
	}, c.entitlement("pass"))

	c.later(april.Sub(c.clock()) - time.Nanosecond)
	require.True(t, c.entitlement("pass").Active)
	c.later(time.Nanosecond)
	require.Equal(t, Entitlement{UserID: "u", Sku: "pass", Status: "expired", ExpiresAt: &april, Quantity: 1}, c.entitlement("pass"))
	require.Equal(t, subscriptions.Expired, c.timeLimited()["pass"].Status)
	listed := into[UserSubscriptions](t, c.call("storefront", "GET", "/api/v1/users/u/subscriptions", ""))
	require.Equal(t, []UserSubscription{{Sku: "pass", Name: "pass", Status: "expired", StartedAt: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), ExpiresAt: april}}, listed.Items)

	c.later(time.Hour)
	require.Equal(t, http.StatusOK, c.give("pass", 1).status)
	require.Equal(t, april.Add(time.Hour).AddDate(0, 1, 0), *c.entitlement("pass").ExpiresAt)

	requireV2(t, 404, 4001, c.server("POST", "/inventory/revoke", one("pass", 2)))
	require.Equal(t, http.StatusOK, c.server("POST", "/inventory/revoke", one("pass", 1)).status)
	require.Equal(t, subscriptions.None, c.timeLimited()["pass"].Status)
	require.Equal(t, Entitlement{UserID: "u", Sku: "pass", Status: "none"}, c.entitlement("pass"))
	requireV2(t, 404, 4001, c.server("POST", "/inventory/revoke", one("pass", 1)))
	require.Empty(t, into[UserSubscriptions](t, c.call("support", "GET", "/api/v1/users/u/subscriptions", "")).Items)
}

func TestInventoryReads(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	require.Equal(t, `{"items":[]}`, strings.TrimSpace(string(c.user("GET", "/user/inventory/items", "").body)))
	for _, give := range []string{"potion", "sword", "starter"} {
		require.Equal(t, http.StatusOK, c.give(give, 1).status)
	}
	items := into[InventoryItems](t, c.user("GET", "/user/inventory/items?locale=de-AT&platform=xbox_live", "")).Items
	require.Len(t, items, 4)
	require.Equal(t, []string{"gold", "pass", "potion", "sword"}, each(items, func(i InventoryItem) string { return i.Sku }))
	require.EqualValues(t, 100, items[0].Quantity)
	require.Nil(t, items[0].VirtualItemType)
	require.Equal(t, "de potion", items[2].Name)
	require.EqualValues(t, 3, *items[2].RemainingUses)
	require.Nil(t, items[3].RemainingUses)
	require.Len(t, into[InventoryItems](t, c.user("GET", "/user/inventory/items?limit=3", "")).Items, 3)
	require.Equal(t, "sword", into[InventoryItems](t, c.user("GET", "/user/inventory/items?limit=3&offset=3", "")).Items[0].Sku)
	requireV2(t, 422, 1102, c.user("GET", "/user/inventory/items?limit=51", ""))

	balances := into[CurrencyBalances](t, c.user("GET", "/user/virtual_currency_balance", "")).Items
	require.Equal(t, []CurrencyBalance{{Sku: "gold", Type: "virtual_currency", Name: "Gold", Amount: 100}, {Sku: "coins", Type: "virtual_currency", Name: "Coins"}}, balances)

	// What is gone from the catalog is shown as it was given.
	_, err := c.db.Pool().Exec(t.Context(), "DELETE FROM catalog_items WHERE sku IN ('sword', 'pass')")
	require.NoError(t, err)
	require.Equal(t, "sword", into[InventoryItems](t, c.user("GET", "/user/inventory/items", "")).Items[3].Name)
	require.Equal(t, subscriptions.Active, c.timeLimited()["pass"].Status)
}

func TestConsume(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	for _, give := range []string{"potion", "sword", "starter"} {
		require.Equal(t, http.StatusOK, c.give(give, 1).status)
	}
	consume := func(body string, changes ...with) answer {
		return c.user("POST", "/user/inventory/item/consume", body, changes...)
	}
	for _, body := range []string{`{}`, `{"sku":"potion"}`, `{"quantity":1}`, `{"sku":"potion","quantity":0}`, `{"sku":"potion","quantity":-1}`, `{"sku":null,"quantity":1,"instance_id":"x"}`,
		`{"sku":"potion","quantity":1,"instance_id":"x"}`} {
		requireV2(t, 422, 5002, consume(body))
	}
	requireV2(t, 404, 4001, consume(`{"sku":"potion","quantity":2}`))
	requireV2(t, 404, 4001, consume(`{"sku":"nothing","quantity":1}`))
	requireV2(t, 422, 5006, consume(`{"sku":"gold","quantity":101}`))
	requireV2(t, 422, 1411, consume(`{"sku":"sword","quantity":1}`))
	requireV2(t, 422, 1411, consume(`{"sku":"pass","quantity":1}`)) // nobody but the server changes a subscription
	requireV2(t, 422, 1102, consume(`{"sku":"gold","quantity":99999999999999999}`))
	for _, replayed := range []string{"", "true"} {
		a := consume(`{"sku":"gold","quantity":60,"instance_id":null}`, header("Idempotency-Key", "k"))
		require.JSONEq(t, `{"sku":"gold","quantity":60,"balance":40}`, string(a.body))
		require.Equal(t, replayed, a.header.Get("Idempotency-Replayed"))
	}
	requireV2(t, 422, 1102, consume(`{"sku":"gold","quantity":1}`, header("Idempotency-Key", "k")))
	require.JSONEq(t, `{"sku":"potion","quantity":1,"balance":0}`, string(consume(`{"sku":"potion","quantity":1}`).body))
}

// The path names no user, so two of them may send the same key; neither sees the other's answer, nor takes a
// key from the server.
func TestKeysOfConsumptionAreTheUsersOwn(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	reward := `[{"user":{"id":"u"},"items":[{"sku":"gold","quantity":10}]},{"user":{"id":"v"},"items":[{"sku":"gold","quantity":3}]}]`
	require.Equal(t, http.StatusOK, c.server("POST", "/inventory/reward", reward).status)
	other := header("Authorization", "Bearer "+token(t, "v", func(claims jwt.MapClaims) { claims["exp"] = c.clock().Add(time.Hour).Unix() }))
	key, one := header("Idempotency-Key", "use-1"), `{"sku":"gold","quantity":1}`
	require.JSONEq(t, `{"sku":"gold","quantity":1,"balance":9}`, string(c.user("POST", "/user/inventory/item/consume", one, key).body))
	of := c.user("POST", "/user/inventory/item/consume", one, other, key)
	require.JSONEq(t, `{"sku":"gold","quantity":1,"balance":2}`, string(of.body))
	require.Empty(t, of.header.Get("Idempotency-Replayed"))
	require.Equal(t, http.StatusOK, c.server("POST", "/inventory/reward", reward, key).status)
}

func TestServerChangesInventory(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	a := c.server("POST", "/inventory/reward", `[{"user":{"id":"u"},"items":[{"sku":"starter","quantity":2},{"sku":"potion","quantity":1}],"platform":"steam"},{"user":{"id":"new"},"items":[{"sku":"potion","quantity":4}]},
		{"user":{"id":"u"},"items":[{"sku":"potion","quantity":1}]}]`, header("Idempotency-Key", "k"))
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	got := into[inventory.Answer](t, a)
	require.Equal(t, inventory.Answer{Count: 2, Operations: []inventory.AnsweredOperation{
		{UserID: "u", Platform: "steam", Items: []inventory.AnsweredItem{{SKU: "gold", Quantity: 200, Balance: 200}, {SKU: "pass", Quantity: 2, Balance: 1}, {SKU: "potion", Quantity: 1, Balance: 1}}},
		{UserID: "new", Platform: "xsolla", Items: []inventory.AnsweredItem{{SKU: "potion", Quantity: 4, Balance: 4}}},
		{UserID: "u", Platform: "xsolla", Items: []inventory.AnsweredItem{{SKU: "potion", Quantity: 1, Balance: 2}}}}}, got)
	require.Equal(t, http.StatusOK, c.server("POST", "/inventory/revoke", one("potion", 1)).status)
	require.EqualValues(t, 1, c.entitlement("potion").Quantity)

	set := c.server("POST", "/inventory/set", one("potion", 7))
	require.EqualValues(t, 7, into[inventory.Answer](t, set).Operations[0].Items[0].Balance)
	require.EqualValues(t, 0, into[inventory.Answer](t, c.server("POST", "/inventory/set", one("potion", 0))).Operations[0].Items[0].Balance)
	require.Equal(t, subscriptions.None, c.entitlement("potion").Status)

	for name, test := range map[string]struct {
		path, body   string
		status, code int
	}{
		"unknown":                    {"reward", one("nothing", 1), 404, 4001},
		"unknown to set":             {"set", one("nothing", 1), 404, 4001},
		"not owned":                  {"revoke", one("sword", 1), 404, 4001},
		"twice":                      {"reward", one("sword", 2), 422, 1468},
		"a game":                     {"reward", one("game", 1), 422, 1411},
		"no keys":                    {"reward", one("key", 1), 422, 1455},
		"contains itself":            {"reward", one("loop", 1), 422, 1411},
		"set of a subscription":      {"set", one("pass", 1), 422, 1411},
		"set of a bundle":            {"set", one("starter", 1), 422, 1411},
		"set of a game":              {"set", one("game", 1), 422, 1411},
		"zero":                       {"reward", one("potion", 0), 422, 1102},
		"negative":                   {"revoke", one("potion", -1), 422, 1102},
		"too long":                   {"reward", one("pass", 1201), 422, 1102},
		"huge":                       {"reward", one("starter", 1_000_000_000_000), 422, 1102},
		"none":                       {"reward", `[]`, 422, 1102},
		"no array":                   {"reward", `{}`, 422, 1102},
		"51":                         {"reward", "[" + strings.Repeat(strings.Trim(one("potion", 1), "[]")+",", 50) + strings.Trim(one("potion", 1), "[]") + "]", 422, 1102},
		"no items":                   {"reward", `[{"user":{"id":"u"},"items":[]}]`, 422, 1102},
		"no user":                    {"reward", `[{"user":{"id":""},"items":[{"sku":"potion","quantity":1}]}]`, 422, 1102},
		"the second of two":          {"reward", `[{"user":{"id":"u"},"items":[{"sku":"potion","quantity":1}]},{"user":{"id":"v"},"items":[{"sku":"potion","quantity":1},{"sku":"nothing","quantity":1}]}]`, 404, 4001},
		"no purchase":                {"purchase", one("potion", 1), 422, 1102},
		"a body of another kind":     {"reward", `"x"`, 422, 1102},
		"a key of another request":   {"reward", one("sword", 1), 422, 1102},
		"a sku that cannot be one":   {"reward", one("a/b", 1), 422, 1102},
		"a sku of 256 characters":    {"reward", one(strings.Repeat("a", 256), 1), 422, 1102},
		"a user id that is too long": {"reward", strings.Replace(one("potion", 1), `"u"`, `"`+strings.Repeat("u", 65)+`"`, 1), 422, 1102},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []with
			if name == "a key of another request" {
				changes = append(changes, header("Idempotency-Key", "k"))
			}
			before := c.owned()
			a := c.server("POST", "/inventory/"+test.path, test.body, changes...)
			requireV2(t, test.status, test.code, a)
			require.Equal(t, before, c.owned())
			if name == "the second of two" {
				require.Contains(t, string(a.body), `"property":"[1].items[1]"`)
			}
		})
	}
	requireV2(t, 401, 1013, c.user("POST", "/inventory/reward", one("potion", 1)))
	requireV2(t, 401, 1013, c.server("GET", "/user/inventory/items", ""))
	requireV2(t, 404, 5008, c.user("GET", "/entitlements/v/potion", ""))
}

func (c *chest) owned() (digest string) {
	c.t.Helper()
	require.NoError(c.t, c.db.Pool().QueryRow(c.t.Context(), `SELECT (SELECT count(*) FROM users)::text || (SELECT count(*) FROM inventory_entries) ||
		COALESCE((SELECT string_agg(i::text, '|' ORDER BY i::text) FROM inventory i), '')`).Scan(&digest))
	return digest
}

func TestExternalPurchaseIsGivenOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	purchase := func(user, sku, id, amount string) string {
		return fmt.Sprintf(`{"user":{"id":"%s"},"items":[{"sku":"%s","quantity":1}],"purchase":{"amount":%s,"currency":"USD","external_purchase_id":"%s","external_purchase_date":"2026-01-31T12:00:00+02:00"},"custom_parameters":{"a":1}}`, user, sku, amount, id)
	}
	first := c.server("POST", "/inventory/purchase", "["+purchase("u", "pass", "r1", `"9.00"`)+"]")
	require.Equal(t, http.StatusOK, first.status, "%s", first.body)
	again := c.server("POST", "/inventory/purchase", "["+purchase("u", "pass", "r1", "9")+","+purchase("u", "potion", "r2", `"1"`)+"]")
	require.Equal(t, http.StatusOK, again.status, "%s", again.body)
	require.Equal(t, into[inventory.Answer](t, first).Operations[0], into[inventory.Answer](t, again).Operations[0])
	require.Equal(t, time.Date(2026, 2, 28, 12, 0, 0, 0, time.UTC), *c.entitlement("pass").ExpiresAt)
	require.EqualValues(t, 1, c.entitlement("potion").Quantity)

	requireV2(t, 422, 1102, c.server("POST", "/inventory/purchase", "["+purchase("v", "pass", "r1", `"9.00"`)+"]"))
	requireV2(t, 422, 1102, c.server("POST", "/inventory/purchase", "["+purchase("u", "pass", "r3", `"9.00"`)+","+purchase("u", "pass", "r3", `"9.00"`)+"]"))

	// Many at once, of the same purchase, give one.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a := c.server("POST", "/inventory/purchase", "["+purchase("u", "potion", "r4", `"1"`)+"]")
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		})
	}
	all.Wait()
	require.EqualValues(t, 2, c.entitlement("potion").Quantity)
}
