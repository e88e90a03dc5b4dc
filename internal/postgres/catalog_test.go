package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// Edits tell the catalog's listeners; purchases, captures, releases and replays never do.
func TestWhoTellsTheCatalog(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 1000)
	listener, err := pgx.ConnectConfig(t.Context(), s.Pool().Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close(context.Background()) })
	_, err = listener.Exec(t.Context(), "LISTEN quickpass_catalog")
	require.NoError(t, err)
	// Notifications come in the order of the commits, so the mark is first unless something told before it.
	told := func(mark string) bool {
		testkit.Exec(t, s.DB, "NOTIFY quickpass_catalog, '"+mark+"'")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for n := 0; ; n++ {
			notification, err := listener.WaitForNotification(ctx)
			require.NoError(t, err)
			if notification.Payload == mark {
				return n > 0
			}
		}
	}

	s.capture(s.reserve("buyer"), 1)
	released := s.reserve("buyer")
	s.release(released, 1)
	_, err = s.ReplayOrder(t.Context(), postgres.Replay{ProjectID: project, OrderID: released, Actor: "test", Reason: "test"}, s.clock)
	require.NoError(t, err)
	require.False(t, told("purchases"))

	s.addProduct("new", 1)
	require.True(t, told("creation"))
	offer, err := s.GetProduct(t.Context(), project, "new")
	require.NoError(t, err)
	offer.Product.Status = store.Draft
	_, err = s.UpdateProduct(t.Context(), project, offer.Product, "test", s.clock)
	require.NoError(t, err)
	require.True(t, told("edit"))
	testkit.Exec(t, s.DB, "UPDATE stock SET restocked = restocked + 5, available = available + 5")
	require.True(t, told("restock"))
}

func TestTakeTokens(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, 0)
	take := func(want int) postgres.Grant {
		grant, err := s.TakeTokens(t.Context(), postgres.Bucket{ID: "key/k", Rate: 0.001, Burst: 10}, want)
		require.NoError(t, err)
		return grant
	}
	near := func(tokens int, left float64, grant postgres.Grant) {
		t.Helper()
		require.Equal(t, tokens, grant.Tokens)
		require.InDelta(t, left, grant.Left, 0.1)
	}
	near(4, 6, take(4))
	near(4, 2, take(4))
	near(2, 0, take(4))
	near(0, 0, take(4))
	testkit.Exec(t, s.DB, "UPDATE rate_buckets SET filled_at = filled_at - interval '3000 seconds'")
	near(3, 0, take(10))
	testkit.Exec(t, s.DB, "UPDATE rate_buckets SET filled_at = filled_at + interval '1 hour'") // another's clock
	near(0, 0, take(1))
	testkit.Exec(t, s.DB, "UPDATE rate_buckets SET filled_at = now() - interval '1 year'")
	near(1, 9, take(1))
	testkit.Exec(t, s.DB, "UPDATE rate_buckets SET tokens = 0, filled_at = now() - interval '11 minutes'")
	require.NoError(t, s.ForgetIdleBuckets(t.Context()))
	near(10, 0, take(10))
	require.NoError(t, s.ForgetIdleBuckets(t.Context()))
	near(0, 0, take(10))
}

func TestPoolWait(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, 0)
	pool := s.Pool()
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		t.Cleanup(conn.Release)
	}
	ctx := postgres.WithPoolWait(t.Context(), 20*time.Millisecond)
	_, err := s.GetUser(ctx, "buyer")
	require.True(t, postgres.Unavailable(err), "%v", err)
	require.NoError(t, ctx.Err(), "only the wait is bounded")
}
