// Package activities holds the side effects of the workflows. Every activity may run more than once,
// also at the same time as another run of itself, and changes nothing the second time.
package activities

import (
	"context"
	"errors"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Purchase holds the database steps of a purchase.
type Purchase struct {
	DB *postgres.DB
	// OrderChanged wakes those in this process who wait for the order.
	OrderChanged func(orderID string)
}

// Reserve holds coins and stock, or finds that the API has already done so.
func (a *Purchase) Reserve(ctx context.Context, in contract.PurchaseInput) (contract.Reservation, error) {
	reservation, err := a.DB.FindReservation(ctx, in.OrderID)
	if !errors.Is(err, postgres.ErrNotFound) {
		return reservation, classify(err)
	}
	_, err = a.DB.ReservePurchase(ctx, postgres.Purchase{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		UserID:    in.UserID,
		SKU:       in.SKU,
		Quantity:  in.Quantity,
	}, time.Now())
	var refusal *store.Refusal
	if errors.As(err, &refusal) {
		return contract.Reservation{Refusal: refusal}, nil
	}
	if err != nil {
		return contract.Reservation{}, classify(err)
	}
	reservation, err = a.DB.FindReservation(ctx, in.OrderID)
	return reservation, classify(err)
}

// Capture spends the held coins and sells the reserved pieces, once. An order that support has refunded meanwhile
// stays canceled and becomes suspected, so that support settles it.
func (a *Purchase) Capture(ctx context.Context, in contract.CaptureInput) (contract.PurchaseResult, error) {
	status, err := a.DB.CaptureOrder(ctx, in, time.Now())
	if err != nil {
		return contract.PurchaseResult{}, classify(err)
	}
	if status == store.Canceled {
		endedBySupport, err := a.DB.NoteLateCredit(ctx, in, time.Now())
		if err != nil {
			return contract.PurchaseResult{}, classify(err)
		}
		if endedBySupport {
			return contract.PurchaseResult{Status: status}, nil
		}
	}
	if status != store.Completed && status != store.Refunded { // refunded: it was completed before
		return contract.PurchaseResult{}, inconsistent("order %s was credited by the main product but is %s", in.OrderID, status)
	}
	a.OrderChanged(in.OrderID)
	return contract.PurchaseResult{Status: status}, nil
}

// Release gives coins and stock back, once. An order that was captured meanwhile stays completed.
func (a *Purchase) Release(ctx context.Context, in contract.ReleaseInput) (contract.PurchaseResult, error) {
	status, err := a.DB.ReleaseOrder(ctx, in, time.Now())
	if err != nil {
		return contract.PurchaseResult{}, classify(err)
	}
	a.OrderChanged(in.OrderID)
	if status != store.Canceled {
		logger(ctx).Warn("an order to cancel was over already", "order_id", in.OrderID, "status", status)
		return contract.PurchaseResult{Status: status}, nil
	}
	return contract.PurchaseResult{Status: status, Reason: &in.Reason}, nil
}
