package store

import (
	"fmt"

	"github.com/quickpass/quickpass/internal/ledger"
)

// Buyer is what the rules need to know of a user, read under a lock.
type Buyer struct {
	UserID    string
	Blocked   bool
	Available int64 // coins
}

// Offer is what the rules need to know of a product.
type Offer struct {
	Product   Product
	Available int64 // pieces in stock
}

// Purchase is a decision to sell.
type Purchase struct {
	PriceCoins int64 // of the whole order
	Delivery   Delivery
}

// DecidePurchase applies the rules of seed 000 ("Product Selection", "Order Creation"): is the
// account in order, is there stock, are there coins. A nil buyer or offer does not exist.
func DecidePurchase(buyer *Buyer, offer *Offer, quantity int64) (Purchase, *Refusal) {
	if buyer == nil {
		return Purchase{}, refuse(UserNotFound, "no such user; create it with PUT /api/v1/users/{id} first")
	}
	if offer == nil || offer.Product.Status != Published {
		return Purchase{}, refuse(ProductNotFound, "no such product is on sale; GET /api/v1/products lists what is")
	}
	if buyer.Blocked {
		return Purchase{}, refuse(UserBlocked, "this account is blocked; support can unblock it")
	}
	if offer.Available < quantity {
		return Purchase{}, refuse(OutOfStock, fmt.Sprintf("%d left of %s", offer.Available, offer.Product.SKU))
	}
	total, ok := ledger.Total(offer.Product.PriceCoins, quantity)
	if !ok {
		return Purchase{}, refuse(TotalTooLarge, "the price of the whole order is beyond what a wallet can hold; order fewer")
	}
	if buyer.Available < total {
		return Purchase{}, refuse(InsufficientCoins, fmt.Sprintf("the order costs %d coins, %d are available", total, buyer.Available))
	}
	return Purchase{PriceCoins: total, Delivery: offer.Product.DeliveryOf(quantity)}, nil
}

// DecideReplay applies the rules to an order that was canceled and is tried again at its own price.
func DecideReplay(buyer Buyer, stock, quantity, price int64) *Refusal {
	switch {
	case buyer.Blocked:
		return refuse(UserBlocked, "this account is blocked; unblock it before the replay")
	case stock < quantity:
		return refuse(OutOfStock, fmt.Sprintf("%d left; restock before the replay", stock))
	case buyer.Available < price:
		return refuse(InsufficientCoins, fmt.Sprintf("the order costs %d coins, %d are available", price, buyer.Available))
	default:
		return nil
	}
}
