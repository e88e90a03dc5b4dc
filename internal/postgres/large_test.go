package postgres_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/testkit"
)

// These tests count the rows that a statement reads of a large table. What finds its rows by an index reads a few.
const large, few = 20_000, 50

func (c *counter) addManyKeys() {
	c.t.Helper()
	testkit.Exec(c.t, c.DB, `INSERT INTO game_keys (project_id, sku, code, updated_at) SELECT 1, 'game_steam', 'k' || n, now() FROM generate_series(1, `+strconv.Itoa(large)+`) n`)
	testkit.Exec(c.t, c.DB, "ANALYZE game_keys")
}

func (c *counter) requireFewRowsRead(table string, do func(*postgres.DB, *sqlc.Queries) error) {
	c.t.Helper()
	rows, err := c.RowsRead(c.t.Context(), table, do)
	require.NoError(c.t, err)
	require.LessOrEqual(c.t, rows, int64(few), table)
}

func TestAFewOfManyGameKeys(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	c.addManyKeys()
	order := c.buy(c.order(checkout.PaidItem, "game_steam", 2)).OrderID
	key := func(quantity int64) []inventory.Grant {
		return []inventory.Grant{{ID: "1/game_steam", LineID: "1", SKU: "game_steam", Kind: inventory.GameKey, Quantity: quantity}}
	}
	giving := postgres.Giving{ProjectID: testkit.Project, UserID: buyer, Reference: "a", Grants: key(3), OrderID: order}
	c.requireFewRowsRead("game_keys", func(_ *postgres.DB, q *sqlc.Queries) error {
		return postgres.GiveGrantsIn(t.Context(), q, giving, c.now)
	})
	require.EqualValues(t, 3, c.number("SELECT count(*) FROM game_keys WHERE state = 'given' AND order_id IS NOT NULL"), "two were reserved, one was free")
	require.Zero(t, c.number("SELECT count(*) FROM game_keys WHERE state = 'reserved'"))

	giving.Reference, giving.OrderID = "b", 0
	c.requireFewRowsRead("game_keys", func(_ *postgres.DB, q *sqlc.Queries) error {
		return postgres.GiveGrantsIn(t.Context(), q, giving, c.now)
	})
	taking := postgres.TakingBack{
		ProjectID: testkit.Project,
		UserID:    buyer,
		Reference: "a",
		RefundID:  "rf_1",
		Grants:    key(1),
		OrderID:   order,
	}
	c.requireFewRowsRead("game_keys", func(_ *postgres.DB, q *sqlc.Queries) error { return postgres.TakeBackIn(t.Context(), q, taking, c.now) })

	testkit.Exec(t, c.DB, "UPDATE game_keys SET state = 'given', user_id = 'somebody' WHERE state = 'free' AND key_id % 2 = 0")
	testkit.Exec(t, c.DB, "ANALYZE game_keys")
	taking.RefundID, taking.OrderID = "rf_2", 0
	c.requireFewRowsRead("game_keys", func(_ *postgres.DB, q *sqlc.Queries) error { return postgres.TakeBackIn(t.Context(), q, taking, c.now) })
	require.EqualValues(t, 4, c.owns("game_steam"))
	require.EqualValues(t, 2, c.number("SELECT count(*) FROM game_keys WHERE state = 'revoked'"))
}

func TestAFewOfManyOrders(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	from := c.now.Add(-1000 * time.Minute)
	testkit.Exec(t, c.DB, `INSERT INTO checkout_orders (order_id, project_id, user_id, status, mode, currency_type, price, lines, holds, expires_at, sweep_at, told, paid, created_at, updated_at, paid_at, finished_at)
		SELECT 1000 + n, 1, '`+buyer+`', 'done', 'default', 'real', '{"amount": "1.99", "amount_without_discount": "1.99", "currency": "USD"}', '[]', '{}', now(), now(), 1, 1.99,
			'`+from.Format(time.RFC3339)+`'::timestamptz - n * interval '1 minute', now(), now(), now() FROM generate_series(1, `+strconv.Itoa(large)+`) n`)
	testkit.Exec(t, c.DB, `INSERT INTO checkout_payments (order_id, provider, provider_id, amount, currency, sandbox, outcome, reason, created_at)
		SELECT o.order_id, 'acme', o.order_id::text, 1.99, 'USD', false, 'accepted', 'paid', now() FROM checkout_orders o`)
	testkit.Exec(t, c.DB, `INSERT INTO checkout_returns (payment_id, amount, created_at, reference, given_by, given_at) SELECT p.payment_id, 1.99, now(), 'tx-' || p.payment_id, 'acme', now() FROM checkout_payments p`)
	order := c.buy(c.order(checkout.PaidItem, "gun_1", 1)).OrderID
	testkit.Exec(t, c.DB, "ANALYZE checkout_orders, checkout_payments, checkout_returns")

	day := postgres.CheckoutSearch{From: new(from.Add(-19_000 * time.Minute)), Until: new(from.Add(-18_990 * time.Minute)), Limit: 10}
	for name, list := range map[string]func(db *postgres.DB) (int, error){
		"search in a time": func(db *postgres.DB) (int, error) {
			_, total, err := db.SearchCheckouts(t.Context(), testkit.Project, day)
			return int(total), err
		},
		"new": func(db *postgres.DB) (int, error) {
			found, err := db.ListCheckouts(t.Context(), testkit.Project, postgres.CheckoutFilter{Status: "new", Limit: 50})
			return len(found), err
		},
		"of a user": func(db *postgres.DB) (int, error) {
			found, err := db.ListCheckouts(t.Context(), testkit.Project, postgres.CheckoutFilter{UserID: "nobody", Limit: 50})
			return len(found), err
		},
		"held payments": func(db *postgres.DB) (int, error) {
			found, err := db.ListPayments(t.Context(), testkit.Project, postgres.PaymentFilter{Outcome: "held", Limit: 50})
			return len(found), err
		},
		"what is owed": func(db *postgres.DB) (int, error) {
			found, err := db.ListReturns(t.Context(), testkit.Project, postgres.ReturnFilter{Given: new(false), Limit: 50})
			return len(found), err
		},
	} {
		for range 8 { // from the sixth time on, PostgreSQL may take a plan that fits all parameters
			for _, table := range []string{"checkout_orders", "checkout_payments", "checkout_returns"} {
				c.requireFewRowsRead(table, func(db *postgres.DB, _ *sqlc.Queries) error {
					found, err := list(db)
					require.Equal(t, map[string]int{"search in a time": 10, "new": 1}[name], found, name)
					return err
				})
			}
		}
	}
	found, total, err := c.SearchCheckouts(t.Context(), testkit.Project, postgres.CheckoutSearch{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []int64{order, 1001, large + 1}, []int64{found[0].OrderID, found[1].OrderID, total}, "the newest first")
}
