package webhook

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/optional"
)

// schemaVersion of the fields that are ours. More may be added under it; none changes its meaning.
const schemaVersion = 1

// Notice is an event of an order, as its listener is told: the order as it was at that moment.
type Notice struct {
	EventID   string
	Event     Event
	Sequence  int // of the order's events: 1 is the first that its listener is told of
	At        time.Time
	Format    int // OldestFormat to NewestFormat
	ProjectID int32
	Order     checkout.Order
	Reason    string // why it was canceled
	UserID    string
	Country   string
	Custom    json.RawMessage // custom_parameters; may be nil
	External  string          // the caller's own id of the order
	Payment   *checkout.Payment
	Refunded  decimal.Decimal  // of the order so far
	Refund    *checkout.Refund // that this is about
}

// body has the fields that existing clients read, and beside them those that are ours: event_id, sequence,
// created_at, schema_version, project_id, user_id, refund, order.expires_at, order.reason, order.refunded,
// order.external_id and items[].line_id and name.
type body struct {
	NotificationType Event           `json:"notification_type"`
	SchemaVersion    int             `json:"schema_version"`
	EventID          string          `json:"event_id"`
	Sequence         int             `json:"sequence"`
	CreatedAt        time.Time       `json:"created_at"`
	ProjectID        int32           `json:"project_id"`
	UserID           string          `json:"user_id"`
	Items            []item          `json:"items"`
	Order            order           `json:"order"`
	User             user            `json:"user"`
	Refund           *refund         `json:"refund,omitempty"`
	CustomParameters json.RawMessage `json:"custom_parameters"`
}

type item struct {
	LineID           string         `json:"line_id"`
	SKU              string         `json:"sku"`
	Name             string         `json:"name"`
	Type             catalog.Type   `json:"type"`
	Quantity         int64          `json:"quantity"`
	Amount           string         `json:"amount"` // of the whole line
	IsPreOrder       bool           `json:"is_pre_order"`
	Promotions       []promotion    `json:"promotions"`
	CustomAttributes map[string]any `json:"custom_attributes"`
	*flags
}

// flags are those that format 2 adds. Who grants what is listed counts bundles or their content, never both.
type flags struct {
	IsFree          bool `json:"is_free"`
	IsBonus         bool `json:"is_bonus"`
	IsBundleContent bool `json:"is_bundle_content"`
}

type promotion struct {
	With     string `json:"amount_with_discount"`
	Without  string `json:"amount_without_discount"`
	Sequence int    `json:"sequence"`
}

type order struct {
	ID           int64                `json:"id"`
	Mode         string               `json:"mode"`
	CurrencyType string               `json:"currency_type"`
	Currency     string               `json:"currency"`
	Amount       string               `json:"amount"`
	Status       checkout.OrderStatus `json:"status"`
	Platform     *string              `json:"platform"`
	Comment      *string              `json:"comment"`
	InvoiceID    *string              `json:"invoice_id"`
	Promotions   []promotion          `json:"promotions"`
	Promocodes   []struct{}           `json:"promocodes"`
	Coupons      []struct{}           `json:"coupons"`
	ExpiresAt    *time.Time           `json:"expires_at"`
	Reason       *string              `json:"reason"`
	Refunded     string               `json:"refunded"`
	ExternalID   *string              `json:"external_id"`
}

type user struct {
	ExternalID string  `json:"external_id"`
	Email      *string `json:"email"`
	Country    *string `json:"country"`
}

type refund struct {
	RefundID string                `json:"refund_id"`
	Amount   string                `json:"amount"`
	Whole    bool                  `json:"whole"`
	Lines    []checkout.RefundLine `json:"lines"`
}

// Body is what is sent, the same bytes at each try.
func (n Notice) Body() ([]byte, error) {
	b := body{
		NotificationType: n.Event,
		SchemaVersion:    schemaVersion,
		EventID:          n.EventID,
		Sequence:         n.Sequence,
		CreatedAt:        n.At.UTC(),
		ProjectID:        n.ProjectID,
		UserID:           n.UserID,
		Order:            n.order(),
		User:             user{ExternalID: n.UserID, Country: optional.Text(n.Country)},
		CustomParameters: n.Custom,
		Items:            []item{},
	}
	if b.CustomParameters == nil {
		b.CustomParameters = json.RawMessage("{}")
	}
	for _, line := range n.Order.Lines {
		b.Items = append(b.Items, n.line(line))
		b.Items = append(b.Items, n.content(line.LineID, line.Quantity, line.Content)...)
	}
	if n.Refund != nil {
		b.Refund = &refund{RefundID: n.Refund.ID, Amount: n.Refund.Amount.String(), Whole: n.Refund.Whole, Lines: n.Refund.Lines}
	}
	encoded, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", n.EventID, err)
	}
	return encoded, nil
}

func (n Notice) order() order {
	o := order{
		ID:           n.Order.OrderID,
		Mode:         checkout.ModeOf(n.Order.Sandbox),
		CurrencyType: "unknown",
		Amount:       "0",
		Status:       n.Order.Status,
		Promotions:   []promotion{},
		Promocodes:   []struct{}{},
		Coupons:      []struct{}{},
		Reason:       optional.Text(n.Reason),
		Refunded:     n.Refunded.String(),
		ExternalID:   optional.Text(n.External),
	}
	if !n.Order.ExpiresAt.IsZero() {
		o.ExpiresAt = new(n.Order.ExpiresAt.UTC())
	}
	switch {
	case n.Order.Price != nil:
		o.CurrencyType, o.Currency = "real", n.Order.Price.Currency
		o.Amount, _ = n.Order.Price.Texts()
	case n.Order.Virtual != nil:
		o.CurrencyType, o.Currency, o.Amount = "virtual", n.Order.Virtual.SKU, strconv.FormatInt(n.Order.Virtual.Amount, 10)
	}
	if n.Payment != nil {
		o.Platform, o.InvoiceID = &n.Payment.Provider, &n.Payment.ProviderID
	}
	return o
}

func (n Notice) line(line checkout.OrderLine) item {
	shown := item{
		LineID:           line.LineID,
		SKU:              line.SKU,
		Name:             line.Name,
		Type:             line.Type,
		Quantity:         line.Quantity,
		Amount:           "0",
		Promotions:       []promotion{},
		CustomAttributes: map[string]any{},
		flags:            n.flags(flags{IsFree: line.IsFree, IsBonus: line.IsBonus}),
	}
	switch {
	case line.Price != nil:
		total := catalog.Quote{
			Amount:          line.Price.Amount.Mul(decimal.NewFromInt(line.Quantity)),
			WithoutDiscount: line.Price.WithoutDiscount.Mul(decimal.NewFromInt(line.Quantity)),
			Currency:        line.Price.Currency,
		}
		with, without := total.Texts()
		shown.Amount, shown.Promotions = with, discounts(with, without)
	case line.VirtualPrice != nil:
		with, without := strconv.FormatInt(line.VirtualPrice.Amount*line.Quantity, 10), strconv.FormatInt(line.VirtualPrice.WithoutDiscount*line.Quantity, 10)
		shown.Amount, shown.Promotions = with, discounts(with, without)
	}
	return shown
}

// discounts is one entry: discounts don't add up, the best one counts.
func discounts(with, without string) []promotion {
	if with == without {
		return []promotion{}
	}
	return []promotion{{With: with, Without: without, Sequence: 1}}
}

// content lists what so many bundles contain, in all; ids go on from that of the bundle: 3, 3.1, 3.1.2.
func (n Notice) content(lineID string, bundles int64, parts []checkout.Part) (items []item) {
	for k, part := range parts {
		id := lineID + "." + strconv.Itoa(k+1)
		items = append(items, item{
			LineID:           id,
			SKU:              part.SKU,
			Name:             part.Name,
			Type:             part.Type,
			Quantity:         bundles * part.Quantity,
			Amount:           "0",
			Promotions:       []promotion{},
			CustomAttributes: map[string]any{},
			flags:            n.flags(flags{IsBundleContent: true}),
		})
		items = append(items, n.content(id, bundles*part.Quantity, part.Content)...)
	}
	return items
}

func (n Notice) flags(f flags) *flags {
	if n.Format == OldestFormat {
		return nil
	}
	return &f
}

// TestBody is what a test delivery says.
func TestBody(projectID int32, eventID string, at time.Time) ([]byte, error) {
	return json.Marshal(struct {
		NotificationType Event     `json:"notification_type"`
		SchemaVersion    int       `json:"schema_version"`
		EventID          string    `json:"event_id"`
		Sequence         int       `json:"sequence"`
		CreatedAt        time.Time `json:"created_at"`
		ProjectID        int32     `json:"project_id"`
	}{Test, schemaVersion, eventID, 0, at.UTC(), projectID})
}
