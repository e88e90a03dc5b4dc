package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
)

func unauthorized(t *testing.T, s *shop) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+"/api/v1/users/rich", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer nobody")
	return r
}

func requireOverloaded(t *testing.T, a answer) {
	t.Helper()
	require.Equal(t, 503, a.status, "%s", a.body)
	require.Equal(t, "overloaded", a.code())
	require.Equal(t, "1", a.header.Get("Retry-After"))
}

func TestTooManyInFlight(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.MaxInFlight = 2 })
	require.True(t, s.server.working.enter())
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/users/rich", "").status)
	require.True(t, s.server.working.enter())
	before := s.written()
	requireOverloaded(t, s.call("storefront", "POST", "/api/v1/purchases", buy))
	requireOverloaded(t, s.do(unauthorized(t, s)))
	require.Equal(t, 200, s.call("", "GET", "/readyz", "").status, "probes get through")
	require.Equal(t, before, s.written())
	require.Contains(t, string(s.call("", "GET", "/metrics", "").body), "quickpass_http_requests_in_flight 2")
	s.server.working.leave()
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", buy).status)
	require.EqualValues(t, 1, s.server.working.inside.Load(), "everybody who entered has left")
}

// Who waits for an order does not keep others from being served, and is bounded apart.
func TestWaitsAreCountedApart(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.MaxInFlight, o.MaxWaiting = 1, 1 })
	offered := make(chan contract.PurchaseInput, 2)
	s.starter.do = func(in contract.PurchaseInput) { offered <- in }
	waited := make(chan answer, 1)
	go func() { waited <- s.call("storefront", "POST", "/api/v1/purchases", buy, header("Prefer", "wait=30")) }()
	in := <-offered
	require.Eventually(t, func() bool { return s.server.waiting.inside.Load() == 1 && s.server.working.inside.Load() == 0 }, 10*time.Second, time.Millisecond)

	a := s.call("storefront", "POST", "/api/v1/purchases", buy, header("Prefer", "wait=30"))
	require.Equal(t, 202, a.status, "accepted, without the wait")
	require.Empty(t, a.header.Get("Preference-Applied"))
	requireOverloaded(t, s.call("storefront", "GET", "/api/v1/orders/"+in.OrderID+"/stream", ""))
	s.capture(in)
	require.Equal(t, 200, (<-waited).status)
	require.Eventually(t, func() bool { return s.server.waiting.inside.Load() == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/orders/"+in.OrderID+"/stream", "").status)
}

// A request gives up waiting for a connection long before its own time is up, which would be an hour.
func TestDatabaseConnectionsBusy(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.DatabaseWait, o.RequestTimeout = 50*time.Millisecond, time.Hour })
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/users/rich", "").status)
	pool := s.db.Pool()
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		t.Cleanup(conn.Release)
	}
	recorder := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/v1/users/rich", nil)
	r.Header.Set("Authorization", "Bearer key-of-storefront")
	s.server.Handler().ServeHTTP(recorder, r)
	require.Equal(t, 503, recorder.Code)
	require.Equal(t, "1", recorder.Header().Get("Retry-After"))
}
