package workflows_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// anonymous replaces the identity of workers and clients, which is pid@host, and the name of their sticky queue,
// which is host:uuid.
const (
	anonymous  = "quickpass"
	stickyKind = "TASK_QUEUE_KIND_STICKY"
)

// scenario is a purchase that is recorded on a real server, and what its history must hold.
type scenario struct {
	name    string
	status  store.OrderStatus
	reason  store.ReasonCode
	refusal store.Code
	steps   []string

	userID   string // "12345" unless given
	product  []fake.Behaviour
	inquiry  bool // the product can be asked
	delivery store.DeliverySettings
	// before runs before the workflow is started, during while it runs.
	before, during func(t *testing.T, r *recording)
	confirm        time.Duration // how long the buyer has to confirm; 0: need not
	attempt        int           // 1 unless given
	unreserved     bool          // the API did not reserve the order
	// replace takes the place of activities, to make happen what the fake product can't.
	replace func(r *recording) map[string]any
}

// quick are delivery settings that make a recording take seconds.
var quick = store.DeliverySettings{Method: "api_call", TimeoutSeconds: 30, Retries: 2, RetryIntervalSeconds: 1}

func with(change func(*store.DeliverySettings)) store.DeliverySettings {
	settings := quick
	change(&settings)
	return settings
}

var (
	failing   = fake.Behaviour{Kind: fake.ErrorStatus, Status: 503}
	crediting = fake.Behaviour{Kind: fake.Drop, CreditFirst: true} // credits, and nobody is told
	slow      = fake.Behaviour{Kind: fake.Delay, DelayMS: contract.FirstDeliveryBound.Milliseconds() + 1500}
)

const (
	localReserve, localDeliver, localCapture = "local Reserve", "local DeliverFirst", "local Capture"
	timer                                    = "timer"
)

var scenarios = []scenario{
	{name: "credited_at_once", status: store.Completed, steps: []string{localReserve, localDeliver, localCapture}},
	{name: "reserved_by_the_workflow", status: store.Completed, unreserved: true, steps: []string{localReserve, localDeliver, localCapture}},
	{name: "refused_by_our_rules", status: store.Canceled, refusal: store.InsufficientCoins, userID: "poor", unreserved: true, steps: []string{localReserve}},
	{name: "refused_by_the_main_product", status: store.Canceled, reason: store.MainProductRefused, userID: "ghost",
		steps: []string{localReserve, localDeliver, "Release"}},
	{name: "refused_for_the_products_funds", status: store.Canceled, reason: store.MainProductInsufficientFunds,
		product: []fake.Behaviour{{Kind: fake.Refuse, Code: fake.CodeInsufficientFunds}}, steps: []string{localReserve, localDeliver, "Release"}},
	{name: "retried_then_credited", status: store.Completed, product: []fake.Behaviour{{Kind: fake.ErrorStatus, Calls: 2}},
		steps: []string{localReserve, localDeliver, timer, "Deliver", localCapture}},
	{name: "retried_then_refused", status: store.Canceled, reason: store.MainProductRefused, userID: "ghost", product: []fake.Behaviour{{Kind: fake.ErrorStatus, Calls: 1}},
		steps: []string{localReserve, localDeliver, timer, "Deliver", "Release"}},
	{name: "all_retries_failed", status: store.Canceled, reason: store.MainProductUnreachable, product: []fake.Behaviour{failing},
		steps: []string{localReserve, localDeliver, timer, "Deliver", "Inquire", "Release"}},
	{name: "no_retries", status: store.Canceled, reason: store.MainProductUnreachable, product: []fake.Behaviour{failing},
		delivery: with(func(s *store.DeliverySettings) { s.Retries = 0 }), steps: []string{localReserve, localDeliver, "Inquire", "Release"}},
	{name: "all_retries_failed_then_found_credited", status: store.Completed, product: []fake.Behaviour{crediting}, inquiry: true,
		steps: []string{localReserve, localDeliver, timer, "Deliver", "Inquire", localCapture}},
	{name: "all_retries_failed_then_found_refused", status: store.Canceled, reason: store.MainProductRefused, userID: "ghost", product: []fake.Behaviour{{Kind: fake.Truncated}}, inquiry: true,
		steps: []string{localReserve, localDeliver, timer, "Deliver", "Inquire", "Release"}},
	{name: "all_retries_failed_then_found_unknown", status: store.Canceled, reason: store.MainProductUnreachable, product: []fake.Behaviour{failing}, inquiry: true,
		steps: []string{localReserve, localDeliver, timer, "Deliver", "Inquire", "Release"}},
	{name: "slow_answer_joined", status: store.Completed, product: []fake.Behaviour{slow},
		steps: []string{localReserve, localDeliver, "Deliver", localCapture}},
	{name: "slow_failure_joined_then_retried", status: store.Completed, product: []fake.Behaviour{{Kind: fake.Hang, Calls: 1}},
		delivery: with(func(s *store.DeliverySettings) { s.TimeoutSeconds = 9 }),
		steps:    []string{localReserve, localDeliver, "Deliver", timer, "Deliver", localCapture}},
	{name: "process_lost", status: store.Completed, product: []fake.Behaviour{{Kind: fake.Hang, Calls: 1}},
		delivery: with(func(s *store.DeliverySettings) { s.TimeoutSeconds = 14 }), // its deadline comes after the join was given up
		replace:  nobodyPolls, steps: []string{localReserve, localDeliver, "Deliver", timer, timer, "Deliver", localCapture}},
	{name: "call_not_found_in_its_process", status: store.Completed, replace: forgetsItsCall,
		steps: []string{localReserve, localDeliver, "Deliver", timer, timer, "Deliver", localCapture}},
	{name: "first_delivery_reports_nothing", status: store.Completed, replace: reportsNothing,
		steps: []string{localReserve, localDeliver, timer, "Deliver", localCapture}},
	{name: "canceled_by_an_operator", status: store.Canceled, reason: store.CanceledByOperator, product: []fake.Behaviour{failing},
		delivery: with(func(s *store.DeliverySettings) { s.RetryIntervalSeconds = 60 }), during: cancelWhen("delivery_failed"),
		steps: []string{localReserve, localDeliver, timer, "cancel", "Release"}},
	{name: "suspect_found_credited", status: store.Completed, inquiry: true, attempt: 2, before: suspectedAttempt,
		steps: []string{localReserve, "Inquire", localCapture}},
	{name: "suspect_delivered_again", status: store.Completed, attempt: 2, before: suspectedAttempt,
		steps: []string{localReserve, "Inquire", localDeliver, localCapture}},
	{name: "confirmed", status: store.Completed, confirm: time.Minute, during: confirmed,
		steps: []string{localReserve, timer, localReserve, localDeliver, localCapture}},
	{name: "not_confirmed", status: store.Canceled, reason: store.NotConfirmed, confirm: 3 * time.Second,
		steps: []string{localReserve, timer, localReserve, "Release"}},
	{name: "over_already", status: store.Completed, before: capturedByAnother, steps: []string{localReserve}},
	{name: "database_away", status: store.Completed, replace: databaseAway,
		steps: []string{localReserve, "Reserve", localDeliver, localCapture, "Capture"}},
	{name: "transaction_of_another_order", status: store.Canceled, reason: store.MainProductUnreachable, before: transactionTaken, replace: creditsAs("tx_taken"),
		steps: []string{localReserve, localDeliver, localCapture, "Capture", "Release"}},
}

// recording is a purchase that runs on real parts.
type recording struct {
	engine   testkit.Engine
	db       *postgres.DB
	product  *testkit.MainProduct
	purchase *activities.Purchase
	delivery *activities.Delivery
	in       contract.PurchaseInput
}

func (s scenario) record(t *testing.T) {
	t.Helper()
	r := &recording{engine: testkit.Temporal(t), db: testkit.Database(t), product: testkit.NewMainProduct(t)}
	sold := testkit.Credits500()
	sold.Delivery = quick
	if s.delivery.Method != "" {
		sold.Delivery = s.delivery
	}
	testkit.AddProduct(t, r.db, sold)
	for id, coins := range map[string]int64{"12345": 1000, "ghost": 1000, "poor": 5} {
		testkit.AddUser(t, r.db, id, coins)
	}
	r.product.Misbehave(t, s.product...)
	r.in = contract.PurchaseInput{
		ProjectID: testkit.Project,
		OrderID:   "qp_" + xid.New().String(),
		UserID:    "12345",
		SKU:       "credits-500",
		Quantity:  1,
		Attempt:   max(s.attempt, 1),
	}
	if s.userID != "" {
		r.in.UserID = s.userID
	}
	if !s.unreserved {
		r.reserve(t, r.in.OrderID, s.confirm)
	}
	if s.before != nil {
		s.before(t, r)
	}
	r.run(t, s)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            contract.PurchaseWorkflowID(r.in.OrderID),
		TaskQueue:     contract.TaskQueue,
		StaticSummary: "1 × credits-500",
	}, contract.PurchaseWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		s.during(t, r)
	}
	require.NoError(t, run.Get(t.Context(), nil))
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

// run starts workers as package worker wires them, apart from what the scenario replaces.
func (r *recording) run(t *testing.T, s scenario) {
	t.Helper()
	r.purchase = &activities.Purchase{DB: r.db, OrderChanged: func(string) {}}
	r.delivery = &activities.Delivery{
		Product:   r.product.Client(t, s.inquiry),
		DB:        r.db,
		Calls:     activities.NewCalls(),
		TaskQueue: "quickpass-main-product/recorder",
	}
	var replaced map[string]any
	if s.replace != nil {
		replaced = s.replace(r)
	}
	start := func(queue string, options sdkworker.Options, names map[string]any) {
		startWorker(t, r.engine.Client, queue, options, names, replaced)
	}
	start(contract.TaskQueue, sdkworker.Options{}, map[string]any{contract.ReserveActivity: r.purchase.Reserve, contract.CaptureActivity: r.purchase.Capture,
		contract.ReleaseActivity: r.purchase.Release, contract.DeliverFirstActivity: r.delivery.DeliverFirst})
	for _, queue := range []string{contract.MainProductTaskQueue, "quickpass-main-product/recorder"} {
		start(queue, sdkworker.Options{DisableWorkflowWorker: true}, map[string]any{contract.DeliverActivity: r.delivery.Deliver, contract.InquireActivity: r.delivery.Inquire})
	}
}

// startWorker polls a queue until the end of the test.
func startWorker(t *testing.T, c client.Client, queue string, options sdkworker.Options, names, replaced map[string]any) {
	t.Helper()
	w := sdkworker.New(c, queue, options)
	if !options.DisableWorkflowWorker {
		worker.RegisterWorkflows(w)
	}
	for name, function := range names {
		if replaced[name] != nil {
			function = replaced[name]
		}
		w.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
}

func (r *recording) reserve(t *testing.T, orderID string, confirm time.Duration) {
	t.Helper()
	_, err := r.db.ReservePurchase(t.Context(), postgres.Purchase{
		ProjectID: testkit.Project,
		OrderID:   orderID,
		UserID:    r.in.UserID,
		SKU:       r.in.SKU,
		Quantity:  1,
		Policy:    store.Policy{LargePurchase: 1, ConfirmWithin: confirm},
	}, time.Now())
	require.NoError(t, err)
}

func (r *recording) capture(t *testing.T, orderID, transaction string) {
	t.Helper()
	_, err := r.db.CaptureOrder(t.Context(), contract.CaptureInput{
		ProjectID: testkit.Project,
		OrderID:   orderID,
		Attempt:   1,
		Credit:    store.Credit{TransactionID: transaction},
	}, time.Now())
	require.NoError(t, err)
}

// suspectedAttempt makes attempt 1 one that was credited without our knowing, and asks for attempt 2.
func suspectedAttempt(t *testing.T, r *recording) {
	t.Helper()
	r.product.Misbehave(t, crediting)
	reservation, err := r.db.FindReservation(t.Context(), r.in.OrderID)
	require.NoError(t, err)
	first := &activities.Delivery{Product: r.product.Client(t, false), DB: r.db, Calls: activities.NewCalls()}
	outcome, err := first.DeliverFirst(t.Context(), contract.DeliveryInput{
		ProjectID: testkit.Project,
		OrderID:   r.in.OrderID,
		UserID:    r.in.UserID,
		Attempt:   1,
		Delivery:  *reservation.Delivery,
	})
	require.NoError(t, err)
	require.True(t, outcome.MaybeCredited)
	_, err = r.db.ReleaseOrder(t.Context(), contract.ReleaseInput{ProjectID: testkit.Project, OrderID: r.in.OrderID, Attempt: 1,
		Reason: store.Reason{Code: store.MainProductUnreachable}, MaybeCredited: true}, time.Now())
	require.NoError(t, err)
	r.product.Misbehave(t)
	_, err = r.db.ReplayOrder(t.Context(), postgres.Replay{
		ProjectID: testkit.Project,
		OrderID:   r.in.OrderID,
		Actor:     "test",
		Reason:    "test",
	}, time.Now())
	require.NoError(t, err)
}

// confirmed is what the API does when the buyer confirms.
func confirmed(t *testing.T, r *recording) {
	t.Helper()
	testkit.Eventually(t, "it waits for the buyer", func(ctx context.Context) error {
		value, err := r.engine.Client.QueryWorkflow(ctx, contract.PurchaseWorkflowID(r.in.OrderID), "", contract.PurchaseProgressQuery)
		if err != nil {
			return err
		}
		var progress contract.PurchaseProgress
		if err := value.Get(&progress); err != nil || progress.Step == "awaiting_confirmation" {
			return err
		}
		return errors.New(progress.Step)
	})
	require.NoError(t, r.db.ConfirmOrder(t.Context(), testkit.Project, r.in.OrderID, time.Now()))
	require.NoError(t, r.engine.Client.SignalWorkflow(t.Context(), contract.PurchaseWorkflowID(r.in.OrderID), "", contract.PurchaseConfirmedSignal, nil))
}

func capturedByAnother(t *testing.T, r *recording) { r.capture(t, r.in.OrderID, "tx_1") }

func transactionTaken(t *testing.T, r *recording) {
	r.reserve(t, "qp_other", 0)
	r.capture(t, "qp_other", "tx_taken")
}

// cancelWhen cancels the workflow as an operator does, after something has happened to the order.
func cancelWhen(event string) func(*testing.T, *recording) {
	return func(t *testing.T, r *recording) {
		testkit.Eventually(t, event, func(context.Context) error {
			events := testkit.Events(t, r.db, r.in.OrderID)
			if events[len(events)-1] == event {
				return nil
			}
			return errors.New("not yet")
		})
		require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.PurchaseWorkflowID(r.in.OrderID), ""))
	}
}

// nobodyPolls makes the first delivery name a queue of a process that is dead.
func nobodyPolls(r *recording) map[string]any {
	r.delivery.TaskQueue = "quickpass-main-product/dead"
	calls := r.delivery.Calls
	return map[string]any{contract.DeliverActivity: func(ctx context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
		other := *r.delivery // another process has another set of calls
		if calls == other.Calls {
			other.Calls = activities.NewCalls()
		}
		return other.Deliver(ctx, in)
	}}
}

// forgetsItsCall is a process that was started anew under the name of the one that had the call.
func forgetsItsCall(r *recording) map[string]any {
	return map[string]any{contract.DeliverFirstActivity: func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
		return contract.Outcome{
			Kind: contract.InFlight,
			Call: &contract.CallInFlight{TaskQueue: r.delivery.TaskQueue, Deadline: time.Now().Add(2 * time.Second)},
		}, nil
	}}
}

func reportsNothing(*recording) map[string]any {
	return map[string]any{contract.DeliverFirstActivity: func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
		return contract.Outcome{}, errors.New("lost")
	}}
}

// databaseAway fails the first two tries of both steps: the local one, and the first of the regular ones.
func databaseAway(r *recording) map[string]any {
	var reserves, captures atomic.Int32
	away := errors.New("database is away")
	return map[string]any{
		contract.ReserveActivity: func(ctx context.Context, in contract.PurchaseInput) (contract.Reservation, error) {
			if reserves.Add(1) <= 2 {
				return contract.Reservation{}, away
			}
			return r.purchase.Reserve(ctx, in)
		},
		contract.CaptureActivity: func(ctx context.Context, in contract.CaptureInput) (contract.PurchaseResult, error) {
			if captures.Add(1) <= 2 {
				return contract.PurchaseResult{}, away
			}
			return r.purchase.Capture(ctx, in)
		},
	}
}

func creditsAs(transaction string) func(*recording) map[string]any {
	return func(*recording) map[string]any {
		return map[string]any{contract.DeliverFirstActivity: func(context.Context, contract.DeliveryInput) (contract.Outcome, error) {
			return contract.Outcome{Kind: contract.Credited, Credit: &store.Credit{TransactionID: transaction}}, nil
		}}
	}
}

// write stores the history of a run, without the names of the machine that ran it.
func write(t *testing.T, c client.Client, name string, run client.WorkflowRun) {
	t.Helper()
	var history historypb.History
	events := c.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, event)
	}
	encoded, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(&history)
	require.NoError(t, err)
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&decoded))
	walk(decoded, func(object map[string]any) {
		if _, ok := object["identity"]; ok {
			object["identity"] = anonymous
		}
		if object["kind"] == stickyKind {
			object["name"] = anonymous
		}
	})
	indented, err := json.MarshalIndent(decoded, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(historyFile(name), append(indented, '\n'), 0o600))
}
