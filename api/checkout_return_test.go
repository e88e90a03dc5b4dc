package api

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
)

func TestReturnsOverHTTP(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	require.NoError(t, s.exec("UPDATE projects SET sandbox = false"))
	made := s.checkout("/payment/item/gun_1", `{"quantity": 2}`)
	pay := func(id string) TakenPayment {
		return into[TakenPayment](t, s.notify("m-"+id, fmt.Sprintf(`{"order_id": %d, "provider": "acme", "provider_id": %q, "amount": "1.99", "currency": "USD"}`, made.OrderID, id)))
	}
	require.Equal(t, checkout.Accepted, pay("pay_1").Outcome)
	require.Equal(t, checkout.Returned, pay("pay_2").Outcome)
	const list = "/api/v1/admin/checkout-returns"
	owed := into[CheckoutReturnPage](t, s.call("support", "GET", list+"?given=false", "")).Items
	require.Len(t, owed, 1)
	require.Equal(t, []any{"pay_2", "acme", "1.99", "USD", false}, []any{owed[0].ProviderID, owed[0].Provider, owed[0].Amount.String(), owed[0].Currency, owed[0].Given})

	given := fmt.Sprintf("%s/%d/given", list, owed[0].ReturnID)
	require.Equal(t, 403, s.call("support", "POST", given, `{"reference": "r1"}`).status)
	require.Equal(t, "invalid_request", s.call("admin", "POST", given, `{"reference": ""}`).code())
	require.Equal(t, "return_not_found", s.call("admin", "POST", list+"/999/given", `{"reference": "r1"}`).code())
	for range 2 {
		back := into[CheckoutReturn](t, s.call("admin", "POST", given, `{"reference": "r1"}`))
		require.Equal(t, []any{true, "r1"}, []any{back.Given, *back.Reference})
	}
	require.Equal(t, "return_given", s.call("admin", "POST", given, `{"reference": "r2"}`).code())
	require.Empty(t, into[CheckoutReturnPage](t, s.call("admin", "GET", list+"?given=false", "")).Items)
}

func TestProviderTellsOfReturns(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	require.NoError(t, s.exec("UPDATE projects SET sandbox = false"))
	made := s.checkout("/payment/item/gun_1", `{"quantity": 2}`)
	s.notify("m1", fmt.Sprintf(`{"order_id": %d, "provider": "acme", "provider_id": "pay_1", "amount": "1.99", "currency": "USD"}`, made.OrderID))
	s.deliver(made.OrderID)
	require.Equal(t, 200, s.call("admin", "POST", fmt.Sprintf("/api/v1/admin/checkout-orders/%d/refund", made.OrderID), `{"reason": "x"}`).status)
	owed := into[CheckoutReturnPage](t, s.call("support", "GET", "/api/v1/admin/checkout-returns", "")).Items
	require.Len(t, owed, 1)
	body := fmt.Sprintf(`{"return_id": %d, "provider": "acme", "reference": "acme-7"}`, owed[0].ReturnID)
	const path = "/api/v1/hooks/payment-returns"
	require.Equal(t, "signature_missing", s.call("", "POST", path, body).code())
	for range 2 {
		back := into[CheckoutReturn](t, s.signed(path, "m2", body))
		require.Equal(t, []any{"acme-7", "provider/acme", *owed[0].RefundID}, []any{*back.Reference, *back.GivenBy, *back.RefundID})
	}
	for wrong, code := range map[string]string{
		`{}`: "invalid_request",
		fmt.Sprintf(`{"return_id": %d, "reference": "acme-7"}`, owed[0].ReturnID):                     "return_not_found", // of another provider
		fmt.Sprintf(`{"return_id": %d, "provider": "sandbox", "reference": "x"}`, owed[0].ReturnID):   "invalid_request",
		fmt.Sprintf(`{"return_id": %d, "provider": "acme", "reference": "acme-8"}`, owed[0].ReturnID): "return_given",
		`{"return_id": 0, "provider": "acme", "reference": "acme-8"}`:                                 "invalid_request",
		`{"return_id": 99999, "provider": "acme", "reference": "acme-8"}`:                             "return_not_found",
	} {
		require.Equal(t, code, s.signed(path, "m3", wrong).code(), wrong)
	}
	require.Equal(t, "webhook_disabled", newShop(t).signed(path, "m4", body).code())
}
