package inventory

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Bounds of what one order may unfold to.
const (
	MaxDepth  = 8     // bundles within bundles; a bundle that is bought itself is the first
	MaxGrants = 1_000 // of one order
	maxSteps  = 5_000 // pieces of content looked at, however they are nested
)

var (
	// ErrUnknownItem: a line or a bundle names a SKU that the project does not have.
	ErrUnknownItem = errors.New("unknown item")
	// ErrUnknownKind: an item of a kind that can't be given.
	ErrUnknownKind = errors.New("unknown kind of item")
	// ErrRepeatedLine: two lines have one id, so that their grants could not be told apart.
	ErrRepeatedLine = errors.New("repeated line")
	// ErrEmptyBundle: it gives nothing.
	ErrEmptyBundle = errors.New("empty bundle")
	// ErrBundleContainsItself: directly or through others.
	ErrBundleContainsItself = errors.New("bundle contains itself")
	// ErrTooDeep: more than MaxDepth bundles within each other.
	ErrTooDeep = errors.New("bundles are nested too deep")
	// ErrTooManyGrants: more than MaxGrants, or so much content that it is not looked at.
	ErrTooManyGrants = errors.New("too many items")
	// ErrQuantityOutOfRange: below 1, or above MaxQuantity when multiplied and summed.
	ErrQuantityOutOfRange = errors.New("quantity out of range")
)

// Item is what must be known of a SKU to give it: of the catalog, or as it was frozen when it was bought.
type Item struct {
	Kind    Kind
	Period  subscriptions.Period // of a subscription
	Content []Content            // of a bundle or a currency package
}

// Content is one position of a bundle.
type Content struct {
	SKU      string
	Quantity int64
}

// Line is what is to be given: a line of an order, or a bundle that the server grants.
type Line struct {
	ID       string // unique within the order and the same on every attempt
	SKU      string
	Quantity int64
}

// Grant gives so many of one SKU, once: ID is its key. It never has a bundle's kind.
type Grant struct {
	ID       string // the line's id, a slash and the SKU
	LineID   string
	SKU      string
	Kind     Kind
	Quantity int64                // of a subscription: periods
	Period   subscriptions.Period // of a subscription
}

// Unfold turns lines into grants: bundles, also those within bundles, are replaced by their content with the
// quantities multiplied, and what a line gives of one SKU is summed. Lines are kept apart, because each can
// be refunded. The order is that of the lines and their content, and ids depend on line and SKU only, so that
// a bundle that was put together in another order gives nothing twice. Whether the user may have it all (two
// of a non-consumable are too many) is what Apply says. It answers one of the errors above, or of
// subscriptions, wrapped with the SKU.
func Unfold(lines []Line, lookup func(sku string) (Item, bool)) ([]Grant, error) {
	u := unfolding{lookup: lookup, places: map[string]int{}}
	seen := map[string]bool{}
	for _, line := range lines {
		if seen[line.ID] {
			return nil, fmt.Errorf("%w: %s", ErrRepeatedLine, line.ID)
		}
		seen[line.ID] = true
		if err := u.add(line.ID, Content{line.SKU, line.Quantity}, 1, nil); err != nil {
			return nil, err
		}
	}
	for _, grant := range u.grants {
		if grant.Kind != NonRenewingSubscription {
			continue
		}
		if _, err := grant.Period.Times(grant.Quantity); err != nil {
			return nil, fmt.Errorf("%s: %w", grant.SKU, err)
		}
	}
	return u.grants, nil
}

type unfolding struct {
	lookup func(string) (Item, bool)
	grants []Grant
	places map[string]int // of the grants, by id
	steps  int
}

// add gives so many times what a position holds; within are the bundles around it, outermost first.
func (u *unfolding) add(lineID string, position Content, times int64, within []string) error {
	if u.steps++; u.steps > maxSteps {
		return ErrTooManyGrants
	}
	item, known := u.lookup(position.SKU)
	switch {
	case !known:
		return fmt.Errorf("%w: %s", ErrUnknownItem, position.SKU)
	case !item.Kind.valid():
		return fmt.Errorf("%w: %s", ErrUnknownKind, position.SKU)
	case position.Quantity < 1 || position.Quantity > MaxQuantity/times:
		return fmt.Errorf("%w: %s", ErrQuantityOutOfRange, position.SKU)
	case item.Kind == Bundle:
		return u.unpack(lineID, position.SKU, item.Content, times*position.Quantity, within)
	default:
		return u.give(Grant{LineID: lineID, SKU: position.SKU, Kind: item.Kind, Quantity: times * position.Quantity, Period: item.Period})
	}
}

func (u *unfolding) unpack(lineID, sku string, content []Content, times int64, within []string) error {
	switch {
	case slices.Contains(within, sku):
		return fmt.Errorf("%w: %s", ErrBundleContainsItself, sku)
	case len(within) == MaxDepth:
		return fmt.Errorf("%w: %s", ErrTooDeep, sku)
	case len(content) == 0:
		return fmt.Errorf("%w: %s", ErrEmptyBundle, sku)
	}
	within = append(slices.Clip(within), sku)
	for _, position := range content {
		if err := u.add(lineID, position, times, within); err != nil {
			return err
		}
	}
	return nil
}

func (u *unfolding) give(grant Grant) error {
	grant.ID = grant.LineID + "/" + grant.SKU // a SKU has no slash
	place, given := u.places[grant.ID]
	switch {
	case given && u.grants[place].Quantity > MaxQuantity-grant.Quantity:
		return fmt.Errorf("%w: %s", ErrQuantityOutOfRange, grant.SKU)
	case given:
		u.grants[place].Quantity += grant.Quantity
	case len(u.grants) == MaxGrants:
		return ErrTooManyGrants
	default:
		u.places[grant.ID] = len(u.grants)
		u.grants = append(u.grants, grant)
	}
	return nil
}
