package outbox

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	sweepInterval = 2 * time.Second
	sweepTimeout  = 30 * time.Second
	// sweepAge leaves younger orders to the dispatchers, and gives each process one sweep to tell what it started.
	sweepAge   = 2 * sweepInterval
	sweepLease = 15 * time.Second // an order that can't be started is tried so often
	sweepTrust = 5 * time.Minute  // an order that stays open so long is started again: its workflow may have been terminated
	sweepBatch = 500
)

func (o *Outbox) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			err := o.sweepOnce(ctx)
			if err == nil {
				err = o.sweepReplays(ctx)
			}
			if err != nil && ctx.Err() == nil {
				o.options.Logger.Warn("sweep", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (o *Outbox) sweepOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := o.tellStarted(ctx); err != nil {
		return err
	}
	backlog, err := o.options.DB.CountBacklog(ctx, sweepAge, o.options.Open+o.options.Backlog, time.Now())
	if err != nil {
		return err
	}
	o.waiting.Store(int64(backlog.Unstarted))
	o.open.Store(int64(backlog.Open))
	if _, err := o.options.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("temporal is away, %d orders wait: %w", backlog.Unstarted, err) // leasing them now would only delay them
	}
	orders, err := o.options.DB.LeaseUnstarted(ctx, postgres.SweepOptions{
		Age:   sweepAge,
		Lease: sweepLease,
		Trust: sweepTrust,
		Limit: sweepBatch,
	}, time.Now())
	if err != nil || len(orders) == 0 {
		return err
	}
	o.options.Logger.Info("the sweep starts what was left", "orders", len(orders))
	return o.startAll(ctx, orders)
}

// tellStarted notes in PostgreSQL what this process has started and is still open, in one statement.
func (o *Outbox) tellStarted(ctx context.Context) error {
	o.mu.Lock()
	started := o.started
	o.started = nil
	o.mu.Unlock()
	if len(started) == 0 {
		return nil
	}
	err := o.options.DB.MarkStarted(ctx, started, time.Now())
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.started = append(started, o.started...)
	}
	return err
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
