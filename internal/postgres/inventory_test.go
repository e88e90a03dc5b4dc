package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

var monday = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// chest is a project whose user owns things.
type chest struct {
	*postgres.DB
	t testing.TB
}

func newChest(t testing.TB) *chest {
	t.Helper()
	c := &chest{DB: testkit.Database(t), t: t}
	require.NoError(t, c.EnsureUser(t.Context(), 1, player, monday))
	return c
}

func (c *chest) exec(sql string, args ...any) {
	c.t.Helper()
	_, err := c.Pool().Exec(c.t.Context(), sql, args...)
	require.NoError(c.t, err)
}

// quantity and the number of entries of a SKU.
func (c *chest) owns(sku string) (quantity int64, entries int) {
	c.t.Helper()
	err := c.Pool().QueryRow(c.t.Context(), `SELECT COALESCE((SELECT quantity FROM inventory WHERE user_id = $1 AND sku = $2), 0),
		(SELECT count(*) FROM inventory_entries WHERE user_id = $1 AND sku = $2)`, player, sku).Scan(&quantity, &entries)
	require.NoError(c.t, err)
	return quantity, entries
}

func (c *chest) expiry(sku string) (expiresAt *time.Time) {
	c.t.Helper()
	require.NoError(c.t, c.Pool().QueryRow(c.t.Context(), `SELECT expires_at FROM subscriptions WHERE user_id = $1 AND sku = $2`, player, sku).Scan(&expiresAt))
	return expiresAt
}

// requireClean runs the rules of verify, as of an instant.
func (c *chest) requireClean(now time.Time) {
	c.t.Helper()
	checks, err := c.Verify(c.t.Context(), postgres.VerifyOptions{Grace: time.Hour}, now)
	require.NoError(c.t, err)
	for _, check := range checks {
		require.Empty(c.t, check.Broken, check.Rule)
	}
}

var monthly = subscriptions.Period{Unit: subscriptions.Month, Value: 1}

func orderOfAll() postgres.Giving {
	grant := func(line, sku string, kind inventory.Kind, quantity int64) inventory.Grant {
		return inventory.Grant{ID: line + "/" + sku, LineID: line, SKU: sku, Kind: kind, Quantity: quantity}
	}
	pass := grant("4", "pass", inventory.NonRenewingSubscription, 2)
	pass.Period = monthly
	return postgres.Giving{
		ProjectID: 1,
		UserID:    player,
		Reference: "order/41",
		Source:    postgres.SourceOrder,
		Zone:      time.UTC,
		OrderID:   41,
		Grants: []inventory.Grant{
			grant("1", "potion", inventory.Consumable, 3), grant("2", "potion", inventory.Consumable, 2), grant("2", "gold", inventory.VirtualCurrency, 100),
			grant("3", "sword", inventory.NonConsumable, 1), pass, grant("5", "key", inventory.GameKey, 1)},
		Snapshots: map[string]catalog.Item{"potion": {SKU: "potion", Type: catalog.VirtualGood, Name: catalog.Text{"en": "Potion"}}},
	}
}

func (c *chest) keys() {
	c.exec(`INSERT INTO game_keys (project_id, sku, code, state, order_id, user_id, updated_at) VALUES
		(1, 'key', 'free', 'free', NULL, NULL, now()), (1, 'key', 'mine', 'reserved', 41, $1, now()), (1, 'key', 'others', 'reserved', 42, $1, now())`, player)
}

func TestGrantsAreGivenOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	c.keys()
	for range 3 {
		require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), monday))
		for sku, want := range map[string]int64{"potion": 5, "gold": 100, "sword": 1, "pass": 1, "key": 1} {
			quantity, _ := c.owns(sku)
			require.Equal(t, want, quantity, sku)
		}
		require.Equal(t, monday.AddDate(0, 2, 0), c.expiry("pass").UTC())
	}
	var code string
	require.NoError(t, c.Pool().QueryRow(t.Context(), `SELECT code FROM game_keys WHERE state = 'given'`).Scan(&code))
	require.Equal(t, "mine", code)

	back := postgres.TakingBack{
		ProjectID: 1,
		UserID:    player,
		Reference: "order/41",
		RefundID:  "r1",
		Source:    postgres.SourceOrder,
		OrderID:   41,
		Grants:    orderOfAll().Grants,
	}
	for range 2 {
		require.NoError(t, c.TakeBack(t.Context(), back, monday.Add(time.Hour)))
		for sku, want := range map[string]int64{"potion": 0, "gold": 0, "sword": 0, "pass": 1, "key": 0} {
			quantity, _ := c.owns(sku)
			require.Equal(t, want, quantity, sku)
		}
		require.Equal(t, monday.Add(time.Hour), c.expiry("pass").UTC())
	}
	_, entries := c.owns("potion")
	require.Equal(t, 4, entries)
}

func refusalOf(t *testing.T, err error) inventory.Code {
	t.Helper()
	var refused *postgres.RefusedChangeError
	require.ErrorAs(t, err, &refused)
	return refused.Refusal.Code
}

func TestGrantsAreGivenTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	require.Equal(t, inventory.OutOfKeys, refusalOf(t, c.GiveGrants(t.Context(), orderOfAll(), monday)))
	for _, sku := range []string{"potion", "gold", "sword", "pass", "key"} {
		quantity, entries := c.owns(sku)
		require.Zero(t, quantity+int64(entries), sku)
	}
	c.keys()
	require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), monday))
	other := orderOfAll()
	other.Reference = "order/42"
	require.Equal(t, inventory.AlreadyOwned, refusalOf(t, c.GiveGrants(t.Context(), other, monday)))
	quantity, _ := c.owns("potion")
	require.EqualValues(t, 5, quantity)
}

// What is paid for in a currency of the inventory is paid and given in one moment, and comes back together.
func TestGrantsForACurrency(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	c.keys()
	require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), monday))
	buy := passGrant(player, "order/50", 1, monthly)
	buy.Spend = &postgres.Spending{SKU: "gold", Amount: 60}
	for range 2 {
		require.NoError(t, c.GiveGrants(t.Context(), buy, monday))
		gold, _ := c.owns("gold")
		require.EqualValues(t, 40, gold)
		require.Equal(t, monday.AddDate(0, 3, 0), c.expiry("pass").UTC())
	}
	more := passGrant(player, "order/51", 1, monthly)
	more.Spend = buy.Spend
	require.Equal(t, inventory.NotEnoughCurrency, refusalOf(t, c.GiveGrants(t.Context(), more, monday)))
	back := postgres.TakingBack{
		ProjectID: 1,
		UserID:    player,
		Reference: buy.Reference,
		RefundID:  "r",
		Grants:    buy.Grants,
		Return:    buy.Spend,
	}
	for range 2 {
		require.NoError(t, c.TakeBack(t.Context(), back, monday))
		gold, _ := c.owns("gold")
		require.EqualValues(t, 100, gold)
		require.Equal(t, monday.AddDate(0, 2, 0), c.expiry("pass").UTC())
	}
	c.requireClean(monday)
}

func TestTakeBackTakesWhatIsLeft(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	c.keys()
	back := postgres.TakingBack{
		ProjectID: 1,
		UserID:    player,
		Reference: "order/41",
		RefundID:  "r1",
		OrderID:   41,
		Grants:    orderOfAll().Grants,
	}
	require.NoError(t, c.TakeBack(t.Context(), back, monday)) // it was never given
	_, entries := c.owns("potion")
	require.Zero(t, entries)

	require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), monday))
	_, _, err := c.ChangeInventory(t.Context(), postgres.InventoryCall{
		ProjectID: 1,
		Action:    inventory.ActionConsume,
		Source:    postgres.SourceUser,
		Requests:  []inventory.Request{{User: inventory.User{ID: player}, Items: []inventory.RequestedItem{{SKU: "potion", Quantity: 4}}}},
	}, monday)
	require.NoError(t, err)
	part := back
	part.Grants = []inventory.Grant{back.Grants[0], back.Grants[4]}
	part.Grants[1].Quantity = 1
	require.Equal(t, inventory.NotAllowed, refusalOf(t, c.TakeBack(t.Context(), part, monday)), "a part of a subscription's periods")
	part.Grants = part.Grants[:1]
	part.Grants[0].Quantity = 1
	require.NoError(t, c.TakeBack(t.Context(), part, monday))
	part.RefundID = "r2"
	require.NoError(t, c.TakeBack(t.Context(), part, monday))
	quantity, entries := c.owns("potion")
	require.Zero(t, quantity)
	require.Equal(t, 5, entries)
	c.requireClean(monday)
}

// Orders of one user that give the same things in other orders, all at once: no deadlock, nothing lost.
func TestManyGrantsAtOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	const orders = 24
	errs := make([]error, orders)
	var all sync.WaitGroup
	for i := range orders {
		g := passGrant(player, fmt.Sprint("order/", i/2), 1, monthly) // each twice
		for _, sku := range []string{"a", "b", "c", "d"} {
			g.Grants = append(g.Grants, inventory.Grant{ID: "1/" + sku, LineID: "1", SKU: sku, Kind: inventory.Consumable, Quantity: 1})
		}
		if i%4 < 2 {
			slices.Reverse(g.Grants)
		}
		all.Go(func() { errs[i] = c.GiveGrants(t.Context(), g, monday) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	for _, sku := range []string{"a", "d"} {
		quantity, _ := c.owns(sku)
		require.EqualValues(t, orders/2, quantity)
	}
	require.Equal(t, monday.AddDate(1, 0, 0), c.expiry("pass").UTC())
	c.requireClean(monday)
}

// Many questions at once are asked together, and each gets its own answer.
func TestEntitlementsAtOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	c.keys()
	require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), monday))
	checks := postgres.NewEntitlements(c.DB)
	ended := monday.AddDate(0, 2, 0)
	questions := []struct {
		user, sku string
		at        time.Time
		want      postgres.Entitlement
	}{
		{player, "potion", monday, postgres.Entitlement{Status: "active", Quantity: 5}},
		{player, "pass", ended.Add(-1), postgres.Entitlement{Status: "active", Quantity: 1, ExpiresAt: &ended}},
		{player, "pass", ended, postgres.Entitlement{Status: "expired", Quantity: 1, ExpiresAt: &ended}},
		{player, "nothing", monday, postgres.Entitlement{Status: "none"}},
		{"nobody", "pass", monday, postgres.Entitlement{Status: "none"}},
	}
	var all sync.WaitGroup
	got, errs := make([]postgres.Entitlement, 2000), make([]error, 2000)
	for i := range got {
		q := questions[i%len(questions)]
		all.Go(func() { got[i], errs[i] = checks.Check(t.Context(), 1, q.user, q.sku, q.at) })
	}
	all.Wait()
	for i, answer := range got {
		require.NoError(t, errs[i])
		if answer.ExpiresAt != nil {
			answer.ExpiresAt = new(answer.ExpiresAt.UTC())
		}
		require.Equal(t, questions[i%len(questions)].want, answer)
	}

	// Who gives up leaves the others alone; an error is everybody's.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := checks.Check(gone, 1, player, "pass", monday)
	require.ErrorIs(t, err, context.Canceled)
	_, err = checks.Check(t.Context(), 1, player, "pass", monday)
	require.NoError(t, err)
	c.Close()
	_, err = checks.Check(t.Context(), 1, player, "pass", monday)
	require.Error(t, err)
}

// A check reads its row by the primary key, whatever the planner thinks of arrays whose length it does not
// know: as a plain join it reads the tables whole, which is slower by as much as there are users.
func TestEntitlementIsReadByItsKey(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	const users, asked = 5000, 50
	c.exec(`INSERT INTO users (user_id, project_id, created_at, updated_at) SELECT 'u' || n, 1, now(), now() FROM generate_series(1, $1) n`, users)
	c.exec(`INSERT INTO inventory (project_id, user_id, sku, kind, quantity, snapshot, updated_at)
		SELECT 1, user_id, 'sword', 'non_consumable', 1, '{}', now() FROM users WHERE user_id LIKE 'u%'`)
	c.exec("ANALYZE inventory")
	scans := func() (whole, byKey int64) {
		require.NoError(t, c.Pool().QueryRow(t.Context(), "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'inventory'").Scan(&whole, &byKey))
		return whole, byKey
	}
	before, _ := scans()
	checks := postgres.NewEntitlements(c.DB)
	for i := range asked {
		e, err := checks.Check(t.Context(), 1, fmt.Sprint("u", i+1), "sword", monday)
		require.NoError(t, err)
		require.Equal(t, subscriptions.Active, e.Status)
	}
	testkit.Eventually(t, "the statistics know of what was read", func(context.Context) error {
		if _, byKey := scans(); byKey < asked {
			return fmt.Errorf("%d of %d by the key", byKey, asked)
		}
		return nil
	})
	after, _ := scans()
	require.Equal(t, before, after, "the table is not read whole")
}
