package postgres_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// edit changes the shop's product.
func (s *shop) edit(change func(*store.Product)) {
	s.t.Helper()
	offer, err := s.GetProduct(s.t.Context(), project, "credits-500")
	require.NoError(s.t, err)
	change(&offer.Product)
	_, err = s.UpdateProduct(s.t.Context(), project, offer.Product, "test", s.clock)
	require.NoError(s.t, err)
}

func (s *shop) addVIP(id string, coins int64) {
	s.t.Helper()
	s.addUser(id, coins)
	vip := true
	_, _, err := s.PutUser(s.t.Context(), project, id, postgres.UserEdit{VIP: &vip}, s.clock)
	require.NoError(s.t, err)
}

func (s *shop) try(p postgres.Purchase) (postgres.Reserved, error) {
	return s.ReservePurchase(s.t.Context(), p, s.clock)
}

func TestVIPReserveIsNeverSoldToOthers(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, 0)
	s.edit(func(p *store.Product) { p.Limits.VIPReserve = 5 })
	for i := range 60 {
		s.addUser(fmt.Sprint("u", i), 100)
	}
	for i := range 10 {
		s.addVIP(fmt.Sprint("vip", i), 100)
	}
	var others, vips tally
	s.concurrently(60, func(ctx context.Context, i int) error {
		_, err := s.ReservePurchase(ctx, s.purchase(fmt.Sprint("u", i)), s.clock)
		return others.count(err)
	})
	require.Equal(t, []int64{15, 45}, []int64{others.of(""), others.of("out_of_stock")}, "others: sold, refused")
	s.requireStock(5)
	s.concurrently(10, func(ctx context.Context, i int) error {
		_, err := s.ReservePurchase(ctx, s.purchase(fmt.Sprint("vip", i)), s.clock)
		return vips.count(err)
	})
	require.Equal(t, []int64{5, 5}, []int64{vips.of(""), vips.of("out_of_stock")}, "VIPs: sold, refused")
	s.requireStock(0)
	s.requireClean()
}

func TestSalesCapOfTenSellsTen(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 0)
	s.edit(func(p *store.Product) { p.Limits.PerDay = 10 })
	for i := range 200 {
		s.addUser(fmt.Sprint("u", i), 200)
	}
	sell := func() (sold, refused int64) {
		var answers tally
		s.concurrently(200, func(ctx context.Context, i int) error {
			_, err := s.ReservePurchase(ctx, s.purchase(fmt.Sprint("u", i)), s.clock)
			return answers.count(err)
		})
		return answers.of(""), answers.of("sales_limit_reached")
	}
	sold, refused := sell()
	require.Equal(t, []int64{10, 190}, []int64{sold, refused})
	s.clock = s.clock.Add(24 * time.Hour)
	sold, _ = sell()
	require.EqualValues(t, 10, sold, "the next day has its own ten")
	s.requireStock(980)
	s.clock = s.clock.Add(-24 * time.Hour) // nothing has ended the orders of yesterday
	s.requireClean()
}

func TestCanceledOrderGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	s.edit(func(p *store.Product) { p.Limits = store.Limits{PerUser: 2, PerDay: 2, PerWeek: 2} })
	first := s.reserve("buyer")
	s.reserve("buyer")
	_, err := s.try(s.purchase("buyer"))
	requireRefusal(t, store.PurchaseLimitReached, err)
	s.release(first, 1)
	s.reserve("buyer")
	s.requireClean()
}

func TestLimitIsReachedByTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	s.edit(func(p *store.Product) { p.Limits.PerUserPerDay = 3 })
	var answers tally
	s.concurrently(20, func(ctx context.Context, _ int) error {
		_, err := s.ReservePurchase(ctx, s.purchase("buyer"), s.clock)
		return answers.count(err)
	})
	require.Equal(t, []int64{3, 17}, []int64{answers.of(""), answers.of("purchase_limit_reached")})
	s.requireClean()
}

func TestLimitPerDayEndsAtMidnightOfItsZone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	s.edit(func(p *store.Product) {
		p.Limits.PerUserPerDay = 1
		p.Schedule.TimeZone = "Asia/Kolkata"
	})
	s.clock = time.Date(2026, 11, 22, 18, 29, 59, 0, time.UTC) // 23:59:59 there
	s.reserve("buyer")
	_, err := s.try(s.purchase("buyer"))
	requireRefusal(t, store.PurchaseLimitReached, err)
	s.clock = s.clock.Add(time.Second)
	s.reserve("buyer")
}

func TestOnePurchaseAMinute(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	policy := store.Policy{PurchaseInterval: time.Minute}
	purchase := func() postgres.Purchase {
		p := s.purchase("buyer")
		p.Policy = policy
		return p
	}
	var answers tally
	s.concurrently(10, func(ctx context.Context, _ int) error {
		_, err := s.ReservePurchase(ctx, purchase(), s.clock)
		return answers.count(err)
	})
	require.Equal(t, []int64{1, 9}, []int64{answers.of(""), answers.of("too_frequent")})
	bought := s.clock
	s.clock = bought.Add(time.Minute - time.Microsecond)
	_, err := s.try(purchase())
	requireRefusal(t, store.TooFrequent, err)
	s.clock = bought.Add(time.Minute)
	_, err = s.try(purchase())
	require.NoError(t, err, "the exact minute is allowed")
}

func TestAddressesAndDevices(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	testkit.Exec(t, s.DB, `INSERT INTO denied_addresses VALUES (1, '203.0.113.0/24', 'fraud', 'test', now())`)
	policy := store.Policy{SharedDevice: 2, ConfirmWithin: 10 * time.Minute}
	from := func(user, address, device string) (postgres.Reserved, error) {
		p := s.purchase(user)
		p.Policy, p.DeviceID, p.Address = policy, device, netip.MustParseAddr(address)
		return s.try(p)
	}
	_, err := from("buyer", "203.0.113.255", "d1")
	requireRefusal(t, store.AddressDenied, err)
	_, err = from("buyer", "203.0.114.0", "d1")
	require.NoError(t, err)

	s.addUser("second", 1_000)
	s.addUser("third", 1_000)
	second, err := from("second", "198.51.100.1", "d1")
	require.NoError(t, err)
	require.Nil(t, second.ConfirmBy)
	third, err := from("third", "198.51.100.1", "d1")
	require.NoError(t, err)
	require.NotNil(t, third.ConfirmBy, "the third user of a device must confirm")
	order, err := s.GetOrder(t.Context(), project, third.OrderID)
	require.NoError(t, err)
	require.Equal(t, store.AwaitingConfirmation, order.Status)
	require.Equal(t, 60, order.Risk.Score)
	require.Len(t, order.Risk.Reasons, 1)
	s.requireClean()
}

func TestConfirmation(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	large := func() string {
		p := s.purchase("buyer")
		p.Quantity, p.Policy = 10, store.Policy{LargePurchase: 1_000, ConfirmWithin: 10 * time.Minute}
		reserved, err := s.try(p)
		require.NoError(t, err)
		require.Equal(t, s.clock.Add(10*time.Minute), *reserved.ConfirmBy)
		return reserved.OrderID
	}
	give := func(order string) store.OrderStatus {
		status, err := s.ReleaseOrder(t.Context(), contract.ReleaseInput{ProjectID: project, OrderID: order, Attempt: 1,
			Reason: store.Reason{Code: store.NotConfirmed}, Expected: store.AwaitingConfirmation}, s.clock)
		require.NoError(t, err)
		return status
	}
	confirmed, late := large(), large()
	s.requireWallet("buyer", 8_000, 2_000)
	require.NoError(t, s.ConfirmOrder(t.Context(), project, confirmed, s.clock.Add(10*time.Minute-time.Second)))
	require.ErrorIs(t, s.ConfirmOrder(t.Context(), project, confirmed, s.clock), postgres.ErrConflict)
	require.ErrorIs(t, s.ConfirmOrder(t.Context(), project, late, s.clock.Add(10*time.Minute)), postgres.ErrConflict)
	require.Equal(t, store.Processing, give(confirmed), "a confirmed order is not given back by the deadline")
	require.Equal(t, store.Canceled, give(late))
	require.Equal(t, store.Completed, s.capture(confirmed, 1))
	s.requireWallet("buyer", 9_000, 0)
	s.requireClean()
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	s.edit(func(p *store.Product) {
		p.Requires = store.Requirements{VIP: true, Attributes: map[string]string{"level": "7"}}
	})
	_, err := s.try(s.purchase("buyer"))
	requireRefusal(t, store.NotEligible, err)
	vip := true
	_, _, err = s.PutUser(t.Context(), project, "buyer", postgres.UserEdit{VIP: &vip}, s.clock)
	require.NoError(t, err)
	_, err = s.try(s.purchase("buyer"))
	requireRefusal(t, store.NotEligible, err)
	_, _, err = s.PutUser(t.Context(), project, "buyer", postgres.UserEdit{Attributes: []byte(`{"level": 7}`)}, s.clock)
	require.NoError(t, err)
	s.reserve("buyer")
}
