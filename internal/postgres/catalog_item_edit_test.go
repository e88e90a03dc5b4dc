package postgres_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

func itemNamed(sku string, change ...func(*catalog.Item)) catalog.Item {
	i := catalog.Item{
		SKU:             sku,
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Basic Blaster"},
		Prices:          []catalog.Price{{Amount: amount("1.99"), Currency: "USD", IsDefault: true}},
	}
	for _, f := range change {
		f(&i)
	}
	return i
}

func itemToAdd(i catalog.Item) postgres.NewItem {
	return postgres.NewItem{ProjectID: testkit.Project, Item: i, Actor: "test"}
}

func TestCatalogEdits(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 7, time.UTC)
	gun, replayed, err := db.CreateItem(t.Context(), itemToAdd(itemNamed("gun_1", func(i *catalog.Item) { i.Limits.PerItem = 10 })), now)
	require.NoError(t, err)
	require.False(t, replayed)
	require.EqualValues(t, 1, gun.Version)
	found, err := db.FindItem(t.Context(), testkit.Project, "gun_1")
	require.NoError(t, err)
	require.True(t, found.Same(gun))
	require.Equal(t, []any{gun.ItemID, gun.Version, gun.UpdatedAt}, []any{found.ItemID, found.Version, found.UpdatedAt})

	_, _, err = db.CreateItem(t.Context(), itemToAdd(itemNamed("gun_1")), now)
	require.ErrorIs(t, err, postgres.ErrConflict)
	var refused *postgres.CatalogMistakesError
	_, _, err = db.CreateItem(t.Context(), itemToAdd(itemNamed("pass", func(i *catalog.Item) {
		i.VirtualPrices = []catalog.VirtualPrice{{SKU: "gold", Amount: 1, IsDefault: true}}
	})), now)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "vc_prices[0].sku", refused.Mistakes[0].Field, "a currency that is not there")

	revision, items, _, err := db.CatalogItems(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.EqualValues(t, 1, revision, "refused edits do not count")

	rename := func(before catalog.Item) (catalog.Item, error) {
		before.Name, before.Limits.PerItem = catalog.Text{"en": "Blaster"}, 5
		return before, nil
	}
	renamed, err := db.EditItem(t.Context(), testkit.Project, "gun_1", rename, "test", now)
	require.NoError(t, err)
	require.EqualValues(t, 2, renamed.Version)
	again, err := db.EditItem(t.Context(), testkit.Project, "gun_1", rename, "test", now)
	require.NoError(t, err)
	require.EqualValues(t, 2, again.Version, "it changes nothing")
	revision, err = db.CatalogRevision(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.EqualValues(t, 2, revision)
	_, err = db.EditItem(t.Context(), testkit.Project, "gun_1", func(before catalog.Item) (catalog.Item, error) {
		before.VirtualItemType = catalog.NonConsumable
		return before, nil
	}, "test", now)
	require.ErrorAs(t, err, &refused)
	_, err = db.EditItem(t.Context(), testkit.Project, "none", rename, "test", now)
	require.ErrorIs(t, err, postgres.ErrNotFound)

	var total int64
	require.NoError(t, db.Pool().QueryRow(t.Context(), "SELECT total FROM item_sales WHERE sku = 'gun_1'").Scan(&total))
	require.EqualValues(t, 5, total)
}

func TestItemIsCreatedOncePerKey(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Now()
	n := itemToAdd(itemNamed("gun_1"))
	n.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: [32]byte{1}}
	first, replayed, err := db.CreateItem(t.Context(), n, now)
	require.NoError(t, err)
	require.False(t, replayed)
	second, replayed, err := db.CreateItem(t.Context(), n, now.Add(time.Hour))
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, first, second)
	n.Idempotency.RequestHash = [32]byte{2}
	_, _, err = db.CreateItem(t.Context(), n, now)
	require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused)
}

// Two edits at once, of one item and of two that would contain each other: neither is lost, and no circle closes.
func TestCatalogEditsAtOnce(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Now()
	bundle := func(sku, content string) catalog.Item {
		return itemNamed(sku, func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.BundleType, i.Content = catalog.Bundle, "", catalog.StandardBundle, []catalog.Content{{SKU: content, Quantity: 1}}
		})
	}
	for _, i := range []catalog.Item{itemNamed("gun_1"), bundle("a", "gun_1"), bundle("b", "gun_1")} {
		_, _, err := db.CreateItem(t.Context(), itemToAdd(i), now)
		require.NoError(t, err)
	}
	const writers = 8
	var running sync.WaitGroup
	circles := make([]error, 2)
	for k, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		running.Go(func() {
			_, circles[k] = db.EditItem(t.Context(), testkit.Project, pair[0], func(before catalog.Item) (catalog.Item, error) {
				before.Content = []catalog.Content{{SKU: pair[1], Quantity: 1}}
				return before, nil
			}, "test", now)
		})
	}
	failed := make([]error, writers)
	for k := range writers {
		running.Go(func() {
			_, failed[k] = db.EditItem(t.Context(), testkit.Project, "gun_1", func(before catalog.Item) (catalog.Item, error) {
				before.Groups = append(before.Groups, fmt.Sprint("group_", k))
				return before, nil
			}, "test", now)
		})
	}
	running.Wait()
	for _, err := range failed {
		require.NoError(t, err)
	}
	gun, err := db.FindItem(t.Context(), testkit.Project, "gun_1")
	require.NoError(t, err)
	require.Len(t, gun.Groups, writers)
	require.EqualValues(t, 1+writers, gun.Version)
	require.NotEqual(t, circles[0] == nil, circles[1] == nil, "one of the two closes the circle: %v", circles)
}

func TestItemImport(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Now()
	row := func(i catalog.Item) json.RawMessage {
		raw, err := json.Marshal(i)
		require.NoError(t, err)
		return raw
	}
	gold := catalog.Item{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft, Name: catalog.Text{"en": "Gold"}}
	pass := itemNamed("pass", func(i *catalog.Item) {
		i.VirtualPrices = []catalog.VirtualPrice{{SKU: "gold", Amount: 5, IsDefault: true}}
	})
	in := postgres.ItemImport{ProjectID: testkit.Project, Rows: []json.RawMessage{row(pass), row(gold)}, Actor: "test", DryRun: true}

	report, mistakes, _, err := db.ImportItems(t.Context(), in, now)
	require.NoError(t, err)
	require.Empty(t, mistakes)
	require.Equal(t, []postgres.ImportedRowOfItem{{Row: 1, SKU: "pass", Action: catalog.ImportCreate}, {Row: 2, SKU: "gold", Action: catalog.ImportCreate}}, report.Items)
	revision, err := db.CatalogRevision(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.Zero(t, revision, "a dry run writes nothing")

	in.DryRun, in.Idempotency = false, &postgres.Idempotency{Key: "k"}
	first, _, _, err := db.ImportItems(t.Context(), in, now)
	require.NoError(t, err)
	repeated, _, replayed, err := db.ImportItems(t.Context(), in, now)
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, first, repeated)

	in.Idempotency = nil
	gold.Name = catalog.Text{"en": "Golden"}
	in.Rows = []json.RawMessage{row(pass), row(gold), row(itemNamed("gun_1", func(i *catalog.Item) { i.Name = nil })), json.RawMessage(`{"sku": 1}`)}
	_, mistakes, _, err = db.ImportItems(t.Context(), in, now)
	require.NoError(t, err)
	require.Equal(t, []int{3, 4}, []int{mistakes[0].Row, mistakes[1].Row})
	in.Rows = in.Rows[:2]
	report, _, _, err = db.ImportItems(t.Context(), in, now)
	require.NoError(t, err)
	require.Equal(t, []catalog.ImportAction{catalog.ImportUnchanged, catalog.ImportReplace}, []catalog.ImportAction{report.Items[0].Action, report.Items[1].Action})
	_, items, _, err := db.CatalogItems(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.Len(t, items, 2)
}

func TestGameKeys(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Now()
	for _, i := range []catalog.Item{
		{SKU: "game", Type: catalog.Unit, Status: catalog.Published, Name: catalog.Text{"en": "Game"}},
		itemNamed("game_steam", func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.UnitSKU, i.DRM = catalog.GameKey, "", "game", "steam"
		}),
	} {
		_, _, err := db.CreateItem(t.Context(), itemToAdd(i), now)
		require.NoError(t, err)
	}
	added, counts, err := db.AddGameKeys(t.Context(), testkit.Project, "game_steam", []string{"b", "a", "b"}, "test", now)
	require.NoError(t, err)
	require.EqualValues(t, 2, added)
	require.Equal(t, postgres.GameKeyCounts{Free: 2}, counts)

	var running sync.WaitGroup
	uploads, failed := make([]int64, 4), make([]error, 4)
	for k := range uploads {
		running.Go(func() {
			codes := make([]string, 500)
			for n := range codes {
				codes[n] = fmt.Sprint("code-", (n*7+k)%500) // each in another order
			}
			uploads[k], _, failed[k] = db.AddGameKeys(t.Context(), testkit.Project, "game_steam", codes, "test", now)
		})
	}
	running.Wait()
	var sum int64
	for k := range uploads {
		require.NoError(t, failed[k])
		sum += uploads[k]
	}
	require.EqualValues(t, 500, sum, "each code once")
	counts, err = db.GameKeyCounts(t.Context(), testkit.Project, "game_steam")
	require.NoError(t, err)
	require.EqualValues(t, 502, counts.Free)

	_, _, err = db.AddGameKeys(t.Context(), testkit.Project, "game", []string{"a"}, "test", now)
	require.ErrorIs(t, err, postgres.ErrNotGameKey)
	_, err = db.GameKeyCounts(t.Context(), testkit.Project, "none")
	require.ErrorIs(t, err, postgres.ErrNotFound)
}
