package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/worker"
)

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	window = contract.TaskWindowInput{ProjectID: 1, WindowID: "tw_1", UserID: "12345", TaskID: 123}
	owed   = contract.RewardInput{ProjectID: 1, RewardID: "tw_1.main_product", UserID: "12345", TaskID: 123,
		MainProductReward: tasks.MainProductReward{RewardType: "bonus_coins", Amount: decimal.NewFromInt(100)}}

	completed = contract.SettledWindow{State: tasks.Completed}
	rewarded  = contract.SettledWindow{State: tasks.Completed, Reward: &owed}
	expired   = contract.SettledWindow{State: tasks.Expired}

	rewardGiven   = contract.RewardResult{Status: contract.RewardDelivered, TransactionID: "tx_789"}
	rewardRefused = contract.RewardResult{Status: contract.RewardRefused, Code: "USER_NOT_FOUND", Message: "User not found"}
	rewardFailed  = contract.RewardResult{Status: contract.RewardUndelivered, Code: "timeout"}
)

func openUntil(at time.Time) contract.SettledWindow {
	return contract.SettledWindow{State: tasks.Open, Until: &at}
}

// windowEnv is a window whose looks, and whose calls to the main product, bring these answers, one after the
// other; more looks or calls than answers fail the test, and so do fewer.
type windowEnv struct {
	*testsuite.TestWorkflowEnvironment
	t          *testing.T
	settles    []any // contract.SettledWindow or error
	calls      []any // contract.RewardResult or error
	settledAt  []time.Duration
	calledAt   []time.Duration
	recorded   []contract.RewardResult
	recordedAt []time.Duration
	onCall     func()
}

func newWindowEnv(t *testing.T) *windowEnv {
	var suite testsuite.WorkflowTestSuite
	e := &windowEnv{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	e.SetStartTime(noon)
	e.SetWorkflowRunTimeout(20 * 365 * 24 * time.Hour)
	worker.RegisterWorkflows(e)
	register := func(name string, function any) {
		e.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	register(contract.SettleWindowActivity, func(_ context.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
		require.Equal(t, window, in)
		e.settledAt = append(e.settledAt, e.Now().Sub(noon))
		return next[contract.SettledWindow](t, e.settles, len(e.settledAt)-1)
	})
	register(contract.DeliverRewardActivity, func(_ context.Context, in contract.RewardInput) (contract.RewardResult, error) {
		require.True(t, owed.Amount.Equal(in.Amount))
		require.Equal(t, []any{owed.RewardID, owed.UserID, owed.TaskID, owed.RewardType}, []any{in.RewardID, in.UserID, in.TaskID, in.RewardType})
		e.calledAt = append(e.calledAt, e.Now().Sub(noon))
		if e.onCall != nil {
			e.onCall()
		}
		return next[contract.RewardResult](t, e.calls, len(e.calledAt)-1)
	})
	register(contract.RecordRewardActivity, func(_ context.Context, in contract.RecordRewardInput) error {
		require.Equal(t, owed.RewardID, in.RewardID)
		e.recorded = append(e.recorded, in.Result)
		e.recordedAt = append(e.recordedAt, e.Now().Sub(noon))
		return nil
	})
	return e
}

func next[T any](t *testing.T, answers []any, i int) (answer T, err error) {
	if i >= len(answers) {
		t.Errorf("call %d was not expected", i+1)
		return answer, temporal.NewNonRetryableApplicationError("not expected", "", nil)
	}
	switch a := answers[i].(type) {
	case T:
		return a, nil
	default:
		return answer, a.(error)
	}
}

// requireState runs the window to its end.
func (e *windowEnv) requireState(state tasks.State) {
	e.t.Helper()
	e.ExecuteWorkflow(contract.TaskWindowWorkflow, window)
	e.requireAnswersUsed()
	require.NoError(e.t, e.GetWorkflowError())
	var settled contract.SettledWindow
	require.NoError(e.t, e.GetWorkflowResult(&settled))
	require.Equal(e.t, contract.SettledWindow{State: state}, settled)
}

func (e *windowEnv) requireAnswersUsed() {
	e.t.Helper()
	require.Len(e.t, e.settledAt, len(e.settles), "looks")
	require.Len(e.t, e.calledAt, len(e.calls), "calls to the main product")
}

func (e *windowEnv) signalAt(at time.Duration) {
	e.RegisterDelayedCallback(func() { e.SignalWorkflow(contract.ChangedSignal, nil) }, at)
}

func noRewardAnswer(result contract.RewardResult) error {
	return temporal.NewApplicationErrorWithOptions("no final answer", contract.ErrorTypeMainProduct, temporal.ApplicationErrorOptions{Details: []any{result}})
}

var jitter = tasks.CloseJitter(window.WindowID)

// Started with a delay until it closes: one look.
func TestWindowExpiresAtItsClosing(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles = []any{expired}
	e.requireState(tasks.Expired)
}

func TestWindowWaitsUntilItCloses(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles = []any{openUntil(noon.Add(12 * time.Hour)), expired}
	e.requireState(tasks.Expired)
	require.Equal(t, []time.Duration{0, 12*time.Hour + jitter}, e.settledAt)
}

// A signal ends the wait: completed early, or late within the grace, or canceled.
func TestWindowThatChangesIsSettledAtOnce(t *testing.T) {
	t.Parallel()
	const day, grace = 12 * time.Hour, 5 * time.Minute
	for name, test := range map[string]struct {
		at   time.Duration
		then contract.SettledWindow
	}{
		"early":                    {time.Second, completed},
		"in the grace":             {day + grace - time.Second, completed},
		"after the grace, jitter":  {day + grace, completed},
		"canceled by an admin":     {time.Hour, contract.SettledWindow{State: tasks.Canceled}},
		"expired before it looked": {time.Hour, expired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newWindowEnv(t)
			e.settles = []any{openUntil(noon.Add(day + grace)), test.then}
			e.signalAt(test.at)
			e.requireState(test.then.State)
			require.Equal(t, []time.Duration{0, test.at}, e.settledAt)
		})
	}
}

// Signals without a change only cost a look; many in one moment one, and another for those that came during the first.
func TestSpuriousSignals(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	open := openUntil(noon.Add(time.Hour))
	e.settles = []any{open, open, open, open, expired}
	e.RegisterDelayedCallback(func() {
		for range 20 {
			e.SignalWorkflow(contract.ChangedSignal, nil)
		}
	}, time.Minute)
	e.signalAt(2 * time.Minute)
	e.requireState(tasks.Expired)
	require.Equal(t, []time.Duration{0, time.Minute, time.Minute, 2 * time.Minute, time.Hour + jitter}, e.settledAt)
}

// A campaign of years is a chain of naps of a year.
func TestWindowNapsForYears(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	const year = 365 * 24 * time.Hour
	open := openUntil(noon.Add(3*year + time.Hour))
	e.settles = []any{open, open, open, open, expired}
	e.requireState(tasks.Expired)
	require.Equal(t, []time.Duration{0, year, 2 * year, 3 * year, 3*year + time.Hour + jitter}, e.settledAt)
}

// The database's clock is behind ours: it is asked again, without spinning.
func TestWindowWaitsForAClockBehind(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles = []any{openUntil(noon.Add(-time.Hour)), expired}
	e.requireState(tasks.Expired)
	require.GreaterOrEqual(t, e.settledAt[1], time.Second)
}

func TestWindowWithALongHistoryStartsAnew(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.SetContinueAsNewSuggested(true)
	e.settles = []any{openUntil(noon.Add(time.Hour))}
	e.signalAt(time.Minute)
	e.ExecuteWorkflow(contract.TaskWindowWorkflow, window)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, e.GetWorkflowError(), &again)
	e.requireAnswersUsed()
}

func TestWindowWithALongHistoryEndsAllTheSame(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.SetContinueAsNewSuggested(true)
	e.settles = []any{completed}
	e.requireState(tasks.Completed)
}

// The database is away for the local step, then for two tries of the regular one.
func TestSettlingNeverGivesUp(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	away := errors.New("away")
	e.settles = []any{away, away, away, expired}
	e.requireState(tasks.Expired)
}

func TestRewardIsDelivered(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{rewarded}, []any{rewardGiven}
	e.requireState(tasks.Completed)
	require.Equal(t, []contract.RewardResult{rewardGiven}, e.recorded)
}

// The first try and three retries, ten seconds apart.
func TestRewardIsRetried(t *testing.T) {
	t.Parallel()
	const pause = 10 * time.Second
	for name, test := range map[string]struct {
		calls  []any
		result contract.RewardResult
	}{
		"delivered by the second": {[]any{noRewardAnswer(rewardFailed), rewardGiven}, rewardGiven},
		"delivered by the last":   {[]any{noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed), rewardGiven}, rewardGiven},
		"refused by the third":    {[]any{noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed), rewardRefused}, rewardRefused},
		"refused at once":         {[]any{rewardRefused}, rewardRefused},
		"no answer":               {[]any{noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed), noRewardAnswer(rewardFailed)}, rewardFailed},
		"errors of another type":  {[]any{errors.New("x"), errors.New("x"), errors.New("x"), errors.New("x")}, contract.RewardResult{Status: contract.RewardUndelivered, Code: "no_report"}},
		"an error that is for good": {[]any{temporal.NewNonRetryableApplicationError("gone", "NotFound", nil)},
			contract.RewardResult{Status: contract.RewardUndelivered, Code: "no_report"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newWindowEnv(t)
			e.settles, e.calls = []any{rewarded}, test.calls
			e.requireState(tasks.Completed)
			for i, at := range e.calledAt {
				require.Equal(t, time.Duration(i)*pause, at, "call %d", i+1)
			}
			require.Len(t, e.recorded, 1)
			e.recorded[0].Message = test.result.Message
			require.Equal(t, test.result, e.recorded[0])
		})
	}
}

// What became of the reward is written down, however long the database is away.
func TestRecordingNeverGivesUp(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{rewarded}, []any{rewardGiven}
	tries := 0
	e.OnActivity(contract.RecordRewardActivity, mock.Anything, contract.RecordRewardInput{
		RewardID: owed.RewardID,
		Result:   rewardGiven,
	}).Return(
		func(context.Context, contract.RecordRewardInput) error {
			if tries++; tries <= 8 {
				return errors.New("away")
			}
			return nil
		})
	e.requireState(tasks.Completed)
	require.Equal(t, 9, tries)
}

// An admin replays a reward of a window whose run is over: a new run delivers it under the same id.
func TestReplayOfARewardInANewRun(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{rewarded}, []any{rewardGiven}
	e.signalAt(0) // it is started with the signal
	e.settles = append(e.settles, completed)
	e.requireState(tasks.Completed)
	require.Equal(t, []contract.RewardResult{rewardGiven}, e.recorded)
}

// One that is replayed while the run still writes the refusal down is delivered by the same run.
func TestReplayOfARewardWhileTheRunEnds(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{rewarded, rewarded}, []any{rewardRefused, rewardGiven}
	e.onCall = func() {
		if len(e.calledAt) == 1 {
			e.SignalWorkflow(contract.ChangedSignal, nil)
		}
	}
	e.requireState(tasks.Completed)
	require.Equal(t, []contract.RewardResult{rewardRefused, rewardGiven}, e.recorded)
}

// An operator cancels the run of an open window: the run ends as canceled, the window goes on in the database.
func TestCanceledRunOfAnOpenWindow(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	open := openUntil(noon.Add(time.Hour))
	e.settles = []any{open, open}
	e.RegisterDelayedCallback(e.CancelWorkflow, time.Minute)
	e.ExecuteWorkflow(contract.TaskWindowWorkflow, window)
	var canceled *temporal.CanceledError
	require.ErrorAs(t, e.GetWorkflowError(), &canceled)
	e.requireAnswersUsed()
	require.Equal(t, []time.Duration{0, time.Minute}, e.settledAt)
}

// It was completed in the same moment: what is owed is given all the same.
func TestCanceledRunOfACompletedWindow(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{openUntil(noon.Add(time.Hour)), rewarded}, []any{noRewardAnswer(rewardFailed), rewardGiven}
	e.RegisterDelayedCallback(e.CancelWorkflow, time.Minute)
	e.requireState(tasks.Completed)
	require.Equal(t, []contract.RewardResult{rewardGiven}, e.recorded)
}

// Canceled between two tries: nobody knows, so the reward is listed as undelivered, for an admin to replay.
func TestCanceledWhileTheMainProductIsAsked(t *testing.T) {
	t.Parallel()
	e := newWindowEnv(t)
	e.settles, e.calls = []any{rewarded}, []any{noRewardAnswer(rewardFailed)}
	e.RegisterDelayedCallback(e.CancelWorkflow, 5*time.Second)
	e.requireState(tasks.Completed)
	require.Len(t, e.recorded, 1)
	require.Equal(t, []any{contract.RewardUndelivered, "canceled_by_operator"}, []any{e.recorded[0].Status, e.recorded[0].Code})
	require.Equal(t, []time.Duration{5 * time.Second}, e.recordedAt)
}

// Temporal UI finds what was not delivered, and nothing else pays for it.
func TestTroubleWithARewardIsFindable(t *testing.T) {
	t.Parallel()
	state, reason := temporal.NewSearchAttributeKeyKeyword(contract.SearchState), temporal.NewSearchAttributeKeyKeyword(contract.SearchReason)
	for want, test := range map[string]struct {
		settles, calls []any
		updates        []temporal.SearchAttributes
	}{
		"none": {[]any{rewarded}, []any{rewardGiven}, nil},
		"one":  {[]any{rewarded}, []any{rewardRefused}, []temporal.SearchAttributes{temporal.NewSearchAttributes(state.ValueSet("reward_refused"), reason.ValueSet("USER_NOT_FOUND"))}},
	} {
		e := newWindowEnv(t)
		e.settles, e.calls = test.settles, test.calls
		var seen []temporal.SearchAttributes
		e.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) { seen = append(seen, args.Get(0).(temporal.SearchAttributes)) }).Return(nil).Maybe()
		e.requireState(tasks.Completed)
		require.Equal(t, test.updates, seen, want)
	}
}
