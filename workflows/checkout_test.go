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

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/worker"
)

var cartOrder = contract.CheckoutInput{ProjectID: 1, OrderID: 41, UserID: "12345"}

func unpaidUntil(at time.Time) contract.SettledCheckout {
	return contract.SettledCheckout{Status: checkout.New, Until: &at}
}

func settledAs(status checkout.OrderStatus) contract.SettledCheckout {
	return contract.SettledCheckout{Status: status}
}

// checkoutEnv is an order whose looks bring these answers, one after the other; more looks than answers fail
// the test, and so do fewer.
type checkoutEnv struct {
	*testsuite.TestWorkflowEnvironment
	t         *testing.T
	settles   []any // contract.SettledCheckout or error
	settledAt []time.Duration
}

func newCheckoutEnv(t *testing.T, settles ...any) *checkoutEnv {
	var suite testsuite.WorkflowTestSuite
	e := &checkoutEnv{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, settles: settles}
	e.SetStartTime(noon)
	e.SetWorkflowRunTimeout(20 * 365 * 24 * time.Hour)
	worker.RegisterWorkflows(e)
	e.RegisterActivityWithOptions(func(_ context.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
		require.Equal(t, cartOrder, in)
		e.settledAt = append(e.settledAt, e.Now().Sub(noon))
		return next[contract.SettledCheckout](t, e.settles, len(e.settledAt)-1)
	}, activity.RegisterOptions{Name: contract.SettleCheckoutActivity})
	return e
}

func (e *checkoutEnv) signalAt(at time.Duration) {
	e.RegisterDelayedCallback(func() { e.SignalWorkflow(contract.ChangedSignal, nil) }, at)
}

// requireStatus runs the order to its end; the looks are made at these times.
func (e *checkoutEnv) requireStatus(status checkout.OrderStatus, looks ...time.Duration) {
	e.t.Helper()
	e.ExecuteWorkflow(contract.CheckoutWorkflow, cartOrder)
	require.Equal(e.t, looks, e.settledAt)
	require.Len(e.t, looks, len(e.settles))
	require.NoError(e.t, e.GetWorkflowError())
	var settled contract.SettledCheckout
	require.NoError(e.t, e.GetWorkflowResult(&settled))
	require.Equal(e.t, settledAs(status), settled)
}

// Started with a delay until it expires, or by its payment: one look.
func TestCheckoutIsOverAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []checkout.OrderStatus{checkout.Done, checkout.Expired, checkout.Canceled} {
		newCheckoutEnv(t, settledAs(status)).requireStatus(status, 0)
	}
}

func TestCheckoutWaitsUntilItExpires(t *testing.T) {
	t.Parallel()
	newCheckoutEnv(t, unpaidUntil(noon.Add(24*time.Hour)), settledAs(checkout.Expired)).requireStatus(checkout.Expired, 0, 24*time.Hour)
}

// A payment or a cancel ends the wait.
func TestCheckoutThatChangesIsSettledAtOnce(t *testing.T) {
	t.Parallel()
	for status, at := range map[checkout.OrderStatus]time.Duration{checkout.Done: time.Second, checkout.Canceled: time.Hour, checkout.Expired: 24*time.Hour - time.Second} {
		e := newCheckoutEnv(t, unpaidUntil(noon.Add(24*time.Hour)), settledAs(status))
		e.signalAt(at)
		e.requireStatus(status, 0, at)
	}
}

// Signals without a change only cost a look; many in one moment one, and another for those that came during the first.
func TestCheckoutSpuriousSignals(t *testing.T) {
	t.Parallel()
	open := unpaidUntil(noon.Add(time.Hour))
	e := newCheckoutEnv(t, open, open, open, open, settledAs(checkout.Expired))
	e.RegisterDelayedCallback(func() {
		for range 20 {
			e.SignalWorkflow(contract.ChangedSignal, nil)
		}
	}, time.Minute)
	e.signalAt(2 * time.Minute)
	e.requireStatus(checkout.Expired, 0, time.Minute, time.Minute, 2*time.Minute, time.Hour)
}

// The database's clock is behind ours: it is asked again, without spinning.
func TestCheckoutWaitsForAClockBehind(t *testing.T) {
	t.Parallel()
	newCheckoutEnv(t, unpaidUntil(noon.Add(-time.Hour)), settledAs(checkout.Expired)).requireStatus(checkout.Expired, 0, time.Second)
}

// While the database is away the step is tried again until it is back: an order that is paid is delivered in the end.
func TestCheckoutOutlastsTheDatabase(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	e := newCheckoutEnv(t, away, away, away, settledAs(checkout.Done))
	e.requireStatus(checkout.Done, 0, 0, time.Second, 3*time.Second)
}

func TestCheckoutThatIsNotThereFails(t *testing.T) {
	t.Parallel()
	gone := temporal.NewNonRetryableApplicationError("not found", "NotFound", nil)
	e := newCheckoutEnv(t, gone, gone)
	e.ExecuteWorkflow(contract.CheckoutWorkflow, cartOrder)
	require.Error(t, e.GetWorkflowError())
	require.Len(t, e.settledAt, 2, "as a local activity and as a regular one")
}

// An operator cancels the run: what is due is done all the same, what waits goes on without it.
func TestCheckoutRunIsCanceled(t *testing.T) {
	t.Parallel()
	open := unpaidUntil(noon.Add(time.Hour))
	e := newCheckoutEnv(t, open, open)
	e.RegisterDelayedCallback(e.CancelWorkflow, time.Minute)
	e.ExecuteWorkflow(contract.CheckoutWorkflow, cartOrder)
	require.True(t, temporal.IsCanceledError(e.GetWorkflowError()), "%v", e.GetWorkflowError())

	paid := newCheckoutEnv(t, open, settledAs(checkout.Done))
	paid.RegisterDelayedCallback(paid.CancelWorkflow, time.Minute)
	paid.requireStatus(checkout.Done, 0, time.Minute)
}

func TestCheckoutContinuesAsNew(t *testing.T) {
	t.Parallel()
	open := unpaidUntil(noon.Add(time.Hour))
	e := newCheckoutEnv(t, open)
	e.SetContinueAsNewSuggested(true)
	e.signalAt(time.Minute)
	e.ExecuteWorkflow(contract.CheckoutWorkflow, cartOrder)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, e.GetWorkflowError(), &again)
}
