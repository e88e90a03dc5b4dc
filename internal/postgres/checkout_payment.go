package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// RecordedPayment says what became of a payment.
type RecordedPayment struct {
	PaymentID int64 // 0: it contradicts what is recorded, and only an alert was raised
	OrderID   int64
	UserID    string
	Status    checkout.OrderStatus // of the order
	checkout.Decision
	Change *CheckoutChange // of which the order's workflow is to know; nil: none
}

// RecordPayment decides about a payment of an order and writes it down, once however often it is told. It
// fails with ErrNotFound.
func (db *DB) RecordPayment(ctx context.Context, orderID int64, p checkout.Payment, now time.Time) (recorded RecordedPayment, err error) {
	for range raceRetries {
		err = db.withCheckout(ctx, orderID, now, func(o *lockedCheckout) error {
			recorded, err = o.record(ctx, p)
			return err
		})
		if !violates(err, "checkout_payments_once") {
			break // else it was told for another order in the same moment, which the next look finds
		}
	}
	return recorded, err
}

func (o *lockedCheckout) record(ctx context.Context, p checkout.Payment) (RecordedPayment, error) {
	recorded := RecordedPayment{OrderID: o.row.OrderID, UserID: o.row.UserID, Status: o.status()}
	known, err := o.q.FindCheckoutPayment(ctx, sqlc.FindCheckoutPaymentParams{Provider: p.Provider, ProviderID: p.ProviderID})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return recorded, fmt.Errorf("find payment: %w", err)
	}
	recorded.PaymentID = known.PaymentID
	recorded.Decision = checkout.DecidePayment(o.order, p, o.now)
	if known.PaymentID != 0 && known.OrderID != o.row.OrderID {
		recorded.Decision = checkout.Decision{Outcome: checkout.Held, Reason: checkout.PaymentChanged}
	}
	switch {
	case recorded.Known:
		return recorded, nil
	case recorded.Reason == checkout.PaymentChanged:
		recorded.PaymentID = 0
		return recorded, o.alertAbout(ctx, "payment_differs", p.Provider+"/"+p.ProviderID,
			map[string]any{
				"order_id":          o.row.OrderID,
				"recorded_order_id": known.OrderID,
				"amount":            p.Amount,
				"currency":          p.Currency,
				"recorded_amount":   known.Amount,
				"recorded_currency": known.Currency,
			})
	}
	recorded.PaymentID, err = o.q.InsertCheckoutPayment(ctx, sqlc.InsertCheckoutPaymentParams{
		OrderID:    o.row.OrderID,
		Provider:   p.Provider,
		ProviderID: p.ProviderID,
		Amount:     p.Amount,
		Currency:   p.Currency,
		Sandbox:    p.Sandbox,
		Outcome:    string(recorded.Outcome),
		Reason:     string(recorded.Reason),
		Now:        o.now,
	})
	if err != nil {
		return recorded, fmt.Errorf("write payment: %w", err)
	}
	return recorded, o.conclude(ctx, &recorded, p)
}

const alertPaymentHeld = "payment_held"

// conclude does what the decision means for the order.
func (o *lockedCheckout) conclude(ctx context.Context, recorded *RecordedPayment, p checkout.Payment) error {
	switch recorded.Outcome {
	case checkout.Accepted:
		if err := o.pay(ctx, p.Amount); err != nil {
			return err
		}
		recorded.Change = new(o.change())
	case checkout.Held:
		err := o.alertAbout(ctx, alertPaymentHeld, strconv.FormatInt(recorded.PaymentID, 10),
			map[string]any{
				"order_id":    o.row.OrderID,
				"reason":      recorded.Reason,
				"amount":      p.Amount,
				"currency":    p.Currency,
				"provider":    p.Provider,
				"provider_id": p.ProviderID,
			})
		if err != nil {
			return err
		}
	case checkout.Returned:
		if err := o.owePayment(ctx, recorded.PaymentID, p.Amount); err != nil {
			return err
		}
	}
	recorded.Status = o.status()
	return nil
}

// PaymentReview is an operator's word on a held payment.
type PaymentReview struct {
	ProjectID int32
	PaymentID int64
	Accept    bool
	Actor     string
	Reason    string
}

// ReviewPayment ends a held payment. It is refused when it is not held, or can't be taken, and fails with ErrNotFound.
func (db *DB) ReviewPayment(ctx context.Context, r PaymentReview, now time.Time) (recorded RecordedPayment, err error) {
	found, err := db.q.GetCheckoutPayment(ctx, sqlc.GetCheckoutPaymentParams{PaymentID: r.PaymentID, ProjectID: r.ProjectID})
	if err != nil {
		return recorded, notFound(err)
	}
	err = db.withCheckout(ctx, found.CheckoutPayment.OrderID, now, func(o *lockedCheckout) error {
		recorded, err = o.review(ctx, r)
		return err
	})
	return recorded, err
}

func (o *lockedCheckout) review(ctx context.Context, r PaymentReview) (RecordedPayment, error) {
	recorded := RecordedPayment{PaymentID: r.PaymentID, OrderID: o.row.OrderID, UserID: o.row.UserID}
	row, err := o.q.GetCheckoutPayment(ctx, sqlc.GetCheckoutPaymentParams{
		PaymentID: r.PaymentID,
		ProjectID: r.ProjectID,
	}) // again, under the order's lock
	if err != nil {
		return recorded, notFound(err)
	}
	held := paymentRecord(row.CheckoutPayment)
	decision, refusal := checkout.DecideReview(o.order, held, r.Accept, o.now)
	if refusal != nil {
		return recorded, refusal
	}
	recorded.Decision = decision
	err = o.q.DecideCheckoutPayment(ctx, sqlc.DecideCheckoutPaymentParams{
		PaymentID: r.PaymentID,
		Outcome:   string(decision.Outcome),
		Reason:    string(decision.Reason),
		Actor:     r.Actor,
		Now:       o.now,
	})
	if err != nil {
		return recorded, fmt.Errorf("decide payment: %w", err)
	}
	if err := o.conclude(ctx, &recorded, held.Payment); err != nil {
		return recorded, err
	}
	subject := strconv.FormatInt(r.PaymentID, 10)
	if err := o.q.ResolveAlert(ctx, sqlc.ResolveAlertParams{
		ProjectID: r.ProjectID,
		Kind:      alertPaymentHeld,
		Subject:   subject,
		Now:       o.now,
	}); err != nil {
		return recorded, fmt.Errorf("resolve alert: %w", err)
	}
	return recorded, audit(ctx, o.q, r.ProjectID, r.Actor, "checkout.payment", "payment/"+subject,
		map[string]any{"order_id": o.row.OrderID, "accept": r.Accept, "outcome": decision.Outcome, "reason": r.Reason}, o.now)
}
