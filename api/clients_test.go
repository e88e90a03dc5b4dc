package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
)

// The calls of the seeds are made by pages of other origins, with credentials.
func TestPagesOfOtherOriginsMayCall(t *testing.T) {
	t.Parallel()
	const page, cart = "https://game.example", project + "/cart/custom_id"
	s := checkoutShop(t, func(o *Options) { o.Origins = []string{page} })
	preflight := []with{header("Origin", page), header("Access-Control-Request-Method", "PUT"), header("Access-Control-Request-Headers", "authorization,content-type")}
	a := s.call("", http.MethodOptions, cart, "", preflight...)
	require.Equal(t, http.StatusNoContent, a.status)
	require.Equal(t, []string{page, "true", "authorization,content-type"}, []string{a.header.Get("Access-Control-Allow-Origin"),
		a.header.Get("Access-Control-Allow-Credentials"), a.header.Get("Access-Control-Allow-Headers")})
	require.Contains(t, a.header.Get("Access-Control-Allow-Methods"), "PUT")

	for _, path := range []string{cart, project + "/order/999"} { // a refusal can be read, too
		a = s.call("", http.MethodGet, path, "", byUser(t, "rich"), header("Origin", page))
		require.Equal(t, page, a.header.Get("Access-Control-Allow-Origin"), path)
		require.Contains(t, a.header.Get("Vary"), "Origin", path)
	}
	for _, test := range []struct{ origin, path string }{{"https://other.example", cart}, {page, "/api/v1/products"}, {page, "/api/v1/admin/projects"}} {
		a = s.call("", http.MethodGet, test.path, "", header("Origin", test.origin))
		require.Empty(t, a.header.Get("Access-Control-Allow-Origin"), "%+v", test)
	}
}

// Newer clients tell the country in the user of an order.
func TestCountryOfAnOrdersUser(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	item := catalog.Item{
		SKU:             "local",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Local"},
		Prices:          []catalog.Price{{Amount: decimal.NewFromInt(1), Currency: "USD", IsDefault: true}, {Amount: decimal.NewFromInt(3), Currency: "EUR", Country: "DE"}},
	}
	s.addItem(item)
	for body, want := range map[string]string{
		`{"user": {"country": "de", "tracking_id": "x"}}`:       "3 EUR",
		`{"country": "FR", "user": {"country": "DE"}}`:          "1 USD",
		`{"user": {"tracking_id": "x"}}`:                        "1 USD",
		`{"user": null, "settings": {"ui": {"theme": "dark"}}}`: "1 USD",
	} {
		made := s.checkout("/payment/item/local", body)
		price := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "")).Content.Price
		require.Equal(t, want, price.Amount.String()+" "+price.Currency, body)
	}
}

// Where existing clients open the page of a payment, they are led to ours.
func TestAddressesOfPaymentPages(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	for _, path := range []string{"/paystation3/?access_token=a%26b", "/paystation4/?token=a%26b"} {
		answer := httptest.NewRecorder()
		s.server.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, []any{http.StatusFound, "/sandbox/pay?token=a%26b"}, []any{answer.Code, answer.Header().Get("Location")})
	}
}
