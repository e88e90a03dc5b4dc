package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/quickpass/quickpass/internal/postgres"
)

// bareCounter is the smallest thing that stores events and counts them: one table with the columns of ours
// and a unique key, one of counters, and one statement a batch. It knows no users, tasks, conditions or
// windows, and nobody else may write.
type bareCounter struct {
	db *postgres.DB
	// Each writer has players of its own, so that none waits for another.
	writers chan int
}

const bareTables = `
	CREATE TABLE bare_events (
		key uuid PRIMARY KEY, project_id integer NOT NULL, event_id text NOT NULL, identified_by text NOT NULL, source text NOT NULL, user_id text NOT NULL,
		event_type text NOT NULL, occurred_at timestamptz NOT NULL, received_at timestamptz NOT NULL, payload json NOT NULL, decisions json);
	CREATE TABLE bare_counters (user_id text PRIMARY KEY, progress numeric NOT NULL) WITH (fillfactor = 70);`

const bareInsertStatement = `
	INSERT INTO bare_events (key, project_id, event_id, identified_by, source, user_id, event_type, occurred_at, received_at, payload, decisions)
	SELECT u.key, 1, u.event_id, 'event_id', 'rest', u.user_id, 'bet_placed', u.occurred_at, $1, u.payload::json, u.decisions::json
	FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[]) AS u (key, event_id, user_id, occurred_at, payload, decisions)
	ON CONFLICT (key) DO NOTHING`

const bareUpsertStatement = `WITH new AS (` + bareInsertStatement + ` RETURNING user_id)
	INSERT INTO bare_counters AS c (user_id, progress) SELECT n.user_id, count(*) FROM new n GROUP BY n.user_id
	ON CONFLICT (user_id) DO UPDATE SET progress = c.progress + EXCLUDED.progress`

func newBareCounter(ctx context.Context, db *postgres.DB) (*bareCounter, error) {
	if _, err := db.Pool().Exec(ctx, bareTables); err != nil {
		return nil, fmt.Errorf("bare tables: %w", err)
	}
	b := &bareCounter{db: db, writers: make(chan int, bareWriters)}
	for n := range bareWriters {
		b.writers <- n
	}
	return b, nil
}

// reset begins with no event, which favours it, and with all counters at 0.
func (b *bareCounter) reset(ctx context.Context) error {
	_, err := b.db.Pool().Exec(ctx, "TRUNCATE bare_events, bare_counters")
	if err == nil {
		_, err = b.db.Pool().Exec(ctx, "INSERT INTO bare_counters (user_id, progress) SELECT $1 || lpad(n::text, 6, '0'), 0 FROM generate_series(0, $2 - 1) AS n", player, manyWindows)
	}
	if err == nil {
		_, err = b.db.Pool().Exec(ctx, "VACUUM (ANALYZE) bare_counters")
	}
	return err
}

// write sends one batch.
func (b *bareCounter) write(ctx context.Context, statement string, windows int, note *notes) error {
	writer := <-b.writers
	defer func() { b.writers <- writer }()
	begin := time.Now()
	var keys []pgtype.UUID
	var ids, users, payloads, decisions []string
	var times []time.Time
	for range eventBatch {
		bet := newBet(windows)
		bet.player += writer - bet.player%bareWriters
		key := pgtype.UUID{Valid: true}
		for i := range key.Bytes {
			key.Bytes[i] = byte(rand.Uint32())
		}
		user := bet.userID()
		keys, ids, users, times = append(keys, key), append(ids, bet.id), append(users, user), append(times, bet.at)
		payloads = append(payloads, string(bet.appendTo(nil)))
		decisions = append(decisions, `[{"task_id":1,"version":1,"window_id":"bench-window-0`+user[len(player):]+`","code":"counted","added":"1"}]`)
	}
	if _, err := b.db.Pool().Exec(ctx, statement, begin, keys, ids, users, times, payloads, decisions); err != nil {
		return fmt.Errorf("bare batch: %w", err)
	}
	note.accept(begin)
	return nil
}

// verify holds that what was stored was counted.
func (b *bareCounter) verify(ctx context.Context) error {
	var stored, counted int64
	err := b.db.Pool().QueryRow(ctx, "SELECT (SELECT count(*) FROM bare_events), (SELECT sum(progress)::bigint FROM bare_counters)").Scan(&stored, &counted)
	if err == nil && stored != counted {
		err = fmt.Errorf("%d events are stored and %d counted", stored, counted)
	}
	return err
}
