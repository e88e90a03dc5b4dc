package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestCartsOfAUserAreBounded(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	gun := checkout.LineRequest{SKU: "gun_1", Quantity: 1}
	for n := range postgres.MaxCarts {
		require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), fmt.Sprint(n), gun))
	}
	c.refused(c.SetCartItem(t.Context(), c.shopper(buyer), "another", gun), checkout.InvalidCart)
	require.EqualValues(t, postgres.MaxCarts, c.number("SELECT count(*) FROM carts"), "what was refused is not there")
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "0", gun), "a cart that is there can be changed")
	require.NoError(t, c.ClearCart(t.Context(), c.shopper(buyer), "0"))
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "another", gun))
	c.now = c.now.Add(c.shopper(buyer).CartTTL)
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "later", gun), "those whose time is up do not count")
}

// Who looks at a cart remembers the prices afterwards. By then the user may have seen others.
func TestAnEarlierViewOfACartIsNotRemembered(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	_, err := c.FillCart(t.Context(), c.shopper(buyer), postgres.CurrentCart, []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}})
	require.NoError(t, err)
	shown := func() (raw json.RawMessage) {
		require.NoError(t, c.Pool().QueryRow(t.Context(), "SELECT shown FROM carts").Scan(&raw))
		return raw
	}
	before := shown()
	_, err = c.FillCart(t.Context(), c.shopper(buyer), postgres.CurrentCart, []checkout.LineRequest{{SKU: "skin", Quantity: 1}})
	require.NoError(t, err)
	after := shown()
	view := sqlc.SaveCartShownParams{
		ProjectID:  testkit.Project,
		UserID:     buyer,
		CartID:     postgres.CurrentCart,
		Shown:      json.RawMessage(`{}`),
		SeenBefore: before,
	}
	require.NoError(t, sqlc.New(c.Pool()).SaveCartShown(t.Context(), view))
	require.JSONEq(t, string(after), string(shown()))
	view.SeenBefore = after
	require.NoError(t, sqlc.New(c.Pool()).SaveCartShown(t.Context(), view))
	require.JSONEq(t, `{}`, string(shown()))
}
