package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Subscription reminds a user that a subscription will end, and tells that it has (seeds 002, 004). It
// decides about nothing: the user is entitled until the instant in the database, whether this run is late,
// early or gone. PostgreSQL also decides what is to be told: each wake, by the timer or by a signal, only
// makes it look. So no signal that is lost or doubled matters.
//
// A run that an operator cancels ends at once; the sweep starts another when the end has to be told.
func Subscription(ctx workflow.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
	changed := workflow.GetSignalChannel(ctx, contract.ChangedSignal)
	for {
		settled, err := settleSubscription(ctx, in)
		if err != nil {
			return settled, err
		}
		if settled.Until != nil {
			err = awaitSubscription(ctx, in, settled, changed)
		} else {
			workflow.SetCurrentDetails(ctx, "**"+string(settled.Status)+"**")
		}
		if err != nil {
			return settled, err
		}
		// The next look sees what all signals that are here tell of.
		if told := drain(changed); settled.Until == nil && !told {
			return settled, nil
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return settled, workflow.NewContinueAsNewError(ctx, contract.SubscriptionWorkflow, in)
		}
	}
}

// awaitSubscription ends at the next instant that matters, or when somebody has changed the subscription.
func awaitSubscription(ctx workflow.Context, in contract.SubscriptionInput, settled contract.SettledSubscription, changed workflow.ReceiveChannel) error {
	workflow.SetCurrentDetails(ctx, "**"+string(settled.Status)+"**, looked at again at "+settled.Until.Format(time.RFC3339))
	awaitChange(ctx, changed, settled.Until.Add(subscriptions.Jitter(contract.SubscriptionWorkflowID(in))), "until the reminder or the end")
	return ctx.Err()
}
