package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// NewProduct asks for a product to be added, and by whom.
type NewProduct struct {
	ProjectID   int32
	Product     store.Product
	Actor       string
	Idempotency *Idempotency // may be nil
}

// AddProduct adds a product with its initial stock, once per idempotency key: a repeat writes nothing and
// returns when the product was created. It fails with ErrConflict when the SKU is taken and with
// ErrIdempotencyKeyReused.
func (db *DB) AddProduct(ctx context.Context, n NewProduct, now time.Time) (createdAt time.Time, replayed bool, err error) {
	now = now.Truncate(time.Microsecond) // as PostgreSQL keeps it
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		if createdAt, replayed, err = n.claim(ctx, q, now); err != nil || replayed {
			return err
		}
		return addProduct(ctx, q, n.ProjectID, n.Product, n.Actor, now)
	})
	return createdAt, replayed, err
}

func addProduct(ctx context.Context, q *sqlc.Queries, projectID int32, p store.Product, actor string, now time.Time) error {
	columns, err := columnsOf(p)
	if err != nil {
		return err
	}
	created, err := q.InsertProduct(ctx, sqlc.InsertProductParams{
		ProjectID:       projectID,
		Sku:             p.SKU,
		Name:            p.Name,
		Description:     p.Description,
		Kind:            p.Kind,
		PriceCoins:      p.PriceCoins,
		Status:          string(p.Status),
		MinimumStock:    p.Stock.Minimum,
		HideAtZero:      p.Stock.HideAtZero,
		Integration:     columns.integration,
		Delivery:        columns.delivery,
		ProductGroup:    p.Group,
		Position:        int32(p.Position),
		TimeZone:        cmp.Or(p.Schedule.TimeZone, "UTC"),
		Limits:          columns.limits,
		Schedule:        columns.schedule,
		Requires:        columns.requires,
		Replenishment:   columns.replenishment,
		ValiditySeconds: p.ValiditySeconds,
		Initial:         p.Stock.Initial,
		Now:             now,
	})
	if err != nil {
		return fmt.Errorf("add product: %w", err)
	}
	if created == 0 {
		return ErrConflict
	}
	return audit(ctx, q, projectID, actor, "product.create", p.SKU, p, now)
}

// claim tells whether the key was used before, and when its product was created. The resource keeps that
// instant, so that a repeat can answer as the first did although the product may have been edited since; the
// id tells two requests of one instant apart.
func (n NewProduct) claim(ctx context.Context, q *sqlc.Queries, now time.Time) (createdAt time.Time, replayed bool, err error) {
	resource := strings.Join([]string{"product", n.Product.SKU, now.Format(time.RFC3339Nano), xid.New().String()}, "/")
	first, err := n.Idempotency.claim(ctx, q, n.ProjectID, resource, now)
	if err != nil {
		return time.Time{}, false, err
	}
	createdAt, err = time.Parse(time.RFC3339Nano, strings.Split(first, "/")[2])
	return createdAt, first != resource, err
}
