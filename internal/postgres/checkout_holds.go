package postgres

import (
	"slices"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
)

// checkoutHolds are what an order has taken of limits, and gives back when it ends or is refunded.
type checkoutHolds struct {
	Sales  []heldSale  `json:"sales,omitempty"`
	Usages []heldUsage `json:"usages,omitempty"`
}

// heldSale is of a limit for all users.
type heldSale struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	total    int64  // of the limit
}

// heldUsage is of a limit for the user, or of a promotion's.
type heldUsage struct {
	SKU         string    `json:"sku"`
	Promotion   string    `json:"promotion,omitempty"`
	PeriodStart time.Time `json:"period_start"`
	Quantity    int64     `json:"quantity"`
	most        int64     // of the limit
}

// pieceState is how a piece counts for a limit for all users.
type pieceState bool

const (
	pieceReserved pieceState = false
	pieceSold     pieceState = true
)

// holds are in the order in which their rows are locked. Bonus lines count for no limit.
func (d checkoutDraft) holds() checkoutHolds {
	var h checkoutHolds
	for _, line := range d.cart.Lines {
		item := line.Item
		if line.IsBonus {
			continue
		}
		if item.Limits.PerItem > 0 {
			h.Sales = append(h.Sales, heldSale{SKU: item.SKU, Quantity: line.Quantity, total: item.Limits.PerItem})
		}
		if item.Limits.PerUser > 0 {
			h.Usages = append(h.Usages, heldUsage{
				SKU:         item.SKU,
				PeriodStart: usagePeriod(item.Limits.Recurrent.PerUser, d.view.Now),
				Quantity:    line.Quantity,
				most:        item.Limits.PerUser,
			})
		}
		for _, id := range item.UsedPromotions(d.view.Now, d.view.Usages[item.SKU]) {
			k := slices.IndexFunc(item.Promotions, func(p catalog.Promotion) bool { return p.ID == id })
			h.Usages = append(h.Usages, heldUsage{
				SKU:         item.SKU,
				Promotion:   id,
				PeriodStart: usagePeriod(nil, d.view.Now),
				Quantity:    1,
				most:        item.Promotions[k].Limits.PerUser,
			})
		}
	}
	slices.SortFunc(h.Sales, func(a, b heldSale) int { return strings.Compare(a.SKU, b.SKU) })
	slices.SortFunc(h.Usages, func(a, b heldUsage) int { return strings.Compare(a.SKU+"\x00"+a.Promotion, b.SKU+"\x00"+b.Promotion) })
	return h
}

// minus is what is left when a part was given back.
func (h checkoutHolds) minus(back checkoutHolds) checkoutHolds {
	var left checkoutHolds
	for _, s := range h.Sales {
		for _, b := range back.Sales {
			if b.SKU == s.SKU {
				s.Quantity -= b.Quantity
			}
		}
		if s.Quantity > 0 {
			left.Sales = append(left.Sales, s)
		}
	}
	for _, u := range h.Usages {
		for _, b := range back.Usages {
			if b.SKU == u.SKU && b.Promotion == u.Promotion {
				u.Quantity -= b.Quantity
			}
		}
		if u.Quantity > 0 {
			left.Usages = append(left.Usages, u)
		}
	}
	return left
}

// of is what these pieces hold; the use of a promotion goes with the last piece of its line.
func (h checkoutHolds) of(o checkout.Order, refund checkout.Refund) checkoutHolds {
	var part checkoutHolds
	for _, line := range o.Lines {
		quantity, before := refund.QuantityOf(line.LineID), int64(0)
		for _, earlier := range o.Refunds {
			before += earlier.QuantityOf(line.LineID)
		}
		if line.IsBonus || quantity == 0 {
			continue
		}
		for _, s := range h.Sales {
			if s.SKU == line.SKU {
				s.Quantity = quantity
				part.Sales = append(part.Sales, s)
			}
		}
		for _, u := range h.Usages {
			if u.SKU != line.SKU || (u.Promotion != "" && before+quantity < line.Quantity) {
				continue
			}
			if u.Promotion == "" {
				u.Quantity = quantity
			}
			part.Usages = append(part.Usages, u)
		}
	}
	return part
}
