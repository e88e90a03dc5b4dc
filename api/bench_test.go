package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"
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
