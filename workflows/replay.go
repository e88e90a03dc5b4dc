package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

const (
	// replaySteps bounds a run's history: a step is at most an activity, a timer and a signal.
	replaySteps = 300
	// Outcomes are asked for often while they come, seldom while they do not.
	firstPoll = time.Second
	lastPoll  = 30 * time.Second
)

// Replay tries the orders of a bulk replay again, so many a second, waits for their outcomes and writes the report.
// PostgreSQL decides: whether it runs, which orders have had their turn, and how they ended. The workflow owns the
// pace. A signal only ends a wait, so none can be lost that matters.
func Replay(ctx workflow.Context, in contract.ReplayInput) (contract.ReplayResult, error) {
	r := &replay{in: in, poll: firstPoll, changed: workflow.GetSignalChannel(ctx, contract.ChangedSignal)}
	r.in.Next = max(in.Next, 1)
	r.batch, r.every = store.ReplayPace(in.RatePerSecond)
	err := workflow.SetQueryHandler(ctx, contract.ReplayProgressQuery, func() (contract.ReplayStanding, error) { return r.standing, nil })
	if err != nil {
		return contract.ReplayResult{}, err
	}
	return r.run(ctx)
}

type replay struct {
	in       contract.ReplayInput
	batch    int64
	every    time.Duration
	poll     time.Duration
	changed  workflow.ReceiveChannel
	standing contract.ReplayStanding
	phase    string
}

func (r *replay) run(ctx workflow.Context) (contract.ReplayResult, error) {
	for step := 0; ; step++ {
		if step >= replaySteps || workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			r.drain()
			return contract.ReplayResult{}, workflow.NewContinueAsNewError(ctx, contract.ReplayWorkflow, r.in)
		}
		result, err := r.step(ctx)
		if err == nil && result.Status.Final() {
			return result, r.show(ctx, string(result.Status))
		}
		if err == nil {
			err = r.wait(ctx)
		}
		switch {
		case err == nil:
		case ctx.Err() == nil:
			return result, err
		default: // an operator cancels the workflow: as if an admin had canceled the replay
			ctx, _ = workflow.NewDisconnectedContext(ctx)
			if err := cancelReplay(ctx, r.ref()); err != nil {
				return result, err
			}
		}
	}
}

// step begins the next orders if they are due, and the report if everything is over.
func (r *replay) step(ctx workflow.Context) (contract.ReplayResult, error) {
	batch := contract.ReplayBatch{ReplayID: r.in.ReplayID, First: r.in.Next, Past: r.in.Next}
	if now := workflow.Now(ctx); r.in.Next > 0 && !now.Before(r.in.Due) {
		batch.Past += r.batch
		r.in.Due = now.Add(r.every)
	}
	standing, err := replayOrders(ctx, batch)
	if err != nil {
		return contract.ReplayResult{}, err
	}
	if standing.InFlight != r.standing.InFlight {
		r.poll = firstPoll
	}
	r.standing, r.in.Next = standing, standing.Next
	if err := r.show(ctx, phaseOf(standing)); err != nil {
		return contract.ReplayResult{}, err
	}
	if !standing.Over() || standing.Status == store.ReplayPaused {
		return contract.ReplayResult{}, nil
	}
	return finishReplay(ctx, r.ref())
}

// wait ends when there is something to do: the next orders are due, outcomes may be there, or somebody changed the
// replay. A paused replay without orders under way waits for a change alone.
func (r *replay) wait(ctx workflow.Context) error {
	timerCtx, stopTimer := workflow.WithCancel(ctx)
	defer stopTimer()
	woken := workflow.NewSelector(ctx)
	woken.AddReceive(r.changed, func(workflow.ReceiveChannel, bool) { r.drain() })
	woken.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	switch {
	case r.standing.Status == store.ReplayRunning && r.standing.Waiting > 0:
		left := r.in.Due.Sub(workflow.Now(ctx))
		if left <= 0 {
			return nil
		}
		woken.AddFuture(workflow.NewTimer(timerCtx, left), func(workflow.Future) {})
	case r.standing.InFlight > 0:
		woken.AddFuture(workflow.NewTimer(timerCtx, r.poll), func(workflow.Future) {})
		r.poll = min(2*r.poll, lastPoll)
	case r.standing.Status != store.ReplayPaused:
		return nil // it was changed before the report could be written
	}
	woken.Select(ctx)
	return ctx.Err()
}

// drain forgets the signals that are there: the next step reads what they tell of.
func (r *replay) drain() {
	for r.changed.ReceiveAsync(nil) {
	}
}

func (r *replay) ref() contract.ReplayRef {
	return contract.ReplayRef{ProjectID: r.in.ProjectID, ReplayID: r.in.ReplayID}
}

func phaseOf(s contract.ReplayStanding) string {
	switch {
	case s.Status != store.ReplayRunning:
		return string(s.Status)
	case s.Waiting > 0:
		return "replaying"
	default:
		return "awaiting_outcomes"
	}
}

// show tells Temporal UI where the replay stands; the search attribute changes with the phase alone.
func (r *replay) show(ctx workflow.Context, phase string) error {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s**: %d orders in all, %d wait, %d are under way", phase, r.in.Orders, r.standing.Waiting, r.standing.InFlight))
	if phase == r.phase {
		return nil
	}
	r.phase = phase
	return workflow.UpsertTypedSearchAttributes(ctx, searchState.ValueSet(phase))
}

func replayOrders(ctx workflow.Context, batch contract.ReplayBatch) (contract.ReplayStanding, error) {
	summary := "read how the orders ended"
	if batch.First < batch.Past {
		summary = fmt.Sprintf("replay orders %d to %d", batch.First, batch.Past-1)
	}
	var standing contract.ReplayStanding
	err := workflow.ExecuteActivity(withReplayStep(ctx, summary), contract.ReplayOrdersActivity, batch).Get(ctx, &standing)
	return standing, err
}

func finishReplay(ctx workflow.Context, ref contract.ReplayRef) (contract.ReplayResult, error) {
	var result contract.ReplayResult
	err := workflow.ExecuteActivity(withDatabaseRetries(ctx, "write the report"), contract.FinishReplayActivity, ref).Get(ctx, &result)
	return result, err
}

func cancelReplay(ctx workflow.Context, ref contract.ReplayRef) error {
	return workflow.ExecuteActivity(withDatabaseRetries(ctx, "cancel the replay"), contract.CancelReplayActivity, ref).Get(ctx, nil)
}

// withReplayStep has time for 100 transactions; a repeat goes on where the attempt before was cut off.
func withReplayStep(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             summary,
	})
}
