package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CurrentCart is the id of the cart that calls without an id mean.
const CurrentCart = "current"

// Shopper is a user before a project's catalog.
type Shopper struct {
	ProjectID int32
	UserID    string
	Catalog   *catalog.Catalog
	View      catalog.View  // without usages, which are read here
	CartTTL   time.Duration // until a cart that nobody touches is abandoned
}

// cart of a user; the zero value is one that nobody has filled.
type cart struct {
	currency, country string // as its filler has asked for
	lines             []checkout.LineRequest
	shown             checkout.Shown
}

func cartOf(row sqlc.FindCartRow, err error) (c cart, _ error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read cart: %w", err)
	}
	c.currency, c.country = orZero(row.Currency), orZero(row.Country)
	if err := json.Unmarshal(row.Lines, &c.lines); err != nil {
		return c, fmt.Errorf("lines of cart: %w", err)
	}
	if err := json.Unmarshal(row.Shown, &c.shown); err != nil {
		return c, fmt.Errorf("prices of cart: %w", err)
	}
	return c, nil
}

// ShowCart prices a cart as it is, and remembers what the user was shown. A cart that is not there is empty.
func (db *DB) ShowCart(ctx context.Context, s Shopper, cartID string) (checkout.ShownCart, error) {
	row, err := db.q.FindCart(ctx, sqlc.FindCartParams{ProjectID: s.ProjectID, UserID: s.UserID, CartID: cartID, Now: s.View.Now})
	c, err := cartOf(row, err)
	if err != nil {
		return checkout.ShownCart{}, err
	}
	view, err := s.viewOf(ctx, db.q, c, c.lines)
	if err != nil {
		return checkout.ShownCart{}, err
	}
	priced, warnings := checkout.PriceCart(s.Catalog, view, c.lines)
	if shown := checkout.ShownOf(priced); !shown.Equal(c.shown) {
		encoded, err := json.Marshal(shown)
		if err != nil {
			return checkout.ShownCart{}, err
		}
		if err := db.q.SaveCartShown(ctx, sqlc.SaveCartShownParams{
			ProjectID:  s.ProjectID,
			UserID:     s.UserID,
			CartID:     cartID,
			Shown:      encoded,
			SeenBefore: row.Shown,
		}); err != nil {
			return checkout.ShownCart{}, fmt.Errorf("remember prices of cart: %w", err)
		}
	}
	return checkout.ShowCart(s.Catalog, view, cartID, priced, warnings), nil
}

// FillCart sets several lines. Those that can't be bought are left out, with a warning each, and change nothing.
func (db *DB) FillCart(ctx context.Context, s Shopper, cartID string, wanted []checkout.LineRequest) (shown checkout.ShownCart, err error) {
	err = db.editCart(ctx, s, cartID, func(q *sqlc.Queries, c *cart) error {
		s.remember(c)
		filled, refusal := checkout.Fill(c.lines, wanted)
		if refusal != nil {
			return refusal
		}
		view, err := s.viewOf(ctx, q, *c, filled)
		if err != nil {
			return err
		}
		_, warnings := checkout.PriceCart(s.Catalog, view, filled)
		warnings = slices.DeleteFunc(warnings, func(w checkout.Warning) bool {
			return !slices.ContainsFunc(wanted, func(line checkout.LineRequest) bool { return line.SKU == w.SKU })
		})
		accepted := slices.DeleteFunc(slices.Clone(wanted), func(line checkout.LineRequest) bool {
			return slices.ContainsFunc(warnings, func(w checkout.Warning) bool { return w.SKU == line.SKU })
		})
		if len(accepted) > 0 {
			if c.lines, refusal = checkout.Fill(c.lines, accepted); refusal != nil {
				return refusal
			}
		}
		priced, left := checkout.PriceCart(s.Catalog, view, c.lines)
		c.shown = checkout.ShownOf(priced)
		shown = checkout.ShowCart(s.Catalog, view, cartID, priced, slices.Concat(warnings, left))
		return nil
	})
	return shown, err
}

// SetCartItem sets the quantity of one line; 0 takes it away. It is refused when so many can't be bought.
func (db *DB) SetCartItem(ctx context.Context, s Shopper, cartID string, line checkout.LineRequest) error {
	return db.editCart(ctx, s, cartID, func(q *sqlc.Queries, c *cart) error {
		lines, refusal := checkout.Set(c.lines, line.SKU, line.Quantity)
		if refusal != nil {
			return refusal
		}
		c.lines = lines
		if line.Quantity == 0 {
			return nil
		}
		view, err := s.viewOf(ctx, q, *c, c.lines)
		if err != nil {
			return err
		}
		_, warnings := checkout.PriceCart(s.Catalog, view, c.lines)
		for _, w := range warnings {
			if w.SKU == line.SKU {
				return w.Refusal()
			}
		}
		return nil
	})
}

// DeleteCartItem takes one line away; it is refused when it is not there.
func (db *DB) DeleteCartItem(ctx context.Context, s Shopper, cartID, sku string) error {
	return db.editCart(ctx, s, cartID, func(_ *sqlc.Queries, c *cart) error {
		lines, refusal := checkout.Delete(c.lines, sku)
		if refusal != nil {
			return refusal
		}
		c.lines = lines
		return nil
	})
}

// ClearCart takes all lines away.
func (db *DB) ClearCart(ctx context.Context, s Shopper, cartID string) error {
	err := db.q.DeleteCart(ctx, sqlc.DeleteCartParams{ProjectID: s.ProjectID, UserID: s.UserID, CartID: cartID})
	if err != nil {
		return fmt.Errorf("clear cart: %w", err)
	}
	return nil
}

// DeleteAbandonedCarts deletes carts whose time is up, at most so many, and counts them.
func (db *DB) DeleteAbandonedCarts(ctx context.Context, limit int, now time.Time) (int, error) {
	deleted, err := db.q.DeleteAbandonedCarts(ctx, sqlc.DeleteAbandonedCartsParams{MaxCarts: int32(limit), Now: now})
	if err != nil {
		return 0, fmt.Errorf("delete abandoned carts: %w", err)
	}
	return int(deleted), nil
}

// editCart changes a cart under its lock, and lets it live on.
func (db *DB) editCart(ctx context.Context, s Shopper, cartID string, edit func(*sqlc.Queries, *cart) error) error {
	now := s.View.Now
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		if err := ensureCart(ctx, q, s, cartID); err != nil {
			return err
		}
		c, err := lockCart(ctx, q, s, cartID)
		if err != nil {
			return err
		}
		if err := edit(q, &c); err != nil {
			return err
		}
		params := sqlc.SaveCartParams{
			ProjectID: s.ProjectID,
			UserID:    s.UserID,
			CartID:    cartID,
			Currency:  optional.Text(c.currency),
			Country:   optional.Text(c.country),
			Now:       now,
			ExpiresAt: now.Add(s.CartTTL),
		}
		if params.Lines, err = json.Marshal(c.lines); err != nil {
			return err
		}
		if params.Shown, err = json.Marshal(c.shown); err != nil {
			return err
		}
		if err := q.SaveCart(ctx, params); err != nil {
			return fmt.Errorf("save cart: %w", err)
		}
		return nil
	})
}

// MaxCarts that a user has at the same time. Their ids are the user's to choose, so that there could be any number.
const MaxCarts = 20

// ensureCart makes a cart that is not there, so that there is a row to lock.
func ensureCart(ctx context.Context, q *sqlc.Queries, s Shopper, cartID string) error {
	now := s.View.Now
	made, err := q.EnsureCart(ctx, sqlc.EnsureCartParams{
		ProjectID: s.ProjectID,
		UserID:    s.UserID,
		CartID:    cartID,
		Now:       now,
		ExpiresAt: now.Add(s.CartTTL),
	})
	if err != nil {
		return fmt.Errorf("make cart: %w", err)
	}
	if made == 0 {
		return nil
	}
	carts, err := q.CountCarts(ctx, sqlc.CountCartsParams{ProjectID: s.ProjectID, UserID: s.UserID, Now: now})
	if err != nil {
		return fmt.Errorf("count carts: %w", err)
	}
	if carts > MaxCarts {
		return checkout.Refuse(checkout.InvalidCart, fmt.Sprintf("a user has at most %d carts; clear one that is not needed", MaxCarts))
	}
	return nil
}

func lockCart(ctx context.Context, q *sqlc.Queries, s Shopper, cartID string) (cart, error) {
	row, err := q.LockCart(ctx, sqlc.LockCartParams{ProjectID: s.ProjectID, UserID: s.UserID, CartID: cartID, Now: s.View.Now})
	return cartOf(sqlc.FindCartRow(row), err)
}

// remember keeps in which currency and country the filler wants the cart to be priced.
func (s Shopper) remember(c *cart) {
	if s.View.Currency != "" {
		c.currency = s.View.Currency
	}
	if s.View.Country != "" {
		c.country = s.View.Country
	}
}

// viewOf is how the shopper sees these lines: what the call does not say is as the cart's filler said, and what was
// taken of each item is read now.
func (s Shopper) viewOf(ctx context.Context, q *sqlc.Queries, c cart, lines []checkout.LineRequest) (catalog.View, error) {
	view := s.View
	if view.Currency == "" {
		view.Currency = c.currency
	}
	if view.Country == "" {
		view.Country = c.country
	}
	var err error
	view.Usages, err = usages(ctx, q, s.ProjectID, s.UserID, relatedSKUs(s.Catalog, lines), view.Now)
	return view, err
}

// relatedSKUs are those of the lines, of what they contain, and of what comes as a bonus.
func relatedSKUs(c *catalog.Catalog, lines []checkout.LineRequest) []string {
	seen := map[string]bool{}
	skus := []string{}
	var add func(string)
	add = func(sku string) {
		item, ok := c.Item(sku)
		if seen[sku] || !ok {
			return
		}
		seen[sku] = true
		skus = append(skus, sku)
		for _, part := range item.Content {
			add(part.SKU)
		}
		for _, promotion := range item.Promotions {
			for _, bonus := range promotion.Bonus {
				add(bonus.SKU)
			}
		}
	}
	for _, line := range lines {
		add(line.SKU)
	}
	return skus
}
