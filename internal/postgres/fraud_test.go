package postgres_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

func TestAccountIsBlockedByRule(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 1_000)
	s.addUser("calm", 1_000)
	_, err := s.SetSuspicious(t.Context(), project, "buyer", true, "support-1", "odd", s.clock)
	require.NoError(t, err)
	policy := store.Policy{RiskyOrders: 3}
	blockRisky := func() []string {
		blocked, err := s.BlockRisky(t.Context(), policy, s.clock)
		require.NoError(t, err)
		return blocked
	}
	risky := func(n int) {
		for range n {
			s.clock = s.clock.Add(time.Minute)
			s.reserve("buyer")
			s.reserve("calm")
		}
	}
	risky(2)
	require.Empty(t, blockRisky())
	risky(1)
	var times atomic.Int64
	s.concurrently(5, func(ctx context.Context, _ int) error {
		blocked, err := s.BlockRisky(ctx, policy, s.clock)
		times.Add(int64(len(blocked)))
		return err
	})
	require.EqualValues(t, 1, times.Load())
	user, err := s.GetUser(t.Context(), "buyer")
	require.NoError(t, err)
	require.True(t, user.Blocked)
	require.Contains(t, user.BlockedReason, "risk")
	entries, err := s.Audit(t.Context(), project, postgres.AuditFilter{Actor: "rule:risk", Limit: 9})
	require.NoError(t, err)
	require.Len(t, entries, 1)

	// Support has looked: what was before does not count again.
	_, err = s.SetBlocked(t.Context(), project, "buyer", false, "support-1", "it was the family", s.clock)
	require.NoError(t, err)
	require.Empty(t, blockRisky())
	risky(2)
	require.Empty(t, blockRisky())
	risky(1)
	require.Equal(t, []string{"buyer"}, blockRisky())
	s.requireClean()
}

func TestDeniedAddresses(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	network := netip.MustParsePrefix("203.0.113.0/24")
	for _, created := range []bool{true, false} {
		_, got, err := s.DenyAddress(t.Context(), project, network, "admin-1", "fraud", s.clock)
		require.NoError(t, err)
		require.Equal(t, created, got)
	}
	_, _, err := s.DenyAddress(t.Context(), project, netip.MustParsePrefix("2001:db8::/32"), "admin-1", "fraud", s.clock)
	require.NoError(t, err)
	p := s.purchase("buyer")
	p.Address, p.DeviceID = netip.MustParseAddr("203.0.113.255"), "phone"
	_, err = s.ReservePurchase(t.Context(), p, s.clock)
	requireRefusal(t, store.AddressDenied, err)

	list, err := s.DeniedAddresses(t.Context(), project, &network, 9)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "2001:db8::/32", list[0].Address.String())
	require.ErrorIs(t, s.AllowAddress(t.Context(), project, netip.MustParsePrefix("203.0.113.0/25"), "admin-1", "x", s.clock), postgres.ErrNotFound)
	require.NoError(t, s.AllowAddress(t.Context(), project, network, "admin-1", "x", s.clock))
	_, err = s.ReservePurchase(t.Context(), p, s.clock)
	require.NoError(t, err)
	users, err := s.DeviceUsers(t.Context(), project, "phone", "", 9)
	require.NoError(t, err)
	require.Equal(t, "buyer", users[0].UserID)
}
