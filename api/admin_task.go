package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/tasks"
)

var (
	errTaskNotFound = fail(ProblemCodeTaskNotFound, "no task of this id; GET /api/v1/admin/tasks lists them")
	errTaskChanged  = fail(ProblemCodeVersionConflict, "read the task again and repeat the edit with its new ETag")
)

// AdminListTasks lists drafts too.
func (h *handlers) AdminListTasks(ctx context.Context, r AdminListTasksRequestObject) (AdminListTasksResponseObject, error) {
	after, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	list, err := h.db.ListTasks(ctx, callOf(ctx).key.ProjectID, postgres.TaskFilter{
		Status: value(r.Params.Status),
		After:  after,
		Limit:  limit + 1,
	})
	items, next := page(list, limit, func(t tasks.Task) string { return strconv.FormatInt(t.TaskID, 10) })
	return AdminListTasks200JSONResponse{Items: each(items, taskBody), NextCursor: next}, err
}

// AdminCreateTask adds a task (seed 001, "Task Example"). A repeat under the same key gets the answer of the first.
func (h *handlers) AdminCreateTask(ctx context.Context, r AdminCreateTaskRequestObject) (AdminCreateTaskResponseObject, error) {
	call := callOf(ctx)
	task, err := taskOf(TaskInput(*r.Body))
	if err != nil {
		return nil, err
	}
	task.TaskID = value(r.Body.TaskID)
	task, replayed, err := h.db.CreateTask(ctx, postgres.NewTask{
		ProjectID:   call.key.ProjectID,
		Task:        task,
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, fail(ProblemCodeTaskIDTaken, "there is a task of this id; PUT replaces it, and without task_id the next one is taken")
	}
	if err != nil {
		return nil, orChain(err)
	}
	return AdminCreateTask201JSONResponse{Body: taskBody(task), Headers: AdminCreateTask201ResponseHeaders{
		ETag: new(taskETag(task)), Location: new(fmt.Sprintf("/api/v1/admin/tasks/%d", task.TaskID)), IdempotencyReplayed: flag(replayed),
	}}, nil
}

// AdminGetTask reads a task's current version.
func (h *handlers) AdminGetTask(ctx context.Context, r AdminGetTaskRequestObject) (AdminGetTaskResponseObject, error) {
	task, err := h.task(ctx, r.TaskID)
	if err != nil {
		return nil, err
	}
	tag := taskETag(task)
	if r.Params.IfNoneMatch != nil && sameEntity(*r.Params.IfNoneMatch, tag) {
		return AdminGetTask304Response{AdminGetTask304ResponseHeaders{ETag: &tag}}, nil
	}
	return AdminGetTask200JSONResponse{Body: taskBody(task), Headers: AdminGetTask200ResponseHeaders{ETag: &tag}}, nil
}

func (h *handlers) task(ctx context.Context, taskID int64) (tasks.Task, error) {
	task, err := h.db.GetTask(ctx, callOf(ctx).key.ProjectID, taskID)
	return task, orElse(err, errTaskNotFound)
}

// AdminPutTask replaces a task by a new version.
func (h *handlers) AdminPutTask(ctx context.Context, r AdminPutTaskRequestObject) (AdminPutTaskResponseObject, error) {
	call := callOf(ctx)
	if r.Body.TaskID != nil && *r.Body.TaskID != r.TaskID {
		return nil, invalid("task_id", "must be the id of the address, or be left out")
	}
	task, err := taskOf(*r.Body)
	if err != nil {
		return nil, err
	}
	current, err := h.task(ctx, r.TaskID)
	if err != nil {
		return nil, err
	}
	task.TaskID = r.TaskID
	if r.Params.IfMatch != nil {
		if !sameVersion(*r.Params.IfMatch, current.Version) {
			return nil, errTaskChanged
		}
		task.Version = current.Version
	}
	task, err = h.db.UpdateTask(ctx, call.key.ProjectID, task, call.key.KeyID, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, errTaskChanged
	}
	if err != nil {
		return nil, orChain(err)
	}
	return AdminPutTask200JSONResponse{Body: taskBody(task), Headers: AdminPutTask200ResponseHeaders{ETag: new(taskETag(task))}}, nil
}

// AdminListTaskVersions lists what a task was.
func (h *handlers) AdminListTaskVersions(ctx context.Context, r AdminListTaskVersionsRequestObject) (AdminListTaskVersionsResponseObject, error) {
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	versions, err := h.db.TaskVersions(ctx, callOf(ctx).key.ProjectID, r.TaskID, before, limit+1)
	if err == nil && len(versions) == 0 {
		_, err = h.task(ctx, r.TaskID)
	}
	items, next := page(versions, limit, func(t tasks.Task) string { return strconv.FormatInt(t.Version, 10) })
	return AdminListTaskVersions200JSONResponse{Items: each(items, taskBody), NextCursor: next}, err
}

// orChain tells which mistake of requires the database found.
func orChain(err error) error {
	var unknown *postgres.UnknownTasksError
	var unknownItems *postgres.UnknownItemsError
	switch {
	case errors.As(err, &unknown):
		ids := each(unknown.TaskIDs, func(id int64) string { return strconv.FormatInt(id, 10) })
		return invalid("requires", "there is no task "+strings.Join(ids, ", "))
	case errors.As(err, &unknownItems):
		return invalid("reward.items", "the catalog has no item "+strings.Join(unknownItems.SKUs, ", "))
	case errors.Is(err, postgres.ErrTaskCycle):
		return invalid("requires", "the task would require itself, through the tasks that it requires")
	default:
		return err
	}
}

func taskETag(t tasks.Task) string { return fmt.Sprintf(`"%d"`, t.Version) }

// taskOf fills in the defaults of openapi.yaml and applies the rules.
func taskOf(in TaskInput) (tasks.Task, error) {
	window := value(in.Window)
	task := tasks.Task{
		Status:      value(in.Status),
		Name:        in.Name,
		Description: value(in.Description),
		EventType:   in.EventType,
		MinAmount:   in.MinAmount,
		Condition:   value(in.Condition),
		Count:       value(in.Count),
		Target:      in.Target,
		Window: tasks.WindowRule{
			Kind:         value(window.Kind),
			Unit:         value(window.Unit),
			TimeZone:     value(window.TimeZone),
			ResetHour:    value(window.ResetHour),
			GraceSeconds: or(window.GraceSeconds, -1),
		},
		Activation: value(in.Activation),
		Recurring:  value(in.Recurring),
		Requires:   value(in.Requires),
		StartsAt:   utc(in.StartsAt),
		EndsAt:     utc(in.EndsAt),
		Audience:   value(in.Audience),
		Reward:     value(in.Reward),
		Budget:     value(in.Budget),
	}
	if in.Equals != nil {
		task.Equals = make(map[string]string, len(*in.Equals))
		for field, text := range *in.Equals {
			task.Equals[field] = string(text)
		}
	}
	task = task.WithDefaults()
	if mistakes := task.Validate(); mistakes != nil {
		return task, mistaken(each(mistakes, func(m tasks.FieldError) store.FieldError { return store.FieldError(m) }))
	}
	return task, nil
}

func taskBody(t tasks.Task) Task {
	body := Task{
		TaskID:      t.TaskID,
		Version:     t.Version,
		Name:        t.Name,
		Description: t.Description,
		Status:      t.Status,
		EventType:   t.EventType,
		MinAmount:   t.MinAmount,
		Equals:      t.Equals,
		Condition:   t.Condition,
		Count:       t.Count,
		Target:      quantity(t, t.Target),
		Window: TaskWindow{
			Kind:         t.Window.Kind,
			Unit:         t.Window.Unit,
			TimeZone:     t.Window.TimeZone,
			ResetHour:    t.Window.ResetHour,
			GraceSeconds: t.Window.GraceSeconds,
		},
		Activation:  t.Activation,
		Recurring:   t.Recurring,
		Requires:    t.Requires,
		StartsAt:    utc(t.StartsAt),
		EndsAt:      utc(t.EndsAt),
		Audience:    t.Audience,
		Reward:      t.Reward,
		Budget:      t.Budget,
		PublishedAt: utc(t.PublishedAt),
		UpdatedAt:   t.UpdatedAt.UTC(),
	}
	if body.Equals == nil {
		body.Equals = map[string]string{}
	}
	if body.Requires == nil {
		body.Requires = []int64{}
	}
	return body
}

// Quantity is what a task counts: a whole number in JSON, but a sum is an amount and so a decimal string.
type Quantity struct {
	decimal.Decimal
	isSum bool
}

func quantity(t tasks.Task, amount decimal.Decimal) Quantity {
	return Quantity{amount, t.Count.Mode == tasks.CountSum}
}

// MarshalJSON writes a number, or a text for a sum.
func (q Quantity) MarshalJSON() ([]byte, error) {
	if q.isSum {
		return json.Marshal(q.String())
	}
	return []byte(q.String()), nil
}

// Text is what is compared as text. JSON may have it as a text, a number or a boolean.
type Text string

// UnmarshalJSON keeps numbers and booleans as they were written.
func (t *Text) UnmarshalJSON(encoded []byte) error {
	if encoded[0] != '"' {
		*t = Text(encoded)
		return nil
	}
	var text string
	err := json.Unmarshal(encoded, &text)
	*t = Text(text)
	return err
}

// AdminDryRunTask says what sample events would mean for a task that need not be stored.
func (h *handlers) AdminDryRunTask(_ context.Context, r AdminDryRunTaskRequestObject) (AdminDryRunTaskResponseObject, error) {
	task, err := taskOf(r.Body.Task)
	if err != nil {
		var mistakes *failure
		if errors.As(err, &mistakes) {
			return nil, mistakes.within("task.")
		}
		return nil, err
	}
	body := AdminDryRunTask200JSONResponse{Events: make([]TaskDryRunEvent, len(r.Body.Events))}
	for i, payload := range r.Body.Events {
		if body.Events[i], err = tryEvent(task, i, payload, h.now()); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func tryEvent(task tasks.Task, index int, payload json.RawMessage, now time.Time) (TaskDryRunEvent, error) {
	event, err := parseEvent(payload, now, keptLimits)
	var mistake *tasks.EventError
	if errors.As(err, &mistake) {
		return TaskDryRunEvent{
			Index:   index,
			Code:    string(mistake.Code),
			Field:   optional.Text(mistake.Field),
			Message: mistake.Message,
			Values:  map[string]string{},
		}, nil
	}
	if err != nil {
		return TaskDryRunEvent{}, err
	}
	decision, err := task.Try(event)
	body := TaskDryRunEvent{
		Index:   index,
		Code:    string(decision.Code),
		Message: decisionMessages[decision.Code],
		Added:   decision.Added,
		Values:  decision.Values,
	}
	if body.Values == nil {
		body.Values = map[string]string{}
	}
	return body, err
}
