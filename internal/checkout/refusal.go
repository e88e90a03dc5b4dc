package checkout

import (
	"encoding/json"
	"fmt"
)

// Code of an error, as clients of /api/v2 know it.
type Code int

const (
	AuthorizationMissing Code = 0 // no Authorization header at all
	WrongCredentials     Code = 1020
	CredentialsMissing   Code = 1501
	UnknownToken         Code = 1013

	ProjectNotFound Code = 2002
	ItemNotFound    Code = 4001
	GroupNotFound   Code = 4403 // or it is off
	UserNotFound    Code = 5008
	OrderNotFound   Code = 9001
	CouponNotFound  Code = 9802

	InvalidField       Code = 1102 // missing or wrong
	InvalidCart        Code = 1401
	EmptyCart          Code = 1417
	InvalidItem        Code = 1411
	ItemNotAllowed     Code = 1421 // of a type that is not sold this way, or free
	TooManyKeys        Code = 1424
	TooManyItems       Code = 1459
	ItemUnavailable    Code = 1455
	ItemBecameFree     Code = 1456 // after the user was told a price
	AlreadyOwned       Code = 1468
	LimitReached       Code = 1000 // of the user, for good
	LimitUntilReset    Code = 1460 // of the user, until it begins anew
	InvalidConsumption Code = 5002
	NotEnoughCurrency  Code = 5006
)

// Status is the HTTP status that goes with a code.
func (c Code) Status() int {
	switch c {
	case WrongCredentials, CredentialsMissing, UnknownToken:
		return 401
	case AuthorizationMissing:
		return 403
	case ProjectNotFound, ItemNotFound, GroupNotFound, UserNotFound, OrderNotFound, CouponNotFound:
		return 404
	default:
		return 422
	}
}

// Refusal is what the rules do not allow. It is an answer, not a failure: nothing has changed. Its JSON is the error
// body of /api/v2.
type Refusal struct {
	Code    Code
	Message string
	Details []Detail
}

// Detail says what is wrong with one field, or with the line of one SKU.
type Detail struct {
	Property string `json:"property"`
	Message  string `json:"message"`
}

// Refuse makes a refusal.
func Refuse(code Code, message string, details ...Detail) *Refusal {
	return &Refusal{Code: code, Message: message, Details: details}
}

// Text is the message with the code in front, as clients show it.
func (r *Refusal) Text() string { return fmt.Sprintf("[0401-%04d]: %s", int(r.Code), r.Message) }

// Error makes a Refusal usable as an error inside one transaction.
func (r *Refusal) Error() string { return r.Text() }

// MarshalJSON writes the error body.
func (r *Refusal) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		StatusCode           int      `json:"statusCode"`
		ErrorCode            Code     `json:"errorCode"`
		ErrorMessage         string   `json:"errorMessage"`
		ErrorMessageExtended []Detail `json:"errorMessageExtended,omitempty"`
	}{r.Code.Status(), r.Code, r.Text(), r.Details})
}
