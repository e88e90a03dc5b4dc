package postgres

import (
	"context"
	"time"

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
