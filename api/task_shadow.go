package api

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	shadowPeriod = 31 * 24 * time.Hour
	shadowEvents = 200_000
	shadowPage   = 1_000 // events that are counted at once
	shadowUsers  = 1_000 // that an answer lists
)

// AdminShadowTask counts stored events for a task before it is published.
func (h *handlers) AdminShadowTask(ctx context.Context, r AdminShadowTaskRequestObject) (AdminShadowTaskResponseObject, error) {
	from, until := r.Body.From.UTC(), r.Body.Until.UTC()
	if !from.Before(until) || until.Sub(from) > shadowPeriod {
		return nil, invalid("until", "must be after from, and at most 31 days after it")
	}
	task, err := h.task(ctx, r.TaskID)
	if err != nil {
		return nil, err
	}
	shadow, err := tasks.NewShadow(task, from, until)
	if err != nil {
		return nil, err
	}
	if !h.shadows.enter() {
		return nil, errOverloaded("another shadow run is under way")
	}
	defer h.shadows.leave()
	run := shadowRun{
		handlers:  h,
		projectID: callOf(ctx).key.ProjectID,
		task:      task,
		shadow:    shadow,
		users:     map[string]tasks.User{},
		asked:     map[string]bool{},
	}
	if err := run.count(ctx, postgres.EventPeriod{Type: task.EventType, From: from, Until: until, Limit: shadowEvents + 1}); err != nil {
		return nil, err
	}
	return AdminShadowTask200JSONResponse(shadowBody(task, from, until, shadow.Report())), nil
}

// shadowRun feeds stored events to the rules, page by page.
type shadowRun struct {
	*handlers
	projectID int32
	task      tasks.Task
	shadow    *tasks.Shadow
	users     map[string]tasks.User // those that exist
	asked     map[string]bool       // who was looked for
	page      []tasks.Event
	events    int
}

func (s *shadowRun) count(ctx context.Context, period postgres.EventPeriod) error {
	err := s.db.EachStoredEvent(ctx, s.projectID, period, func(stored postgres.StoredEvent) error {
		if s.events++; s.events > shadowEvents {
			return fail(ProblemCodeTooManyEvents, fmt.Sprintf("more than %d events of this type happened in the period; shorten it", shadowEvents))
		}
		event, err := parseEvent(stored.Payload, stored.OccurredAt, keptLimits)
		if err != nil {
			return err
		}
		if s.page = append(s.page, event); len(s.page) < shadowPage {
			return nil
		}
		return s.countPage(ctx)
	})
	if err != nil {
		return err
	}
	return s.countPage(ctx)
}

func (s *shadowRun) countPage(ctx context.Context) error {
	var unread []string
	for _, event := range s.page {
		if !s.asked[event.UserID] {
			unread = append(unread, event.UserID)
			s.asked[event.UserID] = true
		}
	}
	known, err := s.db.TaskUsers(ctx, s.projectID, unread, s.task.Requires, s.now())
	if err != nil {
		return err
	}
	maps.Copy(s.users, known)
	s.shadow.Count(s.users, s.page)
	s.page = s.page[:0]
	return nil
}

func shadowBody(task tasks.Task, from, until time.Time, report tasks.ShadowReport) ShadowRun {
	listed := report.Completed[:min(len(report.Completed), shadowUsers)]
	body := ShadowRun{
		TaskID:         task.TaskID,
		Version:        task.Version,
		From:           from,
		Until:          until,
		Events:         report.Events,
		Decisions:      make(map[string]int64, len(report.Decisions)),
		Users:          report.Users,
		CompletedUsers: len(report.Completed),
		Completions:    report.Completions,
		Coins:          report.Coins,
		OverBudget:     report.OverBudget,
		Items: each(listed, func(u tasks.ShadowUser) ShadowUser {
			return ShadowUser{UserID: u.UserID, Completions: u.Completions, Coins: u.Coins}
		}),
		More: len(listed) < len(report.Completed),
	}
	for code, count := range report.Decisions {
		body.Decisions[string(code)] = count
	}
	if part := task.Reward.MainProduct; part != nil {
		body.MainProduct = &MainProductCost{RewardType: part.RewardType, Amount: report.MainProduct}
	}
	return body
}
