package workflows_test

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// windowScenario is a window that is recorded on a real server, and what its history must hold.
type windowScenario struct {
	name  string
	queue string      // empty: the main one, where runs began before windows had one of their own
	state tasks.State // of the result; empty: the run ends as canceled
	steps []string

	begins  tasks.State // of the row when the workflow starts
	reward  tasks.Reward
	ends    time.Duration // the window's end, from now; the grace is over as soon
	product []fake.Behaviour
	userID  string // "12345" unless given
	during  func(t *testing.T, r *windowRecording)
	replace func(r *windowRecording) map[string]any
}

const localSettle, deliverReward, recordReward, signal = "local SettleWindow", "DeliverReward", "RecordReward", "signal"

var (
	coins = tasks.Reward{Coins: 50}
	bonus = testkit.FiveBets().Reward

	failingReward = fake.Behaviour{Kind: fake.ErrorStatus, Status: 503, On: fake.OnReward}
)

func times(n int, b fake.Behaviour) []fake.Behaviour {
	b.Calls = n
	return []fake.Behaviour{b}
}

var windowScenarios = []windowScenario{
	{name: "task_window_expired", state: tasks.Expired, begins: tasks.Open, ends: -time.Second, steps: []string{localSettle}},
	{name: "task_window_waited_and_expired", state: tasks.Expired, begins: tasks.Open, ends: 2 * time.Second, steps: []string{localSettle, timer, localSettle}},
	{name: "task_window_completed_while_it_waited", state: tasks.Completed, begins: tasks.Open, ends: time.Hour, reward: coins, during: completeWindow,
		steps: []string{localSettle, timer, signal, localSettle}},
	{name: "task_window_paid_in_coins", state: tasks.Completed, begins: tasks.Completed, reward: coins, steps: []string{localSettle}},
	{name: "task_window_reward_delivered", state: tasks.Completed, begins: tasks.Completed, reward: bonus, steps: []string{localSettle, deliverReward, recordReward}},
	{name: "task_window_reward_retried", state: tasks.Completed, begins: tasks.Completed, reward: bonus, product: times(2, failingReward),
		steps: []string{localSettle, deliverReward, recordReward}},
	{name: "task_window_reward_refused", state: tasks.Completed, begins: tasks.Completed, reward: bonus, userID: "ghost", steps: []string{localSettle, deliverReward, recordReward}},
	{name: "task_window_reward_undelivered", state: tasks.Completed, begins: tasks.Completed, reward: bonus, product: []fake.Behaviour{failingReward},
		steps: []string{localSettle, deliverReward, recordReward}},
	{name: "task_window_reward_replayed_as_the_run_ended", state: tasks.Completed, begins: tasks.Completed, reward: bonus, userID: "ghost", replace: replayWhenRecorded,
		steps: []string{localSettle, deliverReward, recordReward, signal, localSettle, deliverReward, recordReward}},
	{name: "task_window_canceled_by_an_admin", state: tasks.Canceled, begins: tasks.Open, ends: time.Hour, during: cancelWindow, steps: []string{localSettle, timer, signal, localSettle}},
	{name: "task_window_run_canceled", begins: tasks.Open, ends: time.Hour, during: cancelRun(enumspb.EVENT_TYPE_TIMER_STARTED),
		steps: []string{localSettle, timer, "cancel", localSettle}},
	{name: "task_window_run_canceled_during_delivery", state: tasks.Completed, begins: tasks.Completed, reward: bonus, product: []fake.Behaviour{failingReward},
		during: cancelRun(enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), steps: []string{localSettle, deliverReward, "cancel", recordReward}},
	{name: "task_window_on_a_queue_of_windows", queue: contract.WindowTaskQueue, state: tasks.Completed, begins: tasks.Completed, reward: bonus, replace: settleFails,
		steps: []string{localSettle, "SettleWindow", deliverReward, recordReward}},
	{name: "task_window_database_away", state: tasks.Completed, begins: tasks.Completed, reward: coins, replace: settleFails, steps: []string{localSettle, "SettleWindow"}},
}

// windowRecording is a window that runs on real parts.
type windowRecording struct {
	engine   testkit.Engine
	db       *postgres.DB
	product  *testkit.MainProduct
	activity *activities.TaskWindow
	in       contract.TaskWindowInput
}

func (s windowScenario) record(t *testing.T) {
	t.Helper()
	r := &windowRecording{engine: testkit.Temporal(t), db: testkit.Database(t), product: testkit.NewMainProduct(t)}
	r.product.Misbehave(t, s.product...)
	r.activity = &activities.TaskWindow{DB: r.db, Product: r.product.Client(t, false)}
	r.in = contract.TaskWindowInput{ProjectID: testkit.Project, WindowID: promptWindow(), UserID: "12345", TaskID: 123}
	if s.userID != "" {
		r.in.UserID = s.userID
	}
	testkit.AddUser(t, r.db, r.in.UserID, 0)
	task := testkit.FiveBets()
	task.Reward = s.reward
	testkit.StoreTask(t, r.db, task)
	now := time.Now()
	w := tasks.Window{
		WindowID:    r.in.WindowID,
		UserID:      r.in.UserID,
		TaskID:      task.TaskID,
		Version:     1,
		ActivatedAt: now.Add(-time.Hour),
		EndsAt:      now.Add(s.ends),
		State:       s.begins,
	}
	if s.begins == tasks.Completed {
		w.CompletedAt = &now
	}
	testkit.StoreWindow(t, r.db, w)
	testkit.Exec(t, r.db, "UPDATE task_windows SET closes_at = ends_at")

	var replaced map[string]any
	if s.replace != nil {
		replaced = s.replace(r)
	}
	queue := cmp.Or(s.queue, contract.TaskQueue)
	startWorker(t, r.engine.Client, queue, sdkworker.Options{},
		map[string]any{contract.SettleWindowActivity: r.activity.SettleWindow, contract.RecordRewardActivity: r.activity.RecordReward}, replaced)
	startWorker(t, r.engine.Client, contract.MainProductTaskQueue, sdkworker.Options{DisableWorkflowWorker: true},
		map[string]any{contract.DeliverRewardActivity: r.activity.DeliverReward}, replaced)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            contract.TaskWindowWorkflowID(r.in.WindowID),
		TaskQueue:     queue,
		StaticSummary: task.Name,
	}, contract.TaskWindowWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		s.during(t, r)
	}
	err = run.Get(t.Context(), nil)
	require.Equal(t, s.state == "", err != nil, "%v", err)
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

// promptWindow is the id of a window whose jitter is short.
func promptWindow() string {
	for {
		if id := "tw_" + xid.New().String(); tasks.CloseJitter(id) < 2*time.Second {
			return id
		}
	}
}

// awaitEvent waits until the run's history holds such an event.
func (r *windowRecording) awaitEvent(t *testing.T, event enumspb.EventType) {
	t.Helper()
	testkit.Eventually(t, event.String(), func(ctx context.Context) error {
		events := r.engine.Client.GetWorkflowHistory(ctx, contract.TaskWindowWorkflowID(r.in.WindowID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			found, err := events.Next()
			if err != nil || found.GetEventType() == event {
				return err
			}
		}
		return errors.New("not yet")
	})
}

func (r *windowRecording) signal(ctx context.Context) error {
	return r.engine.Client.SignalWorkflow(ctx, contract.TaskWindowWorkflowID(r.in.WindowID), "", contract.ChangedSignal, nil)
}

// completeWindow is what the count of an event does, and the signal after it.
func completeWindow(t *testing.T, r *windowRecording) {
	r.awaitEvent(t, enumspb.EVENT_TYPE_TIMER_STARTED)
	testkit.Exec(t, r.db, "UPDATE task_windows SET state = 'completed', progress = target, completed_at = now(), updated_at = now(), changes = changes + 1")
	require.NoError(t, r.signal(t.Context()))
}

func cancelWindow(t *testing.T, r *windowRecording) {
	r.awaitEvent(t, enumspb.EVENT_TYPE_TIMER_STARTED)
	_, err := r.db.CancelWindow(t.Context(), postgres.WindowCancel{
		ProjectID: r.in.ProjectID,
		UserID:    r.in.UserID,
		TaskID:    r.in.TaskID,
		Reason:    "test",
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
	require.NoError(t, r.signal(t.Context()))
}

// cancelRun cancels the workflow as an operator does.
func cancelRun(after enumspb.EventType) func(*testing.T, *windowRecording) {
	return func(t *testing.T, r *windowRecording) {
		r.awaitEvent(t, after)
		require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.TaskWindowWorkflowID(r.in.WindowID), ""))
	}
}

// replayWhenRecorded replays the reward as soon as its refusal is written down, while the run is still there.
func replayWhenRecorded(r *windowRecording) map[string]any {
	var once atomic.Bool
	return map[string]any{contract.RecordRewardActivity: func(ctx context.Context, in contract.RecordRewardInput) error {
		if err := r.activity.RecordReward(ctx, in); err != nil || once.Swap(true) {
			return err
		}
		_, _, err := r.db.ReplayReward(ctx, postgres.RewardReplay{
			ProjectID: r.in.ProjectID,
			RewardID:  in.RewardID,
			Actor:     "test",
			Reason:    "test",
		}, time.Now())
		return errors.Join(err, r.signal(ctx))
	}}
}

// settleFails is a database that is away for the local step and for the first of the regular ones.
func settleFails(r *windowRecording) map[string]any {
	var settles atomic.Int32
	return map[string]any{contract.SettleWindowActivity: func(ctx context.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
		if settles.Add(1) <= 2 {
			return contract.SettledWindow{}, errors.New("database is away")
		}
		return r.activity.SettleWindow(ctx, in)
	}}
}
