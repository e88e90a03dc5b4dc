package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// checkoutScenario is an order that is recorded on a real server, and what its history must hold.
type checkoutScenario struct {
	name   string
	status checkout.OrderStatus // of the result; empty: the run ends as canceled
	steps  []string
	ttl    time.Duration
	before func(t *testing.T, r *checkoutRecording) // the workflow starts
	during func(t *testing.T, r *checkoutRecording) // it waits
	fails  bool                                     // the first look
}

const localCheckout = "local SettleCheckout"

var checkoutScenarios = []checkoutScenario{
	{name: "checkout_paid_and_done", status: checkout.Done, ttl: time.Hour, before: payOrder, steps: []string{localCheckout}},
	{name: "checkout_paid_while_it_waited", status: checkout.Done, ttl: time.Hour, during: payOrder, steps: []string{localCheckout, timer, signal, localCheckout}},
	{name: "checkout_expired", status: checkout.Expired, ttl: 2 * time.Second, steps: []string{localCheckout, timer, localCheckout}},
	{name: "checkout_canceled_by_its_user", status: checkout.Canceled, ttl: time.Hour, during: cancelOrder, steps: []string{localCheckout, timer, signal, localCheckout}},
	{name: "checkout_refunded", status: checkout.Canceled, ttl: time.Hour, before: refundOrder, steps: []string{localCheckout}},
	{name: "checkout_database_away", status: checkout.Done, ttl: time.Hour, before: payOrder, fails: true, steps: []string{localCheckout, "SettleCheckout"}},
	{name: "checkout_run_canceled", ttl: time.Hour, during: cancelCheckoutRun, steps: []string{localCheckout, timer, "cancel", localCheckout}},
}

// checkoutRecording is an order on real parts.
type checkoutRecording struct {
	engine testkit.Engine
	db     *postgres.DB
	in     contract.CheckoutInput
}

func (s checkoutScenario) record(t *testing.T) {
	t.Helper()
	r := &checkoutRecording{engine: testkit.Temporal(t), db: testkit.Database(t)}
	testkit.AddUser(t, r.db, "12345", 0)
	item, _, err := r.db.CreateItem(t.Context(), postgres.NewItem{ProjectID: testkit.Project, Actor: "test", Item: catalog.Item{SKU: "gun_1", Type: catalog.VirtualGood,
		VirtualItemType: catalog.Consumable, Status: catalog.Published, Name: catalog.Text{"en": "Basic Blaster"}, Prices: []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}}}}, time.Now())
	require.NoError(t, err)
	made, err := r.db.CreateCheckout(t.Context(), postgres.NewCheckout{Form: checkout.PaidItem, Wanted: []checkout.Wanted{{SKU: "gun_1", Quantity: 1}}, Sandbox: true, Zone: time.UTC, TTL: s.ttl,
		Shopper: postgres.Shopper{ProjectID: testkit.Project, UserID: "12345", Catalog: catalog.New([]catalog.Item{item}, nil), View: catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()}}})
	require.NoError(t, err)
	r.in = contract.CheckoutInput{ProjectID: testkit.Project, OrderID: made.OrderID, UserID: "12345"}
	if s.before != nil {
		s.before(t, r)
	}
	settle := &activities.Checkout{DB: r.db, OrderChanged: func(string) {}}
	looks := 0
	startWorker(t, r.engine.Client, contract.TaskQueue, sdkworker.Options{}, map[string]any{contract.SettleCheckoutActivity: func(ctx context.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
		if looks++; s.fails && looks == 1 {
			return contract.SettledCheckout{}, errors.New("the database is away")
		}
		return settle.SettleCheckout(ctx, in)
	}}, nil)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: contract.CheckoutWorkflowID(made.OrderID), TaskQueue: contract.TaskQueue, StaticSummary: "order 1 of 12345"},
		contract.CheckoutWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		r.awaitTimer(t)
		s.during(t, r)
	}
	err = run.Get(t.Context(), nil)
	require.Equal(t, s.status == "", err != nil, "%v", err)
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

func (r *checkoutRecording) awaitTimer(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "the order waits", func(ctx context.Context) error {
		events := r.engine.Client.GetWorkflowHistory(ctx, contract.CheckoutWorkflowID(r.in.OrderID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			found, err := events.Next()
			if err != nil || found.GetEventType() == enumspb.EVENT_TYPE_TIMER_STARTED {
				return err
			}
		}
		return errors.New("not yet")
	})
}

// tell sends the signal, if the workflow has been started.
func (r *checkoutRecording) tell(t *testing.T) {
	t.Helper()
	err := r.engine.Client.SignalWorkflow(t.Context(), contract.CheckoutWorkflowID(r.in.OrderID), "", contract.CheckoutChangedSignal, nil)
	if err != nil {
		require.ErrorContains(t, err, "not found")
	}
}

func payOrder(t *testing.T, r *checkoutRecording) {
	recorded, err := r.db.RecordPayment(t.Context(), r.in.OrderID, checkout.Payment{Provider: "sandbox", ProviderID: "p1", Amount: decimal.RequireFromString("1.99"), Currency: "USD", Sandbox: true}, time.Now())
	require.NoError(t, err)
	require.Equal(t, checkout.Accepted, recorded.Outcome)
	r.tell(t)
}

func cancelOrder(t *testing.T, r *checkoutRecording) {
	_, err := r.db.CancelCheckout(t.Context(), testkit.Project, "12345", r.in.OrderID, time.Now())
	require.NoError(t, err)
	r.tell(t)
}

func refundOrder(t *testing.T, r *checkoutRecording) {
	payOrder(t, r)
	_, _, err := r.db.RefundCheckout(t.Context(), postgres.CheckoutRefund{ProjectID: testkit.Project, OrderID: r.in.OrderID, Reason: "test", Actor: "test"}, time.Now())
	require.NoError(t, err)
}

func cancelCheckoutRun(t *testing.T, r *checkoutRecording) {
	require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.CheckoutWorkflowID(r.in.OrderID), ""))
}
