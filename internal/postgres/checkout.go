package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// NewCheckout asks for an order of a cart or of items.
type NewCheckout struct {
	Shopper
	Form            checkout.Form
	CartID          string                 // of the forms of a cart
	Wanted          []checkout.LineRequest // of all other forms
	VirtualCurrency string                 // of checkout.VirtualItem
	Sandbox         bool                   // no money moves
	Zone            *time.Location         // of the project
	TTL             time.Duration          // until it expires unpaid
	ExternalID      string                 // the caller's; may be empty
	ReturnURL       string                 // where the payment page leads back to; may be empty
	Custom          json.RawMessage        // custom_parameters; may be nil
	Idempotency     *Idempotency           // may be nil
}

// CreatedCheckout is an order that was just made, or was made before under the same idempotency key.
type CreatedCheckout struct {
	OrderID      int64
	Token        string // of its payment; empty when nothing is to be paid outside
	Status       checkout.OrderStatus
	Price        *catalog.Quote         // nil when nothing is to be paid outside
	ExpiresAt    *time.Time             // unless it is done
	PriceChanges []checkout.PriceChange // lines whose price is another than the cart was shown with
	Change       CheckoutChange         // of which its workflow is to know, unless it is done
	Replayed     bool
}

// errRace: somebody took what the rules had just seen.
var errRace = errors.New("lost a race")

// CreateCheckout is the commit point of an order: prices, limits, stock and keys as they are now, the frozen lines, and the
// cart cleared, all or nothing. What costs no money is delivered in the same transaction, but for what the main product gives. It fails with
// *checkout.Refusal, *inventory.Refusal, *store.Refusal (a blocked user) and ErrIdempotencyKeyReused; nothing is written then.
func (db *DB) CreateCheckout(ctx context.Context, o NewCheckout) (created CreatedCheckout, err error) {
	o.View.Now = o.View.Now.UTC().Truncate(time.Microsecond) // as PostgreSQL keeps it
	for range raceRetries {
		err = db.inTx(ctx, func(q *sqlc.Queries) error {
			created, err = createCheckout(ctx, q, o)
			return err
		})
		if !errors.Is(err, errRace) {
			return created, err
		}
	}
	return CreatedCheckout{}, checkout.Refuse(checkout.ItemUnavailable, "the last pieces are being sold at this moment")
}

func createCheckout(ctx context.Context, q *sqlc.Queries, o NewCheckout) (CreatedCheckout, error) {
	next, err := q.NextCheckoutOrder(ctx, o.ProjectID)
	if err != nil {
		return CreatedCheckout{}, fmt.Errorf("id of order: %w", err)
	}
	resource := checkoutReference(next.OrderID)
	first, err := o.Idempotency.claim(ctx, q, o.ProjectID, resource, o.View.Now)
	if err != nil {
		return CreatedCheckout{}, err
	}
	if first != resource {
		return checkoutCreatedBefore(ctx, q, o, first, next.TokenSecret)
	}
	buyer, err := q.FindCheckoutBuyer(ctx, o.UserID)
	if err != nil {
		return CreatedCheckout{}, fmt.Errorf("buyer: %w", notFound(err))
	}
	if buyer == "blocked" {
		return CreatedCheckout{}, &store.Refusal{Code: store.UserBlocked, Message: "the account is blocked"}
	}
	priced, changes, view, err := o.price(ctx, q)
	if err != nil {
		return CreatedCheckout{}, err
	}
	lines, refusal := checkout.Freeze(o.Catalog, priced, view)
	if refusal != nil {
		return CreatedCheckout{}, refusal
	}
	draft := checkoutDraft{NewCheckout: o, id: next.OrderID, view: view, cart: priced, lines: lines, priceChanges: changes}
	if o.Form == checkout.PaidCart || o.Form == checkout.FreeCart {
		if err := q.DeleteCart(ctx, sqlc.DeleteCartParams{ProjectID: o.ProjectID, UserID: o.UserID, CartID: o.CartID}); err != nil {
			return CreatedCheckout{}, fmt.Errorf("clear cart: %w", err)
		}
	}
	if draft.atOnce() {
		return draft.completeAtOnce(ctx, q)
	}
	return draft.await(ctx, q, next.TokenSecret)
}

func checkoutReference(orderID int64) string { return "checkout/" + strconv.FormatInt(orderID, 10) }

func checkoutCreatedBefore(ctx context.Context, q *sqlc.Queries, o NewCheckout, resource string, secret []byte) (CreatedCheckout, error) {
	orderID, err := strconv.ParseInt(strings.TrimPrefix(resource, "checkout/"), 10, 64)
	if err != nil {
		return CreatedCheckout{}, ErrIdempotencyKeyReused // by a call of another kind
	}
	row, err := q.GetCheckoutOrder(ctx, sqlc.GetCheckoutOrderParams{OrderID: orderID, ProjectID: o.ProjectID})
	if err != nil {
		return CreatedCheckout{}, fmt.Errorf("order of idempotency key: %w", err)
	}
	created := CreatedCheckout{OrderID: orderID, Status: checkout.OrderStatus(row.Status), ExpiresAt: row.ExpiresAt, Replayed: true}
	if row.TokenHash != nil {
		created.Token = checkoutToken(secret, orderID)
	}
	if row.Price != nil {
		if err := json.Unmarshal(row.Price, &created.Price); err != nil {
			return created, fmt.Errorf("order %d: %w", orderID, err)
		}
	}
	return created, json.Unmarshal(row.Moved, &created.PriceChanges)
}

// checkoutToken of an order: nobody can guess it, and the same request is answered with the same one.
func checkoutToken(secret []byte, orderID int64) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(checkoutReference(orderID)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:24])
}

// price prices what is to be ordered, a cart under its lock, and refuses what the form does not allow.
func (o NewCheckout) price(ctx context.Context, q *sqlc.Queries) (priced checkout.Cart, changes []checkout.PriceChange, view catalog.View, err error) {
	var c cart
	wanted := checkout.Merge(o.Wanted)
	if o.Form == checkout.PaidCart || o.Form == checkout.FreeCart {
		if c, err = lockCart(ctx, q, o.Shopper, o.CartID); err != nil {
			return priced, nil, view, err
		}
		wanted = c.lines
	}
	if view, err = o.viewOf(ctx, q, c, wanted); err != nil {
		return priced, nil, view, err
	}
	var refusal *checkout.Refusal
	var warnings []checkout.Warning
	if o.Form == checkout.VirtualItem {
		priced, refusal = checkout.PriceItemVirtual(o.Catalog, view, wanted[0], o.VirtualCurrency)
	} else {
		priced, warnings = checkout.PriceCart(o.Catalog, view, wanted)
	}
	changes = checkout.PriceChanges(c.shown, priced)
	if refusal == nil {
		refusal = checkout.DecideOrder(o.Form, priced, warnings, changes)
	}
	if refusal != nil {
		return priced, nil, view, refusal
	}
	return priced, changes, view, nil
}

// checkoutDraft is an order that is about to be written.
type checkoutDraft struct {
	NewCheckout
	id           int64
	view         catalog.View
	cart         checkout.Cart
	lines        []checkout.OrderLine
	priceChanges []checkout.PriceChange
}

// atOnce says whether nothing is to be paid outside.
func (d checkoutDraft) atOnce() bool { return d.cart.Price == nil }

// await writes an order that waits for its payment and reserves what it needs.
func (d checkoutDraft) await(ctx context.Context, q *sqlc.Queries, secret []byte) (CreatedCheckout, error) {
	expires := d.view.Now.Add(d.TTL)
	token := checkoutToken(secret, d.id)
	hash := sha256.Sum256([]byte(token))
	params, err := d.params(checkout.New)
	if err != nil {
		return CreatedCheckout{}, err
	}
	params.TokenHash, params.ExpiresAt = hash[:], &expires
	if err := d.reserve(ctx, q, pieceReserved); err != nil {
		return CreatedCheckout{}, err
	}
	if err := q.InsertCheckoutOrder(ctx, params); err != nil {
		return CreatedCheckout{}, fmt.Errorf("write order: %w", err)
	}
	return CreatedCheckout{
		OrderID:      d.id,
		Token:        token,
		Status:       checkout.New,
		Price:        d.cart.Price,
		ExpiresAt:    &expires,
		PriceChanges: d.priceChanges,
		Change: CheckoutChange{
			ProjectID: d.ProjectID,
			OrderID:   d.id,
			UserID:    d.UserID,
			Status:    checkout.New,
			ExpiresAt: &expires,
			Changes:   1,
		},
	}, nil
}

func (d checkoutDraft) params(status checkout.OrderStatus) (sqlc.InsertCheckoutOrderParams, error) {
	params := sqlc.InsertCheckoutOrderParams{
		OrderID:          d.id,
		ProjectID:        d.ProjectID,
		UserID:           d.UserID,
		Status:           string(status),
		Mode:             checkout.ModeOf(d.Sandbox),
		CurrencyType:     "free",
		CartID:           optional.Text(d.CartID),
		Country:          optional.Text(d.view.Country),
		CustomParameters: d.Custom,
		ExternalID:       optional.Text(d.ExternalID),
		ReturnUrl:        optional.Text(d.ReturnURL),
		SweepAt:          d.view.Now,
		Now:              d.view.Now,
	}
	var err error
	encode := func(v any) (encoded json.RawMessage) {
		if err == nil {
			encoded, err = json.Marshal(v)
		}
		return encoded
	}
	if d.priceChanges == nil {
		d.priceChanges = []checkout.PriceChange{}
	}
	params.Lines, params.Moved, params.Holds = encode(d.lines), encode(d.priceChanges), encode(d.holds())
	switch {
	case d.cart.Price != nil:
		params.CurrencyType, params.Price = "real", encode(d.cart.Price)
	case d.cart.Virtual != nil:
		params.CurrencyType, params.VirtualPrice = "virtual", encode(d.cart.Virtual)
		params.Paid = new(decimal.NewFromInt(d.cart.Virtual.Amount))
	}
	return params, err
}

// reserve takes what the order needs of limits and game keys, or fails with errRace: the rules had seen enough.
func (d checkoutDraft) reserve(ctx context.Context, q *sqlc.Queries, state pieceState) error {
	h := d.holds()
	for _, u := range h.Usages {
		taken, err := q.TakeUsage(ctx, sqlc.TakeUsageParams{
			ProjectID:   d.ProjectID,
			UserID:      d.UserID,
			Sku:         u.SKU,
			Promotion:   u.Promotion,
			PeriodStart: u.PeriodStart,
			Quantity:    u.Quantity,
			Most:        u.most,
		})
		if err := enough(taken, 1, err); err != nil {
			return err
		}
	}
	for _, s := range h.Sales {
		taken, err := q.TakeSale(ctx, sqlc.TakeSaleParams{
			ProjectID: d.ProjectID,
			Sku:       s.SKU,
			Total:     s.total,
			Sold:      bool(state),
			Quantity:  s.Quantity,
		})
		if err := enough(taken, 1, err); err != nil {
			return err
		}
	}
	keys, err := d.keys()
	if err != nil {
		return err
	}
	for _, sku := range slices.Sorted(maps.Keys(keys)) {
		taken, err := q.ReserveGameKeys(ctx, sqlc.ReserveGameKeysParams{
			OrderID:   d.id,
			UserID:    d.UserID,
			Now:       d.view.Now,
			ProjectID: d.ProjectID,
			Sku:       sku,
			Quantity:  int32(keys[sku]),
		})
		if err := enough(taken, keys[sku], err); err != nil {
			return err
		}
	}
	return nil
}

func enough(taken, wanted int64, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("reserve: %w", err)
	case taken != wanted:
		return errRace
	default:
		return nil
	}
}

// keys counts the game keys in the lines, those in bundles among them.
func (d checkoutDraft) keys() (map[string]int64, error) {
	grants, err := checkout.Grants(d.lines)
	if err != nil {
		return nil, err
	}
	keys := map[string]int64{}
	for _, grant := range grants {
		if grant.Kind == inventory.GameKey {
			keys[grant.SKU] += grant.Quantity
		}
	}
	return keys, nil
}
