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
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

// passScenario is a subscription that is recorded on a real server, and what its history must hold.
type passScenario struct {
	name   string
	queue  string               // empty: the main one, where runs began before timers had one of their own
	status subscriptions.Status // of the result; empty: the run ends as canceled
	steps  []string

	ends    time.Duration // from now, of a subscription of one minute
	during  func(t *testing.T, r *passRecording)
	replace func(r *passRecording) map[string]any
}

const localPass = "local SettleSubscription"

var passScenarios = []passScenario{
	{name: "subscription_over_already", status: subscriptions.Expired, ends: -time.Second, steps: []string{localPass}},
	{name: "subscription_reminded_and_ended", status: subscriptions.Expired, ends: 5 * time.Second, steps: []string{localPass, timer, localPass, timer, localPass}},
	{name: "subscription_extended_then_revoked", status: subscriptions.None, ends: 50 * time.Second, during: extendAndRevoke,
		steps: []string{localPass, timer, signal, localPass, timer, signal, localPass}},
	{name: "subscription_run_canceled", ends: 50 * time.Second, during: cancelPassRun, steps: []string{localPass, timer, "cancel"}},
	{name: "subscription_on_a_queue_of_timers", queue: contract.TimerTaskQueue, status: subscriptions.Expired, ends: -time.Second, replace: passSettleFails,
		steps: []string{localPass, "SettleSubscription"}},
	{name: "subscription_database_away", status: subscriptions.Expired, ends: -time.Second, replace: passSettleFails, steps: []string{localPass, "SettleSubscription"}},
}

// passRecording is a subscription that runs on real parts.
type passRecording struct {
	engine testkit.Engine
	db     *postgres.DB
	in     contract.SubscriptionInput
}

func (s passScenario) record(t *testing.T) {
	t.Helper()
	r := &passRecording{engine: testkit.Temporal(t), db: testkit.Database(t), in: promptPass()}
	testkit.StorePass(t, r.db, r.in.SKU)
	testkit.Exec(t, r.db, "UPDATE projects SET reminder_seconds = 3")
	testkit.GivePass(t, r.db, r.in.UserID, r.in.SKU, 1, time.Now().Add(s.ends-time.Minute))

	var replaced map[string]any
	if s.replace != nil {
		replaced = s.replace(r)
	}
	queue := cmp.Or(s.queue, contract.TaskQueue)
	startWorker(t, r.engine.Client, queue, sdkworker.Options{},
		map[string]any{contract.SettleSubscriptionActivity: (&activities.Subscription{DB: r.db}).SettleSubscription}, replaced)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            contract.SubscriptionWorkflowID(r.in),
		TaskQueue:     queue,
		StaticSummary: r.in.SKU,
	}, contract.SubscriptionWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		s.during(t, r)
	}
	err = run.Get(t.Context(), nil)
	require.Equal(t, s.status == "", err != nil, "%v", err)
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

// promptPass is a subscription whose jitter is short.
func promptPass() contract.SubscriptionInput {
	for {
		in := contract.SubscriptionInput{ProjectID: testkit.Project, UserID: "12345", SKU: "pass-" + xid.New().String()}
		if subscriptions.Jitter(contract.SubscriptionWorkflowID(in)) < time.Second {
			return in
		}
	}
}

func (r *passRecording) signal(ctx context.Context) error {
	return r.engine.Client.SignalWorkflow(ctx, contract.SubscriptionWorkflowID(r.in), "", contract.ChangedSignal, nil)
}

// awaitTimers waits until the run has started so many timers.
func (r *passRecording) awaitTimers(t *testing.T, timers int) {
	t.Helper()
	testkit.Eventually(t, "timers", func(ctx context.Context) error {
		started := 0
		events := r.engine.Client.GetWorkflowHistory(ctx, contract.SubscriptionWorkflowID(r.in), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			found, err := events.Next()
			if err != nil {
				return err
			}
			if found.GetEventType() == enumspb.EVENT_TYPE_TIMER_STARTED {
				started++
			}
		}
		if started < timers {
			return errors.New("not yet")
		}
		return nil
	})
}

func extendAndRevoke(t *testing.T, r *passRecording) {
	r.awaitTimers(t, 1)
	testkit.GivePass(t, r.db, r.in.UserID, r.in.SKU, 60, time.Now())
	require.NoError(t, r.signal(t.Context()))
	r.awaitTimers(t, 2)
	testkit.RevokePass(t, r.db, r.in.UserID, r.in.SKU, time.Now())
	require.NoError(t, r.signal(t.Context()))
}

func cancelPassRun(t *testing.T, r *passRecording) {
	r.awaitTimers(t, 1)
	require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.SubscriptionWorkflowID(r.in), ""))
}

// passSettleFails is a database that is away for the local step and for the first of the regular ones.
func passSettleFails(r *passRecording) map[string]any {
	var settles atomic.Int32
	return map[string]any{contract.SettleSubscriptionActivity: func(ctx context.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
		if settles.Add(1) <= 2 {
			return contract.SettledSubscription{}, errors.New("database is away")
		}
		return r.db.SettleSubscription(ctx, in, time.Now())
	}}
}
