package mainproduct

import (
	"time"

	"github.com/shopspring/decimal"
)

// Kind says which of the main product's answers a call got.
type Kind string

const (
	// Credited: the main product confirmed the crediting. Final.
	Credited Kind = "credited"
	// Refused: the main product understood the order and said no. Final for this order, whatever
	// RetryAllowed says about a new one.
	Refused Kind = "refused"
	// Unknown: nobody can tell from this call what the main product did. Worth a retry with the same order id.
	Unknown Kind = "unknown"
	// NotFound: the answer of Inquire only: the main product has never received this order.
	// It says nothing about a call that is still on its way.
	NotFound Kind = "not_found"
)

// Reason is the stable code of an Unknown answer, fit for metrics and for an order's timeline.
type Reason string

const (
	ReasonTimeout              Reason = "timeout"               // the context's deadline passed, or status 408
	ReasonCanceled             Reason = "canceled"              // our own side gave up, such as a worker that stops
	ReasonConnectionFailed     Reason = "connection_failed"     // no connection: DNS, refused, TLS
	ReasonConnectionLost       Reason = "connection_lost"       // the connection broke before the whole answer was here
	ReasonServerError          Reason = "server_error"          // status 5xx, whatever the body says
	ReasonTooManyRequests      Reason = "too_many_requests"     // status 429
	ReasonTooEarly             Reason = "too_early"             // status 425
	ReasonUnauthorized         Reason = "unauthorized"          // status 401 or 403 without an understandable body: check the API key
	ReasonEndpointNotFound     Reason = "endpoint_not_found"    // status 404 without an understandable body: check the endpoint
	ReasonRedirect             Reason = "redirect"              // status 3xx, never followed
	ReasonUnintelligibleAnswer Reason = "unintelligible_answer" // anything that is not the documented JSON
	ReasonInvalidRequest       Reason = "invalid_request"       // never sent: the order or the endpoint cannot be written as a call
)

// Answer is what one call to the main product came to. The shape of the wire is seed 000's. It can be stored
// as JSON: it holds no secret.
type Answer struct {
	Kind Kind `json:"kind"`

	// TransactionID is the main product's own id of the crediting. Set when Credited.
	TransactionID string `json:"transaction_id,omitempty"`
	// NewBalance is the user's balance after the crediting, in the credited currency; nil when not told.
	NewBalance *decimal.Decimal `json:"new_balance,omitempty"`
	// CreditedAmount is what was credited, in the credited currency; nil when not told. The caller
	// compares it with what was asked for.
	CreditedAmount *decimal.Decimal `json:"credited_amount,omitempty"`

	// Code is the main product's error_code, such as USER_NOT_FOUND. Set when Refused.
	Code string `json:"code,omitempty"`
	// Message is the main product's error_message: foreign text without control characters, at most
	// 200 runes, still to be escaped wherever it is shown.
	Message string `json:"message,omitempty"`
	// RetryAllowed is the main product's retry_allowed; false when not told.
	RetryAllowed bool `json:"retry_allowed,omitempty"`

	// Reason is why the answer is Unknown.
	Reason Reason `json:"reason,omitempty"`
	// Detail explains Reason to a human; made safe as Message is.
	Detail string `json:"detail,omitempty"`
	// MaybeCredited is false only when the call certainly did not credit: then an Unknown order needs
	// no reconciliation. When in doubt it is true.
	MaybeCredited bool `json:"maybe_credited,omitempty"`

	// HTTPStatus is the answer's status, 0 when there was none.
	HTTPStatus int `json:"http_status,omitempty"`
	// Duration runs from the call to the end of the answer's body, or to the failure. Nanoseconds in JSON.
	Duration time.Duration `json:"duration_ns"`
}

// unknown builds an Unknown answer.
func unknown(reason Reason, detail string, maybeCredited bool) Answer {
	return Answer{Kind: Unknown, Reason: reason, Detail: detail, MaybeCredited: maybeCredited}
}
