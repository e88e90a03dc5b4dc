package api

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// BenchmarkValidatePurchase measures what holding POST /purchases to openapi.yaml costs: parameters, strict
// JSON, schema, request hash, and the decoding of the body.
func BenchmarkValidatePurchase(b *testing.B) {
	operations, err := operationsOf(testDoc())
	require.NoError(b, err)
	op := operations["POST /api/v1/purchases"]
	e := echo.New()
	const body = `{"user_id":"12345","sku":"credits-500","quantity":1,"client":{"ip":"203.0.113.7","device_id":"a1b2c3"}}`
	r := httptest.NewRequest("POST", "/api/v1/purchases", strings.NewReader(body))
	r.Header.Set("Idempotency-Key", "7c1d6f2e-order-1")
	r.Header.Set("Content-Type", "application/json")
	c := e.NewContext(r, httptest.NewRecorder())
	b.Run("parameters", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, validateParameters(c, op))
		}
	})
	b.Run("body", func(b *testing.B) {
		for b.Loop() {
			value, err := validateBody(op, "application/json", []byte(body))
			require.NoError(b, err)
			_, err = idempotencyOf(r, "k", value)
			require.NoError(b, err)
		}
	})
}

// serveOne answers one request in process, without a network.
func (s *shop) serveOne(method, path, body string, changes ...with) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer key-of-storefront")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range changes {
		change(r)
	}
	recorder := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(recorder, r)
	return recorder
}

// BenchmarkPurchase is POST /purchases whole, on the real database, one caller: what anything on its path costs.
func BenchmarkPurchase(b *testing.B) {
	for name, change := range map[string]func(*Options){
		"no limits": func(*Options) {},
		"limits":    func(o *Options) { o.RatePerKey, o.RatePerUser = 1_000_000, 1_000_000 },
	} {
		b.Run(name, func(b *testing.B) {
			s := newShop(b, change)
			_, _, err := s.db.AddProduct(b.Context(), postgres.NewProduct{
				ProjectID: 1,
				Product:   product("many", 1_000_000),
				Actor:     "test",
			}, time.Now())
			require.NoError(b, err)
			testkit.AddUser(s.t, s.db, "buyer", 1_000_000_000)
			b.ReportAllocs()
			for b.Loop() {
				require.Equal(b, 202, s.serveOne("POST", "/api/v1/purchases", `{"user_id":"buyer","sku":"many"}`).Code)
			}
		})
	}
}

// BenchmarkCatalog is GET /products whole, with 20 products: from the database for each request, from memory, and
// when the client has it.
func BenchmarkCatalog(b *testing.B) {
	s := newShop(b)
	for i := range 19 {
		_, _, err := s.db.AddProduct(b.Context(), postgres.NewProduct{
			ProjectID: 1,
			Product:   product(fmt.Sprint("p", i), 50),
			Actor:     "test",
		}, time.Now())
		require.NoError(b, err)
	}
	get := func(b *testing.B, status int, changes ...with) string {
		b.ReportAllocs()
		var tag string
		for b.Loop() {
			recorder := s.serveOne("GET", "/api/v1/products", "", changes...)
			require.Equal(b, status, recorder.Code)
			tag = recorder.Header().Get("ETag")
		}
		return tag
	}
	b.Run("database", func(b *testing.B) { get(b, 200) })
	s.listening()
	var tag string
	b.Run("memory", func(b *testing.B) { tag = get(b, 200) })
	b.Run("not modified", func(b *testing.B) { get(b, 304, header("If-None-Match", tag)) })
}

// BenchmarkLimiter is one request's share of its limits: of leases taken on the real database, and of refusing.
func BenchmarkLimiter(b *testing.B) {
	db := testkit.Database(b)
	for name, count := range map[string]int{"passes": 1_000_000_000, "1000 a second": 1000} {
		b.Run(name, func(b *testing.B) {
			l, err := newLimiter(name, count, time.Second, db, slog.New(slog.DiscardHandler))
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				l.take(b.Context(), "k")
			}
		})
	}
}

// BenchmarkEntitlement is the check that a game makes on every action, whole, by its server and by the user,
// on the real database; and what a handler that does nothing costs: GET /healthz. All callers at once, in
// process.
func BenchmarkEntitlement(b *testing.B) {
	c := newChest(b)
	require.Equal(b, 200, c.give("pass", 1).status)
	bearer := header("Authorization", "Bearer "+token(b, "u", func(claims jwt.MapClaims) { claims["exp"] = c.clock().Add(time.Hour).Unix() }))
	for _, cell := range []struct {
		name, path string
		as         with
	}{
		{"nothing", "/healthz", byServer()},
		{"server", ofProject + "/entitlements/u/pass", byServer()},
		{"user", ofProject + "/entitlements/u/pass", bearer},
	} {
		b.Run(cell.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if recorder := c.serveOne("GET", cell.path, "", cell.as); recorder.Code != 200 {
						b.Error(recorder.Code, recorder.Body)
						return
					}
				}
			})
		})
	}
}
