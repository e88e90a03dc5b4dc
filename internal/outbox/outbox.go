// Package outbox starts the workflow of every reserved order. The order row is the outbox: it was
// committed with the hold, before anything of Temporal was asked.
//
// Two ways lead out. The dispatcher (this file) starts orders as they come, from a bounded queue in memory. The
// sweep (sweep.go) finds in PostgreSQL what the dispatchers did not start: after a crash, a full queue, an outage.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	startTimeout = 10 * time.Second
	drainTimeout = 10 * time.Second // of the queue, when the process stops; PostgreSQL keeps the rest
	retryAfter   = 5 * time.Second
	// stillEnding is the pause before a replay is started again while the run of the attempt before is about to close.
	stillEnding = 200 * time.Millisecond
	attemptMemo = "attempt"
)

var (
	searchUser = temporal.NewSearchAttributeKeyKeyword(contract.SearchUser)
	searchSKU  = temporal.NewSearchAttributeKeyKeyword(contract.SearchSKU)
)

// Options of an Outbox.
type Options struct {
	DB      *postgres.DB
	Client  client.Client
	Logger  *slog.Logger
	Workers int  // orders started at the same time
	Queue   int  // orders that wait in memory, and windows likewise; more wait in PostgreSQL
	Backlog int  // orders that may wait to be started; beyond it new ones are refused
	Open    int  // orders that may be open in all; likewise
	Eager   bool // the worker is in this process and shares the client
}

// Outbox is the way from a reserved order to its workflow.
type Outbox struct {
	options   Options
	queue     chan postgres.Unstarted
	replays   chan contract.ReplayInput
	windows   chan postgres.TaskWindowChange
	checkouts chan postgres.CheckoutChange
	webhooks  chan struct{} // full: deliveries may be there to be told of
	waiting   atomic.Int64  // in PostgreSQL to be started, as the last sweep counted
	open      atomic.Int64  // open in PostgreSQL, as the last sweep counted, and those offered since

	mu      sync.Mutex
	started []postgres.Unstarted // since the last sweep, which tells PostgreSQL
}

// New makes an Outbox; Run makes it work.
func New(options Options) *Outbox {
	return &Outbox{
		options:   options,
		queue:     make(chan postgres.Unstarted, options.Queue),
		replays:   make(chan contract.ReplayInput, replayQueue),
		windows:   make(chan postgres.TaskWindowChange, options.Queue),
		checkouts: make(chan postgres.CheckoutChange, options.Queue),
		webhooks:  make(chan struct{}, 1),
	}
}

// Offer hands over an order that was just reserved. It never waits: when the queue is full the order
// stays in PostgreSQL until the sweep finds it.
func (o *Outbox) Offer(in contract.PurchaseInput) { o.offer(postgres.Unstarted{Input: in}) }

// Confirmed hands over an order whose confirmation was just written: its workflow is told, and started if
// it is not there. It never waits either; the sweep tells what is lost here.
func (o *Outbox) Confirmed(in contract.PurchaseInput) {
	o.offer(postgres.Unstarted{Input: in, Confirmed: true})
}

func (o *Outbox) offer(order postgres.Unstarted) {
	o.open.Add(1)
	select {
	case o.queue <- order:
	default:
	}
}

// Accepting says whether new orders may come in. If not, a caller should be back after retryAfter.
func (o *Outbox) Accepting() (time.Duration, bool) {
	return retryAfter, o.Waiting() < o.options.Backlog && int(o.open.Load()) < o.options.Open
}

// Waiting counts the orders that nobody has started yet.
func (o *Outbox) Waiting() int { return len(o.queue) + int(o.waiting.Load()) }

// Run starts orders until the context ends, then those that are still in the queue as far as Temporal takes them.
func (o *Outbox) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range o.options.Workers {
		group.Go(func() { o.dispatch(ctx) })
	}
	group.Go(func() { o.dispatchReplays(ctx) })
	group.Go(func() { o.sweep(ctx) })
	group.Go(func() { o.sweepPerks(ctx) })
	group.Go(func() { o.sweepSubscriptions(ctx) })
	group.Go(func() { o.tellLateSubscriptions(ctx) })
	group.Go(func() { dispatch(ctx, o, "windows", o.windows, windowBatch, o.tellWindows) })
	group.Go(func() { o.sweepWindows(ctx) })
	group.Go(func() { dispatch(ctx, o, "orders", o.checkouts, checkoutBatch, o.tellCheckouts) })
	group.Go(func() { o.sweepCheckouts(ctx) })
	group.Go(func() { o.dispatchWebhooks(ctx) })
	group.Wait()
}

func (o *Outbox) dispatch(ctx context.Context) {
	for {
		order, ok := next(ctx, o.queue)
		if !ok {
			o.drain(ctx)
			return
		}
		_ = o.startQueued(context.WithoutCancel(ctx), order) // logged, and the sweep's from here on
	}
}

// drain starts what is queued. The first failure ends it: Temporal is away, and another process will sweep.
func (o *Outbox) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for {
		select {
		case order := <-o.queue:
			if o.startQueued(ctx, order) != nil {
				return
			}
		default:
			return
		}
	}
}

func (o *Outbox) startQueued(ctx context.Context, order postgres.Unstarted) error {
	policy := enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	if order.Input.Attempt > 1 || order.Confirmed {
		policy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE // a replay: the earlier run is over
	}
	err := o.start(ctx, order, policy)
	if err != nil {
		o.options.Logger.Warn("order not started, the sweep will", "order_id", order.Input.OrderID, "error", err)
	}
	return err
}

// start is safe to repeat: a workflow that runs is found, and one that is over finds its order over.
func (o *Outbox) start(ctx context.Context, order postgres.Unstarted, policy enumspb.WorkflowIdReusePolicy) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := o.ask(ctx, order, policy)
	for errors.Is(err, errStillEnding) {
		select {
		case <-time.After(stillEnding):
			err = o.ask(ctx, order, policy)
		case <-ctx.Done():
			return fmt.Errorf("start workflow: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("start workflow: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.started = append(o.started, order)
	return nil
}

// errStillEnding: the order was canceled and replayed before the run of its earlier attempt has closed.
var errStillEnding = errors.New("the run of the attempt before is still ending")

func (o *Outbox) ask(ctx context.Context, order postgres.Unstarted, policy enumspb.WorkflowIdReusePolicy) error {
	in := order.Input
	options := client.StartWorkflowOptions{
		ID:                    contract.PurchaseWorkflowID(in.OrderID),
		TaskQueue:             contract.TaskQueue,
		WorkflowIDReusePolicy: policy,
		EnableEagerStart:      o.options.Eager,
		StaticSummary:         fmt.Sprintf("%d × %s", in.Quantity, in.SKU),
		TypedSearchAttributes: temporal.NewSearchAttributes(searchUser.ValueSet(in.UserID), searchSKU.ValueSet(in.SKU)),
	}
	if in.Attempt > 1 {
		// A run may be found that is the earlier attempt's, about to close: the memo tells them apart.
		options.Memo = map[string]any{attemptMemo: in.Attempt}
		options.WorkflowExecutionErrorWhenAlreadyStarted = true
	}
	var err error
	if order.Confirmed && in.Attempt == 1 {
		options.EnableEagerStart = false // a signal can't be sent along
		_, err = o.options.Client.SignalWithStartWorkflow(ctx, options.ID, contract.PurchaseConfirmedSignal, nil, options, contract.PurchaseWorkflow, in)
	} else {
		_, err = o.options.Client.ExecuteWorkflow(ctx, options, contract.PurchaseWorkflow, in)
	}
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) && in.Attempt > 1 {
		return o.isAttempt(ctx, options.ID, in.Attempt)
	}
	return err
}

// isAttempt tells whether the run that was found is this attempt's.
func (o *Outbox) isAttempt(ctx context.Context, workflowID string, attempt int) error {
	found, err := o.options.Client.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return err
	}
	var of int
	payload := found.GetWorkflowExecutionInfo().GetMemo().GetFields()[attemptMemo]
	if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &of) != nil || of != attempt {
		return errStillEnding
	}
	return nil
}
