package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// sharedBucket is a bucket without a database, for one id; it also counts how often it was asked.
type sharedBucket struct {
	tokens float64
	asked  int
	away   bool
}

func (s *sharedBucket) TakeTokens(_ context.Context, _ postgres.Bucket, want int) (postgres.Grant, error) {
	s.asked++
	if s.away {
		return postgres.Grant{}, errors.New("away")
	}
	granted := min(want, int(s.tokens))
	s.tokens -= float64(granted)
	return postgres.Grant{Tokens: granted, Left: s.tokens}, nil
}

func testLimiter(t testing.TB, count int, window time.Duration, source tokenSource) (*limiter, *time.Time) {
	l, err := newLimiter("key", count, window, source, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	l.clock = func() time.Time { return now }
	return l, &now
}

func TestLimiterSpendsLeases(t *testing.T) {
	t.Parallel()
	shared := &sharedBucket{tokens: 100}
	l, now := testLimiter(t, 100, time.Second, shared)
	for i := range 100 {
		v := l.take(t.Context(), "k")
		require.True(t, v.ok)
		require.Equal(t, 99-i, v.remaining)
	}
	require.Equal(t, 10, shared.asked, "a tenth of a second's worth each time")
	for range 1000 {
		v := l.take(t.Context(), "k")
		require.False(t, v.ok)
		require.Equal(t, askEvery, v.retryAfter)
	}
	require.Equal(t, 11, shared.asked, "a dry bucket is not asked by each request")

	shared.tokens = 5 // fills up
	*now = now.Add(askEvery - 1)
	require.False(t, l.take(t.Context(), "k").ok)
	*now = now.Add(1)
	require.True(t, l.take(t.Context(), "k").ok)
	*now = now.Add(leaseFor) // the other 4 of the lease are lost
	require.False(t, l.take(t.Context(), "k").ok)
	require.True(t, func() bool { shared.tokens = 1; *now = now.Add(askEvery); return l.take(t.Context(), "k").ok }())
}

func TestLimiterSaysWhen(t *testing.T) {
	t.Parallel()
	shared := &sharedBucket{tokens: 0.25}
	l, now := testLimiter(t, 6, time.Minute, shared)
	require.Equal(t, 7500*time.Millisecond, l.take(t.Context(), "u").retryAfter, "three quarters of a token, one in 10 s")
	*now = now.Add(7499 * time.Millisecond)
	require.Equal(t, time.Millisecond, l.take(t.Context(), "u").retryAfter)
	require.Equal(t, 1, shared.asked)
}

func TestLimiterWithoutDatabase(t *testing.T) {
	t.Parallel()
	shared := &sharedBucket{tokens: 1, away: true}
	l, now := testLimiter(t, 5, time.Second, shared)
	for range 5 {
		require.True(t, l.take(t.Context(), "k").ok, "the process limits on its own")
	}
	require.Equal(t, 200*time.Millisecond, l.take(t.Context(), "k").retryAfter)
	require.True(t, l.take(t.Context(), "another").ok)
	require.Equal(t, 1, shared.asked, "the database is left alone for a while")
	shared.away = false
	*now = now.Add(askAgain)
	require.True(t, l.take(t.Context(), "k").ok)
	require.Equal(t, 2, shared.asked)
	require.False(t, l.take(t.Context(), "k").ok, "the shared bucket counts again")
	shared.away = true
	*now = now.Add(200 * time.Millisecond)
	require.True(t, l.take(t.Context(), "k").ok, "what has filled up since the dry bucket was last asked")
	require.False(t, l.take(t.Context(), "k").ok, "and no more")
}

// Four processes share one limit on the real database; none lets more through than the limit says.
func TestLimiterIsShared(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t)
	const count, processes = 50, 4
	var passed atomic.Int64
	start := time.Now()
	deadline := start.Add(1200 * time.Millisecond)
	var wg sync.WaitGroup
	for range processes {
		l, err := newLimiter("key", count, time.Second, testkit.OpenDatabase(t, url), slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		l.timeout = time.Minute // however busy the machine is, the database is not away
		for range 2 {
			wg.Go(func() {
				for time.Now().Before(deadline) {
					v := l.take(t.Context(), "k")
					if v.ok {
						passed.Add(1)
						continue
					}
					select { // as a client that honours Retry-After
					case <-time.After(v.retryAfter):
					case <-t.Context().Done():
					}
				}
			})
		}
	}
	wg.Wait()
	most := count + count*time.Since(start).Seconds()
	require.LessOrEqual(t, float64(passed.Load()), most)
	require.GreaterOrEqual(t, passed.Load(), int64(count+count/2), "it fills while it is used")
}

func TestRatePerKey(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.RatePerKey = 3 })
	frozen := time.Now()
	s.server.perKey.clock = func() time.Time { return frozen }
	first := s.call("storefront", "GET", "/api/v1/users/rich", "")
	require.Equal(t, 200, first.status)
	require.Equal(t, `"key";q=3;w=1`, first.header.Get("RateLimit-Policy"))
	require.Equal(t, `"key";r=2;t=1`, first.header.Get("RateLimit"))

	var refused answer
	require.Eventually(t, func() bool {
		refused = s.call("storefront", "GET", "/api/v1/users/rich", "")
		return refused.status == 429
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, "rate_limited", refused.code())
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.Equal(t, `"key";r=0;t=1`, refused.header.Get("RateLimit"))
	require.Equal(t, 429, s.call("storefront", "POST", "/api/v1/purchases", `{`).status, "before anything else is looked at")
	require.Equal(t, 200, s.call("support", "GET", "/api/v1/users/rich", "").status, "other keys have buckets of their own")
	require.Equal(t, 401, s.do(unauthorized(t, s)).status)
	require.Equal(t, 200, s.call("", "GET", "/healthz", "").status)
}

func TestRatePerUser(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.RatePerUser = 2 })
	testkit.AddUser(s.t, s.db, "other", 1000)
	for left := range 2 {
		a := s.call("storefront", "POST", "/api/v1/purchases", buy)
		require.Equal(t, 202, a.status, "%s", a.body)
		require.Equal(t, fmt.Sprintf(`"user";r=%d;t=%d`, 1-left, 30*(left+1)), a.header.Get("RateLimit"))
	}
	before := s.written()
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(t, 429, a.status)
	require.Equal(t, "rate_limited", a.code())
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err)
	require.InDelta(t, 25, seconds, 6, "a purchase every 30 s")
	require.Equal(t, before, s.written())
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", strings.Replace(buy, "rich", "other", 1)).status)
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/users/rich/wallet", "").status, "reading is not limited")
}
