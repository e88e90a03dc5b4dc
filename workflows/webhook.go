package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
)

// WebhookDelivery tells a project's listener of one event of an order, until it has taken it, refuses it or
// no try is left. PostgreSQL decides what is to be done and when: each wake, by the timer or by a signal,
// only makes an activity look. So the schedule can change under way, and no signal that is lost or doubled
// matters.
//
// A cancellation of the run, by an operator, does not end the delivery: the sweep starts another run.
// Switching the endpoint off does.
func WebhookDelivery(ctx workflow.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
	changed := workflow.GetSignalChannel(ctx, contract.ChangedSignal)
	for {
		standing, err := attemptWebhook(ctx, in)
		if err != nil {
			return standing, err
		}
		if standing.Until == nil {
			workflow.SetCurrentDetails(ctx, "**"+string(standing.Status)+"**")
		} else if err := awaitWebhook(ctx, changed, *standing.Until); err != nil {
			return standing, err
		}
		// The look that comes next sees what was signalled meanwhile.
		if told := drain(changed); standing.Until == nil && !told {
			return standing, nil
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return standing, workflow.NewContinueAsNewError(ctx, contract.WebhookWorkflow, in)
		}
	}
}

// awaitWebhook ends when the next try is due, or when somebody has changed the delivery.
func awaitWebhook(ctx workflow.Context, changed workflow.ReceiveChannel, until time.Time) error {
	workflow.SetCurrentDetails(ctx, "**pending**, looked at again at "+until.Format(time.RFC3339))
	awaitChange(ctx, changed, until, "until the next try")
	return ctx.Err()
}

// WebhookTest sends a listener a test, once, from where deliveries are sent: what a firewall lets through
// depends on it.
func WebhookTest(ctx workflow.Context, in contract.WebhookTestInput) (contract.WebhookTested, error) {
	var tested contract.WebhookTested
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.WebhookTaskQueue,
		ScheduleToCloseTimeout: contract.WebhookTestTimeout + grace,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                fmt.Sprintf("test of the endpoint of project %d", in.ProjectID),
	}), contract.TestWebhookActivity, in).Get(ctx, &tested)
	return tested, err
}
