package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// GiveGrants is giveGrants in a transaction of its own.
func (db *DB) GiveGrants(ctx context.Context, g Giving, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error { return giveGrants(ctx, q, g, now) })
}

// TakeBack is takeBack in a transaction of its own.
func (db *DB) TakeBack(ctx context.Context, t TakingBack, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error { return takeBack(ctx, q, t, now) })
}

// GiveGrantsIn and TakeBackIn are giveGrants and takeBack.
var GiveGrantsIn, TakeBackIn = giveGrants, takeBack

// RowsRead does something in a transaction of its own, and counts the rows that it read of a table: by the
// statistics that PostgreSQL keeps of the transaction.
func (db *DB) RowsRead(ctx context.Context, table string, do func(*DB, *sqlc.Queries) error) (rows int64, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		read := func() (n int64, err error) {
			err = tx.QueryRow(ctx, "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1", table).Scan(&n)
			return n, err
		}
		before, err := read()
		if err != nil {
			return fmt.Errorf("statistics: %w", err)
		}
		q := db.q.WithTx(tx)
		if err := do(&DB{q: q}, q); err != nil { // what reads in one statement needs no pool
			return err
		}
		rows, err = read()
		rows -= before
		return err
	})
	return rows, err
}
