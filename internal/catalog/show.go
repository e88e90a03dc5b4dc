package catalog

import (
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"
)

// The shapes in which clients read the catalog. A field without a value is null or empty, never left out,
// unless a comment says so.

// ShownItem is a virtual good or a virtual currency.
type ShownItem struct {
	ItemID           int64            `json:"item_id"`
	SKU              string           `json:"sku"`
	Name             string           `json:"name"`
	Description      string           `json:"description"`
	Type             Type             `json:"type"`
	VirtualItemType  VirtualItemType  `json:"virtual_item_type,omitempty"` // of virtual goods only
	Groups           []ShownGroupName `json:"groups"`
	Attributes       []ShownAttribute `json:"attributes"`
	ImageURL         *string          `json:"image_url"`
	IsFree           bool             `json:"is_free"`
	Price            *Quote           `json:"price"` // of one piece
	VirtualPrices    []ShownVirtual   `json:"virtual_prices"`
	CanBeBought      bool             `json:"can_be_bought"`
	InventoryOptions InventoryOptions `json:"inventory_options"`
	Promotions       []ShownPromotion `json:"promotions"`
	Limits           *ShownLimits     `json:"limits"`
	Periods          []SalePeriod     `json:"periods"`
	CustomAttributes json.RawMessage  `json:"custom_attributes"`
	VPRewards        []struct{}       `json:"vp_rewards"` // value points, which QuickPass does not have: always empty
	Order            int              `json:"order"`
	MediaList        []Media          `json:"media_list,omitzero"`        // when asked for
	LongDescription  *string          `json:"long_description,omitempty"` // when asked for
}

// ShownBundle is a standard bundle.
type ShownBundle struct {
	ShownItem
	BundleType        BundleType     `json:"bundle_type"`
	TotalContentPrice *Quote         `json:"total_content_price"` // of its parts, bought one by one
	Content           []ShownContent `json:"content"`
}

// ShownPackage is a package of virtual currency; its content is exactly one position.
type ShownPackage struct {
	ShownItem
	BundleType BundleType      `json:"bundle_type"`
	Content    []ShownPosition `json:"content"`
}

// ShownPosition is what a package of virtual currency holds.
type ShownPosition struct {
	ItemID           int64            `json:"item_id"`
	SKU              string           `json:"sku"`
	Name             string           `json:"name"`
	Type             Type             `json:"type"`
	Description      string           `json:"description"`
	ImageURL         *string          `json:"image_url"`
	Quantity         int64            `json:"quantity"`
	InventoryOptions InventoryOptions `json:"inventory_options"`
	Limits           *ShownLimits     `json:"limits"`
}

// ShownContent is one line of a bundle.
type ShownContent struct {
	SKU             string           `json:"sku"`
	Name            string           `json:"name"`
	Type            Type             `json:"type"`
	Description     string           `json:"description"`
	ImageURL        *string          `json:"image_url"`
	Quantity        int64            `json:"quantity"`
	VirtualItemType VirtualItemType  `json:"virtual_item_type,omitempty"` // of virtual goods only
	Attributes      []ShownAttribute `json:"attributes"`
	Price           *Quote           `json:"price"` // of one piece
	VirtualPrices   []ShownVirtual   `json:"virtual_prices"`
	Limits          *ShownLimits     `json:"limits"`
	IsFree          bool             `json:"is_free"`
	Groups          []ShownGroupName `json:"groups"`
}

// ShownUnit is a game with its keys.
type ShownUnit struct {
	ItemID      int64            `json:"item_id"`
	SKU         string           `json:"sku"`
	Name        string           `json:"name"`
	Groups      []ShownGroupName `json:"groups"`
	Attributes  []ShownAttribute `json:"attributes"`
	Type        Type             `json:"type"`
	UnitType    string           `json:"unit_type"` // game
	Description string           `json:"description"`
	ImageURL    *string          `json:"image_url"`
	Promotions  []ShownPromotion `json:"promotions"`
	UnitItems   []ShownUnitItem  `json:"unit_items"`
	// As in ShownItem.
	Order           int     `json:"order"`
	MediaList       []Media `json:"media_list,omitzero"`
	LongDescription *string `json:"long_description,omitempty"`
}

// ShownUnitItem is a key within its game.
type ShownUnitItem struct {
	ItemID        int64            `json:"item_id"`
	SKU           string           `json:"sku"`
	Type          Type             `json:"type"`
	IsFree        bool             `json:"is_free"`
	Price         *Quote           `json:"price"`
	VirtualPrices []ShownVirtual   `json:"virtual_prices"`
	CanBeBought   bool             `json:"can_be_bought"`
	DRMName       string           `json:"drm_name"`
	DRMSKU        string           `json:"drm_sku"`
	HasKeys       bool             `json:"has_keys"`
	IsPreOrder    bool             `json:"is_pre_order"`
	ReleaseDate   *time.Time       `json:"release_date"`
	Promotions    []ShownPromotion `json:"promotions"`
	Periods       []SalePeriod     `json:"periods"`
	VPRewards     []struct{}       `json:"vp_rewards"` // always empty
}

// ShownKey is a key by itself.
type ShownKey struct {
	ShownUnitItem
	Name        string           `json:"name"`
	Description string           `json:"description"`
	ImageURL    *string          `json:"image_url"`
	Groups      []ShownGroupName `json:"groups"`
	Attributes  []ShownAttribute `json:"attributes"`
	Limits      *ShownLimits     `json:"limits"`
}

// ShortItem is the short form, for lists of everything.
type ShortItem struct {
	SKU         string           `json:"sku"`
	Name        string           `json:"name"`
	Groups      []ShownGroupName `json:"groups"`
	Description string           `json:"description"`
}

// ShownGroupName names a group of an item.
type ShownGroupName struct {
	ExternalID string `json:"external_id"`
	Name       string `json:"name"`
}

// ShownAttribute is an attribute in one language.
type ShownAttribute struct {
	ExternalID string                `json:"external_id"`
	Name       string                `json:"name"`
	Values     []ShownAttributeValue `json:"values"`
}

// ShownAttributeValue is a value in one language.
type ShownAttributeValue struct {
	ExternalID string `json:"external_id"`
	Value      string `json:"value"`
}

// ShownVirtual is a price of one piece in a virtual currency.
type ShownVirtual struct {
	ItemID                int64         `json:"item_id,omitempty"` // in the list of everything for sale only
	SKU                   string        `json:"sku"`               // of the currency
	Name                  string        `json:"name"`
	Type                  Type          `json:"type"`
	Description           string        `json:"description"`
	ImageURL              *string       `json:"image_url"`
	Amount                int64         `json:"amount"`
	AmountWithoutDiscount int64         `json:"amount_without_discount"`
	CalculatedPrice       *ShownAmounts `json:"calculated_price,omitempty"` // in the list of everything for sale only
	IsDefault             bool          `json:"is_default"`
}

// ShownAmounts are whole amounts as text.
type ShownAmounts struct {
	Amount                decimal.Decimal `json:"amount"`
	AmountWithoutDiscount decimal.Decimal `json:"amount_without_discount"`
}

// ShownPromotion is a promotion that runs now.
type ShownPromotion struct {
	Name      string                `json:"name"`
	DateStart *time.Time            `json:"date_start"`
	DateEnd   *time.Time            `json:"date_end"`
	Discount  *ShownDiscount        `json:"discount"`
	Bonus     []ShownBonus          `json:"bonus"`
	Limits    *ShownPromotionLimits `json:"limits"`
}

// ShownDiscount holds decimal strings; one of them is null.
type ShownDiscount struct {
	Percent *string `json:"percent"`
	Value   *string `json:"value"`
}

// ShownBonus is an item that comes with the promotion.
type ShownBonus struct {
	SKU        string     `json:"sku"`
	Quantity   int64      `json:"quantity"`
	Type       Type       `json:"type"`
	Name       string     `json:"name"`
	ImageURL   *string    `json:"image_url"`
	BundleType BundleType `json:"bundle_type,omitempty"` // of bundles only
}

// ShownPromotionLimits of a promotion.
type ShownPromotionLimits struct {
	PerUser ShownTotal `json:"per_user"`
}

// ShownTotal is how many there are in all, and for this user now.
type ShownTotal struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
}

// ShownLimits of an item; at least one is not null.
type ShownLimits struct {
	PerUser *ShownUserLimit `json:"per_user"`
	PerItem *ShownItemLimit `json:"per_item"`
}

// ShownUserLimit is how many pieces one user may buy.
type ShownUserLimit struct {
	ShownTotal
	RecurrentSchedule *ShownRecurrence `json:"recurrent_schedule"`
}

// ShownRecurrence is when a limit begins anew.
type ShownRecurrence struct {
	IntervalType  Interval `json:"interval_type"`
	ResetNextDate int64    `json:"reset_next_date"` // Unix seconds
}

// ShownItemLimit is how many pieces all users together may buy.
type ShownItemLimit struct {
	ShownTotal
	Reserved int64 `json:"reserved"`
	Sold     int64 `json:"sold"`
}
