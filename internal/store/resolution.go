package store

import (
	"fmt"
	"time"
)

// ResolveAction is what support decides about an order whose outcome nobody knows (seed 000, "Support
// service for dispute resolution").
type ResolveAction string

const (
	ResolveRetry         ResolveAction = "retry"          // try again: a replay
	ResolveMarkDelivered ResolveAction = "mark_delivered" // the user has the credits
	ResolveRefund        ResolveAction = "refund"         // the user does not have them, and keeps the coins
)

// StuckGrace is added to an order's own bound before support may end it in the workflow's place: time for an
// inquiry and for an outage of ours. `quickpass verify` allows as much unless told otherwise.
const StuckGrace = 5 * time.Minute

// Bound is how long all tries of a delivery may take.
func (s DeliverySettings) Bound() time.Duration {
	return time.Duration(s.Retries+1) * (s.Timeout() + s.RetryInterval())
}

// StuckFrom is the moment from which an open order counts as stuck; false for an order that is over.
func (o Order) StuckFrom() (time.Time, bool) {
	switch {
	case o.Status == Processing:
		return o.UpdatedAt.Add(o.Delivery.Bound() + StuckGrace), true
	case o.Status == AwaitingConfirmation && o.ConfirmBy != nil:
		return o.ConfirmBy.Add(StuckGrace), true
	default:
		return time.Time{}, false
	}
}

// DecideResolution tells whether support may decide this about the order: it is canceled and suspected, or it
// is open and stuck. An order that never got as far as a delivery can't be marked as delivered.
func DecideResolution(o Order, action ResolveAction, now time.Time) *Refusal {
	if o.Status == Canceled && o.Suspected {
		return nil
	}
	from, open := o.StuckFrom()
	switch {
	case !open:
		return refuse(OrderNotResolvable, fmt.Sprintf("the order is %s and not suspected; nothing is unknown about it", o.Status))
	case now.Before(from):
		return refuseUntil(OrderNotResolvable, from, "the order is under way; it counts as stuck from "+from.UTC().Format(time.RFC3339))
	case action == ResolveRetry:
		return refuse(OrderNotResolvable, "the order is open, and its workflow is started again by itself; mark it delivered or refund it")
	case action == ResolveMarkDelivered && o.Status == AwaitingConfirmation:
		return refuse(OrderNotResolvable, "the order was never confirmed, so nothing was delivered; refund it")
	default:
		return nil
	}
}

// DecideRefund says how many coins of a completed order go back: the amount, or all that is left when it is 0.
// Never more than were paid.
func DecideRefund(o Order, amount int64) (coins int64, refusal *Refusal) {
	left := o.PriceCoins - o.RefundedCoins
	switch {
	case o.Status != Completed:
		return 0, refuse(OrderNotRefundable, "only a completed order can be refunded; this one is "+string(o.Status))
	case amount == 0:
		return left, nil
	case amount < 0 || amount > left:
		return 0, refuse(RefundTooLarge, fmt.Sprintf("%d of %d coins were refunded, so at most %d more can be", o.RefundedCoins, o.PriceCoins, left))
	default:
		return amount, nil
	}
}

// DecideSettlement applies the rules to an order that was canceled although the user has the credits: it is paid
// for after all. A blocked account pays too.
func DecideSettlement(buyer Buyer, stock, quantity, price int64) *Refusal {
	buyer.Blocked = false
	return DecideReplay(buyer, stock, quantity, price)
}

// NeedsApproval says whether an act that moves so many coins, given or taken away, needs a second admin.
func (p Policy) NeedsApproval(coins int64) bool {
	return p.ApprovalLimit > 0 && (coins > p.ApprovalLimit || coins < -p.ApprovalLimit)
}
