package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Kinds of a stock change.
const (
	stockManual        = "manual"
	stockReplenishment = "replenishment"
)

// StockEdit asks for stock to be set or added to, for many products at once.
type StockEdit struct {
	ProjectID   int32
	EditID      string
	Mode        store.EditMode
	Items       []store.StockEdit
	Actor       string
	Reason      string
	Idempotency *Idempotency // may be nil
}

// StockEdited is an edit that was made, now or by an earlier request with the same key.
type StockEdited struct {
	EditID   string
	Replayed bool
	Results  []store.EditResult // one for each item, in their order
}

// EditStock changes the available pieces of many products in one transaction and keeps who, why, before and
// after. It fails with ErrIdempotencyKeyReused and, in all-or-nothing mode, with a *store.RefusedEditError that
// names the rows; nothing is written then.
func (db *DB) EditStock(ctx context.Context, e StockEdit, now time.Time) (done StockEdited, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		id, err := e.Idempotency.claim(ctx, q, e.ProjectID, e.EditID, now)
		if err != nil {
			return err
		}
		done = StockEdited{EditID: id, Replayed: id != e.EditID}
		if done.Replayed {
			done.Results, err = stockEditBefore(ctx, q, e.ProjectID, id)
		} else {
			done.Results, err = editStock(ctx, q, e, now)
		}
		return err
	})
	return done, err
}

func stockEditBefore(ctx context.Context, q *sqlc.Queries, projectID int32, editID string) ([]store.EditResult, error) {
	stored, err := q.GetStockEdit(ctx, sqlc.GetStockEditParams{ProjectID: projectID, EditID: editID})
	if err != nil {
		return nil, fmt.Errorf("edit of stock %s: %w", editID, err)
	}
	var results []store.EditResult
	if err := json.Unmarshal(stored, &results); err != nil {
		return nil, fmt.Errorf("edit of stock %s: %w", editID, err)
	}
	return results, nil
}

func editStock(ctx context.Context, q *sqlc.Queries, e StockEdit, now time.Time) ([]store.EditResult, error) {
	skus := make([]string, len(e.Items))
	for i, item := range e.Items {
		skus[i] = item.SKU
	}
	locked, err := q.LockStock(ctx, sqlc.LockStockParams{ProjectID: e.ProjectID, Skus: skus})
	if err != nil {
		return nil, fmt.Errorf("lock stock: %w", err)
	}
	available := make(map[string]int64, len(locked))
	for _, row := range locked {
		available[row.Sku] = row.Available
	}
	results, err := store.DecideStockEdits(e.Mode, e.Items, available)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(results)
	if err != nil {
		return nil, err
	}
	err = q.InsertStockEdit(ctx, sqlc.InsertStockEditParams{EditID: e.EditID, ProjectID: e.ProjectID, Actor: e.Actor, Mode: string(e.Mode),
		Reason: e.Reason, Results: encoded, Now: now})
	if err != nil {
		return nil, fmt.Errorf("edit stock: %w", err)
	}
	if err := changeStock(ctx, q, e, results, now); err != nil {
		return nil, err
	}
	return results, audit(ctx, q, e.ProjectID, e.Actor, "stock.edit", e.EditID,
		map[string]any{"mode": e.Mode, "reason": e.Reason, "items": results}, now)
}

func changeStock(ctx context.Context, q *sqlc.Queries, e StockEdit, results []store.EditResult, now time.Time) error {
	change := sqlc.ChangeStockParams{
		ProjectID: e.ProjectID,
		Kind:      stockManual,
		EditID:    &e.EditID,
		Actor:     e.Actor,
		Reason:    e.Reason,
		Now:       now,
	}
	for _, result := range results {
		if result.Changed() {
			change.Skus = append(change.Skus, result.SKU)
			change.Before = append(change.Before, *result.Before)
			change.After = append(change.After, *result.After)
		}
	}
	if change.Skus == nil {
		return nil
	}
	if err := q.ChangeStock(ctx, change); err != nil {
		return fmt.Errorf("edit stock: %w", err)
	}
	return nil
}

// StockLevel is a product's stock: Initial + Restocked = Available + Reserved + Sold.
type StockLevel struct {
	SKU       string
	Name      string
	Status    store.ProductStatus
	Settings  store.StockSettings
	Restocked int64 // pieces, negative when more were taken away than put in
	Available int64 // pieces
	Reserved  int64 // pieces of open orders
	Sold      int64 // pieces
}

// ListStock lists the stock of all products, drafts too, in the order of their SKU, after the one given.
func (db *DB) ListStock(ctx context.Context, projectID int32, after string, limit int) ([]StockLevel, error) {
	rows, err := db.q.ListStock(ctx, sqlc.ListStockParams{ProjectID: projectID, After: after, MaxProducts: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list stock: %w", err)
	}
	levels := make([]StockLevel, len(rows))
	for i, row := range rows {
		levels[i] = StockLevel{SKU: row.Sku, Name: row.Name, Status: store.ProductStatus(row.Status), Restocked: row.Restocked,
			Settings:  store.StockSettings{Initial: row.Initial, Minimum: row.MinimumStock, HideAtZero: row.HideAtZero},
			Available: row.Available, Reserved: row.Reserved, Sold: row.Sold}
		if err := json.Unmarshal(row.Replenishment, &levels[i].Settings.Replenishment); err != nil {
			return nil, fmt.Errorf("replenishment of product %s: %w", row.Sku, err)
		}
	}
	return levels, nil
}

// StockChange is one change of stock that was no purchase.
type StockChange struct {
	ID            int64
	Kind          string // manual, replenishment
	EditID        string // of the request that made it; empty for a replenishment
	Actor         string
	Reason        string
	Before, After int64 // available pieces
	At            time.Time
}

// StockHistory lists the changes of a product's stock, newest first, before the given one (0: from the newest). It
// fails with ErrNotFound when there is no such product.
func (db *DB) StockHistory(ctx context.Context, projectID int32, sku string, before int64, limit int) ([]StockChange, error) {
	if _, err := db.q.StockAvailable(ctx, sqlc.StockAvailableParams{ProjectID: projectID, Sku: sku}); err != nil {
		return nil, fmt.Errorf("stock history: %w", notFound(err))
	}
	rows, err := db.q.ListStockChanges(ctx, sqlc.ListStockChangesParams{
		ProjectID:  projectID,
		Sku:        sku,
		Before:     before,
		MaxChanges: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("stock history: %w", err)
	}
	changes := make([]StockChange, len(rows))
	for i, row := range rows {
		changes[i] = StockChange{ID: row.ChangeID, Kind: row.Kind, Actor: row.Actor, Reason: row.Reason,
			Before: row.AvailableBefore, After: row.AvailableAfter, At: row.At}
		if row.EditID != nil {
			changes[i].EditID = *row.EditID
		}
	}
	return changes, nil
}

// Consumption reads how many pieces of a product were sold in the window that ends now; ErrNotFound when there is no
// such product.
func (db *DB) Consumption(ctx context.Context, projectID int32, sku string, window time.Duration, now time.Time) (store.Consumption, error) {
	row, err := db.q.ReadConsumption(ctx, sqlc.ReadConsumptionParams{ProjectID: projectID, Sku: sku, Since: now.Add(-window), Now: now})
	if err != nil {
		return store.Consumption{}, fmt.Errorf("consumption: %w", notFound(err))
	}
	return store.Consumption{
		Available: row.Available,
		Minimum:   row.MinimumStock,
		Sold:      row.Sold,
		Window:    window,
		CreatedAt: row.CreatedAt,
	}, nil
}
