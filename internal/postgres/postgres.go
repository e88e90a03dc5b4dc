// Package postgres keeps the truth about what is owned: wallets, stock, orders. Every function is one
// statement or one short transaction, and repeating it with the same ids changes nothing.
package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// ErrNotFound: no row of that id in the caller's project.
var ErrNotFound = errors.New("not found")

// ErrConflict: the row is no longer in the state that the change needs.
var ErrConflict = errors.New("conflict")

// ErrIdempotencyKeyReused: the key was used before with another request.
var ErrIdempotencyKeyReused = errors.New("idempotency key reused with another request")

// ErrTransactionClash: another order was completed with this transaction id of the main product.
var ErrTransactionClash = errors.New("transaction id belongs to another order")

// DB is QuickPass's database.
type DB struct {
	pool *pgxpool.Pool
	q    *sqlc.Queries
}

// Options of a connection pool.
type Options struct {
	URL            string
	MaxConnections int32
	// StatementTimeout bounds every statement, so that a stuck lock becomes an error.
	StatementTimeout time.Duration
}

// Open makes a pool; it connects when first used.
func Open(ctx context.Context, options Options) (*DB, error) {
	config, err := pgxpool.ParseConfig(options.URL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	config.MaxConns = options.MaxConnections
	config.ConnConfig.Tracer = poolWait{}
	params := config.ConnConfig.RuntimeParams
	params["application_name"] = "quickpass"
	params["timezone"] = "UTC"
	params["statement_timeout"] = fmt.Sprint(options.StatementTimeout.Milliseconds())
	params["idle_in_transaction_session_timeout"] = fmt.Sprint(options.StatementTimeout.Milliseconds())
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &DB{pool: pool, q: sqlc.New(pool)}, nil
}

// Close waits for borrowed connections and closes all.
func (db *DB) Close() { db.pool.Close() }

// Ping answers whether the database does.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Idempotency is a caller's key and the hash of the request it came with.
type Idempotency struct {
	Key         string
	RequestHash [sha256.Size]byte
}

// claim stores the key with the resource that the request makes, in the transaction of the effect.
// When somebody was first it returns their resource.
func (i *Idempotency) claim(ctx context.Context, q *sqlc.Queries, projectID int32, resourceID string, now time.Time) (first string, err error) {
	if i == nil {
		return resourceID, nil
	}
	row, err := q.ClaimIdempotencyKey(ctx, i.claimParams(projectID, resourceID, now))
	if err != nil {
		return "", fmt.Errorf("claim idempotency key: %w", err)
	}
	return row.ResourceID, i.check(row)
}

func (i *Idempotency) claimParams(projectID int32, resourceID string, now time.Time) sqlc.ClaimIdempotencyKeyParams {
	return sqlc.ClaimIdempotencyKeyParams{ProjectID: projectID, Key: i.Key, RequestHash: i.RequestHash[:], ResourceID: resourceID, Now: now}
}

func (i *Idempotency) check(row sqlc.ClaimIdempotencyKeyRow) error {
	if string(row.RequestHash) != string(i.RequestHash[:]) {
		return ErrIdempotencyKeyReused
	}
	return nil
}

// inTx runs f in one transaction; an error rolls everything back.
func (db *DB) inTx(ctx context.Context, f func(q *sqlc.Queries) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error { return f(db.q.WithTx(tx)) })
}

// notFound turns pgx's empty answer into ours.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// violates tells whether a constraint of that name refused the change.
func violates(err error, constraint string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.ConstraintName == constraint
}

// Pool gives tests and benchmarks a look at what no function here tells.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }
