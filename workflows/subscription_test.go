package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/worker"
)

var (
	pass       = contract.SubscriptionInput{ProjectID: 1, UserID: "12345", SKU: "battle-pass"}
	passJitter = subscriptions.Jitter(contract.SubscriptionWorkflowID(pass))
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// passEnv is a subscription whose row is kept here, and decided about by the rules and the clock of the test,
// as by the database.
type passEnv struct {
	*testsuite.TestWorkflowEnvironment
	t      *testing.T
	row    subscriptions.Subscription
	last   subscriptions.Extension
	lead   time.Duration
	told   subscriptions.Told
	fails  int // so many looks fail first
	looks  []time.Duration
	events []string // what the user was told, with the day
	at     []time.Duration
}

func newPassEnv(t *testing.T, lead time.Duration) *passEnv {
	var suite testsuite.WorkflowTestSuite
	e := &passEnv{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, lead: lead}
	e.SetStartTime(noon)
	e.SetWorkflowRunTimeout(20 * year)
	worker.RegisterWorkflows(e)
	e.RegisterActivityWithOptions(e.settle, activity.RegisterOptions{Name: contract.SettleSubscriptionActivity})
	return e
}

func (e *passEnv) settle(_ context.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
	require.Equal(e.t, pass, in)
	e.looks = append(e.looks, e.Now().Sub(noon))
	if e.fails > 0 {
		e.fails--
		return contract.SettledSubscription{}, errors.New("away")
	}
	notice := e.row.Notice(e.lead, e.told, e.Now())
	switch {
	case notice.Remind:
		e.told.Reminded = e.row.ExpiresAt
		e.tell("reminded")
	case notice.End:
		e.told.Ended = e.row.ExpiresAt
		e.tell("ended")
	}
	return contract.SettledSubscription{Status: e.row.Status(e.Now()), Until: notice.Until}, nil
}

func (e *passEnv) tell(what string) {
	e.events, e.at = append(e.events, what), append(e.at, e.Now().Sub(noon))
}

// buy extends it by so many days, as the database does; the first time is now.
func (e *passEnv) buy(id string, days int) {
	var err error
	e.row, e.last, err = e.row.Extend(id, subscriptions.Period{Unit: subscriptions.Day, Value: days}, 1, e.Now(), time.UTC)
	require.NoError(e.t, err)
}

// change does something with the row and then signals, as the sweep does.
func (e *passEnv) change(at time.Duration, f func()) {
	e.RegisterDelayedCallback(func() {
		f()
		e.SignalWorkflow(contract.ChangedSignal, nil)
	}, at)
}

func (e *passEnv) requireStatus(status subscriptions.Status) {
	e.t.Helper()
	e.ExecuteWorkflow(contract.SubscriptionWorkflow, pass)
	require.NoError(e.t, e.GetWorkflowError())
	var settled contract.SettledSubscription
	require.NoError(e.t, e.GetWorkflowResult(&settled))
	require.Equal(e.t, contract.SettledSubscription{Status: status}, settled)
}

func TestSubscriptionRemindsAndEnds(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, day)
	e.buy("a", 30)
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []string{"reminded", "ended"}, e.events)
	require.Equal(t, []time.Duration{29*day + passJitter, 30*day + passJitter}, e.at)
	require.Len(t, e.looks, 3)
}

func TestSubscriptionWithoutReminderEnds(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []string{"ended"}, e.events)
}

// The run wakes, sees the later expiry, and sleeps on: told once, of the expiry that counted.
func TestSubscriptionExtendedWhileItWaits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at     time.Duration
		events []string
	}{
		"before the reminder": {10 * day, []string{"reminded", "ended"}},
		"after the reminder":  {29*day + time.Hour, []string{"reminded", "reminded", "ended"}},
		"in its last second":  {30*day - time.Second, []string{"reminded", "reminded", "ended"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newPassEnv(t, day)
			e.buy("a", 30)
			e.change(test.at, func() { e.buy("b", 30) })
			e.requireStatus(subscriptions.Expired)
			require.Equal(t, test.events, e.events)
			require.Equal(t, 60*day+passJitter, e.at[len(e.at)-1])
		})
	}
}

// A signal that never comes costs nothing but a look at the old expiry.
func TestSubscriptionExtendedWithoutASignal(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.RegisterDelayedCallback(func() { e.buy("b", 30) }, day)
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []time.Duration{0, 30*day + passJitter, 60*day + passJitter}, e.looks)
	require.Equal(t, []string{"ended"}, e.events)
}

func TestSubscriptionRevokedWhileItWaits(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, day)
	e.buy("a", 30)
	e.change(10*day, func() { e.row, _ = e.row.Revoke(e.Now()) })
	e.requireStatus(subscriptions.None)
	require.Empty(t, e.events)
	require.Equal(t, []time.Duration{0, 10 * day}, e.looks)
}

func TestSubscriptionRefundedWhileItWaits(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.buy("b", 30)
	e.change(10*day, func() { e.row, _ = e.row.Refund(e.last, e.Now()) })
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []time.Duration{30*day + passJitter}, e.at)

	whole := newPassEnv(t, 0)
	whole.buy("a", 30)
	whole.change(10*day, func() { whole.row, _ = whole.row.Refund(whole.last, whole.Now()) })
	whole.requireStatus(subscriptions.Expired)
	require.Equal(t, []time.Duration{10 * day}, whole.at)
}

// Revoked and bought again between two looks: one run goes on with what is there.
func TestSubscriptionBoughtAgainBetweenLooks(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.change(10*day, func() {
		e.row, _ = e.row.Revoke(e.Now())
		e.buy("b", 5)
	})
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []string{"ended"}, e.events)
	require.Equal(t, []time.Duration{15*day + passJitter}, e.at)
}

func TestSubscriptionNapsForYears(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 3*365+1)
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []time.Duration{0, year, 2 * year, 3 * year, 3*year + day + passJitter}, e.looks)
}

func TestSubscriptionSignalsWithoutAChangeCostALook(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.RegisterDelayedCallback(func() {
		for range 20 {
			e.SignalWorkflow(contract.ChangedSignal, nil)
		}
	}, time.Minute)
	e.requireStatus(subscriptions.Expired)
	require.LessOrEqual(t, len(e.looks), 4)
	require.Equal(t, []string{"ended"}, e.events)
}

func TestSettlingASubscriptionNeverGivesUp(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.fails = 3
	e.requireStatus(subscriptions.Expired)
	require.Equal(t, []string{"ended"}, e.events)
}

func TestSubscriptionWithALongHistoryStartsAnew(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.SetContinueAsNewSuggested(true)
	e.change(time.Minute, func() {})
	e.ExecuteWorkflow(contract.SubscriptionWorkflow, pass)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, e.GetWorkflowError(), &again)
	require.Len(t, e.looks, 1)
}

func TestSubscriptionCanceledByAnOperatorEnds(t *testing.T) {
	t.Parallel()
	e := newPassEnv(t, 0)
	e.buy("a", 30)
	e.RegisterDelayedCallback(e.CancelWorkflow, day)
	e.ExecuteWorkflow(contract.SubscriptionWorkflow, pass)
	require.Error(t, e.GetWorkflowError())
	require.Empty(t, e.events)
}
