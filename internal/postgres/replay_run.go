package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// settleBatch bounds one statement of SettleReplay.
const settleBatch = 1_000

// SeeReplay reads a replay's status for its workflow, and notes that the workflow is alive and knows it.
func (db *DB) SeeReplay(ctx context.Context, replayID string, now time.Time) (store.ReplayStatus, error) {
	status, err := db.q.SeeReplay(ctx, sqlc.SeeReplayParams{ReplayID: replayID, Now: now})
	return store.ReplayStatus(status), notFound(err)
}

// SettleReplay writes down how the orders begun so far have ended, as the ledger has it.
func (db *DB) SettleReplay(ctx context.Context, replayID string) error {
	for {
		settled, err := db.q.SettleReplayItems(ctx, sqlc.SettleReplayItemsParams{ReplayID: replayID, MaxItems: settleBatch})
		if err != nil {
			return fmt.Errorf("settle replay: %w", err)
		}
		if settled < settleBatch {
			return nil
		}
	}
}

// StandingOfReplay reads where a replay of the given status stands.
func (db *DB) StandingOfReplay(ctx context.Context, replayID string, status store.ReplayStatus) (contract.ReplayStanding, error) {
	row, err := db.q.ReplayStanding(ctx, replayID)
	if err != nil {
		return contract.ReplayStanding{}, fmt.Errorf("standing of replay: %w", err)
	}
	return contract.ReplayStanding{Status: status, Waiting: row.Waiting, InFlight: row.InFlight, Next: row.Next}, nil
}

// WaitingItems lists the orders of a batch that have not had their turn, in the order of their positions.
func (db *DB) WaitingItems(ctx context.Context, batch contract.ReplayBatch) ([]string, error) {
	orders, err := db.q.WaitingItems(ctx, sqlc.WaitingItemsParams{ReplayID: batch.ReplayID, First: batch.First, Past: batch.Past})
	if err != nil {
		return nil, fmt.Errorf("waiting items: %w", err)
	}
	return orders, nil
}

// ReplayItem gives one order of a replay its turn: it is reopened as by ReplayOrder, or refused by the rules,
// or skipped because it is no longer canceled. The item changes in the same transaction, so a repeat changes
// nothing; nor does a replay that no longer runs.
func (db *DB) ReplayItem(ctx context.Context, replayID, orderID string, now time.Time) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		q := db.q.WithTx(tx)
		replay, err := q.TakeReplayItem(ctx, sqlc.TakeReplayItemParams{ReplayID: replayID, OrderID: orderID})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		turn := sqlc.SetReplayItemParams{ReplayID: replayID, OrderID: orderID}
		order := Replay{ProjectID: replay.ProjectID, OrderID: orderID, Actor: replay.Actor, Reason: replayID + ": " + replay.Reason}
		var attempt int32
		err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint: a refusal takes back the reopening alone
			attempt, err = replayOrder(ctx, db.q.WithTx(tx), order, now)
			return err
		})
		var refusal *store.Refusal
		switch {
		case errors.As(err, &refusal):
			turn.State, turn.ReasonCode = string(store.ItemRefused), optional.Text(string(refusal.Code))
		case errors.Is(err, ErrConflict):
			turn.State, turn.ReasonCode = string(store.ItemSkipped), optional.Text(store.SkippedNotCanceled)
		case err != nil:
			return err
		default:
			turn.State, turn.Attempt = string(store.ItemReplayed), &attempt
		}
		return q.SetReplayItem(ctx, turn)
	})
	if err != nil {
		return fmt.Errorf("replay order %s: %w", orderID, err)
	}
	return nil
}

// FinishReplay writes the report once every order has its outcome. A replay that is paused, or has orders without
// one, is left as it is; its status is returned.
func (db *DB) FinishReplay(ctx context.Context, ref contract.ReplayRef, now time.Time) (contract.ReplayResult, error) {
	var result contract.ReplayResult
	err := db.inTx(ctx, func(q *sqlc.Queries) error {
		status, err := q.LockReplay(ctx, sqlc.LockReplayParams{ReplayID: ref.ReplayID, ProjectID: ref.ProjectID})
		if err != nil {
			return notFound(err)
		}
		progress, err := sumReplay(ctx, q, ref.ReplayID)
		if err != nil {
			return err
		}
		result.Status = store.ReplayStatus(status)
		switch {
		case result.Status.Final():
			result.Report = &progress
			return nil
		case progress.Waiting.Orders+progress.InFlight.Orders > 0 || result.Status == store.ReplayPaused:
			return nil
		case result.Status == store.ReplayCanceling:
			result.Status = store.ReplayCanceled
		default:
			result.Status = store.ReplayCompleted
		}
		report, err := json.Marshal(progress)
		if err != nil {
			return err
		}
		result.Report = &progress
		return q.FinishReplay(ctx, sqlc.FinishReplayParams{ReplayID: ref.ReplayID, Status: string(result.Status), Report: report, Now: now})
	})
	if err != nil {
		return contract.ReplayResult{}, fmt.Errorf("finish replay: %w", err)
	}
	return result, nil
}

// ReplaySweepOptions say what LeaseUnseenReplays may hand out.
type ReplaySweepOptions struct {
	Age     time.Duration // a change that is younger is told by whoever made it
	Silence time.Duration // a workflow that has not been heard of for so long may be lost
	Lease   time.Duration // a replay is handed out once in so long
	Limit   int
}

// LeaseUnseenReplays hands out replays whose workflow may not have been started, may not know the latest change, or
// was lost.
func (db *DB) LeaseUnseenReplays(ctx context.Context, o ReplaySweepOptions, now time.Time) ([]contract.ReplayInput, error) {
	rows, err := db.q.LeaseUnseenReplays(ctx, sqlc.LeaseUnseenReplaysParams{
		Now: now, OlderThan: now.Add(-o.Age), SilentSince: now.Add(-o.Silence), LeaseBefore: now.Add(-o.Lease), MaxReplays: int32(o.Limit)})
	if err != nil {
		return nil, fmt.Errorf("lease unseen replays: %w", err)
	}
	replays := make([]contract.ReplayInput, len(rows))
	for i, row := range rows {
		replays[i] = contract.ReplayInput{
			ProjectID:     row.ProjectID,
			ReplayID:      row.ReplayID,
			Orders:        row.Total,
			RatePerSecond: row.RatePerSecond,
		}
		if err := json.Unmarshal(row.Filter, &replays[i].Filter); err != nil {
			return nil, fmt.Errorf("filter of replay %s: %w", row.ReplayID, err)
		}
	}
	return replays, nil
}
