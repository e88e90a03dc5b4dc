package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/store"
)

const siteCredits = `{"sku": "site-credits-100", "type": "virtual_good", "virtual_item_type": "consumable", "status": "published", "name": {"en": "100 credits"},
	"prices": [{"amount": "1.99", "currency": "USD", "is_default": true}], "main_product": {"amount": "100", "currency": "credits", "instead_of_inventory": true, "parameters": {"bonus": 1}}}`

// creditShop sells credits of the main product, two of which are ordered, paid and asked for.
func creditShop(t *testing.T) (*shop, int64, contract.CheckoutDelivery) {
	t.Helper()
	s := checkoutShop(t)
	created := s.call("admin", "POST", adminItems, siteCredits)
	require.Equal(t, 201, created.status, "%s", created.body)
	made := s.checkout("/payment/item/site-credits-100", `{"quantity": 2}`)
	require.NotContains(t, string(s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "").body), "deliveries", "it is not paid")
	s.card(*made.Token, payments.CardPays, "")
	settled, err := s.db.SettleCheckout(t.Context(), made.OrderID, time.Now())
	require.NoError(t, err)
	call, err := s.db.BeginCheckoutDelivery(t.Context(), settled.Deliveries[0], time.Now())
	require.NoError(t, err)
	require.True(t, call.Due)
	return s, made.OrderID, settled.Deliveries[0]
}

func (s *shop) answered(d contract.CheckoutDelivery, outcome contract.Outcome) {
	s.t.Helper()
	_, err := s.db.RecordDelivery(s.t.Context(), contract.RecordDeliveryInput{Delivery: d, Outcome: outcome}, time.Now())
	require.NoError(s.t, err)
}

var (
	delivered100, delivered200 = decimal.NewFromInt(100), decimal.NewFromInt(200)

	lostAnswer = contract.Outcome{Kind: contract.Unknown, Error: "timeout", MaybeCredited: true}
	ordered    = func(orderID int64) string { return fmt.Sprint("/api/v1/admin/checkout-orders/", orderID) }
)

func TestDeliveriesOverHTTP(t *testing.T) {
	t.Parallel()
	s, id, delivery := creditShop(t)
	shown := func() string { return string(s.v2(200, "GET", fmt.Sprint(project, "/order/", id), "").body) }
	require.Contains(t, shown(), `"deliveries":[{"sku":"site-credits-100","quantity":2,"amount":"200","currency":"credits","status":"pending"}]`)
	require.Equal(t, "order_being_delivered", s.call("admin", "POST", ordered(id)+"/refund", `{"reason": "x"}`).code())
	require.Len(t, into[CheckoutOrderPage](t, s.call("support", "GET", "/api/v1/admin/checkout-orders?delivery=pending", "")).Items, 1)
	s.answered(delivery, contract.Outcome{
		Kind:   contract.Credited,
		Credit: &store.Credit{TransactionID: "tx_1", CreditedAmount: new(delivered200), NewBalance: new(delivered200)},
	})
	require.Contains(t, shown(), `"status":"delivered"`)
	require.Equal(t, checkout.Done, s.status(id))
	detail := into[CheckoutOrderDetail](t, s.call("support", "GET", ordered(id), ""))
	one := detail.Deliveries[0]
	require.Equal(t, []any{1, "1", fmt.Sprintf("co_%d_1", id), 1, 1, false, "tx_1", "200"},
		[]any{one.Number, one.LineID, one.MainProductOrderID, one.Round, one.Calls, one.MaybeCredited, *one.TransactionID, one.CreditedAmount.String()})
	require.JSONEq(t, `{"bonus":1}`, string(detail.Lines[0].MainProduct.Parameters), "frozen into the line")

	refund := into[CheckoutRefund](t, s.call("admin", "POST", ordered(id)+"/refund", `{"reason": "x", "lines": [{"line_id": "1", "quantity": 1}]}`))
	require.Equal(t, []checkout.GivenPart{{LineID: "1", SKU: "site-credits-100", Amount: delivered100, Currency: "credits"}}, refund.NotTakenBack)
}

func TestSuspectedDeliveryIsDecided(t *testing.T) {
	t.Parallel()
	s, id, delivery := creditShop(t)
	decide := func(role, body string, changes ...with) answer {
		return s.call(role, "POST", ordered(id)+"/deliveries/1/decide", body, changes...)
	}
	require.Equal(t, "delivery_not_decidable", decide("admin", `{"decision": "refund", "reason": "x"}`).code(), "a call is under way")
	s.answered(delivery, lostAnswer)
	shown := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", id), ""))
	require.Equal(t, []any{checkout.Paid, "delivery_suspected", checkout.DeliverySuspected}, []any{shown.Status, shown.Reason, shown.Deliveries[0].Status})
	require.Len(t, into[CheckoutOrderPage](t, s.call("support", "GET", "/api/v1/admin/checkout-orders?delivery=suspected", "")).Items, 1)
	require.Contains(t, string(s.call("admin", "GET", "/api/v1/admin/alerts?open=true", "").body), `"checkout_delivery_suspected"`)
	one := into[CheckoutOrderDetail](t, s.call("support", "GET", ordered(id), "")).Deliveries[0]
	require.Equal(t, []any{true, "timeout"}, []any{one.MaybeCredited, one.Reason.Code})

	for body, field := range map[string]string{
		`{"decision": "guess", "reason": "x"}`:                                   "decision",
		`{"decision": "refund"}`:                                                 "reason",
		`{"decision": "refund", "reason": "x", "transaction_id": "tx"}`:          "transaction_id",
		`{"decision": "delivered", "reason": "x", "transaction_id": ""}`:         "transaction_id",
		`{"decision": "delivered", "reason": "x", "transaction_id": "a\u0000b"}`: "control characters",
		`{"decision": "delivered", "reason": "x", "colour": 1}`:                  "colour",
		`{"decision": ["delivered"], "reason": "x"}`:                             "decision",
	} {
		a := decide("admin", body)
		require.Equal(t, []any{400, "invalid_request"}, []any{a.status, a.code()}, body)
		require.Contains(t, string(a.body), field, body)
	}
	for _, path := range []string{"/deliveries/0/decide", "/deliveries/x/decide", "/deliveries/99999999999999999999/decide"} {
		require.Equal(t, "invalid_request", s.call("admin", "POST", ordered(id)+path, `{"decision": "refund", "reason": "x"}`).code(), path)
	}
	require.Equal(t, "order_not_found", s.call("admin", "POST", ordered(id)+"/deliveries/2/decide", `{"decision": "refund", "reason": "x"}`).code())
	require.Equal(t, "order_not_found", s.call("admin", "POST", ordered(999)+"/deliveries/1/decide", `{"decision": "refund", "reason": "x"}`).code())
	require.Equal(t, 403, decide("support", `{"decision": "refund", "reason": "x"}`).status)

	offered := len(s.starter.checkouts)
	key := header("Idempotency-Key", "k")
	for k := range 2 {
		a := decide("admin", `{"decision": "deliver_again", "reason": "it is back"}`, key)
		require.Equal(t, 200, a.status, "%s", a.body)
		require.Equal(t, k == 1, a.header.Get("Idempotency-Replayed") == "true")
		require.Equal(t, []any{checkout.DeliveryPending, 2}, []any{into[DecidedDelivery](t, a).Delivery.Status, into[DecidedDelivery](t, a).Delivery.Round})
	}
	require.Len(t, s.starter.checkouts, offered+1, "its workflow is told")
	delivery.Round = 2
	s.answered(delivery, lostAnswer)
	refunded := into[DecidedDelivery](t, decide("admin", `{"decision": "refund", "reason": "it was not there"}`))
	require.Equal(t, []any{checkout.Canceled, checkout.DeliveryRefunded}, []any{refunded.Status, refunded.Delivery.Status})
	require.Equal(t, "delivery_not_decidable", decide("admin", `{"decision": "delivered", "reason": "x"}`).code())
}

func TestItemsOfTheMainProductOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t).openV2()
	require.Equal(t, 201, s.call("admin", "POST", adminItems, siteCredits).status)
	exported := s.call("admin", "GET", adminItems+"/export", "")
	require.Contains(t, string(exported.body), `"main_product":{"resource_type":"external_currency","endpoint":"/api/v1/credits/increase","amount":"100","currency":"credits"`)
	imported := into[ItemImport](t, s.call("admin", "POST", adminItems+"/import", string(exported.body)))
	require.Equal(t, []int{0, 0, 1}, []int{imported.Created, imported.Replaced, imported.Unchanged})
	require.NotContains(t, string(s.items("/virtual_items/sku/site-credits-100").body), "main_product", "a shopper does not see it")
	for body, want := range map[string]string{
		`{"main_product": {"amount": -1}}`: "main_product.amount", `{"main_product": {"colour": 1}}`: "main_product.colour", `{"main_product": {"endpoint": "//x"}}`: "main_product.endpoint",
		`{"main_product": {"delivery": {"timeout_seconds": 301}}}`: "main_product.delivery.timeout_seconds", `{"main_product": 7}`: "main_product",
	} {
		a := s.call("admin", "PATCH", adminItems+"/site-credits-100", body)
		require.Equal(t, []any{400, "invalid_request"}, []any{a.status, a.code()}, body)
		require.Equal(t, want, (*into[Problem](t, a).Errors)[0].Field, body)
	}
	dropped := s.call("admin", "PATCH", adminItems+"/site-credits-100", `{"main_product": null}`)
	require.Nil(t, into[adminItem](t, dropped).MainProduct)
}
