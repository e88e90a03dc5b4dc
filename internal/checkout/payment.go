package checkout

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
)

// Payment is what a provider says that it has received for an order.
type Payment struct {
	Provider   string          `json:"provider"`
	ProviderID string          `json:"provider_id"` // of the payment at the provider; the same however often it tells
	Amount     decimal.Decimal `json:"amount"`
	Currency   string          `json:"currency"` // ISO 4217
	Sandbox    bool            `json:"sandbox"`  // no money has moved
}

// is says whether it is the same payment told again.
func (p Payment) is(other Payment) bool {
	return p.Provider == other.Provider && p.ProviderID == other.ProviderID
}

func (p Payment) agrees(other Payment) bool {
	return p.Amount.Equal(other.Amount) && p.Currency == other.Currency && p.Sandbox == other.Sandbox
}

// Validate lists every mistake at once. A payment that is not valid is refused at the door and never decided upon.
func (p Payment) Validate() []Detail {
	var details []Detail
	check := func(ok bool, property, message string) {
		if !ok {
			details = append(details, Detail{property, message})
		}
	}
	check(len(p.Provider) >= 1 && len(p.Provider) <= 64, "provider", "1 to 64 characters")
	check(len(p.ProviderID) >= 1 && len(p.ProviderID) <= 255, "provider_id", "1 to 255 characters")
	_, known := catalog.Decimals(p.Currency)
	check(known, "currency", "three capital letters of ISO 4217, such as EUR")
	check(!known || catalog.ValidAmount(p.Amount, p.Currency), "amount", "above 0, at most 1,000,000,000,000, at most two decimals more than the currency has")
	return details
}

// Outcome is the end of a payment. There is no fourth: none is forgotten.
type Outcome string

const (
	Accepted Outcome = "accepted" // the order is paid
	Returned Outcome = "returned" // the whole payment goes back
	Held     Outcome = "held"     // kept until an operator has looked at it; raises an alert
)

// Reason explains an outcome. Reasons are part of the HTTP API and never change.
type Reason string

const (
	PaidInTime       Reason = "paid"
	LatePayment      Reason = "late_payment"      // the order has expired
	OrderWasCanceled Reason = "order_canceled"    // before the payment came
	SecondPayment    Reason = "duplicate_payment" // the order is paid for already, by another one
	NothingDue       Reason = "nothing_due"       // the order costs no money
	AmountDiffers    Reason = "amount_differs"
	CurrencyDiffers  Reason = "currency_differs"
	ModeDiffers      Reason = "mode_differs"    // a sandbox payment for a real order, or the other way round
	PaymentChanged   Reason = "payment_differs" // from what the provider told of the same payment before
	ReviewRefused    Reason = "review_refused"  // an operator sends a held payment back
	ReviewAccepted   Reason = "review_accepted" // an operator takes a held payment
)

// Decision about a payment.
type Decision struct {
	Outcome Outcome `json:"outcome"`
	Reason  Reason  `json:"reason"`
	// Known says that this payment has been decided before and the decision is that one: nothing is left to do.
	Known bool `json:"-"`
}

// PaymentRecord is a payment and what was decided about it.
type PaymentRecord struct {
	Payment  Payment
	Decision Decision
	At       time.Time
}

// DecidePayment decides about a payment of an order, read under a lock. The first that fits pays. The same
// again has the same answer. An order that is over, or past the instant at which it expires (whether or not
// its timer has fired), takes no payment, nor does one that another payment has paid. A payment that could be
// meant, but is not what is due, is held.
//
// A payment that is told again with other contents is held as PaymentChanged: what was recorded of it, and
// done, stays as it is, and an operator is told.
func DecidePayment(o Order, p Payment, now time.Time) Decision {
	for _, record := range o.Payments {
		if !record.Payment.is(p) {
			continue
		}
		if !record.Payment.agrees(p) {
			return Decision{Outcome: Held, Reason: PaymentChanged}
		}
		decision := record.Decision
		decision.Known = true
		return decision
	}
	if reason := o.closedFor(now); reason != "" {
		return Decision{Outcome: Returned, Reason: reason}
	}
	return o.fits(p)
}

// closedFor tells why the order takes no payment at all; empty if it does.
func (o Order) closedFor(now time.Time) Reason {
	_, paid := o.paid()
	switch {
	case paid:
		return SecondPayment
	case o.Price == nil:
		return NothingDue
	case o.Status == Canceled:
		return OrderWasCanceled
	case o.Status != New || !now.Before(o.ExpiresAt):
		return LatePayment
	default:
		return ""
	}
}

// fits compares the payment with what is due: the exact total, or that total in the currency's minor units.
func (o Order) fits(p Payment) Decision {
	switch {
	case p.Sandbox != o.Sandbox:
		return Decision{Outcome: Held, Reason: ModeDiffers}
	case p.Currency != o.Price.Currency:
		return Decision{Outcome: Held, Reason: CurrencyDiffers}
	case !p.Amount.Equal(o.Price.Payable()) && !p.Amount.Equal(o.Price.Amount):
		return Decision{Outcome: Held, Reason: AmountDiffers}
	default:
		return Decision{Outcome: Accepted, Reason: PaidInTime}
	}
}

// DecideReview ends a held payment as an operator wishes. To take it, the order must still be open: for an
// order that is over, or paid, it goes back. A sandbox payment never pays a real order.
func DecideReview(o Order, held PaymentRecord, accept bool, now time.Time) (Decision, *Refusal) {
	switch {
	case held.Decision.Outcome != Held:
		return Decision{}, Refuse(InvalidField, "the payment is not held; it was "+string(held.Decision.Outcome))
	case !accept:
		return Decision{Outcome: Returned, Reason: ReviewRefused}, nil
	case held.Payment.Sandbox != o.Sandbox:
		return Decision{}, Refuse(InvalidField, "a sandbox payment pays sandbox orders only")
	case held.Payment.Currency != o.currency():
		return Decision{}, Refuse(InvalidField, "the payment is in another currency than the order; send it back")
	}
	if reason := o.closedFor(now); reason != "" {
		return Decision{Outcome: Returned, Reason: reason}, nil
	}
	return Decision{Outcome: Accepted, Reason: ReviewAccepted}, nil
}

func (o Order) currency() string {
	if o.Price == nil {
		return ""
	}
	return o.Price.Currency
}
