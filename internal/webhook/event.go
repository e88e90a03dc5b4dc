// Package webhook holds the rules of outgoing webhooks: what a project's own server is told of its orders,
// how that is signed, where it may be sent and when it is sent again (seed 002), in the form that clients of
// Xsolla's store API read. It does no I/O; package send does.
package webhook

import (
	"slices"

	"github.com/quickpass/quickpass/internal/checkout"
)

// Event is what happened to an order, in the word that the body carries as notification_type.
type Event string

const (
	OrderPaid     Event = "order_paid"     // at creation for orders that are free or paid in coins or a virtual currency
	OrderDone     Event = "order_done"     // delivered
	OrderCanceled Event = "order_canceled" // by its user before it was paid, or refunded as a whole
	OrderRefunded Event = "order_refunded" // in part
	OrderExpired  Event = "order_expired"  // nobody paid

	// Test is sent when an admin asks for it, and never stored.
	Test Event = "test"
)

// Events are all that can be chosen, in the order in which an order may see them.
var Events = []Event{OrderPaid, OrderDone, OrderRefunded, OrderCanceled, OrderExpired}

// DefaultEvents are those that existing clients know.
var DefaultEvents = []Event{OrderPaid, OrderCanceled}

// EventOf is what a move of an order means to its listener. To stay is a refund in part: nothing else writes
// an order that does not move.
func EventOf(before, after checkout.OrderStatus) (Event, bool) {
	if before == after {
		return OrderRefunded, true
	}
	event, told := map[checkout.OrderStatus]Event{
		checkout.Paid:     OrderPaid,
		checkout.Done:     OrderDone,
		checkout.Canceled: OrderCanceled,
		checkout.Expired:  OrderExpired,
	}[after]
	return event, told
}

// Status is where a delivery stands.
type Status string

const (
	Pending   Status = "pending"   // not tried yet, or to be tried again
	Delivered Status = "delivered" // the listener has said 2xx
	Refused   Status = "refused"   // it has said no for good
	Dead      Status = "dead"      // no try is left, or the endpoint was switched off
)

// Over says whether nothing is sent any more, unless an admin replays it.
func (s Status) Over() bool { return s != Pending }

// refusals are the answers that existing clients give to say no for good.
var refusals = []int{400, 401, 402, 403, 404, 409, 415, 422}

// Judge says what an answer's status code means: delivered, refused, or pending, which is to be tried again.
func Judge(statusCode int) Status {
	switch {
	case statusCode >= 200 && statusCode < 300:
		return Delivered
	case slices.Contains(refusals, statusCode):
		return Refused
	default:
		return Pending
	}
}
