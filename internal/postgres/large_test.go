package postgres_test

import (
	"strconv"
	"testing"

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

func (c *counter) requireFewRowsRead(table string, do func(*sqlc.Queries) error) {
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
	c.requireFewRowsRead("game_keys", func(q *sqlc.Queries) error { return postgres.GiveGrantsIn(t.Context(), q, giving, c.now) })
	require.EqualValues(t, 3, c.number("SELECT count(*) FROM game_keys WHERE state = 'given' AND order_id IS NOT NULL"), "two were reserved, one was free")
	require.Zero(t, c.number("SELECT count(*) FROM game_keys WHERE state = 'reserved'"))

	giving.Reference, giving.OrderID = "b", 0
	c.requireFewRowsRead("game_keys", func(q *sqlc.Queries) error { return postgres.GiveGrantsIn(t.Context(), q, giving, c.now) })
	taking := postgres.TakingBack{ProjectID: testkit.Project, UserID: buyer, Reference: "a", RefundID: "rf_1", Grants: key(1), OrderID: order}
	c.requireFewRowsRead("game_keys", func(q *sqlc.Queries) error { return postgres.TakeBackIn(t.Context(), q, taking, c.now) })

	testkit.Exec(t, c.DB, "UPDATE game_keys SET state = 'given', user_id = 'somebody' WHERE state = 'free' AND key_id % 2 = 0")
	testkit.Exec(t, c.DB, "ANALYZE game_keys")
	taking.RefundID, taking.OrderID = "rf_2", 0
	c.requireFewRowsRead("game_keys", func(q *sqlc.Queries) error { return postgres.TakeBackIn(t.Context(), q, taking, c.now) })
	require.EqualValues(t, 4, c.owns("game_steam"))
	require.EqualValues(t, 2, c.number("SELECT count(*) FROM game_keys WHERE state = 'revoked'"))
}
