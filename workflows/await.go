package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// longestNap bounds one timer; what lasts longer is looked at once a year.
const longestNap = 365 * 24 * time.Hour

// awaitChange ends at that instant or a while before it, when something was signalled, or when the run is
// canceled. Whoever waits looks again, whatever it was.
func awaitChange(ctx workflow.Context, changed workflow.ReceiveChannel, until time.Time, summary string) {
	timerCtx, stopTimer := workflow.WithCancel(ctx)
	defer stopTimer()
	nap := max(min(until.Sub(workflow.Now(ctx)), longestNap), time.Second)
	workflow.NewSelector(ctx).
		AddReceive(changed, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) }).
		AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {}).
		AddFuture(workflow.NewTimerWithOptions(timerCtx, nap, workflow.TimerOptions{Summary: summary}), func(workflow.Future) {}).
		Select(ctx)
}

// drain forgets the signals that are there, and tells whether there were any.
func drain(signals workflow.ReceiveChannel) (told bool) {
	for signals.ReceiveAsync(nil) {
		told = true
	}
	return told
}
