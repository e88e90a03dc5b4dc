package store

import (
	"time"

	"github.com/shopspring/decimal"
)

// OrderStatus is where an order stands. Only processing and awaiting_confirmation change on their own.
type OrderStatus string

const (
	Processing           OrderStatus = "processing"
	AwaitingConfirmation OrderStatus = "awaiting_confirmation"
	Completed            OrderStatus = "completed"
	Canceled             OrderStatus = "canceled"
	Refunded             OrderStatus = "refunded"
)

// Final says whether the order has its outcome.
func (s OrderStatus) Final() bool { return s != Processing && s != AwaitingConfirmation }

// ReasonCode says why an order was canceled (seed 000, "Error Handling").
type ReasonCode string

const (
	// MainProductUnreachable: all tries failed for a temporary reason (network, timeout).
	MainProductUnreachable ReasonCode = "main_product_unreachable"
	// MainProductRefused: a critical error such as an unknown user; `error_code` has the product's.
	MainProductRefused ReasonCode = "main_product_refused"
	// MainProductInsufficientFunds: the product itself is out of funds.
	MainProductInsufficientFunds ReasonCode = "main_product_insufficient_funds"
	// NotConfirmed: a large or risky purchase was not confirmed in time.
	NotConfirmed ReasonCode = "not_confirmed"
	// CanceledByOperator: the workflow was canceled by hand before the product had answered.
	CanceledByOperator ReasonCode = "canceled_by_operator"
	// RefundedBySupport: support ended a stuck order and gave the coins back.
	RefundedBySupport ReasonCode = "refunded_by_support"
)

// Reason explains a canceled order.
type Reason struct {
	Code         ReasonCode `json:"code"`
	Message      string     `json:"message"`
	ErrorCode    string     `json:"error_code,omitempty"`    // the main product's
	RetryAllowed bool       `json:"retry_allowed,omitempty"` // the main product's advice for a replay
}

// Credit is what the main product says it gave.
type Credit struct {
	TransactionID  string           `json:"transaction_id"`
	CreditedAmount *decimal.Decimal `json:"credited_amount,omitempty"`
	NewBalance     *decimal.Decimal `json:"new_balance,omitempty"`
}

// Order is a purchase and its outcome.
type Order struct {
	OrderID    string
	ProjectID  int32
	UserID     string
	SKU        string
	Quantity   int64
	PriceCoins int64 // of the whole order
	// RefundedCoins are those given back since it was completed; all of them make it refunded.
	RefundedCoins int64
	Status        OrderStatus
	Attempt       int // 1, and one more for each replay
	Delivery      Delivery
	Reason        *Reason
	Suspected     bool // canceled, yet the main product may have credited
	Calls         int  // calls to the main product
	Credit        *Credit
	Risk          *Risk
	ConfirmBy     *time.Time // while it awaits confirmation
	CreatedAt     time.Time
	UpdatedAt     time.Time
	FinishedAt    *time.Time
}

// insufficientFunds is the main product's code for having no funds itself (a partial error of the seed).
const insufficientFunds = "INSUFFICIENT_FUNDS"

// ReasonOfRefusal classifies a refusal by the main product.
func ReasonOfRefusal(errorCode, message string, retryAllowed bool) Reason {
	reason := Reason{Code: MainProductRefused, ErrorCode: errorCode, RetryAllowed: retryAllowed,
		Message: "the main product refused (" + errorCode + "): " + message + "; the coins are back"}
	if errorCode == insufficientFunds {
		reason.Code = MainProductInsufficientFunds
		reason.Message = "the main product has not enough funds at the moment; the coins are back"
	}
	return reason
}
