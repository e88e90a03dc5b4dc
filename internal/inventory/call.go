package inventory

import (
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"
)

// The shapes of the calls by which a project's server changes what users own.

// Request is one operation of such a call, on one user.
type Request struct {
	User     User            `json:"user"`
	Items    []RequestedItem `json:"items"`
	Comment  string          `json:"comment,omitempty"`
	Platform string          `json:"platform,omitempty"`
	// Purchase is set when the items were bought outside.
	Purchase         *Purchase       `json:"purchase,omitempty"`
	CustomParameters json.RawMessage `json:"custom_parameters,omitempty"`
}

// User of the project; one that is not known is made.
type User struct {
	ID string `json:"id"`
}

// RequestedItem is so many of a SKU.
type RequestedItem struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Purchase that was made outside. Its id is the key: it gives its items once.
type Purchase struct {
	Amount               decimal.Decimal `json:"amount"`
	Currency             string          `json:"currency"`
	ExternalPurchaseID   string          `json:"external_purchase_id"`
	ExternalPurchaseDate time.Time       `json:"external_purchase_date"`
}

// Answer is what a call has done, in the order of its operations.
type Answer struct {
	Count      int                 `json:"count"` // of users
	Operations []AnsweredOperation `json:"operations"`
}

// AnsweredOperation is what became of one operation. A bundle is listed as what it contains.
type AnsweredOperation struct {
	UserID   string         `json:"user_id"`
	Platform string         `json:"platform"`
	Comment  string         `json:"comment"`
	Items    []AnsweredItem `json:"items"`
}

// AnsweredItem is so many of a SKU that were asked for, and how many the user owns afterwards.
type AnsweredItem struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Balance  int64  `json:"balance"`
}

// DefaultPlatform is told when a request names none.
const DefaultPlatform = "xsolla"
