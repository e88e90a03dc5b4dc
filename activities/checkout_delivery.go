package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Deliver asks the main product for its part of a line, once. Without a final answer it fails, and Temporal
// retries it. What has been settled otherwise meanwhile is not asked for.
func (a *Checkout) Deliver(ctx context.Context, in contract.CheckoutDelivery) (contract.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, in.Settings.Timeout())
	defer cancel()
	call, err := a.begin(ctx, in)
	switch {
	case err != nil:
		return contract.Outcome{}, retryDelivery(contract.Outcome{Kind: contract.Unknown, Error: "not_sent"})
	case !call.Due:
		return contract.Outcome{Kind: contract.NotDue}, nil
	}
	answer := a.Product.Credit(ctx, mainproduct.CreditRequest{
		Endpoint:    call.Ask.Endpoint,
		UserID:      in.UserID,
		Amount:      call.Ask.Amount,
		Currency:    call.Ask.Currency,
		OrderID:     in.MainProductOrderID(),
		ProductName: call.Ask.ProductName,
		Parameters:  call.Ask.Parameters,
	})
	if answer.Kind == mainproduct.Unknown {
		if !answer.MaybeCredited {
			a.settleCall(ctx, in)
		}
		return contract.Outcome{}, retryDelivery(outcomeOf(answer))
	}
	return outcomeOfDelivery(answer), nil
}

// begin writes down that a call is made before it is made. While the database is away nothing is sent.
func (a *Checkout) begin(ctx context.Context, in contract.CheckoutDelivery) (postgres.CheckoutCall, error) {
	for {
		call, err := a.DB.BeginCheckoutDelivery(ctx, in, time.Now())
		if err == nil {
			return call, nil
		}
		select {
		case <-time.After(beginCallPause):
		case <-ctx.Done():
			return call, err
		}
	}
}

// settleCallTimeout bounds a note that may be missing: the call then counts as one that may have been credited.
const settleCallTimeout = 2 * time.Second

func (a *Checkout) settleCall(ctx context.Context, in contract.CheckoutDelivery) {
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleCallTimeout)
	defer cancel()
	if err := a.DB.SettleCheckoutCall(noting, in, time.Now()); err != nil {
		logger(ctx).Warn("a call that had no effect counts as one that may have had", "order_id", in.MainProductOrderID(), "error", err)
	}
}

// Inquire asks what became of a delivery whose calls brought no final answer.
func (a *Checkout) Inquire(ctx context.Context, in contract.CheckoutDelivery) (contract.Outcome, error) {
	if !a.Product.HasInquiry() {
		return contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}, nil
	}
	answer := a.Product.Inquire(ctx, in.MainProductOrderID())
	if answer.Kind == mainproduct.Unknown {
		return contract.Outcome{}, retryDelivery(outcomeOf(answer))
	}
	return outcomeOfDelivery(answer), nil
}

// outcomeOfDelivery promises nothing about coins, as the reason of a purchase does.
func outcomeOfDelivery(answer mainproduct.Answer) contract.Outcome {
	outcome := outcomeOf(answer)
	if outcome.Kind == contract.Refused {
		outcome.Reason = &store.Reason{
			Code:         store.MainProductRefused,
			ErrorCode:    answer.Code,
			Message:      answer.Message,
			RetryAllowed: answer.RetryAllowed,
		}
	}
	return outcome
}

// RecordDelivery writes down what became of a delivery, and ends the order if it was the last.
func (a *Checkout) RecordDelivery(ctx context.Context, in contract.RecordDeliveryInput) (contract.RecordedDelivery, error) {
	recorded, err := a.DB.RecordDelivery(ctx, in, time.Now())
	if err == nil {
		a.OrderChanged(contract.CheckoutWorkflowID(in.Delivery.OrderID))
	}
	return recorded, classify(err)
}
