package catalog

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Catalog is a project's items and groups, or as many of them as a question needs: an item asks for its groups, for
// the currencies of its prices, and for what it contains and gives as a bonus. It is safe for concurrent use.
type Catalog struct {
	items  map[string]Item
	groups map[string]Group
	keys   map[string][]Item // game keys by their unit, in the order of the shop
}

// New puts a catalog together.
func New(items []Item, groups []Group) *Catalog {
	c := &Catalog{items: make(map[string]Item, len(items)), groups: make(map[string]Group, len(groups)), keys: map[string][]Item{}}
	for _, item := range items {
		c.items[item.SKU] = item
		if item.Type == GameKey {
			c.keys[item.UnitSKU] = append(c.keys[item.UnitSKU], item)
		}
	}
	for _, keys := range c.keys {
		slices.SortFunc(keys, InShopOrder)
	}
	for _, group := range groups {
		c.groups[group.ExternalID] = group
	}
	return c
}

// Item by its SKU, whatever its status.
func (c *Catalog) Item(sku string) (Item, bool) {
	item, ok := c.items[sku]
	return item, ok
}

// InShopOrder sorts items as the shop shows them.
func InShopOrder(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.SKU, b.SKU))
}

// View says who looks at the catalog, from where and when.
type View struct {
	Locale        string
	DefaultLocale string // of the project
	Currency      string // ISO 4217; empty: the country's, or each item's default
	Country       string // ISO 3166-1 alpha-2; empty: not known
	Now           time.Time
	Usages        map[string]Usage // by SKU; none: nobody has bought anything
	// What is shown only to those who ask for it.
	MediaList       bool
	LongDescription bool
	Sellable        bool // the form of the list of everything that is for sale
}

// NoPriceError says that an item has no price in a currency. Nobody is ever charged in another one instead.
type NoPriceError struct {
	SKU      string
	Currency string // empty: none was asked for, and the item has no price in money at all
}

func (e *NoPriceError) Error() string {
	if e.Currency == "" {
		return e.SKU + " has no price in money"
	}
	return e.SKU + " has no price in " + e.Currency
}

// QuoteOf is the price of one piece for the viewer: in the currency asked for, else in the country's, else the
// item's default. A price for a country counts in that country only. It is nil for a free item, and a NoPriceError when
// there is none.
func (i Item) QuoteOf(view View) (*Quote, error) {
	if i.IsFree {
		return nil, nil
	}
	price, ok := i.priceFor(view.Currency, view.Country)
	if !ok {
		return nil, &NoPriceError{i.SKU, view.Currency}
	}
	decimals, _ := Decimals(price.Currency)
	amount := i.best(price.Amount, price.Currency, decimals+extraDecimals, view.Now, view.Usages[i.SKU])
	return &Quote{Amount: amount, WithoutDiscount: price.Amount, Currency: price.Currency}, nil
}

func (i Item) priceFor(currency, country string) (Price, bool) {
	for _, wanted := range []func(Price) bool{
		func(p Price) bool { return p.Country != "" && p.Country == country },
		func(p Price) bool { return p.Country == "" && (p.IsDefault || currency != "") },
	} {
		k := slices.IndexFunc(i.Prices, func(p Price) bool { return wanted(p) && (currency == "" || p.Currency == currency) })
		if k >= 0 {
			return i.Prices[k], true
		}
	}
	return Price{}, false
}

// VirtualQuoteOf is the price of one piece in a virtual currency; a NoPriceError when there is none. A discount of a
// percentage applies here too, half up to a whole piece of the currency; one of an amount of money does not.
func (i Item) VirtualQuoteOf(currency string, view View) (VirtualQuote, error) {
	for _, price := range i.VirtualPrices {
		if price.SKU == currency {
			return i.virtualQuote(price, view), nil
		}
	}
	return VirtualQuote{}, &NoPriceError{i.SKU, currency}
}

// Obstacle is why an item cannot be bought now; empty when it can.
type Obstacle string

const (
	NotPublished   Obstacle = "not_published"
	NotSoldAlone   Obstacle = "not_sold_alone" // a unit: its keys are sold
	NotInCountry   Obstacle = "not_in_country"
	NotInPeriod    Obstacle = "not_in_period"
	AlreadyOwned   Obstacle = "already_owned"
	UserLimit      Obstacle = "user_limit"
	UserLimitReset Obstacle = "user_limit_until_reset" // as UserLimit, yet it begins anew
	SoldOut        Obstacle = "sold_out"
	TooMany        Obstacle = "too_many" // fewer are left
	TooLong        Obstacle = "too_long" // of subscriptions, or more than can be counted
	NoKeys         Obstacle = "no_keys"
	TooFewKeys     Obstacle = "too_few_keys"
	Incomplete     Obstacle = "incomplete" // a bundle that contains what is not there, or too much of it
)

// Obstacle tells what stands against selling so many pieces to the viewer now. Whether there is a price in
// their currency is QuoteOf's to tell.
func (c *Catalog) Obstacle(item Item, quantity int64, view View) Obstacle {
	switch {
	case item.Status != Published:
		return NotPublished
	case item.Type == Unit:
		return NotSoldAlone
	case len(item.Countries) > 0 && !slices.Contains(item.Countries, view.Country):
		return NotInCountry
	case !item.soldAt(view.Now):
		return NotInPeriod
	}
	usage := view.Usages[item.SKU]
	if item.VirtualItemType == NonConsumable && (usage.Owned || quantity > 1) {
		return AlreadyOwned
	}
	if left, limited := item.Limits.leftForUser(usage); limited && left < quantity {
		if item.Limits.Recurrent.PerUser != nil {
			return UserLimitReset
		}
		return UserLimit
	}
	if left, limited := item.Limits.left(usage); limited && left < quantity {
		return either(left == 0, SoldOut, TooMany)
	}
	return c.parts(item, quantity, view)
}

// CanBeGiven says whether so many pieces can be given away, whether or not the shop sells them.
func (c *Catalog) CanBeGiven(item Item, quantity int64, view View) bool {
	return c.parts(item, quantity, view) == ""
}

// parts looks at what the pieces are or contain: whether it is all there, whether there are enough game keys,
// and whether what is owned only once can be had once more.
func (c *Catalog) parts(item Item, quantity int64, view View) Obstacle {
	parts, err := c.Unfold(item, quantity)
	if errors.Is(err, subscriptions.ErrTooLong) || errors.Is(err, inventory.ErrQuantityOutOfRange) {
		return TooLong
	}
	if err != nil {
		return Incomplete
	}
	for _, part := range parts {
		if left := view.Usages[part.SKU].Keys; part.Kind == inventory.GameKey && left < part.Quantity {
			return either(left <= 0, NoKeys, TooFewKeys)
		}
		if part.Kind == inventory.NonConsumable && (part.Quantity > 1 || view.Usages[part.SKU].Owned) {
			return AlreadyOwned
		}
	}
	return ""
}

// Unfold tells what so many pieces of an item come to: the contents of a bundle, and of the bundles in it, or the
// item itself.
func (c *Catalog) Unfold(item Item, quantity int64) ([]inventory.Grant, error) {
	return unfold(item, quantity, c.Item)
}

func unfold(item Item, quantity int64, lookup func(sku string) (Item, bool)) ([]inventory.Grant, error) {
	return inventory.Unfold([]inventory.Line{{SKU: item.SKU, Quantity: quantity}}, func(sku string) (inventory.Item, bool) {
		if sku == item.SKU {
			return item.toOwn(), true
		}
		part, ok := lookup(sku)
		return part.toOwn(), ok
	})
}

func either(first bool, one, other Obstacle) Obstacle {
	if first {
		return one
	}
	return other
}
