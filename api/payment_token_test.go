package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/payments"
)

// A payment token is seen in addresses of pages: after a day it reads its order, and does nothing else any more.
func TestPaymentTokenActsForADay(t *testing.T) {
	t.Parallel()
	begun := time.Now().UTC()
	at := newClock(begun)
	s := checkoutShop(t, at.use)
	made := s.checkout("/payment/item/gun_1", "")
	byToken := header("Authorization", "Bearer "+*made.Token)
	order, cart := fmt.Sprint(project, "/order/", made.OrderID), project+"/cart/item/gun_1"
	s.v2(204, "PUT", cart, `{"quantity": 1}`, byToken)
	at.set(begun.Add(24*time.Hour + time.Second))
	s.refusedV2(401, 1013, "PUT", cart, `{"quantity": 2}`, byToken)
	s.refusedV2(401, 1013, "GET", project+"/user/inventory/items", "", byToken)
	s.refusedV2(401, 1013, "POST", project+"/user/inventory/item/consume", `{"sku": "gift", "quantity": 1}`, byToken)
	s.v2(200, "GET", order, "", byToken)
}

// What an order holds of a limit is known by the SKU, so that lines of one SKU are one.
func TestServerTokenAddsUpLinesOfOneSKU(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	rare := catalog.Item{
		SKU:             "rare",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Rare"},
		Prices:          []catalog.Price{{Amount: decimal.NewFromInt(1), Currency: "USD", IsDefault: true}},
		Limits:          catalog.Limits{PerItem: 10},
	}
	s.addItem(rare)
	made := into[MadeOrder](t, s.v2(201, "POST", "/api/v3/project/1/admin/payment/token",
		`{"user": {"id": {"value": "rich"}}, "purchase": {"items": [{"sku": "rare", "quantity": 2}, {"sku": "gun_1", "quantity": 1}, {"sku": "rare", "quantity": 3}]}}`, byServer()))
	shown := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), ""))
	require.Len(t, shown.Content.Items, 2)
	require.Equal(t, int64(5), shown.Content.Items[0].Quantity)

	s.card(*made.Token, payments.CardPays, "")
	s.deliver(made.OrderID)
	refund := fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID, "/refund")
	s.call("admin", "POST", refund, `{"reason": "x", "lines": [{"line_id": "1", "quantity": 2}]}`)
	var sold int64
	require.NoError(t, s.db.Pool().QueryRow(t.Context(), "SELECT sold FROM item_sales WHERE sku = 'rare'").Scan(&sold))
	require.Equal(t, int64(3), sold)
}

// The smallest prices are finer than any coin; what is not free can be paid for, and costs one coin at least.
func TestSmallestPriceCanBePaid(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	crumb := catalog.Item{
		SKU:             "crumb",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Crumb"},
		Prices:          []catalog.Price{{Amount: decimal.RequireFromString("0.0001"), Currency: "USD", IsDefault: true}},
	}
	s.addItem(crumb)
	made := s.checkout("/payment/item/crumb", "")
	paid := into[TakenPayment](t, s.card(*made.Token, payments.CardPays, ""))
	require.Equal(t, []any{checkout.Paid, checkout.Accepted}, []any{paid.Status, paid.Outcome})
	whole := into[CheckoutRefund](t, s.call("admin", "POST", fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID, "/refund"), `{"reason": "x"}`))
	require.Equal(t, "0.01", whole.Amount.String())
}
