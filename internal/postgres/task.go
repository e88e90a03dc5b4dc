package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/tasks"
)

// replacedLately is how long a replaced version stays in the catalog although no window is known to count by it: longer
// than any transaction that may be opening one.
const replacedLately = 10 * time.Minute

// ErrTaskCycle: the task would require itself, through others.
var ErrTaskCycle = errors.New("tasks require each other in a circle")

// UnknownTasksError is returned for a task that requires tasks which the project does not have.
type UnknownTasksError struct{ TaskIDs []int64 }

// Error names them.
func (e *UnknownTasksError) Error() string { return fmt.Sprintf("no such tasks: %v", e.TaskIDs) }

// NewTask asks for a task to be added, and by whom.
type NewTask struct {
	ProjectID   int32
	Task        tasks.Task // TaskID 0: the next one
	Actor       string
	Idempotency *Idempotency // may be nil
}

// errReplayed ends the transaction of a repeat: the first one's task stays, this one's is taken back.
var errReplayed = errors.New("replayed")

// CreateTask adds a task as its version 1, once per idempotency key: a repeat writes nothing and returns the
// task as it was created. It fails with ErrConflict when the id is taken, ErrTaskCycle, *UnknownTasksError
// and ErrIdempotencyKeyReused.
func (db *DB) CreateTask(ctx context.Context, n NewTask, now time.Time) (task tasks.Task, replayed bool, err error) {
	now = now.Truncate(time.Microsecond) // as PostgreSQL keeps it
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		task, err = insertTask(ctx, q, n, now)
		return err
	})
	if errors.Is(err, errReplayed) {
		return task, true, nil
	}
	return task, false, err
}

func insertTask(ctx context.Context, q *sqlc.Queries, n NewTask, now time.Time) (tasks.Task, error) {
	task := n.Task
	params := sqlc.InsertTaskParams{ProjectID: n.ProjectID, Status: string(task.Status), PublishedAt: publishedAt(task, now), Now: now}
	if task.TaskID != 0 {
		params.TaskID = &task.TaskID
	}
	taskID, err := q.InsertTask(ctx, params)
	for errors.Is(err, pgx.ErrNoRows) && task.TaskID == 0 && ctx.Err() == nil {
		taskID, err = q.InsertTask(ctx, params) // somebody took the next one at the same moment
	}
	taken := errors.Is(err, pgx.ErrNoRows)
	if err != nil && !taken {
		return tasks.Task{}, fmt.Errorf("add task: %w", err)
	}
	if first, err := n.claim(ctx, q, taskID, now); err != nil {
		return first, err
	}
	if taken {
		return tasks.Task{}, ErrConflict
	}
	task = createdTask(task, taskID, now)
	return task, saveTask(ctx, q, n.ProjectID, task, n.Actor, "task.create", now)
}

// claim fails with errReplayed when the key was used before; the resource keeps what the first answer told that the
// request does not.
func (n NewTask) claim(ctx context.Context, q *sqlc.Queries, taskID int64, now time.Time) (tasks.Task, error) {
	resource := strings.Join([]string{"task", strconv.FormatInt(taskID, 10), now.Format(time.RFC3339Nano), xid.New().String()}, "/")
	first, err := n.Idempotency.claim(ctx, q, n.ProjectID, resource, now)
	if err != nil || first == resource {
		return tasks.Task{}, err
	}
	var firstID int64
	var at string
	if parts := strings.Split(first, "/"); len(parts) == 4 && parts[0] == "task" {
		firstID, err = strconv.ParseInt(parts[1], 10, 64)
		at = parts[2]
	} else {
		return tasks.Task{}, ErrIdempotencyKeyReused // by a call of another kind
	}
	if err != nil {
		return tasks.Task{}, err
	}
	createdAt, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return tasks.Task{}, err
	}
	return createdTask(n.Task, firstID, createdAt), errReplayed
}

func createdTask(task tasks.Task, taskID int64, at time.Time) tasks.Task {
	task.TaskID, task.Version, task.UpdatedAt, task.PublishedAt = taskID, 1, at, publishedAt(task, at)
	return task
}

func publishedAt(task tasks.Task, now time.Time) *time.Time {
	if task.Status != tasks.Published {
		return nil
	}
	return &now
}

// UpdateTask replaces a task's definition by a new version; windows that are open keep theirs. With task.Version set, the
// stored version must be that one. It fails with ErrConflict, also when there is no such task, ErrTaskCycle and
// *UnknownTasksError.
func (db *DB) UpdateTask(ctx context.Context, projectID int32, task tasks.Task, actor string, now time.Time) (tasks.Task, error) {
	now = now.Truncate(time.Microsecond)
	err := db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.UpdateTask(ctx, sqlc.UpdateTaskParams{
			ProjectID: projectID,
			TaskID:    task.TaskID,
			Version:   task.Version,
			Status:    string(task.Status),
			Now:       now,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return fmt.Errorf("update task: %w", err)
		}
		task.Version, task.PublishedAt, task.UpdatedAt = row.Version, row.PublishedAt, now
		return saveTask(ctx, q, projectID, task, actor, "task.update", now)
	})
	return task, err
}

// saveTask writes the definition of a version. The chain is checked after the catalog's row is locked, so
// that two edits at once can't close a circle between them.
func saveTask(ctx context.Context, q *sqlc.Queries, projectID int32, task tasks.Task, actor, action string, now time.Time) error {
	definition, err := json.Marshal(task)
	if err != nil {
		return fmt.Errorf("definition of task %d: %w", task.TaskID, err)
	}
	if err := q.InsertTaskVersion(ctx, sqlc.InsertTaskVersionParams{
		TaskID:     task.TaskID,
		Version:    task.Version,
		Definition: definition,
		Now:        now,
	}); err != nil {
		return fmt.Errorf("add version of task: %w", err)
	}
	if err := q.BumpTaskCatalog(ctx, projectID); err != nil {
		return fmt.Errorf("edit task: %w", err)
	}
	if err := checkChain(ctx, q, projectID, task); err != nil {
		return err
	}
	if err := checkItems(ctx, q, projectID, task.Reward.Items); err != nil {
		return err
	}
	return audit(ctx, q, projectID, actor, action, strconv.FormatInt(task.TaskID, 10), task, now)
}

// UnknownItemsError is a reward of items that the project does not have.
type UnknownItemsError struct{ SKUs []string }

// Error names them.
func (e *UnknownItemsError) Error() string { return fmt.Sprintf("no such items: %v", e.SKUs) }

func checkItems(ctx context.Context, q *sqlc.Queries, projectID int32, items []tasks.ItemReward) error {
	if len(items) == 0 {
		return nil
	}
	params := sqlc.MissingSKUsParams{ProjectID: projectID}
	for _, item := range items {
		params.Skus = append(params.Skus, item.SKU)
	}
	missing, err := q.MissingSKUs(ctx, params)
	if err != nil {
		return fmt.Errorf("items of the reward: %w", err)
	}
	if len(missing) > 0 {
		return &UnknownItemsError{SKUs: missing}
	}
	return nil
}

func checkChain(ctx context.Context, q *sqlc.Queries, projectID int32, task tasks.Task) error {
	if len(task.Requires) == 0 {
		return nil
	}
	rows, err := q.CurrentTasks(ctx, projectID)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	all := make([]tasks.Task, len(rows))
	known := make(map[int64]bool, len(rows))
	for i, row := range rows {
		if all[i], err = taskOf(sqlc.GetTaskRow(row)); err != nil {
			return err
		}
		known[row.TaskID] = true
	}
	var unknown []int64
	for _, required := range task.Requires {
		if !known[required] {
			unknown = append(unknown, required)
		}
	}
	switch {
	case unknown != nil:
		return &UnknownTasksError{unknown}
	case tasks.RequiresCycle(all) != nil:
		return ErrTaskCycle
	default:
		return nil
	}
}

// GetTask reads the current version of a task; ErrNotFound when there is none.
func (db *DB) GetTask(ctx context.Context, projectID int32, taskID int64) (tasks.Task, error) {
	row, err := db.q.GetTask(ctx, sqlc.GetTaskParams{ProjectID: projectID, TaskID: taskID})
	if err != nil {
		return tasks.Task{}, notFound(err)
	}
	return taskOf(row)
}

// TaskFilter narrows a list of tasks; empty fields do not.
type TaskFilter struct {
	Status tasks.Status
	After  int64 // cursor: tasks of higher ids
	Limit  int
}

// ListTasks lists tasks in the order of their ids.
func (db *DB) ListTasks(ctx context.Context, projectID int32, f TaskFilter) ([]tasks.Task, error) {
	rows, err := db.q.ListTasks(ctx, sqlc.ListTasksParams{
		ProjectID: projectID,
		After:     f.After,
		Status:    optional.Text(string(f.Status)),
		MaxTasks:  int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	list := make([]tasks.Task, len(rows))
	for i, row := range rows {
		if list[i], err = taskOf(sqlc.GetTaskRow(row)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// TaskVersions lists the versions of a task, newest first, before the given one (0: from the newest).
// UpdatedAt is when the version was made.
func (db *DB) TaskVersions(ctx context.Context, projectID int32, taskID, before int64, limit int) ([]tasks.Task, error) {
	rows, err := db.q.ListTaskVersions(ctx, sqlc.ListTaskVersionsParams{
		ProjectID:   projectID,
		TaskID:      taskID,
		Before:      before,
		MaxVersions: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("versions of task: %w", err)
	}
	versions := make([]tasks.Task, len(rows))
	for i, row := range rows {
		if versions[i], err = decodeTask(row.Definition, taskID, row.Version); err != nil {
			return nil, err
		}
		versions[i].UpdatedAt = row.CreatedAt
	}
	return versions, nil
}

// TaskCatalogRevision grows with each edit of a task of the project; 0 before the first.
func (db *DB) TaskCatalogRevision(ctx context.Context, projectID int32) (int64, error) {
	revision, err := db.q.TaskCatalogRevision(ctx, projectID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("revision of the tasks: %w", err)
	}
	return revision, nil
}

// Catalog reads what events are counted by: the current versions of all published tasks, and older versions
// that windows count by, which are drafts here so that they open no new ones. The tasks are at least as new
// as the revision.
func (db *DB) Catalog(ctx context.Context, projectID int32, now time.Time) (revision int64, all []tasks.Task, err error) {
	if revision, err = db.TaskCatalogRevision(ctx, projectID); err != nil {
		return 0, nil, err
	}
	rows, err := db.q.CatalogTasks(ctx, sqlc.CatalogTasksParams{ProjectID: projectID, ReplacedAfter: now.Add(-replacedLately)})
	if err != nil {
		return 0, nil, fmt.Errorf("catalog of tasks: %w", err)
	}
	all = make([]tasks.Task, len(rows))
	for i, row := range rows {
		if all[i], err = decodeTask(row.Definition, row.TaskID, row.Version); err != nil {
			return 0, nil, err
		}
		all[i].UpdatedAt, all[i].Status = row.CreatedAt, tasks.Draft
		if row.Offered {
			all[i].Status, all[i].PublishedAt = tasks.Published, row.PublishedAt
		}
	}
	return revision, all, nil
}

func taskOf(row sqlc.GetTaskRow) (tasks.Task, error) {
	task, err := decodeTask(row.Definition, row.TaskID, row.Version)
	task.Status, task.PublishedAt, task.UpdatedAt = tasks.Status(row.Status), row.PublishedAt, row.UpdatedAt
	return task, err
}

func decodeTask(definition json.RawMessage, taskID, version int64) (task tasks.Task, err error) {
	if err := json.Unmarshal(definition, &task); err != nil {
		return task, fmt.Errorf("definition of task %d, version %d: %w", taskID, version, err)
	}
	task.TaskID, task.Version = taskID, version
	return task, nil
}
