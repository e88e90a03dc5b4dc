package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// Locks are taken in one order by everybody, so that nobody becomes the victim of a deadlock.

func TestImportBesideRefunds(t *testing.T) {
	t.Parallel()
	const rounds = 20
	c := newCounter(t, func(items map[string]*catalog.Item) { items["gun_1"].Limits.PerItem = 1000 })
	order := c.paidOrder("gun_1", rounds)
	var refunds []func() error
	for range rounds {
		refunds = append(refunds, func() error {
			_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
				ProjectID: testkit.Project,
				OrderID:   order,
				Lines:     []checkout.RefundLine{{LineID: "1", Quantity: 1}},
				Reason:    "goodwill",
				Actor:     "test",
			}, c.now)
			return err
		})
	}
	imports := func() error {
		for round := range rounds {
			limited := func(i *catalog.Item) { i.Limits.PerItem = int64(2000 + round) }
			rows := make([]json.RawMessage, 0, 31)
			for k := range 30 {
				rows = append(rows, encoded(t, itemNamed(fmt.Sprintf("x%03d", k), limited)))
			}
			rows = append(rows, encoded(t, itemNamed("gun_1", limited)))
			_, mistakes, _, err := c.ImportItems(t.Context(), postgres.ItemImport{
				ProjectID: testkit.Project,
				Rows:      rows,
				Actor:     "test",
			}, time.Now())
			if err != nil || len(mistakes) > 0 {
				return fmt.Errorf("round %d: %w %v", round, err, mistakes)
			}
		}
		return nil
	}
	oneByOne := func() error {
		for _, refund := range refunds {
			if err := refund(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, err := range at(imports, oneByOne) {
		require.NoError(t, err)
	}
}

// What is paid and not given yet is given before a part of it goes back.
func TestPartialRefundBesideOrders(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) {
		items["gun_1"].Limits.PerItem = 100_000
		items["gun_1"].VirtualPrices = []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: 1, IsDefault: true}}
	})
	forCoins := c.order(checkout.VirtualItem, "gun_1", 1)
	forCoins.VirtualCurrency = catalog.CoinsSKU
	buy := func() error { _, err := c.CreateCheckout(t.Context(), forCoins); return err }
	for round := range 25 {
		made := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
		c.pay(made.OrderID, fmt.Sprint("p", round), c.read(made.OrderID).Price.Payable().String())
		refund := func() error {
			part, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{ProjectID: testkit.Project, OrderID: made.OrderID,
				Lines: []checkout.RefundLine{{LineID: "1", Quantity: 1}}, Reason: "goodwill", Actor: "test"}, c.now)
			if err == nil && part.Whole {
				err = fmt.Errorf("all of it")
			}
			return err
		}
		for _, err := range at(refund, buy, buy) {
			require.NoError(t, err)
		}
		require.Equal(t, checkout.Done, c.read(made.OrderID).Status)
	}
}

func encoded(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return raw
}
