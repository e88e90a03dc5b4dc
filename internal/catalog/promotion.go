package catalog

import (
	"time"

	"github.com/shopspring/decimal"
)

// Promotion is a discount, bonus items, or both, for a time.
type Promotion struct {
	ID       string          `json:"id"` // within the item; what a user's uses are counted by
	Name     Text            `json:"name"`
	From     *time.Time      `json:"date_start"` // inclusive; nil: since ever
	Until    *time.Time      `json:"date_end"`   // exclusive; nil: no end
	Discount *Discount       `json:"discount"`
	Bonus    []Content       `json:"bonus,omitempty"` // for each piece bought
	Limits   PromotionLimits `json:"limits,omitzero"`
}

// Discount is a percentage or an amount of money off a piece; exactly one of the two.
type Discount struct {
	Percent  *decimal.Decimal `json:"percent"` // above 0, at most 100
	Value    *decimal.Decimal `json:"value"`
	Currency string           `json:"currency,omitempty"` // of the value; prices in others are not reduced
}

// PromotionLimits bound how often a promotion is used; 0 is no limit. An order uses a promotion once, whatever the
// quantity.
type PromotionLimits struct {
	PerUser int64 `json:"per_user,omitempty"`
}

func (p Promotion) activeAt(now time.Time) bool {
	return (p.From == nil || !now.Before(*p.From)) && (p.Until == nil || now.Before(*p.Until))
}

// usable says whether the promotion runs and the user has not used it up.
func (p Promotion) usable(now time.Time, usage Usage) bool {
	return p.activeAt(now) && (p.Limits.PerUser == 0 || usage.Promotions[p.ID] < p.Limits.PerUser)
}

var hundred = decimal.NewFromInt(100)

// off takes the discount from an amount with so many decimals, half up. Only a full discount makes it zero:
// rounding never gives away what was to be sold.
func (d Discount) off(amount decimal.Decimal, currency string, decimals int32) decimal.Decimal {
	switch {
	case d.Percent != nil:
		exact := amount.Mul(hundred.Sub(*d.Percent)).Shift(-2)
		rounded := exact.Round(decimals)
		if rounded.IsZero() && exact.IsPositive() {
			return decimal.New(1, -decimals)
		}
		return rounded
	case d.Value != nil && d.Currency == currency:
		return decimal.Max(amount.Sub(*d.Value), decimal.Zero)
	default:
		return amount
	}
}

// best is the lowest amount that one of the item's promotions makes of it. Discounts do not add up.
func (i Item) best(amount decimal.Decimal, currency string, decimals int32, now time.Time, usage Usage) decimal.Decimal {
	lowest := amount
	for _, p := range i.Promotions {
		if p.Discount != nil && p.usable(now, usage) {
			lowest = decimal.Min(lowest, p.Discount.off(amount, currency, decimals))
		}
	}
	return lowest
}

// BonusOf is what comes with so many pieces for nothing, one line an item; false when it is more than maxPieces of one.
func (i Item) BonusOf(quantity int64, now time.Time, usage Usage) ([]Content, bool) {
	var bonus []Content
	at := map[string]int{}
	for _, p := range i.Promotions {
		if !p.usable(now, usage) {
			continue
		}
		for _, line := range p.Bonus {
			if quantity > maxPieces/line.Quantity {
				return nil, false
			}
			k, found := at[line.SKU]
			if !found {
				k = len(bonus)
				at[line.SKU] = k
				bonus = append(bonus, Content{SKU: line.SKU})
			}
			if bonus[k].Quantity += line.Quantity * quantity; bonus[k].Quantity > maxPieces {
				return nil, false
			}
		}
	}
	return bonus, true
}

// UsedPromotions are the ids of the promotions that an order of the item uses: each that is limited and runs. The
// caller counts them.
func (i Item) UsedPromotions(now time.Time, usage Usage) []string {
	var used []string
	for _, p := range i.Promotions {
		if p.Limits.PerUser > 0 && p.usable(now, usage) {
			used = append(used, p.ID)
		}
	}
	return used
}
