package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

func TestStatusOfAUsersTask(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	rolling := func(task tasks.Task) tasks.Task { task.Window.Kind = tasks.Rolling; return task }
	monday := running(task) // from 2024-01-15 09:00 to 24:00, Moscow
	monday.Progress = number("3")
	with := func(state tasks.State) *tasks.Window {
		window := monday
		window.State = state
		return &window
	}
	locked := task
	locked.Requires = []int64{7}
	over := task
	over.EndsAt = pointer(instant("2024-01-16T00:00:00+03:00"))
	for name, test := range map[string]struct {
		task       tasks.Task
		last       *tasks.Window
		now        string
		status     tasks.UserStatus // "" when the user does not see it
		progress   string
		start, end string
		left       int64
	}{
		"available":                    {task: task, now: "2024-01-15T12:00:00+03:00", status: tasks.UserAvailable},
		"locked":                       {task: locked, now: "2024-01-15T12:00:00+03:00", status: tasks.UserLocked},
		"draft":                        {task: tasks.Task{}.WithDefaults(), now: "2024-01-15T12:00:00+03:00"},
		"campaign over":                {task: over, now: "2024-01-16T00:00:00+03:00"},
		"active":                       {task: task, last: with(tasks.Open), now: "2024-01-15T23:59:57.5+03:00", status: tasks.UserActive, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00", left: 3},
		"active, not offered any more": {task: over, last: with(tasks.Open), now: "2024-01-15T23:59:59+03:00", status: tasks.UserActive, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00", left: 1},
		"completed":                    {task: task, last: with(tasks.Completed), now: "2024-01-15T12:00:00+03:00", status: tasks.UserCompleted, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"completed before":             {task: over, last: with(tasks.Completed), now: "2024-01-20T12:00:00+03:00", status: tasks.UserCompleted, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"time over":                    {task: task, last: with(tasks.Open), now: "2024-01-16T00:00:00+03:00", status: tasks.UserExpired, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"expired":                      {task: task, last: with(tasks.Expired), now: "2024-01-17T00:00:00+03:00", status: tasks.UserExpired, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"canceled":                     {task: task, last: with(tasks.Canceled), now: "2024-01-15T12:00:00+03:00", status: tasks.UserAvailable},
		"canceled automatic":           {task: automatic(task), last: with(tasks.Canceled), now: "2024-01-15T12:00:00+03:00", status: tasks.UserExpired, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"recurring, next day":          {task: recurring(task), last: with(tasks.Completed), now: "2024-01-17T12:00:00+03:00", status: tasks.UserActive, progress: "0", start: "2024-01-17T00:00:00+03:00", end: "2024-01-18T00:00:00+03:00", left: 12 * 3600},
		"recurring, campaign over":     {task: recurring(over), last: with(tasks.Completed), now: "2024-01-17T12:00:00+03:00", status: tasks.UserCompleted, progress: "3", start: "2024-01-15T09:00:00+03:00", end: "2024-01-16T00:00:00+03:00"},
		"automatic":                    {task: automatic(task), now: "2024-01-17T12:00:00+03:00", status: tasks.UserActive, progress: "0", start: "2024-01-17T00:00:00+03:00", end: "2024-01-18T00:00:00+03:00", left: 12 * 3600},
		"automatic, rolling":           {task: automatic(rolling(task)), now: "2024-01-01T12:00:00Z", status: tasks.UserActive, progress: "0", start: "2024-01-01T00:00:00Z", end: "2024-01-02T00:00:00Z", left: 12 * 3600},
		"automatic, rolling, past":     {task: automatic(rolling(task)), now: "2024-01-17T12:00:00Z", status: tasks.UserExpired, progress: "0", start: "2024-01-01T00:00:00Z", end: "2024-01-02T00:00:00Z"},
		"automatic, rolling, again":    {task: recurring(automatic(rolling(task))), now: "2024-01-17T12:00:00Z", status: tasks.UserActive, progress: "0", start: "2024-01-17T00:00:00Z", end: "2024-01-18T00:00:00Z", left: 12 * 3600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, visible := test.task.StatusFor(seedUser, test.last, instant(test.now))
			require.Equal(t, test.status != "", visible)
			if !visible {
				return
			}
			require.Equal(t, test.status, status.Status)
			require.Equal(t, "5", status.Target.String())
			require.Equal(t, test.left, status.SecondsLeft)
			if test.start == "" {
				require.Nil(t, status.ActivatedAt)
				require.Nil(t, status.EndsAt)
				return
			}
			require.Equal(t, test.progress, status.Progress.String())
			require.Equal(t, instant(test.start), *status.ActivatedAt)
			require.Equal(t, instant(test.end), *status.EndsAt)
		})
	}
}

func TestLockedNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Requires = []int64{7, 8}
	user := seedUser
	user.CompletedAt = map[int64]time.Time{7: instant("2024-01-10T00:00:00Z")}
	status, visible := task.StatusFor(user, nil, instant("2024-01-15T12:00:00Z"))
	require.True(t, visible)
	require.Equal(t, []int64{8}, status.Missing)
	task.Audience.UserIDs = []string{"another"}
	_, visible = task.StatusFor(user, nil, instant("2024-01-15T12:00:00Z"))
	require.False(t, visible)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	event := bet("2024-01-15T17:00:00+03:00")
	received := instant("2024-01-15T17:00:05+03:00")
	for name, test := range map[string]struct {
		change   func(*tasks.Task)
		window   func(*tasks.Window)
		received string
		code     tasks.Code
	}{
		"not activated":            {code: tasks.NotActivated},
		"activated afterward":      {window: func(w *tasks.Window) { w.Anchor, w.ActivatedAt = received.Add(1), received.Add(1) }, code: tasks.NotActivated},
		"not in the audience":      {change: func(t *tasks.Task) { t.Audience.VIP = true }, code: tasks.NotInAudience},
		"locked":                   {change: func(t *tasks.Task) { t.Requires = []int64{7} }, code: tasks.Locked},
		"completed only afterward": {change: func(t *tasks.Task) { t.Requires = []int64{8} }, code: tasks.Locked},
		"campaign over":            {change: func(t *tasks.Task) { t.EndsAt = pointer(instant("2024-01-15T17:00:00+03:00")) }, code: tasks.NotRunning},
		"published afterward":      {change: func(t *tasks.Task) { t.PublishedAt = pointer(received.Add(time.Hour)) }, code: tasks.NotRunning},
		"edited afterward":         {change: func(t *tasks.Task) { t.Activation = tasks.Automatic }, code: tasks.NotRunning},
		"window closed long before": {window: func(w *tasks.Window) {
			w.Anchor, w.ActivatedAt, w.EndsAt, w.ClosesAt = received.Add(-72*time.Hour), received.Add(-72*time.Hour), received.Add(-48*time.Hour), received.Add(-48*time.Hour)
		}, code: tasks.WindowClosed},
		"automatic, before the user came": {change: func(t *tasks.Task) {
			t.Activation, t.StartsAt, t.PublishedAt = tasks.Automatic, nil, pointer(instant("2024-01-15T17:00:01+03:00"))
		}, code: tasks.BeforeActivation},
		"automatic, late":    {change: func(t *tasks.Task) { t.Activation = tasks.Automatic }, received: "2024-01-16T00:05:00+03:00", code: tasks.Late},
		"of another type":    {change: func(t *tasks.Task) { t.EventType = "deposit" }},
		"rolling once, past": {change: func(t *tasks.Task) { t.Activation, t.Window.Kind = tasks.Automatic, tasks.Rolling }, code: tasks.WindowClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := fiveBets()
			if test.change != nil {
				test.change(&task)
			}
			var windows []tasks.Window
			if test.window != nil {
				window := running(fiveBets())
				test.window(&window)
				windows = append(windows, window)
			}
			user := seedUser
			user.CompletedAt = map[int64]time.Time{8: received.Add(time.Minute)}
			at := received
			if test.received != "" {
				at = instant(test.received)
			}
			decisions := catalogOf(t, task).Explain(event, &user, windows, nil, at)
			if test.code == "" {
				require.Empty(t, decisions)
				return
			}
			require.Len(t, decisions, 1)
			require.Equal(t, test.code, decisions[0].Code)
			require.Equal(t, int64(123), decisions[0].TaskID)
		})
	}
}

func TestExplainKeepsWhatWasStored(t *testing.T) {
	t.Parallel()
	other := fiveBets()
	other.TaskID = 7
	catalog := catalogOf(t, fiveBets(), other)
	event, received := bet("2024-01-15T17:00:00+03:00"), instant("2024-01-15T17:00:05+03:00")
	stored := []tasks.Decision{{TaskID: 123, Version: 1, Code: tasks.Counted, WindowID: "w_1"}}
	decisions := catalog.Explain(event, &seedUser, nil, stored, received)
	require.Equal(t, []tasks.Decision{{TaskID: 7, Version: 1, Code: tasks.NotActivated}, stored[0]}, decisions)

	unknown := []tasks.Decision{{Code: tasks.UnknownUser}}
	require.Equal(t, unknown, catalog.Explain(event, &seedUser, nil, unknown, received), "the user came later")
	require.Equal(t, unknown, catalog.Explain(event, nil, nil, nil, received))
	event.Type = "deposit"
	require.Equal(t, stored, catalog.Explain(event, &seedUser, nil, stored, received))
}
