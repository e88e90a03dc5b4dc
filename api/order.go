package api

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

var errOrderNotFound = fail(ProblemCodeOrderNotFound, "no order of this id; POST /api/v1/purchases answers with the id of a new one")

// GetOrder reads an order.
func (h *handlers) GetOrder(ctx context.Context, r GetOrderRequestObject) (GetOrderResponseObject, error) {
	order, err := h.order(ctx, r.ID)
	return GetOrder200JSONResponse(orderBody(order)), err
}

func (h *handlers) order(ctx context.Context, orderID string) (store.Order, error) {
	order, err := h.db.GetOrder(ctx, callOf(ctx).key.ProjectID, orderID)
	return order, orElse(err, errOrderNotFound)
}

// GetOrderTimeline reads what happened to an order. Every order has an entry from its first moment on.
func (h *handlers) GetOrderTimeline(ctx context.Context, r GetOrderTimelineRequestObject) (GetOrderTimelineResponseObject, error) {
	entries, err := h.db.Timeline(ctx, callOf(ctx).key.ProjectID, r.ID, 0)
	if err == nil && len(entries) == 0 {
		err = errOrderNotFound
	}
	return GetOrderTimeline200JSONResponse{OrderID: r.ID, Items: each(entries, timelineBody)}, err
}

// ListUserOrders lists a user's orders, newest first.
func (h *handlers) ListUserOrders(ctx context.Context, r ListUserOrdersRequestObject) (ListUserOrdersResponseObject, error) {
	page, err := h.orders(ctx, postgres.OrderFilter{UserID: r.ID, Before: value(r.Params.Cursor), Limit: limitOf(r.Params.Limit)})
	if err == nil && len(page.Items) == 0 {
		_, err = h.user(ctx, r.ID) // nobody has no orders either
	}
	return ListUserOrders200JSONResponse(page), err
}

// AdminListOrders looks for orders.
func (h *handlers) AdminListOrders(ctx context.Context, r AdminListOrdersRequestObject) (AdminListOrdersResponseObject, error) {
	page, err := h.orders(ctx, postgres.OrderFilter{
		UserID:    value(r.Params.UserID),
		Status:    string(value(r.Params.Status)),
		Reason:    value(r.Params.Reason),
		SKU:       value(r.Params.Sku),
		Suspected: r.Params.Suspected,
		From:      r.Params.From,
		Until:     r.Params.To,
		Before:    value(r.Params.Cursor),
		Limit:     limitOf(r.Params.Limit),
	})
	return AdminListOrders200JSONResponse(page), err
}

func (h *handlers) orders(ctx context.Context, filter postgres.OrderFilter) (OrderPage, error) {
	limit := filter.Limit
	filter.Limit++ // one more tells whether there is a next page
	orders, err := h.db.ListOrders(ctx, callOf(ctx).key.ProjectID, filter)
	items, next := page(orders, limit, func(o store.Order) string { return o.OrderID })
	return OrderPage{Items: each(items, orderBody), NextCursor: next}, err
}

// AdminReplayOrder tries a canceled order again (seed 000, "Support service for dispute resolution").
func (h *handlers) AdminReplayOrder(ctx context.Context, r AdminReplayOrderRequestObject) (AdminReplayOrderResponseObject, error) {
	if err := h.accepting(); err != nil {
		return nil, err
	}
	call := callOf(ctx)
	replay := postgres.Replay{ProjectID: call.key.ProjectID, OrderID: r.ID, Actor: call.key.KeyID, Idempotency: call.idempotency}
	if r.Body != nil {
		replay.Reason = value(r.Body.Reason)
	}
	replayed, err := h.db.ReplayOrder(ctx, replay, h.now())
	conflict := errors.Is(err, postgres.ErrConflict)
	if err != nil && !conflict {
		return nil, err
	}
	order, err := h.order(ctx, r.ID)
	switch {
	case err != nil:
		return nil, err
	case conflict:
		return nil, fail(ProblemCodeOrderNotReplayable, "only a canceled order can be replayed; this one is "+string(order.Status))
	case !replayed:
		h.starter.Offer(contract.PurchaseInput{ProjectID: order.ProjectID, OrderID: order.OrderID, UserID: order.UserID,
			SKU: order.SKU, Quantity: order.Quantity, Attempt: order.Attempt})
	}
	return AdminReplayOrder202JSONResponse{
		Body:    Accepted{OrderID: r.ID, Status: AcceptedStatusProcessing},
		Headers: AdminReplayOrder202ResponseHeaders{Location: new(orderPath(r.ID)), IdempotencyReplayed: flag(replayed)},
	}, nil
}

func orderPath(orderID string) string { return "/api/v1/orders/" + orderID }

func orderBody(o store.Order) Order {
	body := Order{
		OrderID:       o.OrderID,
		UserID:        o.UserID,
		Sku:           o.SKU,
		Quantity:      o.Quantity,
		PriceCoins:    o.PriceCoins,
		RefundedCoins: o.RefundedCoins,
		Status:        OrderStatus(o.Status),
		Attempts:      o.Calls,
		Attempt:       o.Attempt,
		Suspected:     o.Suspected,
		CreatedAt:     o.CreatedAt.UTC(),
		UpdatedAt:     o.UpdatedAt.UTC(),
		FinishedAt:    utc(o.FinishedAt),
		Links: OrderLinks{
			Self:     orderPath(o.OrderID),
			Timeline: orderPath(o.OrderID) + "/timeline",
			Stream:   orderPath(o.OrderID) + "/stream",
		},
	}
	body.ConfirmBy = utc(o.ConfirmBy)
	if o.Risk != nil {
		body.Risk = &Risk{Score: o.Risk.Score, Reasons: o.Risk.Reasons}
	}
	if o.Reason != nil {
		body.Reason = &OrderReason{Code: string(o.Reason.Code), Message: o.Reason.Message}
		if o.Reason.ErrorCode != "" {
			body.Reason.ErrorCode, body.Reason.RetryAllowed = &o.Reason.ErrorCode, &o.Reason.RetryAllowed
		}
	}
	if o.Credit != nil {
		body.TransactionID, body.CreditedAmount, body.NewBalance = &o.Credit.TransactionID, o.Credit.CreditedAmount, o.Credit.NewBalance
	}
	return body
}

func timelineBody(e postgres.TimelineEntry) TimelineEntry {
	body := TimelineEntry{ID: e.ID, Attempt: e.Attempt, Event: e.Event, At: e.At.UTC()}
	if detail := object(e.Detail); detail != nil {
		body.Detail = &detail
	}
	return body
}

// object leaves out a detail that is none.
func object(detail json.RawMessage) json.RawMessage {
	if len(detail) == 0 || string(detail) == "null" {
		return nil
	}
	return detail
}
