package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	for rule, damage := range map[string]string{
		"wallets equal their transfers":                             `UPDATE users SET available = available + 1`,
		"held coins equal open orders":                              `UPDATE users SET held = held + 1`,
		"stock = initial + restocked - sold - reserved, as ordered": `UPDATE stock SET sold = sold + 1, reserved = reserved - 1`,
		"restocked equals the changes of stock":                     `UPDATE stock SET restocked = restocked + 1, available = available + 1`,
		"every order moved its coins once":                          `UPDATE orders SET attempt = 2`,
		"every transfer belongs to an order or an adjustment":       `UPDATE orders SET order_id = 'qp_other' WHERE status = 'processing'`,
		"every outcome was told once":                               `DELETE FROM notifications WHERE order_id IS NOT NULL`,
		"every order ends within its bound":                         `UPDATE orders SET updated_at = updated_at - interval '1 day' WHERE status = 'processing'`,
		"every order is for a product":                              `UPDATE orders SET sku = 'gone'`,
		"refunds sum to what their orders say":                      `UPDATE orders SET refunded_coins = 1 WHERE status = 'completed'`,
		"the audit log is one chain":                                `UPDATE audit_head SET hash = ''`,
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 10, 1_000)
			s.capture(s.reserve("buyer"), 1)
			s.reserve("buyer")
			s.requireClean()
			testkit.Exec(t, s.DB, damage)
			checks, err := s.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, s.clock)
			require.NoError(t, err)
			broken := map[string][]string{}
			for _, check := range checks {
				broken[check.Rule] = check.Broken
			}
			require.NotEmpty(t, broken[rule], "%v", broken)
		})
	}
}

// Two chests, of which each has two guns and a pass, and two pieces of an item whose name looks like a
// refund's; another of each, refunded.
func newSoldChests(t *testing.T) *counter {
	c := newCounter(t)
	odd, _, err := c.CreateItem(t.Context(), itemToAdd(itemNamed("rf_1")), c.now)
	require.NoError(t, err)
	c.items = append(c.items, odd)
	c.paidOrder("chest", 2)
	c.paidOrder("rf_1", 2)
	part := c.paidOrder("gun_1", 3)
	c.refund(part, checkout.RefundLine{LineID: "1", Quantity: 1})
	c.refund(c.paidOrder("chest", 1))
	unpaid := c.buy(c.order(checkout.PaidItem, "chest", 1)).OrderID
	_, err = c.CancelCheckout(t.Context(), testkit.Project, buyer, unpaid, c.now)
	require.NoError(t, err)
	c.buy(c.order(checkout.PaidItem, "chest", 1))
	return c
}

func TestVerifyFindsGoodsThatAreAmiss(t *testing.T) {
	t.Parallel()
	const gave, tookBack = "every order that is done gave each line once", "what refunds of orders pay back was taken back"
	for damage, rule := range map[string]string{
		`SELECT 1`: "", // also of an item whose name looks like a refund's
		`DELETE FROM inventory_entries WHERE reference = 'checkout/1/1/gun_1'`:                                                          gave,
		`UPDATE inventory_entries SET delta = 3 WHERE reference = 'checkout/1/1/gun_1'`:                                                 gave,
		`UPDATE subscription_entries SET entry = jsonb_set(entry, '{extended,quantity}', '1') WHERE extension_id = 'checkout/1/1/pass'`: gave,
		`DELETE FROM inventory_entries WHERE reference = 'checkout/2/1/rf_1'`:                                                           gave,
		`UPDATE inventory_entries SET user_id = 'another' WHERE reference = 'checkout/1/1/gun_1'`:                                       gave,
		`UPDATE inventory_entries SET reference = 'checkout/1/1/skin' WHERE reference = 'checkout/1/1/gun_1'`:                           gave,
		`UPDATE inventory_entries SET reference = 'checkout/77/1/gun_1' WHERE reference = 'checkout/1/1/gun_1'`:                         gave,
		`UPDATE inventory_entries SET reference = replace(reference, '/1/1/', '/6/1/') WHERE reference LIKE 'checkout/1/1/%'`:           gave, // to an order that is not paid
		`DELETE FROM inventory_entries WHERE reference = 'checkout/4/1/gun_1' AND action = 'grant'`:                                     gave,
		`DELETE FROM inventory_entries WHERE reference LIKE 'checkout/3/1/gun_1/%'`:                                                     tookBack,
		`DELETE FROM inventory_entries WHERE reference LIKE 'checkout/4/1/pass/%'`:                                                      tookBack,
		`UPDATE inventory_entries SET delta = -3 WHERE reference LIKE 'checkout/4/1/gun_1/%'`:                                           tookBack,
		`DELETE FROM checkout_refunds WHERE order_id = 4`:                                                                               tookBack,
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			c := newSoldChests(t)
			testkit.Exec(t, c.DB, "ALTER TABLE inventory_entries DISABLE TRIGGER USER; ALTER TABLE subscription_entries DISABLE TRIGGER USER; "+damage)
			checks, err := c.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, c.now)
			require.NoError(t, err)
			for _, check := range checks {
				if check.Rule == gave || check.Rule == tookBack {
					require.Equal(t, check.Rule == rule, len(check.Broken) > 0, "%s: %v", check.Rule, check.Broken)
				}
			}
		})
	}
}

func TestLedgerIsAppendOnly(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	for _, statement := range []string{"UPDATE ledger_transfers SET amount = 1", "DELETE FROM ledger_transfers", "DELETE FROM audit_log", "TRUNCATE audit_log"} {
		require.ErrorContains(t, testkit.TryExec(t, s.DB, statement), "append-only")
	}
}
