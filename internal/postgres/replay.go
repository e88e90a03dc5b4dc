package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// ErrNothingToReplay: the filter fits no canceled order.
var ErrNothingToReplay = errors.New("nothing to replay")

// ErrTooManyOrders: the filter fits more than store.MaxReplayOrders.
var ErrTooManyOrders = errors.New("too many orders for one replay")

// ReplayPreview is what a bulk replay would do.
type ReplayPreview struct {
	Total  store.ReplayTally
	Sample []store.Order // the oldest
}

// PreviewReplay counts the orders that a bulk replay would try again, and writes nothing.
func (db *DB) PreviewReplay(ctx context.Context, projectID int32, f store.ReplayFilter, sample int) (ReplayPreview, error) {
	rows, err := db.q.PreviewReplay(ctx, sqlc.PreviewReplayParams{
		ProjectID:    projectID,
		Reasons:      reasonsOf(f),
		Sku:          optional.Text(f.SKU),
		UserID:       optional.Text(f.UserID),
		Suspected:    f.Suspected,
		CreatedFrom:  f.From,
		CreatedUntil: f.To,
		MaxOrders:    int32(sample),
	})
	if err != nil {
		return ReplayPreview{}, fmt.Errorf("preview replay: %w", err)
	}
	preview := ReplayPreview{Sample: make([]store.Order, len(rows))}
	for i, row := range rows {
		preview.Total = store.ReplayTally{Orders: row.Total, Coins: row.Coins}
		if preview.Sample[i], err = orderOf(row.Order); err != nil {
			return ReplayPreview{}, err
		}
	}
	return preview, nil
}

func reasonsOf(f store.ReplayFilter) []string {
	var reasons []string
	for _, reason := range f.Reasons() {
		reasons = append(reasons, string(reason))
	}
	return reasons
}

// NewReplay asks for many canceled orders to be tried again, by whom and why.
type NewReplay struct {
	ProjectID     int32
	ReplayID      string
	Filter        store.ReplayFilter
	RatePerSecond float64
	Reason        string
	Actor         string
	Idempotency   *Idempotency // may be nil
}

// CreateReplay freezes the orders of a bulk replay. It returns the id of the replay, which is another than n's when
// the idempotency key was used before. It fails with ErrNothingToReplay, ErrTooManyOrders and ErrIdempotencyKeyReused.
func (db *DB) CreateReplay(ctx context.Context, n NewReplay, now time.Time) (replayID string, replayed bool, err error) {
	filter, err := json.Marshal(n.Filter)
	if err != nil {
		return "", false, err
	}
	f := n.Filter
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		replayID, err = n.Idempotency.claim(ctx, q, n.ProjectID, n.ReplayID, now)
		if replayed = replayID != n.ReplayID; err != nil || replayed {
			return err
		}
		total, err := q.FreezeReplay(ctx, sqlc.FreezeReplayParams{
			ReplayID:      n.ReplayID,
			ProjectID:     n.ProjectID,
			Filter:        filter,
			RatePerSecond: n.RatePerSecond,
			Reason:        n.Reason,
			Actor:         n.Actor,
			Now:           now,
			Reasons:       reasonsOf(f),
			Sku:           optional.Text(f.SKU),
			UserID:        optional.Text(f.UserID),
			Suspected:     f.Suspected,
			CreatedFrom:   f.From,
			CreatedUntil:  f.To,
			MaxOrders:     store.MaxReplayOrders + 1,
		})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNothingToReplay
		case err != nil:
			return fmt.Errorf("create replay: %w", err)
		case total > store.MaxReplayOrders:
			return ErrTooManyOrders
		}
		return audit(ctx, q, n.ProjectID, n.Actor, "replay.create", n.ReplayID,
			map[string]any{"filter": f, "rate_per_second": n.RatePerSecond, "orders": total, "reason": n.Reason}, now)
	})
	return replayID, replayed, err
}

// GetReplay reads a bulk replay and how far it is; ErrNotFound when there is none.
func (db *DB) GetReplay(ctx context.Context, projectID int32, replayID string) (store.BulkReplay, store.ReplayProgress, error) {
	row, err := db.q.GetReplay(ctx, sqlc.GetReplayParams{ReplayID: replayID, ProjectID: projectID})
	if err != nil {
		return store.BulkReplay{}, store.ReplayProgress{}, notFound(err)
	}
	replay, err := replayOf(row)
	if err != nil {
		return replay, store.ReplayProgress{}, err
	}
	progress, err := sumReplay(ctx, db.q, replayID)
	return replay, progress, err
}

// ListReplays lists a project's bulk replays, newest first, before the given one (empty: from the newest).
func (db *DB) ListReplays(ctx context.Context, projectID int32, before string, limit int) ([]store.BulkReplay, error) {
	rows, err := db.q.ListReplays(ctx, sqlc.ListReplaysParams{
		ProjectID:  projectID,
		Before:     optional.Text(before),
		MaxReplays: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	replays := make([]store.BulkReplay, len(rows))
	for i, row := range rows {
		if replays[i], err = replayOf(row); err != nil {
			return nil, err
		}
	}
	return replays, nil
}

// ReplayChange asks for a bulk replay to be paused, resumed or canceled, by whom and why.
type ReplayChange struct {
	ProjectID int32
	ReplayID  string
	Command   store.ReplayCommand
	Actor     string
	Reason    string
}

// ChangeReplay decides at once: after a pause or a cancel has committed no further order is begun. A command that
// changes nothing is no error and leaves no trace; one that comes too late is ErrConflict.
func (db *DB) ChangeReplay(ctx context.Context, c ReplayChange, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		status, err := q.LockReplay(ctx, sqlc.LockReplayParams{ReplayID: c.ReplayID, ProjectID: c.ProjectID})
		if err != nil {
			return notFound(err)
		}
		next, ok := store.DecideReplayCommand(store.ReplayStatus(status), c.Command)
		if !ok {
			return ErrConflict
		}
		if next == store.ReplayStatus(status) {
			return nil
		}
		if next == store.ReplayCanceling {
			if err := q.SkipWaitingItems(ctx, sqlc.SkipWaitingItemsParams{
				ReplayID:   c.ReplayID,
				ReasonCode: store.SkippedReplayCanceled,
			}); err != nil {
				return fmt.Errorf("cancel replay: %w", err)
			}
		}
		if err := q.SetReplayStatus(ctx, sqlc.SetReplayStatusParams{ReplayID: c.ReplayID, Status: string(next), Now: now}); err != nil {
			return fmt.Errorf("%s replay: %w", c.Command, err)
		}
		return audit(ctx, q, c.ProjectID, c.Actor, "replay."+string(c.Command), c.ReplayID, map[string]string{"reason": c.Reason}, now)
	})
}

func replayOf(row sqlc.Replay) (store.BulkReplay, error) {
	replay := store.BulkReplay{
		ReplayID:      row.ReplayID,
		ProjectID:     row.ProjectID,
		Status:        store.ReplayStatus(row.Status),
		RatePerSecond: row.RatePerSecond,
		Reason:        row.Reason,
		Actor:         row.Actor,
		Total:         store.ReplayTally{Orders: row.Total, Coins: row.Coins},
		CreatedAt:     row.CreatedAt,
		StartedAt:     row.StartedAt,
		FinishedAt:    row.FinishedAt,
	}
	if err := json.Unmarshal(row.Filter, &replay.Filter); err != nil {
		return replay, fmt.Errorf("filter of replay %s: %w", row.ReplayID, err)
	}
	if row.Report != nil {
		replay.Report = &store.ReplayProgress{}
		if err := json.Unmarshal(row.Report, replay.Report); err != nil {
			return replay, fmt.Errorf("report of replay %s: %w", row.ReplayID, err)
		}
	}
	return replay, nil
}

func sumReplay(ctx context.Context, q *sqlc.Queries, replayID string) (store.ReplayProgress, error) {
	rows, err := q.CountReplayItems(ctx, replayID)
	if err != nil {
		return store.ReplayProgress{}, fmt.Errorf("sum replay: %w", err)
	}
	counts := make([]store.ReplayCount, len(rows))
	for i, row := range rows {
		counts[i] = store.ReplayCount{
			State:       store.ReplayItemState(row.State),
			Reason:      row.ReasonCode,
			ReplayTally: store.ReplayTally{Orders: row.Orders, Coins: row.Coins},
		}
	}
	return store.SumReplay(counts), nil
}
