package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

const better = "better"

// bet is an event of the seed with an id of its own.
func bet(id string, at time.Time, change ...func(*tasks.Received)) tasks.Received {
	payload := fmt.Sprintf(`{"event_id":%q,"user_id":%q,"event_type":"bet_placed","timestamp":%q,"amount":250.00,"currency":"RUB"}`, id, better, at.Format(time.RFC3339Nano))
	received := tasks.Received{ID: id, IdentifiedBy: tasks.ByEventID, Source: "rest", Event: tasks.Event{
		UserID:     better,
		Type:       "bet_placed",
		OccurredAt: at,
		Amount:     decimal.NewNullDecimal(decimal.NewFromInt(250)),
		Payload:    json.RawMessage(payload),
		Fields:     map[string]any{"user_id": better, "event_type": "bet_placed", "amount": json.Number("250.00"), "currency": "RUB"},
	}}
	copy(received.Key[:], fmt.Sprintf("%16s", id))
	for _, f := range change {
		f(&received)
	}
	return received
}

func of(user string) func(*tasks.Received) { return func(r *tasks.Received) { r.UserID = user } }

func count(t *testing.T, db *postgres.DB, now time.Time, events ...tasks.Received) postgres.CountedEvents {
	t.Helper()
	counted, err := db.CountEvents(t.Context(), batchOf(t, db, now, events...), now)
	require.NoError(t, err)
	return counted
}

func batchOf(t *testing.T, db *postgres.DB, now time.Time, events ...tasks.Received) postgres.EventBatch {
	t.Helper()
	revision, all, err := db.Catalog(t.Context(), project, now)
	require.NoError(t, err)
	catalog, err := tasks.NewCatalog(all)
	require.NoError(t, err)
	return postgres.EventBatch{ProjectID: project, Events: events, Catalog: catalog, Revision: revision}
}

func activateTask(t *testing.T, db *postgres.DB, user string, taskID int64, now time.Time) {
	t.Helper()
	_, _, err := db.ActivateTask(t.Context(), postgres.Activation{ProjectID: project, UserID: user, TaskID: taskID}, now)
	require.NoError(t, err)
}

// window is what is stored of a user's only window of a task.
func window(t *testing.T, db *postgres.DB, user string, taskID int64) tasks.Window {
	t.Helper()
	mine, err := db.UserTasks(t.Context(), project, user, nil, taskClock)
	require.NoError(t, err)
	var found []tasks.Window
	for _, one := range mine.Windows {
		if one.TaskID == taskID {
			found = append(found, one)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

func TestCountEvents(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	testkit.AddUser(t, db, better, 0)
	manual, automatic := createTask(t, db, fiveBets()), createTask(t, db, fiveBets(func(t *tasks.Task) { t.Activation = tasks.Automatic }))
	now := taskClock.Add(time.Hour)
	activateTask(t, db, better, manual.TaskID, now)

	counted := count(t, db, now.Add(time.Minute), bet("early", now.Add(-time.Second)), bet("1", now), bet("2", now), bet("2", now), bet("ghost", now, of("nobody")))
	require.Equal(t, []bool{false, false, false, true, false}, counted.Duplicates)
	require.Len(t, counted.Tell, 1, "the automatic task's window was opened")
	require.Equal(t, []any{automatic.TaskID, tasks.Open, 1}, []any{counted.Tell[0].Input.TaskID, counted.Tell[0].State, counted.Tell[0].Changes})
	require.Equal(t, "2", window(t, db, better, manual.TaskID).Progress.String())

	counted = count(t, db, now.Add(2*time.Minute), bet("1", now), bet("3", now), bet("4", now), bet("5", now), bet("6", now))
	require.Equal(t, []bool{true, false, false, false, false}, counted.Duplicates)
	require.Len(t, counted.Tell, 2)
	for _, told := range counted.Tell {
		require.Equal(t, []any{tasks.Completed, 2}, []any{told.State, told.Changes})
	}
	done := window(t, db, better, manual.TaskID)
	require.Equal(t, []any{tasks.Completed, "5"}, []any{done.State, done.Progress.String()})

	event, err := db.FindEvent(t.Context(), project, bet("1", now).Key)
	require.NoError(t, err)
	require.Equal(t, 1, event.Duplicates)
	testkit.RequireCleanAt(t, db, taskClock)
}

func TestVerifyFindsMiscountedEvents(t *testing.T) {
	t.Parallel()
	for rule, damage := range map[string]string{
		"progress of tasks is what the events added":       `UPDATE task_windows SET progress = progress + 1`,
		"every stored event has its key and is there once": `DELETE FROM event_keys`,
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			db := testkit.Database(t)
			testkit.AddUser(t, db, better, 0)
			createTask(t, db, fiveBets(func(t *tasks.Task) { t.Activation = tasks.Automatic }))
			now := taskClock.Add(time.Hour)
			count(t, db, now, bet("1", now), bet("2", now))
			testkit.RequireCleanAt(t, db, taskClock)
			testkit.Exec(t, db, damage)
			checks, err := db.Verify(t.Context(), postgres.VerifyOptions{}, now)
			require.NoError(t, err)
			broken := map[string]int{}
			for _, check := range checks {
				if len(check.Broken) > 0 {
					broken[check.Rule] = len(check.Broken)
				}
			}
			require.Contains(t, broken, rule)
		})
	}
}

func TestCatalogThatWasEditedIsReadAgain(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	testkit.AddUser(t, db, better, 0)
	now := taskClock.Add(time.Hour)
	batch := batchOf(t, db, now, bet("1", now))
	createTask(t, db, fiveBets())
	_, err := db.CountEvents(t.Context(), batch, now)
	require.ErrorIs(t, err, postgres.ErrCatalogChanged)
	require.Equal(t, []bool{false}, count(t, db, now, bet("1", now)).Duplicates, "nothing was written before")
}

// The same events, all at once in batches of several processes, shuffled and with repeats, end as one batch does.
func TestCountEventsAtOnce(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	modes := []tasks.Count{{Mode: tasks.CountEvents}, {Mode: tasks.CountSum, Field: "amount"}}
	var all []tasks.Task
	for i, mode := range modes {
		for _, activation := range []tasks.Activation{tasks.Manual, tasks.Automatic} {
			all = append(all, createTask(t, db, fiveBets(func(task *tasks.Task) {
				task.Count, task.Activation, task.Target = mode, activation, decimal.NewFromInt(int64(30+i*9000))
			})))
		}
	}
	now := taskClock.Add(time.Hour)
	var events []tasks.Received
	for u := range 5 {
		user := fmt.Sprintf("user-%d", u)
		testkit.AddUser(t, db, user, 0)
		for _, task := range all {
			if task.Activation == tasks.Manual {
				activateTask(t, db, user, task.TaskID, now)
			}
		}
		for n := range 20 + 5*u {
			event := bet(fmt.Sprintf("%d-%d", u, n), now.Add(time.Duration(n)*time.Second), of(user))
			events = append(events, event, event)
		}
	}
	later := now.Add(time.Minute)
	template := batchOf(t, db, later)
	var group sync.WaitGroup
	failures := make([]error, 8)
	for w := range failures {
		group.Go(func() {
			shuffled := append([]tasks.Received{}, events...)
			random := rand.New(rand.NewPCG(1, uint64(w)))
			random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			for len(shuffled) > 0 && failures[w] == nil {
				n := min(1+random.IntN(20), len(shuffled))
				batch := template
				batch.Events, shuffled = shuffled[:n], shuffled[n:]
				_, failures[w] = db.CountEvents(t.Context(), batch, later)
			}
		})
	}
	group.Wait()
	for _, err := range failures {
		require.NoError(t, err)
	}
	for u := range 5 {
		user := fmt.Sprintf("user-%d", u)
		for _, task := range all {
			bets := int64(20 + 5*u)
			want := decimal.NewFromInt(bets)
			if task.Count.Mode == tasks.CountSum {
				want = decimal.NewFromInt(bets * 250)
			}
			got := window(t, db, user, task.TaskID)
			require.Equal(t, decimal.Min(want, task.Target).String(), got.Progress.String(), "%s, task %d", user, task.TaskID)
		}
	}
	testkit.RequireCleanAt(t, db, taskClock)
}

// A recurring task's next window opens with an event, also for a day before the one that came first.
func TestWindowsOpenLazily(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	testkit.AddUser(t, db, better, 0)
	task := createTask(t, db, fiveBets(func(t *tasks.Task) {
		t.Recurring, t.Target, t.Window.GraceSeconds = true, decimal.NewFromInt(2), 86400
	}))
	activateTask(t, db, better, task.TaskID, taskClock)
	count(t, db, taskClock.Add(2*day), bet("second day", taskClock.Add(2*day)), bet("again", taskClock.Add(2*day)))
	count(t, db, taskClock.Add(2*day), bet("day before", taskClock.Add(day)))
	count(t, db, taskClock.Add(2*day), bet("too many", taskClock.Add(2*day)))
	mine, err := db.UserTasks(t.Context(), project, better, nil, taskClock.Add(2*day))
	require.NoError(t, err)
	var states []string
	for _, w := range mine.Windows {
		states = append(states, fmt.Sprintf("%s %s %s", w.EndsAt.Format(time.DateOnly), w.State, w.Progress))
	}
	require.ElementsMatch(t, []string{"2026-11-24 completed 2", "2026-11-23 open 1"}, states, "the first is closed and not looked at any more")
	testkit.RequireCleanAt(t, db, taskClock)
}

// Somebody else changed the window's row while the count waited for it: it is somewhere else in the table by
// then, and is counted in as it is there.
func TestCountFollowsAWindowThatMoved(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	testkit.AddUser(t, db, better, 0)
	task := createTask(t, db, fiveBets())
	now := taskClock.Add(time.Hour)
	activateTask(t, db, better, task.TaskID, now)
	batch := batchOf(t, db, now, bet("1", now))
	place := func() (ctid string) {
		require.NoError(t, db.Pool().QueryRow(t.Context(), "SELECT ctid::text FROM task_windows").Scan(&ctid))
		return ctid
	}
	before := place()

	other, err := db.Pool().Begin(t.Context())
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), "UPDATE task_windows SET sweep_at = sweep_at + interval '1 second'")
	require.NoError(t, err)
	var counting errgroup.Group
	counting.Go(func() error {
		_, err := db.CountEvents(t.Context(), batch, now)
		return err
	})
	testkit.Eventually(t, "the count waits", func(ctx context.Context) error {
		var waiting int
		err := db.Pool().QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting)
		if err == nil && waiting == 0 {
			err = errors.New("nobody waits")
		}
		return err
	})
	require.NoError(t, other.Commit(t.Context()))
	require.NoError(t, counting.Wait())
	require.NotEqual(t, before, place())
	require.Equal(t, "1", window(t, db, better, task.TaskID).Progress.String())
	testkit.RequireCleanAt(t, db, taskClock)
}
