package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// The parts that a reward can have, at most one of each.
const (
	rewardCoins       = "coins"
	rewardMainProduct = "main_product"
	rewardItems       = "items"
)

// rewardID names a part of a window's reward, in the ledger and to the main product.
func rewardID(windowID, kind string) string { return windowID + "." + kind }

// Reward is one part of what a completed window owes.
type Reward struct {
	RewardID      string
	WindowID      string
	UserID        string
	TaskID        int64
	TaskName      string
	Kind          string           // coins, main_product or items
	Coins         int64            // 0 unless Kind is coins
	Items         json.RawMessage  // tasks.ItemReward; nil unless Kind is items
	RewardType    string           // of the main product
	Amount        *decimal.Decimal // of RewardType
	Status        contract.RewardStatus
	Calls         int    // made to the main product, over all replays
	ReasonCode    string // why it is not delivered
	ReasonMessage string
	TransactionID string           // the main product's
	NewBalance    *decimal.Decimal // right after it was delivered: coins, or as the main product told
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// RewardFilter narrows a list of rewards; empty fields do not.
type RewardFilter struct {
	UserID   string
	TaskID   *int64
	Statuses []contract.RewardStatus
	Before   string // cursor: rewards older than this one
	Limit    int
}

// Rewards lists a project's rewards, newest first.
func (db *DB) Rewards(ctx context.Context, projectID int32, f RewardFilter) ([]Reward, error) {
	params := sqlc.ListRewardsParams{
		ProjectID:  projectID,
		Before:     optional.Text(f.Before),
		UserID:     optional.Text(f.UserID),
		TaskID:     f.TaskID,
		MaxRewards: int32(f.Limit),
	}
	for _, status := range f.Statuses {
		params.Statuses = append(params.Statuses, string(status))
	}
	list := db.q.ListRewards
	if len(f.Statuses) > 0 && !slices.Contains(f.Statuses, contract.RewardDelivered) {
		list = db.listOwed
	}
	rows, err := list(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("list rewards: %w", err)
	}
	rewards := make([]Reward, len(rows))
	for i, row := range rows {
		rewards[i] = rewardOf(row.TaskReward)
		rewards[i].TaskName = row.TaskName
	}
	return rewards, nil
}

func (db *DB) listOwed(ctx context.Context, params sqlc.ListRewardsParams) ([]sqlc.ListRewardsRow, error) {
	owed, err := db.q.ListOwedRewards(ctx, sqlc.ListOwedRewardsParams(params))
	rows := make([]sqlc.ListRewardsRow, len(owed))
	for i, row := range owed {
		rows[i] = sqlc.ListRewardsRow(row)
	}
	return rows, err
}

// BeginRewardCall counts a call to the main product before it is made. The call may be made only if the answer is
// pending. It fails with ErrNotFound.
func (db *DB) BeginRewardCall(ctx context.Context, rewardID string) (contract.RewardStatus, error) {
	status, err := db.q.BeginRewardCall(ctx, rewardID)
	return contract.RewardStatus(status), notFound(err)
}

// RecordReward writes what became of the main product's part, tells the user if it was delivered, and settles the
// window when nothing else is owed. A reward that is not pending stays as it is, but for one case: what the main
// product has given is given, whatever was written before. It fails with ErrNotFound.
func (db *DB) RecordReward(ctx context.Context, rewardID string, result contract.RewardResult, now time.Time) error {
	err := db.inTx(ctx, func(q *sqlc.Queries) error { return recordReward(ctx, q, rewardID, result, now) })
	if err != nil {
		return fmt.Errorf("record reward %s: %w", rewardID, err)
	}
	return nil
}

func recordReward(ctx context.Context, q *sqlc.Queries, rewardID string, result contract.RewardResult, now time.Time) error {
	found, err := q.FindReward(ctx, rewardID)
	if err != nil {
		return notFound(err)
	}
	w, err := lockWindow(ctx, q, found.WindowID)
	if err != nil {
		return err
	}
	part, err := q.RecordReward(ctx, sqlc.RecordRewardParams{
		RewardID:      rewardID,
		Status:        string(result.Status),
		TransactionID: optional.Text(result.TransactionID),
		NewBalance:    result.NewBalance,
		ReasonCode:    optional.Text(result.Code),
		ReasonMessage: optional.Text(result.Message),
		Now:           now,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if result.Status == contract.RewardDelivered {
		if err := w.tell(ctx, q, "reward_received", partDetail(part), now); err != nil {
			return err
		}
	}
	return q.SettleTaskWindow(ctx, sqlc.SettleTaskWindowParams{WindowID: w.WindowID, Now: now})
}

// RewardReplay asks for a reward that could not be given to be tried again, by whom and why.
type RewardReplay struct {
	ProjectID   int32
	RewardID    string
	Actor       string
	Reason      string
	Idempotency *Idempotency
}

// ReplayReward makes the reward pending and reopens its window, whose workflow then delivers: under the same
// reward id, so that a main product that had given it after all gives it no second time. Coins that were over
// the budget are paid if the task's budget has room by then. It fails with ErrNotFound, with
// ErrIdempotencyKeyReused, and with ErrConflict when the reward is delivered or pending. replayed tells that
// the idempotency key was used before; then there is no change.
func (db *DB) ReplayReward(ctx context.Context, r RewardReplay, now time.Time) (change TaskWindowChange, replayed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		resource := "reward/" + r.RewardID + "/" + xid.New().String() // tells two requests of one instant apart
		first, err := r.Idempotency.claim(ctx, q, r.ProjectID, resource, now)
		if replayed = first != resource; err != nil || replayed {
			return err
		}
		change, err = replayReward(ctx, q, r, now)
		return err
	})
	return change, replayed && err == nil, err
}

func replayReward(ctx context.Context, q *sqlc.Queries, r RewardReplay, now time.Time) (change TaskWindowChange, err error) {
	found, err := q.FindReward(ctx, r.RewardID)
	if err != nil {
		return change, notFound(err)
	}
	if found.ProjectID != r.ProjectID {
		return change, ErrNotFound
	}
	w, err := lockWindow(ctx, q, found.WindowID)
	if err != nil {
		return change, err
	}
	reopened, err := q.ReopenReward(ctx, sqlc.ReopenRewardParams{RewardID: r.RewardID, Now: now})
	if err != nil {
		return change, fmt.Errorf("replay reward: %w", err)
	}
	if reopened == 0 {
		return change, ErrConflict
	}
	changes, err := q.ReopenTaskWindow(ctx, sqlc.ReopenTaskWindowParams{WindowID: w.WindowID, Now: now})
	if err != nil {
		return change, fmt.Errorf("replay reward: %w", err)
	}
	return w.change(tasks.Completed, changes), audit(ctx, q, r.ProjectID, r.Actor, "reward.replay", r.RewardID, map[string]string{"reason": r.Reason}, now)
}

// partDetail is what a user is told of a part.
func partDetail(part sqlc.TaskReward) map[string]any {
	detail := map[string]any{"reward_id": part.RewardID, "kind": part.Kind, "status": part.Status}
	switch part.Kind {
	case rewardCoins:
		detail["coins"] = *part.Coins
	case rewardItems:
		detail["items"] = part.Items
	default:
		detail["reward_type"], detail["amount"] = part.RewardType, part.Amount
	}
	if part.NewBalance != nil {
		detail["new_balance"] = part.NewBalance
	}
	return detail
}

func rewardOf(row sqlc.TaskReward) Reward {
	return Reward{
		RewardID:      row.RewardID,
		WindowID:      row.WindowID,
		UserID:        row.UserID,
		TaskID:        row.TaskID,
		Kind:          row.Kind,
		Coins:         orZero(row.Coins),
		Items:         row.Items,
		RewardType:    orZero(row.RewardType),
		Amount:        row.Amount,
		Status:        contract.RewardStatus(row.Status),
		Calls:         int(row.Calls),
		ReasonCode:    orZero(row.ReasonCode),
		ReasonMessage: orZero(row.ReasonMessage),
		TransactionID: orZero(row.TransactionID),
		NewBalance:    row.NewBalance,
		CreatedAt:     row.CreatedAt,
		UpdatedAt:     row.UpdatedAt,
	}
}

func orZero[T any](value *T) (v T) {
	if value != nil {
		v = *value
	}
	return v
}
