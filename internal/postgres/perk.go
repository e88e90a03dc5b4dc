package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// PerkFilter narrows a user's perks; empty fields do not.
type PerkFilter struct {
	ActiveAt *time.Time // only what the user is entitled to at this moment
	Before   string     // cursor: perks of orders older than this one
	Limit    int
}

// Perks lists what a user's orders gave for a time, newest order first.
func (db *DB) Perks(ctx context.Context, projectID int32, userID string, f PerkFilter) ([]store.Perk, error) {
	rows, err := db.q.ListPerks(ctx, sqlc.ListPerksParams{
		UserID:    userID,
		ProjectID: projectID,
		Before:    optional.Text(f.Before),
		ActiveAt:  f.ActiveAt,
		MaxPerks:  int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("perks: %w", err)
	}
	perks := make([]store.Perk, len(rows))
	for i, row := range rows {
		perks[i] = store.Perk{
			OrderID:   row.OrderID,
			UserID:    row.UserID,
			SKU:       row.Sku,
			Kind:      row.Kind,
			StartsAt:  row.StartsAt,
			ExpiresAt: row.ExpiresAt,
		}
	}
	return perks, nil
}

// EndPerk tells the user, once, that the perk which began with this order has ended. until is set when it has
// been extended meanwhile: nothing is written then.
func (db *DB) EndPerk(ctx context.Context, orderID string, now time.Time) (until *time.Time, err error) {
	expiresAt, err := db.q.EndPerk(ctx, sqlc.EndPerkParams{OrderID: orderID, Now: now})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("end perk: %w", err)
	default:
		return &expiresAt, nil
	}
}

// PerkTimer is a perk whose end nobody is known to wait for.
type PerkTimer struct {
	Input     contract.PerkInput
	ExpiresAt time.Time
}

// LeasePerkTimers hands out perks whose workflow may not run. A lease, not a claim: what MarkPerkTimers does not
// confirm is found again.
func (db *DB) LeasePerkTimers(ctx context.Context, lease time.Duration, limit int, now time.Time) ([]PerkTimer, error) {
	rows, err := db.q.LeasePerkTimers(ctx, sqlc.LeasePerkTimersParams{Now: now, LeaseUntil: now.Add(lease), MaxPerks: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("lease perk timers: %w", err)
	}
	timers := make([]PerkTimer, len(rows))
	for i, row := range rows {
		timers[i] = PerkTimer{
			ExpiresAt: row.ExpiresAt,
			Input:     contract.PerkInput{ProjectID: row.ProjectID, OrderID: row.OrderID, UserID: row.UserID, Kind: row.Kind},
		}
	}
	return timers, nil
}

// MarkPerkTimers notes that the workflows of these perks run.
func (db *DB) MarkPerkTimers(ctx context.Context, orderIDs []string, now time.Time) error {
	if err := db.q.MarkPerkTimers(ctx, sqlc.MarkPerkTimersParams{OrderIds: orderIDs, Now: now}); err != nil {
		return fmt.Errorf("mark perk timers: %w", err)
	}
	return nil
}
