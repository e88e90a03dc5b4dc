package api

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
)

// itemCatalogs keep the catalog of each project in memory. It is read again when an item or a group was edited, by any process.
type itemCatalogs struct {
	db      *postgres.DB
	timeout time.Duration // of a read that several requests share

	mu        sync.Mutex
	byProject map[int32]*itemCatalog
	reads     singleflight.Group
}

// itemCatalog is what the catalog of a project is at a revision.
type itemCatalog struct {
	revision int64
	rules    *catalog.Catalog
	items    []catalog.Item // in the order of the shop, drafts too
	byID     map[int64]catalog.Item
	keys     map[string][]catalog.Item // by the game
}

func newItemCatalogs(db *postgres.DB, timeout time.Duration) *itemCatalogs {
	return &itemCatalogs{db: db, timeout: timeout, byProject: map[int32]*itemCatalog{}}
}

func (c *itemCatalogs) get(ctx context.Context, projectID int32) (*itemCatalog, error) {
	revision, err := c.db.CatalogRevision(ctx, projectID)
	if err != nil {
		return nil, err
	}
	if known := c.known(projectID); known != nil && known.revision == revision {
		return known, nil
	}
	read, err, _ := c.reads.Do(fmt.Sprint(projectID, " ", revision), func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		return c.read(shared, projectID)
	})
	if err != nil {
		return nil, err
	}
	return read.(*itemCatalog), nil
}

func (c *itemCatalogs) known(projectID int32) *itemCatalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byProject[projectID]
}

func (c *itemCatalogs) read(ctx context.Context, projectID int32) (*itemCatalog, error) {
	revision, items, groups, err := c.db.CatalogItems(ctx, projectID)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(items, catalog.InShopOrder)
	read := &itemCatalog{revision: revision, rules: catalog.New(items, groups), items: items, byID: make(map[int64]catalog.Item, len(items)), keys: map[string][]catalog.Item{}}
	for _, item := range items {
		read.byID[item.ItemID] = item
		if item.Type == catalog.GameKey {
			read.keys[item.UnitSKU] = append(read.keys[item.UnitSKU], item)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byProject[projectID] = read
	return read, nil
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
