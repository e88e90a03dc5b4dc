package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// ErrNotGameKey: the item is of another type, which has no keys.
var ErrNotGameKey = errors.New("not a game key")

// GameKeyCounts tells how many keys of a game there are in each state.
type GameKeyCounts struct{ Free, Reserved, Given, Revoked int64 }

// AddGameKeys puts keys on sale and returns how many of them are new: one that the game has already is
// skipped. It fails with ErrNotFound and ErrNotGameKey.
func (db *DB) AddGameKeys(ctx context.Context, projectID int32, sku string, codes []string, actor string, now time.Time) (added int64, counts GameKeyCounts, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		if err := requireGameKey(ctx, q, projectID, sku); err != nil {
			return err
		}
		if added, err = q.InsertGameKeys(ctx, sqlc.InsertGameKeysParams{
			ProjectID: projectID,
			Sku:       sku,
			Codes:     codes,
			Now:       now,
		}); err != nil {
			return fmt.Errorf("add game keys: %w", err)
		}
		if counts, err = countGameKeys(ctx, q, projectID, sku); err != nil {
			return err
		}
		return audit(ctx, q, projectID, actor, "game_keys.add", sku, map[string]int64{
			"added":   added,
			"skipped": int64(len(codes)) - added,
		}, now)
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

// keysOfOrder are the game keys that an order has given, as its user still has them.
func keysOfOrder(ctx context.Context, q *sqlc.Queries, o CheckoutOrder) ([]inventory.Key, error) {
	if !checkout.HasGameKeys(o.Lines) {
		return nil, nil
	}
	rows, err := q.ListKeysOfOrder(ctx, sqlc.ListKeysOfOrderParams{OrderID: o.OrderID, ProjectID: o.ProjectID, UserID: o.UserID})
	if err != nil {
		return nil, fmt.Errorf("keys of order %d: %w", o.OrderID, err)
	}
	var keys []inventory.Key
	for _, row := range rows {
		keys = append(keys, inventory.Key{SKU: row.Sku, DRM: row.DrmSku, Code: row.Code})
	}
	return keys, nil
}

// KeysOfUser are the codes of the game keys among these that a user owns, by SKU.
func (db *DB) KeysOfUser(ctx context.Context, projectID int32, userID string, owned []Owned) (map[string][]inventory.Key, error) {
	drm := map[string]string{}
	for _, o := range owned {
		if o.Kind == inventory.GameKey {
			drm[o.Item.SKU] = o.Item.DRM
		}
	}
	if len(drm) == 0 {
		return nil, nil
	}
	rows, err := db.q.ListKeysOfUser(ctx, sqlc.ListKeysOfUserParams{
		ProjectID: projectID,
		UserID:    userID,
		Skus:      slices.Sorted(maps.Keys(drm)),
	})
	if err != nil {
		return nil, fmt.Errorf("keys of a user: %w", err)
	}
	keys := map[string][]inventory.Key{}
	for _, row := range rows {
		keys[row.Sku] = append(keys[row.Sku], inventory.Key{SKU: row.Sku, DRM: drm[row.Sku], Code: row.Code})
	}
	return keys, nil
}
