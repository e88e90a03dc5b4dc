package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CatalogRevision grows with each edit of an item or a group of the project; 0 before the first.
func (db *DB) CatalogRevision(ctx context.Context, projectID int32) (int64, error) {
	revision, err := db.q.FindCatalogRevision(ctx, projectID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("revision of the catalog: %w", err)
	}
	return revision, nil
}

// CatalogItems reads a project's whole catalog, drafts too. Items and groups are at least as new as the revision.
func (db *DB) CatalogItems(ctx context.Context, projectID int32) (revision int64, items []catalog.Item, groups []catalog.Group, err error) {
	if revision, err = db.CatalogRevision(ctx, projectID); err != nil {
		return 0, nil, nil, err
	}
	rows, err := db.q.ListCatalogItems(ctx, projectID)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("items of the catalog: %w", err)
	}
	items = make([]catalog.Item, len(rows))
	for i, row := range rows {
		if items[i], err = itemOf(row); err != nil {
			return 0, nil, nil, err
		}
	}
	groups, err = catalogGroups(ctx, db.q, projectID)
	return revision, items, groups, err
}

func itemOf(row sqlc.ListCatalogItemsRow) (item catalog.Item, err error) {
	if err := json.Unmarshal(row.Definition, &item); err != nil {
		return item, fmt.Errorf("definition of item %d: %w", row.ItemID, err)
	}
	item.ItemID, item.Version, item.UpdatedAt = row.ItemID, row.Version, row.UpdatedAt.UTC()
	return item, nil
}

func catalogGroups(ctx context.Context, q *sqlc.Queries, projectID int32) ([]catalog.Group, error) {
	rows, err := q.ListCatalogGroups(ctx, projectID)
	if err != nil {
		return nil, fmt.Errorf("groups of the catalog: %w", err)
	}
	groups := make([]catalog.Group, len(rows))
	for i, definition := range rows {
		if err := json.Unmarshal(definition, &groups[i]); err != nil {
			return nil, fmt.Errorf("group of project %d: %w", projectID, err)
		}
	}
	return groups, nil
}

const (
	mostKeysCounted = 10_000              // of one game key: nobody buys as many at once
	longestPeriod   = 32 * 24 * time.Hour // of a limit that begins anew: a month, in any zone
)

// Usages tells in one round trip what the user, and all users, have taken of each SKU, as catalog.View wants
// it. An empty user id is nobody's, who has taken nothing.
func (db *DB) Usages(ctx context.Context, projectID int32, userID string, skus []string, now time.Time) (map[string]catalog.Usage, error) {
	return usages(ctx, db.q, projectID, userID, skus, now)
}

func usages(ctx context.Context, q *sqlc.Queries, projectID int32, userID string, skus []string, now time.Time) (map[string]catalog.Usage, error) {
	rows, err := q.FindUsages(ctx, sqlc.FindUsagesParams{
		ProjectID: projectID,
		UserID:    userID,
		Skus:      skus,
		MostKeys:  mostKeysCounted,
		Since:     now.Add(-longestPeriod),
	})
	if err != nil {
		return nil, fmt.Errorf("usages of items: %w", err)
	}
	found := make(map[string]catalog.Usage, len(skus))
	for _, row := range rows {
		usage, seen := found[row.Sku]
		if !seen {
			usage = catalog.Usage{
				Owned:      row.Owned > 0,
				Reserved:   row.Reserved,
				Sold:       row.Sold,
				Keys:       row.Keys,
				Promotions: map[string]int64{},
			}
		}
		if row.Promotion != nil {
			if err := addUsage(&usage, row, now); err != nil {
				return nil, err
			}
		}
		found[row.Sku] = usage
	}
	return found, nil
}

// addUsage counts a row of the item's running period, or of a promotion, whose limits never begin anew.
func addUsage(usage *catalog.Usage, row sqlc.FindUsagesRow, now time.Time) error {
	if *row.Promotion != "" {
		usage.Promotions[*row.Promotion] += *row.Used
		return nil
	}
	var recurrence *catalog.Recurrence
	if row.Recurrence != nil {
		if err := json.Unmarshal(row.Recurrence, &recurrence); err != nil {
			return fmt.Errorf("limits of %s: %w", row.Sku, err)
		}
	}
	if row.PeriodStart.Equal(usagePeriod(recurrence, now)) {
		usage.ByUser += *row.Used
	}
	return nil
}

// usagePeriod is when the period of a limit for each user began: item_usages.period_start. One that never begins anew
// began with the epoch, or before it.
func usagePeriod(recurrence *catalog.Recurrence, now time.Time) time.Time {
	if recurrence == nil {
		return time.Unix(0, 0).UTC()
	}
	return recurrence.PeriodAt(now).Start.UTC()
}
