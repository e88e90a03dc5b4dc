package postgres

import (
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

// ListProducts lists products in the order of their SKU, after the one given. onSale leaves out drafts
// and those that hide when sold out.
func (db *DB) ListProducts(ctx context.Context, projectID int32, onSale bool, after string, limit int) ([]store.Offer, error) {
	rows, err := db.q.ListProducts(ctx, sqlc.ListProductsParams{ProjectID: projectID, After: after, OnSale: onSale, MaxProducts: int32(limit)})
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

// CreateProduct adds a product with its initial stock; ErrConflict when the SKU is taken.
func (db *DB) CreateProduct(ctx context.Context, projectID int32, p store.Product, actor string, now time.Time) error {
	integration, delivery, err := settingsOf(p)
	if err != nil {
		return err
	}
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		created, err := q.InsertProduct(ctx, sqlc.InsertProductParams{
			ProjectID: projectID, Sku: p.SKU, Name: p.Name, Description: p.Description, Kind: p.Kind, PriceCoins: p.PriceCoins, Status: string(p.Status),
			MinimumStock: p.Stock.Minimum, HideAtZero: p.Stock.HideAtZero, Integration: integration, Delivery: delivery, Initial: p.Stock.Initial, Now: now,
		})
		if err != nil {
			return fmt.Errorf("create product: %w", err)
		}
		if created == 0 {
			return ErrConflict
		}
		return audit(ctx, q, projectID, actor, "product.create", p.SKU, p, now)
	})
}

// UpdateProduct replaces a product's settings and returns the new version. With p.Version set, the stored
// version must be that one, else ErrConflict. Stock is not touched: it has calls of its own.
func (db *DB) UpdateProduct(ctx context.Context, projectID int32, p store.Product, actor string, now time.Time) (version int64, err error) {
	integration, delivery, err := settingsOf(p)
	if err != nil {
		return 0, err
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		version, err = q.UpdateProduct(ctx, sqlc.UpdateProductParams{
			ProjectID: projectID, Sku: p.SKU, Version: p.Version, Name: p.Name, Description: p.Description, Kind: p.Kind, PriceCoins: p.PriceCoins,
			Status: string(p.Status), MinimumStock: p.Stock.Minimum, HideAtZero: p.Stock.HideAtZero, Integration: integration, Delivery: delivery, Now: now,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return fmt.Errorf("update product: %w", err)
		}
		return audit(ctx, q, projectID, actor, "product.update", p.SKU, p, now)
	})
	return version, err
}

func settingsOf(p store.Product) (integration, delivery json.RawMessage, err error) {
	if integration, err = json.Marshal(p.Integration); err != nil {
		return nil, nil, fmt.Errorf("integration of product %s: %w", p.SKU, err)
	}
	if delivery, err = json.Marshal(p.Delivery); err != nil {
		return nil, nil, fmt.Errorf("delivery of product %s: %w", p.SKU, err)
	}
	return integration, delivery, nil
}

func offerOf(row sqlc.FindOfferRow) (store.Offer, error) {
	product, err := productOf(row)
	return store.Offer{Product: product, Available: row.Available}, err
}

func productOf(row sqlc.FindOfferRow) (store.Product, error) {
	p := store.Product{
		SKU: row.Sku, Version: row.Version, Name: row.Name, Description: row.Description, Kind: row.Kind, PriceCoins: row.PriceCoins,
		Status: store.ProductStatus(row.Status), UpdatedAt: row.UpdatedAt,
		Stock: store.StockSettings{Initial: row.Initial, Minimum: row.MinimumStock, HideAtZero: row.HideAtZero},
	}
	if err := json.Unmarshal(row.Integration, &p.Integration); err != nil {
		return p, fmt.Errorf("integration of product %s: %w", row.Sku, err)
	}
	if err := json.Unmarshal(row.Delivery, &p.Delivery); err != nil {
		return p, fmt.Errorf("delivery of product %s: %w", row.Sku, err)
	}
	return p, nil
}

func audit(ctx context.Context, q *sqlc.Queries, projectID int32, actor, action, subject string, detail any, now time.Time) error {
	encoded, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	err = q.InsertAudit(ctx, sqlc.InsertAuditParams{ProjectID: projectID, Actor: actor, Action: action, Subject: subject, Detail: encoded, Now: now})
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	return nil
}
