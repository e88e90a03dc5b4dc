package store

import "time"

// Code says why a purchase can't be made. Codes are part of the HTTP API and never change.
type Code string

const (
	UserNotFound         Code = "user_not_found"
	ProductNotFound      Code = "product_not_found"
	UserBlocked          Code = "user_blocked"
	AddressDenied        Code = "address_denied"
	NotEligible          Code = "not_eligible"
	NotOnSaleNow         Code = "not_on_sale_now"
	InsufficientCoins    Code = "insufficient_coins"
	OutOfStock           Code = "out_of_stock"
	PurchaseLimitReached Code = "purchase_limit_reached"
	SalesLimitReached    Code = "sales_limit_reached"
	TooFrequent          Code = "too_frequent"
	TotalTooLarge        Code = "total_too_large"

	OrderNotResolvable Code = "order_not_resolvable"
	OrderNotRefundable Code = "order_not_refundable"
	RefundTooLarge     Code = "refund_too_large"
	DisputeClosed      Code = "dispute_closed"
)

// Refusal is a purchase that the rules do not allow. It is an answer, not a failure: nothing was
// written and the caller is told what to do.
type Refusal struct {
	Code    Code       `json:"code"`
	Message string     `json:"message"`
	Until   *time.Time `json:"until,omitempty"` // when it may be allowed; nil: no time helps
}

// Error makes a Refusal usable as an error inside one transaction.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

func refuse(code Code, message string) *Refusal { return &Refusal{Code: code, Message: message} }

// refuseUntil names the moment from which it may be allowed; the zero time is none.
func refuseUntil(code Code, until time.Time, message string) *Refusal {
	refusal := refuse(code, message)
	if !until.IsZero() {
		utc := until.UTC()
		refusal.Until = &utc
	}
	return refusal
}
