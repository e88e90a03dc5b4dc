package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestEndOfPerkIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	begin := s.clock
	end := func(order string, at time.Duration) *time.Time {
		until, err := s.EndPerk(t.Context(), order, begin.Add(at))
		require.NoError(t, err)
		return until
	}
	first := s.give("buyer", "credits-500", 1)
	s.clock = begin.Add(hour / 2)
	second := s.give("buyer", "credits-500", 1)
	require.WithinDuration(t, begin.Add(2*hour), *end(first, hour), 0, "it was extended")
	require.Nil(t, end(second, 2*hour), "the extension has no run of its own")
	require.Zero(t, s.told("buyer"))
	s.concurrently(10, func(context.Context, int) error {
		_, err := s.EndPerk(t.Context(), first, begin.Add(2*hour))
		return err
	})
	require.Equal(t, 1, s.told("buyer"))

	// Bought anew after the end, before the end of the next is told: the old run finds nothing to do.
	s.clock = begin.Add(3 * hour)
	third := s.give("buyer", "credits-500", 1)
	s.clock = begin.Add(5 * hour)
	fourth := s.give("buyer", "credits-500", 1)
	require.Nil(t, end(third, 5*hour))
	require.Equal(t, 1, s.told("buyer"))
	require.Nil(t, end(fourth, 6*hour))
	require.Equal(t, 2, s.told("buyer"))
	s.requireClean()
}

func TestPerkTimersAreLeased(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	begin := s.clock
	lease := func(at time.Duration) (orders []string) {
		timers, err := s.LeasePerkTimers(t.Context(), 30*time.Second, 100, begin.Add(at))
		require.NoError(t, err)
		for _, timer := range timers {
			orders = append(orders, timer.Input.OrderID)
		}
		return orders
	}
	first := s.give("buyer", "credits-500", 1)
	require.Equal(t, []string{first}, lease(0))
	require.Empty(t, lease(29*time.Second))
	require.Equal(t, []string{first}, lease(30*time.Second), "its start was never confirmed")
	require.NoError(t, s.MarkPerkTimers(t.Context(), []string{first}, begin))
	s.clock = begin.Add(time.Minute)
	s.give("buyer", "credits-500", 1)
	require.Empty(t, lease(hour), "an extension needs no start")
	require.Equal(t, []string{first}, lease(hour+10*time.Minute), "the run may be lost; a start finds it if not")
	require.NoError(t, s.MarkPerkTimers(t.Context(), []string{first}, begin.Add(hour+10*time.Minute)))
	require.Empty(t, lease(2*hour))
	_, err := s.EndPerk(t.Context(), first, begin.Add(2*hour))
	require.NoError(t, err)
	require.Empty(t, lease(100*hour), "told")
	s.clock = begin.Add(101 * hour)
	again := s.give("buyer", "credits-500", 1)
	require.Equal(t, []string{again}, lease(101*hour))
}

func TestVerifyFindsWrongPerks(t *testing.T) {
	t.Parallel()
	for damage, rule := range map[string]string{
		`UPDATE orders SET delivery = delivery - 'perk'`:                     "every order of something for a time gave it once",
		`ALTER TABLE perks DISABLE TRIGGER ALL; DELETE FROM perks`:           "every order of something for a time gave it once",
		`UPDATE entitlements SET expires_at = expires_at + interval '1 day'`: "users have what their orders gave, as long",
		`DELETE FROM entitlements`:                                           "users have what their orders gave, as long",
	} {
		s := newPerkShop(t, store.KindMultiplier)
		s.give("buyer", "credits-500", 1)
		s.requireClean()
		testkit.Exec(t, s.DB, damage)
		checks, err := s.Verify(t.Context(), postgres.VerifyOptions{Grace: hour}, s.clock)
		require.NoError(t, err)
		broken := map[string][]string{}
		for _, check := range checks {
			broken[check.Rule] = check.Broken
		}
		require.NotEmpty(t, broken[rule], "%s", damage)
	}
	s := newPerkShop(t, store.KindMultiplier)
	s.give("buyer", "credits-500", 1)
	require.ErrorContains(t, testkit.TryExec(t, s.DB, "UPDATE perks SET expires_at = expires_at + interval '1 day'"), "append-only")
}

func TestPerksArePaged(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	var orders []string
	for range 5 {
		orders = append(orders, s.give("buyer", "credits-500", 1))
	}
	page, err := s.Perks(t.Context(), project, "buyer", postgres.PerkFilter{Before: orders[3], Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{orders[2], orders[1]}, []string{page[0].OrderID, page[1].OrderID})
	require.Equal(t, "buyer multiplier credits-500", fmt.Sprint(page[0].UserID, " ", page[0].Kind, " ", page[0].SKU))
}
