package store

// Code says why a purchase can't be made. Codes are part of the HTTP API and never change.
type Code string

const (
	UserNotFound      Code = "user_not_found"
	ProductNotFound   Code = "product_not_found"
	UserBlocked       Code = "user_blocked"
	InsufficientCoins Code = "insufficient_coins"
	OutOfStock        Code = "out_of_stock"
	TotalTooLarge     Code = "total_too_large"
)

// Refusal is a purchase that the rules do not allow. It is an answer, not a failure: nothing was
// written and the caller is told what to do.
type Refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error makes a Refusal usable as an error inside one transaction.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

func refuse(code Code, message string) *Refusal { return &Refusal{Code: code, Message: message} }
