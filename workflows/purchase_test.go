package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/worker"
)

type PurchaseSuite struct {
	suite.Suite
	testsuite.WorkflowTestSuite
	env   *testsuite.TestWorkflowEnvironment
	start time.Time
}

func TestPurchase(t *testing.T) { suite.Run(t, new(PurchaseSuite)) }

func (s *PurchaseSuite) SetupTest() {
	s.env = s.NewTestWorkflowEnvironment()
	s.start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s.env.SetStartTime(s.start)
	worker.RegisterWorkflows(s.env)
	for name, function := range map[string]any{
		contract.ReserveActivity:      func(context.Context, contract.PurchaseInput) (r contract.Reservation, err error) { return },
		contract.CaptureActivity:      func(context.Context, contract.CaptureInput) (r contract.PurchaseResult, err error) { return },
		contract.ReleaseActivity:      func(context.Context, contract.ReleaseInput) (r contract.PurchaseResult, err error) { return },
		contract.DeliverFirstActivity: func(context.Context, contract.DeliveryInput) (o contract.Outcome, err error) { return },
		contract.DeliverActivity:      func(context.Context, contract.DeliveryInput) (o contract.Outcome, err error) { return },
		contract.InquireActivity:      func(context.Context, contract.InquiryInput) (o contract.Outcome, err error) { return },
	} {
		s.env.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
}

// Every test says which activities run and how often; one more or one less fails it.
func (s *PurchaseSuite) AfterTest(_, _ string) { s.env.AssertExpectations(s.T()) }

var (
	input    = contract.PurchaseInput{ProjectID: 1, OrderID: "qp_1", UserID: "12345", SKU: "credits-500", Quantity: 1, Attempt: 1}
	delivery = store.Delivery{
		ProductName:      "500 credits",
		Endpoint:         store.DefaultEndpoint,
		Amount:           decimal.NewFromInt(500),
		Currency:         "credits",
		DeliverySettings: store.DefaultDelivery(),
	}
	credit   = store.Credit{TransactionID: "tx_456"}
	timeout  = contract.Outcome{Kind: contract.Unknown, Error: "timeout", MaybeCredited: true}
	refused  = contract.Outcome{Kind: contract.Refused, Reason: &store.Reason{Code: store.MainProductRefused, ErrorCode: "USER_NOT_FOUND"}}
	credited = contract.Outcome{Kind: contract.Credited, Credit: &credit}
	noAnswer = contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}
)

func deliveryError(outcome contract.Outcome) error {
	return temporal.NewApplicationErrorWithOptions("no answer", contract.ErrorTypeMainProduct, temporal.ApplicationErrorOptions{Details: []any{outcome}})
}

func (s *PurchaseSuite) reserved(attempt int) contract.Reservation {
	return contract.Reservation{Status: store.Processing, Attempt: attempt, Delivery: &delivery}
}

func (s *PurchaseSuite) onReserve() { s.on(contract.ReserveActivity).Return(s.reserved(1), nil).Once() }

func (s *PurchaseSuite) on(name string) *testsuite.MockCallWrapper {
	return s.env.OnActivity(name, mock.Anything, mock.Anything)
}

func (s *PurchaseSuite) onCapture(calls int) {
	s.env.OnActivity(contract.CaptureActivity, mock.Anything, contract.CaptureInput{
		ProjectID: 1,
		OrderID:   "qp_1",
		Attempt:   1,
		Credit:    credit,
		Calls:     calls,
	}).
		Return(contract.PurchaseResult{Status: store.Completed}, nil).Once()
}

// onRelease expects the compensation, and that it says what is known of the outcome.
func (s *PurchaseSuite) onRelease(reason store.ReasonCode, maybeCredited bool) {
	s.on(contract.ReleaseActivity).Return(func(_ context.Context, in contract.ReleaseInput) (contract.PurchaseResult, error) {
		s.Equal(reason, in.Reason.Code)
		s.Equal(maybeCredited, in.MaybeCredited, "maybe credited")
		return contract.PurchaseResult{Status: store.Canceled, Reason: &in.Reason}, nil
	}).Once()
}

// run executes the workflow and returns its result and how much virtual time it took.
func (s *PurchaseSuite) run(in contract.PurchaseInput) (contract.PurchaseResult, time.Duration) {
	s.env.ExecuteWorkflow(contract.PurchaseWorkflow, in)
	s.True(s.env.IsWorkflowCompleted())
	s.Require().NoError(s.env.GetWorkflowError())
	var result contract.PurchaseResult
	s.Require().NoError(s.env.GetWorkflowResult(&result))
	return result, s.env.Now().Sub(s.start)
}

func (s *PurchaseSuite) TestCreditedAtOnce() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.onCapture(1)
	result, _ := s.run(input)
	s.Equal(store.Completed, result.Status)
}

// Support has refunded the stuck order before the main product's answer came: no alarm, and nothing is compensated.
func (s *PurchaseSuite) TestCreditedAfterSupportHasRefunded() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{Status: store.Canceled}, nil).Once()
	result, _ := s.run(input)
	s.Equal(store.Canceled, result.Status)
}

func (s *PurchaseSuite) TestRefusedByOurRules() {
	s.on(contract.ReserveActivity).Return(contract.Reservation{Refusal: &store.Refusal{Code: store.OutOfStock}}, nil).Once()
	result, _ := s.run(input)
	s.Equal(store.OutOfStock, result.Refusal.Code)
}

func (s *PurchaseSuite) TestOrderThatIsOverIsLeftAlone() {
	s.on(contract.ReserveActivity).Return(contract.Reservation{Status: store.Completed, Attempt: 1, Delivery: &delivery}, nil).Once()
	result, _ := s.run(input)
	s.Equal(store.Completed, result.Status)
}

func (s *PurchaseSuite) TestOldAttemptLeavesTheNextAlone() {
	s.on(contract.ReserveActivity).Return(s.reserved(2), nil).Once()
	result, _ := s.run(input)
	s.Equal(store.Processing, result.Status)
}

func (s *PurchaseSuite) TestRefusedByTheMainProduct() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(refused, nil).Once()
	s.onRelease(store.MainProductRefused, false)
	result, took := s.run(input)
	s.Equal(store.Canceled, result.Status)
	s.Zero(took, "a refusal is not retried")
}

// The seed: "3 times with 10 sec intervals". Attempts at 0, 10, 20 and 30 s, then coins and stock back.
func (s *PurchaseSuite) TestThreeRetriesTenSecondsApart() {
	var at []time.Duration
	tick := func() { at = append(at, s.env.Now().Sub(s.start)) }
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
		tick()
		return contract.Outcome{Kind: contract.Unknown, Error: "connection_failed"}, nil
	}).Once()
	s.on(contract.DeliverActivity).Return(func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
		tick()
		return contract.Outcome{}, deliveryError(contract.Outcome{Kind: contract.Unknown, Error: "connection_failed"})
	}).Times(3)
	s.on(contract.InquireActivity).Return(noAnswer, nil).Once()
	s.onRelease(store.MainProductUnreachable, false)
	result, _ := s.run(input)
	s.Equal(store.MainProductUnreachable, result.Reason.Code)
	s.Equal([]time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}, at)
}

func (s *PurchaseSuite) TestEachRetryMayBeTheOneThatWorks() {
	for failures := 1; failures <= 3; failures++ {
		s.SetupTest()
		calls := 0
		s.onReserve()
		s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
		s.on(contract.DeliverActivity).Return(func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
			calls++
			if calls < failures {
				return contract.Outcome{}, deliveryError(timeout)
			}
			return credited, nil
		}).Times(failures)
		s.onCapture(1)
		result, took := s.run(input)
		s.Equal(store.Completed, result.Status)
		s.Equal(time.Duration(failures)*10*time.Second, took)
		s.env.AssertExpectations(s.T())
	}
}

func (s *PurchaseSuite) TestRefusedInARetry() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
	s.on(contract.DeliverActivity).Return(refused, nil).Once()
	s.onRelease(store.MainProductRefused, true)
	result, _ := s.run(input)
	s.Equal("USER_NOT_FOUND", result.Reason.ErrorCode)
}

func (s *PurchaseSuite) TestUnknownMakesASuspect() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
	s.on(contract.DeliverActivity).Return(contract.Outcome{}, deliveryError(contract.Outcome{
		Kind:  contract.Unknown,
		Error: "connection_failed",
	})).Times(3)
	s.on(contract.InquireActivity).Return(noAnswer, nil).Once()
	s.onRelease(store.MainProductUnreachable, true)
	s.run(input)
}

func (s *PurchaseSuite) TestInquirySettlesTheUnknown() {
	for _, answer := range []struct {
		outcome contract.Outcome
		status  store.OrderStatus
	}{{credited, store.Completed}, {refused, store.Canceled}, {contract.Outcome{Kind: contract.NotFound}, store.Canceled}} {
		s.SetupTest()
		s.onReserve()
		s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
		s.on(contract.DeliverActivity).Return(contract.Outcome{}, deliveryError(timeout)).Times(3)
		s.on(contract.InquireActivity).Return(answer.outcome, nil).Once()
		switch answer.outcome.Kind {
		case contract.Credited:
			s.onCapture(0)
		case contract.Refused:
			s.onRelease(store.MainProductRefused, true)
		default:
			s.onRelease(store.MainProductUnreachable, true) // a call may still be on its way
		}
		result, _ := s.run(input)
		s.Equal(answer.status, result.Status)
		s.env.AssertExpectations(s.T())
	}
}

func (s *PurchaseSuite) TestNoRetriesWhenTheProductWantsNone() {
	once := delivery
	once.Retries = 0
	s.on(contract.ReserveActivity).Return(contract.Reservation{Status: store.Processing, Attempt: 1, Delivery: &once}, nil).Once()
	s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
	s.on(contract.InquireActivity).Return(noAnswer, nil).Once()
	s.onRelease(store.MainProductUnreachable, true)
	s.run(input)
}

func (s *PurchaseSuite) inFlight(deadline time.Duration) contract.Outcome {
	return contract.Outcome{
		Kind: contract.InFlight,
		Call: &contract.CallInFlight{TaskQueue: "one-process", Deadline: s.start.Add(deadline)},
	}
}

func (s *PurchaseSuite) TestSlowAnswerIsJoinedNotSentAgain() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(s.inFlight(30*time.Second), nil).Once()
	s.on(contract.DeliverActivity).Return(func(ctx context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
		s.True(in.JoinOnly)
		s.Equal("one-process", activity.GetInfo(ctx).TaskQueue)
		return credited, nil
	}).Once()
	s.onCapture(1)
	result, _ := s.run(input)
	s.Equal(store.Completed, result.Status)
}

func (s *PurchaseSuite) TestCallOfALostProcessIsWaitedOut() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(s.inFlight(30*time.Second), nil).Once()
	s.on(contract.DeliverActivity).Return(func(_ context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
		if in.JoinOnly {
			return contract.Outcome{Kind: contract.NotJoined}, nil
		}
		s.Equal(40*time.Second, s.env.Now().Sub(s.start), "its deadline at 30 s, then one interval")
		return credited, nil
	}).Times(2)
	s.onCapture(1)
	s.run(input)
}

func (s *PurchaseSuite) TestFirstDeliveryThatReportsNothing() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(contract.Outcome{}, errors.New("lost")).Once()
	s.on(contract.DeliverActivity).Return(credited, nil).Once()
	s.onCapture(1)
	_, took := s.run(input)
	s.Equal(10*time.Second, took)
}

func (s *PurchaseSuite) TestDatabaseAwayWhileReserving() {
	s.on(contract.ReserveActivity).Return(contract.Reservation{}, errors.New("database is away")).Times(5)
	s.on(contract.ReserveActivity).Return(s.reserved(1), nil).Once()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.onCapture(1)
	s.run(input)
}

// The test environment gives up after ten attempts; a server does not.
func (s *PurchaseSuite) TestDatabaseAwayWhileCapturing() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{}, errors.New("database is away")).Times(8)
	s.onCapture(1)
	result, _ := s.run(input)
	s.Equal(store.Completed, result.Status, "what was credited is captured, however long it takes")
}

func (s *PurchaseSuite) TestDatabaseAwayWhileReleasing() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(refused, nil).Once()
	s.on(contract.ReleaseActivity).Return(contract.PurchaseResult{}, errors.New("database is away")).Times(8)
	s.onRelease(store.MainProductRefused, false)
	result, _ := s.run(input)
	s.Equal(store.Canceled, result.Status)
}

func (s *PurchaseSuite) TestCapturedOrderThatWasCanceledIsABug() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{}, temporal.NewNonRetryableApplicationError("inconsistent", "Inconsistent", nil)).Times(2)
	s.env.ExecuteWorkflow(contract.PurchaseWorkflow, input)
	s.Error(s.env.GetWorkflowError())
}

func (s *PurchaseSuite) TestTransactionOfAnotherOrderIsNoCredit() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{}, temporal.NewNonRetryableApplicationError("clash", contract.ErrorTypeTransactionClash, nil)).Times(2)
	s.onRelease(store.MainProductUnreachable, true)
	result, _ := s.run(input)
	s.Equal(store.Canceled, result.Status)
}

func (s *PurchaseSuite) TestCancellationGivesEverythingBack() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
	s.onRelease(store.CanceledByOperator, true)
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, 5*time.Second)
	result, took := s.run(input)
	s.Equal(store.CanceledByOperator, result.Reason.Code)
	s.Equal(5*time.Second, took)
}

func (s *PurchaseSuite) TestSuspectIsAskedAboutBeforeItsReplay() {
	again := input
	again.Attempt = 2
	s.on(contract.ReserveActivity).Return(contract.Reservation{
		Status:    store.Processing,
		Attempt:   2,
		Suspected: true,
		Delivery:  &delivery,
	}, nil).Once()
	s.on(contract.InquireActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{Status: store.Completed}, nil).Once()
	result, _ := s.run(again)
	s.Equal(store.Completed, result.Status, "without a second call")
}

func (s *PurchaseSuite) TestSuspectIsDeliveredAgainWhenNobodyCanBeAsked() {
	again := input
	again.Attempt = 2
	s.on(contract.ReserveActivity).Return(contract.Reservation{
		Status:    store.Processing,
		Attempt:   2,
		Suspected: true,
		Delivery:  &delivery,
	}, nil).Once()
	s.on(contract.InquireActivity).Return(noAnswer, nil).Once()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.on(contract.CaptureActivity).Return(contract.PurchaseResult{Status: store.Completed}, nil).Once()
	result, _ := s.run(again)
	s.Equal(store.Completed, result.Status)
}

func (s *PurchaseSuite) awaiting() contract.Reservation {
	by := s.start.Add(10 * time.Minute)
	return contract.Reservation{Status: store.AwaitingConfirmation, Attempt: 1, Delivery: &delivery, ConfirmBy: &by}
}

func (s *PurchaseSuite) TestConfirmedPurchaseIsDelivered() {
	s.on(contract.ReserveActivity).Return(s.awaiting(), nil).Once()
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.onCapture(1)
	s.env.RegisterDelayedCallback(func() { s.env.SignalWorkflow(contract.PurchaseConfirmedSignal, nil) }, 3*time.Minute)
	result, took := s.run(input)
	s.Equal(store.Completed, result.Status)
	s.Equal(3*time.Minute, took)
}

func (s *PurchaseSuite) TestConfirmationWhoseSignalWasLostCountsAtTheDeadline() {
	s.on(contract.ReserveActivity).Return(s.awaiting(), nil).Once()
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.onCapture(1)
	result, took := s.run(input)
	s.Equal(store.Completed, result.Status)
	s.Equal(10*time.Minute, took)
}

func (s *PurchaseSuite) TestUnconfirmedPurchaseIsGivenBack() {
	s.on(contract.ReserveActivity).Return(s.awaiting(), nil).Twice()
	s.on(contract.ReleaseActivity).Return(func(_ context.Context, in contract.ReleaseInput) (contract.PurchaseResult, error) {
		s.Equal([]any{store.NotConfirmed, store.AwaitingConfirmation, false}, []any{in.Reason.Code, in.Expected, in.MaybeCredited})
		return contract.PurchaseResult{Status: store.Canceled, Reason: &in.Reason}, nil
	}).Once()
	result, took := s.run(input)
	s.Equal(store.NotConfirmed, result.Reason.Code)
	s.Equal(10*time.Minute, took)
}

// The confirmation was written between the workflow's look and its release: the release finds the order processing.
func (s *PurchaseSuite) TestConfirmationInTheLastMomentWins() {
	s.on(contract.ReserveActivity).Return(s.awaiting(), nil).Twice()
	s.on(contract.ReleaseActivity).Return(contract.PurchaseResult{Status: store.Processing}, nil).Once()
	s.on(contract.DeliverFirstActivity).Return(credited, nil).Once()
	s.onCapture(1)
	result, _ := s.run(input)
	s.Equal(store.Completed, result.Status)
}

func (s *PurchaseSuite) TestProgressTellsWhatItWaitsFor() {
	s.onReserve()
	s.on(contract.DeliverFirstActivity).Return(timeout, nil).Once()
	s.on(contract.DeliverActivity).Return(credited, nil).Once()
	s.onCapture(1)
	s.env.RegisterDelayedCallback(func() {
		value, err := s.env.QueryWorkflow(contract.PurchaseProgressQuery)
		s.Require().NoError(err)
		var progress contract.PurchaseProgress
		s.Require().NoError(value.Get(&progress))
		s.Equal("retrying", progress.Step)
		s.Equal("timeout", progress.LastError)
		s.Equal("the main product", progress.WaitingFor)
	}, 5*time.Second)
	s.run(input)
}
