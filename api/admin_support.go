package api

import (
	"context"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// AdminResolveOrder settles an order whose outcome nobody knows (seed 000, "Support service for dispute resolution").
func (h *handlers) AdminResolveOrder(ctx context.Context, r AdminResolveOrderRequestObject) (AdminResolveOrderResponseObject, error) {
	call := callOf(ctx)
	resolution := postgres.Resolution{
		ProjectID:     call.key.ProjectID,
		ResolutionID:  "res_" + xid.New().String(),
		OrderID:       r.ID,
		Action:        store.ResolveAction(r.Body.Action),
		TransactionID: value(r.Body.TransactionID),
		Reason:        r.Body.Reason,
		Actor:         call.key.KeyID,
		Policy:        h.policy,
		Idempotency:   call.idempotency,
	}
	if (resolution.Action == store.ResolveMarkDelivered) != (resolution.TransactionID != "") {
		return nil, invalid("transaction_id", "is needed with mark_delivered, and with nothing else")
	}
	if resolution.Action == store.ResolveRetry {
		if err := h.accepting(); err != nil {
			return nil, err
		}
	}
	done, err := h.db.ResolveOrder(ctx, resolution, h.now())
	if err != nil {
		return nil, orElse(err, errOrderNotFound)
	}
	if done.Approval != nil {
		return AdminResolveOrder202JSONResponse{Body: approvalBody(*done.Approval), Headers: AdminResolveOrder202ResponseHeaders{
			Location: new(approvalPath(*done.Approval)), IdempotencyReplayed: flag(done.Replayed)}}, nil
	}
	h.resolved(done)
	return AdminResolveOrder200JSONResponse{
		Body:    orderBody(done.Order),
		Headers: AdminResolveOrder200ResponseHeaders{IdempotencyReplayed: flag(done.Replayed)},
	}, nil
}

// resolved starts the workflow of an order that is tried again, and wakes who waits for one that is over.
func (h *handlers) resolved(done postgres.Resolved) {
	order := done.Order
	switch {
	case order.Status.Final():
		h.watcher.Changed(order.OrderID)
	case !done.Replayed:
		h.starter.Offer(contract.PurchaseInput{ProjectID: order.ProjectID, OrderID: order.OrderID, UserID: order.UserID,
			SKU: order.SKU, Quantity: order.Quantity, Attempt: order.Attempt})
	}
}

// AdminRefundOrder gives coins of a completed order back.
func (h *handlers) AdminRefundOrder(ctx context.Context, r AdminRefundOrderRequestObject) (AdminRefundOrderResponseObject, error) {
	call := callOf(ctx)
	done, err := h.db.RefundOrder(ctx, postgres.Refund{
		ProjectID:   call.key.ProjectID,
		RefundID:    "rfd_" + xid.New().String(),
		OrderID:     r.ID,
		AmountCoins: value(r.Body.AmountCoins),
		Reason:      r.Body.Reason,
		Actor:       call.key.KeyID,
		Policy:      h.policy,
		Idempotency: call.idempotency,
	}, h.now())
	if err != nil {
		return nil, orElse(err, errOrderNotFound)
	}
	if done.Approval != nil {
		return AdminRefundOrder202JSONResponse{Body: approvalBody(*done.Approval), Headers: AdminRefundOrder202ResponseHeaders{
			Location: new(approvalPath(*done.Approval)), IdempotencyReplayed: flag(done.Replayed)}}, nil
	}
	return AdminRefundOrder201JSONResponse{
		Body:    Refund{RefundID: done.RefundID, AmountCoins: done.AmountCoins, Order: orderBody(done.Order)},
		Headers: AdminRefundOrder201ResponseHeaders{IdempotencyReplayed: flag(done.Replayed)},
	}, nil
}
