// Package store holds the rules of the shop (seed 000): products, stock, orders and who may buy what.
// It does no I/O and has no clock.
package store

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/ledger"
)

// ProductStatus says whether a product is on sale.
type ProductStatus string

const (
	Draft     ProductStatus = "draft"
	Published ProductStatus = "published"
)

// Product is one item of the shop, as seed 000 configures it ("Product Configuration").
type Product struct {
	SKU         string
	Version     int64 // grows by one with each edit; its ETag
	Name        string
	Description string
	Kind        string // KindCredits and so on, or a name of the shop's own
	PriceCoins  int64  // of one piece
	// ValiditySeconds is how long one piece lasts; 0: for good.
	ValiditySeconds int64
	Status          ProductStatus
	Stock           StockSettings
	Integration     Integration
	Delivery        DeliverySettings
	Group           string
	Position        int // in the shop, within its group
	Limits          Limits
	Schedule        Schedule
	Requires        Requirements
	UpdatedAt       time.Time
}

// StockSettings say how many pieces there are at first and what happens when they run low.
type StockSettings struct {
	Initial       int64
	Minimum       int64 // at or below it the stock is low
	HideAtZero    bool
	Replenishment Replenishment
}

// Integration says what to ask of the main product for one piece.
type Integration struct {
	ResourceType string          `json:"resource_type"`
	Endpoint     string          `json:"endpoint"` // path under the main product's base URL
	Amount       decimal.Decimal `json:"amount"`
	Currency     string          `json:"currency"`
	// Parameters are more that the main product wants to know, such as the factor of a multiplier: a JSON
	// object of at most 4,096 bytes and 4 levels, or nil.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// DeliverySettings say how patiently. The seed: 30 s, 3 retries, 10 s apart.
type DeliverySettings struct {
	Method               string `json:"method"`
	TimeoutSeconds       int    `json:"timeout_seconds"`
	Retries              int    `json:"retries"` // after the first try
	RetryIntervalSeconds int    `json:"retry_interval_seconds"`
}

// DefaultDelivery is the seed's ("Delivery Settings", "Error Handling").
func DefaultDelivery() DeliverySettings {
	return DeliverySettings{Method: "api_call", TimeoutSeconds: 30, Retries: 3, RetryIntervalSeconds: 10}
}

// DefaultEndpoint is the seed's path for crediting.
const DefaultEndpoint = "/api/v1/credits/increase"

// Delivery is what one order asks of the main product, frozen when it is bought so that a later
// edit of the product changes nothing about it.
type Delivery struct {
	ProductName  string          `json:"product_name"`
	ResourceType string          `json:"resource_type"`
	Endpoint     string          `json:"endpoint"`
	Amount       decimal.Decimal `json:"amount"` // for the whole quantity
	Currency     string          `json:"currency"`
	Parameters   json.RawMessage `json:"parameters,omitempty"`
	Perk         *PerkGrant      `json:"perk,omitempty"` // what it gives for a time; nil: for good
	DeliverySettings
}

// DeliveryOf freezes what an order of this many pieces asks for.
func (p Product) DeliveryOf(quantity int64) Delivery {
	return Delivery{
		ProductName:      p.Name,
		ResourceType:     p.Integration.ResourceType,
		Endpoint:         p.Integration.Endpoint,
		Amount:           p.Integration.Amount.Mul(decimal.NewFromInt(quantity)),
		Currency:         p.Integration.Currency,
		Parameters:       p.Integration.Parameters,
		Perk:             p.perkOf(quantity),
		DeliverySettings: p.Delivery,
	}
}

// Timeout of one call to the main product.
func (s DeliverySettings) Timeout() time.Duration {
	return time.Duration(s.TimeoutSeconds) * time.Second
}

// RetryInterval between the end of a failed call and the next.
func (s DeliverySettings) RetryInterval() time.Duration {
	return time.Duration(s.RetryIntervalSeconds) * time.Second
}

// StockStatus is what a shopper is shown.
type StockStatus string

const (
	InStock    StockStatus = "in_stock"
	LowStock   StockStatus = "low_stock"
	SoldOut    StockStatus = "out_of_stock"
	maxPieces              = 1_000_000_000
	maxSeconds             = 3600
)

// StatusOf tells how many pieces are left in words.
func (s StockSettings) StatusOf(available int64) StockStatus {
	switch {
	case available == 0:
		return SoldOut
	case available <= s.Minimum:
		return LowStock
	default:
		return InStock
	}
}

// Hidden says whether the product is left out of the shop at this stock (seed 000, "Auto-hide").
func (s StockSettings) Hidden(available int64) bool { return s.HideAtZero && available == 0 }

// FieldError is one mistake in a product.
type FieldError struct {
	Field   string
	Message string
}

var (
	skuPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	endpointPattern = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)
)

// Validate lists every mistake at once.
func (p Product) Validate() []FieldError {
	var errs []FieldError
	check := func(ok bool, field, message string) {
		if !ok {
			errs = append(errs, FieldError{field, message})
		}
	}
	check(skuPattern.MatchString(p.SKU), "sku", "1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit")
	check(p.SKU != "export" && p.SKU != "import", "sku", "export and import are addresses of the API")
	check(Printable(p.Name, 1, 200), "name", "1 to 200 printable characters")
	check(Printable(p.Description, 0, 2000), "description", "at most 2000 printable characters")
	check(Printable(p.Kind, 1, 64), "kind", "1 to 64 printable characters")
	check(p.PriceCoins >= 1 && p.PriceCoins <= ledger.MaxCoins, "price_coins", "from 1 to 1,000,000,000,000 coins")
	check(p.Status == Draft || p.Status == Published, "status", "draft or published")
	check(p.Stock.Initial >= 0 && p.Stock.Initial <= maxPieces, "stock.initial", "from 0 to 1,000,000,000 pieces")
	check(p.Stock.Minimum >= 0 && p.Stock.Minimum <= maxPieces, "stock.minimum", "from 0 to 1,000,000,000 pieces")
	p.Stock.Replenishment.validate(p.Stock.Minimum, check)
	p.Integration.Check("integration.", check)
	p.Delivery.Check("delivery.", check)
	check(Printable(p.Group, 0, 64), "group", "at most 64 printable characters")
	check(p.Position >= 0 && p.Position <= 1_000_000, "position", "from 0 to 1,000,000")
	p.validateValidity(check)
	p.Limits.validate(check)
	p.Schedule.validate(check)
	p.Requires.validate(check)
	return errs
}

// Check names what is wrong with an integration; the fields are named with what they are in.
func (i Integration) Check(in string, check func(ok bool, field, message string)) {
	check(Printable(i.ResourceType, 1, 64), in+"resource_type", "1 to 64 printable characters")
	check(len(i.Endpoint) <= 200 && endpointPattern.MatchString(i.Endpoint), in+"endpoint", "a path such as /api/v1/credits/increase, without host, query or dot segments")
	check(i.Amount.IsPositive() && i.Amount.LessThanOrEqual(decimal.NewFromInt(ledger.MaxCoins)) && i.Amount.Exponent() >= -8,
		in+"amount", "above 0, at most 1,000,000,000,000, at most 8 decimals")
	check(Printable(i.Currency, 1, 32), in+"currency", "1 to 32 printable characters")
	check(validParameters(i.Parameters), in+"parameters", "a JSON object of at most 4,096 bytes, 4 levels and 64 fields")
}

// Check names what is wrong with the settings of a delivery.
func (s DeliverySettings) Check(in string, check func(ok bool, field, message string)) {
	check(s.Method == "api_call", in+"method", "api_call")
	check(s.TimeoutSeconds >= 1 && s.TimeoutSeconds <= 300, in+"timeout_seconds", "from 1 to 300")
	check(s.Retries >= 0 && s.Retries <= 20, in+"retries", "from 0 to 20")
	check(s.RetryIntervalSeconds >= 1 && s.RetryIntervalSeconds <= maxSeconds, in+"retry_interval_seconds", "from 1 to 3600")
}

// Printable says whether a text has so many characters, none of them a control character, and no space around it.
func Printable(s string, min, max int) bool {
	n := 0
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return false
		}
		n++
	}
	return n >= min && n <= max && strings.TrimSpace(s) == s
}
