package api

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
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
			value, err := validateBody(op, []byte(body))
			require.NoError(b, err)
			_, err = idempotencyOf(r, "k", value)
			require.NoError(b, err)
		}
	})
}

// serveOne answers one request in process, without a network.
func (s *shop) serveOne(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer key-of-storefront")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(recorder, r)
	return recorder
}

// BenchmarkPurchase is POST /purchases whole, on the real database, one caller: what anything on its path costs.
func BenchmarkPurchase(b *testing.B) {
	s := newShop(b)
	_, _, err := s.db.AddProduct(b.Context(), postgres.NewProduct{ProjectID: 1, Product: product("many", 1_000_000), Actor: "test"}, time.Now())
	require.NoError(b, err)
	s.putUser("buyer", 1_000_000_000)
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, 202, s.serveOne("POST", "/api/v1/purchases", `{"user_id":"buyer","sku":"many"}`).Code)
	}
}

// BenchmarkCatalog is GET /products whole, with 20 products.
func BenchmarkCatalog(b *testing.B) {
	s := newShop(b)
	for i := range 19 {
		_, _, err := s.db.AddProduct(b.Context(), postgres.NewProduct{ProjectID: 1, Product: product(fmt.Sprint("p", i), 50), Actor: "test"}, time.Now())
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, 200, s.serveOne("GET", "/api/v1/products", "").Code)
	}
}
