package inventory

// Code says why an operation can't be done. Codes are part of the HTTP API and never change.
type Code string

const (
	NotOwned           Code = "not_owned"             // not at all, or not so many
	NotEnoughCurrency  Code = "not_enough_currency"   // to spend
	AlreadyOwned       Code = "already_owned"         // a non-consumable is owned once
	NotAllowed         Code = "not_allowed"           // for this kind of item
	QuantityOutOfRange Code = "quantity_out_of_range" //
	BalanceTooLarge    Code = "balance_too_large"     // above MaxQuantity
	InvalidPeriod      Code = "invalid_period"        //
	PeriodTooLong      Code = "period_too_long"       // the subscription would last more than 100 years
	OutOfKeys          Code = "out_of_keys"           // of a game
	BatchEmpty         Code = "batch_empty"           //
	BatchTooLarge      Code = "batch_too_large"       // more than MaxOperations
)

// V2 is the HTTP status and the errorCode of /api/v2 for a code.
func (c Code) V2() (status, errorCode int) {
	switch c {
	case NotOwned:
		return 404, 4001
	case NotEnoughCurrency:
		return 422, 5006
	case AlreadyOwned:
		return 422, 1468
	case NotAllowed:
		return 422, 1411
	case OutOfKeys:
		return 422, 1455
	default:
		return 422, 1102
	}
}

// Refusal is an operation that the rules do not allow. It is an answer, not a failure: nothing has changed.
type Refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error makes a Refusal usable as an error inside one transaction.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Refuse makes a refusal.
func Refuse(code Code, message string) *Refusal { return &Refusal{Code: code, Message: message} }
