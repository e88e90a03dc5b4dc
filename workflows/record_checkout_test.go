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
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
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
	told   bool                                     // the main product gives a part of it
	// What the main product does wrong, and whether it can be asked what became of an order.
	product []fake.Behaviour
	inquiry bool
}

const localCheckout, deliverCheckout, inquireCheckout, recordCheckout = "local SettleCheckout", "DeliverCheckout", "InquireCheckout", "RecordCheckoutDelivery"

var checkoutScenarios = []checkoutScenario{
	{name: "checkout_paid_and_done", status: checkout.Done, ttl: time.Hour, before: payOrder, steps: []string{localCheckout}},
	{name: "checkout_paid_while_it_waited", status: checkout.Done, ttl: time.Hour, during: payOrder, steps: []string{localCheckout, timer, signal, localCheckout}},
	{name: "checkout_expired", status: checkout.Expired, ttl: 2 * time.Second, steps: []string{localCheckout, timer, localCheckout}},
	{name: "checkout_canceled_by_its_user", status: checkout.Canceled, ttl: time.Hour, during: cancelOrder, steps: []string{localCheckout, timer, signal, localCheckout}},
	{name: "checkout_refunded", status: checkout.Canceled, ttl: time.Hour, before: refundOrder, steps: []string{localCheckout}},
	{name: "checkout_database_away", status: checkout.Done, ttl: time.Hour, before: payOrder, fails: true, steps: []string{localCheckout, "SettleCheckout"}},
	{name: "checkout_run_canceled", ttl: time.Hour, during: cancelCheckoutRun, steps: []string{localCheckout, timer, "cancel", localCheckout}},
	{name: "checkout_delivered_by_the_main_product", status: checkout.Done, ttl: time.Hour, before: payOrder, told: true,
		steps: []string{localCheckout, deliverCheckout, recordCheckout, localCheckout}},
	{name: "checkout_delivery_retried", status: checkout.Done, ttl: time.Hour, before: payOrder, told: true, product: times(2, failingCredit),
		steps: []string{localCheckout, deliverCheckout, recordCheckout, localCheckout}},
	{name: "checkout_delivery_refused", status: checkout.Canceled, ttl: time.Hour, before: payOrder, told: true, product: []fake.Behaviour{{Kind: fake.Refuse}},
		steps: []string{localCheckout, deliverCheckout, recordCheckout, localCheckout}},
	{name: "checkout_delivery_suspected", status: checkout.Paid, ttl: time.Hour, before: payOrder, told: true, product: []fake.Behaviour{failingCredit},
		steps: []string{localCheckout, deliverCheckout, inquireCheckout, recordCheckout, localCheckout}},
	{name: "checkout_delivery_found_credited", status: checkout.Done, ttl: time.Hour, before: payOrder, told: true, inquiry: true, product: []fake.Behaviour{{Kind: fake.Drop, CreditFirst: true}},
		steps: []string{localCheckout, deliverCheckout, inquireCheckout, recordCheckout, localCheckout}},
	{name: "checkout_delivered_again", status: checkout.Done, ttl: time.Hour, before: decideDeliverAgain, told: true, inquiry: true,
		steps: []string{localCheckout, inquireCheckout, deliverCheckout, recordCheckout, localCheckout}},
	{name: "checkout_run_canceled_during_delivery", status: checkout.Done, ttl: time.Hour, before: payOrder, during: cancelCheckoutRun, told: true, product: times(2, failingCredit),
		steps: []string{localCheckout, deliverCheckout, "cancel", recordCheckout, localCheckout}},
}

var failingCredit = fake.Behaviour{Kind: fake.ErrorStatus, Status: 503}

// recordedPart is what the main product gives for a piece; it is asked again every second.
func recordedPart(told bool) *catalog.MainProduct {
	if !told {
		return nil
	}
	part := &catalog.MainProduct{
		Integration: store.Integration{
			ResourceType: catalog.DefaultResourceType,
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(100),
			Currency:     "credits",
		},
		Delivery: store.DefaultDelivery(),
	}
	part.Delivery.RetryIntervalSeconds = 1
	return part
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
	product := testkit.NewMainProduct(t)
	product.Misbehave(t, s.product...)
	testkit.AddUser(t, r.db, "12345", 0)
	item, _, err := r.db.CreateItem(t.Context(), postgres.NewItem{
		ProjectID: testkit.Project,
		Actor:     "test",
		Item: catalog.Item{
			SKU:             "gun_1",
			Type:            catalog.VirtualGood,
			VirtualItemType: catalog.Consumable,
			Status:          catalog.Published,
			Name:            catalog.Text{"en": "Basic Blaster"},
			MainProduct:     recordedPart(s.told),
			Prices:          []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}},
		},
	}, time.Now())
	require.NoError(t, err)
	made, err := r.db.CreateCheckout(t.Context(), postgres.NewCheckout{
		Form:    checkout.PaidItem,
		Wanted:  []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     s.ttl,
		Shopper: postgres.Shopper{
			ProjectID: testkit.Project,
			UserID:    "12345",
			Catalog:   catalog.New([]catalog.Item{item}, nil),
			View:      catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()},
		},
	})
	require.NoError(t, err)
	r.in = contract.CheckoutInput{ProjectID: testkit.Project, OrderID: made.OrderID, UserID: "12345"}
	if s.before != nil {
		s.before(t, r)
	}
	settle := &activities.Checkout{DB: r.db, Product: product.Client(t, s.inquiry), OrderChanged: func(string) {}}
	looks := 0
	startWorker(t, r.engine.Client, contract.MainProductTaskQueue, sdkworker.Options{DisableWorkflowWorker: true},
		map[string]any{contract.DeliverCheckoutActivity: settle.Deliver, contract.InquireCheckoutActivity: settle.Inquire}, nil)
	startWorker(t, r.engine.Client, contract.TaskQueue, sdkworker.Options{}, map[string]any{contract.RecordCheckoutDeliveryActivity: settle.RecordDelivery, contract.SettleCheckoutActivity: func(ctx context.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
		if looks++; s.fails && looks == 1 {
			return contract.SettledCheckout{}, errors.New("the database is away")
		}
		return settle.SettleCheckout(ctx, in)
	}}, nil)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            contract.CheckoutWorkflowID(made.OrderID),
		TaskQueue:     contract.TaskQueue,
		StaticSummary: "order 1 of 12345",
	},
		contract.CheckoutWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		wanted := enumspb.EVENT_TYPE_TIMER_STARTED
		if s.told {
			wanted = enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
		}
		r.await(t, wanted)
		s.during(t, r)
	}
	err = run.Get(t.Context(), nil)
	require.Equal(t, s.status == "", err != nil, "%v", err)
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

func (r *checkoutRecording) await(t *testing.T, wanted enumspb.EventType) {
	t.Helper()
	testkit.Eventually(t, wanted.String(), func(ctx context.Context) error {
		events := r.engine.Client.GetWorkflowHistory(ctx, contract.CheckoutWorkflowID(r.in.OrderID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			found, err := events.Next()
			if err != nil || found.GetEventType() == wanted {
				return err
			}
		}
		return errors.New("not yet")
	})
}

// tell sends the signal, if the workflow has been started.
func (r *checkoutRecording) tell(t *testing.T) {
	t.Helper()
	err := r.engine.Client.SignalWorkflow(t.Context(), contract.CheckoutWorkflowID(r.in.OrderID), "", contract.ChangedSignal, nil)
	if err != nil {
		require.ErrorContains(t, err, "not found")
	}
}

func payOrder(t *testing.T, r *checkoutRecording) {
	recorded, err := r.db.RecordPayment(t.Context(), r.in.OrderID, checkout.Payment{
		Provider:   "sandbox",
		ProviderID: "p1",
		Amount:     decimal.RequireFromString("1.99"),
		Currency:   "USD",
		Sandbox:    true,
	}, time.Now())
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
	_, _, err := r.db.RefundCheckout(t.Context(), postgres.CheckoutRefund{
		ProjectID: testkit.Project,
		OrderID:   r.in.OrderID,
		Reason:    "test",
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
}

func cancelCheckoutRun(t *testing.T, r *checkoutRecording) {
	require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.CheckoutWorkflowID(r.in.OrderID), ""))
}

// decideDeliverAgain leaves an order whose first call timed out, and an admin's word to deliver it again.
func decideDeliverAgain(t *testing.T, r *checkoutRecording) {
	payOrder(t, r)
	settled, err := r.db.SettleCheckout(t.Context(), r.in.OrderID, time.Now())
	require.NoError(t, err)
	_, err = r.db.BeginCheckoutDelivery(t.Context(), settled.Deliveries[0], time.Now())
	require.NoError(t, err)
	_, err = r.db.RecordDelivery(t.Context(), contract.RecordDeliveryInput{Delivery: settled.Deliveries[0], Outcome: timeout}, time.Now())
	require.NoError(t, err)
	_, err = r.db.DecideDelivery(t.Context(), postgres.DeliveryDecision{
		ProjectID: testkit.Project,
		OrderID:   r.in.OrderID,
		Number:    1,
		Decision:  checkout.DeliverAgain,
		Reason:    "test",
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
}
