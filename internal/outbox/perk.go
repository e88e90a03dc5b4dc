package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const (
	perkInterval = 5 * time.Second  // shorter than the shortest perk
	perkLease    = 30 * time.Second // a perk whose start failed is tried again after that
	perkBatch    = 500
	longestDelay = 365 * 24 * time.Hour // of one start; the workflow sleeps on
)

// sweepPerks starts the workflows that tell of the ends of perks. A purchase never waits for this, and what a user
// is entitled to does not depend on it.
func (o *Outbox) sweepPerks(ctx context.Context) {
	tick := time.NewTicker(perkInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := o.StartPerks(ctx); err != nil && ctx.Err() == nil {
				o.options.Logger.Warn("sweep of perks", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// StartPerks starts the workflow of every perk that may not have one.
func (o *Outbox) StartPerks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, perkLease)
	defer cancel()
	if _, err := o.options.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("temporal is away: %w", err) // leasing now would only delay
	}
	for {
		timers, err := o.options.DB.LeasePerkTimers(ctx, perkLease, perkBatch, time.Now())
		if err != nil || len(timers) == 0 {
			return err
		}
		started, startErr := o.startPerks(ctx, timers)
		if err := errors.Join(startErr, o.options.DB.MarkPerkTimers(ctx, started, time.Now())); err != nil {
			return err
		}
	}
}

// startPerks returns which were started, also when others failed.
func (o *Outbox) startPerks(ctx context.Context, timers []postgres.PerkTimer) (started []string, err error) {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(o.options.Workers)
	for _, timer := range timers {
		group.Go(func() error {
			if err := o.startPerk(ctx, timer); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			started = append(started, timer.Input.OrderID)
			return nil
		})
	}
	err = group.Wait()
	return started, err
}

// startPerk is safe to repeat: a run that waits is found.
func (o *Outbox) startPerk(ctx context.Context, timer postgres.PerkTimer) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	in := timer.Input
	delay := time.Until(timer.ExpiresAt) + store.PerkJitter(in.OrderID)
	_, err := o.options.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       contract.PerkWorkflowID(in.OrderID),
		TaskQueue:                contract.TaskQueue,
		StartDelay:               min(max(delay, 0), longestDelay),
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // a run that was ended by hand
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "end of " + in.Kind,
		TypedSearchAttributes:    temporal.NewSearchAttributes(searchUser.ValueSet(in.UserID)),
	}, contract.PerkWorkflow, in)
	if err != nil {
		return fmt.Errorf("start perk %s: %w", in.OrderID, err)
	}
	return nil
}
