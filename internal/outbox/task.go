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
	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	windowLease = 30 * time.Second // a window that could not be told of is tried again after that
	windowBatch = 500
)

// OfferTaskWindows hands over windows that were just opened, completed, canceled or reopened. It never waits: what the
// queue does not take stays in PostgreSQL until the sweep finds it.
func (o *Outbox) OfferTaskWindows(windows ...postgres.TaskWindowChange) {
	for _, w := range windows {
		select {
		case o.windows <- w:
		default:
			return
		}
	}
}

func (o *Outbox) sweepWindows(ctx context.Context) {
	o.sweepEvery(ctx, sweepInterval, "windows", func(ctx context.Context) error {
		return o.SweepTaskWindows(ctx, time.Now().Add(-sweepAge)) // what is younger is still in a dispatcher's hands
	})
}

// SweepTaskWindows tells of every window that was due to be looked at by this time: a change that no dispatcher told, a
// signal or a run that was lost, a timer that did not fire.
func (o *Outbox) SweepTaskWindows(ctx context.Context, due time.Time) error {
	return tellLeased(ctx, o, windowLease, func(ctx context.Context) ([]postgres.TaskWindowChange, error) {
		return o.options.DB.LeaseTaskWindows(ctx, windowLease, windowBatch, due)
	}, o.tellWindows)
}

func (o *Outbox) tellWindows(ctx context.Context, windows []postgres.TaskWindowChange) error {
	return tellAll(ctx, quietAtOnce, windows, o.tellWindow, func(ctx context.Context, told []postgres.TaskWindowChange) error {
		return o.options.DB.MarkTaskWindowsTold(ctx, told, time.Now())
	})
}

// tellWindow is safe to repeat: a run that waits is found, the signal carries nothing, and a run that comes too late
// finds the window settled.
func (o *Outbox) tellWindow(ctx context.Context, w postgres.TaskWindowChange) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options := client.StartWorkflowOptions{
		ID:                       contract.TaskWindowWorkflowID(w.Input.WindowID),
		TaskQueue:                contract.WindowTaskQueue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // the run is over, and the window goes on: a replay, or a run ended by hand
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            fmt.Sprintf("%.60s of %s", w.TaskName, w.Input.UserID), // Temporal takes 400 bytes
		TypedSearchAttributes:    temporal.NewSearchAttributes(searchUser.ValueSet(w.Input.UserID)),
	}
	fresh := w.State == tasks.Open
	if fresh {
		delay := time.Until(w.ClosesAt) + tasks.CloseJitter(w.Input.WindowID)
		options.StartDelay = min(max(delay, 0), longestDelay)
		// A run that has completed has settled the window: this news is late, and another run would wait for nothing.
		options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	}
	if err := o.startOrSignal(ctx, options, fresh, contract.TaskWindowWorkflow, w.Input); err != nil {
		return fmt.Errorf("tell of window %s: %w", w.Input.WindowID, err)
	}
	return nil
}
