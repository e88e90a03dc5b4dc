package api

import (
	"context"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

var errNoDelivery = fail(ProblemCodeOrderNotFound, "no such delivery; GET /api/v1/admin/checkout-orders/{order_id} lists an order's")

// AdminDecideCheckoutDelivery ends a delivery that is suspected, or has it delivered again.
func (h *handlers) AdminDecideCheckoutDelivery(ctx context.Context, r AdminDecideCheckoutDeliveryRequestObject) (AdminDecideCheckoutDeliveryResponseObject, error) {
	if r.Body.TransactionID != nil && r.Body.Decision != checkout.MarkDelivered {
		return nil, invalid("transaction_id", "goes with the decision delivered only")
	}
	call := callOf(ctx)
	done, err := h.db.DecideDelivery(ctx, postgres.DeliveryDecision{
		ProjectID:     call.key.ProjectID,
		OrderID:       r.OrderID,
		Number:        int(r.Number),
		Decision:      r.Body.Decision,
		TransactionID: value(r.Body.TransactionID),
		Reason:        r.Body.Reason,
		Actor:         call.key.KeyID,
		Idempotency:   call.idempotency,
	}, h.now())
	if err != nil {
		return nil, orElse(refusedAs(ProblemCodeDeliveryNotDecidable, err), errNoDelivery)
	}
	if done.Change != nil {
		h.starter.OfferCheckout(*done.Change)
	}
	h.watcher.Changed(contract.CheckoutWorkflowID(r.OrderID))
	return AdminDecideCheckoutDelivery200JSONResponse{
		Body:    DecidedDelivery{OrderID: r.OrderID, Status: done.Status, Delivery: checkoutDelivery(r.OrderID, done.Delivery)},
		Headers: AdminDecideCheckoutDelivery200ResponseHeaders{IdempotencyReplayed: flag(done.Replayed)},
	}, nil
}

func checkoutDelivery(orderID int64, d checkout.Delivery) CheckoutDelivery {
	body := CheckoutDelivery{
		Number:             d.Number,
		LineID:             d.LineID,
		Sku:                d.SKU,
		Quantity:           d.Quantity,
		Amount:             d.Ask.Amount,
		Currency:           d.Ask.Currency,
		Status:             d.Status,
		MainProductOrderID: contract.CheckoutDeliveryID(orderID, d.Number),
		Round:              d.Round,
		Calls:              d.Calls,
		MaybeCredited:      d.Status != checkout.DeliveryDelivered && d.Unsettled > 0,
		Reason:             d.Reason,
	}
	if d.Credit != nil {
		body.TransactionID, body.CreditedAmount, body.NewBalance = optional.Text(d.Credit.TransactionID), d.Credit.CreditedAmount, d.Credit.NewBalance
	}
	return body
}
