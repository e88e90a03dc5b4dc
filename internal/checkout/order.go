package checkout

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// OrderStatus is where an order stands, in the words of the API that clients know.
type OrderStatus string

const (
	New      OrderStatus = "new"      // not paid yet
	Paid     OrderStatus = "paid"     // and not delivered, or not wholly: the main product's part may be missing
	Done     OrderStatus = "done"     // delivered
	Canceled OrderStatus = "canceled" // before it was paid, or refunded wholly
	Expired  OrderStatus = "expired"  // never paid
)

// moves are all that there are. A free order goes through paid, too; from paid and done to canceled is a whole refund.
var moves = map[OrderStatus][]OrderStatus{
	New:  {Paid, Canceled, Expired},
	Paid: {Done, Canceled},
	Done: {Canceled},
}

// CanBecome says whether an order may move from one status to another. To stay is no move.
func (s OrderStatus) CanBecome(next OrderStatus) bool { return slices.Contains(moves[s], next) }

// Terminal says whether a client may stop asking; a refund can still cancel an order that is done.
func (s OrderStatus) Terminal() bool { return s == Done || s == Canceled || s == Expired }

// OrderLine is a line as it was when the order was made; later edits of the catalog change nothing about it.
type OrderLine struct {
	LineID          string                  `json:"line_id"` // within the order
	SKU             string                  `json:"sku"`
	Name            string                  `json:"name"` // in the order's language
	Description     string                  `json:"description"`
	ImageURL        string                  `json:"image_url,omitempty"`
	Type            catalog.Type            `json:"type"`
	VirtualItemType catalog.VirtualItemType `json:"virtual_item_type,omitempty"`
	BundleType      catalog.BundleType      `json:"bundle_type,omitempty"`
	Quantity        int64                   `json:"quantity"`
	Price           *catalog.Quote          `json:"price"`         // of one piece
	VirtualPrice    *catalog.VirtualQuote   `json:"virtual_price"` // of one piece
	IsFree          bool                    `json:"is_free"`
	IsBonus         bool                    `json:"is_bonus"`
	Period          *subscriptions.Period   `json:"period,omitempty"`  // of one piece of a subscription
	Content         []Part                  `json:"content,omitempty"` // of a bundle
	Promotions      []string                `json:"promotions,omitempty"`
	MainProduct     *catalog.MainProduct    `json:"main_product,omitempty"` // what it gives for one piece
}

// Part is what one piece of a bundle contains.
type Part struct {
	SKU             string                  `json:"sku"`
	Name            string                  `json:"name"`
	Type            catalog.Type            `json:"type"`
	VirtualItemType catalog.VirtualItemType `json:"virtual_item_type,omitempty"`
	Quantity        int64                   `json:"quantity"`
	Period          *subscriptions.Period   `json:"period,omitempty"`
	Content         []Part                  `json:"content,omitempty"` // of a bundle within a bundle
	MainProduct     *catalog.MainProduct    `json:"main_product,omitempty"`
}

// Form is a way to make an order. What it refuses, and with which code, depends on it.
type Form string

const (
	PaidCart    Form = "paid_cart" // for money
	FreeCart    Form = "free_cart"
	PaidItem    Form = "paid_item"
	FreeItem    Form = "free_item"
	VirtualItem Form = "virtual_item" // for a virtual currency
	ServerToken Form = "server_token" // by the server for a user; every line is paid for
)

// DecideOrder tells whether an order may be made of the cart. Every line must be accepted: what an order leaves out
// nobody would notice. The changes are those since the user was last told the prices.
func DecideOrder(form Form, cart Cart, warnings []Warning, changes []PriceChange) *Refusal {
	single := form == PaidItem || form == FreeItem || form == VirtualItem
	switch {
	case len(warnings) > 0:
		return refusalOfLines(single, warnings)
	case len(cart.Lines) == 0 && form == ServerToken:
		return Refuse(EmptyCart, "there is nothing to order")
	case len(cart.Lines) == 0:
		return Refuse(InvalidCart, "the cart is missing or empty")
	case form == ServerToken && slices.ContainsFunc(cart.Lines, func(l Line) bool { return l.IsFree() && !l.IsBonus }):
		return Refuse(ItemNotAllowed, "a free item is not paid for")
	case (form == FreeCart || form == FreeItem) != cart.Free && single:
		return Refuse(InvalidItem, "free items are ordered as free, all others are paid for")
	case form == PaidCart && cart.Free && slices.ContainsFunc(changes, PriceChange.becameFree):
		return Refuse(ItemBecameFree, "the cart has become free since its prices were shown; order it as free")
	case (form == FreeCart || form == FreeItem) != cart.Free:
		return Refuse(InvalidCart, "a free cart is ordered as free, all others are paid for")
	default:
		return nil
	}
}

// refusalOfLines has the lines' code when they agree on one, and that of the cart otherwise.
func refusalOfLines(single bool, warnings []Warning) *Refusal {
	code := warnings[0].ErrorCode
	var details []Detail
	for _, w := range warnings {
		details = append(details, Detail{w.SKU, w.ErrorMessage})
		if w.ErrorCode != code || (code == ItemNotFound && !single) {
			code = InvalidCart
		}
	}
	return Refuse(code, "not everything can be ordered", details...)
}

// Freeze makes the lines of an order. Ids count from 1. It refuses an order that unfolds to more than can be given.
func Freeze(c *catalog.Catalog, cart Cart, view catalog.View) ([]OrderLine, *Refusal) {
	var lines []OrderLine
	for k, line := range cart.Lines {
		item := line.Item
		frozen := OrderLine{
			LineID:          strconv.Itoa(k + 1),
			SKU:             item.SKU,
			Name:            item.Name.In(view.Locale, view.DefaultLocale),
			Description:     item.Description.In(view.Locale, view.DefaultLocale),
			ImageURL:        item.ImageURL,
			Type:            item.Type,
			VirtualItemType: item.VirtualItemType,
			BundleType:      item.BundleType,
			Quantity:        line.Quantity,
			Price:           line.Unit,
			VirtualPrice:    line.Virtual,
			IsFree:          line.IsFree(),
			IsBonus:         line.IsBonus,
			Period:          item.InventoryOptions.ExpirationPeriod,
			Content:         parts(c, item, view, 0),
			MainProduct:     item.MainProduct,
		}
		if !line.IsBonus {
			frozen.Promotions = item.UsedPromotions(view.Now, view.Usages[item.SKU])
		}
		lines = append(lines, frozen)
	}
	if _, err := Grants(lines); err != nil {
		return nil, Refuse(InvalidCart, "the order cannot be delivered: "+err.Error())
	}
	if _, err := Deliveries(lines); err != nil {
		return nil, Refuse(TooManyItems, err.Error())
	}
	return lines, nil
}

// parts stops at a depth that Grants refuses.
func parts(c *catalog.Catalog, item catalog.Item, view catalog.View, depth int) []Part {
	var frozen []Part
	for _, line := range item.Content {
		part, ok := c.Item(line.SKU)
		if !ok || depth > inventory.MaxDepth {
			return nil
		}
		frozen = append(frozen, Part{SKU: part.SKU, Name: part.Name.In(view.Locale, view.DefaultLocale), Type: part.Type,
			VirtualItemType: part.VirtualItemType, Quantity: line.Quantity, Period: part.InventoryOptions.ExpirationPeriod,
			Content: parts(c, part, view, depth+1), MainProduct: part.MainProduct})
	}
	return frozen
}

// Grants are what the lines give, bundles unfolded once, as it was frozen.
func Grants(lines []OrderLine) ([]inventory.Grant, error) {
	frozen := map[string]inventory.Item{}
	var wanted []inventory.Line
	for _, line := range lines {
		wanted = append(wanted, inventory.Line{ID: line.LineID, SKU: line.SKU, Quantity: line.Quantity})
		thaw(Part{
			SKU:             line.SKU,
			Type:            line.Type,
			VirtualItemType: line.VirtualItemType,
			Period:          line.Period,
			Content:         line.Content,
		}, frozen)
	}
	return inventory.Unfold(wanted, func(sku string) (inventory.Item, bool) {
		item, ok := frozen[sku]
		return item, ok
	})
}

func thaw(part Part, frozen map[string]inventory.Item) {
	item := inventory.Item{Kind: catalog.Item{Type: part.Type, VirtualItemType: part.VirtualItemType}.Kind()}
	if part.Period != nil {
		item.Period = *part.Period
	}
	for _, inner := range part.Content {
		item.Content = append(item.Content, inventory.Content{SKU: inner.SKU, Quantity: inner.Quantity})
		thaw(inner, frozen)
	}
	frozen[part.SKU] = item
}

// Order is what the rules of payments and refunds need to know of one, read under a lock.
type Order struct {
	OrderID   int64
	Status    OrderStatus
	Sandbox   bool                  // no money moves
	Price     *catalog.Quote        // of the whole order; nil when nothing is due in money
	Virtual   *catalog.VirtualQuote // of the whole order, when a virtual currency pays; its payment has the currency's SKU
	ExpiresAt time.Time
	Lines     []OrderLine
	Payments  []PaymentRecord // in the order of their arrival
	Refunds   []Refund        // of the payment that paid the order
	// Deliveries are what the main product is to give, once the order is paid; none when it gives nothing.
	Deliveries []Delivery
}

// SandboxMode is the mode of an order for which no money moves.
const SandboxMode = "sandbox"

// ModeOf is an order's mode in the words of the API that clients know.
func ModeOf(sandbox bool) string {
	if sandbox {
		return SandboxMode
	}
	return "default"
}

// paid is the payment that paid the order.
func (o Order) paid() (Payment, bool) {
	for _, record := range o.Payments {
		if record.Decision.Outcome == Accepted {
			return record.Payment, true
		}
	}
	return Payment{}, false
}

// PriceChange is a line whose unit price is another than it was.
type PriceChange struct {
	SKU  string         `json:"sku"`
	Then *catalog.Quote `json:"then"` // nil: free
	Now  *catalog.Quote `json:"now"`  // nil: free
}

func (c PriceChange) becameFree() bool {
	return c.Then != nil && c.Then.Amount.IsPositive() && (c.Now == nil || c.Now.Amount.IsZero())
}

// Shown is the unit price that a user was told last, by SKU.
type Shown map[string]*catalog.Quote

// ShownOf remembers the prices of a cart; bonus lines have none.
func ShownOf(cart Cart) Shown {
	shown := Shown{}
	for _, line := range cart.Lines {
		if !line.IsBonus {
			shown[line.Item.SKU] = line.Unit
		}
	}
	return shown
}

// Equal says whether the same items were shown at the same prices.
func (s Shown) Equal(other Shown) bool { return maps.EqualFunc(s, other, samePrice) }

// PriceChanges tells which lines cost another amount now than the user was told. A line that the user has
// never seen with a price, and one that is not in the cart any more, has not changed.
func PriceChanges(then Shown, now Cart) []PriceChange {
	var changes []PriceChange
	for _, line := range now.Lines {
		before, told := then[line.Item.SKU]
		if line.IsBonus || !told || samePrice(before, line.Unit) {
			continue
		}
		changes = append(changes, PriceChange{line.Item.SKU, before, line.Unit})
	}
	return changes
}

func samePrice(a, b *catalog.Quote) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}
