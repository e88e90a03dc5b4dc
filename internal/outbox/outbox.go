// Package outbox starts the workflow of every reserved order. The order row is the outbox: it was
// committed with the hold, before anything of Temporal was asked.
//
// Two ways lead out. The dispatcher starts orders as they come, from a bounded queue in memory. The
// sweep finds in PostgreSQL what the dispatcher did not start: after a crash, a full queue, an outage.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	sweepInterval = 2 * time.Second
	sweepAge      = 2 * time.Second  // younger orders are the dispatcher's
	sweepLease    = 15 * time.Second // an order that stays open is started again so often, at most
	sweepBatch    = 500
	startTimeout  = 10 * time.Second
	// trust is how long a started order is taken for running. It is longer than all tries of the seed
	// take; a workflow that was terminated by hand is found by the sweep after that.
	trust      = 5 * time.Minute
	retryAfter = 5 * time.Second
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
	Queue   int  // orders that wait in memory; more wait in PostgreSQL
	Backlog int  // orders that may wait in all; beyond it new ones are refused
	Eager   bool // the worker is in this process and shares the client
}

// Outbox is the way from a reserved order to its workflow.
type Outbox struct {
	options Options
	queue   chan postgres.Unstarted
	waiting atomic.Int64 // in PostgreSQL, as the last sweep counted

	mu      sync.Mutex
	started map[string]time.Time // open orders whose workflow this process has started
}

// New makes an Outbox; Run makes it work.
func New(options Options) *Outbox {
	return &Outbox{options: options, queue: make(chan postgres.Unstarted, options.Queue), started: map[string]time.Time{}}
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
	select {
	case o.queue <- order:
	default:
	}
}

// Accepting says whether new orders may come in. If not, a caller should be back after retryAfter.
func (o *Outbox) Accepting() (time.Duration, bool) {
	return retryAfter, o.Waiting() < o.options.Backlog
}

// Waiting counts the orders that nobody has started yet.
func (o *Outbox) Waiting() int { return len(o.queue) + int(o.waiting.Load()) }

// Run starts orders until the context ends, then those that are still in the queue.
func (o *Outbox) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range o.options.Workers {
		group.Go(func() { o.dispatch(ctx) })
	}
	group.Go(func() { o.sweep(ctx) })
	group.Go(func() { o.sweepPerks(ctx) })
	group.Wait()
}

func (o *Outbox) dispatch(ctx context.Context) {
	for {
		select {
		case order := <-o.queue:
			o.startQueued(ctx, order)
		case <-ctx.Done():
			for len(o.queue) > 0 {
				select {
				case order := <-o.queue:
					o.startQueued(ctx, order)
				default:
				}
			}
			return
		}
	}
}

func (o *Outbox) startQueued(ctx context.Context, order postgres.Unstarted) {
	policy := enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	if order.Input.Attempt > 1 || order.Confirmed {
		policy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE // a replay: the earlier run is over
	}
	if err := o.start(ctx, order, policy); err != nil {
		o.options.Logger.Warn("order not started, the sweep will", "order_id", order.Input.OrderID, "error", err)
	}
}

// start is safe to repeat: a workflow that runs is found, and one that is over finds its order over.
func (o *Outbox) start(ctx context.Context, order postgres.Unstarted, policy enumspb.WorkflowIdReusePolicy) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	in := order.Input
	options := client.StartWorkflowOptions{
		ID:                    contract.PurchaseWorkflowID(in.OrderID),
		TaskQueue:             contract.TaskQueue,
		WorkflowIDReusePolicy: policy,
		EnableEagerStart:      o.options.Eager && !order.Confirmed,
		StaticSummary:         fmt.Sprintf("%d × %s", in.Quantity, in.SKU),
		TypedSearchAttributes: temporal.NewSearchAttributes(searchUser.ValueSet(in.UserID), searchSKU.ValueSet(in.SKU)),
	}
	var err error
	if order.Confirmed {
		_, err = o.options.Client.SignalWithStartWorkflow(ctx, options.ID, contract.PurchaseConfirmedSignal, nil, options, contract.PurchaseWorkflow, in)
	} else {
		_, err = o.options.Client.ExecuteWorkflow(ctx, options, contract.PurchaseWorkflow, in)
	}
	if err != nil {
		return fmt.Errorf("start workflow: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.started[in.OrderID] = time.Now()
	return nil
}

func (o *Outbox) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := o.sweepOnce(ctx); err != nil && ctx.Err() == nil {
				o.options.Logger.Warn("sweep", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (o *Outbox) sweepOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	started, err := o.running(ctx)
	if err != nil {
		return err
	}
	waiting, err := o.options.DB.CountUnstarted(ctx, started, 2*o.options.Backlog)
	if err != nil {
		return err
	}
	o.waiting.Store(int64(max(waiting-len(o.queue), 0)))
	if _, err := o.options.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("temporal is away, %d orders wait: %w", waiting, err) // leasing them now would only delay them
	}
	for {
		orders, err := o.options.DB.LeaseUnstarted(ctx, postgres.SweepOptions{Age: sweepAge, Lease: sweepLease, Started: started, Limit: sweepBatch}, time.Now())
		if err != nil || len(orders) == 0 {
			return err
		}
		o.options.Logger.Info("the sweep starts what was left", "orders", len(orders))
		if err := o.startAll(ctx, orders); err != nil {
			return err
		}
	}
}

func (o *Outbox) startAll(ctx context.Context, orders []postgres.Unstarted) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.options.Workers)
	for _, order := range orders {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return o.start(ctx, order, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE)
		})
	}
	return group.Wait()
}

// running lists the open orders that this process has started, and forgets those that are over or were
// started too long ago to be taken for running.
func (o *Outbox) running(ctx context.Context) ([]string, error) {
	o.mu.Lock()
	started := slices.Collect(maps.Keys(o.started))
	o.mu.Unlock()
	over, err := o.options.DB.FinalOrders(ctx, started)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range over {
		delete(o.started, id)
	}
	maps.DeleteFunc(o.started, func(_ string, at time.Time) bool { return time.Since(at) > trust })
	return slices.Collect(maps.Keys(o.started)), nil
}
