package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Eligibility is what the rules need to know of a user who looks at products.
type Eligibility struct {
	Buyer  *store.Buyer            // nil: there is no such user
	Bought map[string]store.Bought // by SKU; products without limits per user are not counted
}

// ReadEligibility reads it without a lock: a purchase a moment later may find another answer.
func (db *DB) ReadEligibility(ctx context.Context, projectID int32, userID string, skus []string, now time.Time) (Eligibility, error) {
	row, err := db.q.ReadBuyer(ctx, sqlc.ReadBuyerParams{UserID: userID, Now: now})
	if errors.Is(err, pgx.ErrNoRows) {
		return Eligibility{}, nil
	}
	if err != nil {
		return Eligibility{}, fmt.Errorf("read eligibility: %w", err)
	}
	buyer, err := buyerOf(sqlc.LockBuyerRow{
		UserID:     row.UserID,
		Status:     row.Status,
		Suspicious: row.Suspicious,
		Vip:        row.Vip,
		Available:  row.Available,
		Attributes: row.Attributes,
	})
	if err != nil {
		return Eligibility{}, err
	}
	if !row.LastPurchaseAt.IsZero() {
		buyer.LastPurchaseAt = &row.LastPurchaseAt
	}
	counts, err := db.q.CountAllBought(ctx, sqlc.CountAllBoughtParams{UserID: userID, ProjectID: projectID, Skus: skus, Now: now})
	if err != nil {
		return Eligibility{}, fmt.Errorf("read eligibility: %w", err)
	}
	bought := make(map[string]store.Bought, len(counts))
	for _, c := range counts {
		bought[c.Sku] = store.Bought{Ever: c.Ever, Day: c.Day, Week: c.Week, Month: c.Month}
	}
	if buyer.CompletedTasks, err = db.q.CompletedTasks(ctx, sqlc.CompletedTasksParams{
		UserID:    userID,
		ProjectID: projectID,
		Skus:      skus,
	}); err != nil {
		return Eligibility{}, fmt.Errorf("read eligibility: %w", err)
	}
	return Eligibility{Buyer: buyer, Bought: bought}, nil
}
