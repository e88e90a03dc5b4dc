package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const hour = time.Hour

// newPerkShop sells an hour of a multiplier.
func newPerkShop(t *testing.T, kind string) *shop {
	s := newShop(t, 1_000, 100_000)
	s.edit(func(p *store.Product) { p.Kind, p.ValiditySeconds = kind, 3600 })
	return s
}

// give completes a purchase and returns its order.
func (s *shop) give(user, sku string, quantity int64) string {
	s.t.Helper()
	p := s.purchase(user)
	p.SKU, p.Quantity = sku, quantity
	reserved, err := s.try(p)
	require.NoError(s.t, err)
	require.Equal(s.t, store.Completed, s.capture(reserved.OrderID, 1))
	return reserved.OrderID
}

// requirePerks compares a user's perks, oldest first, with starts and ends after the shop's first moment.
func (s *shop) requirePerks(user string, begin time.Time, want ...[2]time.Duration) {
	s.t.Helper()
	perks, err := s.Perks(s.t.Context(), project, user, postgres.PerkFilter{Limit: 100})
	require.NoError(s.t, err)
	got := make([][2]time.Duration, len(perks))
	for i, perk := range perks {
		got[len(perks)-1-i] = [2]time.Duration{perk.StartsAt.Sub(begin), perk.ExpiresAt.Sub(begin)}
	}
	require.Equal(s.t, want, got)
}

func (s *shop) told(user string) (ends int) {
	s.t.Helper()
	feed, err := s.Notifications(s.t.Context(), project, user, 0, 200)
	require.NoError(s.t, err)
	for _, entry := range feed {
		if entry.Kind == "perk_ended" {
			ends++
		}
	}
	return ends
}

func (s *shop) isVIP(user string) bool {
	s.t.Helper()
	eligibility, err := s.ReadEligibility(s.t.Context(), project, user, nil, s.clock)
	require.NoError(s.t, err)
	return eligibility.Buyer.VIP
}

func TestPerkIsExtendedFromItsEndWhileActive(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	begin := s.clock
	s.give("buyer", "credits-500", 1)
	s.clock = begin.Add(hour - time.Microsecond) // the last moment
	s.give("buyer", "credits-500", 2)
	s.requirePerks("buyer", begin, [2]time.Duration{0, hour}, [2]time.Duration{hour, 3 * hour})
	s.clock = begin.Add(3 * hour) // over: the end is exclusive
	s.give("buyer", "credits-500", 1)
	s.clock = begin.Add(10 * hour) // long over
	s.give("buyer", "credits-500", 1)
	s.requirePerks("buyer", begin, [2]time.Duration{0, hour}, [2]time.Duration{hour, 3 * hour}, [2]time.Duration{3 * hour, 4 * hour}, [2]time.Duration{10 * hour, 11 * hour})
	s.requireClean()
}

// What the product asks for when it is bought is what is delivered, whatever becomes of the product.
func TestPerkAndParametersAreFrozen(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	s.edit(func(p *store.Product) { p.Integration.Parameters = []byte(`{"factor":2}`) })
	order := s.reserve("buyer")
	s.edit(func(p *store.Product) {
		p.Kind, p.ValiditySeconds, p.Integration.Parameters = store.KindCredits, 0, nil
	})
	reservation, err := s.FindReservation(t.Context(), order)
	require.NoError(t, err)
	require.JSONEq(t, `{"factor":2}`, string(reservation.Delivery.Parameters))
	s.capture(order, 1)
	s.requirePerks("buyer", s.clock, [2]time.Duration{0, hour})
	s.requireClean()
}

func TestActivePerksByTimeAlone(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	begin := s.clock
	first, second := s.give("buyer", "credits-500", 1), s.give("buyer", "credits-500", 1)
	for at, want := range map[time.Duration][]string{-1: nil, 0: {first}, hour - 1: {first}, hour: {second}, 2*hour - time.Microsecond: {second}, 2 * hour: nil} {
		now := begin.Add(at).Truncate(time.Microsecond)
		perks, err := s.Perks(t.Context(), project, "buyer", postgres.PerkFilter{ActiveAt: &now, Limit: 10})
		require.NoError(t, err)
		var got []string
		for _, perk := range perks {
			got = append(got, perk.OrderID)
		}
		require.Equal(t, want, got, "%s", at)
	}
}

func TestPerksOfOtherProductsAndUsersRunSideBySide(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	begin := s.clock
	s.addProduct("other", 100)
	offer, err := s.GetProduct(t.Context(), project, "credits-500")
	require.NoError(t, err)
	offer.Product.SKU = "other"
	_, err = s.UpdateProduct(t.Context(), project, offer.Product, "test", s.clock)
	require.ErrorIs(t, err, postgres.ErrConflict) // the version of the one is not that of the other
	offer.Product.Version = 0
	_, err = s.UpdateProduct(t.Context(), project, offer.Product, "test", s.clock)
	require.NoError(t, err)
	s.addUser("second", 1_000)
	s.give("buyer", "credits-500", 1)
	s.give("buyer", "other", 1)
	s.give("second", "other", 1)
	s.requirePerks("buyer", begin, [2]time.Duration{0, hour}, [2]time.Duration{0, hour})
	s.requirePerks("second", begin, [2]time.Duration{0, hour})
	s.requireClean()
}

// Twenty orders captured at the same moment follow each other without a gap, whoever is first.
func TestPerksOfOrdersAtOnceFollowEachOther(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{store.KindMultiplier, store.KindVIPStatus} {
		s := newPerkShop(t, kind)
		begin := s.clock
		orders := make([]string, 20)
		for i := range orders {
			orders[i] = s.reserve("buyer")
		}
		s.concurrently(40, func(_ context.Context, i int) error { // each twice: a repeat of a capture gives nothing
			s.capture(orders[i%20], 1)
			return nil
		})
		perks, err := s.Perks(t.Context(), project, "buyer", postgres.PerkFilter{Limit: 100})
		require.NoError(t, err)
		starts := map[time.Duration]bool{}
		for _, perk := range perks {
			require.Equal(t, hour, perk.ExpiresAt.Sub(perk.StartsAt))
			starts[perk.StartsAt.Sub(begin)] = true
		}
		require.Len(t, starts, 20)
		for i := range 20 {
			require.True(t, starts[time.Duration(i)*hour], "%d", i)
		}
		user, err := s.GetUser(t.Context(), "buyer")
		require.NoError(t, err)
		if kind == store.KindVIPStatus {
			require.WithinDuration(t, begin.Add(20*hour), *user.VIPUntil, 0)
		} else {
			require.Nil(t, user.VIPUntil)
		}
		s.requireClean()
	}
}

func TestReplayedOrderExtendsOnce(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindMultiplier)
	order := s.reserve("buyer")
	begin := s.clock
	s.release(order, 1)
	s.requirePerks("buyer", begin, [][2]time.Duration{}...)
	s.clock = begin.Add(30 * time.Minute)
	_, err := s.ReplayOrder(t.Context(), postgres.Replay{ProjectID: project, OrderID: order, Actor: "test", Reason: "test"}, s.clock)
	require.NoError(t, err)
	require.Equal(t, store.Processing, s.capture(order, 1), "the first attempt is over")
	require.Equal(t, store.Completed, s.capture(order, 2))
	require.Equal(t, store.Completed, s.capture(order, 2), "a repeat changes nothing")
	s.requirePerks("buyer", begin, [2]time.Duration{hour / 2, 3 * hour / 2})
	s.requireClean()
}

// VIP status is one privilege, whichever product gave it, and it is one in this shop too.
func TestVIPStatusMakesVIPUntilItEnds(t *testing.T) {
	t.Parallel()
	s := newPerkShop(t, store.KindVIPStatus)
	begin := s.clock
	s.addProduct("for-vips", 1)
	_, _, err := s.AddProduct(t.Context(), postgres.NewProduct{ProjectID: project, Actor: "test", Product: vipDay()}, s.clock)
	require.NoError(t, err)
	offer, err := s.GetProduct(t.Context(), project, "for-vips")
	require.NoError(t, err)
	offer.Product.Requires.VIP = true
	_, err = s.UpdateProduct(t.Context(), project, offer.Product, "test", s.clock)
	require.NoError(t, err)
	wanted := s.purchase("buyer")
	wanted.SKU = "for-vips"
	_, err = s.try(wanted)
	requireRefusal(t, store.NotEligible, err)

	s.give("buyer", "credits-500", 1)
	s.give("buyer", "vip-day", 1)
	s.requirePerks("buyer", begin, [2]time.Duration{0, hour}, [2]time.Duration{hour, 25 * hour})
	s.clock = begin.Add(25*hour - time.Microsecond)
	require.True(t, s.isVIP("buyer"))
	s.clock = begin.Add(25 * hour)
	require.False(t, s.isVIP("buyer"), "no timer has fired, and none is needed")
	_, err = s.try(wanted)
	requireRefusal(t, store.NotEligible, err)
	s.give("buyer", "credits-500", 1)
	_, err = s.try(wanted)
	require.NoError(t, err)
	s.requireClean()
}

func vipDay() store.Product {
	return store.Product{
		SKU:             "vip-day",
		Name:            "a day of VIP",
		Kind:            store.KindVIPStatus,
		ValiditySeconds: 86_400,
		PriceCoins:      100,
		Status:          store.Published,
		Stock:           store.StockSettings{Initial: 10},
		Integration:     store.Integration{ResourceType: "status", Endpoint: store.DefaultEndpoint, Amount: amount("1"), Currency: "vip"},
		Delivery:        store.DefaultDelivery(),
	}
}
