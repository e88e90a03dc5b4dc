package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

func TestActivation(t *testing.T) {
	t.Parallel()
	ended := func(state tasks.State) *tasks.Window {
		return &tasks.Window{
			TaskID:      123,
			Number:      3,
			State:       state,
			Anchor:      instant("2024-01-12T10:00:00Z"),
			ActivatedAt: instant("2024-01-12T10:00:00Z"),
			EndsAt:      instant("2024-01-12T21:00:00Z"),
		}
	}
	current := func(state tasks.State) *tasks.Window {
		return &tasks.Window{
			TaskID:      123,
			Number:      3,
			State:       state,
			Anchor:      instant("2024-01-15T10:00:00Z"),
			ActivatedAt: instant("2024-01-15T10:00:00Z"),
			EndsAt:      instant("2024-01-15T21:00:00Z"),
		}
	}
	for name, test := range map[string]struct {
		change   func(*tasks.Task)
		previous *tasks.Window
		code     tasks.RefusalCode
		number   int
	}{
		"first":                            {number: 1},
		"draft":                            {change: func(t *tasks.Task) { t.Status, t.PublishedAt = tasks.Draft, nil }, code: tasks.ActivationNotRunning},
		"not begun":                        {change: func(t *tasks.Task) { t.StartsAt = pointer(instant("2024-01-15T14:00:01Z")) }, code: tasks.ActivationNotRunning},
		"just begun":                       {change: func(t *tasks.Task) { t.StartsAt = pointer(instant("2024-01-15T14:00:00Z")) }, number: 1},
		"over":                             {change: func(t *tasks.Task) { t.EndsAt = pointer(instant("2024-01-15T14:00:00Z")) }, code: tasks.ActivationNotRunning},
		"not in the audience":              {change: func(t *tasks.Task) { t.Audience.VIP = true }, code: tasks.ActivationNotInAudience},
		"automatic":                        {change: func(t *tasks.Task) { t.Activation = tasks.Automatic }, code: tasks.ActivationAutomatic},
		"locked":                           {change: func(t *tasks.Task) { t.Requires = []int64{7, 8} }, code: tasks.ActivationLocked},
		"active":                           {previous: current(tasks.Open), code: tasks.ActivationAlreadyActive},
		"completed":                        {previous: current(tasks.Completed), code: tasks.ActivationAlreadyCompleted},
		"completed long ago":               {previous: ended(tasks.Completed), code: tasks.ActivationAlreadyCompleted},
		"expired":                          {previous: ended(tasks.Expired), code: tasks.ActivationAlreadyUsed},
		"expired and not yet settled":      {previous: ended(tasks.Open), code: tasks.ActivationAlreadyUsed},
		"canceled":                         {previous: current(tasks.Canceled), number: 4},
		"canceled long ago":                {previous: ended(tasks.Canceled), number: 4},
		"canceled, opened by a fast clock": {previous: &tasks.Window{TaskID: 123, Number: 3, State: tasks.Canceled, ActivatedAt: instant("2024-01-15T14:01:00Z"), EndsAt: instant("2024-01-15T21:00:00Z")}, number: 4},
		"recurring, active":                {change: func(t *tasks.Task) { t.Recurring = true }, previous: current(tasks.Open), code: tasks.ActivationAlreadyActive},
		"recurring, completed":             {change: func(t *tasks.Task) { t.Recurring = true }, previous: current(tasks.Completed), code: tasks.ActivationAlreadyCompleted},
		"recurring, of an earlier day":     {change: func(t *tasks.Task) { t.Recurring = true }, previous: ended(tasks.Expired), code: tasks.ActivationAlreadyActive},
		"recurring, completed before":      {change: func(t *tasks.Task) { t.Recurring = true }, previous: ended(tasks.Completed), code: tasks.ActivationAlreadyActive},
		"recurring, canceled some time":    {change: func(t *tasks.Task) { t.Recurring = true }, previous: ended(tasks.Canceled), number: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := fiveBets()
			if test.change != nil {
				test.change(&task)
			}
			user := seedUser
			user.CompletedAt = map[int64]time.Time{8: {}}
			opened, refusal := task.Activate(user, test.previous, instant("2024-01-15T14:00:00.7Z"))
			if test.code != "" {
				require.NotNil(t, refusal)
				require.Equal(t, test.code, refusal.Code)
				require.NotEmpty(t, refusal.Message)
				if test.code == tasks.ActivationLocked {
					require.Equal(t, []int64{7}, refusal.Missing)
				}
				return
			}
			require.Nil(t, refusal)
			checkWindow(t, opened)
			require.Equal(t, tasks.Window{
				UserID:      "12345",
				TaskID:      123,
				Version:     1,
				Number:      test.number,
				Anchor:      instant("2024-01-15T14:00:00Z"),
				ActivatedAt: instant("2024-01-15T14:00:00Z"),
				EndsAt:      instant("2024-01-15T21:00:00Z"),
				ClosesAt:    instant("2024-01-15T21:05:00Z"),
				TimeZone:    "Europe/Moscow",
				State:       tasks.Open,
				Target:      number("5"),
			}, opened)
		})
	}
}

func TestActivationWithinACampaign(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Window.Unit, task.Window.Kind = tasks.Month, tasks.Rolling
	task.EndsAt = pointer(instant("2024-01-20T00:00:00Z"))
	opened, refusal := task.Activate(seedUser, nil, instant("2024-01-15T14:00:00Z"))
	require.Nil(t, refusal)
	require.Equal(t, *task.EndsAt, opened.EndsAt)
	require.Equal(t, task.EndsAt.Add(5*time.Minute), opened.ClosesAt)
}
