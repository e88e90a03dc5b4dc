package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/payments"
)

// keyShop sells a game by its key, in a bundle, and gives one with a poster; its keys are CODE-1 to CODE-9.
func keyShop(t *testing.T) *shop {
	t.Helper()
	s := checkoutShop(t)
	for _, item := range []catalog.Item{
		{SKU: "game", Type: catalog.Unit},
		{SKU: "game_steam", Type: catalog.GameKey, UnitSKU: "game", DRM: "steam", Prices: usd("20")},
		{SKU: "box", Type: catalog.Bundle, BundleType: catalog.StandardBundle, Prices: usd("30"), Content: []catalog.Content{{SKU: "game_steam", Quantity: 1}, {SKU: "gun_1", Quantity: 1}}},
		{SKU: "poster", Type: catalog.VirtualGood, VirtualItemType: catalog.Consumable, Prices: usd("1"),
			Promotions: []catalog.Promotion{{ID: "free_game", Name: text("A free game"), Bonus: []catalog.Content{{SKU: "game_steam", Quantity: 1}}}}},
	} {
		item.Name, item.Status = text("A "+item.SKU), catalog.Published
		s.addItem(item)
	}
	var codes []string
	for n := range 9 {
		codes = append(codes, fmt.Sprint("CODE-", n+1))
	}
	require.Equal(t, 200, s.call("admin", "POST", "/api/v1/admin/items/game_steam/keys", strings.Join(codes, "\n"), header("Content-Type", "text/plain")).status)
	return s
}

// buyKeys buys an item, and has it delivered.
func (s *shop) buyKeys(sku string, quantity int) MadeOrder {
	s.t.Helper()
	made := s.checkout("/payment/item/"+sku, fmt.Sprintf(`{"quantity": %d}`, quantity))
	require.Equal(s.t, 200, s.card(*made.Token, payments.CardPays, "").status)
	s.deliver(made.OrderID)
	return made
}

func steamKeys(codes ...string) (keys []inventory.Key) {
	for _, code := range codes {
		keys = append(keys, inventory.Key{SKU: "game_steam", DRM: "steam", Code: code})
	}
	return keys
}

func (s *shop) keysOf(made MadeOrder, as ...with) []inventory.Key {
	s.t.Helper()
	return into[ShownOrder](s.t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "", as...)).Keys
}

// ownedKeys are those that the inventory tells.
func (s *shop) ownedKeys(as ...with) []inventory.Key {
	s.t.Helper()
	for _, item := range into[InventoryItems](s.t, s.v2(200, "GET", project+"/user/inventory/items", "", as...)).Items {
		if item.Sku == "game_steam" {
			require.Equal(s.t, catalog.GameKey, item.Type)
			return value(item.Keys)
		}
		require.Nil(s.t, item.Keys, item.Sku)
	}
	return nil
}

// A bought key is read by its buyer, by the token of its order and by the project's server, from its delivery
// to its refund.
func TestBuyerReadsGameKeys(t *testing.T) {
	t.Parallel()
	s := keyShop(t)
	made := s.checkout("/payment/item/game_steam", `{"quantity": 2}`)
	byToken := header("Authorization", "Bearer "+*made.Token)
	require.Empty(t, s.keysOf(made), "not paid")
	s.card(*made.Token, payments.CardPays, "")
	require.Empty(t, s.keysOf(made), "not delivered")
	s.deliver(made.OrderID)
	both := steamKeys("CODE-1", "CODE-2")
	for _, as := range []with{byUser(t, "rich"), byToken, byServer()} {
		require.Equal(t, both, s.keysOf(made, as))
	}
	require.Equal(t, both, s.ownedKeys())
	require.Nil(t, s.ownedKeys(byToken), "it is good for its order only")
	stream := s.call("", "GET", fmt.Sprint(project, "/order/", made.OrderID, "/stream"), "", byToken)
	require.Contains(t, string(stream.body), `"code":"CODE-2"`)

	s.refusedV2(404, 9001, "GET", fmt.Sprint(project, "/order/", made.OrderID), "", byUser(t, "somebody"))
	require.Nil(t, s.ownedKeys(byUser(t, "somebody")))

	refund := fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID, "/refund")
	require.Equal(t, 200, s.call("admin", "POST", refund, `{"reason": "x", "lines": [{"line_id": "1", "quantity": 1}]}`).status)
	require.Len(t, s.keysOf(made), 1)
	require.Equal(t, s.keysOf(made), s.ownedKeys())
	require.Equal(t, 200, s.call("admin", "POST", refund, `{"reason": "x"}`).status)
	require.Empty(t, s.keysOf(made))
	require.Nil(t, s.ownedKeys())
	require.Equal(t, steamKeys("CODE-3"), s.keysOf(s.buyKeys("game_steam", 1)), "what was taken back is never sold again")
	upload := into[GameKeyUpload](t, s.call("admin", "POST", "/api/v1/admin/items/game_steam/keys", "CODE-1\nCODE-2", header("Content-Type", "text/plain")))
	require.EqualValues(t, 2, upload.Skipped)
}

// Keys of bundles and bonuses, and those that the server gives, are read as well; what the server revokes is
// gone from its order too.
func TestGameKeysOfAllOrigins(t *testing.T) {
	t.Parallel()
	s := keyShop(t)
	box, poster := s.buyKeys("box", 1), s.buyKeys("poster", 1)
	require.Equal(t, steamKeys("CODE-1"), s.keysOf(box))
	require.Equal(t, steamKeys("CODE-2"), s.keysOf(poster))
	one := `[{"user": {"id": "rich"}, "items": [{"sku": "game_steam", "quantity": 1}], "comment": "quest"}]`
	s.v2(200, "POST", project+"/inventory/reward", one, byServer())
	require.Equal(t, steamKeys("CODE-1", "CODE-2", "CODE-3"), s.ownedKeys())
	for range 2 {
		s.v2(200, "POST", project+"/inventory/revoke", one, byServer())
	}
	require.Equal(t, steamKeys("CODE-1"), s.ownedKeys(), "the newest go first")
	require.Empty(t, s.keysOf(poster))
	require.Equal(t, checkout.Done, s.status(poster.OrderID))
	again := s.buyKeys("poster", 1)
	require.Equal(t, steamKeys("CODE-1", "CODE-4"), s.ownedKeys())
	for _, made := range []MadeOrder{box, again} {
		require.Equal(t, 200, s.call("admin", "POST", fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID, "/refund"), `{"reason": "x"}`).status)
		require.Empty(t, s.keysOf(made))
	}
	require.Nil(t, s.ownedKeys())
}

// Codes are told by the order and the inventory, and by nothing else.
func TestGameKeysAreToldToNobodyElse(t *testing.T) {
	t.Parallel()
	s := keyShop(t)
	s.listen(listening)
	made := s.buyKeys("game_steam", 1)
	require.Len(t, s.keysOf(made), 1)
	order := fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID)
	for _, path := range []string{"/api/v1/admin/checkout-orders", order, "/api/v1/admin/audit", "/api/v1/users/rich/notifications", "/api/v1/admin/items/game_steam", "/api/v1/admin/items/game_steam/keys"} {
		a := s.call("admin", "GET", path, "")
		require.Equal(t, 200, a.status, path)
		require.NotContains(t, string(a.body), "CODE-", path)
	}
	for _, a := range []answer{s.v2(200, "POST", "/api/v3/project/1/admin/order/search", "", byServer()), s.call("", "GET", "/sandbox/pay?token="+*made.Token, ""),
		s.call("admin", "POST", order+"/refund", `{"reason": "x"}`)} {
		require.Equal(t, 200, a.status)
		require.NotContains(t, string(a.body), "CODE-")
	}
	require.NotContains(t, s.log.String(), "CODE-")
	for _, table := range []string{"notifications", "audit_log", "webhook_deliveries", "checkout_orders", "inventory_entries", "idempotency_keys"} {
		var leaks int64
		require.NoError(t, s.db.Pool().QueryRow(t.Context(), "SELECT count(*) FROM "+table+" r WHERE r::text LIKE '%CODE-%'").Scan(&leaks))
		require.Zero(t, leaks, table)
	}
}
