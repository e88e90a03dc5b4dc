// Package payments has the providers by whom orders are paid. Each reads, at a door of its own, what somebody
// says about a payment; what the payment then means for the order is decided in one place, by package
// checkout under the order's lock.
package payments

import (
	"context"
	"net/http"
	"time"

	"github.com/quickpass/quickpass/internal/checkout"
)

// Provider takes payments for orders. There are two: Sandbox, where no money moves, and Notifications of
// whoever has charged the user.
type Provider interface {
	// Read checks a message and says which order it pays, and by what. It fails with *Refusal when the
	// message is at fault.
	Read(ctx context.Context, m Message) (Claim, error)
}

// Message is what arrived at a provider's door.
type Message struct {
	Header http.Header
	Body   []byte // JSON
	Key    string // names what the sender sends again when it has no answer; empty: each message is another
	At     time.Time
}

// Claim is what a provider says: this payment is for that order. An order that is not there is found out when
// it is recorded.
type Claim struct {
	OrderID int64
	checkout.Payment
}

// Refusal says why a message is not about a payment, or the payment failed. Codes are part of the HTTP API
// and never change.
type Refusal struct {
	Code    string
	Message string
	Fields  []checkout.Detail
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

const (
	invalidRequest = "invalid_request"
	orderNotFound  = "order_not_found"
)
