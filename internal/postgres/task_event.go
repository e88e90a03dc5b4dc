package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// StoredEvent is an event that was accepted, with what it meant for the tasks that looked at it.
type StoredEvent struct {
	EventID      string
	IdentifiedBy tasks.Identity
	Source       string // the door: rest, webhook, kafka, rabbitmq
	UserID       string
	Type         string
	OccurredAt   time.Time
	ReceivedAt   time.Time
	Payload      json.RawMessage
	Decisions    []tasks.Decision
	Duplicates   int // how often it was delivered again
}

// FindEvent reads the event of a key; ErrNotFound when it was never accepted, or is past keeping.
func (db *DB) FindEvent(ctx context.Context, projectID int32, key [16]byte) (StoredEvent, error) {
	row, err := db.q.FindEvent(ctx, sqlc.FindEventParams{Key: pgtype.UUID{Bytes: key, Valid: true}, ProjectID: projectID})
	if err != nil {
		return StoredEvent{}, notFound(err)
	}
	event := StoredEvent{
		EventID:      row.EventID,
		IdentifiedBy: tasks.Identity(row.IdentifiedBy),
		Source:       row.Source,
		UserID:       row.UserID,
		Type:         row.EventType,
		OccurredAt:   row.OccurredAt,
		ReceivedAt:   row.ReceivedAt,
		Payload:      row.Payload,
		Duplicates:   int(row.Duplicates),
	}
	if row.Decisions != nil {
		if err := json.Unmarshal(row.Decisions, &event.Decisions); err != nil {
			return event, fmt.Errorf("decisions of event %s: %w", row.EventID, err)
		}
	}
	return event, nil
}

// EventPeriod names stored events of one type by when they happened.
type EventPeriod struct {
	Type        string
	From, Until time.Time // from inclusive, until exclusive
	Limit       int
}

// maxClockAhead bounds by how much an event may have happened after it was received: a sender's clock may be fast.
const maxClockAhead = 24 * time.Hour

// EachStoredEvent calls use for each event of the period, in the order in which they happened, as the rows
// arrive: they are never all in memory. Only UserID, OccurredAt and Payload are set.
func (db *DB) EachStoredEvent(ctx context.Context, projectID int32, p EventPeriod, use func(StoredEvent) error) error {
	rows, err := db.pool.Query(ctx, sqlc.StoredEvents, projectID, p.Type, p.From, p.Until, p.From.Add(-maxClockAhead), p.Limit)
	if err != nil {
		return fmt.Errorf("stored events: %w", err)
	}
	var event StoredEvent
	_, err = pgx.ForEachRow(rows, []any{&event.UserID, &event.OccurredAt, &event.Payload}, func() error {
		err := use(event)
		event.Payload = nil // the next row must not write over it
		return err
	})
	if err != nil {
		return fmt.Errorf("stored events: %w", err)
	}
	return nil
}
