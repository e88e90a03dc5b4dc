package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

const (
	eventPartition     = "events_" // and the day, as 20060102
	eventPartitionDay  = "20060102"
	eventPartitionLock = 7_361_954
	forgetKeysAtOnce   = 10_000
	day                = 24 * time.Hour
)

// sqlc does not know this table of PostgreSQL's.
const listEventPartitions = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'events'::regclass"

// KeepEventPartitions makes the partitions of stored events from today on, for so many days ahead, and drops
// events that were received before keepFrom, a whole day at a time. Days are UTC. Several processes may call
// it at once.
func (db *DB) KeepEventPartitions(ctx context.Context, ahead int, keepFrom, now time.Time) (made, dropped int, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", eventPartitionLock); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, listEventPartitions)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if dropped, err = dropEventPartitions(ctx, tx, names, keepFrom); err != nil {
			return err
		}
		if made, err = makeEventPartitions(ctx, tx, names, ahead, now); err != nil {
			return err
		}
		q := db.q.WithTx(tx)
		return errors.Join(q.KeepEventsFrom(ctx, keepFrom), q.DropStrayEvents(ctx, keepFrom))
	})
	if err != nil {
		return 0, 0, fmt.Errorf("event partitions: %w", err)
	}
	return made, dropped, nil
}

func dropEventPartitions(ctx context.Context, tx pgx.Tx, names []string, keepFrom time.Time) (dropped int, err error) {
	for _, name := range names {
		of, err := time.Parse(eventPartitionDay, strings.TrimPrefix(name, eventPartition))
		if err != nil || of.Add(day).After(keepFrom) {
			continue // the default partition, or one that is kept
		}
		if _, err := tx.Exec(ctx, "DROP TABLE "+pgx.Identifier{name}.Sanitize()); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

func makeEventPartitions(ctx context.Context, tx pgx.Tx, names []string, ahead int, now time.Time) (made int, err error) {
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	for n := range ahead + 1 {
		from := now.UTC().Truncate(day).Add(time.Duration(n) * day)
		name := eventPartition + from.Format(eventPartitionDay)
		if there[name] {
			continue
		}
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE %s PARTITION OF events FOR VALUES FROM ('%s') TO ('%s')",
				pgx.Identifier{name}.Sanitize(), from.Format(time.RFC3339), from.Add(day).Format(time.RFC3339)))
			return err
		})
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == "23514" {
			continue // the default partition has events of that day, and keeps them
		}
		if err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// ForgetEventKeys drops keys of events that were received before that moment, at most some thousands a call, and says
// whether more are left. An event that old is refused, so its key is not asked for.
func (db *DB) ForgetEventKeys(ctx context.Context, before time.Time) (forgotten int64, more bool, err error) {
	forgotten, err = db.q.ForgetEventKeys(ctx, sqlc.ForgetEventKeysParams{Before: before, MaxKeys: forgetKeysAtOnce})
	if err != nil {
		return 0, false, fmt.Errorf("forget event keys: %w", err)
	}
	return forgotten, forgotten == forgetKeysAtOnce, nil
}
