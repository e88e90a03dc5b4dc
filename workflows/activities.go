package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
)

// One typed wrapper for each activity, so that a workflow reads as plain Go and cannot mismatch types.

func reserve(ctx workflow.Context, in contract.PurchaseInput) (contract.Reservation, error) {
	return localThenRegular[contract.Reservation](ctx, contract.ReserveActivity, "hold coins and stock", in)
}

func capture(ctx workflow.Context, in contract.CaptureInput) (contract.PurchaseResult, error) {
	return localThenRegular[contract.PurchaseResult](ctx, contract.CaptureActivity, "spend the held coins", in)
}

func release(ctx workflow.Context, in contract.ReleaseInput) (contract.PurchaseResult, error) {
	var result contract.PurchaseResult
	err := workflow.ExecuteActivity(withDatabaseRetries(ctx, "give back coins and stock"), contract.ReleaseActivity, in).Get(ctx, &result)
	return result, err
}

func deliverFirst(ctx workflow.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	var outcome contract.Outcome
	err := workflow.ExecuteLocalActivity(withFirstDelivery(ctx), contract.DeliverFirstActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func joinDelivery(ctx workflow.Context, in contract.DeliveryInput, call contract.CallInFlight) (contract.Outcome, error) {
	in.JoinOnly = true
	var outcome contract.Outcome
	err := workflow.ExecuteActivity(withJoin(ctx, call), contract.DeliverActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func deliverAgain(ctx workflow.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	var outcome contract.Outcome
	err := workflow.ExecuteActivity(withDeliveryRetries(ctx, in.Delivery.DeliverySettings), contract.DeliverActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func inquire(ctx workflow.Context, in contract.InquiryInput) (contract.Outcome, error) {
	var outcome contract.Outcome
	err := workflow.ExecuteActivity(withInquiry(ctx), contract.InquireActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func replenish(ctx workflow.Context) (int, error) {
	var products int
	err := workflow.ExecuteActivity(withSweep(ctx, "restock what is low"), contract.ReplenishActivity).Get(ctx, &products)
	return products, err
}

func raiseStockAlerts(ctx workflow.Context) (contract.ReplenishmentReport, error) {
	var report contract.ReplenishmentReport
	err := workflow.ExecuteActivity(withSweep(ctx, "alerts about low stock"), contract.StockAlertsActivity).Get(ctx, &report)
	return report, err
}

func endPerk(ctx workflow.Context, in contract.PerkInput) (contract.PerkEnd, error) {
	var end contract.PerkEnd
	err := workflow.ExecuteActivity(withDatabaseRetries(ctx, "tell of the end"), contract.EndPerkActivity, in).Get(ctx, &end)
	return end, err
}

func settleSubscription(ctx workflow.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
	return localThenRegular[contract.SettledSubscription](ctx, contract.SettleSubscriptionActivity, "remind, or tell of the end", in)
}

func settleWindow(ctx workflow.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
	return localThenRegular[contract.SettledWindow](ctx, contract.SettleWindowActivity, "close the window, or pay for it", in)
}

func deliverReward(ctx workflow.Context, in contract.RewardInput, gift string) (contract.RewardResult, error) {
	var result contract.RewardResult
	err := workflow.ExecuteActivity(withRewardRetries(ctx, gift), contract.DeliverRewardActivity, in).Get(ctx, &result)
	return result, err
}

func recordReward(ctx workflow.Context, in contract.RecordRewardInput) error {
	return workflow.ExecuteActivity(withDatabaseRetries(ctx, "write down: "+string(in.Result.Status)), contract.RecordRewardActivity, in).Get(ctx, nil)
}

func settleCheckout(ctx workflow.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
	return localThenRegular[contract.SettledCheckout](ctx, contract.SettleCheckoutActivity, "deliver the order, or end it", in)
}

func deliverToMainProduct(ctx workflow.Context, in contract.CheckoutDelivery) (contract.Outcome, error) {
	var outcome contract.Outcome
	err := workflow.ExecuteActivity(withDeliveryTries(ctx, in), contract.DeliverCheckoutActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func inquireDelivery(ctx workflow.Context, in contract.CheckoutDelivery) (contract.Outcome, error) {
	var outcome contract.Outcome
	err := workflow.ExecuteActivity(withInquiry(ctx), contract.InquireCheckoutActivity, in).Get(ctx, &outcome)
	return outcome, err
}

func recordDelivery(ctx workflow.Context, in contract.RecordDeliveryInput) (contract.RecordedDelivery, error) {
	var recorded contract.RecordedDelivery
	err := workflow.ExecuteActivity(withDatabaseRetries(ctx, "write down: "+string(in.Outcome.Kind)), contract.RecordCheckoutDeliveryActivity, in).Get(ctx, &recorded)
	return recorded, err
}

// localThenRegular runs a database step inside the workflow task, which costs no history but a marker,
// and falls back to a regular activity that never gives up when the database is away.
func localThenRegular[Result any](ctx workflow.Context, name, summary string, input any) (Result, error) {
	var result Result
	err := workflow.ExecuteLocalActivity(withLocalDatabase(ctx, summary), name, input).Get(ctx, &result)
	if err == nil || ctx.Err() != nil {
		return result, err
	}
	err = workflow.ExecuteActivity(withDatabaseRetries(ctx, summary), name, input).Get(ctx, &result)
	return result, err
}

func keepEventPartitions(ctx workflow.Context) (contract.EventUpkeep, error) {
	var report contract.EventUpkeep
	err := workflow.ExecuteActivity(withSweep(ctx, "make and drop partitions of events"), contract.EventPartitionsActivity).Get(ctx, &report)
	return report, err
}

func forgetEventKeys(ctx workflow.Context) (int64, error) {
	var keys int64
	err := workflow.ExecuteActivity(withSweep(ctx, "forget keys of old events"), contract.ForgetEventKeysActivity).Get(ctx, &keys)
	return keys, err
}

func attemptWebhook(ctx workflow.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
	var standing contract.WebhookStanding
	err := workflow.ExecuteActivity(withWebhook(ctx, in), contract.AttemptWebhookActivity, in).Get(ctx, &standing)
	return standing, err
}
