package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// decisionMessages say what a decision means and what can be done. docs/tasks.md has them at length.
var decisionMessages = map[tasks.Code]string{
	tasks.Counted:          "it counted; the progress grew by what was added, or was at its target",
	tasks.AlreadySeen:      "its value, or its day, was counted in this window before",
	tasks.TooSmall:         "its amount is less than the task asks for",
	tasks.NoAmount:         "the task asks for an amount, and the event has none that can be read as a number",
	tasks.NotEqual:         "a field is not what the task asks for",
	tasks.ConditionFalse:   "the condition is false for the values that it looks at",
	tasks.ConditionFailed:  "the condition can't be evaluated for this event; a field that it names may be missing",
	tasks.BeforeActivation: "it happened before the task was activated; only what comes after counts",
	tasks.WindowClosed:     "it happened after the time for the task had ended",
	tasks.Late:             "it happened in time, and arrived after the window had closed; send events at once",
	tasks.AlreadyCompleted: "the task was completed already",
	tasks.WindowCanceled:   "the task was given up",
	tasks.NotActivated:     "the user has not activated the task",
	tasks.NotInAudience:    "the task is not offered to this user",
	tasks.Locked:           "the user must complete other tasks first",
	tasks.NotRunning:       "the task was not offered at that time",
	tasks.OverBudget:       "the budget of the task is spent",
	tasks.UnknownUser:      "QuickPass does not know the user; create them with PUT /api/v1/users/{id} before their first event",
	tasks.Duplicate:        "it was delivered before",
}

// keptLimits take every event that was accepted once.
var keptLimits = tasks.EventLimits{MaxAge: math.MaxInt64, MaxAhead: math.MaxInt64}

// GetEventDecisions tells why an event did or did not count (seed 001, "How QuickPass Processes Events").
func (h *handlers) GetEventDecisions(ctx context.Context, r GetEventDecisionsRequestObject) (GetEventDecisionsResponseObject, error) {
	projectID := callOf(ctx).key.ProjectID
	stored, err := h.db.FindEvent(ctx, projectID, events.KeyOf(projectID, r.ID))
	if err != nil {
		return nil, orElse(err, fail(ProblemCodeEventNotFound, "no event of this id was accepted, or it is past keeping; the answer of the intake tells the id of each event"))
	}
	decisions, catalog, err := h.explain(ctx, projectID, stored)
	if err != nil {
		return nil, err
	}
	body := EventDecisions{
		EventID:      stored.EventID,
		IdentifiedBy: EventDecisionsIdentifiedBy(stored.IdentifiedBy),
		Source:       stored.Source,
		UserID:       stored.UserID,
		EventType:    stored.Type,
		OccurredAt:   stored.OccurredAt.UTC(),
		ReceivedAt:   stored.ReceivedAt.UTC(),
		Duplicates:   stored.Duplicates,
		Decisions:    make([]EventDecision, len(decisions)),
	}
	for i, decision := range decisions {
		if body.Decisions[i], err = h.decisionBody(ctx, projectID, catalog, decision); err != nil {
			return nil, err
		}
	}
	return GetEventDecisions200JSONResponse(body), nil
}

// explain completes what was stored when the event was counted by what the tasks and the user are now.
func (h *handlers) explain(ctx context.Context, projectID int32, stored postgres.StoredEvent) ([]tasks.Decision, *taskCatalog, error) {
	event, err := parseStored(stored.Payload, stored.ReceivedAt)
	if err != nil {
		return nil, nil, fmt.Errorf("event %s: %w", stored.EventID, err)
	}
	catalog, err := h.catalogs.get(ctx, projectID)
	if err != nil {
		return nil, nil, err
	}
	mine, err := h.db.UserTasks(ctx, projectID, stored.UserID, catalog.required, h.now())
	if errors.Is(err, postgres.ErrNotFound) {
		return catalog.rules.Explain(event, nil, nil, stored.Decisions, stored.ReceivedAt), catalog, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return catalog.rules.Explain(event, &mine.User, mine.Windows, stored.Decisions, stored.ReceivedAt), catalog, nil
}

func parseStored(payload json.RawMessage, receivedAt time.Time) (tasks.Event, error) {
	return parseEvent(payload, receivedAt, keptLimits)
}

// parseEvent reads one event as the intake does.
func parseEvent(payload json.RawMessage, now time.Time, limits tasks.EventLimits) (tasks.Event, error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return tasks.Event{}, err
	}
	event, mistake := tasks.ParseEvent(object, payload, now, limits)
	if mistake != nil {
		return tasks.Event{}, mistake
	}
	return event, nil
}

func (h *handlers) decisionBody(ctx context.Context, projectID int32, catalog *taskCatalog, d tasks.Decision) (EventDecision, error) {
	body := EventDecision{
		Code:     d.Code,
		Message:  decisionMessages[d.Code],
		Added:    d.Added,
		Values:   d.Values,
		WindowID: optional.Text(d.WindowID),
	}
	if body.Values == nil {
		body.Values = map[string]string{}
	}
	if d.TaskID == 0 {
		return body, nil // about the whole event
	}
	task, err := h.version(ctx, projectID, catalog, d.TaskID, d.Version)
	body.TaskID, body.Version, body.Name = &d.TaskID, &d.Version, &task.Name
	return body, err
}
