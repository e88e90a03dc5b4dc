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
)

const (
	replayQueue = 64
	// replaySilence is longer than a running replay ever goes without a step, retries of a slow database included.
	replaySilence = 2 * time.Minute
	// replayLease bounds the signals that pile up while no worker runs.
	replayLease = 30 * time.Second
)

var searchReason = temporal.NewSearchAttributeKeyKeyword(contract.SearchReason)

// Replay hands over a bulk replay whose row was just written or changed: its workflow is told, and started if it is
// not there. It never waits; what is not taken is found by the sweep.
func (o *Outbox) Replay(in contract.ReplayInput) {
	select {
	case o.replays <- in:
	default:
	}
}

func (o *Outbox) dispatchReplays(ctx context.Context) {
	for {
		in, ok := next(ctx, o.replays)
		if !ok {
			return // the sweep of another process, or of the next, tells what is left
		}
		if err := o.tellReplay(ctx, in); err != nil {
			o.options.Logger.Warn("replay not told, the sweep will", "replay_id", in.ReplayID, "error", err)
		}
	}
}

// tellReplay is safe to repeat: the signal carries nothing, and a run that comes too late finds the replay over.
func (o *Outbox) tellReplay(ctx context.Context, in contract.ReplayInput) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	var attributes []temporal.SearchAttributeUpdate
	if in.Filter.UserID != "" {
		attributes = append(attributes, searchUser.ValueSet(in.Filter.UserID))
	}
	if in.Filter.SKU != "" {
		attributes = append(attributes, searchSKU.ValueSet(in.Filter.SKU))
	}
	if in.Filter.Reason != "" {
		attributes = append(attributes, searchReason.ValueSet(string(in.Filter.Reason)))
	}
	id := contract.ReplayWorkflowID(in.ReplayID)
	_, err := o.options.Client.SignalWithStartWorkflow(ctx, id, contract.ChangedSignal, nil, client.StartWorkflowOptions{
		ID:                    id,
		TaskQueue:             contract.TaskQueue,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:         fmt.Sprintf("%d orders, %g a second", in.Orders, in.RatePerSecond),
		TypedSearchAttributes: temporal.NewSearchAttributes(attributes...),
	}, contract.ReplayWorkflow, in)
	if err != nil {
		return fmt.Errorf("tell replay: %w", err)
	}
	return nil
}

// sweepReplays heals what a crash left: a replay that was committed and not started, a change that was not told, a
// workflow that was terminated.
func (o *Outbox) sweepReplays(ctx context.Context) error {
	replays, err := o.options.DB.LeaseUnseenReplays(ctx, postgres.ReplaySweepOptions{
		Age: sweepAge, Silence: replaySilence, Lease: replayLease, Limit: replayQueue}, time.Now())
	if err != nil {
		return err
	}
	for _, replay := range replays {
		o.options.Logger.Info("the sweep tells a replay", "replay_id", replay.ReplayID)
		if err := o.tellReplay(ctx, replay); err != nil {
			return err
		}
	}
	return nil
}
