package postgres_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

// ledger reads the stored entries of a subscription.
func (c *chest) ledger(t require.TestingT, userID string) []subscriptions.Entry {
	rows, err := c.Pool().Query(c.t.Context(), `SELECT entry FROM subscription_entries WHERE user_id = $1 ORDER BY entry_id`, userID)
	require.NoError(t, err)
	defer rows.Close()
	var entries []subscriptions.Entry
	for rows.Next() {
		var raw []byte
		require.NoError(t, rows.Scan(&raw))
		var entry subscriptions.Entry
		require.NoError(t, json.Unmarshal(raw, &entry))
		entries = append(entries, entry)
	}
	require.NoError(t, rows.Err())
	return entries
}

func passGrant(userID, reference string, quantity int64, period subscriptions.Period) postgres.Giving {
	return postgres.Giving{
		ProjectID: 1,
		UserID:    userID,
		Reference: reference,
		Source:    postgres.SourceOrder,
		Zone:      time.UTC,
		Grants:    []inventory.Grant{{ID: "1/pass", LineID: "1", SKU: "pass", Kind: inventory.NonRenewingSubscription, Quantity: quantity, Period: period}},
	}
}

// Any interleaving of purchases, refunds and revocations, each also repeated, with the clock going either
// way, leaves in SQL what the rules say, which is the fold of what was written down.
func TestSubscriptionsInSQLAgreeWithTheRules(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	checks := postgres.NewEntitlements(c.DB)
	var users atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		user := fmt.Sprint("user-", users.Add(1))
		require.NoError(t, c.EnsureUser(c.t.Context(), 1, user, monday))
		var model subscriptions.Subscription
		var bought []postgres.Giving
		extensions, now := map[string]subscriptions.Extension{}, monday
		for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-100, 20*86_400).Draw(t, "later")) * time.Second)
			if model.ExpiresAt != nil && rapid.Bool().Draw(t, "to the end") {
				now = model.ExpiresAt.Add(time.Duration(rapid.Int64Range(-1, 1).Draw(t, "edge")) * time.Second)
			}
			switch what := rapid.SampledFrom([]string{"buy", "buy", "buy", "refund", "revoke", "settle"}).Draw(t, "what"); {
			case what == "buy":
				period := subscriptions.Period{
					Unit:  rapid.SampledFrom([]subscriptions.Unit{subscriptions.Hour, subscriptions.Week, subscriptions.Month}).Draw(t, "unit"),
					Value: rapid.IntRange(1, 3).Draw(t, "value"),
				}
				giving := passGrant(user, fmt.Sprintf("order/%s/%d", user, i), rapid.Int64Range(1, 3).Draw(t, "quantity"), period)
				var e subscriptions.Extension
				var err error
				model, e, err = model.Extend(giving.Reference+"/1/pass", period, giving.Grants[0].Quantity, now, time.UTC)
				require.NoError(t, err)
				bought, extensions[giving.Reference] = append(bought, giving), e
				for range rapid.IntRange(1, 2).Draw(t, "times") {
					require.NoError(t, c.GiveGrants(c.t.Context(), giving, now))
				}
			case what == "refund" && bought != nil:
				giving := rapid.SampledFrom(bought).Draw(t, "which")
				e := extensions[giving.Reference]
				var refund *subscriptions.Refund
				model, refund = model.Refund(e, now)
				e.Refunded = e.Refunded || refund != nil
				extensions[giving.Reference] = e
				require.NoError(t, c.TakeBack(c.t.Context(), postgres.TakingBack{
					ProjectID: 1,
					UserID:    user,
					Reference: giving.Reference,
					RefundID:  fmt.Sprint("r", i),
					Grants:    giving.Grants,
				}, now))
			case what == "revoke":
				var revoked *subscriptions.Revocation
				model, revoked = model.Revoke(now)
				_, _, err := c.ChangeInventory(c.t.Context(), revocation(user), now)
				require.Equal(t, revoked == nil, err != nil, "%v", err)
			case what == "settle" && bought != nil:
				settled, err := c.SettleSubscription(c.t.Context(), contract.SubscriptionInput{
					ProjectID: 1,
					UserID:    user,
					SKU:       "pass",
				}, now)
				require.NoError(t, err)
				require.Equal(t, model.Status(now), settled.Status)
			}
			folded, err := subscriptions.Fold(c.ledger(t, user))
			require.NoError(t, err)
			require.Equal(t, model, folded)
			for _, at := range []time.Time{now, now.Add(24 * time.Hour)} {
				e, err := checks.Check(c.t.Context(), 1, user, "pass", at)
				require.NoError(t, err)
				require.Equal(t, model.Status(at), e.Status)
				require.Equal(t, model.ExpiresAt == nil, e.ExpiresAt == nil)
				require.True(t, model.ExpiresAt == nil || model.ExpiresAt.Equal(*e.ExpiresAt), "%s %s", model.ExpiresAt, e.ExpiresAt)
			}
		}
	})
	c.requireClean(monday.AddDate(-1, 0, 0))
}

func revocation(userID string) postgres.InventoryCall {
	return postgres.InventoryCall{ProjectID: 1, Action: inventory.ActionRevoke, Source: postgres.SourceServer, Zone: time.UTC,
		Requests: []inventory.Request{{User: inventory.User{ID: userID}, Items: []inventory.RequestedItem{{SKU: "pass", Quantity: 1}}}}}
}

var passOf = contract.SubscriptionInput{ProjectID: 1, UserID: player, SKU: "pass"}

func (c *chest) settle(now time.Time) contract.SettledSubscription {
	c.t.Helper()
	settled, err := c.SettleSubscription(c.t.Context(), passOf, now)
	require.NoError(c.t, err)
	return settled
}

func (c *chest) requireNotices(ending, expired int) {
	c.t.Helper()
	gotEnding, gotExpired := testkit.Notices(c.t, c.DB, player)
	require.Equal(c.t, [2]int{ending, expired}, [2]int{gotEnding, gotExpired})
}

// However often and late it is settled: one reminder and one end for each expiry.
func TestSettleSubscriptionTellsOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	week := subscriptions.Period{Unit: subscriptions.Week, Value: 1}
	require.NoError(t, c.GiveGrants(t.Context(), passGrant(player, "order/1", 1, week), monday))
	end := monday.AddDate(0, 0, 7)
	remindAt := end.Add(-24 * time.Hour) // the project's setting unless changed
	require.Equal(t, contract.SettledSubscription{Status: "active", Until: &remindAt}, c.settle(monday))
	c.requireNotices(0, 0)
	for range 2 {
		require.Equal(t, contract.SettledSubscription{Status: "active", Until: &end}, c.settle(remindAt))
		c.requireNotices(1, 0)
	}
	for range 2 {
		require.Equal(t, contract.SettledSubscription{Status: "expired"}, c.settle(end))
		c.requireNotices(1, 1)
	}
	var detail string
	require.NoError(t, c.Pool().QueryRow(t.Context(), `SELECT detail::text FROM notifications WHERE kind = 'subscription_expired'`).Scan(&detail))
	require.JSONEq(t, `{"sku":"pass","name":"","expires_at":"2026-01-12T12:00:00Z"}`, detail)

	require.NoError(t, c.GiveGrants(t.Context(), passGrant(player, "order/2", 1, week), end.Add(time.Hour)))
	again := end.Add(time.Hour).AddDate(0, 0, 7)
	require.Equal(t, contract.SettledSubscription{Status: "expired"}, c.settle(again.Add(time.Hour)))
	c.requireNotices(1, 2)
	_, _, err := c.ChangeInventory(t.Context(), revocation(player), again.Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, contract.SettledSubscription{Status: "none"}, c.settle(again.Add(3*time.Hour)))
	c.requireNotices(1, 2)
	c.requireClean(again.Add(3 * time.Hour))

	_, err = c.SettleSubscription(t.Context(), contract.SubscriptionInput{ProjectID: 1, UserID: "nobody", SKU: "pass"}, monday)
	require.ErrorIs(t, err, postgres.ErrNotFound)
}

// Twenty at once, while it is extended: told once, or not at all.
func TestSettleSubscriptionAtOnce(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	week := subscriptions.Period{Unit: subscriptions.Week, Value: 1}
	require.NoError(t, c.GiveGrants(t.Context(), passGrant(player, "order/1", 1, week), monday))
	end := monday.AddDate(0, 0, 7)
	errs := make([]error, 21)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { _, errs[i] = c.SettleSubscription(t.Context(), passOf, end) })
	}
	all.Go(func() { errs[20] = c.GiveGrants(t.Context(), passGrant(player, "order/2", 1, week), end) })
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	_, expired := testkit.Notices(t, c.DB, player)
	require.LessOrEqual(t, expired, 1)
	require.Equal(t, end.AddDate(0, 0, 7), c.expiry("pass").UTC())
}

func TestLeaseSubscriptions(t *testing.T) {
	t.Parallel()
	c := newChest(t)
	lease := func(now time.Time) []postgres.SubscriptionChange {
		t.Helper()
		changes, err := c.LeaseSubscriptions(t.Context(), 30*time.Second, 2*time.Minute, 10, now)
		require.NoError(t, err)
		for i := range changes {
			if changes[i].Until != nil {
				changes[i].Until = new(changes[i].Until.UTC())
			}
		}
		return changes
	}
	mark := func(changes []postgres.SubscriptionChange, now time.Time) {
		t.Helper()
		require.NoError(t, c.MarkSubscriptionsTold(t.Context(), changes, now))
	}
	week := subscriptions.Period{Unit: subscriptions.Week, Value: 1}
	require.NoError(t, c.GiveGrants(t.Context(), passGrant(player, "order/1", 1, week), monday))
	end := monday.AddDate(0, 0, 7)
	remindAt := end.Add(-24 * time.Hour)
	first := lease(monday)
	require.Equal(t, []postgres.SubscriptionChange{{Input: passOf, Until: &remindAt, Changes: 1}}, first)
	require.Empty(t, lease(monday.Add(29*time.Second)))
	require.Len(t, lease(monday.Add(30*time.Second)), 1) // whoever had it died

	// What changes while the first change is told is told too.
	require.NoError(t, c.GiveGrants(t.Context(), passGrant(player, "order/2", 1, week), monday.Add(time.Minute)))
	mark(first, monday.Add(time.Minute))
	second := lease(monday.Add(time.Minute))
	require.Equal(t, 2, second[0].Changes)
	mark(second, monday.Add(time.Minute))
	end = end.AddDate(0, 0, 7)
	require.Empty(t, lease(end.Add(-time.Second)))

	// An end that nobody has told is found, again and again, ever more rarely; one that was told is not.
	require.Empty(t, lease(end.Add(119*time.Second)))
	late := lease(end.Add(2 * time.Minute))
	require.Equal(t, []postgres.SubscriptionChange{{Input: passOf, Changes: 2}}, late)
	mark(late, end.Add(2*time.Minute))
	require.Empty(t, lease(end.Add(4*time.Minute-time.Second)))
	require.Len(t, lease(end.Add(4*time.Minute)), 1)
	c.settle(end.Add(4 * time.Minute))
	require.Empty(t, lease(end.Add(24*time.Hour)))

	_, _, err := c.ChangeInventory(t.Context(), revocation(player), end.Add(24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, []postgres.SubscriptionChange{{Input: passOf, Changes: 3}}, lease(end.Add(24*time.Hour)))
}

func TestVerifyFindsDamageOfInventory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ rule, damage string }{
		"quantity":     {"what users own is what its entries sum to", `UPDATE inventory SET quantity = quantity + 1 WHERE kind = 'consumable'`},
		"no holding":   {"what users own is what its entries sum to", `DELETE FROM inventory WHERE sku = 'potion'`},
		"key":          {"what users own is what its entries sum to", `UPDATE game_keys SET state = 'revoked' WHERE state = 'given'`},
		"expiry":       {"subscriptions are what their ledgers add up to", `UPDATE subscriptions SET expires_at = expires_at + interval '1 second'`},
		"start":        {"subscriptions are what their ledgers add up to", `UPDATE subscriptions SET started_at = started_at + interval '1 second'`},
		"no row":       {"subscriptions are what their ledgers add up to", `DELETE FROM subscriptions`},
		"not owned":    {"subscriptions are what their ledgers add up to", `UPDATE inventory SET quantity = 0 WHERE sku = 'pass'`},
		"untold":       {"ends of subscriptions are told in time, once", `UPDATE subscriptions SET expires_at = now() - interval '1 year', started_at = now() - interval '2 years'`},
		"told twice":   {"ends of subscriptions are told in time, once", `INSERT INTO notifications (project_id, user_id, kind, detail, created_at) SELECT 1, 'buyer', 'subscription_expired', '{"sku": "pass"}', now() FROM generate_series(1, 2)`},
		"wrong ledger": {"subscriptions are what their ledgers add up to", `INSERT INTO subscription_entries (project_id, user_id, sku, kind, entry, at) VALUES (1, 'buyer', 'pass', 'revoked', '{"revoked": {}}', now())`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChest(t)
			c.keys()
			now := time.Now()
			require.NoError(t, c.GiveGrants(t.Context(), orderOfAll(), now))
			testkit.RequireClean(t, c.DB)
			testkit.Exec(t, c.DB, test.damage)
			checks, err := c.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Hour}, now)
			require.NoError(t, err)
			broken := map[string][]string{}
			for _, check := range checks {
				broken[check.Rule] = check.Broken
			}
			require.NotEmpty(t, broken[test.rule], "%v", broken)
		})
	}
}
