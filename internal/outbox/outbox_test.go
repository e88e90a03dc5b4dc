package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// desk is a shop whose orders nobody works on, unless a test starts workers: what is started stays visible.
type desk struct {
	t      *testing.T
	engine testkit.Engine
	db     *postgres.DB
	n      int
}

const buyer = "12345"

func newDesk(t *testing.T, engine testkit.Engine) *desk {
	t.Helper()
	d := &desk{t: t, engine: engine, db: testkit.Database(t)}
	product := testkit.Credits500()
	product.Stock.Initial = 1000
	testkit.AddProduct(t, d.db, product)
	testkit.AddUser(t, d.db, buyer, 1_000_000)
	return d
}

// reserve makes an order that is old enough for the sweep.
func (d *desk) reserve() contract.PurchaseInput {
	d.t.Helper()
	d.n++
	in := contract.PurchaseInput{
		ProjectID: testkit.Project,
		OrderID:   fmt.Sprintf("qp_%06d", d.n),
		UserID:    buyer,
		SKU:       "credits-500",
		Quantity:  1,
		Attempt:   1,
	}
	_, err := d.db.ReservePurchase(d.t.Context(), postgres.Purchase{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		UserID:    in.UserID,
		SKU:       in.SKU,
		Quantity:  in.Quantity,
	}, time.Now().Add(-10*time.Second))
	require.NoError(d.t, err)
	return in
}

// cancelAndReplay ends attempt 1 and asks for attempt 2, as an admin does.
func (d *desk) cancelAndReplay(in contract.PurchaseInput) contract.PurchaseInput {
	d.t.Helper()
	_, err := d.db.ReleaseOrder(d.t.Context(), contract.ReleaseInput{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		Attempt:   in.Attempt,
		Reason:    store.Reason{Code: store.MainProductUnreachable},
	}, time.Now())
	require.NoError(d.t, err)
	_, err = d.db.ReplayOrder(d.t.Context(), postgres.Replay{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		Actor:     "test",
		Reason:    "test",
	}, time.Now())
	require.NoError(d.t, err)
	in.Attempt++
	return in
}

func (d *desk) outbox(change ...func(*outbox.Options)) *outbox.Outbox {
	d.t.Helper()
	options := outbox.Options{
		DB:      d.db,
		Client:  d.engine.Client,
		Logger:  testkit.Logger(d.t),
		Workers: 4,
		Queue:   100,
		Backlog: 1000,
		Open:    1000,
	}
	for _, f := range change {
		f(&options)
	}
	return outbox.New(options)
}

// run makes an outbox work until stop is called, or the test ends.
func run(t *testing.T, box *outbox.Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() { box.Run(ctx) })
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// started reads the event with which the latest run of an order's workflow began.
func (d *desk) started(in contract.PurchaseInput) (*historypb.WorkflowExecutionStartedEventAttributes, string, error) {
	events := d.engine.Client.GetWorkflowHistory(d.t.Context(), contract.PurchaseWorkflowID(in.OrderID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	event, err := events.Next()
	if err != nil {
		return nil, "", err
	}
	attributes := event.GetWorkflowExecutionStartedEventAttributes()
	return attributes, attributes.GetOriginalExecutionRunId(), nil
}

// requireStarted waits until the workflow of this attempt was started, and returns its run.
func (d *desk) requireStarted(in contract.PurchaseInput) (runID string) {
	d.t.Helper()
	testkit.Within(d.t, time.Minute, fmt.Sprintf("attempt %d of %s is started", in.Attempt, in.OrderID), func(context.Context) error {
		attributes, run, err := d.started(in)
		if err != nil {
			return err
		}
		var got contract.PurchaseInput
		if err := converter.GetDefaultDataConverter().FromPayloads(attributes.GetInput(), &got); err != nil {
			return err
		}
		if got != in {
			return fmt.Errorf("%+v was started", got)
		}
		runID = run
		return nil
	})
	return runID
}

func (d *desk) requireNotStarted(in contract.PurchaseInput) {
	d.t.Helper()
	_, err := d.engine.Client.DescribeWorkflowExecution(d.t.Context(), contract.PurchaseWorkflowID(in.OrderID), "")
	var notFound *serviceerror.NotFound
	require.ErrorAs(d.t, err, &notFound)
}

// runs counts all runs of an order's workflow that Temporal has heard of.
func (d *desk) runs(in contract.PurchaseInput) int {
	d.t.Helper()
	answer, err := d.engine.Client.ListWorkflow(d.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: d.engine.Namespace, Query: fmt.Sprintf("WorkflowId = '%s'", contract.PurchaseWorkflowID(in.OrderID))})
	require.NoError(d.t, err)
	return len(answer.GetExecutions())
}

func (d *desk) terminate(in contract.PurchaseInput) {
	d.t.Helper()
	require.NoError(d.t, d.engine.Client.TerminateWorkflow(d.t.Context(), contract.PurchaseWorkflowID(in.OrderID), "", "by hand"))
}

// Temporal UI alone must tell ops what an order is.
func TestDispatcherStartsWhatItIsOffered(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox()
	in := d.reserve()
	box.Offer(in)
	require.Equal(t, 1, box.Waiting())
	run(t, box)
	d.requireStarted(in)
	attributes, _, err := d.started(in)
	require.NoError(t, err)
	require.Equal(t, contract.PurchaseWorkflow, attributes.GetWorkflowType().GetName())
	require.Equal(t, contract.TaskQueue, attributes.GetTaskQueue().GetName())
	fields := attributes.GetSearchAttributes().GetIndexedFields()
	require.JSONEq(t, `"12345"`, string(fields[contract.SearchUser].GetData()))
	require.JSONEq(t, `"credits-500"`, string(fields[contract.SearchSKU].GetData()))
	require.False(t, attributes.GetEagerExecutionAccepted())
	testkit.Eventually(t, "the workflow can be found by its buyer", func(ctx context.Context) error {
		answer, err := d.engine.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: d.engine.Namespace,
			Query: contract.SearchUser + " = '12345' AND " + contract.SearchSKU + " = 'credits-500'"})
		if err == nil && answer.GetCount() != 1 {
			err = fmt.Errorf("%d found", answer.GetCount())
		}
		return err
	})
}

func TestDispatcherStartsEagerlyWhereTheWorkerIs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	d.work()
	box := d.outbox(func(o *outbox.Options) { o.Eager = true })
	run(t, box)
	in := d.reserve()
	box.Offer(in)
	d.requireStarted(in)
	attributes, _, err := d.started(in)
	require.NoError(t, err)
	require.True(t, attributes.GetEagerExecutionAccepted())
	require.NoError(t, d.engine.Client.GetWorkflow(t.Context(), contract.PurchaseWorkflowID(in.OrderID), "").Get(t.Context(), nil))
	testkit.RequireWallet(t, d.db, buyer, 1_000_000-100, 0)
	testkit.RequireClean(t, d.db)
}

// work starts workers for the desk's orders.
func (d *desk) work() {
	d.t.Helper()
	workers := worker.New(worker.Options{Client: d.engine.Client, DB: d.db, Product: testkit.NewMainProduct(d.t).Client(d.t, false),
		WorkflowSlots: 50, DeliverySlots: 50, CachedRuns: 50, StopTimeout: time.Minute})
	require.NoError(d.t, workers.Start())
	d.t.Cleanup(func() { require.True(d.t, workers.Stop(time.Now().Add(time.Minute))) })
}

// What does not fit into memory waits in PostgreSQL; nothing is lost and nobody waits.
func TestSweepStartsWhatDidNotFitTheQueue(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox(func(o *outbox.Options) { o.Queue = 1 })
	orders := make([]contract.PurchaseInput, 6)
	for i := range orders {
		orders[i] = d.reserve()
		box.Offer(orders[i])
	}
	require.Equal(t, 1, box.Waiting(), "the others were not taken")
	run(t, box)
	for _, in := range orders {
		d.requireStarted(in)
	}
}

// The process died between the reserve and the start. However many others sweep, there is one run.
func TestSweepStartsWhatACrashLeftOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	orders := make([]contract.PurchaseInput, 20)
	for i := range orders {
		orders[i] = d.reserve()
	}
	d.requireNotStarted(orders[0])
	for range 3 {
		run(t, d.outbox())
	}
	for _, in := range orders {
		d.requireStarted(in)
	}
	testkit.Eventually(t, "all are visible", func(context.Context) error {
		for _, in := range orders {
			if d.runs(in) == 0 {
				return errors.New(in.OrderID + " is not")
			}
		}
		return nil
	})
	for _, in := range orders {
		require.Equal(t, 1, d.runs(in), in.OrderID)
	}
}

// The same order is offered, swept and offered again: one run, also after it is over.
func TestRepeatedStartsAreOneRun(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	in := d.reserve()
	box := d.outbox()
	for range 5 {
		box.Offer(in)
	}
	run(t, box)
	first := d.requireStarted(in)
	testkit.Eventually(t, "the queue is empty", func(context.Context) error { return unless(box.Waiting() == 0) })
	require.Equal(t, first, d.requireStarted(in))
}

// away is a Temporal that nobody answers for.
func away(t *testing.T) client.Client {
	t.Helper()
	return testkit.Engine{Address: "127.0.0.1:1", Namespace: "default"}.Connect(t)
}

// While Temporal is away orders wait, up to the backlog; then no more may come in.
func TestBacklogIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Engine{})
	box := d.outbox(func(o *outbox.Options) { o.Client, o.Queue, o.Backlog, o.Workers = away(t), 1, 5, 1 })
	for range 4 {
		box.Offer(d.reserve())
	}
	run(t, box)
	_, ok := box.Accepting()
	require.True(t, ok)
	testkit.Eventually(t, "the sweep counts what waits", func(context.Context) error { return unless(box.Waiting() >= 3) })
	_, ok = box.Accepting()
	require.True(t, ok, "four are fewer than five")
	for range 2 {
		box.Offer(d.reserve())
	}
	testkit.Eventually(t, "the backlog is full", func(context.Context) error {
		_, ok := box.Accepting()
		return unless(!ok)
	})
	retryAfter, _ := box.Accepting()
	require.Positive(t, retryAfter)
}

// Offer never waits, whatever the state of Temporal and of the queue. It is called on the buyer's path.
func TestOfferNeverWaits(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Engine{})
	box := d.outbox(func(o *outbox.Options) { o.Client, o.Queue = away(t), 1 })
	for range 10_000 { // nobody takes any out of the queue
		box.Offer(contract.PurchaseInput{OrderID: "qp_1"})
	}
	require.Equal(t, 1, box.Waiting())
}

// proxy is a way to Temporal that can be cut.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener}
	t.Cleanup(p.cut)
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, from, to)
			p.mu.Unlock()
			go func() { _, _ = io.Copy(to, from) }()
			go func() { _, _ = io.Copy(from, to) }()
		}
	}()
	return p
}

// cut ends all connections and takes no new ones, as the crash of a server does.
func (p *proxy) cut() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

// A process that stops while Temporal is away leaves its queue to PostgreSQL: each start would take its whole
// timeout, and what is not started is swept by the next process.
func TestStopWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	way := newProxy(t, d.engine.Address)
	connected := testkit.Engine{Address: way.listener.Addr().String(), Namespace: d.engine.Namespace}.Connect(t)
	_, err := connected.CheckHealth(t.Context(), &client.CheckHealthRequest{})
	require.NoError(t, err)
	box := d.outbox(func(o *outbox.Options) { o.Client, o.Workers = connected, 1 })
	for range 10 {
		box.Offer(d.reserve())
	}
	way.cut()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cancel()
	stopped := make(chan struct{})
	go func() {
		box.Run(ctx)
		close(stopped)
	}()
	testkit.Within(t, 40*time.Second, "it stops", func(context.Context) error {
		select {
		case <-stopped:
			return nil
		default:
			return errors.New("it still tries to start what is queued")
		}
	})
}

// What Temporal refuses to start still waits, so it still counts.
func TestOrdersThatCanNotBeStartedCount(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.NewNamespace(t)) // without the search attributes: every start is refused
	for range 3 {
		d.reserve()
	}
	box := d.outbox(func(o *outbox.Options) { o.Backlog = 3 })
	run(t, box)
	testkit.Eventually(t, "the sweep has tried", func(ctx context.Context) error {
		var swept int
		err := d.db.Pool().QueryRow(ctx, "SELECT count(*) FROM orders WHERE swept_at < now() - interval '3 seconds'").Scan(&swept)
		if err == nil && swept != 3 {
			err = fmt.Errorf("%d swept, and counted since", swept)
		}
		return err
	})
	require.Equal(t, 3, box.Waiting())
	_, ok := box.Accepting()
	require.False(t, ok)

	require.NoError(t, temporal.RegisterSearchAttributes(t.Context(), d.engine.Client, d.engine.Namespace))
	for i := range 3 {
		d.requireStarted(contract.PurchaseInput{
			ProjectID: testkit.Project,
			OrderID:   fmt.Sprintf("qp_%06d", i+1),
			UserID:    buyer,
			SKU:       "credits-500",
			Quantity:  1,
			Attempt:   1,
		})
	}
}

// Orders that another process has started are not this one's backlog.
func TestOrdersOfAnotherProcessAreNoBacklog(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	one := d.outbox()
	stop := run(t, one)
	var last contract.PurchaseInput
	for range 5 {
		last = d.reserve()
		_, err := d.db.Pool().Exec(t.Context(), "UPDATE orders SET updated_at = now() + interval '1 hour' WHERE order_id = $1", last.OrderID) // no sweep's business
		require.NoError(t, err)
		one.Offer(last)
		d.requireStarted(last)
	}
	stop() // so that the sweep below is the other's
	other := d.outbox(func(o *outbox.Options) { o.Backlog = 5 })
	run(t, other)
	sentinel := d.reserve() // left by a crash: when it is started, a sweep has counted
	d.requireStarted(sentinel)
	_, ok := other.Accepting()
	require.True(t, ok, "all orders are started, yet %d are said to wait", other.Waiting())
}

func TestReplayStartsANewRun(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox()
	run(t, box)
	in := d.reserve()
	box.Offer(in)
	first := d.requireStarted(in)
	d.terminate(in) // its end, as far as Temporal is concerned
	again := d.cancelAndReplay(in)
	box.Offer(again)
	require.NotEqual(t, first, d.requireStarted(again))
}

// A replay may be asked for as soon as the order is canceled, and the order is canceled by the last step of a
// workflow that is not over yet.
func TestReplayWhileTheFirstRunEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox()
	run(t, box)
	in := d.reserve()
	box.Offer(in)
	d.requireStarted(in)
	again := d.cancelAndReplay(in)
	box.Offer(again)
	testkit.Eventually(t, "the offer was taken", func(context.Context) error { return unless(box.Waiting() == 0) })
	marker := d.reserve() // offered after it, and so started after it
	box.Offer(marker)
	d.requireStarted(marker)
	d.terminate(in)
	d.requireStarted(again)
}

// The replay did not fit the queue, and this process remembers attempt 1 as started.
func TestSweepStartsAReplayThatDidNotFitTheQueue(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox()
	run(t, box)
	in := d.reserve()
	box.Offer(in)
	d.requireStarted(in)
	d.terminate(in)
	again := d.cancelAndReplay(in) // and no Offer
	d.requireStarted(again)
}

// A workflow that was terminated by hand leaves an open order. Another process does not know it as started.
func TestTerminatedWorkflowIsStartedAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	one := d.outbox()
	stop := run(t, one)
	in := d.reserve()
	one.Offer(in)
	first := d.requireStarted(in)
	stop()
	d.terminate(in)
	run(t, d.outbox())
	testkit.Within(t, time.Minute, "a new run", func(context.Context) error {
		_, run, err := d.started(in)
		if err == nil && run == first {
			err = errors.New("still the terminated one")
		}
		return err
	})
}

// What was accepted is started before the process ends.
func TestQueueIsEmptiedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	box := d.outbox(func(o *outbox.Options) { o.Workers = 2 })
	orders := make([]contract.PurchaseInput, 30)
	for i := range orders {
		orders[i] = d.reserve()
		box.Offer(orders[i])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	box.Run(ctx)
	require.Zero(t, box.Waiting())
	for _, in := range orders {
		_, _, err := d.started(in)
		require.NoError(t, err)
	}
}

func unless(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("not yet")
}
