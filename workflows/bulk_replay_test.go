package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/suite"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/worker"
)

// BulkReplaySuite runs the workflow against a small model of the database.
type BulkReplaySuite struct {
	suite.Suite
	testsuite.WorkflowTestSuite
	env   *testsuite.TestWorkflowEnvironment
	start time.Time

	status  store.ReplayStatus
	total   int64
	begun   map[int64]time.Duration // position: when it was begun
	takes   time.Duration           // from the beginning of an order to its outcome
	steps   int
	fail    func(step int) error
	failed  int
	reports int

	pauseAtReport bool // an admin pauses between the last outcome and the report
}

func TestBulkReplay(t *testing.T) { suite.Run(t, new(BulkReplaySuite)) }

func (s *BulkReplaySuite) SetupTest() {
	s.start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s.freshRun(s.start)
	s.status, s.total, s.begun, s.takes, s.steps, s.fail, s.failed, s.reports, s.pauseAtReport = store.ReplayRunning, 20, map[int64]time.Duration{}, 3*time.Second, 0, nil, 0, 0, false
}

// freshRun is a run that begins then, on the same database.
func (s *BulkReplaySuite) freshRun(at time.Time) {
	s.env = s.NewTestWorkflowEnvironment()
	s.env.SetStartTime(at)
	worker.RegisterWorkflows(s.env)
	for name, function := range map[string]any{
		contract.ReplayOrdersActivity: s.replayOrders, contract.FinishReplayActivity: s.finish, contract.CancelReplayActivity: s.cancel,
	} {
		s.env.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
}

func (s *BulkReplaySuite) now() time.Duration { return s.env.Now().Sub(s.start) }

func (s *BulkReplaySuite) replayOrders(_ context.Context, in contract.ReplayBatch) (contract.ReplayStanding, error) {
	s.steps++
	standing := contract.ReplayStanding{Status: s.status}
	for position := in.First; s.status == store.ReplayRunning && position < min(in.Past, s.total+1); position++ {
		if _, done := s.begun[position]; !done {
			s.begun[position] = s.now()
		}
	}
	if s.fail != nil {
		if err := s.fail(s.steps); err != nil { // after the work: the answer was lost
			s.failed++
			return standing, err
		}
	}
	for position := s.total; position >= 1; position-- {
		at, done := s.begun[position]
		switch {
		case !done && s.status != store.ReplayCanceling:
			standing.Waiting++
			standing.Next = position
		case done && s.now() < at+s.takes:
			standing.InFlight++
		}
	}
	return standing, nil
}

func (s *BulkReplaySuite) finish(context.Context, contract.ReplayRef) (contract.ReplayResult, error) {
	s.reports++
	if s.pauseAtReport {
		s.pauseAtReport, s.status = false, store.ReplayPaused
	}
	if s.status == store.ReplayPaused {
		return contract.ReplayResult{Status: s.status}, nil
	}
	result := contract.ReplayResult{
		Status: store.ReplayCompleted,
		Report: &store.ReplayProgress{Completed: store.ReplayTally{Orders: int64(len(s.begun))}},
	}
	if s.status == store.ReplayCanceling {
		result.Status = store.ReplayCanceled
	}
	return result, nil
}

func (s *BulkReplaySuite) cancel(context.Context, contract.ReplayRef) error {
	s.status = store.ReplayCanceling
	return nil
}

// change is an admin's act: the row first, then the signal, unless it is lost.
func (s *BulkReplaySuite) change(at time.Duration, status store.ReplayStatus, signal bool) {
	s.env.RegisterDelayedCallback(func() {
		s.status = status
		if signal {
			s.env.SignalWorkflow(contract.ChangedSignal, nil)
		}
	}, at)
}

func (s *BulkReplaySuite) input(rate float64) contract.ReplayInput {
	return contract.ReplayInput{ProjectID: 1, ReplayID: "rp_1", Orders: s.total, RatePerSecond: rate}
}

func (s *BulkReplaySuite) run(rate float64) contract.ReplayResult {
	s.env.ExecuteWorkflow(contract.ReplayWorkflow, s.input(rate))
	s.True(s.env.IsWorkflowCompleted())
	s.Require().NoError(s.env.GetWorkflowError())
	var result contract.ReplayResult
	s.Require().NoError(s.env.GetWorkflowResult(&result))
	return result
}

// mostWithin is the largest number of orders begun within any window of that length.
func (s *BulkReplaySuite) mostWithin(window time.Duration) (most int) {
	for _, from := range s.begun {
		n := 0
		for _, at := range s.begun {
			if at >= from && at < from+window {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func (s *BulkReplaySuite) TestRateIsKept() {
	for rate, last := range map[float64]time.Duration{5: 3 * time.Second, 0.5: 38 * time.Second, 2.5: 9 * 800 * time.Millisecond, 100: 0} {
		s.SetupTest()
		result := s.run(rate)
		s.Equal(store.ReplayCompleted, result.Status)
		s.EqualValues(20, result.Report.Completed.Orders)
		s.Equal(last, s.begun[20], "rate %v", rate)
		s.LessOrEqual(s.mostWithin(10*time.Second), max(int(10*rate), 1), "rate %v", rate)
		s.Equal(1, s.reports)
	}
}

func (s *BulkReplaySuite) TestReportWaitsForTheOutcomes() {
	s.takes = 10 * time.Minute
	s.run(5)
	s.GreaterOrEqual(s.now(), 10*time.Minute)
	s.Less(s.now(), 11*time.Minute)
	s.Less(s.steps, 40, "outcomes are asked for less and less often")
}

func (s *BulkReplaySuite) TestPauseAndResume() {
	s.change(1500*time.Millisecond, store.ReplayPaused, true)
	s.change(90*time.Hour, store.ReplayRunning, true)
	s.run(5)
	s.Less(s.begun[10], 1500*time.Millisecond)
	s.GreaterOrEqual(s.begun[11], 90*time.Hour)
	s.LessOrEqual(s.mostWithin(time.Second), 5)
	s.Less(s.steps, 30, "a pause of days costs nothing")
}

func (s *BulkReplaySuite) TestPauseWhoseSignalWasLost() {
	s.change(1500*time.Millisecond, store.ReplayPaused, false)
	s.change(time.Hour, store.ReplayRunning, true)
	s.run(5)
	s.Less(s.begun[10], 1500*time.Millisecond)
	s.GreaterOrEqual(s.begun[11], time.Hour)
}

func (s *BulkReplaySuite) TestManySignalsDoNotSpeedItUp() {
	for i := range 100 {
		s.change(time.Duration(i)*17*time.Millisecond, store.ReplayRunning, true)
	}
	s.run(5)
	s.LessOrEqual(s.mostWithin(time.Second), 5)
	s.Equal(3*time.Second, s.begun[20])
}

func (s *BulkReplaySuite) TestCancelWaitsForWhatIsUnderWay() {
	s.change(1500*time.Millisecond, store.ReplayCanceling, true)
	result := s.run(5)
	s.Equal(store.ReplayCanceled, result.Status)
	s.EqualValues(10, result.Report.Completed.Orders)
	s.GreaterOrEqual(s.now(), 4*time.Second, "the second five were begun at 1 s and take 3")
}

func (s *BulkReplaySuite) TestCancelOfAPausedReplay() {
	s.change(1500*time.Millisecond, store.ReplayPaused, true)
	s.change(time.Hour, store.ReplayCanceling, true)
	s.Equal(store.ReplayCanceled, s.run(5).Status)
	s.Len(s.begun, 10)
}

func (s *BulkReplaySuite) TestPausedAfterTheLastOrderIsReportedWhenResumed() {
	s.change(3500*time.Millisecond, store.ReplayPaused, true)
	s.change(time.Hour, store.ReplayRunning, true)
	s.Equal(store.ReplayCompleted, s.run(5).Status)
	s.GreaterOrEqual(s.now(), time.Hour)
}

func (s *BulkReplaySuite) TestPausedBeforeTheReportIsWritten() {
	s.pauseAtReport = true
	s.change(time.Hour, store.ReplayRunning, true)
	s.Equal(store.ReplayCompleted, s.run(5).Status)
	s.GreaterOrEqual(s.now(), time.Hour)
	s.Less(s.steps, 20)
}

func (s *BulkReplaySuite) TestOperatorCancelsTheWorkflow() {
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, 1500*time.Millisecond)
	result := s.run(5)
	s.Equal(store.ReplayCanceled, result.Status, "it ends with a report, not as canceled")
	s.Len(s.begun, 10)
}

func (s *BulkReplaySuite) TestDatabaseAway() {
	s.fail = func(step int) error {
		if step%3 != 0 && s.failed < 8 {
			return errors.New("database is away")
		}
		return nil
	}
	result := s.run(5)
	s.EqualValues(20, result.Report.Completed.Orders)
	s.Equal(8, s.failed)
	s.LessOrEqual(s.mostWithin(time.Second), 5, "a repeat begins the same orders")
}

// A long replay continues as new, at its pace and where it was.
func (s *BulkReplaySuite) TestHistoryIsBounded() {
	s.total = 1_500
	in, runs := s.input(2), 0
	for next := new(workflow.ContinueAsNewError); next != nil; runs++ {
		s.env.ExecuteWorkflow(contract.ReplayWorkflow, in)
		s.Require().True(s.env.IsWorkflowCompleted())
		next = nil
		if errors.As(s.env.GetWorkflowError(), &next) {
			s.Require().NoError(converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
			s.freshRun(s.env.Now())
		}
	}
	s.Require().NoError(s.env.GetWorkflowError())
	s.Equal(3, runs, "750 steps of two orders, 300 a run")
	s.Len(s.begun, 1_500)
	s.Equal(749*time.Second, s.begun[1_500])
	s.LessOrEqual(s.mostWithin(10*time.Second), 20)
	s.Equal(1, s.reports)
}

// A signal that comes with the last step of a run wakes nobody, and what it tells of is read by the next run.
func (s *BulkReplaySuite) TestSignalsAreDrainedBeforeContinuingAsNew() {
	s.total = 1_000
	s.fail = func(step int) error {
		if step == 300 {
			s.status = store.ReplayPaused
			s.env.SignalWorkflow(contract.ChangedSignal, nil)
		}
		return nil
	}
	s.env.ExecuteWorkflow(contract.ReplayWorkflow, s.input(1))
	var next *workflow.ContinueAsNewError
	s.Require().ErrorAs(s.env.GetWorkflowError(), &next)
	var in contract.ReplayInput
	s.Require().NoError(converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	s.freshRun(s.env.Now())
	s.change(time.Hour, store.ReplayCanceling, true)
	s.env.ExecuteWorkflow(contract.ReplayWorkflow, in)
	s.Require().NoError(s.env.GetWorkflowError())
	s.Len(s.begun, 300, "the next run begins none: it is paused, then canceled")
}
