// Package checkout holds the rules of carts, orders, payments and refunds (seeds 002, 004): which lines a cart takes,
// what they cost, what an order freezes, and what becomes of every payment. It does no I/O and has no clock.
package checkout

import (
	"fmt"
	"maps"
	"slices"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
)

// Bounds of a cart.
const (
	MaxLines    = 100
	MaxQuantity = 1_000_000 // of one line
)

// LineRequest is a line of a cart as the user has set it. A cart has at most one of a SKU.
type LineRequest struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Set sets the quantity of a SKU and leaves the other lines alone; 0 takes the line away.
func Set(lines []LineRequest, sku string, quantity int64) ([]LineRequest, *Refusal) {
	if quantity < 0 || quantity > MaxQuantity {
		return nil, Refuse(InvalidField, "the quantity of "+sku+" is not allowed", Detail{"quantity", "a whole number from 0 to 1,000,000"})
	}
	set := slices.Clone(lines)
	at := slices.IndexFunc(set, func(line LineRequest) bool { return line.SKU == sku })
	switch {
	case quantity == 0 && at >= 0:
		return slices.Delete(set, at, at+1), nil
	case quantity == 0:
		return set, nil
	case at >= 0:
		set[at].Quantity = quantity
		return set, nil
	case len(set) == MaxLines:
		return nil, Refuse(TooManyItems, fmt.Sprintf("a cart has at most %d lines", MaxLines))
	default:
		return append(set, LineRequest{sku, quantity}), nil
	}
}

// Fill sets several lines, all or none; of two with one SKU the later counts.
func Fill(lines, wanted []LineRequest) ([]LineRequest, *Refusal) {
	if len(wanted) == 0 {
		return nil, Refuse(InvalidField, "there is nothing to fill in", Detail{"items", "at least one"})
	}
	filled := lines
	for _, line := range wanted {
		var refusal *Refusal
		if filled, refusal = Set(filled, line.SKU, line.Quantity); refusal != nil {
			return nil, refusal
		}
	}
	return filled, nil
}

// Merge adds up the lines of one SKU, each at the place of its first: what an order holds of limits is known
// by the SKU.
func Merge(lines []LineRequest) []LineRequest {
	var merged []LineRequest
	for _, line := range lines {
		at := slices.IndexFunc(merged, func(m LineRequest) bool { return m.SKU == line.SKU })
		if at < 0 {
			merged = append(merged, line)
		} else {
			merged[at].Quantity += line.Quantity
		}
	}
	return merged
}

// Delete takes a line away.
func Delete(lines []LineRequest, sku string) ([]LineRequest, *Refusal) {
	left := slices.DeleteFunc(slices.Clone(lines), func(line LineRequest) bool { return line.SKU == sku })
	if len(left) == len(lines) {
		return nil, Refuse(ItemNotFound, sku+" is not in the cart")
	}
	return left, nil
}

// Line is an accepted line with its price.
type Line struct {
	Item     catalog.Item
	Quantity int64
	Unit     *catalog.Quote        // of one piece; nil: free, or paid for in a virtual currency
	Virtual  *catalog.VirtualQuote // of one piece, of orders for virtual currency only
	IsBonus  bool                  // added by a promotion; always free
}

// IsFree says whether the line costs nothing, which a full discount can bring about, too.
func (l Line) IsFree() bool {
	return (l.Unit == nil || l.Unit.Amount.IsZero()) && (l.Virtual == nil || l.Virtual.Amount == 0)
}

// Cart is what would be ordered.
type Cart struct {
	Lines   []Line                // bonus lines last
	Price   *catalog.Quote        // the sum of the lines; nil when it is empty or free, or paid for in a virtual currency
	Virtual *catalog.VirtualQuote // the same for an order for virtual currency
	Free    bool                  // also when it is empty
}

// Warning is a line that is not accepted, and why.
type Warning struct {
	SKU          string `json:"sku"`
	Quantity     int64  `json:"quantity"`
	ErrorCode    Code   `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"` // with the code in front
	refusal      *Refusal
}

// Refusal is the same for a call that is about this line alone.
func (w Warning) Refusal() *Refusal { return w.refusal }

// PriceCart accepts what can be bought now, prices it in one currency, adds the bonus lines, and tells about all
// the rest. The currency is the view's; when it names none, that of the first line with a price.
func PriceCart(c *catalog.Catalog, view catalog.View, wanted []LineRequest) (Cart, []Warning) {
	p := newPricing(c, view)
	warnings := []Warning{}
	for _, line := range wanted {
		if refusal := p.add(line); refusal != nil {
			warnings = append(warnings, Warning{line.SKU, line.Quantity, refusal.Code, refusal.Text(), refusal})
		}
	}
	p.addBonuses(view)
	return p.cart(), warnings
}

// pricing of a cart. Its view's usages shrink with each line, so that two lines cannot have the same game key, or
// one thing that is owned only once.
type pricing struct {
	catalog *catalog.Catalog
	view    catalog.View
	lines   []Line
	total   *catalog.Quote
}

// check answers with the item if so many of it can be sold now, whatever they cost.
func (p *pricing) check(wanted LineRequest) (catalog.Item, *Refusal) {
	item, ok := p.catalog.Item(wanted.SKU)
	if !ok {
		return item, Refuse(ItemNotFound, "there is no item "+wanted.SKU)
	}
	if wanted.Quantity < 1 || wanted.Quantity > MaxQuantity {
		return item, Refuse(InvalidField, "the quantity of "+wanted.SKU+" is not allowed", Detail{"quantity", "a whole number from 1 to 1,000,000"})
	}
	if refusal := refusalOf(p.catalog.Obstacle(item, wanted.Quantity, p.view), item.SKU); refusal != nil {
		return item, refusal
	}
	if _, ok := item.BonusOf(wanted.Quantity, p.view.Now, p.view.Usages[item.SKU]); !ok {
		return item, Refuse(TooManyItems, "the bonus for so many of "+item.SKU+" is too large")
	}
	return item, nil
}

func (p *pricing) add(wanted LineRequest) *Refusal {
	item, refusal := p.check(wanted)
	if refusal != nil {
		return refusal
	}
	unit, err := item.QuoteOf(p.view)
	if err != nil {
		return Refuse(ItemUnavailable, err.Error())
	}
	if unit != nil {
		if !p.addToTotal(*unit, wanted.Quantity) {
			return Refuse(TooManyItems, "the total is above "+catalog.MaxAmount.String())
		}
		p.view.Currency = unit.Currency
	}
	p.take(Line{Item: item, Quantity: wanted.Quantity, Unit: unit})
	return nil
}

func newPricing(c *catalog.Catalog, view catalog.View) *pricing {
	usages := maps.Clone(view.Usages)
	if usages == nil {
		usages = map[string]catalog.Usage{}
	}
	view.Usages = usages
	return &pricing{catalog: c, view: view}
}

func (p *pricing) addToTotal(unit catalog.Quote, quantity int64) bool {
	sum, ok := unit.Times(quantity)
	if ok && p.total != nil {
		sum, ok = sum.Plus(*p.total)
	}
	if ok {
		p.total = &sum
	}
	return ok
}

// take adds the line and counts what it takes from what there is.
func (p *pricing) take(line Line) {
	p.lines = append(p.lines, line)
	parts, err := p.catalog.Unfold(line.Item, line.Quantity)
	if err != nil {
		return // cannot be: Obstacle has unfolded it
	}
	for _, part := range parts {
		usage := p.view.Usages[part.SKU]
		usage.Keys -= part.Quantity
		usage.Owned = usage.Owned || part.Kind == inventory.NonConsumable
		p.view.Usages[part.SKU] = usage
	}
}

// addBonuses adds one line for each item that the promotions of the lines give. A bonus that cannot be given, because
// its keys ran out or the user has it, is left out and keeps nobody from buying.
func (p *pricing) addBonuses(view catalog.View) {
	var bonuses []LineRequest
	for _, line := range p.lines {
		bonus, _ := line.Item.BonusOf(line.Quantity, view.Now, view.Usages[line.Item.SKU])
		for _, one := range bonus {
			bonuses = append(bonuses, LineRequest(one))
		}
	}
	for _, bonus := range Merge(bonuses) {
		item, ok := p.catalog.Item(bonus.SKU)
		if item.VirtualItemType == catalog.NonConsumable {
			bonus.Quantity = 1
		}
		if ok && p.catalog.CanBeGiven(item, bonus.Quantity, p.view) {
			p.take(Line{Item: item, Quantity: bonus.Quantity, IsBonus: true})
		}
	}
}

func (p *pricing) cart() Cart {
	cart := Cart{Lines: p.lines, Price: p.total, Free: p.total == nil || p.total.Amount.IsZero()}
	if cart.Free {
		cart.Price = nil
	}
	return cart
}

// refusalOf says in the codes that clients know what stands against a line.
func refusalOf(obstacle catalog.Obstacle, sku string) *Refusal {
	switch obstacle {
	case "":
		return nil
	case catalog.NotPublished:
		return Refuse(ItemNotFound, "there is no item "+sku)
	case catalog.NotSoldAlone:
		return Refuse(ItemNotAllowed, sku+" is a game; put one of its keys into the cart")
	case catalog.NotInCountry:
		return Refuse(ItemUnavailable, sku+" is not sold in this country")
	case catalog.NotInPeriod:
		return Refuse(ItemUnavailable, sku+" is not sold at this time")
	case catalog.AlreadyOwned:
		return Refuse(AlreadyOwned, sku+" can be owned only once")
	case catalog.UserLimit:
		return Refuse(LimitReached, "the user may not buy so many of "+sku)
	case catalog.UserLimitReset:
		return Refuse(LimitUntilReset, "the user may not buy so many of "+sku+" before the limit begins anew")
	case catalog.TooMany:
		return Refuse(TooManyItems, "there are not so many left of "+sku)
	case catalog.TooLong:
		return Refuse(TooManyItems, "nobody can have so much of "+sku+": a subscription lasts 100 years at most")
	case catalog.TooFewKeys:
		return Refuse(TooManyKeys, "there are not so many keys left of "+sku)
	default:
		return Refuse(ItemUnavailable, sku+" is sold out")
	}
}

// PriceItemVirtual prices an order of one item for a virtual currency, coins among them.
func PriceItemVirtual(c *catalog.Catalog, view catalog.View, wanted LineRequest, currency string) (Cart, *Refusal) {
	p := newPricing(c, view)
	item, refusal := p.check(wanted)
	if refusal != nil {
		return Cart{}, refusal
	}
	unit, err := item.VirtualQuoteOf(currency, view)
	if err != nil {
		return Cart{}, Refuse(InvalidItem, err.Error())
	}
	total, ok := unit.Times(wanted.Quantity)
	if !ok {
		return Cart{}, Refuse(TooManyItems, "the total is more than a wallet can hold")
	}
	p.take(Line{Item: item, Quantity: wanted.Quantity, Virtual: &unit})
	p.addBonuses(view)
	cart := p.cart()
	cart.Virtual, cart.Free = &total, total.Amount == 0
	return cart, nil
}
