package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

var errNoCheckout = fail(ProblemCodeOrderNotFound, "no order of this id; GET /api/v1/admin/checkout-orders lists them")

// AdminListCheckoutOrders lists orders of carts and items.
func (h *handlers) AdminListCheckoutOrders(ctx context.Context, r AdminListCheckoutOrdersRequestObject) (AdminListCheckoutOrdersResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	orders, err := h.db.ListCheckouts(ctx, callOf(ctx).key.ProjectID,
		postgres.CheckoutFilter{UserID: value(r.Params.UserID), Status: string(value(r.Params.Status)), Before: before, Limit: limit + 1,
			Delivery: checkout.DeliveryStatus(value(r.Params.Delivery))})
	items, next := page(orders, limit, func(o postgres.CheckoutOrder) string { return strconv.FormatInt(o.OrderID, 10) })
	return AdminListCheckoutOrders200JSONResponse{Items: each(items, checkoutSummary), NextCursor: next}, err
}

func checkoutSummary(o postgres.CheckoutOrder) CheckoutOrderSummary {
	content := checkout.ShowOrder(o.Order).Content
	body := CheckoutOrderSummary{
		OrderID:      o.OrderID,
		UserID:       o.UserID,
		Status:       o.Status,
		Mode:         CheckoutOrderSummaryMode(checkout.ModeOf(o.Sandbox)),
		IsFree:       content.IsFree,
		Price:        content.Price,
		VirtualPrice: content.VirtualPrice,
		Refunded:     o.Refunded,
		Reason:       optional.Text(o.Reason),
		CartID:       optional.Text(o.CartID),
		ExternalID:   optional.Text(o.ExternalID),
		PaidAt:       utc(o.PaidAt),
		FinishedAt:   utc(o.FinishedAt),
		CreatedAt:    o.CreatedAt.UTC(),
		UpdatedAt:    o.UpdatedAt.UTC(),
	}
	if !o.ExpiresAt.IsZero() {
		body.ExpiresAt = &o.ExpiresAt
	}
	return body
}

// AdminGetCheckoutOrder reads an order with all that happened to it.
func (h *handlers) AdminGetCheckoutOrder(ctx context.Context, r AdminGetCheckoutOrderRequestObject) (AdminGetCheckoutOrderResponseObject, error) {
	order, err := h.db.GetCheckoutWhole(ctx, callOf(ctx).key.ProjectID, r.OrderID)
	if err != nil {
		return nil, orElse(err, errNoCheckout)
	}
	return AdminGetCheckoutOrder200JSONResponse{
		Order:      checkoutSummary(order),
		Lines:      order.Lines,
		Deliveries: each(order.Deliveries, func(d checkout.Delivery) CheckoutDelivery { return checkoutDelivery(order.OrderID, d) }),
		Refunds:    each(order.Refunds, func(refund checkout.Refund) CheckoutRefund { return refund }),
		Payments: each(order.Payments, func(p checkout.PaymentRecord) CheckoutPayment {
			return checkoutPayment(postgres.ListedPayment{OrderID: order.OrderID, PaymentRecord: p})
		}),
	}, nil
}

func checkoutPayment(p postgres.ListedPayment) CheckoutPayment {
	body := CheckoutPayment{
		OrderID:    p.OrderID,
		Provider:   p.Payment.Provider,
		ProviderID: p.Payment.ProviderID,
		Amount:     p.Payment.Amount,
		Currency:   p.Payment.Currency,
		Sandbox:    p.Payment.Sandbox,
		Outcome:    p.Decision.Outcome,
		Reason:     p.Decision.Reason,
		CreatedAt:  p.At.UTC(),
		DecidedBy:  optional.Text(p.DecidedBy),
		DecidedAt:  utc(p.DecidedAt),
	}
	if p.PaymentID != 0 {
		body.PaymentID = &p.PaymentID
	}
	return body
}

// AdminRefundCheckoutOrder gives the money of an order back, or of a part of it.
func (h *handlers) AdminRefundCheckoutOrder(ctx context.Context, r AdminRefundCheckoutOrderRequestObject) (AdminRefundCheckoutOrderResponseObject, error) {
	call := callOf(ctx)
	refund, replayed, err := h.db.RefundCheckout(ctx, postgres.CheckoutRefund{
		ProjectID:   call.key.ProjectID,
		OrderID:     r.OrderID,
		Lines:       value(r.Body.Lines),
		Reason:      r.Body.Reason,
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}, h.now())
	if err != nil {
		return nil, orElse(refusedAs(ProblemCodeOrderNotRefundable, err), errNoCheckout)
	}
	h.starter.OfferWebhooks()
	return AdminRefundCheckoutOrder200JSONResponse{
		Body:    refund,
		Headers: AdminRefundCheckoutOrder200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, nil
}

// refusedAs tells a refusal of the rules of checkouts in the shape of v1.
func refusedAs(code ProblemCode, err error) error {
	var refusal *checkout.Refusal
	var owned *inventory.Refusal
	switch {
	case errors.As(err, &refusal):
		f := fail(code, refusal.Message)
		for _, detail := range refusal.Details {
			f.fields = append(f.fields, FieldProblem{detail.Property, detail.Message})
		}
		return f
	case errors.As(err, &owned):
		return fail(code, owned.Message)
	default:
		return err
	}
}

// AdminListCheckoutPayments lists payments with what became of them.
func (h *handlers) AdminListCheckoutPayments(ctx context.Context, r AdminListCheckoutPaymentsRequestObject) (AdminListCheckoutPaymentsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	payments, err := h.db.ListPayments(ctx, callOf(ctx).key.ProjectID, postgres.PaymentFilter{
		Outcome: string(value(r.Params.Outcome)),
		Before:  before,
		Limit:   limit + 1,
	})
	items, next := page(payments, limit, func(p postgres.ListedPayment) string { return strconv.FormatInt(p.PaymentID, 10) })
	return AdminListCheckoutPayments200JSONResponse{Items: each(items, checkoutPayment), NextCursor: next}, err
}

// AdminDecideCheckoutPayment ends a held payment.
func (h *handlers) AdminDecideCheckoutPayment(ctx context.Context, r AdminDecideCheckoutPaymentRequestObject) (AdminDecideCheckoutPaymentResponseObject, error) {
	key := callOf(ctx).key
	recorded, err := h.db.ReviewPayment(ctx, postgres.PaymentReview{
		ProjectID: key.ProjectID,
		PaymentID: r.PaymentID,
		Accept:    r.Body.Accept,
		Actor:     key.KeyID,
		Reason:    r.Body.Reason,
	}, h.now())
	if err != nil {
		return nil, orElse(refusedAs(ProblemCodePaymentNotDecidable, err), fail(ProblemCodePaymentNotFound, "no payment of this id; GET /api/v1/admin/checkout-payments lists them"))
	}
	if recorded.Change != nil {
		h.checkoutChanged(*recorded.Change)
	}
	return AdminDecideCheckoutPayment200JSONResponse(takenBody(recorded)), nil
}
