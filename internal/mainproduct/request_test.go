package mainproduct_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

// Parameters are one more field; without them the call is the seed's to the letter.
func TestCreditSendsParameters(t *testing.T) {
	t.Parallel()
	for parameters, want := range map[string]string{
		``:             `{"user_id":"12345","amount":500,"currency":"credits","order_id":"qp_order_789","product_name":"500 credits","source":"quickpass_store"}`,
		`{"factor":2}`: `{"user_id":"12345","amount":500,"currency":"credits","order_id":"qp_order_789","product_name":"500 credits","source":"quickpass_store","parameters":{"factor":2}}`,
	} {
		var body []byte
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, `{"success":true,"transaction_id":"tx_456"}`)
		}))
		t.Cleanup(server.Close)
		request := order()
		request.Parameters = json.RawMessage(parameters)
		require.Equal(t, mainproduct.Credited, newClient(t, server.URL).Credit(t.Context(), request).Kind)
		require.Equal(t, want, string(body))
	}
	request := order()
	request.Parameters = json.RawMessage(`{"half":`)
	require.Equal(t, mainproduct.ReasonInvalidRequest, serve(t, 200, "").Credit(t.Context(), request).Reason)
}
