package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Owned is an item that a user owns: as the catalog has it now or, when it has it no more, as it was last given.
type Owned struct {
	Item     catalog.Item
	Kind     inventory.Kind
	Quantity int64
}

// OwnedSubscription is a subscription that a user has or can buy. Its times are nil when it was never owned,
// or was revoked.
type OwnedSubscription struct {
	Item catalog.Item
	Time subscriptions.Subscription
}

// Inventory lists what a user owns, in the order of the SKUs, with the groups of the project.
func (db *DB) Inventory(ctx context.Context, projectID int32, userID string, limit, offset int) ([]Owned, []catalog.Group, error) {
	rows, err := db.q.ListHoldings(ctx, sqlc.ListHoldingsParams{
		ProjectID: projectID,
		UserID:    userID,
		MaxItems:  int32(limit),
		FirstItem: int32(offset),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("inventory: %w", err)
	}
	owned := make([]Owned, len(rows))
	for i, row := range rows {
		item, err := ownedItem(row.Sku, row.ItemID, row.Definition)
		if err != nil {
			return nil, nil, err
		}
		owned[i] = Owned{Item: item, Kind: inventory.Kind(row.Kind), Quantity: row.Quantity}
	}
	groups, err := catalogGroups(ctx, db.q, projectID)
	return owned, groups, err
}

// TimeLimited lists the subscriptions that are on sale and all that the user has, in the order of the SKUs.
func (db *DB) TimeLimited(ctx context.Context, projectID int32, userID string) ([]OwnedSubscription, error) {
	rows, err := db.q.ListTimeLimited(ctx, sqlc.ListTimeLimitedParams{ProjectID: projectID, UserID: userID})
	if err != nil {
		return nil, fmt.Errorf("subscriptions of a user: %w", err)
	}
	list := make([]OwnedSubscription, len(rows))
	for i, row := range rows {
		item, err := ownedItem(row.Sku, row.ItemID, row.Definition)
		if err != nil {
			return nil, err
		}
		list[i] = OwnedSubscription{Item: item, Time: subscriptions.Subscription{StartedAt: row.StartedAt, ExpiresAt: row.ExpiresAt}}
	}
	return list, nil
}

// CurrencyBalances lists the virtual currencies of the project and what the user has of them, in the order of
// the SKUs, and the coins of the wallet. It fails with ErrNotFound when there is no such user.
func (db *DB) CurrencyBalances(ctx context.Context, projectID int32, userID string) (balances []Owned, coins int64, err error) {
	if coins, err = db.q.GetAvailableCoins(ctx, userID); err != nil {
		return nil, 0, notFound(err)
	}
	rows, err := db.q.ListCurrencyBalances(ctx, sqlc.ListCurrencyBalancesParams{ProjectID: projectID, UserID: userID})
	if err != nil {
		return nil, 0, fmt.Errorf("currencies of a user: %w", err)
	}
	balances = make([]Owned, len(rows))
	for i, row := range rows {
		item, err := ownedItem(row.Sku, row.ItemID, row.Definition)
		if err != nil {
			return nil, 0, err
		}
		balances[i] = Owned{Item: item, Kind: inventory.VirtualCurrency, Quantity: row.Amount}
	}
	return balances, coins, nil
}

func ownedItem(sku string, itemID int64, definition json.RawMessage) (item catalog.Item, err error) {
	if err := json.Unmarshal(definition, &item); err != nil {
		return item, fmt.Errorf("item %s: %w", sku, err)
	}
	item.ItemID = itemID
	return item, nil
}
