package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
)

// Checkout delivers an order of a cart or an item when it is paid, has the main product give its part, and
// ends the order when it is not paid in time (seeds 002, 004). PostgreSQL decides what the order is: each
// wake, by the timer or by a signal, only makes it look. So no signal that is lost or doubled matters.
//
// A cancellation of the run, by an operator, does not end the order: what is due is still done, and the sweep
// starts another run when there is something to do.
func Checkout(ctx workflow.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
	changed := workflow.GetSignalChannel(ctx, contract.ChangedSignal)
	for {
		look, canceled, again := ctx, ctx.Err() != nil, false
		if canceled {
			look, _ = workflow.NewDisconnectedContext(ctx)
		}
		settled, err := settleCheckout(look, in)
		switch {
		case err != nil && !canceled && ctx.Err() != nil:
			continue // canceled while it looked
		case err != nil:
			return settled, err
		case settled.Until != nil && canceled:
			return settled, temporal.NewCanceledError("the order can be paid until " + settled.Until.Format(time.RFC3339))
		case settled.Until != nil:
			awaitCheckout(ctx, changed, *settled.Until)
		case len(settled.Deliveries) > 0 && workflow.GetVersion(ctx, changeCheckoutDeliveries, workflow.DefaultVersion, 1) == 1:
			if err := deliverCheckout(ctx, settled.Deliveries); err != nil {
				return settled, err
			}
			settled.Deliveries = nil
			again = true
		default:
			workflow.SetCurrentDetails(ctx, "**"+string(settled.Status)+"**")
		}
		// The look that comes next sees what was signalled meanwhile, and what the deliveries have come to.
		told := again
		if drain(changed) {
			told = true
		}
		if settled.Until == nil && !told {
			return settled, nil
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return settled, workflow.NewContinueAsNewError(ctx, contract.CheckoutWorkflow, in)
		}
	}
}

// awaitCheckout ends when the order expires, somebody has changed it, or the run is canceled.
func awaitCheckout(ctx workflow.Context, changed workflow.ReceiveChannel, until time.Time) {
	workflow.SetCurrentDetails(ctx, "**new**, to be paid until "+until.Format(time.RFC3339))
	awaitChange(ctx, changed, until, "until the order expires")
}
