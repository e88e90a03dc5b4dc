package mainproduct

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shopspring/decimal"
)

// DefaultEndpoint is the path of the crediting call (seed 000).
const DefaultEndpoint = "/api/v1/credits/increase"

// DefaultSource is the source that the crediting call names (seed 000).
const DefaultSource = "quickpass_store"

const maxEndpointBytes = 512

// CreditRequest is one crediting: the order, and what the user is to get (seed 000).
type CreditRequest struct {
	// Endpoint is the path of the call, from the product's configuration; DefaultEndpoint when empty.
	Endpoint string
	// UserID is the user as the main product knows them. Required.
	UserID string
	// Amount is how much to credit, in Currency. Greater than zero.
	Amount decimal.Decimal
	// Currency is the main product's name of what is credited, such as "credits" or "crystals". Required.
	Currency string
	// OrderID is the same on every retry and replay: the main product's key of idempotency. Required.
	OrderID string
	// ProductName is for the main product's own books, such as "500 credits".
	ProductName string
	// Parameters are more about the product, such as the factor of a multiplier: a JSON object, sent as the field
	// `parameters`, which is left out when there are none. Not in seed 000.
	Parameters json.RawMessage
}

// wireRequest is the body of the crediting call, field by field as in seed 000, and parameters.
type wireRequest struct {
	UserID      string      `json:"user_id"`
	Amount      json.Number `json:"amount"`
	Currency    string      `json:"currency"`
	OrderID     string      `json:"order_id"`
	ProductName string      `json:"product_name"`
	Source      string      `json:"source"`

	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// encode checks the request and writes its body. An error never contains the values.
func (r CreditRequest) encode(source string) ([]byte, error) {
	for name, value := range map[string]string{"user_id": r.UserID, "currency": r.Currency, "order_id": r.OrderID} {
		if strings.TrimSpace(value) == "" {
			return nil, fmt.Errorf("%s is empty", name)
		}
		// encoding/json would replace the invalid bytes, and so credit another user than was asked for.
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s is not UTF-8", name)
		}
	}
	if !r.Amount.IsPositive() || !boundedExponent(r.Amount) {
		return nil, errors.New("amount is not a positive number of a sensible size")
	}
	data, err := json.Marshal(wireRequest{
		UserID:      r.UserID,
		Amount:      json.Number(r.Amount.String()),
		Currency:    r.Currency,
		OrderID:     r.OrderID,
		ProductName: r.ProductName,
		Source:      source,
		Parameters:  r.Parameters,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the crediting: %w", err)
	}
	return data, nil
}

// ValidateEndpoint says why an endpoint of a product's configuration cannot be called, or nil. An
// endpoint is the path of the main product's own API: it starts with one slash, stays on that host and
// below the base URL, and is plain text. The call carries the API key, so an endpoint that led
// elsewhere would give the key away.
func ValidateEndpoint(endpoint string) error {
	if len(endpoint) > maxEndpointBytes {
		return fmt.Errorf("endpoint is longer than %d bytes", maxEndpointBytes)
	}
	if !strings.HasPrefix(endpoint, "/") {
		return errors.New("endpoint must start with /, without scheme and host")
	}
	parsed, err := url.ParseRequestURI(endpoint)
	if err != nil {
		return errors.New("endpoint is not the path of a URL")
	}
	// The decoded form counts as well: some servers decode %2e%2e before they resolve it.
	for _, form := range []string{endpoint, parsed.Path} {
		switch {
		case strings.Contains(form, "//"):
			return errors.New("endpoint must not contain //")
		case strings.Contains(form, ".."):
			return errors.New("endpoint must not contain two dots in a row")
		case strings.ContainsAny(form, `\#`):
			return errors.New(`endpoint must not contain \ or #`)
		case strings.ContainsFunc(form, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
			return errors.New("endpoint must not contain spaces or control characters")
		}
	}
	return nil
}
