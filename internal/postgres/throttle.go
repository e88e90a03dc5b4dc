package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// Bucket is a rate limit that all processes share: it fills at Rate tokens a second up to Burst.
type Bucket struct {
	ID    string
	Rate  float64
	Burst int
}

// Grant is what a bucket gave: Tokens, and how many it has left, which may be a fraction.
type Grant struct {
	Tokens int
	Left   float64
}

// TakeTokens takes up to want tokens (at most Burst) in one statement. A bucket that was never used, or that
// PostgreSQL lost in a crash, is full.
func (db *DB) TakeTokens(ctx context.Context, b Bucket, want int) (Grant, error) {
	row, err := db.q.TakeTokens(ctx, sqlc.TakeTokensParams{Bucket: b.ID, Burst: float64(b.Burst), Rate: b.Rate, Want: int32(want)})
	if err != nil {
		return Grant{}, fmt.Errorf("take tokens: %w", err)
	}
	return Grant{Tokens: int(row.Granted), Left: row.Tokens}, nil
}

// ForgetIdleBuckets deletes the buckets that nobody has used for 10 minutes.
func (db *DB) ForgetIdleBuckets(ctx context.Context) error {
	if err := db.q.ForgetIdleBuckets(ctx); err != nil {
		return fmt.Errorf("forget idle buckets: %w", err)
	}
	return nil
}

type poolWaitKey struct{}

// WithPoolWait bounds how long calls under ctx wait for a connection of the pool, whatever they do with it then. When
// it is over they fail with an error for which Unavailable is true. Without it they wait as long as ctx lasts.
func WithPoolWait(ctx context.Context, longest time.Duration) context.Context {
	return context.WithValue(ctx, poolWaitKey{}, longest)
}

// poolWait is the pool's tracer, since only a tracer may give an acquire, and nothing else, a context of its own.
type poolWait struct{}

type boundedAcquire struct {
	context.Context
	cancel context.CancelFunc
}

func (poolWait) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	longest, ok := ctx.Value(poolWaitKey{}).(time.Duration)
	if !ok {
		return ctx
	}
	bounded, cancel := context.WithTimeout(ctx, longest)
	return &boundedAcquire{bounded, cancel}
}

func (poolWait) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	if bounded, ok := ctx.(*boundedAcquire); ok {
		bounded.cancel()
	}
}

// Queries are not traced; pgx asks for these of every tracer.

func (poolWait) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (poolWait) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
