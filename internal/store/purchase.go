package store

import (
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/ledger"
)

// Buyer is what the rules need to know of a user, read under a lock.
type Buyer struct {
	UserID         string
	Blocked        bool
	Suspicious     bool
	VIP            bool
	Available      int64 // coins
	Attributes     map[string]string
	CompletedTasks []string
	LastPurchaseAt *time.Time // of an order that was not canceled
}

// Offer is what the rules need to know of a product.
type Offer struct {
	Product   Product
	Available int64 // pieces in stock
	Sales     Sales
}

// Request is what the buyer wants, when, and from where.
type Request struct {
	Quantity int64
	Now      time.Time
	Bought   Bought
	Trace    Trace
}

// Purchase is a decision to sell.
type Purchase struct {
	PriceCoins int64 // of the whole order
	Delivery   Delivery
	Risk       *Risk
	ConfirmBy  *time.Time // set: the buyer must confirm before it is delivered
	StockFloor int64      // pieces that must be left for others
}

// DecidePurchase applies the rules of seed 000 ("Product Selection", "Order Creation", "Availability
// Management", "Fraud Protection"), the gravest first. A nil buyer or offer does not exist.
func DecidePurchase(buyer *Buyer, offer *Offer, request Request, policy Policy) (Purchase, *Refusal) {
	switch {
	case buyer == nil:
		return Purchase{}, refuse(UserNotFound, "no such user; create it with PUT /api/v1/users/{id} first")
	case offer == nil || offer.Product.Status != Published:
		return Purchase{}, refuse(ProductNotFound, "no such product is on sale; GET /api/v1/products lists what is")
	case buyer.Blocked:
		return Purchase{}, refuse(UserBlocked, "this account is blocked; support can unblock it")
	case request.Trace.AddressDenied:
		return Purchase{}, refuse(AddressDenied, "purchases from this address are not allowed; support can tell more")
	}
	if refusal := checkAvailability(*buyer, *offer, request, policy); refusal != nil {
		return Purchase{}, refusal
	}
	total, ok := ledger.Total(offer.Product.PriceCoins, request.Quantity)
	if !ok {
		return Purchase{}, refuse(TotalTooLarge, "the price of the whole order is beyond what a wallet can hold; order fewer")
	}
	if buyer.Available < total {
		return Purchase{}, refuse(InsufficientCoins, fmt.Sprintf("the order costs %d coins, %d are available", total, buyer.Available))
	}
	purchase := Purchase{
		PriceCoins: total,
		Delivery:   offer.Product.DeliveryOf(request.Quantity),
		Risk:       policy.AssessRisk(*buyer, request.Trace, total),
		StockFloor: offer.floor(*buyer),
	}
	if policy.needsConfirmation(total, purchase.Risk) {
		deadline := request.Now.Add(policy.ConfirmWithin)
		purchase.ConfirmBy = &deadline
	}
	return purchase, nil
}

func checkAvailability(buyer Buyer, offer Offer, request Request, policy Policy) *Refusal {
	product := offer.Product
	if refusal := product.Requires.check(buyer); refusal != nil {
		return refusal
	}
	if refusal := product.Schedule.check(request.Now); refusal != nil {
		return refusal
	}
	if left := offer.Available - offer.floor(buyer); left < request.Quantity {
		return refuse(OutOfStock, fmt.Sprintf("%d left of %s", max(left, 0), product.SKU))
	}
	zone := product.Schedule.Zone()
	if refusal := product.Limits.check(request.Bought, offer.Sales.at(request.Now, zone), request.Quantity, request.Now, zone); refusal != nil {
		return refusal
	}
	return policy.checkFrequency(buyer.LastPurchaseAt, request.Now)
}

// floor is how many pieces this buyer must leave: the reserve for VIP buyers, unless they are one.
func (o Offer) floor(buyer Buyer) int64 {
	if buyer.VIP {
		return 0
	}
	return o.Product.Limits.VIPReserve
}

// DecideReplay applies the rules to an order that was canceled and is tried again at its own price: what
// allowed it once is not asked again.
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
