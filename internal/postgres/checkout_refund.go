package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CheckoutRefund gives back the money of lines of an order, or of all that is left.
type CheckoutRefund struct {
	ProjectID   int32
	OrderID     int64
	Lines       []checkout.RefundLine // nil: all that is left
	Reason      string
	Actor       string
	Idempotency *Idempotency
}

// RefundCheckout writes the refund, takes what was given and gives back limits, in one transaction. A paid
// order that is not delivered yet is delivered first unless nothing is left of it. It is refused with
// *checkout.Refusal, or *inventory.Refusal when only a part of the periods of a subscription is to go back,
// and fails with ErrNotFound and ErrIdempotencyKeyReused. replayed tells that the key was used before.
func (db *DB) RefundCheckout(ctx context.Context, r CheckoutRefund, now time.Time) (refund checkout.Refund, replayed bool, err error) {
	refund, replayed, err = db.refundCheckout(ctx, r, now)
	if errors.Is(err, errNotGiven) {
		// In a transaction of its own: a delivery locks the inventory, a refund the limits before it.
		if _, err = db.SettleCheckout(ctx, r.OrderID, now); err != nil {
			return refund, false, err
		}
		refund, replayed, err = db.refundCheckout(ctx, r, now)
	}
	return refund, replayed, err
}

func (db *DB) refundCheckout(ctx context.Context, r CheckoutRefund, now time.Time) (refund checkout.Refund, replayed bool, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		q, id := db.q.WithTx(tx), "rf_"+xid.New().String()
		first, err := r.Idempotency.claim(ctx, q, r.ProjectID, checkoutRefund+id, now)
		if err != nil {
			return err
		}
		var ours bool
		if id, ours = strings.CutPrefix(first, checkoutRefund); !ours {
			return ErrIdempotencyKeyReused
		}
		o, err := lockCheckout(ctx, tx, q, r.OrderID, now)
		if err != nil {
			return err
		}
		if o.row.ProjectID != r.ProjectID {
			return ErrNotFound
		}
		refund, replayed, err = o.decideRefund(ctx, r, id)
		return err
	})
	return refund, replayed, err
}

const checkoutRefund = "checkout-refund/"

// errNotGiven: a part of the goods can't go back before the goods are there.
var errNotGiven = errors.New("the order is paid and not given yet")

// refundCause is why money goes back: a code that the buyer reads, and for the books who wanted it, in which words.
type refundCause struct{ code, reason, actor string }

// refundedByAdmin is the code of what an admin has refunded; the admin's words are not for the buyer.
const refundedByAdmin = "refunded"

func (o *lockedCheckout) decideRefund(ctx context.Context, r CheckoutRefund, id string) (refund checkout.Refund, replayed bool, err error) {
	refund, refusal := checkout.DecideRefund(o.order, id, r.Lines)
	if refusal != nil {
		return refund, false, refusal
	}
	refund.NotTakenBack, refund.Reason = o.order.GivenFor(refund), r.Reason
	if slices.ContainsFunc(o.order.Refunds, func(earlier checkout.Refund) bool { return earlier.ID == id }) {
		return refund, true, nil
	}
	if err := o.refundable(refund); err != nil {
		return refund, false, err
	}
	if err := o.refund(ctx, refund, refundCause{refundedByAdmin, r.Reason, r.Actor}); err != nil {
		return refund, false, err
	}
	return refund, false, audit(ctx, o.q, r.ProjectID, r.Actor, "checkout.refund", checkoutReference(o.row.OrderID),
		map[string]any{"refund_id": refund.ID, "amount": refund.Amount, "whole": refund.Whole, "reason": r.Reason}, o.now)
}

// ErrBeingDelivered: the main product may be giving a part of the order at this moment.
var ErrBeingDelivered = errors.New("the order is being delivered")

// refundable keeps a refund from crossing a delivery: while a call may be under way nobody knows what is to
// be given back. One that was not begun never will be, once the order is refunded as a whole.
func (o *lockedCheckout) refundable(refund checkout.Refund) error {
	for _, d := range o.order.Deliveries {
		switch {
		case d.Status == checkout.DeliveryPending && (d.Begun || !refund.Whole):
			return ErrBeingDelivered
		case d.Status == checkout.DeliverySuspected && !refund.Whole:
			return checkout.Refuse(checkout.InvalidField, fmt.Sprintf("delivery %d is suspected; decide about it first, or refund all that is left", d.Number))
		}
	}
	return nil
}

// refundUndeliverable pays an order back whose goods can't be given.
func (o *lockedCheckout) refundUndeliverable(ctx context.Context, refused *RefusedChangeError) error {
	refund, refusal := checkout.DecideRefund(o.order, "rf_"+strconv.FormatInt(o.row.OrderID, 10)+"_undeliverable", nil)
	if refusal != nil {
		return refusal
	}
	err := o.alert(ctx, "order_undeliverable", map[string]any{
		"user_id":   o.row.UserID,
		"sku":       refused.SKU,
		"code":      refused.Refusal.Code,
		"message":   refused.Refusal.Message,
		"refund_id": refund.ID,
	})
	if err != nil {
		return err
	}
	return o.refund(ctx, refund, refundCause{"undeliverable", "undeliverable", "quickpass"})
}

// refund gives money and limits back and takes what was given; the rules have decided it.
func (o *lockedCheckout) refund(ctx context.Context, refund checkout.Refund, cause refundCause) error {
	if !o.given() && !refund.Whole {
		return fmt.Errorf("order %d: %w", o.row.OrderID, errNotGiven)
	}
	lines, err := json.Marshal(refund.Lines)
	if err != nil {
		return err
	}
	err = o.q.InsertCheckoutRefund(ctx, sqlc.InsertCheckoutRefundParams{
		RefundID: refund.ID,
		OrderID:  o.row.OrderID,
		Lines:    lines,
		Amount:   refund.Amount,
		Whole:    refund.Whole,
		Reason:   cause.reason,
		Actor:    cause.actor,
		Now:      o.now,
	})
	if err != nil {
		return fmt.Errorf("write refund: %w", err)
	}
	if err := o.returnCoins(ctx, refund); err != nil {
		return err
	}
	if err := o.oweRefund(ctx, refund.ID, refund.Amount); err != nil {
		return err
	}
	if err := o.giveBack(ctx, o.holds.of(o.order, refund), pieceSold); err != nil {
		return err
	}
	if err := o.takeBack(ctx, refund); err != nil {
		return err
	}
	o.row.Refunded = o.row.Refunded.Add(refund.Amount)
	to, why := o.status(), ""
	if refund.Whole {
		to, why = checkout.Canceled, cause.code
		if err := o.closeDeliveries(ctx); err != nil {
			return err
		}
	}
	o.order.Refunds = append(o.order.Refunds, refund)
	if err := o.move(ctx, checkoutMove{to: to, reason: why, refund: &refund}); err != nil {
		return err
	}
	return tellOfCheckout(ctx, o.q, o.row, "checkout_refunded", map[string]any{
		"refund_id": refund.ID,
		"amount":    refund.Amount,
		"whole":     refund.Whole,
	}, o.now)
}

func (o *lockedCheckout) returnCoins(ctx context.Context, refund checkout.Refund) error {
	if o.order.Virtual == nil || o.order.Virtual.SKU != catalog.CoinsSKU || !refund.Amount.IsPositive() {
		return nil
	}
	err := o.q.ReturnCoinsOfCheckout(ctx, sqlc.ReturnCoinsOfCheckoutParams{
		Amount:    refund.Amount.IntPart(),
		UserID:    o.row.UserID,
		ProjectID: o.row.ProjectID,
		Reference: refund.ID,
		Now:       o.now,
	})
	if err != nil {
		return fmt.Errorf("return coins: %w", err)
	}
	return nil
}

// takeBack takes what the refunded pieces gave, or frees what was reserved for them.
func (o *lockedCheckout) takeBack(ctx context.Context, refund checkout.Refund) error {
	if !o.given() {
		return o.freeGameKeys(ctx)
	}
	var lines []checkout.OrderLine
	for _, line := range o.order.Lines {
		if line.Quantity = refund.QuantityOf(line.LineID); line.Quantity > 0 {
			lines = append(lines, line)
		}
	}
	grants, err := checkout.LocalGrants(lines)
	if err != nil {
		return err
	}
	taking := TakingBack{
		ProjectID: o.row.ProjectID,
		UserID:    o.row.UserID,
		Reference: checkoutReference(o.row.OrderID),
		RefundID:  refund.ID,
		Grants:    grants,
		Source:    SourceOrder,
		OrderID:   o.row.OrderID,
	}
	if v := o.order.Virtual; v != nil && v.SKU != catalog.CoinsSKU && refund.Amount.IsPositive() {
		taking.Return = &Spending{SKU: v.SKU, Amount: refund.Amount.IntPart()}
	}
	return takeBack(ctx, o.q, taking, o.now)
}
