package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// replenishPage is how many products are looked for at a time.
const replenishPage = 200

// Restocked is one automatic replenishment.
type Restocked struct {
	ProjectID     int32
	SKU           string
	Before, After int64 // available pieces
}

// Replenish restocks every product that is at or below its minimum and whose settings say so, each in a transaction
// of its own. What is restocked already, also by another run at the same time, stays as it is. A product that fails
// does not keep the others from theirs; the error names it.
func (db *DB) Replenish(ctx context.Context, actor string, now time.Time) ([]Restocked, error) {
	var done []Restocked
	var failed []error
	var after sqlc.ListReplenishableRow
	for {
		due, err := db.q.ListReplenishable(ctx, sqlc.ListReplenishableParams{
			AfterProject: after.ProjectID,
			AfterSku:     after.Sku,
			MaxProducts:  replenishPage,
		})
		if err != nil {
			return done, errors.Join(append(failed, fmt.Errorf("replenish: %w", err))...)
		}
		for _, product := range due {
			restocked, changed, err := db.replenishOne(ctx, product, actor, now)
			if err != nil {
				failed = append(failed, fmt.Errorf("replenish product %s of project %d: %w", product.Sku, product.ProjectID, err))
			}
			if changed {
				done = append(done, restocked)
			}
		}
		if len(due) < replenishPage {
			return done, errors.Join(failed...)
		}
		after = due[len(due)-1]
	}
}

func (db *DB) replenishOne(ctx context.Context, product sqlc.ListReplenishableRow, actor string, now time.Time) (restocked Restocked, changed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.LockReplenishable(ctx, sqlc.LockReplenishableParams(product))
		if err != nil {
			return err
		}
		settings := store.StockSettings{Minimum: row.MinimumStock}
		if err := json.Unmarshal(row.Replenishment, &settings.Replenishment); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		day := store.DayOf(now, store.Zone(row.TimeZone))
		times, err := q.CountReplenished(ctx, sqlc.CountReplenishedParams{
			ProjectID: product.ProjectID,
			Sku:       product.Sku,
			DayStart:  day.Start,
			DayEnd:    day.End,
		})
		if err != nil {
			return err
		}
		after, due := settings.Replenish(row.Available, times)
		if !due || row.Status != string(store.Published) {
			return nil
		}
		restocked, changed = Restocked{ProjectID: product.ProjectID, SKU: product.Sku, Before: row.Available, After: after}, true
		return q.ChangeStock(ctx, sqlc.ChangeStockParams{ProjectID: product.ProjectID, Kind: stockReplenishment, Actor: actor,
			Reason: fmt.Sprintf("at or below the minimum of %d pieces", settings.Minimum),
			Skus:   []string{product.Sku}, Before: []int64{row.Available}, After: []int64{after}, Now: now})
	})
	return restocked, changed && err == nil, err
}
