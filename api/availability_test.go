package api

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// offer puts a product on sale whose rules are these.
func (s *shop) offer(sku string, change func(*store.Product)) {
	s.t.Helper()
	p := product(sku, 50)
	change(&p)
	_, _, err := s.db.AddProduct(s.t.Context(), postgres.NewProduct{ProjectID: 1, Product: p, Actor: "test"}, time.Now())
	require.NoError(s.t, err)
}

// Each rule of the shop over HTTP: its status, its code, whether time helps, and the same answer in the catalog.
func TestRulesOfTheShop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	s.offer("one-ever", func(p *store.Product) { p.Limits.PerUser = 1 })
	s.offer("one-a-day", func(p *store.Product) { p.Limits.PerUserPerDay = 1 })
	s.offer("one-for-all", func(p *store.Product) { p.Limits.PerDay = 1 })
	s.offer("tomorrow", func(p *store.Product) { p.Schedule.From = &tomorrow })
	s.offer("vip", func(p *store.Product) { p.Requires.VIP = true })
	s.offer("reserved", func(p *store.Product) { p.Limits.VIPReserve = 50 })
	for _, test := range []struct {
		sku    string
		first  int // status of the first purchase
		status int // of the second
		code   string
		timed  bool
	}{
		{"one-ever", 202, 409, "purchase_limit_reached", false},
		{"one-a-day", 202, 409, "purchase_limit_reached", true},
		{"one-for-all", 202, 409, "sales_limit_reached", true},
		{"tomorrow", 409, 409, "not_on_sale_now", true},
		{"vip", 403, 403, "not_eligible", false},
		{"reserved", 409, 409, "out_of_stock", false},
	} {
		t.Run(test.sku, func(t *testing.T) {
			body := `{"user_id":"rich","sku":"` + test.sku + `"}`
			require.Equal(t, test.first, s.call("storefront", "POST", "/api/v1/purchases", body).status)
			before := s.written()
			a := s.call("storefront", "POST", "/api/v1/purchases", body)
			require.Equal(t, test.status, a.status)
			require.Equal(t, test.code, a.code())
			require.Equal(t, test.timed, a.header.Get("Retry-After") != "")
			require.Equal(t, before, s.written())

			shown := into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/"+test.sku+"?user_id=rich", ""))
			require.False(t, shown.Purchasable.Allowed)
			require.Equal(t, test.code, *shown.Purchasable.Code)
			require.Equal(t, test.timed, shown.Purchasable.Until != nil)
		})
	}
}

func TestOnePurchaseAMinute(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.serve(func(o *Options) { o.Policy.PurchaseInterval = time.Minute })
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", buy).status)
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(t, http.StatusTooManyRequests, a.status)
	require.Equal(t, "too_frequent", a.code())
	require.NotEmpty(t, a.header.Get("Retry-After"))
}

func TestDeniedAddress(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.Equal(t, 201, s.call("admin", "POST", "/api/v1/admin/denied-addresses", `{"address":"203.0.113.0/24","reason":"fraud"}`).status)
	a := s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"credits-500","client":{"ip":"203.0.113.9"}}`)
	require.Equal(t, http.StatusForbidden, a.status)
	require.Equal(t, "address_denied", a.code())
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"credits-500","client":{"ip":"203.0.114.9"}}`).status)
}

func TestConfirmationOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.serve(func(o *Options) { o.Policy = store.Policy{LargePurchase: 500, ConfirmWithin: time.Minute} })
	body := `{"user_id":"rich","sku":"credits-500","quantity":5}`
	first := s.call("storefront", "POST", "/api/v1/purchases", body, header("Idempotency-Key", "large"), header("Prefer", "wait=30"))
	require.Equal(t, 202, first.status, "whoever must confirm is not kept waiting")
	accepted := into[Accepted](t, first)
	require.Equal(t, AcceptedStatusAwaitingConfirmation, accepted.Status)
	require.NotNil(t, accepted.ConfirmBy)
	require.JSONEq(t, string(first.body), string(s.call("storefront", "POST", "/api/v1/purchases", body, header("Idempotency-Key", "large")).body))

	order := "/api/v1/orders/" + accepted.OrderID
	require.Equal(t, OrderStatusAwaitingConfirmation, into[Order](t, s.call("storefront", "GET", order, "")).Status)
	for range 2 { // confirming again is no error
		require.Equal(t, 202, s.call("storefront", "POST", order+"/confirm", "").status)
	}
	require.Equal(t, OrderStatusProcessing, into[Order](t, s.call("storefront", "GET", order, "")).Status)
	require.NotEmpty(t, s.starter.confirmed)

	require.Equal(t, "order_not_found", s.call("storefront", "POST", "/api/v1/orders/qp_none/confirm", "").code())
	var small Accepted
	require.NoError(t, json.Unmarshal(s.call("storefront", "POST", "/api/v1/purchases", buy).body, &small))
	s.capture(contract.PurchaseInput{ProjectID: 1, OrderID: small.OrderID, Attempt: 1})
	a := s.call("storefront", "POST", "/api/v1/orders/"+small.OrderID+"/confirm", "")
	require.Equal(t, http.StatusConflict, a.status)
	require.Equal(t, "not_awaiting_confirmation", a.code())
}
