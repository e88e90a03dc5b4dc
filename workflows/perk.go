package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

// Perk tells a user that something bought for a time has ended (seed 000, "premium features for a period"). It is
// started with a delay until the end. It decides about nothing: the user is entitled until the moment in the
// database, whether this run is late, early or gone. What was extended meanwhile is slept on.
func Perk(ctx workflow.Context, in contract.PerkInput) error {
	for !workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
		end, err := endPerk(ctx, in)
		if err != nil || end.Until == nil {
			return err
		}
		workflow.SetCurrentDetails(ctx, "extended until "+end.Until.Format(time.RFC3339))
		nap := min(end.Until.Add(store.PerkJitter(in.OrderID)).Sub(workflow.Now(ctx)), longestNap)
		if err := workflow.Sleep(ctx, max(nap, time.Second)); err != nil {
			return err
		}
	}
	return workflow.NewContinueAsNewError(ctx, contract.PerkWorkflow, in)
}
