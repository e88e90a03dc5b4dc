package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

func TestLedgerIsAppendOnly(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	for _, statement := range []string{"UPDATE ledger_transfers SET amount = 1", "DELETE FROM ledger_transfers", "DELETE FROM audit_log", "TRUNCATE audit_log"} {
		require.ErrorContains(t, testkit.TryExec(t, s.DB, statement), "append-only")
	}
}
