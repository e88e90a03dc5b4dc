package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
)

// v2Path is where the calls are whose shapes other clients already speak. Their errors have a shape of their own.
const (
	v2Path = "/api/v2/"
	v3Path = "/api/v3/"
)

// v2Error is the body of every error there.
type v2Error struct {
	StatusCode           int               `json:"statusCode"`
	ErrorCode            int               `json:"errorCode"`
	ErrorMessage         string            `json:"errorMessage"`
	TransactionID        string            `json:"transactionId"` // our request id
	ErrorMessageExtended []checkout.Detail `json:"errorMessageExtended,omitempty"`
}

// v2Codes are the errorCodes of what middleware refuses; others there have 0, and their status says it.
var v2Codes = map[ProblemCode]checkout.Code{
	ProblemCodeInvalidRequest:       checkout.InvalidField,
	ProblemCodeBodyTooLarge:         checkout.InvalidField,
	ProblemCodeUnsupportedMediaType: checkout.InvalidField,
	ProblemCodeIdempotencyKeyReused: checkout.InvalidField,
	ProblemCodeUserNotFound:         checkout.UserNotFound,
	ProblemCodeInsufficientCoins:    checkout.NotEnoughCurrency,
	ProblemCodeVersionConflict:      checkout.InvalidField,
}

// refuseV2 answers an error in the shape of /api/v2.
func refuseV2(c echo.Context, call *call, err error) int {
	body := v2ErrorOf(err)
	body.TransactionID = call.requestID
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	if body.StatusCode == http.StatusUnauthorized {
		header.Set(echo.HeaderWWWAuthenticate, "Bearer")
	}
	c.Response().WriteHeader(body.StatusCode)
	_ = json.NewEncoder(c.Response()).Encode(body) // nobody is left to tell
	return body.StatusCode
}

func v2ErrorOf(err error) v2Error {
	var refusal *checkout.Refusal
	if errors.As(err, &refusal) {
		return v2Error{
			StatusCode:           refusal.Code.Status(),
			ErrorCode:            int(refusal.Code),
			ErrorMessage:         refusal.Text(),
			ErrorMessageExtended: refusal.Details,
		}
	}
	var owned *inventory.Refusal
	if errors.As(err, &owned) {
		status, code := owned.Code.V2()
		refused := checkout.Refuse(checkout.Code(code), owned.Message)
		return v2Error{StatusCode: status, ErrorCode: code, ErrorMessage: refused.Text()}
	}
	f := failureOf(err)
	refused := checkout.Refuse(v2Codes[f.code], cmp.Or(f.detail, problemKinds[f.code].title))
	for _, field := range f.fields {
		refused.Details = append(refused.Details, checkout.Detail{Property: field.Field, Message: field.Message})
	}
	status := f.status()
	if f.code == ProblemCodeInvalidRequest {
		status = http.StatusUnprocessableEntity
	}
	return v2Error{StatusCode: status, ErrorCode: int(refused.Code), ErrorMessage: refused.Text(), ErrorMessageExtended: refused.Details}
}

// isV2 says whether a call is one of those; a few of the server's have another number in that API.
func isV2(path string) bool {
	return strings.HasPrefix(path, v2Path) || strings.HasPrefix(path, v3Path)
}
