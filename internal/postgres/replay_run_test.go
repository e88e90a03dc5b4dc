package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestReplayTakesABoundedNumber(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	s.failed("buyer", 1)
	testkit.Exec(t, s.DB, fmt.Sprintf(`INSERT INTO orders (order_id, project_id, user_id, sku, quantity, price_coins, status, delivery, reason_code, created_at, updated_at, finished_at)
		SELECT 'qp_x' || n, 1, 'buyer', 'credits-500', 1, 100, 'canceled', '{}', 'main_product_unreachable', now(), now(), now() FROM generate_series(1, %d) n`, store.MaxReplayOrders))
	create := func() error {
		_, _, err := s.CreateReplay(t.Context(), postgres.NewReplay{
			ProjectID:     project,
			ReplayID:      "rp_1",
			Filter:        unreachable,
			RatePerSecond: 5,
			Reason:        "r",
			Actor:         "a",
		}, s.clock)
		return err
	}
	require.ErrorIs(t, create(), postgres.ErrTooManyOrders)
	require.Zero(t, s.count("SELECT count(*) FROM replay_items"))
	testkit.Exec(t, s.DB, "UPDATE orders SET reason_code = 'not_confirmed' WHERE order_id = 'qp_x1'")
	begin := time.Now()
	require.NoError(t, create())
	t.Logf("%d orders frozen in %s", store.MaxReplayOrders, time.Since(begin))
	require.Equal(t, coinsOf(store.MaxReplayOrders), s.progress("rp_1").Total)
}

func TestSweepFindsReplaysThatWereNotSeen(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 1_000)
	s.failed("buyer", 1)
	s.newReplay("rp_1", unreachable)
	options := postgres.ReplaySweepOptions{Age: 2 * time.Second, Silence: 2 * time.Minute, Lease: 30 * time.Second, Limit: 10}
	sweep := func(after time.Duration) []contract.ReplayInput {
		found, err := s.LeaseUnseenReplays(t.Context(), options, s.clock.Add(after))
		require.NoError(t, err)
		return found
	}
	see := func(after time.Duration) {
		_, err := s.SeeReplay(t.Context(), "rp_1", s.clock.Add(after))
		require.NoError(t, err)
	}
	require.Empty(t, sweep(time.Second), "younger ones are told by the API")
	require.Equal(t, []contract.ReplayInput{{ProjectID: project, ReplayID: "rp_1", Orders: 1, Filter: unreachable, RatePerSecond: 5}}, sweep(3*time.Second))
	require.Empty(t, sweep(20*time.Second), "once a lease")
	require.Len(t, sweep(40*time.Second), 1)
	see(time.Minute)
	require.Empty(t, sweep(2*time.Minute), "it was seen")
	require.Len(t, sweep(4*time.Minute), 1, "its workflow is silent: it may have been terminated")

	require.NoError(t, s.changeReplay("rp_1", store.PauseReplay))
	require.Len(t, sweep(3*time.Second), 1, "the pause was not seen")
	see(5 * time.Second)
	require.Empty(t, sweep(time.Hour), "a paused one may be silent")
	require.NoError(t, s.changeReplay("rp_1", store.CancelReplay))
	require.Len(t, sweep(time.Hour), 1)
	s.finishReplay("rp_1")
	require.Empty(t, sweep(2*time.Hour))
}

// A replay of an order that counted for a sales cap gave its place back when it was first canceled.
func TestReplayedOrderGivesItsPlaceBackOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1_000)
	s.edit(func(p *store.Product) { p.Limits = store.Limits{PerDay: 5, PerWeek: 5} })
	order := s.failed("buyer", 1)[0]
	s.newReplay("rp_1", unreachable)
	s.replayAll("rp_1", order)
	require.Equal(t, store.Canceled, s.release(order, 2))
	require.Equal(t, coinsOf(1), s.finishReplay("rp_1").Report.Canceled)
	s.requireClean()
}

func TestVerifyFindsDamagedReplays(t *testing.T) {
	t.Parallel()
	for damage, rule := range map[string]string{
		`UPDATE replay_items SET attempt = 3`:                                     "bulk replays agree with the ledger",
		`UPDATE replay_items SET state = 'canceled'`:                              "bulk replays agree with the ledger",
		`UPDATE replays SET report = '{}'`:                                        "bulk replays report all their orders",
		`UPDATE replays SET total = 2`:                                            "bulk replays report all their orders",
		`UPDATE replay_items SET state = 'waiting', attempt = NULL`:               "bulk replays report all their orders",
		`UPDATE replays SET report = jsonb_set(report, '{completed,coins}', '1')`: "bulk replays report all their orders",
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 10, 1_000)
			order := s.failed("buyer", 1)[0]
			s.newReplay("rp_1", unreachable)
			s.replayAll("rp_1", order)
			s.capture(order, 2)
			require.Equal(t, store.ReplayCompleted, s.finishReplay("rp_1").Status)
			s.requireClean()
			testkit.Exec(t, s.DB, damage)
			checks, err := s.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, s.clock)
			require.NoError(t, err)
			broken := map[string][]string{}
			for _, check := range checks {
				broken[check.Rule] = check.Broken
			}
			require.NotEmpty(t, broken[rule], "%v", broken)
		})
	}
}
