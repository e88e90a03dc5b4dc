package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// ListUserTasks shows what a user can do and has done (seed 001, "In Task Interface").
func (h *handlers) ListUserTasks(ctx context.Context, r ListUserTasksRequestObject) (ListUserTasksResponseObject, error) {
	list, err := h.userTasks(ctx, callOf(ctx).key.ProjectID, r.ID)
	return ListUserTasks200JSONResponse{Tasks: list}, err
}

// ActivateTask begins a task for a user (seed 001, "User activates the task"). A repeat under the same key
// gets the window of the first.
func (h *handlers) ActivateTask(ctx context.Context, r ActivateTaskRequestObject) (ActivateTaskResponseObject, error) {
	call := callOf(ctx)
	window, replayed, err := h.db.ActivateTask(ctx, postgres.Activation{
		ProjectID:   call.key.ProjectID,
		UserID:      r.ID,
		TaskID:      r.Task,
		Idempotency: call.idempotency,
	}, h.now())
	var refusal *tasks.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, activationRefused(refusal)
	case errors.Is(err, postgres.ErrNoUser):
		return nil, errUserNotFound
	case err != nil:
		return nil, orElse(err, errNoSuchUserTask)
	}
	body, err := h.activated(ctx, call.key.ProjectID, window, !replayed)
	return ActivateTask201JSONResponse{Body: body, Headers: ActivateTask201ResponseHeaders{IdempotencyReplayed: flag(replayed)}}, err
}

// activated is the window as the user is shown it, by the version that it counts by. Of a new one the
// workflow is started.
func (h *handlers) activated(ctx context.Context, projectID int32, window tasks.Window, opened bool) (UserTask, error) {
	view, err := h.taskView(ctx, projectID, window.UserID)
	if err != nil {
		return UserTask{}, err
	}
	task, err := h.version(ctx, projectID, view.catalog, window.TaskID, window.Version)
	if err != nil {
		return UserTask{}, err
	}
	if opened {
		h.starter.OfferTaskWindows(postgres.ChangeOf(projectID, window, task.Name, 1))
	}
	state, visible := task.StatusFor(view.User, &window, view.now)
	if !visible { // given up since, and not offered any more
		state = tasks.UserTask{Status: tasks.UserExpired, WindowID: window.WindowID, Progress: window.Progress, Target: window.Target,
			ActivatedAt: &window.ActivatedAt, EndsAt: &window.EndsAt}
	}
	return userTaskBody(task, state, view.Rewards), nil
}

var errNoSuchUserTask = fail(ProblemCodeTaskNotFound, "no task of this id; GET /api/v1/users/{id}/tasks lists those of the user")

// activationRefused gives a refusal its status: 409, but 403 for a task that is for others.
func activationRefused(r *tasks.Refusal) error {
	code := ProblemCode(r.Code)
	if r.Code == tasks.ActivationNotInAudience {
		code = ProblemCodeNotEligible
	}
	if problemKinds[code].status == 0 {
		return fmt.Errorf("a refusal that the API does not know: %w", r)
	}
	return &failure{code: code, detail: r.Message, until: r.Until}
}

// CancelTask gives an active task up.
func (h *handlers) CancelTask(ctx context.Context, r CancelTaskRequestObject) (CancelTaskResponseObject, error) {
	call := callOf(ctx)
	if _, err := h.user(ctx, r.ID); err != nil {
		return nil, err
	}
	var reason string
	if r.Body != nil {
		reason = value(r.Body.Reason)
	}
	change, err := h.db.CancelWindow(ctx, postgres.WindowCancel{
		ProjectID: call.key.ProjectID,
		UserID:    r.ID,
		TaskID:    r.Task,
		Reason:    reason,
		Actor:     call.key.KeyID,
	}, h.now())
	switch {
	case errors.Is(err, postgres.ErrConflict):
		return nil, fail(ProblemCodeNotActive, "the task is over, or was given up already")
	case errors.Is(err, postgres.ErrNotFound):
		return nil, h.notActive(ctx, r.Task)
	case err != nil:
		return nil, err
	}
	h.starter.OfferTaskWindows(change)
	return CancelTask204Response{}, nil
}

// notActive tells a task that the user does not have from one that there is not.
func (h *handlers) notActive(ctx context.Context, taskID int64) error {
	if _, err := h.db.GetTask(ctx, callOf(ctx).key.ProjectID, taskID); err != nil {
		return orElse(err, errNoSuchUserTask)
	}
	return fail(ProblemCodeNotActive, "the user has not activated the task, or no event has counted in it yet")
}

// stillShown is how long a user still sees a task that is not offered any more, after the end of their window.
const stillShown = 30 * 24 * time.Hour

// userTasks is all that a user may see, by the ids of the tasks.
func (h *handlers) userTasks(ctx context.Context, projectID int32, userID string) ([]UserTask, error) {
	view, err := h.taskView(ctx, projectID, userID)
	if err != nil {
		return nil, err
	}
	offered := view.catalog.offered
	for id, window := range view.last {
		if slices.ContainsFunc(offered, func(t tasks.Task) bool { return t.TaskID == id }) {
			continue
		}
		task, err := h.version(ctx, projectID, view.catalog, id, window.Version)
		if err != nil {
			return nil, err
		}
		task.Status, task.PublishedAt = tasks.Draft, nil // not offered any more
		offered = append(slices.Clip(offered), task)
	}
	list := []UserTask{}
	for _, task := range offered {
		body, visible, err := h.userTask(ctx, projectID, view, task)
		if err != nil {
			return nil, err
		}
		if visible {
			list = append(list, body)
		}
	}
	slices.SortFunc(list, func(a, b UserTask) int { return cmp.Compare(a.TaskID, b.TaskID) })
	return list, nil
}

// taskView is all that decides what a user is shown at a moment.
type taskView struct {
	postgres.UserTasks
	catalog *taskCatalog
	last    map[int64]tasks.Window // of each task the one that ends last
	now     time.Time
}

func (h *handlers) taskView(ctx context.Context, projectID int32, userID string) (view taskView, err error) {
	view = taskView{now: h.now(), last: map[int64]tasks.Window{}}
	if view.catalog, err = h.catalogs.get(ctx, projectID); err != nil {
		return view, err
	}
	if view.UserTasks, err = h.db.UserTasks(ctx, projectID, userID, view.catalog.required, view.now); err != nil {
		return view, orElse(err, errUserNotFound)
	}
	for _, window := range view.Windows {
		known, ok := view.last[window.TaskID]
		later := cmp.Or(window.EndsAt.Compare(known.EndsAt), cmp.Compare(window.Number, known.Number)) > 0
		if !ok || known.State == tasks.Canceled || (later && window.State != tasks.Canceled) {
			view.last[window.TaskID] = window
		}
	}
	return view, nil
}

// userTask is false when the user does not see the task. What a window promised stays what it was.
func (h *handlers) userTask(ctx context.Context, projectID int32, view taskView, task tasks.Task) (UserTask, bool, error) {
	var last *tasks.Window
	if window, ok := view.last[task.TaskID]; ok {
		last = &window
		over := task.Status != tasks.Published || (task.EndsAt != nil && !view.now.Before(*task.EndsAt))
		if over && view.now.Sub(window.EndsAt) > stillShown {
			return UserTask{}, false, nil
		}
	}
	state, visible := task.StatusFor(view.User, last, view.now)
	if !visible {
		return UserTask{}, false, nil
	}
	if state.WindowID != "" {
		var err error
		if task, err = h.version(ctx, projectID, view.catalog, task.TaskID, last.Version); err != nil {
			return UserTask{}, false, err
		}
	}
	return userTaskBody(task, state, view.Rewards), true, nil
}

func userTaskBody(task tasks.Task, state tasks.UserTask, rewards []postgres.ReceivedReward) UserTask {
	body := UserTask{
		TaskID: task.TaskID, Name: task.Name, Description: task.Description, Status: state.Status,
		Progress: quantity(task, state.Progress), Target: quantity(task, state.Target), WindowID: optional.Text(state.WindowID),
		ActivatedAt: utc(state.ActivatedAt), EndsAt: utc(state.EndsAt), Missing: state.Missing,
		Activation: task.Activation, Recurring: task.Recurring, Count: task.Count, Reward: task.Reward, RewardsReceived: []ReceivedReward{},
	}
	if state.ActivatedAt != nil {
		body.SecondsLeft = &state.SecondsLeft
	}
	if body.Missing == nil {
		body.Missing = []int64{}
	}
	for _, r := range rewards {
		if r.TaskID == task.TaskID {
			body.RewardsReceived = append(body.RewardsReceived, ReceivedReward{RewardID: r.RewardID, WindowID: r.WindowID, Coins: r.Coins,
				RewardType: optional.Text(r.RewardType), Amount: r.Amount, Items: itemsOf(r.Items), ReceivedAt: r.ReceivedAt.UTC()})
		}
	}
	return body
}
