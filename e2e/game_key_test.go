package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

type gameKey struct {
	SKU  string
	DRM  string `json:"drm_sku"`
	Code string
}

// keysOf reads the keys of an order that is delivered, and those of the user's inventory; they agree.
func (n *node) keysOf(userID string, orderID int64) []gameKey {
	n.t.Helper()
	var order struct {
		Status string
		Keys   []gameKey
	}
	a := n.call("", http.MethodGet, fmt.Sprint("/api/v2/project/1/order/", orderID), nil, append(n.tokenOf(userID), "Prefer", "wait=30")...)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	a.into(n.t, &order)
	require.Contains(n.t, []string{"done", "canceled"}, order.Status)
	var owned struct {
		Items []struct{ Keys []gameKey }
	}
	n.asUser(userID, http.MethodGet, "/user/inventory/items", nil, &owned)
	var keys []gameKey
	for _, item := range owned.Items {
		keys = append(keys, item.Keys...)
	}
	require.Equal(n.t, order.Keys, keys)
	return keys
}

// A game is bought by its key and read by its buyer; refunded, it is gone, and the next buyer gets another.
func TestGameKeyIsBoughtReadAndRefunded(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	testkit.Exec(t, s.db, "UPDATE projects SET jwt_secret = '"+userSecret+"', sandbox = true")
	for _, item := range []object{{"sku": "game", "type": "unit"},
		{"sku": "game_steam", "type": "game_key", "unit_sku": "game", "drm_sku": "steam", "prices": []object{{"amount": "19.99", "currency": "USD", "is_default": true}}}} {
		item["name"], item["status"] = object{"en": "A game"}, "published"
		a := n.call("admin", http.MethodPost, "/api/v1/admin/items", item)
		require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	}
	_, _, err := s.db.AddGameKeys(t.Context(), 1, "game_steam", []string{"first", "second"}, "e2e", time.Now())
	require.NoError(t, err)

	buy := func(userID string) int64 {
		var made struct {
			OrderID int64 `json:"order_id"`
			Token   string
		}
		n.asUser(userID, http.MethodPost, "/payment/item/game_steam", object{}, &made)
		a := n.call("", http.MethodPost, "/api/v1/sandbox/payments", object{"token": made.Token, "card": "4111111111111111"})
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return made.OrderID
	}
	order := buy("anna")
	require.Equal(t, []gameKey{{"game_steam", "steam", "first"}}, n.keysOf("anna", order))
	a := n.call("admin", http.MethodPost, fmt.Sprintf("/api/v1/admin/checkout-orders/%d/refund", order), object{"reason": "goodwill"})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Empty(t, n.keysOf("anna", order))
	require.Equal(t, []gameKey{{"game_steam", "steam", "second"}}, n.keysOf("ben", buy("ben")))
	require.Equal(t, http.StatusNotFound, n.call("", http.MethodGet, fmt.Sprint("/api/v2/project/1/order/", order), nil, n.tokenOf("ben")...).status)
	s.verify()
}
