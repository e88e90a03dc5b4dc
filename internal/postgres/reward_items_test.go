package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

func (q *quest) item(item catalog.Item) {
	q.t.Helper()
	item.Status, item.Name = catalog.Draft, catalog.Text{"en": item.SKU}
	_, _, err := q.CreateItem(q.t.Context(), postgres.NewItem{ProjectID: project, Item: item, Actor: "test"}, q.clock)
	require.NoError(q.t, err)
}

// owns is how many of an item the user has.
func (q *quest) owns(sku string) (quantity int64) {
	q.t.Helper()
	require.NoError(q.t, q.Pool().QueryRow(q.t.Context(), "SELECT COALESCE((SELECT quantity FROM inventory WHERE user_id = $1 AND sku = $2), 0)", player, sku).Scan(&quantity))
	return quantity
}

func itemsOf(items ...tasks.ItemReward) func(*tasks.Task) {
	return func(task *tasks.Task) { task.Reward = tasks.Reward{Coins: 50, Items: items} }
}

func newTreasure(t testing.TB) *quest {
	q := newQuest(t, itemsOf(tasks.ItemReward{
		SKU:      "chest",
		Quantity: 2,
	}, tasks.ItemReward{SKU: "gold", Quantity: 5}, tasks.ItemReward{SKU: "pass", Quantity: 1},
		tasks.ItemReward{SKU: "sword", Quantity: 1}))
	month := monthly
	q.item(catalog.Item{SKU: "gold", Type: catalog.VirtualCurrency})
	q.item(catalog.Item{
		SKU:              "pass",
		Type:             catalog.VirtualGood,
		VirtualItemType:  catalog.NonRenewingSubscription,
		InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &month},
	})
	q.item(catalog.Item{SKU: "sword", Type: catalog.VirtualGood, VirtualItemType: catalog.NonConsumable})
	q.item(catalog.Item{
		SKU:        "chest",
		Type:       catalog.Bundle,
		BundleType: catalog.StandardBundle,
		Content:    []catalog.Content{{SKU: "gold", Quantity: 10}},
	})
	return q
}

func TestItemsAreRewardedOnce(t *testing.T) {
	t.Parallel()
	q := newTreasure(t)
	id := q.window("tw_1", tasks.Completed)
	for range 3 {
		require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(id))
		require.Equal(t, []int64{25, 1, 1}, []int64{q.owns("gold"), q.owns("pass"), q.owns("sword")})
	}
	require.Equal(t, contract.RewardDelivered, q.reward("tw_1.items").Status)
	require.Equal(t, []string{"task_completed", "reward_received"}, q.told())
	testkit.RequireWallet(t, q.DB, player, 50, 0)
	q.requireClean()
}

// A game key that a task gives can be read; the free ones are nobody's.
func TestRewardedGameKeyIsToldItsUser(t *testing.T) {
	t.Parallel()
	q := newQuest(t, itemsOf(tasks.ItemReward{SKU: "kit", Quantity: 1}))
	q.item(catalog.Item{SKU: "game", Type: catalog.Unit})
	q.item(catalog.Item{SKU: "game_gog", Type: catalog.GameKey, UnitSKU: "game", DRM: "gog"})
	q.item(catalog.Item{
		SKU:        "kit",
		Type:       catalog.Bundle,
		BundleType: catalog.StandardBundle,
		Content:    []catalog.Content{{SKU: "game_gog", Quantity: 1}},
	})
	_, _, err := q.AddGameKeys(t.Context(), project, "game_gog", []string{"k1", "k2"}, "test", q.clock)
	require.NoError(t, err)
	q.settle(q.window("tw_1", tasks.Completed))
	for userID, want := range map[string][]inventory.Key{player: {{SKU: "game_gog", DRM: "gog", Code: "k1"}}, "somebody": nil} {
		owned, _, err := q.Inventory(t.Context(), project, userID, 50, 0)
		require.NoError(t, err)
		keys, err := q.KeysOfUser(t.Context(), project, userID, owned)
		require.NoError(t, err)
		require.Equal(t, want, keys["game_gog"], userID)
	}
	q.requireClean()
}

// A sword is owned once: nothing of the items is given, the coins stay, and an admin replays when the user has none.
func TestItemsThatCannotBeGivenAreListed(t *testing.T) {
	t.Parallel()
	q := newTreasure(t)
	first := q.window("tw_1", tasks.Completed)
	q.settle(first)
	second := q.window("tw_2", tasks.Completed, func(w *tasks.Window) { w.Number, w.EndsAt = 2, q.clock.Add(24*time.Hour) })
	require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(second))
	refused := q.reward("tw_2.items")
	require.Equal(t, []any{contract.RewardRefused, string(inventory.AlreadyOwned)}, []any{refused.Status, refused.ReasonCode})
	require.EqualValues(t, 25, q.owns("gold"))
	testkit.RequireWallet(t, q.DB, player, 100, 0)
	q.requireClean()

	testkit.Exec(t, q.DB, `UPDATE inventory SET quantity = 0 WHERE sku = 'sword'`)
	_, _, err := q.ReplayReward(t.Context(), postgres.RewardReplay{
		ProjectID: project,
		RewardID:  "tw_2.items",
		Actor:     "admin",
		Reason:    "the sword was lost",
	}, q.clock)
	require.NoError(t, err)
	q.settle(second)
	require.Equal(t, contract.RewardDelivered, q.reward("tw_2.items").Status)
	require.Equal(t, []int64{50, 1, 1}, []int64{q.owns("gold"), q.owns("pass"), q.owns("sword")})
}

func TestRewardsNameItemsOfTheCatalog(t *testing.T) {
	t.Parallel()
	q := newTreasure(t)
	task := fiveBets(itemsOf(tasks.ItemReward{SKU: "gold", Quantity: 1}, tasks.ItemReward{SKU: "no-such", Quantity: 1}))
	_, _, err := q.CreateTask(t.Context(), postgres.NewTask{ProjectID: project, Task: task, Actor: "test"}, q.clock)
	var unknown *postgres.UnknownItemsError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []string{"no-such"}, unknown.SKUs)
}
