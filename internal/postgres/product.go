package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// GetProduct reads one product with its stock; ErrNotFound when there is none.
func (db *DB) GetProduct(ctx context.Context, projectID int32, sku string) (store.Offer, error) {
	row, err := db.q.FindOffer(ctx, sqlc.FindOfferParams{ProjectID: projectID, Sku: sku})
	if err != nil {
		return store.Offer{}, notFound(err)
	}
	return offerOf(row)
}

// ListProducts lists all products in the order of their SKU, after the one given.
func (db *DB) ListProducts(ctx context.Context, projectID int32, after string, limit int) ([]store.Offer, error) {
	rows, err := db.q.ListProducts(ctx, sqlc.ListProductsParams{ProjectID: projectID, After: after, MaxProducts: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	offers := make([]store.Offer, 0, len(rows))
	for _, row := range rows {
		offer, err := offerOf(sqlc.FindOfferRow(row))
		if err != nil {
			return nil, err
		}
		offers = append(offers, offer)
	}
	return offers, nil
}

// UpdateProduct replaces a product's settings and returns the new version. With p.Version set, the stored
// version must be that one, else ErrConflict. Stock is not touched: it has calls of its own.
func (db *DB) UpdateProduct(ctx context.Context, projectID int32, p store.Product, actor string, now time.Time) (version int64, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		version, err = updateProduct(ctx, q, projectID, p, actor, now)
		return err
	})
	return version, err
}

func updateProduct(ctx context.Context, q *sqlc.Queries, projectID int32, p store.Product, actor string, now time.Time) (version int64, err error) {
	columns, err := columnsOf(p)
	if err != nil {
		return 0, err
	}
	version, err = q.UpdateProduct(ctx, sqlc.UpdateProductParams{
		ProjectID:       projectID,
		Sku:             p.SKU,
		Version:         p.Version,
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
		Now:             now,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("update product: %w", err)
	}
	return version, audit(ctx, q, projectID, actor, "product.update", p.SKU, p, now)
}

// productColumns are a product's settings as they are stored.
type productColumns struct {
	integration, delivery, limits, schedule, requires, replenishment json.RawMessage
}

func columnsOf(p store.Product) (columns productColumns, err error) {
	for _, column := range []struct {
		from any
		into *json.RawMessage
	}{
		{p.Integration, &columns.integration}, {p.Delivery, &columns.delivery}, {p.Limits, &columns.limits},
		{p.Schedule, &columns.schedule}, {p.Requires, &columns.requires}, {p.Stock.Replenishment, &columns.replenishment},
	} {
		if *column.into, err = json.Marshal(column.from); err != nil {
			return columns, fmt.Errorf("settings of product %s: %w", p.SKU, err)
		}
	}
	return columns, nil
}

func offerOf(row sqlc.FindOfferRow) (store.Offer, error) {
	product, err := productOf(row)
	return store.Offer{Product: product, Available: row.Available,
		Sales: store.Sales{Day: row.SalesDay.Time, Week: row.SalesWeek.Time, InDay: row.SoldInDay, InWeek: row.SoldInWeek}}, err
}

func productOf(row sqlc.FindOfferRow) (store.Product, error) {
	p := store.Product{
		Group: row.ProductGroup, Position: int(row.Position), ValiditySeconds: row.ValiditySeconds,
		SKU: row.Sku, Version: row.Version, Name: row.Name, Description: row.Description, Kind: row.Kind, PriceCoins: row.PriceCoins,
		Status: store.ProductStatus(row.Status), UpdatedAt: row.UpdatedAt,
		Stock: store.StockSettings{Initial: row.Initial, Minimum: row.MinimumStock, HideAtZero: row.HideAtZero},
	}
	for _, column := range []struct {
		name string
		json json.RawMessage
		into any
	}{
		{"integration", row.Integration, &p.Integration}, {"delivery", row.Delivery, &p.Delivery}, {"limits", row.Limits, &p.Limits},
		{"schedule", row.Schedule, &p.Schedule}, {"requires", row.Requires, &p.Requires},
		{"replenishment", row.Replenishment, &p.Stock.Replenishment},
	} {
		if err := json.Unmarshal(column.json, column.into); err != nil {
			return p, fmt.Errorf("%s of product %s: %w", column.name, row.Sku, err)
		}
	}
	return p, nil
}

func audit(ctx context.Context, q *sqlc.Queries, projectID int32, actor, action, subject string, detail any, now time.Time) error {
	encoded, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	err = q.InsertAudit(ctx, sqlc.InsertAuditParams{
		ProjectID: projectID,
		Actor:     actor,
		Action:    action,
		Subject:   subject,
		Detail:    encoded,
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	return nil
}
