package api

import (
	"context"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
)

// itemCatalog is what the catalog of a project is at a revision.
type itemCatalog struct {
	rules *catalog.Catalog
	items []catalog.Item // in the order of the shop, drafts too
	byID  map[int64]catalog.Item
	keys  map[string][]catalog.Item // by the game
}

func newItemCatalogs(db *postgres.DB, timeout time.Duration) *byRevision[itemCatalog] {
	return &byRevision[itemCatalog]{
		timeout:  timeout,
		revision: db.CatalogRevision,
		read: func(ctx context.Context, projectID int32) (int64, *itemCatalog, error) {
			revision, items, groups, err := db.CatalogItems(ctx, projectID)
			if err != nil {
				return 0, nil, err
			}
			return revision, itemCatalogOf(items, groups), nil
		},
	}
}

func itemCatalogOf(items []catalog.Item, groups []catalog.Group) *itemCatalog {
	slices.SortFunc(items, catalog.InShopOrder)
	of := &itemCatalog{
		rules: catalog.New(items, groups),
		items: items,
		byID:  make(map[int64]catalog.Item, len(items)),
		keys:  map[string][]catalog.Item{},
	}
	for _, item := range items {
		of.byID[item.ItemID] = item
		if item.Type == catalog.GameKey {
			of.keys[item.UnitSKU] = append(of.keys[item.UnitSKU], item)
		}
	}
	return of
}

// counted are the SKUs whose usages decide how these items look: theirs, and those of what they contain.
func (c *itemCatalog) counted(items []catalog.Item, byUser bool) []string {
	var skus []string
	seen := map[string]bool{}
	var visit func(catalog.Item)
	visit = func(item catalog.Item) {
		if seen[item.SKU] {
			return
		}
		seen[item.SKU] = true
		if isCounted(item, byUser) {
			skus = append(skus, item.SKU)
		}
		for _, key := range c.keys[item.SKU] {
			visit(key)
		}
		for _, line := range item.Content {
			if part, ok := c.rules.Item(line.SKU); ok {
				visit(part)
			}
		}
	}
	for _, item := range items {
		visit(item)
	}
	return skus
}

func isCounted(item catalog.Item, byUser bool) bool {
	if item.Type == catalog.GameKey || item.Limits.PerItem > 0 {
		return true
	}
	return byUser && (item.Limits.PerUser > 0 || item.VirtualItemType == catalog.NonConsumable ||
		slices.ContainsFunc(item.Promotions, func(p catalog.Promotion) bool { return p.Limits.PerUser > 0 }))
}
