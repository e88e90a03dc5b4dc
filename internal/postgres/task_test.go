package postgres_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

var taskClock = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// fiveBets is the task of seed 001, in the words of an admin.
func fiveBets(change ...func(*tasks.Task)) tasks.Task {
	task := tasks.Task{
		Status:    tasks.Published,
		Name:      "Make 5 bets of 100+ rubles per day",
		EventType: "bet_placed",
		MinAmount: new(decimal.NewFromInt(100)),
		Equals:    map[string]string{"currency": "RUB"},
		Target:    decimal.NewFromInt(5),
		Window:    tasks.WindowRule{TimeZone: "Europe/Moscow", GraceSeconds: -1},
		Reward: tasks.Reward{
			Coins:       500,
			MainProduct: &tasks.MainProductReward{RewardType: "bonus_coins", Amount: decimal.NewFromInt(100)},
		},
	}
	for _, f := range change {
		f(&task)
	}
	return task.WithDefaults()
}

func createTask(t *testing.T, db *postgres.DB, task tasks.Task) tasks.Task {
	t.Helper()
	task, replayed, err := db.CreateTask(t.Context(), postgres.NewTask{ProjectID: project, Task: task, Actor: "test"}, taskClock)
	require.NoError(t, err)
	require.False(t, replayed)
	return task
}

func TestTaskVersions(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	ctx := t.Context()
	task := createTask(t, db, fiveBets(func(t *tasks.Task) { t.Status = tasks.Draft }))
	require.EqualValues(t, 1, task.TaskID)
	require.EqualValues(t, 1, task.Version)
	require.Nil(t, task.PublishedAt)
	stored, err := db.GetTask(ctx, project, task.TaskID)
	require.NoError(t, err)
	requireTask(t, task, stored)
	_, all, err := db.Catalog(ctx, project, taskClock)
	require.NoError(t, err)
	require.Empty(t, all, "a draft counts nothing")

	edit := task
	edit.Status, edit.Target, edit.Version = tasks.Published, decimal.NewFromInt(7), 1
	second, err := db.UpdateTask(ctx, project, edit, "test", taskClock.Add(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 2, second.Version)
	require.Equal(t, taskClock.Add(time.Hour), second.PublishedAt.UTC())
	_, err = db.UpdateTask(ctx, project, edit, "test", taskClock)
	require.ErrorIs(t, err, postgres.ErrConflict, "it is at version 2")

	edit.Version = 0
	third, err := db.UpdateTask(ctx, project, edit, "test", taskClock.Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, second.PublishedAt.UTC(), third.PublishedAt.UTC(), "published all the while")
	edit.Status = tasks.Draft
	fourth, err := db.UpdateTask(ctx, project, edit, "test", taskClock.Add(3*time.Hour))
	require.NoError(t, err)
	require.Nil(t, fourth.PublishedAt)

	versions, err := db.TaskVersions(ctx, project, task.TaskID, 0, 10)
	require.NoError(t, err)
	require.Len(t, versions, 4)
	requireTask(t, task, versions[3])
	require.Equal(t, "7", versions[0].Target.String())
	versions, err = db.TaskVersions(ctx, project, task.TaskID, 3, 1)
	require.NoError(t, err)
	require.EqualValues(t, 2, versions[0].Version)

	_, err = db.GetTask(ctx, project+1, task.TaskID)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	missing := edit
	missing.TaskID = 99
	_, err = db.UpdateTask(ctx, project, missing, "test", taskClock)
	require.ErrorIs(t, err, postgres.ErrConflict)
	require.Error(t, testkit.TryExec(t, db, "UPDATE task_versions SET definition = '{}'"))
	testkit.RequireCleanAt(t, db, taskClock)
}

func requireTask(t *testing.T, want, got tasks.Task) {
	t.Helper()
	require.Equal(t, want.UpdatedAt, got.UpdatedAt.UTC())
	got.UpdatedAt = want.UpdatedAt
	require.Equal(t, want.Target.String(), got.Target.String())
	require.Equal(t, want.MinAmount.String(), got.MinAmount.String())
	require.Equal(t, want.Reward.MainProduct.Amount.String(), got.Reward.MainProduct.Amount.String())
	got.Target, got.MinAmount, got.Reward.MainProduct = want.Target, want.MinAmount, want.Reward.MainProduct
	require.Equal(t, want, got)
}

func TestTaskIDs(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	own := createTask(t, db, fiveBets(func(t *tasks.Task) { t.TaskID = 123 }))
	require.EqualValues(t, 123, own.TaskID)
	_, _, err := db.CreateTask(t.Context(), postgres.NewTask{ProjectID: project, Task: own, Actor: "test"}, taskClock)
	require.ErrorIs(t, err, postgres.ErrConflict)
	require.EqualValues(t, 124, createTask(t, db, fiveBets()).TaskID)

	ids := make([]int64, 20)
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			task, _, err := db.CreateTask(t.Context(), postgres.NewTask{ProjectID: project, Task: fiveBets(), Actor: "test"}, taskClock)
			ids[i], errs[i] = task.TaskID, err
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for i, id := range ids {
		require.NoError(t, errs[i])
		seen[id] = true
	}
	require.Len(t, seen, len(ids))
}

func TestTaskIsCreatedOncePerKey(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]int64{"next id": 0, "own id": 123} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testkit.Database(t)
			created := make([]tasks.Task, 10)
			replays := make([]bool, len(created))
			var wg sync.WaitGroup
			for i := range created {
				wg.Go(func() {
					created[i], replays[i], _ = db.CreateTask(t.Context(), postgres.NewTask{
						ProjectID:   project,
						Actor:       "test",
						Task:        fiveBets(func(t *tasks.Task) { t.TaskID = given }),
						Idempotency: &postgres.Idempotency{Key: "k"},
					}, taskClock.Add(time.Duration(i)*time.Second))
				})
			}
			wg.Wait()
			first := 0
			for i := range created {
				require.Equal(t, created[0], created[i], "the same answer")
				require.EqualValues(t, 1, created[i].Version)
				if !replays[i] {
					first++
				}
			}
			require.Equal(t, 1, first)
			list, err := db.ListTasks(t.Context(), project, postgres.TaskFilter{Limit: 10})
			require.NoError(t, err)
			require.Len(t, list, 1)
			_, _, err = db.CreateTask(t.Context(), postgres.NewTask{ProjectID: project, Actor: "test", Task: fiveBets(),
				Idempotency: &postgres.Idempotency{Key: "k", RequestHash: [32]byte{1}}}, taskClock)
			require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused)
		})
	}
}

func TestChainsHaveAnEnd(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	ctx := t.Context()
	first := createTask(t, db, fiveBets())
	second := createTask(t, db, fiveBets(func(t *tasks.Task) { t.Requires = []int64{first.TaskID} }))
	_, _, err := db.CreateTask(ctx, postgres.NewTask{
		ProjectID: project,
		Actor:     "test",
		Task:      fiveBets(func(t *tasks.Task) { t.Requires = []int64{first.TaskID, 98, 99} }),
	}, taskClock)
	var unknown *postgres.UnknownTasksError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []int64{98, 99}, unknown.TaskIDs)
	first.Requires = []int64{second.TaskID}
	_, err = db.UpdateTask(ctx, project, first, "test", taskClock)
	require.ErrorIs(t, err, postgres.ErrTaskCycle)

	// Two edits at once, each of which would be right alone.
	third, fourth := createTask(t, db, fiveBets()), createTask(t, db, fiveBets())
	third.Requires, fourth.Requires = []int64{fourth.TaskID}, []int64{third.TaskID}
	var errs [2]error
	var wg sync.WaitGroup
	for i, task := range []tasks.Task{third, fourth} {
		wg.Go(func() { _, errs[i] = db.UpdateTask(ctx, project, task, "test", taskClock) })
	}
	wg.Wait()
	require.ErrorIs(t, errors.Join(errs[:]...), postgres.ErrTaskCycle)
	require.Contains(t, errs, nil, "one of them was first")
}

func TestCatalogKeepsWhatWindowsCountBy(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	ctx := t.Context()
	testkit.AddUser(t, db, "player", 0)
	before, _, err := db.Catalog(ctx, project, taskClock)
	require.NoError(t, err)
	require.Zero(t, before)
	task := createTask(t, db, fiveBets())
	_, _, err = db.ActivateTask(ctx, postgres.Activation{ProjectID: project, UserID: "player", TaskID: task.TaskID}, taskClock)
	require.NoError(t, err)
	for i := range 3 {
		_, err = db.UpdateTask(ctx, project, fiveBets(func(t *tasks.Task) { t.TaskID = task.TaskID }), "test", taskClock.Add(time.Duration(i)*time.Hour))
		require.NoError(t, err)
	}
	versions := func(at time.Time) (list []string) {
		revision, all, err := db.Catalog(ctx, project, at)
		require.NoError(t, err)
		require.EqualValues(t, 4, revision)
		for _, task := range all {
			list = append(list, strconv.FormatInt(task.Version, 10)+" "+string(task.Status))
			require.Equal(t, task.Status == tasks.Published, task.PublishedAt != nil)
		}
		return list
	}
	require.Equal(t, []string{"4 published", "3 draft", "1 draft"}, versions(taskClock.Add(2*time.Hour+time.Minute)), "3 was replaced a moment ago")
	require.Equal(t, []string{"4 published", "1 draft"}, versions(taskClock.Add(3*time.Hour)))
	testkit.Exec(t, db, "UPDATE task_windows SET live = false")
	require.Equal(t, []string{"4 published"}, versions(taskClock.Add(3*time.Hour)))
}

func TestActivateTask(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	ctx := t.Context()
	testkit.AddUser(t, db, "player", 0)
	task := createTask(t, db, fiveBets())
	activation := postgres.Activation{
		ProjectID:   project,
		UserID:      "player",
		TaskID:      task.TaskID,
		Idempotency: &postgres.Idempotency{Key: "k"},
	}
	at := taskClock.Add(1500 * time.Millisecond)
	window, replayed, err := db.ActivateTask(ctx, activation, at)
	require.NoError(t, err)
	require.False(t, replayed)
	require.Equal(t, taskClock.Add(time.Second), window.ActivatedAt, "senders cut off the fraction")
	require.Equal(t, time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC), window.EndsAt, "midnight in Moscow")

	again, replayed, err := db.ActivateTask(ctx, activation, at.Add(time.Minute))
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, window.WindowID, again.WindowID)
	activation.Idempotency = nil
	_, _, err = db.ActivateTask(ctx, activation, at.Add(time.Minute))
	var refusal *tasks.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, tasks.ActivationAlreadyActive, refusal.Code)

	_, _, err = db.ActivateTask(ctx, postgres.Activation{ProjectID: project, UserID: "nobody", TaskID: task.TaskID}, at)
	require.ErrorIs(t, err, postgres.ErrNoUser)
	_, _, err = db.ActivateTask(ctx, postgres.Activation{ProjectID: project, UserID: "player", TaskID: 99}, at)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	_, _, err = db.ActivateTask(ctx, postgres.Activation{ProjectID: project + 1, UserID: "player", TaskID: task.TaskID}, at)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	_, _, err = db.CreateTask(ctx, postgres.NewTask{
		ProjectID:   project,
		Task:        fiveBets(),
		Actor:       "test",
		Idempotency: &postgres.Idempotency{Key: "k"},
	}, at)
	require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused, "the key was used by another call")

	mine, err := db.UserTasks(ctx, project, "player", nil, at)
	require.NoError(t, err)
	require.Equal(t, []tasks.Window{again}, mine.Windows)
	_, err = db.UserTasks(ctx, project, "nobody", nil, at)
	require.ErrorIs(t, err, postgres.ErrNotFound)
}

func TestActivateTaskOnceOfMany(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	testkit.AddUser(t, db, "player", 0)
	task := createTask(t, db, fiveBets())
	for round, prepare := range []string{"", "UPDATE task_windows SET state = 'canceled', changes = changes + 1"} {
		if prepare != "" {
			testkit.Exec(t, db, prepare)
		}
		errs := make([]error, 20)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, _, errs[i] = db.ActivateTask(t.Context(), postgres.Activation{
					ProjectID: project,
					UserID:    "player",
					TaskID:    task.TaskID,
				}, taskClock.Add(time.Second))
			})
		}
		wg.Wait()
		opened := 0
		for _, err := range errs {
			var refusal *tasks.Refusal
			if err == nil {
				opened++
				continue
			}
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, tasks.ActivationAlreadyActive, refusal.Code)
		}
		require.Equal(t, 1, opened)
		mine, err := db.UserTasks(t.Context(), project, "player", nil, taskClock)
		require.NoError(t, err)
		require.Len(t, mine.Windows, 1, "a canceled window is looked at no more once another is open")
		require.Equal(t, round+1, mine.Windows[0].Number)
	}
}

func TestRequiredTasksAreSeen(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 500)
	ctx := t.Context()
	task := createTask(t, s.DB, fiveBets(func(t *tasks.Task) { t.TaskID = 123 }))
	s.edit(func(p *store.Product) { p.Requires = store.Requirements{CompletedTasks: store.TaskIDs{"123"}} })
	offer, err := s.GetProduct(ctx, project, "credits-500")
	require.NoError(t, err)
	eligible := func() *store.Refusal {
		eligibility, err := s.ReadEligibility(ctx, project, "buyer", []string{"credits-500"}, s.clock)
		require.NoError(t, err)
		_, refusal := store.DecidePurchase(eligibility.Buyer, &offer, store.Request{Quantity: 1, Now: s.clock}, store.Policy{})
		return refusal
	}
	refused := func() {
		_, err := s.try(s.purchase("buyer"))
		requireRefusal(t, store.NotEligible, err)
		require.Equal(t, store.NotEligible, eligible().Code)
	}
	refused()
	_, _, err = s.ActivateTask(ctx, postgres.Activation{ProjectID: project, UserID: "buyer", TaskID: task.TaskID}, taskClock)
	require.NoError(t, err)
	refused()
	testkit.Exec(t, s.DB, "UPDATE task_windows SET state = 'completed', progress = target, completed_at = activated_at, changes = changes + 1")
	require.Nil(t, eligible())
	s.reserve("buyer")

	s.edit(func(p *store.Product) {
		p.Requires = store.Requirements{CompletedTasks: store.TaskIDs{"123", "first-bet"}}
	})
	_, err = s.try(s.purchase("buyer"))
	requireRefusal(t, store.NotEligible, err)
	require.ErrorContains(t, err, "first-bet", "an id that is no number is nobody's")
}
