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
	databaseTimeout = 15 * time.Second
	// localDatabaseTimeout leaves room for a first delivery of 7 s before the workflow task's heartbeat.
	localDatabaseTimeout = 2 * time.Second
	// grace lets an activity report its own timeout before Temporal reports one for it.
	grace = 5 * time.Second
	// joinPickup is how long the process that has the call in flight may take to pick the join up;
	// after that it is taken for dead.
	joinPickup = 5 * time.Second
	// sweepTimeout bounds one look at all products; after sweepAttempts, which take two and a half minutes at least,
	// the schedule's next run takes over.
	sweepTimeout  = 2 * time.Minute
	sweepAttempts = 10
)

// withDatabaseRetries never gives up: the steps that use it are idempotent, and an order that is neither
// completed nor canceled helps nobody. It names no queue, so a step is done on the queue of its run: that of
// windows does not stand before purchases. Runs begun before windows had a queue of their own go on where
// they began. (The queue of a step is not part of what a replay compares; the stored histories show it.)
func withDatabaseRetries(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: databaseTimeout,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             summary,
	})
}

// withSweep gives up in the end: what a sweep has not done, the next one does.
func withSweep(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: sweepTimeout,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    time.Second,
			BackoffCoefficient: 2,
			MaximumInterval:    30 * time.Second,
			MaximumAttempts:    sweepAttempts,
		},
		Summary: summary,
	})
}

func withLocalDatabase(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: localDatabaseTimeout,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                summary,
	})
}

// withFirstDelivery bounds the wait, not the call: the call goes on in the process and is joined.
func withFirstDelivery(ctx workflow.Context) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: contract.FirstDeliveryBound + grace,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                "first delivery",
	})
}

func withJoin(ctx workflow.Context, call contract.CallInFlight) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              call.TaskQueue,
		ScheduleToStartTimeout: joinPickup,
		StartToCloseTimeout:    max(call.Deadline.Sub(workflow.Now(ctx)), 0) + grace,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                "answer of the first delivery",
	})
}

// withDeliveryRetries is the seed's "3 times with 10 sec intervals": the first try has been made, and
// the first of these attempts comes after one interval, so all attempts here are retries.
func withDeliveryRetries(ctx workflow.Context, s store.DeliverySettings) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.MainProductTaskQueue,
		StartToCloseTimeout: s.Timeout() + grace,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    s.RetryInterval(),
			BackoffCoefficient: 1,
			MaximumInterval:    s.RetryInterval(),
			MaximumAttempts:    int32(s.Retries),
		},
		Summary: "delivery, retried",
	})
}

// withRewardRetries is the same for rewards; the first try is one of these attempts, and nobody waits for it inside a
// workflow task.
func withRewardRetries(ctx workflow.Context, gift string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.MainProductTaskQueue,
		StartToCloseTimeout: contract.RewardTimeout + grace,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    contract.RewardInterval,
			BackoffCoefficient: 1,
			MaximumInterval:    contract.RewardInterval,
			MaximumAttempts:    contract.RewardCalls,
		},
		Summary: "reward: " + gift,
	})
}

// withDeliveryTries is withDeliveryRetries for a line of an order: the first try is one of these attempts, too.
func withDeliveryTries(ctx workflow.Context, in contract.CheckoutDelivery) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.MainProductTaskQueue,
		StartToCloseTimeout: in.Settings.Timeout() + grace,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    in.Settings.RetryInterval(),
			BackoffCoefficient: 1,
			MaximumInterval:    in.Settings.RetryInterval(),
			MaximumAttempts:    int32(in.Settings.Retries) + 1,
		},
		Summary: "delivery: " + in.Summary,
	})
}

func withInquiry(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.MainProductTaskQueue,
		StartToCloseTimeout: 30*time.Second + grace,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Second, BackoffCoefficient: 1, MaximumAttempts: 3},
		Summary:             "ask what became of the order",
	})
}

// withWebhook never gives up on our own failures: what the listener says is no failure of the activity, which
// counts the tries in the database.
func withWebhook(ctx workflow.Context, in contract.WebhookInput) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.WebhookTaskQueue,
		StartToCloseTimeout: contract.WebhookTimeout + databaseTimeout,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
		Summary:             fmt.Sprintf("%s of order %d", in.Event, in.OrderID),
	})
}
