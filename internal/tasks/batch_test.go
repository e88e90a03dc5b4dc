package tasks_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/tasks"
)

// bet is the seed's event with some fields changed.
func bet(at string, changes ...string) tasks.Event {
	fields := map[string]any{
		"user_id": "12345", "event_type": "bet_placed", "timestamp": at, "amount": json.Number("250.00"), "currency": "RUB", "game_type": "roulette", "outcome": "win",
	}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		switch {
		case value == "":
			delete(fields, name)
		case name == "amount" || name == "odds":
			fields[name] = json.Number(value)
		default:
			fields[name] = value
		}
	}
	event, problem := tasks.ParseEvent(fields, nil, instant(at), tasks.EventLimits{})
	if problem != nil {
		panic(problem)
	}
	return event
}

func catalogOf(t require.TestingT, list ...tasks.Task) *tasks.Catalog {
	catalog, err := tasks.NewCatalog(list)
	require.NoError(t, err)
	return catalog
}

var seedUser = tasks.User{UserID: "12345", CreatedAt: instant("2023-12-01T00:00:00Z")}

// books keep the windows of one user, as the database does.
type books struct {
	t       require.TestingT
	catalog *tasks.Catalog
	user    tasks.User
	windows []tasks.Window
	ids     int
}

func (b *books) newID() string {
	b.ids++
	return fmt.Sprintf("w_opened_%d", b.ids)
}

func (b *books) count(now string, events ...tasks.Event) [][]tasks.Decision {
	outcome := tasks.CountBatch(tasks.Batch{Now: instant(now), Catalog: b.catalog, NewWindowID: b.newID, Events: events,
		Users: map[string]tasks.User{"12345": b.user}, Windows: map[string][]tasks.Window{"12345": b.windows}})
	for _, changed := range outcome.Changed {
		at := slices.IndexFunc(b.windows, func(w tasks.Window) bool { return w.WindowID == changed.WindowID })
		require.NotEqual(b.t, -1, at)
		b.windows[at] = changed
	}
	b.windows = append(b.windows, outcome.Opened...)
	for _, window := range b.windows {
		checkWindow(b.t, window)
	}
	return outcome.Decisions
}

// checkWindow asks what the database's constraints ask.
func checkWindow(t require.TestingT, w tasks.Window) {
	require.False(t, w.ActivatedAt.Before(w.Anchor))
	require.True(t, w.ActivatedAt.Before(w.EndsAt))
	require.False(t, w.ClosesAt.Before(w.EndsAt))
	require.Equal(t, w.State == tasks.Completed, w.Progress.Equal(w.Target))
	require.Equal(t, w.State == tasks.Completed, w.CompletedAt != nil)
	require.True(t, w.Progress.LessThanOrEqual(w.Target))
	require.True(t, slices.IsSorted(w.Seen))
}

func activated(t require.TestingT, task tasks.Task, at string) *books {
	window, refusal := task.Activate(seedUser, nil, instant(at))
	require.Nil(t, refusal)
	window.WindowID = "w_1"
	return &books{t: t, catalog: catalogOf(t, task), user: seedUser, windows: []tasks.Window{window}}
}

func codes(decisions [][]tasks.Decision) []tasks.Code {
	var list []tasks.Code
	for _, of := range decisions {
		switch len(of) {
		case 0:
			list = append(list, "")
		case 1:
			list = append(list, of[0].Code)
		default:
			panic("more than one task")
		}
	}
	return list
}

func TestSeedsExample(t *testing.T) {
	t.Parallel()
	books := activated(t, fiveBets(), "2024-01-15T17:00:00+03:00")
	decisions := books.count("2024-01-15T18:00:00+03:00",
		bet("2024-01-15T17:01:00+03:00"), bet("2024-01-15T17:02:00+03:00", "amount=99.99"), bet("2024-01-15T17:03:00+03:00", "amount=100"),
		bet("2024-01-15T17:04:00+03:00"), bet("2024-01-15T17:05:00+03:00"))
	require.Equal(t, []tasks.Code{tasks.Counted, tasks.TooSmall, tasks.Counted, tasks.Counted, tasks.Counted}, codes(decisions))
	require.Equal(t, map[string]string{"amount": "99.99", "min_amount": "100"}, decisions[1][0].Values)
	require.Empty(t, decisions[4][0].Values)
	require.Equal(t, "1", decisions[4][0].Added.String())
	require.Equal(t, tasks.Open, books.windows[0].State)

	decisions = books.count("2024-01-15T18:10:00+03:00", bet("2024-01-15T18:00:00+03:00"), bet("2024-01-15T18:01:00+03:00"))
	require.Equal(t, []tasks.Code{tasks.Counted, tasks.AlreadyCompleted}, codes(decisions))
	require.Equal(t, tasks.Completed, books.windows[0].State)
	require.Equal(t, instant("2024-01-15T18:00:00+03:00"), *books.windows[0].CompletedAt)
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	withCondition := func(task tasks.Task) tasks.Task { task.Condition = `event.odds > 2`; return task }
	canceled := func(b *books) { b.windows[0].State = tasks.Canceled }
	for name, test := range map[string]struct {
		change func(tasks.Task) tasks.Task
		books  func(*books)
		event  tasks.Event
		now    string
		code   tasks.Code
		values map[string]string
	}{
		"first second of the window": {event: bet("2024-01-15T17:00:00+03:00"), code: tasks.Counted},
		"before activation": {event: bet("2024-01-15T16:59:59.999999+03:00"), code: tasks.BeforeActivation,
			values: map[string]string{"occurred_at": "2024-01-15T13:59:59.999999Z", "activated_at": "2024-01-15T14:00:00Z"}},
		"last moment": {event: bet("2024-01-15T23:59:59.999999+03:00"), code: tasks.Counted},
		"window closed": {event: bet("2024-01-16T00:00:00+03:00"), code: tasks.WindowClosed,
			values: map[string]string{"occurred_at": "2024-01-15T21:00:00Z", "ends_at": "2024-01-15T21:00:00Z"}},
		"long after the end": {event: bet("2024-01-17T00:00:00+03:00"), now: "2024-01-17T00:00:00+03:00"},
		"in the grace":       {event: bet("2024-01-15T18:00:00+03:00"), now: "2024-01-16T00:04:59.999999+03:00", code: tasks.Counted},
		"late": {event: bet("2024-01-15T18:00:00+03:00"), now: "2024-01-16T00:05:00+03:00", code: tasks.Late,
			values: map[string]string{"received_at": "2024-01-15T21:05:00Z", "closes_at": "2024-01-15T21:05:00Z"}},
		"canceled":              {books: canceled, event: bet("2024-01-15T18:00:00+03:00"), code: tasks.WindowCanceled},
		"after a canceled one":  {books: canceled, event: bet("2024-01-16T00:00:00+03:00"), code: tasks.WindowCanceled},
		"no amount":             {event: bet("2024-01-15T18:00:00+03:00", "amount="), code: tasks.NoAmount, values: map[string]string{"min_amount": "100"}},
		"another currency":      {event: bet("2024-01-15T18:00:00+03:00", "currency=USD"), code: tasks.NotEqual, values: map[string]string{"field": "currency", "value": "USD", "expected": "RUB"}},
		"no currency":           {event: bet("2024-01-15T18:00:00+03:00", "currency="), code: tasks.NotEqual, values: map[string]string{"field": "currency", "value": "", "expected": "RUB"}},
		"condition false":       {change: withCondition, event: bet("2024-01-15T18:00:00+03:00", "odds=1.5"), code: tasks.ConditionFalse, values: map[string]string{"odds": "1.5"}},
		"condition failed":      {change: withCondition, event: bet("2024-01-15T18:00:00+03:00"), code: tasks.ConditionFailed, values: map[string]string{"error": "no such key: odds"}},
		"condition true":        {change: withCondition, event: bet("2024-01-15T18:00:00+03:00", "odds=2.5"), code: tasks.Counted},
		"another type of event": {event: bet("2024-01-15T18:00:00+03:00", "event_type=deposit")},
		"numbers are compared as numbers": {change: func(task tasks.Task) tasks.Task { task.Equals = map[string]string{"odds": "2.0"}; return task },
			event: bet("2024-01-15T18:00:00+03:00", "odds=2"), code: tasks.Counted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := fiveBets()
			if test.change != nil {
				task = test.change(task)
			}
			books := activated(t, task, "2024-01-15T17:00:00.9+03:00")
			if test.books != nil {
				test.books(books)
			}
			if test.now == "" {
				test.now = "2024-01-16T00:00:01+03:00"
			}
			decisions := books.count(test.now, test.event)
			require.Equal(t, []tasks.Code{test.code}, codes(decisions))
			if test.values != nil {
				require.Equal(t, test.values, decisions[0][0].Values)
			}
		})
	}
}

func TestUnknownUserIsDecidedForTheWholeEvent(t *testing.T) {
	t.Parallel()
	outcome := tasks.CountBatch(tasks.Batch{
		Now:     parseNow,
		Catalog: catalogOf(t, fiveBets()),
		Events:  []tasks.Event{bet("2024-01-15T17:00:00+03:00")},
	})
	require.Equal(t, [][]tasks.Decision{{{Code: tasks.UnknownUser}}}, outcome.Decisions)
	require.Empty(t, outcome.Opened)
}

func TestNothingIsKeptAboutTasksThatTheUserHasNotBegun(t *testing.T) {
	t.Parallel()
	books := &books{t: t, catalog: catalogOf(t, fiveBets()), user: seedUser}
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T17:00:00+03:00"))))
}

func TestTheBatchItselfIsNotChanged(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Count, task.Target = tasks.Count{Mode: tasks.CountDistinct, Field: "game_type"}, number("10")
	window := running(task)
	window.Progress, window.Seen = number("2"), append(make([]string, 0, 10), "aces", "slots")
	batch := tasks.Batch{
		Now:         parseNow,
		Catalog:     catalogOf(t, task),
		NewWindowID: func() string { return "new" },
		Events:      []tasks.Event{bet("2024-01-15T17:00:00+03:00")},
		Users:       map[string]tasks.User{"12345": seedUser},
		Windows:     map[string][]tasks.Window{"12345": {window}},
	}
	first, second := tasks.CountBatch(batch), tasks.CountBatch(batch)
	require.Equal(t, first, second)
	require.Equal(t, []string{"aces", "slots"}, batch.Windows["12345"][0].Seen)
	require.Equal(t, []string{"aces", "roulette", "slots"}, first.Changed[0].Seen)
}

func TestSumStopsAtTheTarget(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Count, task.Target, task.MinAmount = tasks.Count{Mode: tasks.CountSum, Field: "odds"}, number("3.5"), nil
	books := activated(t, task, "2024-01-15T17:00:00+03:00")
	decisions := books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T17:01:00+03:00", "odds=2.25"), bet("2024-01-15T17:02:00+03:00"),
		bet("2024-01-15T17:03:00+03:00", "odds=0"), bet("2024-01-15T17:03:00+03:00", "odds=-1"), bet("2024-01-15T17:03:00+03:00", "odds=1e30"), bet("2024-01-15T17:04:00+03:00", "odds=2.5"))
	require.Equal(t, []tasks.Code{tasks.Counted, tasks.NoAmount, tasks.TooSmall, tasks.TooSmall, tasks.NoAmount, tasks.Counted}, codes(decisions))
	require.Equal(t, "2.25", decisions[0][0].Added.String())
	require.Equal(t, "1.25", decisions[5][0].Added.String())
	require.Equal(t, "3.5", books.windows[0].Progress.String())
	require.Equal(t, tasks.Completed, books.windows[0].State)
}

func TestDistinctValues(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Count, task.Target = tasks.Count{Mode: tasks.CountDistinct, Field: "odds"}, number("3")
	books := activated(t, task, "2024-01-15T17:00:00+03:00")
	at := "2024-01-15T17:01:00+03:00"
	decisions := books.count("2024-01-15T18:00:00+03:00", bet(at, "odds=2"), bet(at, "odds=2.0"), bet(at), bet(at, "odds=3"))
	require.Equal(t, []tasks.Code{tasks.Counted, tasks.AlreadySeen, tasks.ConditionFailed, tasks.Counted}, codes(decisions))
	require.Equal(t, []string{"2", "3"}, books.windows[0].Seen)
	books.count("2024-01-15T18:00:00+03:00", bet(at, "odds=4"))
	require.Equal(t, tasks.Completed, books.windows[0].State)
	require.Empty(t, books.windows[0].Seen)

	task.Count.Field, task.Target = "game_type", number("2")
	books = activated(t, task, "2024-01-15T17:00:00+03:00")
	long := "game_type=" + strings.Repeat("x", 5000)
	require.Equal(t, []tasks.Code{tasks.Counted, tasks.AlreadySeen, tasks.Counted}, codes(books.count("2024-01-15T18:00:00+03:00", bet(at, long), bet(at, long), bet(at, long+"y"))))
}

func TestStreakOfDays(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Count, task.Target = tasks.Count{Mode: tasks.CountStreak}, number("4")
	task.Window.Unit, task.Window.ResetHour = tasks.Week, 6
	books := activated(t, task, "2024-01-15T06:00:00+03:00")
	var progress []string
	for _, at := range []string{"2024-01-15T07:00:00+03:00", "2024-01-16T05:59:59+03:00", "2024-01-16T06:00:00+03:00", "2024-01-19T12:00:00+03:00", "2024-01-18T12:00:00+03:00", "2024-01-18T05:00:00+03:00"} {
		books.count("2024-01-21T00:00:00+03:00", bet(at))
		progress = append(progress, books.windows[0].Progress.String())
	}
	require.Equal(t, []string{"1", "1", "2", "2", "2", "4"}, progress)
	require.Equal(t, tasks.Completed, books.windows[0].State)
}

func TestAWindowCountsByItsOwnVersion(t *testing.T) {
	t.Parallel()
	old, edited := fiveBets(), fiveBets()
	old.PublishedAt = nil
	edited.Version, edited.MinAmount, edited.EventType = 2, pointer(number("1000")), "deposit"
	books := activated(t, fiveBets(), "2024-01-15T17:00:00+03:00")
	books.catalog = catalogOf(t, edited, old)
	decisions := books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T17:01:00+03:00"), bet("2024-01-15T17:01:00+03:00", "event_type=deposit", "amount=2000"))
	require.Equal(t, []tasks.Code{tasks.Counted, ""}, codes(decisions))
	require.Equal(t, int64(1), decisions[0][0].Version)

	require.Equal(t, []int64{123}, books.catalog.TaskIDs("bet_placed"))
	require.Empty(t, books.catalog.Current("bet_placed"))
	require.Len(t, books.catalog.Current("deposit"), 1)
	_, ok := books.catalog.Task(123, 1)
	require.True(t, ok)
	_, ok = books.catalog.Task(123, 3)
	require.False(t, ok)
}

func automatic(task tasks.Task) tasks.Task {
	task.Activation = tasks.Automatic
	return task
}

func recurring(task tasks.Task) tasks.Task {
	task.Recurring = true
	return task
}

func TestTheNextWindowOfARecurringTaskOpensWithItsFirstEvent(t *testing.T) {
	t.Parallel()
	books := activated(t, recurring(fiveBets()), "2024-01-15T17:00:00+03:00")
	decisions := books.count("2024-01-18T12:00:00+03:00", bet("2024-01-18T10:00:00+03:00", "amount=5"), bet("2024-01-18T11:00:00+03:00"), bet("2024-01-18T11:30:00+03:00"), bet("2024-01-17T11:00:00+03:00"))
	require.Equal(t, []tasks.Code{tasks.TooSmall, tasks.Counted, tasks.Counted, tasks.Late}, codes(decisions))
	require.Len(t, books.windows, 2)
	opened := books.windows[1]
	require.Equal(t, 2, opened.Number)
	require.Equal(t, "2", opened.Progress.String())
	require.Equal(t, instant("2024-01-15T17:00:00+03:00"), opened.Anchor)
	require.Equal(t, instant("2024-01-18T00:00:00+03:00"), opened.ActivatedAt)
	require.Equal(t, instant("2024-01-19T00:00:00+03:00"), opened.EndsAt)
	require.Equal(t, instant("2024-01-19T00:05:00+03:00"), opened.ClosesAt)
	require.Equal(t, "Europe/Moscow", opened.TimeZone)
}

func TestAfterACanceledWindowNoneOpensByItself(t *testing.T) {
	t.Parallel()
	task := recurring(fiveBets())
	books := activated(t, task, "2024-01-15T17:00:00+03:00")
	books.windows[0].State = tasks.Canceled
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-18T12:00:00+03:00", bet("2024-01-18T10:00:00+03:00"))))

	again, refusal := task.Activate(seedUser, &books.windows[0], instant("2024-01-15T18:00:00+03:00"))
	require.Nil(t, refusal)
	require.Equal(t, 2, again.Number)
	again.WindowID = "w_2"
	books.windows = append(books.windows, again)
	decisions := books.count("2024-01-15T19:00:00+03:00", bet("2024-01-15T17:30:00+03:00"), bet("2024-01-15T18:30:00+03:00"))
	require.Equal(t, []tasks.Code{tasks.WindowCanceled, tasks.Counted}, codes(decisions))
	require.Equal(t, "w_2", decisions[1][0].WindowID)
}

func TestAnAutomaticTaskBeginsWithItsFirstEvent(t *testing.T) {
	t.Parallel()
	books := &books{t: t, catalog: catalogOf(t, automatic(fiveBets())), user: seedUser}
	books.user.CreatedAt = instant("2024-01-15T12:00:00.7+03:00")
	decisions := books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T11:59:59+03:00"), bet("2024-01-15T12:00:00+03:00"))
	require.Equal(t, []tasks.Code{"", tasks.Counted}, codes(decisions))
	require.Equal(t, instant("2024-01-15T12:00:00+03:00"), books.windows[0].ActivatedAt)
	require.Equal(t, 1, books.windows[0].Number)
	// It can be done once: no other day counts.
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-16T18:00:00+03:00", bet("2024-01-16T12:00:00+03:00"))))
}

func TestAnAutomaticRollingTaskRunsFromItsAnchor(t *testing.T) {
	t.Parallel()
	task := automatic(fiveBets())
	task.Window.Kind = tasks.Rolling
	for recurs, want := range map[bool]tasks.Code{false: "", true: tasks.Counted} {
		task.Recurring = recurs
		books := &books{t: t, catalog: catalogOf(t, task), user: seedUser}
		require.Equal(t, []tasks.Code{want}, codes(books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T12:00:00+03:00"))))
		if recurs {
			require.Equal(t, instant("2024-01-15T00:00:00Z"), books.windows[0].ActivatedAt)
		}
	}
}

func TestChains(t *testing.T) {
	t.Parallel()
	task := automatic(fiveBets())
	task.Requires = []int64{7, 8}
	books := &books{t: t, catalog: catalogOf(t, task), user: seedUser}
	require.Equal(t, []int64{7, 8}, books.catalog.RequiredTasks())
	books.user.CompletedAt = map[int64]time.Time{7: instant("2024-01-15T10:00:00+03:00")}
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T12:00:00+03:00"))))
	books.user.CompletedAt[8] = instant("2024-01-15T11:00:00.5+03:00")
	require.Equal(t, []tasks.Code{"", tasks.Counted}, codes(books.count("2024-01-15T18:00:00+03:00", bet("2024-01-15T10:59:00+03:00"), bet("2024-01-15T12:00:00+03:00"))))
	require.Equal(t, instant("2024-01-15T11:00:00+03:00"), books.windows[0].ActivatedAt)
}

func TestTheNextLinkOfAChainBeginsInTheSameBatch(t *testing.T) {
	t.Parallel()
	for _, next := range []int64{122, 124} {
		for _, size := range []int{1, 3} {
			first, second := fiveBets(), automatic(fiveBets())
			first.Target = number("1")
			second.TaskID, second.Requires = next, []int64{123}
			books := activated(t, first, "2024-01-15T17:00:00+03:00")
			books.catalog = catalogOf(t, first, second)
			for batch := range slices.Chunk([]tasks.Event{bet("2024-01-15T17:01:00+03:00"), bet("2024-01-15T17:02:00+03:00"), bet("2024-01-15T17:00:30+03:00")}, size) {
				books.count("2024-01-15T18:00:00+03:00", batch...)
				books.user.CompletedAt = map[int64]time.Time{123: *books.windows[0].CompletedAt} // as the database will say
			}
			require.Len(t, books.windows, 2)
			require.Equal(t, instant("2024-01-15T17:01:00+03:00"), books.windows[1].ActivatedAt)
			require.Equal(t, "1", books.windows[1].Progress.String(), "neither the event that unlocked it counts, nor the one before")
		}
	}
}

func TestCampaignAndAudience(t *testing.T) {
	t.Parallel()
	task := recurring(automatic(fiveBets()))
	task.StartsAt, task.EndsAt = pointer(instant("2024-01-15T12:00:00+03:00")), pointer(instant("2024-01-15T20:00:00+03:00"))
	task.Audience = tasks.Audience{VIP: true, Attributes: map[string]string{"country": "RU"}, UserIDs: []string{"1", "12345"}}
	books := &books{t: t, catalog: catalogOf(t, task), user: seedUser}
	event := bet("2024-01-15T12:00:00+03:00")
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-15T18:00:00+03:00", event)))
	books.user.VIP = true
	require.Equal(t, []tasks.Code{""}, codes(books.count("2024-01-15T18:00:00+03:00", event)))
	books.user.Attributes = map[string]string{"country": "RU"}
	decisions := books.count("2024-01-15T20:01:00+03:00", bet("2024-01-15T11:59:59+03:00"), event, bet("2024-01-15T20:00:00+03:00"))
	require.Equal(t, []tasks.Code{"", tasks.Counted, tasks.NotRunning}, codes(decisions))
	require.Equal(t, *task.StartsAt, books.windows[0].ActivatedAt)
	require.Equal(t, *task.EndsAt, books.windows[0].EndsAt)
}

func TestWindowsOfAYear(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Moscow", "America/New_York", "Asia/Kolkata"} {
		for year, days := range map[int]int{2023: 365, 2024: 366} {
			location, err := time.LoadLocation(zone)
			require.NoError(t, err)
			start := time.Date(year, 1, 1, 0, 0, 0, 0, location)
			task := recurring(automatic(fiveBets()))
			task.Window.TimeZone, task.PublishedAt = zone, &start
			books := &books{t: t, catalog: catalogOf(t, task), user: tasks.User{UserID: "12345"}}
			for day := range days {
				at := time.Date(year, 1, 1+day, 23, 59, 59, 0, location).Format(time.RFC3339)
				require.Equal(t, []tasks.Code{tasks.Counted}, codes(books.count(at, bet(at))))
			}
			require.Len(t, books.windows, days)
			for i, window := range books.windows {
				require.Equal(t, i+1, window.Number)
				if i > 0 {
					require.Equal(t, books.windows[i-1].EndsAt, window.ActivatedAt)
				}
			}
			require.Equal(t, time.Date(year+1, 1, 1, 0, 0, 0, 0, location).UTC(), books.windows[days-1].EndsAt)
		}
	}
}

func TestOrderAndBatchesDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := fiveBets()
		task.Window.GraceSeconds = 86400
		task.Window.Kind = rapid.SampledFrom([]tasks.Kind{tasks.Calendar, tasks.Rolling}).Draw(t, "kind")
		task.Window.Unit = rapid.SampledFrom([]tasks.Unit{tasks.Day, tasks.Week, tasks.Month}).Draw(t, "unit")
		task.Window.ResetHour = rapid.IntRange(0, 23).Draw(t, "reset")
		task.Count.Mode = rapid.SampledFrom([]tasks.Mode{tasks.CountEvents, tasks.CountSum, tasks.CountDistinct, tasks.CountStreak}).Draw(t, "mode")
		task.Count.Field = map[tasks.Mode]string{tasks.CountSum: "amount", tasks.CountDistinct: "game_type"}[task.Count.Mode]
		task.Target = number(fmt.Sprint(rapid.IntRange(1, 5).Draw(t, "target")))
		if task.Count.Mode == tasks.CountSum {
			task.Target = number("1000.5")
		}
		activation := instant("2024-01-31T12:00:00+03:00")
		books := books{t: t, user: seedUser}
		if rapid.Bool().Draw(t, "automatic") {
			task = recurring(automatic(task))
			task.PublishedAt = &activation
		} else {
			task.Recurring = rapid.Bool().Draw(t, "recurring")
			window, refusal := task.Activate(seedUser, nil, activation)
			require.Nil(t, refusal)
			window.WindowID = "w_123_1"
			books.windows = []tasks.Window{window}
		}
		books.catalog = catalogOf(t, task)
		// Just before the first window closes, when events of the next one or two are there as well.
		now := task.SpanAt(activation, activation).End.Add(24*time.Hour - time.Minute)
		length := now.Sub(activation)
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) tasks.Event {
			at := now.Add(-time.Duration(rapid.Int64Range(0, int64(length/time.Second)+3600).Draw(t, "ago")) * time.Second)
			return bet(at.Format(time.RFC3339), "amount="+rapid.SampledFrom([]string{"50", "100", "100.25", "400"}).Draw(t, "amount"),
				"game_type="+rapid.SampledFrom([]string{"roulette", "slots", "poker", "dice"}).Draw(t, "game"))
		}), 0, 30).Draw(t, "events")
		shuffled := rapid.Permutation(events).Draw(t, "order")

		other := books
		other.windows = slices.Clone(books.windows)
		books.count(now.Format(time.RFC3339Nano), events...)
		for len(shuffled) > 0 {
			n := rapid.IntRange(1, len(shuffled)).Draw(t, "batch")
			other.count(now.Format(time.RFC3339Nano), shuffled[:n]...)
			shuffled = shuffled[n:]
		}
		require.Equal(t, withoutOrder(books.windows), withoutOrder(other.windows))
	})
}

// withoutOrder is what must be the same in whatever order the events came.
func withoutOrder(windows []tasks.Window) []string {
	var list []string
	for _, w := range windows {
		list = append(list, fmt.Sprint(w.ActivatedAt, w.EndsAt, w.ClosesAt, w.Anchor, w.State, w.Progress, w.Target, w.Seen))
	}
	slices.Sort(list)
	return list
}

func TestOverlapsAreNeverOpened(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := recurring(automatic(fiveBets()))
		task.PublishedAt = pointer(instant("2024-01-31T12:00:00Z"))
		books := books{t: t, user: seedUser}
		for version := range rapid.IntRange(1, 4).Draw(t, "versions") {
			task.Version = int64(version + 1)
			task.Window = tasks.WindowRule{
				TimeZone:     rapid.SampledFrom(zoneNames).Draw(t, "zone"),
				ResetHour:    rapid.IntRange(0, 23).Draw(t, "reset"),
				GraceSeconds: 86400,
				Kind:         rapid.SampledFrom([]tasks.Kind{tasks.Calendar, tasks.Rolling}).Draw(t, "kind"),
				Unit:         rapid.SampledFrom([]tasks.Unit{tasks.Day, tasks.Week, tasks.Month}).Draw(t, "unit"),
			}
			list := []tasks.Task{task}
			if books.catalog != nil {
				for v := range task.Version - 1 {
					old, _ := books.catalog.Task(123, v+1)
					old.PublishedAt = nil
					list = append(list, old)
				}
			}
			books.catalog = catalogOf(t, list...)
			for _, hour := range rapid.SliceOfN(rapid.IntRange(0, 40*24), 1, 10).Draw(t, "hours") {
				at := task.PublishedAt.Add(time.Duration(hour) * time.Hour).Format(time.RFC3339)
				books.count(at, bet(at))
			}
		}
		slices.SortFunc(books.windows, func(a, b tasks.Window) int { return a.ActivatedAt.Compare(b.ActivatedAt) })
		for i := 1; i < len(books.windows); i++ {
			require.False(t, books.windows[i].ActivatedAt.Before(books.windows[i-1].EndsAt))
		}
	})
}
