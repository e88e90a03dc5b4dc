package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// ErrNotGameKey: the item is of another type, which has no keys.
var ErrNotGameKey = errors.New("not a game key")

// GameKeyCounts tells how many keys of a game there are in each state.
type GameKeyCounts struct{ Free, Reserved, Given, Revoked int64 }

// AddGameKeys puts keys on sale and returns how many of them are new: one that the game has already is skipped. It fails with
// ErrNotFound and ErrNotGameKey.
func (db *DB) AddGameKeys(ctx context.Context, projectID int32, sku string, codes []string, actor string, now time.Time) (added int64, counts GameKeyCounts, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		if err := requireGameKey(ctx, q, projectID, sku); err != nil {
			return err
		}
		if added, err = q.InsertGameKeys(ctx, sqlc.InsertGameKeysParams{ProjectID: projectID, Sku: sku, Codes: codes, Now: now}); err != nil {
			return fmt.Errorf("add game keys: %w", err)
		}
		if counts, err = countGameKeys(ctx, q, projectID, sku); err != nil {
			return err
		}
		return audit(ctx, q, projectID, actor, "game_keys.add", sku, map[string]int64{"added": added, "skipped": int64(len(codes)) - added}, now)
	})
	return added, counts, err
}

// GameKeyCounts counts the keys of a game; ErrNotFound and ErrNotGameKey as AddGameKeys.
func (db *DB) GameKeyCounts(ctx context.Context, projectID int32, sku string) (GameKeyCounts, error) {
	if err := requireGameKey(ctx, db.q, projectID, sku); err != nil {
		return GameKeyCounts{}, err
	}
	return countGameKeys(ctx, db.q, projectID, sku)
}

func requireGameKey(ctx context.Context, q *sqlc.Queries, projectID int32, sku string) error {
	row, err := q.FindCatalogItem(ctx, sqlc.FindCatalogItemParams{ProjectID: projectID, Sku: sku})
	if err != nil {
		return notFound(err)
	}
	item, err := itemOf(sqlc.ListCatalogItemsRow(row))
	if err == nil && item.Type != catalog.GameKey {
		return ErrNotGameKey
	}
	return err
}

func countGameKeys(ctx context.Context, q *sqlc.Queries, projectID int32, sku string) (counts GameKeyCounts, err error) {
	rows, err := q.CountGameKeys(ctx, sqlc.CountGameKeysParams{ProjectID: projectID, Sku: sku})
	if err != nil {
		return counts, fmt.Errorf("count game keys: %w", err)
	}
	for _, row := range rows {
		switch row.State {
		case "free":
			counts.Free = row.Keys
		case "reserved":
			counts.Reserved = row.Keys
		case "given":
			counts.Given = row.Keys
		case "revoked":
			counts.Revoked = row.Keys
		}
	}
	return counts, nil
}
