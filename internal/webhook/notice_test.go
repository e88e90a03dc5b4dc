package webhook_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/webhook"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func usd(amount, without string) *catalog.Quote {
	return &catalog.Quote{Amount: decimal.RequireFromString(amount), WithoutDiscount: decimal.RequireFromString(without), Currency: "USD"}
}

// chest is an order of two chests, each with three guns and a box with two keys, and of a gift that comes along.
func chest() webhook.Notice {
	return webhook.Notice{
		EventID:   "we_1",
		Event:     webhook.OrderPaid,
		Sequence:  1,
		At:        noon,
		Format:    2,
		ProjectID: 7,
		UserID:    "12345",
		Country:   "DE",
		Custom:    json.RawMessage(`{"a": 1}`),
		External:  "ext-1",
		Payment:   &checkout.Payment{Provider: "sandbox", ProviderID: "sb_1"},
		Order: checkout.Order{
			OrderID:   41,
			Status:    checkout.Paid,
			Sandbox:   true,
			ExpiresAt: noon.Add(time.Hour),
			Price:     usd("9.00", "18.00"),
			Lines: []checkout.OrderLine{
				{LineID: "1", SKU: "chest", Name: "Chest", Type: catalog.Bundle, Quantity: 2, Price: usd("4.5", "9"), Content: []checkout.Part{
					{SKU: "gun", Name: "Gun", Type: catalog.VirtualGood, Quantity: 3},
					{SKU: "box", Name: "Box", Type: catalog.Bundle, Quantity: 1, Content: []checkout.Part{{SKU: "key", Name: "Key", Type: catalog.VirtualGood, Quantity: 2}}},
				}},
				{LineID: "2", SKU: "gift", Name: "Gift", Type: catalog.VirtualGood, Quantity: 1, IsFree: true, IsBonus: true},
			},
		},
	}
}

func bodyOf(t *testing.T, n webhook.Notice) map[string]any {
	t.Helper()
	body, err := n.Body()
	require.NoError(t, err)
	again, err := n.Body()
	require.NoError(t, err)
	require.Equal(t, string(body), string(again), "what is signed is always the same")
	var decoded map[string]any
	require.NoError(t, json.Unmarshal(body, &decoded))
	return decoded
}

func TestBodyOfAPaidOrder(t *testing.T) {
	t.Parallel()
	body, err := chest().Body()
	require.NoError(t, err)
	line := func(id, sku, name, kind, quantity, amount, promotions, flags string) string {
		return `{"line_id":"` + id + `","sku":"` + sku + `","name":"` + name + `","type":"` + kind + `","quantity":` + quantity + `,"amount":"` + amount +
			`","is_pre_order":false,"promotions":` + promotions + `,"custom_attributes":{},` + flags + `}`
	}
	const content = `"is_free":false,"is_bonus":false,"is_bundle_content":true`
	require.JSONEq(t, `{"notification_type":"order_paid","schema_version":1,"event_id":"we_1","sequence":1,"created_at":"2026-11-22T12:00:00Z","project_id":7,"user_id":"12345",
		"items":[`+
		line("1", "chest", "Chest", "bundle", "2", "9.00", `[{"amount_with_discount":"9.00","amount_without_discount":"18.00","sequence":1}]`, `"is_free":false,"is_bonus":false,"is_bundle_content":false`)+`,`+
		line("1.1", "gun", "Gun", "virtual_good", "6", "0", `[]`, content)+`,`+
		line("1.2", "box", "Box", "bundle", "2", "0", `[]`, content)+`,`+
		line("1.2.1", "key", "Key", "virtual_good", "4", "0", `[]`, content)+`,`+
		line("2", "gift", "Gift", "virtual_good", "1", "0", `[]`, `"is_free":true,"is_bonus":true,"is_bundle_content":false`)+`],
		"order":{"id":41,"mode":"sandbox","currency_type":"real","currency":"USD","amount":"9.00","status":"paid","platform":"sandbox","comment":null,"invoice_id":"sb_1","promotions":[],
			"promocodes":[],"coupons":[],"expires_at":"2026-11-22T13:00:00Z","reason":null,"refunded":"0","external_id":"ext-1"},
		"user":{"external_id":"12345","email":null,"country":"DE"},"custom_parameters":{"a":1}}`, string(body))
}

// Who only knows version 1 is sent nothing that it adds.
func TestOldestFormatHasNoFlags(t *testing.T) {
	t.Parallel()
	n := chest()
	n.Format = webhook.OldestFormat
	for _, item := range bodyOf(t, n)["items"].([]any) {
		require.NotContains(t, item, "is_free")
		require.NotContains(t, item, "is_bonus")
		require.NotContains(t, item, "is_bundle_content")
		require.NotEmpty(t, item.(map[string]any)["line_id"])
	}
}

func TestBodiesOfOtherOrders(t *testing.T) {
	t.Parallel()
	free := bodyOf(t, webhook.Notice{EventID: "we_2", Event: webhook.OrderPaid, Order: checkout.Order{OrderID: 42, Status: checkout.Done}})
	require.Equal(t, []any{"unknown", "", "0", nil, nil}, pick(free["order"], "currency_type", "currency", "amount", "invoice_id", "expires_at"))
	require.Equal(t, []any{}, free["items"])
	require.Equal(t, map[string]any{}, free["custom_parameters"])
	require.NotContains(t, free, "refund")

	virtual := bodyOf(t, webhook.Notice{
		Event: webhook.OrderPaid,
		Order: checkout.Order{Virtual: &catalog.VirtualQuote{SKU: "gold", Amount: 150}, Lines: []checkout.OrderLine{
			{LineID: "1", Quantity: 3, VirtualPrice: &catalog.VirtualQuote{SKU: "gold", Amount: 50, WithoutDiscount: 60}}}},
	})
	require.Equal(t, []any{"virtual", "gold", "150"}, pick(virtual["order"], "currency_type", "currency", "amount"))
	require.Equal(t, []any{"150", []any{map[string]any{"amount_with_discount": "150", "amount_without_discount": "180", "sequence": 1.0}}}, pick(virtual["items"].([]any)[0], "amount", "promotions"))

	n := chest()
	n.Event, n.Reason, n.Order.Status, n.Refunded = webhook.OrderCanceled, "chargeback", checkout.Canceled, decimal.RequireFromString("9.00")
	n.Refund = &checkout.Refund{
		ID:     "rf_1",
		Amount: decimal.RequireFromString("4.50"),
		Whole:  true,
		Lines:  []checkout.RefundLine{{LineID: "1", Quantity: 1}},
	}
	canceled := bodyOf(t, n)
	require.Equal(t, []any{"canceled", "chargeback", "9"}, pick(canceled["order"], "status", "reason", "refunded"))
	require.Equal(t, []any{"rf_1", "4.5", true, []any{map[string]any{"line_id": "1", "quantity": 1.0}}}, pick(canceled["refund"], "refund_id", "amount", "whole", "lines"))
}

func pick(object any, fields ...string) []any {
	var values []any
	for _, field := range fields {
		values = append(values, object.(map[string]any)[field])
	}
	return values
}

func TestBodyOfATest(t *testing.T) {
	t.Parallel()
	body, err := webhook.TestBody(7, "we_3", noon)
	require.NoError(t, err)
	require.JSONEq(t, `{"notification_type":"test","schema_version":1,"event_id":"we_3","sequence":0,"created_at":"2026-11-22T12:00:00Z","project_id":7}`, string(body))
}
