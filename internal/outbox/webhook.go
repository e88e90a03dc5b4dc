package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/xid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	webhookPause = 100 * time.Millisecond // between two looks, however many orders change
	webhookLease = 30 * time.Second       // a delivery that could not be told of is tried again after that
	webhookBatch = 500
)

// OfferWebhooks says that orders may have changed, so that what their listeners are to be told is looked for
// at once. It never waits, and carries nothing: deliveries are found in PostgreSQL.
func (o *Outbox) OfferWebhooks() {
	select {
	case o.webhooks <- struct{}{}:
	default: // a look is due already
	}
}

// dispatchWebhooks looks for deliveries when it is told of some, and at every sweep.
func (o *Outbox) dispatchWebhooks(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-o.webhooks:
		case <-tick.C:
		case <-ctx.Done():
			return // the sweep of another process, or of the next, tells what is left
		}
		if err := o.SweepWebhooks(context.WithoutCancel(ctx)); err != nil {
			o.options.Logger.Warn("sweep of webhooks", "error", err)
		}
		select {
		case <-time.After(webhookPause):
		case <-ctx.Done():
			return
		}
	}
}

// SweepWebhooks tells of every delivery that is new or has changed, and of those that should have been tried
// by now: a signal or a run that was lost.
func (o *Outbox) SweepWebhooks(ctx context.Context) error {
	return tellLeased(ctx, o, webhookLease, func(ctx context.Context) ([]postgres.WebhookChange, error) {
		return o.options.DB.LeaseWebhooks(ctx, webhookLease, webhookBatch, time.Now())
	}, func(ctx context.Context, leased []postgres.WebhookChange) error {
		return tellAll(ctx, o.options.Workers, leased, o.tellWebhook, func(ctx context.Context, told []postgres.WebhookChange) error {
			return o.options.DB.MarkWebhooksTold(ctx, told, time.Now())
		})
	})
}

// tellWebhook is safe to repeat: a run that waits is found, the signal carries nothing, and a run that comes
// too late finds the delivery over.
func (o *Outbox) tellWebhook(ctx context.Context, w postgres.WebhookChange) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options := client.StartWorkflowOptions{
		ID:                       contract.WebhookWorkflowID(w.Input.DeliveryID),
		TaskQueue:                contract.TimerTaskQueue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // an admin has replayed it, or a run was ended by hand
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            fmt.Sprintf("%s of order %d", w.Input.Event, w.Input.OrderID),
		TypedSearchAttributes:    temporal.NewSearchAttributes(searchUser.ValueSet(w.Input.UserID)),
	}
	fresh := w.Changes == 1
	if err := o.startOrSignal(ctx, options, fresh, contract.WebhookWorkflow, w.Input); err != nil {
		return fmt.Errorf("tell of webhook %s: %w", w.Input.DeliveryID, err)
	}
	return nil
}

// TestWebhook has a worker send a test to the project's endpoint, and waits for what it answers.
func (o *Outbox) TestWebhook(ctx context.Context, projectID int32) (contract.WebhookTested, error) {
	in := contract.WebhookTestInput{ProjectID: projectID, EventID: "we_" + xid.New().String()}
	run, err := o.options.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       "webhook-test/" + in.EventID,
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: time.Minute, // nobody waits any more
		StaticSummary:            fmt.Sprintf("test of the endpoint of project %d", projectID),
	}, contract.WebhookTestWorkflow, in)
	if err != nil {
		return contract.WebhookTested{}, fmt.Errorf("start test: %w", err)
	}
	var tested contract.WebhookTested
	if err := run.Get(ctx, &tested); err != nil {
		return contract.WebhookTested{}, fmt.Errorf("test: %w", err)
	}
	return tested, nil
}
