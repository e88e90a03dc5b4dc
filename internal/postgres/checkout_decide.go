package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/checkout"
)

// DeliveryDecision is an admin's word on a delivery that is suspected.
type DeliveryDecision struct {
	ProjectID     int32
	OrderID       int64
	Number        int
	Decision      checkout.DeliveryDecision
	TransactionID string // the main product's, with checkout.MarkDelivered; may be empty
	Reason        string
	Actor         string
	Idempotency   *Idempotency
}

// DecidedDelivery is how it stands then.
type DecidedDelivery struct {
	Delivery checkout.Delivery
	Status   checkout.OrderStatus
	Change   *CheckoutChange // of which the order's workflow is to know; nil: none
	Replayed bool            // the idempotency key was used before
}

// DecideDelivery ends a delivery that is suspected, or has it delivered again: the first who decides wins. It
// is refused with *checkout.Refusal, and fails with ErrNotFound, ErrBeingDelivered, ErrTransactionClash and
// ErrIdempotencyKeyReused.
func (db *DB) DecideDelivery(ctx context.Context, in DeliveryDecision, now time.Time) (done DecidedDelivery, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		done = DecidedDelivery{}
		q, resource := db.q.WithTx(tx), "checkout-delivery/"+xid.New().String() // tells two requests apart
		first, err := in.Idempotency.claim(ctx, q, in.ProjectID, resource, now)
		if err != nil {
			return err
		}
		o, err := lockCheckout(ctx, tx, q, in.OrderID, now)
		if err != nil {
			return err
		}
		if o.row.ProjectID != in.ProjectID {
			return ErrNotFound
		}
		if done.Replayed = first != resource; !done.Replayed {
			if err := o.decide(ctx, in, &done); err != nil {
				return err
			}
		}
		d, err := o.delivery(in.Number)
		if err != nil {
			return err
		}
		done.Delivery, done.Status = *d, o.status()
		return nil
	})
	return done, orClash(err)
}

func (o *lockedCheckout) decide(ctx context.Context, in DeliveryDecision, done *DecidedDelivery) error {
	d, err := o.delivery(in.Number)
	if err != nil {
		return err
	}
	decided, refusal := d.Decided(in.Decision, in.TransactionID)
	if refusal != nil {
		return refusal
	}
	*d = decided
	switch in.Decision {
	case checkout.RefundUndecided:
		err = o.refundLine(ctx, decided.LineID, in)
	case checkout.MarkDelivered:
		err = o.ownTransaction(ctx, in.TransactionID)
	case checkout.DeliverAgain: // its workflow does
	}
	if err != nil {
		return err
	}
	again := in.Decision == checkout.DeliverAgain
	if err := o.finish(ctx, again); err != nil {
		return err
	}
	if again {
		done.Change = new(o.change())
	}
	return audit(ctx, o.q, in.ProjectID, in.Actor, "checkout.delivery", checkoutReference(o.row.OrderID)+"/"+strconv.Itoa(in.Number),
		map[string]any{"decision": in.Decision, "transaction_id": in.TransactionID, "reason": in.Reason}, o.now)
}

// refundLine pays the line of a delivery back, with all else of it that is suspected. While another delivery
// is under way it might take the whole order from under it.
func (o *lockedCheckout) refundLine(ctx context.Context, lineID string, in DeliveryDecision) error {
	if o.count(checkout.DeliveryPending) > 0 {
		return ErrBeingDelivered
	}
	for k, other := range o.order.Deliveries {
		if other.LineID == lineID && other.Status == checkout.DeliverySuspected {
			o.order.Deliveries[k].Status = checkout.DeliveryRefunded
		}
	}
	if err := o.writeDeliveries(ctx); err != nil {
		return err
	}
	refund, left := o.order.RefundOfLines("line", []string{lineID})
	if !left {
		return fmt.Errorf("line %s of order %d is refunded, yet its delivery was open", lineID, o.row.OrderID)
	}
	return o.refund(ctx, refund, refundCause{refundedByAdmin, in.Reason, in.Actor})
}
