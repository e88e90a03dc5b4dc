package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/webhook"
	"github.com/quickpass/quickpass/worker"
)

var notice = contract.WebhookInput{
	ProjectID:  1,
	DeliveryID: "we_d5k2v0b6t2ac73f9m2v0",
	OrderID:    41,
	UserID:     "12345",
	Event:      webhook.OrderPaid,
}

func dueAt(at time.Duration) contract.WebhookStanding {
	return contract.WebhookStanding{Status: webhook.Pending, Until: new(noon.Add(at))}
}

func over(status webhook.Status) contract.WebhookStanding {
	return contract.WebhookStanding{Status: status}
}

// webhookEnv is a delivery whose looks bring these answers, one after the other; more looks than answers fail
// the test, and so do fewer.
type webhookEnv struct {
	*testsuite.TestWorkflowEnvironment
	t         *testing.T
	attempts  []any // contract.WebhookStanding or error
	attempted []time.Duration
}

func newWebhookEnv(t *testing.T, attempts ...any) *webhookEnv {
	var suite testsuite.WorkflowTestSuite
	e := &webhookEnv{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, attempts: attempts}
	e.SetStartTime(noon)
	e.SetWorkflowRunTimeout(365 * 24 * time.Hour)
	worker.RegisterWorkflows(e)
	e.RegisterActivityWithOptions(func(ctx context.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
		require.Equal(t, notice, in)
		require.Equal(t, contract.WebhookTaskQueue, activity.GetInfo(ctx).TaskQueue, "it starves nobody")
		e.attempted = append(e.attempted, e.Now().Sub(noon))
		return next[contract.WebhookStanding](t, e.attempts, len(e.attempted)-1)
	}, activity.RegisterOptions{Name: contract.AttemptWebhookActivity})
	return e
}

func (e *webhookEnv) signalAt(at time.Duration) {
	e.RegisterDelayedCallback(func() { e.SignalWorkflow(contract.ChangedSignal, nil) }, at)
}

// requireStatus runs the delivery to its end; the looks are made at these times.
func (e *webhookEnv) requireStatus(status webhook.Status, looks ...time.Duration) {
	e.t.Helper()
	e.ExecuteWorkflow(contract.WebhookWorkflow, notice)
	require.Equal(e.t, looks, e.attempted)
	require.Len(e.t, looks, len(e.attempts))
	require.NoError(e.t, e.GetWorkflowError())
	var standing contract.WebhookStanding
	require.NoError(e.t, e.GetWorkflowResult(&standing))
	require.Equal(e.t, over(status), standing)
}

func TestWebhookIsOverAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []webhook.Status{webhook.Delivered, webhook.Refused, webhook.Dead} {
		newWebhookEnv(t, over(status)).requireStatus(status, 0)
	}
}

// Each count of tries that the default schedule knows: it is made when it is due, and not before.
func TestWebhookIsTriedAgain(t *testing.T) {
	t.Parallel()
	schedule, err := webhook.ParseSchedule([]string{"2x5m", "7x15m", "10x60m"})
	require.NoError(t, err)
	for tries := 1; tries <= len(schedule); tries++ {
		var answers []any
		looks, at := []time.Duration{0}, time.Duration(0)
		for _, pause := range schedule[:tries] {
			at += pause
			answers, looks = append(answers, dueAt(at)), append(looks, at)
		}
		newWebhookEnv(t, append(answers, over(webhook.Delivered))...).requireStatus(webhook.Delivered, looks...)
		if tries == len(schedule) {
			require.Equal(t, 715*time.Minute, at)
			newWebhookEnv(t, append(answers, over(webhook.Dead))...).requireStatus(webhook.Dead, looks...)
		}
	}
}

// One that waits for an earlier one of its order is woken when that is over; signals without a change only cost a look.
func TestWebhookIsWoken(t *testing.T) {
	t.Parallel()
	e := newWebhookEnv(t, dueAt(time.Hour), dueAt(time.Hour), over(webhook.Delivered))
	e.signalAt(time.Minute)
	e.signalAt(2 * time.Minute)
	e.requireStatus(webhook.Delivered, 0, time.Minute, 2*time.Minute)
}

// A replay that comes as the run ends is seen by it.
func TestWebhookIsReplayedAsItsRunEnds(t *testing.T) {
	t.Parallel()
	e := newWebhookEnv(t, over(webhook.Dead), over(webhook.Delivered))
	e.signalAt(0)
	e.requireStatus(webhook.Delivered, 0, 0)
}

func TestWebhookWaitsForAClockBehind(t *testing.T) {
	t.Parallel()
	newWebhookEnv(t, dueAt(-time.Hour), over(webhook.Delivered)).requireStatus(webhook.Delivered, 0, time.Second)
}

// While the database is away nothing is given up.
func TestWebhookOutlastsTheDatabase(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	newWebhookEnv(t, away, away, away, over(webhook.Delivered)).requireStatus(webhook.Delivered, 0, time.Second, 3*time.Second, 7*time.Second)
}

func TestWebhookThatIsNotThereFails(t *testing.T) {
	t.Parallel()
	e := newWebhookEnv(t, temporal.NewNonRetryableApplicationError("not found", "NotFound", nil))
	e.ExecuteWorkflow(contract.WebhookWorkflow, notice)
	require.Error(t, e.GetWorkflowError())
}

// An operator ends the run; the delivery stays as it is in the database, for the sweep.
func TestWebhookRunIsCanceled(t *testing.T) {
	t.Parallel()
	e := newWebhookEnv(t, dueAt(time.Hour))
	e.RegisterDelayedCallback(e.CancelWorkflow, time.Minute)
	e.ExecuteWorkflow(contract.WebhookWorkflow, notice)
	require.True(t, temporal.IsCanceledError(e.GetWorkflowError()), "%v", e.GetWorkflowError())
	require.Len(t, e.attempted, 1)
}

func TestWebhookContinuesAsNew(t *testing.T) {
	t.Parallel()
	e := newWebhookEnv(t, dueAt(time.Hour))
	e.SetContinueAsNewSuggested(true)
	e.ExecuteWorkflow(contract.WebhookWorkflow, notice)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, e.GetWorkflowError(), &again)
}

// A test is sent once, and its failure is the caller's to see.
func TestWebhookTestIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		var suite testsuite.WorkflowTestSuite
		e := suite.NewTestWorkflowEnvironment()
		worker.RegisterWorkflows(e)
		calls := 0
		e.RegisterActivityWithOptions(func(ctx context.Context, in contract.WebhookTestInput) (contract.WebhookTested, error) {
			require.Equal(t, contract.WebhookTaskQueue, activity.GetInfo(ctx).TaskQueue)
			if calls++; fails {
				return contract.WebhookTested{}, errors.New("the database is away")
			}
			return contract.WebhookTested{EventID: in.EventID, Status: webhook.Delivered, StatusCode: 204}, nil
		}, activity.RegisterOptions{Name: contract.TestWebhookActivity})
		e.ExecuteWorkflow(contract.WebhookTestWorkflow, contract.WebhookTestInput{ProjectID: 1, EventID: "we_1"})
		require.Equal(t, 1, calls)
		require.Equal(t, fails, e.GetWorkflowError() != nil)
	}
}
