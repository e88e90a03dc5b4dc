package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// rewardWait is longer than all calls of one reward to the main product and the pauses between them.
const rewardWait = contract.RewardCalls*(contract.RewardTimeout+contract.RewardInterval) + time.Minute

// TaskWindowChange is a window that was opened, completed, canceled or reopened, and of which its workflow is to know.
type TaskWindowChange struct {
	Input    contract.TaskWindowInput
	TaskName string
	State    tasks.State
	ClosesAt time.Time
	Changes  int // so many there have been, with this one
}

// ChangeOf is the change that left a window as it is now.
func ChangeOf(projectID int32, w tasks.Window, taskName string, changes int) TaskWindowChange {
	return TaskWindowChange{TaskName: taskName, State: w.State, ClosesAt: w.ClosesAt, Changes: changes,
		Input: contract.TaskWindowInput{ProjectID: projectID, WindowID: w.WindowID, UserID: w.UserID, TaskID: w.TaskID}}
}

// LeaseTaskWindows hands out windows whose workflow may not know how they are, or may not run. A lease, not a claim:
// what MarkTaskWindowsTold does not confirm is found again.
func (db *DB) LeaseTaskWindows(ctx context.Context, lease time.Duration, limit int, now time.Time) ([]TaskWindowChange, error) {
	rows, err := db.q.LeaseTaskWindows(ctx, sqlc.LeaseTaskWindowsParams{Now: now, LeaseUntil: now.Add(lease), MaxWindows: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("lease task windows: %w", err)
	}
	windows := make([]TaskWindowChange, len(rows))
	for i, row := range rows {
		windows[i] = TaskWindowChange{
			TaskName: row.TaskName,
			State:    tasks.State(row.State),
			ClosesAt: row.ClosesAt,
			Changes:  int(row.Changes),
			Input:    contract.TaskWindowInput{ProjectID: row.ProjectID, WindowID: row.WindowID, UserID: row.UserID, TaskID: row.TaskID},
		}
	}
	return windows, nil
}

// MarkTaskWindowsTold notes that the workflows of these windows know of so many changes.
func (db *DB) MarkTaskWindowsTold(ctx context.Context, windows []TaskWindowChange, now time.Time) error {
	params := sqlc.MarkTaskWindowsToldParams{Now: now, WindowIds: make([]string, len(windows)), Changes: make([]int32, len(windows))}
	for i, w := range windows {
		params.WindowIds[i], params.Changes[i] = w.Input.WindowID, int32(w.Changes)
	}
	if err := db.q.MarkTaskWindowsTold(ctx, params); err != nil {
		return fmt.Errorf("mark task windows: %w", err)
	}
	return nil
}

// SettleWindow closes a window whose time is up, pays for one that is completed, and says what is left to do: wait
// until it closes, or deliver the main product's part. Repeating it changes nothing and gives the same answer. It
// fails with ErrNotFound.
func (db *DB) SettleWindow(ctx context.Context, windowID string, now time.Time) (settled contract.SettledWindow, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		w, err := lockWindow(ctx, q, windowID)
		if err != nil {
			return err
		}
		settled, err = w.settle(ctx, q, now)
		return err
	})
	if err == nil && settled.State == tasks.Completed {
		err = db.giveItems(ctx, windowID, now)
	}
	if err != nil {
		return contract.SettledWindow{}, fmt.Errorf("settle window %s: %w", windowID, err)
	}
	return settled, nil
}

// lockedWindow is a window whose row is locked, with what it promised.
type lockedWindow struct {
	sqlc.TaskWindow
	task   tasks.Task
	budget tasks.Budget // as the task has it now
}

func lockWindow(ctx context.Context, q *sqlc.Queries, windowID string) (*lockedWindow, error) {
	row, err := q.LockTaskWindow(ctx, windowID)
	if err != nil {
		return nil, notFound(err)
	}
	w := &lockedWindow{TaskWindow: row.TaskWindow}
	if w.task, err = decodeTask(row.Definition, w.TaskID, w.Version); err != nil {
		return nil, err
	}
	current, err := decodeTask(row.CurrentDefinition, w.TaskID, row.CurrentVersion)
	w.budget = current.Budget
	return w, err
}

func (w *lockedWindow) settle(ctx context.Context, q *sqlc.Queries, now time.Time) (contract.SettledWindow, error) {
	switch state := tasks.State(w.State); {
	case state == tasks.Open && now.Before(w.ClosesAt):
		return contract.SettledWindow{State: state, Until: &w.ClosesAt}, nil
	case state == tasks.Open:
		detail, err := w.detail(nil)
		if err != nil {
			return contract.SettledWindow{}, err
		}
		return contract.SettledWindow{State: tasks.Expired}, q.ExpireTaskWindow(ctx, sqlc.ExpireTaskWindowParams{
			WindowID: w.WindowID,
			Detail:   detail,
			Now:      now,
		})
	case state == tasks.Completed && w.SettledAt == nil:
		return w.reward(ctx, q, now)
	default:
		return contract.SettledWindow{State: state}, q.SettleTaskWindow(ctx, sqlc.SettleTaskWindowParams{WindowID: w.WindowID, Now: now})
	}
}

// reward makes what is owed, once, and pays the coins of it.
func (w *lockedWindow) reward(ctx context.Context, q *sqlc.Queries, now time.Time) (contract.SettledWindow, error) {
	settled := contract.SettledWindow{State: tasks.Completed}
	parts, err := q.ListRewardsOfWindow(ctx, w.WindowID)
	if err != nil {
		return settled, err
	}
	if len(parts) == 0 {
		parts, err = w.rewardFirst(ctx, q, now)
	} else {
		err = w.payAgain(ctx, q, parts, now)
	}
	if err != nil {
		return settled, err
	}
	for _, part := range parts {
		if part.Kind == rewardMainProduct && part.Status == string(contract.RewardPending) {
			settled.Reward = &contract.RewardInput{
				ProjectID:         part.ProjectID,
				RewardID:          part.RewardID,
				UserID:            part.UserID,
				TaskID:            part.TaskID,
				MainProductReward: tasks.MainProductReward{RewardType: *part.RewardType, Amount: *part.Amount},
			}
			return settled, q.AwaitReward(ctx, sqlc.AwaitRewardParams{WindowID: w.WindowID, SweepAt: now.Add(rewardWait)})
		}
	}
	return settled, q.SettleTaskWindow(ctx, sqlc.SettleTaskWindowParams{WindowID: w.WindowID, Now: now})
}

// rewardFirst makes a row for each part, and tells the user of the completion and of the tasks that it opens.
func (w *lockedWindow) rewardFirst(ctx context.Context, q *sqlc.Queries, now time.Time) (parts []sqlc.TaskReward, err error) {
	if w.task.Reward.Coins > 0 {
		part, err := w.payCoins(ctx, q, now)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if promised := w.task.Reward.MainProduct; promised != nil {
		part, err := q.OweReward(ctx, sqlc.OweRewardParams{
			RewardID:   rewardID(w.WindowID, rewardMainProduct),
			WindowID:   w.WindowID,
			ProjectID:  w.ProjectID,
			UserID:     w.UserID,
			TaskID:     w.TaskID,
			RewardType: promised.RewardType,
			Amount:     promised.Amount,
			Now:        now,
		})
		if err != nil {
			return nil, fmt.Errorf("owe: %w", err)
		}
		parts = append(parts, part)
	}
	if len(w.task.Reward.Items) > 0 {
		part, err := w.oweItems(ctx, q, now)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	told := make([]map[string]any, len(parts))
	for i, part := range parts {
		told[i] = partDetail(part)
	}
	if err := w.tell(ctx, q, "task_completed", map[string]any{"rewards": told}, now); err != nil {
		return nil, err
	}
	return parts, w.tellOpened(ctx, q, now)
}

// tellOpened tells of the tasks of the chain that this completion opens, as far as the user may see them now.
func (w *lockedWindow) tellOpened(ctx context.Context, q *sqlc.Queries, now time.Time) error {
	opened, err := q.ListOpenedTasks(ctx, w.WindowID)
	if err != nil || len(opened) == 0 {
		return err
	}
	all := make([]tasks.Task, len(opened))
	var required []int64
	for i, row := range opened {
		if all[i], err = taskOf(sqlc.GetTaskRow(row)); err != nil {
			return err
		}
		required = append(required, all[i].Requires...)
	}
	user, err := taskUser(ctx, q, w.ProjectID, w.UserID, required, now)
	if err != nil {
		return fmt.Errorf("user of opened tasks: %w", err)
	}
	for _, task := range all {
		if _, visible := task.StatusFor(user, nil, now); !visible {
			continue
		}
		detail, err := json.Marshal(map[string]any{"task_id": task.TaskID, "name": task.Name})
		if err != nil {
			return err
		}
		err = q.InsertNotification(ctx, sqlc.InsertNotificationParams{
			ProjectID: w.ProjectID,
			UserID:    w.UserID,
			Kind:      "task_available",
			Detail:    detail,
			Now:       now,
		})
		if err != nil {
			return fmt.Errorf("tell of opened task %d: %w", task.TaskID, err)
		}
	}
	return nil
}

// payAgain pays coins that an admin has replayed.
func (w *lockedWindow) payAgain(ctx context.Context, q *sqlc.Queries, parts []sqlc.TaskReward, now time.Time) error {
	i := slices.IndexFunc(parts, func(part sqlc.TaskReward) bool {
		return part.Kind == rewardCoins && part.Status == string(contract.RewardPending)
	})
	if i < 0 {
		return nil
	}
	var err error
	if parts[i], err = w.payCoins(ctx, q, now); err != nil || parts[i].Status != string(contract.RewardDelivered) {
		return err
	}
	if err := q.ResolveBudgetAlert(ctx, sqlc.ResolveBudgetAlertParams{
		ProjectID: w.ProjectID,
		Subject:   strconv.FormatInt(w.TaskID, 10),
		Now:       now,
	}); err != nil {
		return fmt.Errorf("resolve alert: %w", err)
	}
	return w.tell(ctx, q, "reward_received", partDetail(parts[i]), now)
}

// payCoins moves the coins, or notes that the budget does not allow it and alerts the admins.
func (w *lockedWindow) payCoins(ctx context.Context, q *sqlc.Queries, now time.Time) (sqlc.TaskReward, error) {
	if err := q.LockRewarded(ctx, w.UserID); err != nil {
		return sqlc.TaskReward{}, fmt.Errorf("lock user: %w", err)
	}
	coins, userSpent := w.task.Reward.Coins, false
	if w.budget.PerUser > 0 {
		got, err := q.SumCoinsOfUser(ctx, sqlc.SumCoinsOfUserParams{TaskID: w.TaskID, UserID: w.UserID})
		if err != nil {
			return sqlc.TaskReward{}, fmt.Errorf("sum coins: %w", err)
		}
		userSpent = coins > w.budget.PerUser-got
	}
	part, err := q.PayCoins(ctx, sqlc.PayCoinsParams{
		RewardID:   rewardID(w.WindowID, rewardCoins),
		WindowID:   w.WindowID,
		ProjectID:  w.ProjectID,
		UserID:     w.UserID,
		TaskID:     w.TaskID,
		Coins:      coins,
		UserSpent:  userSpent,
		TotalCoins: w.budget.TotalCoins,
		Now:        now,
	})
	if err != nil {
		return part, fmt.Errorf("pay coins: %w", err)
	}
	if part.Status != string(contract.RewardOverBudget) {
		return part, nil
	}
	bound := "total_coins"
	if userSpent {
		bound = "per_user"
	}
	detail, err := json.Marshal(map[string]any{
		"name":      w.task.Name,
		"reward_id": part.RewardID,
		"user_id":   w.UserID,
		"coins":     coins,
		"bound":     bound,
		"budget":    w.budget,
	})
	if err != nil {
		return part, err
	}
	err = q.OpenBudgetAlert(ctx, sqlc.OpenBudgetAlertParams{
		ProjectID: w.ProjectID,
		Subject:   strconv.FormatInt(w.TaskID, 10),
		Detail:    detail,
		Now:       now,
	})
	if err != nil {
		return part, fmt.Errorf("alert: %w", err)
	}
	return part, nil
}

// tell writes a notification of the window, with more about it.
func (w *lockedWindow) tell(ctx context.Context, q *sqlc.Queries, kind string, more map[string]any, now time.Time) error {
	detail, err := w.detail(more)
	if err != nil {
		return err
	}
	err = q.InsertNotification(ctx, sqlc.InsertNotificationParams{
		ProjectID: w.ProjectID,
		UserID:    w.UserID,
		Kind:      kind,
		Detail:    detail,
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("tell %s: %w", kind, err)
	}
	return nil
}

func (w *lockedWindow) detail(more map[string]any) (json.RawMessage, error) {
	detail := map[string]any{"task_id": w.TaskID, "name": w.task.Name, "window_id": w.WindowID}
	for key, value := range more {
		detail[key] = value
	}
	return json.Marshal(detail)
}

// WindowCancel asks for a user's running window of a task to end without a reward, by whom and why.
type WindowCancel struct {
	ProjectID int32
	UserID    string
	TaskID    int64
	Reason    string
	Actor     string
}

// CancelWindow ends the latest window, tells the user and writes the audit. It fails with ErrNotFound when the user has
// none of this task, and with ErrConflict when it is over.
func (db *DB) CancelWindow(ctx context.Context, c WindowCancel, now time.Time) (change TaskWindowChange, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		windowID, err := q.FindLatestTaskWindow(ctx, sqlc.FindLatestTaskWindowParams{
			ProjectID: c.ProjectID,
			UserID:    c.UserID,
			TaskID:    c.TaskID,
		})
		if err != nil {
			return notFound(err)
		}
		w, err := lockWindow(ctx, q, windowID)
		if err != nil {
			return err
		}
		if !now.Before(w.ClosesAt) {
			return ErrConflict
		}
		changes, err := q.CancelTaskWindow(ctx, sqlc.CancelTaskWindowParams{WindowID: windowID, Now: now})
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return fmt.Errorf("cancel window: %w", err)
		}
		if err := w.tell(ctx, q, "task_canceled", nil, now); err != nil {
			return err
		}
		change = w.change(tasks.Canceled, changes)
		return audit(ctx, q, c.ProjectID, c.Actor, "task_window.cancel", windowID, map[string]any{
			"user_id": c.UserID,
			"task_id": c.TaskID,
			"reason":  c.Reason,
		}, now)
	})
	return change, err
}

func (w *lockedWindow) change(state tasks.State, changes int32) TaskWindowChange {
	return TaskWindowChange{TaskName: w.task.Name, State: state, ClosesAt: w.ClosesAt, Changes: int(changes),
		Input: contract.TaskWindowInput{ProjectID: w.ProjectID, WindowID: w.WindowID, UserID: w.UserID, TaskID: w.TaskID}}
}
