package mainproduct_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

func TestInquire(t *testing.T) {
	t.Parallel()
	const refused = `{"success":false,"error_code":"USER_NOT_FOUND"}`
	for name, test := range map[string]struct {
		status int
		body   string
		want   mainproduct.Kind
	}{
		"credited":                  {200, `{"success":true,"transaction_id":"tx_1"}`, mainproduct.Credited},
		"refused":                   {200, refused, mainproduct.Refused},
		"never received":            {404, `{"success":false,"error_code":"ORDER_NOT_FOUND"}`, mainproduct.NotFound},
		"no such endpoint":          {404, "404 page not found", mainproduct.Unknown},
		"another error on 404":      {404, refused, mainproduct.Unknown},
		"the inquiry was forbidden": {403, `{"success":false,"error_code":"FORBIDDEN"}`, mainproduct.Unknown},
		"too many":                  {429, "", mainproduct.Unknown},
		"broken":                    {500, "", mainproduct.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := serve(t, test.status, test.body).Inquire(t.Context(), "qp_order_789")
			require.Equal(t, test.want, answer.Kind, "%+v", answer)
			require.Equal(t, test.want == mainproduct.Unknown, answer.MaybeCredited)
			require.Equal(t, test.status, answer.HTTPStatus)
		})
	}
}

func TestInquireEscapesTheOrder(t *testing.T) {
	t.Parallel()
	var method, uri string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		method, uri = r.Method, r.RequestURI
	}))
	t.Cleanup(server.Close)
	client := newClient(t, server.URL)
	client.Inquire(t.Context(), "a/../b?c#d%")
	require.Equal(t, http.MethodGet, method)
	require.Equal(t, "/api/v1/credits/orders/a%2F..%2Fb%3Fc%23d%25", uri)
	require.Equal(t, mainproduct.ReasonInvalidRequest, client.Inquire(t.Context(), "..").Reason)
}
