package api

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

const newProduct = `{"sku":"credits-1000","name":"1000 credits","description":"Top up balance in main product","kind":"credits","price_coins":200,
	"status":"published","stock":{"initial":100,"minimum":10,"hide_at_zero":true},
	"integration":{"resource_type":"external_currency","endpoint":"/api/v1/credits/increase","amount":1000.5,"currency":"credits"},
	"delivery":{"method":"api_call","timeout_seconds":30,"retries":3,"retry_interval_seconds":10}}`

func TestAdminCreatesProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	key := header("Idempotency-Key", "create-1")
	a := s.call("admin", "POST", "/api/v1/admin/products", newProduct, key)
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Equal(t, `"1.100"`, a.header.Get("ETag"))
	require.Contains(t, string(a.body), `"amount":"1000.5"`)
	read := s.call("support", "GET", a.header.Get("Location"), "")
	require.Equal(t, a.body, read.body)

	// The product is edited; a repeat of the creation still gets the creation's answer.
	require.Equal(t, 200, s.call("admin", "PUT", "/api/v1/admin/products/credits-1000", `{"name":"edited","price_coins":1,"integration":{"amount":"7.25","currency":"credits"}}`).status)
	again := s.call("admin", "POST", "/api/v1/admin/products", newProduct, key)
	require.Equal(t, 201, again.status)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "sku_taken", s.call("admin", "POST", "/api/v1/admin/products", newProduct).code())
	edited := into[Product](t, s.call("support", "GET", "/api/v1/admin/products/credits-1000", ""))
	require.Equal(t, "7.25", edited.Integration.Amount.String())
	require.Equal(t, ProductStatusDraft, edited.Status, "what is left out falls back to its default")
	require.EqualValues(t, 100, edited.Stock.Initial)
	require.EqualValues(t, 2, edited.Version)
}

func TestAdminCreatesProductOnceOfMany(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	answers := make([]answer, 20)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = s.call("admin", "POST", "/api/v1/admin/products", newProduct, header("Idempotency-Key", "same"))
		})
	}
	wg.Wait()
	for _, a := range answers {
		require.Equal(t, 201, a.status, "%s", a.body)
		require.Equal(t, answers[0].body, a.body)
	}
}

func TestAdminEditsProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const path = "/api/v1/admin/products/crystals-50"
	body := `{"name":"50 crystals","price_coins":80,"status":"published","stock":{"initial":30},"integration":{"amount":50,"currency":"crystals"}}`

	require.Equal(t, 404, s.call("admin", "GET", path, "").status)
	require.Equal(t, 412, s.call("admin", "PUT", path, body, header("If-Match", "*")).status)
	require.Equal(t, "invalid_request", s.call("admin", "PUT", path, `{"name":"x","price_coins":1,"integration":{"amount":1,"currency":"c"}}`).code())
	a := s.call("admin", "PUT", path, body, header("If-None-Match", "*"))
	require.Equal(t, 201, a.status, "%s", a.body)
	first := a.header.Get("ETag")
	require.Equal(t, 412, s.call("admin", "PUT", path, body, header("If-None-Match", "*")).status)

	a = s.call("admin", "GET", path, "", header("If-None-Match", `"x", W/`+first))
	require.Equal(t, http.StatusNotModified, a.status)
	require.Empty(t, a.body)
	require.Equal(t, first, a.header.Get("ETag"))

	// A sale changes what is shown, and is no conflict for an edit.
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"crystals-50"}`).status)
	a = s.call("admin", "GET", path, "", header("If-None-Match", first))
	require.Equal(t, 200, a.status)
	require.Equal(t, `"1.29"`, a.header.Get("ETag"))
	a = s.call("admin", "PUT", path, body, header("If-Match", first))
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, `"2.29"`, a.header.Get("ETag"))

	for _, stale := range []string{first, `W/"2.29"`, `2`, `"`, `"x"`} {
		a = s.call("admin", "PUT", path, body, header("If-Match", stale))
		require.Equal(t, 412, a.status, stale)
		require.Equal(t, "version_conflict", a.code())
	}
	a = s.call("admin", "PUT", path, `{"name":"x","price_coins":1,"stock":{"initial":31},"integration":{"amount":1,"currency":"c"}}`)
	require.Equal(t, 422, a.status)
	require.Equal(t, "stock_initial_fixed", a.code())
	require.EqualValues(t, 2, into[Product](t, s.call("admin", "GET", path, "")).Version)
}

func TestProductsInTheShop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	testkit.AddUser(s.t, s.db, "poor", 0)
	s.call("admin", "POST", "/api/v1/admin/products", newProduct)
	s.call("admin", "PUT", "/api/v1/admin/products/draft", `{"name":"x","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}}`)
	s.call("admin", "PUT", "/api/v1/admin/products/hidden", `{"name":"x","price_coins":1,"status":"published","stock":{"initial":0,"hide_at_zero":true},"integration":{"amount":1,"currency":"c"}}`)
	s.call("admin", "PUT", "/api/v1/admin/products/sold-out", `{"name":"x","price_coins":1,"status":"published","stock":{"initial":0},"integration":{"amount":1,"currency":"c"}}`)

	page := into[ShopProductPage](t, s.call("storefront", "GET", "/api/v1/products?user_id=poor", ""))
	require.Equal(t, []string{"credits-1000", "credits-500", "sold-out"}, each(page.Items, func(p ShopProduct) string { return p.Sku }))
	require.Equal(t, []string{"insufficient_coins", "insufficient_coins", "out_of_stock"}, each(page.Items, func(p ShopProduct) string { return *p.Purchasable.Code }))
	require.Equal(t, StockStatusOutOfStock, page.Items[2].Stock.Status)
	for _, hidden := range []string{"draft", "hidden"} {
		require.Equal(t, "product_not_found", s.call("storefront", "GET", "/api/v1/products/"+hidden, "").code())
	}
	one := s.call("storefront", "GET", "/api/v1/products/credits-500?user_id=rich", "")
	require.Contains(t, string(one.body), `"purchasable":{"allowed":true,"code":null,"message":null,"until":null}`)
	require.NotContains(t, string(s.call("storefront", "GET", "/api/v1/products/credits-500", "").body), "purchasable")
	require.Equal(t, "user_not_found", *into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/credits-500?user_id=nobody", "")).Purchasable.Code)

	page = into[ShopProductPage](t, s.call("storefront", "GET", "/api/v1/products?limit=2", ""))
	require.Len(t, page.Items, 2)
	page = into[ShopProductPage](t, s.call("storefront", "GET", "/api/v1/products?limit=2&cursor="+*page.NextCursor, ""))
	require.Len(t, page.Items, 1)
	require.Nil(t, page.NextCursor)
	require.Len(t, into[ProductPage](t, s.call("support", "GET", "/api/v1/admin/products", "")).Items, 5)
}

func TestUsers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := s.call("storefront", "PUT", "/api/v1/users/u:1@x", "")
	require.Equal(t, 201, a.status, "%s", a.body)
	a = s.call("storefront", "PUT", "/api/v1/users/u:1@x", `{"vip":true,"attributes":{"language":"русский","n":[1,2.5]}}`)
	require.Equal(t, 200, a.status)
	user := into[User](t, s.call("support", "GET", "/api/v1/users/u%3A1@x", ""))
	require.True(t, user.Vip)
	require.JSONEq(t, `{"language":"русский","n":[1,2.5]}`, string(user.Attributes))
	require.Equal(t, "[]", string(into[struct{ Items jsonText }](t, s.call("support", "GET", "/api/v1/users/u:1@x/orders", "")).Items))

	key := header("Idempotency-Key", "adjust-1")
	a = s.call("support", "POST", "/api/v1/admin/users/u:1@x/wallet/adjustments", `{"amount":70,"reason":"goodwill"}`, key)
	require.Equal(t, 201, a.status)
	again := s.call("support", "POST", "/api/v1/admin/users/u:1@x/wallet/adjustments", `{"reason":"goodwill","amount":70}`, key)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.EqualValues(t, 70, into[Adjustment](t, again).Wallet.Available)

	a = s.call("support", "POST", "/api/v1/admin/users/u:1@x/block", `{"reason":"fraud"}`)
	require.Equal(t, 200, a.status)
	require.Equal(t, Blocked, into[AdminUser](t, a).Status)
	require.Equal(t, "user_blocked", s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"u:1@x","sku":"credits-500"}`).code())
	a = s.call("support", "POST", "/api/v1/admin/users/u:1@x/unblock", `{"reason":"mistake"}`)
	require.Equal(t, Active, into[AdminUser](t, a).Status)
	require.Nil(t, into[AdminUser](t, a).BlockedReason)
	require.EqualValues(t, 70, into[AdminUser](t, s.call("support", "GET", "/api/v1/admin/users/u:1@x", "")).Wallet.Available)
}

type jsonText []byte

func (j *jsonText) UnmarshalJSON(b []byte) error { *j = append(jsonText{}, b...); return nil }
