// Package catalog holds the rules of a project's catalog (seeds 002, 004): what an item is, what it costs whom, in
// which language it is told, and whether it can be bought now. It does no I/O and has no clock.
package catalog

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Type of an item.
type Type string

const (
	VirtualGood     Type = "virtual_good"
	VirtualCurrency Type = "virtual_currency"
	Bundle          Type = "bundle"
	Unit            Type = "unit"     // a game; what is sold are its keys
	GameKey         Type = "game_key" // a unit on one platform
)

// BundleType tells the two kinds of bundle apart.
type BundleType string

const (
	StandardBundle  BundleType = "standard"
	CurrencyPackage BundleType = "virtual_currency_package" // exactly one line, of a virtual currency
)

// VirtualItemType says what owning a virtual good means.
type VirtualItemType string

const (
	Consumable              VirtualItemType = "consumable"
	NonConsumable           VirtualItemType = "non_consumable" // owned once and for good
	NonRenewingSubscription VirtualItemType = "non_renewing_subscription"
)

// Status says whether an item is in the shop. A draft is neither shown nor sold by itself, but a bundle may contain
// it: this is how a hard currency is sold in packages only.
type Status string

const (
	Draft     Status = "draft"
	Published Status = "published"
)

// StatusOf maps the two switches of the API that clients know onto the one of ours.
func StatusOf(isEnabled, isShownInStore bool) Status {
	if isEnabled && isShownInStore {
		return Published
	}
	return Draft
}

// CoinsSKU names QuickPass's own wallet as a currency that prices may be in. No item can have it.
const CoinsSKU = "coins"

// Item is one thing of a project's catalog. Its JSON is what is stored, imported, exported and patched; what a
// shopper sees is a Shown form of it.
type Item struct {
	ItemID    int64     `json:"-"`
	Version   int64     `json:"-"` // grows by one with each edit; its ETag
	UpdatedAt time.Time `json:"-"`

	SKU              string           `json:"sku"`
	Type             Type             `json:"type"`
	BundleType       BundleType       `json:"bundle_type,omitempty"`       // of bundles
	VirtualItemType  VirtualItemType  `json:"virtual_item_type,omitempty"` // of virtual goods
	Status           Status           `json:"status"`
	Name             Text             `json:"name"`
	Description      Text             `json:"description,omitempty"`
	LongDescription  Text             `json:"long_description,omitempty"`
	ImageURL         string           `json:"image_url,omitempty"`
	MediaList        []Media          `json:"media_list,omitempty"`
	Attributes       []Attribute      `json:"attributes,omitempty"`
	Groups           []string         `json:"groups,omitempty"` // external ids
	Order            int              `json:"order"`            // in the shop, the lowest first
	IsFree           bool             `json:"is_free,omitempty"`
	Prices           []Price          `json:"prices,omitempty"`
	VirtualPrices    []VirtualPrice   `json:"vc_prices,omitempty"`
	InventoryOptions InventoryOptions `json:"inventory_options,omitzero"`
	Limits           Limits           `json:"limits,omitzero"`
	Periods          []SalePeriod     `json:"periods,omitempty"` // when it is sold; none: always
	Promotions       []Promotion      `json:"promotions,omitempty"`
	Content          []Content        `json:"content,omitempty"` // of bundles
	// CustomAttributes are a JSON object of at most 500 characters, or nil. QuickPass keeps them and shows them.
	CustomAttributes json.RawMessage `json:"custom_attributes,omitempty"`
	// Countries (ISO 3166-1 alpha-2) where it is sold; none: everywhere. One that is restricted is not sold to
	// somebody whose country is not known.
	Countries   []string   `json:"countries,omitempty"`
	UnitSKU     string     `json:"unit_sku,omitempty"` // of game keys: the game
	DRM         string     `json:"drm_sku,omitempty"`  // of game keys: the platform, see DRMs
	IsPreOrder  bool       `json:"is_pre_order,omitempty"`
	ReleaseDate *time.Time `json:"release_date,omitempty"`
	// MainProduct is what the main product gives for a piece of it; nil: nothing.
	MainProduct *MainProduct `json:"main_product,omitempty"`
}

// Media is a picture or a film of an item.
type Media struct {
	Type string `json:"type"` // image or video
	URL  string `json:"url"`
}

// Attribute of an item that shops filter by, such as its rarity. At most 20 an item, of at most 6 values each.
type Attribute struct {
	ExternalID string           `json:"external_id"`
	Name       Text             `json:"name"`
	Values     []AttributeValue `json:"values"`
}

// AttributeValue is one value of an attribute.
type AttributeValue struct {
	ExternalID string `json:"external_id"`
	Value      Text   `json:"value"`
}

// Price in money of one piece. Exactly one is the default, and that one is of no country.
type Price struct {
	Amount    decimal.Decimal `json:"amount"`
	Currency  string          `json:"currency"`              // ISO 4217
	Country   string          `json:"country_iso,omitempty"` // ISO 3166-1 alpha-2; empty: every country without a price of its own
	IsDefault bool            `json:"is_default,omitempty"`
}

// VirtualPrice of one piece in a virtual currency.
type VirtualPrice struct {
	SKU       string `json:"sku"` // of the currency; CoinsSKU is QuickPass's own
	Amount    int64  `json:"amount"`
	IsDefault bool   `json:"is_default,omitempty"`
}

// InventoryOptions say what becomes of an item in the inventory.
type InventoryOptions struct {
	Consumable       *ConsumableOptions    `json:"consumable"`
	ExpirationPeriod *subscriptions.Period `json:"expiration_period"` // of non-renewing subscriptions: of one piece
}

// ConsumableOptions of a consumable.
type ConsumableOptions struct {
	UsagesCount int `json:"usages_count"` // of one piece
}

// SalePeriod is a time in which an item is sold.
type SalePeriod struct {
	From  time.Time  `json:"date_from"`  // inclusive
	Until *time.Time `json:"date_until"` // exclusive; nil: no end
}

// Content is one line of a bundle.
type Content struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// WithDefaults fills in what was left out: a draft, and the kind of virtual good that its inventory options
// describe.
func (i Item) WithDefaults() Item {
	if i.Status == "" {
		i.Status = Draft
	}
	if i.Type == Bundle && i.BundleType == "" {
		i.BundleType = StandardBundle
	}
	if i.Type == VirtualGood && i.VirtualItemType == "" {
		switch {
		case i.InventoryOptions.ExpirationPeriod != nil:
			i.VirtualItemType = NonRenewingSubscription
		case i.InventoryOptions.Consumable != nil:
			i.VirtualItemType = Consumable
		default:
			i.VirtualItemType = NonConsumable
		}
	}
	return i
}

// soldAt says whether now lies in a sale period.
func (i Item) soldAt(now time.Time) bool {
	for _, p := range i.Periods {
		if !now.Before(p.From) && (p.Until == nil || now.Before(*p.Until)) {
			return true
		}
	}
	return len(i.Periods) == 0
}

// IsShown says whether the shop shows the item to the viewer; inactive: also outside of its sale periods.
func (i Item) IsShown(view View, inactive bool) bool {
	return i.Status == Published && (len(i.Countries) == 0 || slices.Contains(i.Countries, view.Country)) && (inactive || i.soldAt(view.Now))
}

// Kind says how the item is owned; empty for a game, which is not.
func (i Item) Kind() inventory.Kind {
	switch i.Type {
	case VirtualGood:
		return inventory.Kind(i.VirtualItemType)
	case VirtualCurrency:
		return inventory.VirtualCurrency
	case Bundle:
		return inventory.Bundle
	case GameKey:
		return inventory.GameKey
	default:
		return ""
	}
}

// toOwn is what the rules of the inventory need to know of it.
func (i Item) toOwn() inventory.Item {
	owned := inventory.Item{Kind: i.Kind()}
	if i.InventoryOptions.ExpirationPeriod != nil {
		owned.Period = *i.InventoryOptions.ExpirationPeriod
	}
	for _, line := range i.Content {
		owned.Content = append(owned.Content, inventory.Content(line))
	}
	return owned
}
