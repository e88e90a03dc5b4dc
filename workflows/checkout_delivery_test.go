package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

// deliveryEnv is an order that is paid and of which the main product gives one line, or more. Calls,
// inquiries and notes of a line bring these answers, one after the other; more of them than answers fail the
// test, and so do fewer.
type deliveryEnv struct {
	*checkoutEnv
	calls     map[int][]any // by the delivery's number: contract.Outcome or error
	inquiries []any
	records   []any // contract.RecordedDelivery or error; none: as the outcome has it
	calledAt  map[int][]time.Duration
	inquired  int
	recorded  []contract.Outcome
}

func lineOf(number int) contract.CheckoutDelivery {
	return contract.CheckoutDelivery{
		OrderID:  cartOrder.OrderID,
		UserID:   cartOrder.UserID,
		Number:   number,
		Round:    1,
		Summary:  "100 credits",
		Settings: store.DefaultDelivery(),
	}
}

func paidWith(lines ...contract.CheckoutDelivery) contract.SettledCheckout {
	return contract.SettledCheckout{Status: checkout.Paid, Deliveries: lines}
}

func newDeliveryEnv(t *testing.T, calls map[int][]any, settles ...any) *deliveryEnv {
	e := &deliveryEnv{checkoutEnv: newCheckoutEnv(t, settles...), calls: calls, calledAt: map[int][]time.Duration{}}
	register := func(name string, function any) {
		e.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	register(contract.DeliverCheckoutActivity, func(_ context.Context, in contract.CheckoutDelivery) (contract.Outcome, error) {
		e.calledAt[in.Number] = append(e.calledAt[in.Number], e.Now().Sub(noon))
		return next[contract.Outcome](t, e.calls[in.Number], len(e.calledAt[in.Number])-1)
	})
	register(contract.InquireCheckoutActivity, func(_ context.Context, _ contract.CheckoutDelivery) (contract.Outcome, error) {
		e.inquired++
		return next[contract.Outcome](t, e.inquiries, e.inquired-1)
	})
	register(contract.RecordCheckoutDeliveryActivity, func(_ context.Context, in contract.RecordDeliveryInput) (contract.RecordedDelivery, error) {
		e.recorded = append(e.recorded, in.Outcome)
		if len(e.records) > 0 {
			return next[contract.RecordedDelivery](t, e.records, len(e.recorded)-1)
		}
		return recordedAs(in.Outcome), nil
	})
	return e
}

func recordedAs(outcome contract.Outcome) contract.RecordedDelivery {
	switch outcome.Kind {
	case contract.Credited:
		return contract.RecordedDelivery{Delivery: checkout.DeliveryDelivered, Order: checkout.Done}
	case contract.Refused:
		return contract.RecordedDelivery{Delivery: checkout.DeliveryRefused, Order: checkout.Canceled, Code: "USER_NOT_FOUND"}
	default:
		return contract.RecordedDelivery{Delivery: checkout.DeliverySuspected, Order: checkout.Paid, Code: outcome.Error}
	}
}

// requireEnd runs the order to its end: all answers were needed, and the order has this status.
func (e *deliveryEnv) requireEnd(status checkout.OrderStatus) {
	e.t.Helper()
	e.ExecuteWorkflow(contract.CheckoutWorkflow, cartOrder)
	require.NoError(e.t, e.GetWorkflowError())
	require.Len(e.t, e.settledAt, len(e.settles))
	require.Equal(e.t, len(e.inquiries), e.inquired)
	for number, answers := range e.calls {
		require.Len(e.t, e.calledAt[number], len(answers), "calls of line %d", number)
	}
	var settled contract.SettledCheckout
	require.NoError(e.t, e.GetWorkflowResult(&settled))
	require.Equal(e.t, settledAs(status), settled)
}

// The first try and as many retries as it takes, ten seconds apart.
func TestCheckoutDeliveryIsRetried(t *testing.T) {
	t.Parallel()
	for failures := range 4 {
		t.Run(fmt.Sprint(failures, " failures"), func(t *testing.T) {
			t.Parallel()
			var answers []any
			var at []time.Duration
			for k := range failures {
				answers, at = append(answers, deliveryError(timeout)), append(at, time.Duration(k)*10*time.Second)
			}
			e := newDeliveryEnv(t, map[int][]any{1: append(answers, credited)}, paidWith(lineOf(1)), settledAs(checkout.Done))
			e.requireEnd(checkout.Done)
			require.Equal(t, append(at, time.Duration(failures)*10*time.Second), e.calledAt[1])
			require.Equal(t, []contract.Outcome{credited}, e.recorded)
		})
	}
}

func TestCheckoutDeliveryIsRefused(t *testing.T) {
	t.Parallel()
	for failures := range 4 {
		var answers []any
		for range failures {
			answers = append(answers, deliveryError(timeout))
		}
		e := newDeliveryEnv(t, map[int][]any{1: append(answers, refused)}, paidWith(lineOf(1)), settledAs(checkout.Canceled))
		e.requireEnd(checkout.Canceled)
		require.Equal(t, []contract.Outcome{refused}, e.recorded, "a refusal is not tried again")
	}
}

// After the last try the main product is asked what became of it. Only a credit is believed.
func TestCheckoutDeliveryWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	failed := deliveryError(timeout)
	for name, test := range map[string]struct {
		inquiry []any
		want    contract.Outcome
		status  checkout.OrderStatus
	}{
		"no endpoint":       {[]any{noAnswer}, timeout, checkout.Paid},
		"credited":          {[]any{credited}, credited, checkout.Done},
		"refused":           {[]any{refused}, timeout, checkout.Paid},
		"never received":    {[]any{contract.Outcome{Kind: contract.NotFound}}, timeout, checkout.Paid},
		"no answer to that": {[]any{failed, failed, failed}, timeout, checkout.Paid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newDeliveryEnv(t, map[int][]any{1: {failed, failed, failed, failed}}, paidWith(lineOf(1)), settledAs(test.status))
			e.inquiries = test.inquiry
			e.requireEnd(test.status)
			require.Equal(t, []contract.Outcome{test.want}, e.recorded)
		})
	}
}

// A worker that dies leaves no report, only Temporal's timeout.
func TestCheckoutDeliveryThatBringsNoReport(t *testing.T) {
	t.Parallel()
	lost := temporal.NewTimeoutError(1, nil)
	e := newDeliveryEnv(t, map[int][]any{1: {lost, lost, lost, lost}}, paidWith(lineOf(1)), settledAs(checkout.Paid))
	e.inquiries = []any{noAnswer}
	e.requireEnd(checkout.Paid)
	require.Equal(t, []any{contract.Unknown, "no_report"}, []any{e.recorded[0].Kind, e.recorded[0].Error})
}

// Lines do not wait for each other, and each is written down when its answer is there.
func TestCheckoutDeliversLinesAtTheSameTime(t *testing.T) {
	t.Parallel()
	failed := deliveryError(timeout)
	e := newDeliveryEnv(t, map[int][]any{1: {failed, credited}, 2: {credited}, 3: {failed, failed, failed, failed}}, paidWith(lineOf(1), lineOf(2), lineOf(3)), settledAs(checkout.Paid))
	e.inquiries = []any{noAnswer}
	e.requireEnd(checkout.Paid)
	require.Equal(t, []time.Duration{0, 10 * time.Second}, e.calledAt[1])
	require.Equal(t, []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}, e.calledAt[3])
	require.Equal(t, []contract.OutcomeKind{contract.Credited, contract.Credited, contract.Unknown}, []contract.OutcomeKind{e.recorded[0].Kind, e.recorded[1].Kind, e.recorded[2].Kind})
}

// The number of retries is the item's.
func TestCheckoutDeliveryWithoutRetries(t *testing.T) {
	t.Parallel()
	line := lineOf(1)
	line.Settings.Retries = 0
	e := newDeliveryEnv(t, map[int][]any{1: {deliveryError(timeout)}}, paidWith(line), settledAs(checkout.Paid))
	e.inquiries = []any{noAnswer}
	e.requireEnd(checkout.Paid)
}

// What may have been credited in an earlier round is asked about before it is called again.
func TestCheckoutDeliveredAgain(t *testing.T) {
	t.Parallel()
	line := lineOf(1)
	line.Round, line.Suspected = 2, true
	found := newDeliveryEnv(t, map[int][]any{1: nil}, paidWith(line), settledAs(checkout.Done))
	found.inquiries = []any{credited}
	found.requireEnd(checkout.Done)

	called := newDeliveryEnv(t, map[int][]any{1: {credited}}, paidWith(line), settledAs(checkout.Done))
	called.inquiries = []any{contract.Outcome{Kind: contract.NotFound}}
	called.requireEnd(checkout.Done)
}

// It was refunded before the first call was made: nothing is sent, and nothing written down.
func TestCheckoutDeliveryThatIsNotDue(t *testing.T) {
	t.Parallel()
	e := newDeliveryEnv(t, map[int][]any{1: {contract.Outcome{Kind: contract.NotDue}}}, paidWith(lineOf(1)), settledAs(checkout.Canceled))
	e.requireEnd(checkout.Canceled)
	require.Empty(t, e.recorded)
}

// The answer was another order's: this one has none.
func TestCheckoutDeliveryOfAnothersTransaction(t *testing.T) {
	t.Parallel()
	e := newDeliveryEnv(t, map[int][]any{1: {credited}}, paidWith(lineOf(1)), settledAs(checkout.Paid))
	e.records = []any{temporal.NewNonRetryableApplicationError("clash", contract.ErrorTypeTransactionClash, nil), contract.RecordedDelivery{Delivery: checkout.DeliverySuspected}}
	e.requireEnd(checkout.Paid)
	require.Equal(t, "transaction_of_another_order", e.recorded[1].Error)
}

// While the database is away the note is tried again; the main product is not asked again.
func TestCheckoutDeliveryOutlastsTheDatabase(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	e := newDeliveryEnv(t, map[int][]any{1: {credited}}, paidWith(lineOf(1)), settledAs(checkout.Done))
	e.records = []any{away, away, contract.RecordedDelivery{Delivery: checkout.DeliveryDelivered}}
	e.requireEnd(checkout.Done)
	require.Len(t, e.recorded, 3)
}

// An operator cancels the run in the middle: what is paid for is asked for all the same, to the end.
func TestCheckoutRunIsCanceledDuringDelivery(t *testing.T) {
	t.Parallel()
	e := newDeliveryEnv(t, map[int][]any{1: {deliveryError(timeout), credited}}, paidWith(lineOf(1)), settledAs(checkout.Done))
	e.RegisterDelayedCallback(e.CancelWorkflow, 5*time.Second)
	e.requireEnd(checkout.Done)
}

// A refund or an admin's word during the delivery only costs the look that comes anyway.
func TestCheckoutSignaledDuringDelivery(t *testing.T) {
	t.Parallel()
	e := newDeliveryEnv(t, map[int][]any{1: {deliveryError(timeout), credited}}, paidWith(lineOf(1)), settledAs(checkout.Done))
	e.signalAt(5 * time.Second)
	e.requireEnd(checkout.Done)
}
