package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/contract"
)

// Windows of tasks, orders, subscriptions and perks reach their workflows in one way: leased from PostgreSQL,
// told of so many at a time, and marked as told in one statement. What differs is in their own files.

// quietAtOnce is how many windows, subscriptions or perks are told of at the same time. It is few, because
// thousands may come in one moment: each asks the server for a share of what the purchases have, and a server
// that is busy takes no more of them for being asked more at once.
const quietAtOnce = 4

// sweepEvery sweeps at every interval until ctx ends. What fails is logged, and the next sweep finds it again.
func (o *Outbox) sweepEvery(ctx context.Context, interval time.Duration, what string, sweep func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := sweep(ctx); err != nil && ctx.Err() == nil {
				o.options.Logger.Warn("sweep of "+what, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// tellLeased tells of everything that can be leased. It takes no longer than a lease.
func tellLeased[T any](ctx context.Context, o *Outbox, lease time.Duration, some func(context.Context) ([]T, error), tell func(context.Context, []T) error) error {
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	if _, err := o.options.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("temporal is away: %w", err) // leasing now would only delay
	}
	for {
		leased, err := some(ctx)
		if err != nil || len(leased) == 0 {
			return err
		}
		if err := tell(ctx, leased); err != nil {
			return err
		}
	}
}

// tellAll tells of so many at a time, and marks in one statement which were told of, also when others failed.
func tellAll[T any](ctx context.Context, atOnce int, all []T, tell func(context.Context, T) error, mark func(context.Context, []T) error) error {
	var mu sync.Mutex
	var told []T
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, one := range all {
		group.Go(func() error {
			if err := tell(ctx, one); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			told = append(told, one)
			return nil
		})
	}
	err := group.Wait()
	if len(told) == 0 {
		return err
	}
	return errors.Join(err, mark(ctx, told))
}

// dispatch tells of what comes through a queue, of all that waits there together.
func dispatch[T any](ctx context.Context, o *Outbox, what string, queue <-chan T, batch int, tell func(context.Context, []T) error) {
	for {
		first, ok := next(ctx, queue)
		if !ok {
			return // the sweep of another process, or of the next, tells what is left
		}
		if err := tell(context.WithoutCancel(ctx), queued(first, queue, batch)); err != nil {
			o.options.Logger.Warn(what+" not told of, the sweep will", "error", err)
		}
	}
}

// next waits for the next of the queue, and is not ok once ctx has ended, whatever waits there: a select
// alone would take either, and go on for as long as luck has it.
func next[T any](ctx context.Context, queue <-chan T) (one T, ok bool) {
	if ctx.Err() != nil {
		return one, false
	}
	select {
	case one = <-queue:
		return one, true
	case <-ctx.Done():
		return one, false
	}
}

// queued adds what waits in the queue to the first of it, up to a batch.
func queued[T any](first T, queue <-chan T, batch int) []T {
	all := []T{first}
	for len(all) < batch {
		select {
		case one := <-queue:
			all = append(all, one)
		default:
			return all
		}
	}
	return all
}

// startOrSignal starts the run of what is fresh, which may be delayed. Of any other change it signals: a
// signal with a start, and no other, ends the delay of a run that has not begun yet.
func (o *Outbox) startOrSignal(ctx context.Context, options client.StartWorkflowOptions, fresh bool, workflow string, in any) (err error) {
	if fresh {
		_, err = o.options.Client.ExecuteWorkflow(ctx, options, workflow, in)
	} else {
		_, err = o.options.Client.SignalWithStartWorkflow(ctx, options.ID, contract.ChangedSignal, nil, options, workflow, in)
	}
	return err
}
