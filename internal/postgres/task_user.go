package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/xid"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// newestRewards is how many of a user's rewards are looked through for those received, beside the ones of windows that
// are shown.
const newestRewards = 200

// ReceivedReward is a part of a reward that the user has. Either Coins is set or the main product's part is.
type ReceivedReward struct {
	RewardID   string
	WindowID   string
	TaskID     int64
	Coins      *int64
	RewardType string
	Amount     *decimal.Decimal
	Items      json.RawMessage // tasks.ItemReward; nil unless the reward is items
	ReceivedAt time.Time
}

// UserTasks is what is stored of a user's tasks.
type UserTasks struct {
	User    tasks.User
	Windows []tasks.Window   // the latest of each task, and all that are not yet closed
	Rewards []ReceivedReward // newest first
}

// UserTasks reads it; ErrNotFound when there is no such user. required are the tasks whose completion is asked for.
func (db *DB) UserTasks(ctx context.Context, projectID int32, userID string, required []int64, now time.Time) (mine UserTasks, err error) {
	if mine.User, err = taskUser(ctx, db.q, projectID, userID, required, now); err != nil {
		return mine, err
	}
	windows, err := db.q.LiveWindows(ctx, sqlc.LiveWindowsParams{ProjectID: projectID, UserID: userID})
	if err != nil {
		return mine, fmt.Errorf("windows of user: %w", err)
	}
	for _, row := range windows {
		window, err := windowOf(row)
		if err != nil {
			return mine, err
		}
		mine.Windows = append(mine.Windows, window)
	}
	rewards, err := db.q.ReceivedRewards(ctx, sqlc.ReceivedRewardsParams{ProjectID: projectID, UserID: userID, Newest: newestRewards})
	if err != nil {
		return mine, fmt.Errorf("rewards of user: %w", err)
	}
	for _, row := range rewards {
		reward := ReceivedReward{
			RewardID:   row.RewardID,
			WindowID:   row.WindowID,
			TaskID:     row.TaskID,
			Coins:      row.Coins,
			Amount:     row.Amount,
			Items:      row.Items,
			ReceivedAt: row.UpdatedAt,
		}
		if row.RewardType != nil {
			reward.RewardType = *row.RewardType
		}
		mine.Rewards = append(mine.Rewards, reward)
	}
	return mine, nil
}

// TaskUsers reads what the rules of tasks must know of users; who does not exist is left out. required are the tasks
// whose completion is asked for.
func (db *DB) TaskUsers(ctx context.Context, projectID int32, userIDs []string, required []int64, now time.Time) (map[string]tasks.User, error) {
	return taskUsers(ctx, db.q, projectID, userIDs, required, now)
}

func taskUser(ctx context.Context, q *sqlc.Queries, projectID int32, userID string, required []int64, now time.Time) (tasks.User, error) {
	users, err := taskUsers(ctx, q, projectID, []string{userID}, required, now)
	if err != nil {
		return tasks.User{}, err
	}
	user, ok := users[userID]
	if !ok {
		return user, ErrNotFound
	}
	return user, nil
}

func taskUsers(ctx context.Context, q *sqlc.Queries, projectID int32, userIDs []string, required []int64, now time.Time) (map[string]tasks.User, error) {
	rows, err := q.ReadTaskUsers(ctx, sqlc.ReadTaskUsersParams{UserIds: userIDs, Now: now})
	if err != nil {
		return nil, fmt.Errorf("users of tasks: %w", err)
	}
	users := make(map[string]tasks.User, len(rows))
	for _, row := range rows {
		if users[row.UserID], err = taskUserOf(row); err != nil {
			return nil, err
		}
	}
	if len(required) == 0 || len(users) == 0 {
		return users, nil
	}
	completions, err := q.FirstCompletions(ctx, sqlc.FirstCompletionsParams{ProjectID: projectID, UserIds: userIDs, TaskIds: required})
	if err != nil {
		return nil, fmt.Errorf("completed tasks: %w", err)
	}
	for _, c := range completions {
		users[c.UserID].CompletedAt[c.TaskID] = c.CompletedAt
	}
	return users, nil
}

func taskUserOf(row sqlc.ReadTaskUsersRow) (tasks.User, error) {
	attributes, err := attributesOf(row.UserID, row.Attributes)
	return tasks.User{
		UserID:      row.UserID,
		CreatedAt:   row.CreatedAt,
		VIP:         row.Vip,
		Attributes:  attributes,
		CompletedAt: map[int64]time.Time{},
	}, err
}

// attributesOf are a user's attributes as rules compare them: as text.
func attributesOf(userID string, encoded json.RawMessage) (map[string]string, error) {
	if string(encoded) == "{}" { // as most have it
		return nil, nil
	}
	values := map[string]any{}
	if err := json.Unmarshal(encoded, &values); err != nil {
		return nil, fmt.Errorf("attributes of user %s: %w", userID, err)
	}
	attributes := make(map[string]string, len(values))
	for name, value := range values {
		attributes[name] = fmt.Sprint(value)
	}
	return attributes, nil
}

func windowOf(row sqlc.TaskWindow) (tasks.Window, error) {
	window := tasks.Window{
		WindowID: row.WindowID, UserID: row.UserID, TaskID: row.TaskID, Version: row.Version, Number: int(row.Number), Anchor: row.Anchor,
		ActivatedAt: row.ActivatedAt, EndsAt: row.EndsAt, ClosesAt: row.ClosesAt, TimeZone: row.TimeZone, State: tasks.State(row.State),
		Target: row.Target, Progress: row.Progress, CompletedAt: row.CompletedAt,
	}
	return window, readSeen(row.Seen, &window)
}

func readSeen(seen []byte, window *tasks.Window) error {
	if seen == nil {
		return nil
	}
	if err := json.Unmarshal(seen, &window.Seen); err != nil {
		return fmt.Errorf("what window %s has seen: %w", window.WindowID, err)
	}
	return nil
}

// TaskVersion reads one version of a task; ErrNotFound when there is none.
func (db *DB) TaskVersion(ctx context.Context, projectID int32, taskID, version int64) (tasks.Task, error) {
	row, err := db.q.GetTaskVersion(ctx, sqlc.GetTaskVersionParams{ProjectID: projectID, TaskID: taskID, Version: version})
	if err != nil {
		return tasks.Task{}, notFound(err)
	}
	task, err := decodeTask(row.Definition, taskID, version)
	task.UpdatedAt = row.CreatedAt
	return task, err
}

// Activation asks for a window of a task for a user.
type Activation struct {
	ProjectID   int32
	UserID      string
	TaskID      int64
	Idempotency *Idempotency // may be nil
}

// ErrNoUser: there is no such user.
var ErrNoUser = errors.New("no such user")

// ActivateTask opens the user's next window of the task, once per idempotency key: a repeat returns the window that the
// first one opened, as it is now. What the rules do not allow is a *tasks.Refusal, ErrNoUser or ErrNotFound (the task);
// nothing is written then. The row of the window is also the outbox of its workflow.
func (db *DB) ActivateTask(ctx context.Context, a Activation, now time.Time) (window tasks.Window, replayed bool, err error) {
	now = now.Truncate(time.Microsecond) // as PostgreSQL keeps it
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		windowID := xid.New().String()
		first, err := a.Idempotency.claim(ctx, q, a.ProjectID, "window/"+windowID, now)
		if err != nil {
			return err
		}
		if replayed = first != "window/"+windowID; replayed {
			window, err = windowOfClaim(ctx, q, a.ProjectID, first)
			return err
		}
		window, err = activate(ctx, q, a, windowID, now)
		return err
	})
	return window, replayed, err
}

func windowOfClaim(ctx context.Context, q *sqlc.Queries, projectID int32, resource string) (tasks.Window, error) {
	windowID, ok := strings.CutPrefix(resource, "window/")
	if !ok {
		return tasks.Window{}, ErrIdempotencyKeyReused // by a call of another kind
	}
	row, err := q.GetTaskWindow(ctx, sqlc.GetTaskWindowParams{ProjectID: projectID, WindowID: windowID})
	if err != nil {
		return tasks.Window{}, notFound(err)
	}
	return windowOf(row)
}

// activate decides and opens. Of two at once, the unique number of a user's windows lets one through; the other then
// decides again and finds that window.
func activate(ctx context.Context, q *sqlc.Queries, a Activation, windowID string, now time.Time) (tasks.Window, error) {
	row, err := q.GetTask(ctx, sqlc.GetTaskParams{ProjectID: a.ProjectID, TaskID: a.TaskID})
	if err != nil {
		return tasks.Window{}, notFound(err)
	}
	task, err := taskOf(row)
	if err != nil {
		return tasks.Window{}, err
	}
	user, err := taskUser(ctx, q, a.ProjectID, a.UserID, task.Requires, now)
	if errors.Is(err, ErrNotFound) {
		return tasks.Window{}, ErrNoUser
	}
	if err != nil {
		return tasks.Window{}, err
	}
	for ctx.Err() == nil {
		previous, err := lockLatestWindow(ctx, q, a)
		if err != nil {
			return tasks.Window{}, err
		}
		window, refusal := task.Activate(user, previous, now)
		if refusal != nil {
			return tasks.Window{}, refusal
		}
		window.WindowID = windowID
		opened, err := openWindow(ctx, q, a.ProjectID, window, now)
		if err != nil || opened {
			return window, err
		}
	}
	return tasks.Window{}, ctx.Err()
}

func lockLatestWindow(ctx context.Context, q *sqlc.Queries, a Activation) (*tasks.Window, error) {
	rows, err := q.LockLiveWindows(ctx, sqlc.LockLiveWindowsParams{ProjectID: a.ProjectID, UserID: a.UserID, TaskID: a.TaskID})
	if err != nil {
		return nil, fmt.Errorf("latest window: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	window, err := windowOf(rows[len(rows)-1])
	return &window, err
}

// openWindow is false when somebody else opened the window of this number.
func openWindow(ctx context.Context, q *sqlc.Queries, projectID int32, w tasks.Window, now time.Time) (opened bool, err error) {
	rows, err := q.OpenTaskWindow(ctx, sqlc.OpenTaskWindowParams{
		WindowID:    w.WindowID,
		ProjectID:   projectID,
		UserID:      w.UserID,
		TaskID:      w.TaskID,
		Version:     w.Version,
		Number:      int32(w.Number),
		Anchor:      w.Anchor,
		ActivatedAt: w.ActivatedAt,
		EndsAt:      w.EndsAt,
		ClosesAt:    w.ClosesAt,
		TimeZone:    w.TimeZone,
		Target:      w.Target,
		Now:         now,
	})
	if err != nil {
		return false, fmt.Errorf("open window: %w", err)
	}
	return rows == 1, nil
}
