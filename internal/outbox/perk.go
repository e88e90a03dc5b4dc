package outbox

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

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
	o.sweepEvery(ctx, perkInterval, "perks", o.StartPerks)
}

// StartPerks starts the workflow of every perk that may not have one.
func (o *Outbox) StartPerks(ctx context.Context) error {
	return tellLeased(ctx, o, perkLease, func(ctx context.Context) ([]postgres.PerkTimer, error) {
		return o.options.DB.LeasePerkTimers(ctx, perkLease, perkBatch, time.Now())
	}, func(ctx context.Context, timers []postgres.PerkTimer) error {
		return tellAll(ctx, quietAtOnce, timers, o.startPerk, o.markPerks)
	})
}

func (o *Outbox) markPerks(ctx context.Context, started []postgres.PerkTimer) error {
	orders := make([]string, len(started))
	for i, timer := range started {
		orders[i] = timer.Input.OrderID
	}
	return o.options.DB.MarkPerkTimers(ctx, orders, time.Now())
}

// startPerk is safe to repeat: a run that waits is found.
func (o *Outbox) startPerk(ctx context.Context, timer postgres.PerkTimer) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	in := timer.Input
	delay := time.Until(timer.ExpiresAt) + store.PerkJitter(in.OrderID)
	_, err := o.options.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       contract.PerkWorkflowID(in.OrderID),
		TaskQueue:                contract.TimerTaskQueue,
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
