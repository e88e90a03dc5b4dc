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
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const (
	subscriptionInterval = 5 * time.Second  // nothing but notifications waits for it
	subscriptionLease    = 30 * time.Second // a subscription that could not be told of is tried again after that
	subscriptionLate     = 45 * time.Second // longer than the jitter of the timers: the sweep tells of such an end itself
	subscriptionLateAll  = 200              // so many in one transaction
	subscriptionOverdue  = 2 * time.Minute  // an end that could not be told so gets its run back
	subscriptionBatch    = 500
)

// sweepSubscriptions is the only way to the workflows of subscriptions: what a user is entitled to does not
// depend on them.
func (o *Outbox) sweepSubscriptions(ctx context.Context) {
	o.sweepEvery(ctx, subscriptionInterval, "subscriptions", func(ctx context.Context) error { return o.SweepSubscriptions(ctx, time.Now()) })
}

// tellLateSubscriptions has a loop of its own, since the other may be busy starting runs for half a minute.
func (o *Outbox) tellLateSubscriptions(ctx context.Context) {
	o.sweepEvery(ctx, subscriptionInterval, "late subscriptions", func(ctx context.Context) error { return o.TellLateSubscriptions(ctx, time.Now()) })
}

// TellLateSubscriptions tells users of ends that are late, whatever is wrong with their runs: more ended at
// once than the server can fire timers of, or it is away. The runs find nothing left to tell.
func (o *Outbox) TellLateSubscriptions(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, subscriptionLease)
	defer cancel()
	for {
		told, err := o.options.DB.SettleOverdueSubscriptions(ctx, subscriptionLate, subscriptionLateAll, now)
		if err != nil || told == 0 {
			return err
		}
	}
}

// SweepSubscriptions tells the workflow of every subscription that has changed, and of those whose end nobody
// has told: a signal or a run that was lost, or a timer that did not fire.
func (o *Outbox) SweepSubscriptions(ctx context.Context, now time.Time) error {
	return tellLeased(ctx, o, subscriptionLease, func(ctx context.Context) ([]postgres.SubscriptionChange, error) {
		return o.options.DB.LeaseSubscriptions(ctx, subscriptionLease, subscriptionOverdue, subscriptionBatch, now)
	}, func(ctx context.Context, changed []postgres.SubscriptionChange) error {
		return tellAll(ctx, quietAtOnce, changed, o.tellSubscription, func(ctx context.Context, told []postgres.SubscriptionChange) error {
			return o.options.DB.MarkSubscriptionsTold(ctx, told, time.Now())
		})
	})
}

// tellSubscription is safe to repeat: a run that waits is found, the signal carries nothing, and a run that
// comes too late finds nothing to tell.
func (o *Outbox) tellSubscription(ctx context.Context, s postgres.SubscriptionChange) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options := client.StartWorkflowOptions{
		ID:                       contract.SubscriptionWorkflowID(s.Input),
		TaskQueue:                contract.TimerTaskQueue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // the run is over, and the user has bought it anew
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            fmt.Sprintf("%.60s of %s", s.Input.SKU, s.Input.UserID), // Temporal takes 400 bytes
		TypedSearchAttributes:    temporal.NewSearchAttributes(searchUser.ValueSet(s.Input.UserID), searchSKU.ValueSet(s.Input.SKU)),
	}
	fresh := s.Changes == 1 && s.Until != nil
	if fresh {
		delay := time.Until(*s.Until) + subscriptions.Jitter(options.ID)
		options.StartDelay = min(max(delay, 0), longestDelay)
	}
	if err := o.startOrSignal(ctx, options, fresh, contract.SubscriptionWorkflow, s.Input); err != nil {
		return fmt.Errorf("tell of %s: %w", options.ID, err)
	}
	return nil
}
