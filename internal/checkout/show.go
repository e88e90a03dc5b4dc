package checkout

import (
	"strconv"

	"github.com/quickpass/quickpass/internal/catalog"
)

// The shapes in which clients read carts and orders.

// ShownCart is the answer of reading and of filling a cart.
type ShownCart struct {
	CartID     string                   `json:"cart_id"`
	Price      *catalog.Quote           `json:"price"` // null when it is empty or free
	IsFree     bool                     `json:"is_free"`
	Items      []ShownLine              `json:"items"`
	Promotions []catalog.ShownPromotion `json:"promotions"`         // of the cart as a whole: always empty
	Warnings   []Warning                `json:"warnings,omitempty"` // lines that are not accepted; they are not in items
}

// ShownLine is an item with its quantity; the price is that of one piece.
type ShownLine struct {
	catalog.ShownItem
	BundleType catalog.BundleType `json:"bundle_type,omitempty"` // of bundles only
	Quantity   int64              `json:"quantity"`
	IsBonus    bool               `json:"is_bonus"`
}

// ShowCart shows a cart with the warnings of its pricing.
func ShowCart(c *catalog.Catalog, view catalog.View, cartID string, cart Cart, warnings []Warning) ShownCart {
	shown := ShownCart{CartID: cartID, Price: cart.Price, IsFree: cart.Free, Items: []ShownLine{}, Promotions: []catalog.ShownPromotion{},
		Warnings: warnings}
	for _, line := range cart.Lines {
		item := c.ShowItem(line.Item, view)
		item.Price, item.IsFree = line.Unit, line.IsFree()
		shown.Items = append(shown.Items, ShownLine{item, line.Item.BundleType, line.Quantity, line.IsBonus})
	}
	return shown
}

// ShownOrder is the answer of reading an order.
type ShownOrder struct {
	OrderID int64        `json:"order_id"`
	Status  OrderStatus  `json:"status"`
	Content ShownContent `json:"content"`
}

// ShownContent is what was ordered, for how much.
type ShownContent struct {
	IsFree       bool               `json:"is_free"`
	Price        *catalog.Quote     `json:"price"`         // of the whole order
	VirtualPrice *ShownVirtualPrice `json:"virtual_price"` // of the whole order
	Items        []ShownOrderLine   `json:"items"`
}

// ShownOrderLine is a line of an order; prices are those of one piece.
type ShownOrderLine struct {
	SKU          string             `json:"sku"`
	Quantity     int64              `json:"quantity"`
	IsFree       bool               `json:"is_free"`
	IsBonus      bool               `json:"is_bonus"`
	Price        *catalog.Quote     `json:"price"`
	VirtualPrice *ShownVirtualPrice `json:"virtual_price,omitempty"` // of orders for virtual currency only
}

// ShownVirtualPrice holds whole amounts as text, and the SKU of the currency.
type ShownVirtualPrice struct {
	Amount                string `json:"amount"`
	AmountWithoutDiscount string `json:"amount_without_discount"`
	Currency              string `json:"currency"`
}

// ShowOrder shows an order as it was frozen.
func ShowOrder(o Order) ShownOrder {
	shown := ShownOrder{
		OrderID: o.OrderID,
		Status:  o.Status,
		Content: ShownContent{IsFree: o.Price == nil && o.Virtual == nil, Price: o.Price,
			VirtualPrice: showVirtual(o.Virtual), Items: []ShownOrderLine{}},
	}
	for _, line := range o.Lines {
		shown.Content.Items = append(shown.Content.Items, ShownOrderLine{line.SKU, line.Quantity, line.IsFree, line.IsBonus, line.Price,
			showVirtual(line.VirtualPrice)})
	}
	return shown
}

func showVirtual(q *catalog.VirtualQuote) *ShownVirtualPrice {
	if q == nil {
		return nil
	}
	return &ShownVirtualPrice{strconv.FormatInt(q.Amount, 10), strconv.FormatInt(q.WithoutDiscount, 10), q.SKU}
}
