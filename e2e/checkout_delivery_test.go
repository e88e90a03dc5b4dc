package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/testkit"
)

// sellItems puts two items on sale that the main product delivers, one of them into the inventory too, and
// one that is local. The main product has 2 s to answer, and is asked again every second.
func (n *node) sellItems() {
	n.t.Helper()
	testkit.Exec(n.t, n.db, "UPDATE projects SET jwt_secret = '"+userSecret+"', sandbox = true")
	told := func(amount string, instead bool) object {
		return object{
			"amount":               amount,
			"currency":             "credits",
			"instead_of_inventory": instead,
			"delivery":             object{"timeout_seconds": 2, "retry_interval_seconds": 1},
		}
	}
	for sku, mainProduct := range map[string]any{"site-credits-100": told("100", true), "booster": told("7", false), "gun_1": nil} {
		a := n.call("admin", http.MethodPost, "/api/v1/admin/items", object{
			"sku":               sku,
			"type":              "virtual_good",
			"virtual_item_type": "consumable",
			"status":            "published",
			"name":              object{"en": sku},
			"prices":            []object{{"amount": "1.99", "currency": "USD", "is_default": true}},
			"main_product":      mainProduct,
		})
		require.Equal(n.t, http.StatusCreated, a.status, "%s", a.body)
	}
}

// orderAndPay orders all three items and pays with a test card.
func (n *node) orderAndPay(userID string) (orderID int64) {
	n.t.Helper()
	var cart, made struct {
		OrderID int64 `json:"order_id"`
		Token   string
	}
	n.asUser(userID, http.MethodPut, "/cart/fill", object{"items": []object{{"sku": "site-credits-100", "quantity": 2}, {"sku": "booster", "quantity": 1}, {"sku": "gun_1", "quantity": 3}}}, &cart)
	n.asUser(userID, http.MethodPost, "/payment/cart", object{}, &made)
	a := n.call("", http.MethodPost, "/api/v1/sandbox/payments", object{"token": made.Token, "card": "4111111111111111"})
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	return made.OrderID
}

// checkoutOrder is what an admin sees of an order.
type checkoutOrder struct {
	Order struct {
		Status   string
		Reason   string
		Refunded string
	}
	Deliveries []struct {
		Number             int
		SKU                string
		Status             string
		Calls              int
		MainProductOrderID string `json:"main_product_order_id"`
		TransactionID      string `json:"transaction_id"`
	}
}

func (n *node) checkoutOrder(orderID int64) (o checkoutOrder) {
	n.t.Helper()
	a := n.call("support", http.MethodGet, fmt.Sprint("/api/v1/admin/checkout-orders/", orderID), nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	a.into(n.t, &o)
	return o
}

// awaitOrder waits until an order is over, or waits for an admin.
func (n *node) awaitOrder(orderID int64) (o checkoutOrder) {
	n.t.Helper()
	testkit.Within(n.t, 90*time.Second, fmt.Sprint("the end of order ", orderID), func(context.Context) error {
		if o = n.checkoutOrder(orderID); o.Order.Status == "paid" && o.Order.Reason != "delivery_suspected" {
			return fmt.Errorf("it is paid: %+v", o.Deliveries)
		}
		return nil
	})
	return o
}

// deliverAgain has an admin decide about every delivery of an order that is suspected.
func (n *node) deliverAgain(orderID int64, o checkoutOrder) {
	n.t.Helper()
	for _, d := range o.Deliveries {
		if d.Status == "suspected" {
			a := n.call("admin", http.MethodPost, fmt.Sprintf("/api/v1/admin/checkout-orders/%d/deliveries/%d/decide", orderID, d.Number), object{
				"decision": "deliver_again",
				"reason":   "it is back",
			})
			require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
		}
	}
}

// requireSettled holds an order that is over to the main product's books: what was delivered was credited
// once, all else never.
func (n *node) requireSettled(orderID int64) checkoutOrder {
	n.t.Helper()
	o := n.checkoutOrder(orderID)
	require.Contains(n.t, []string{"done", "canceled"}, o.Order.Status, "%+v", o)
	require.Len(n.t, o.Deliveries, 2)
	for _, d := range o.Deliveries {
		entry := n.books(d.MainProductOrderID)
		if d.Status == "delivered" {
			require.Equal(n.t, []any{1, d.TransactionID}, []any{entry.Credited, entry.TransactionID}, "%+v", d)
			continue
		}
		require.Contains(n.t, []string{"refused", "refunded"}, d.Status)
		require.Zero(n.t, entry.Credited, "%+v", d)
	}
	return o
}

// The main product is well, away, refuses, hangs, and credits without an answer, while the one process that
// serves and works is killed with SIGKILL in the middle, twice. Every order has one outcome in the end, and
// each line is credited once.
func TestOrdersOfATroubledMainProduct(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	n.sellItems()
	s.misbehave(
		fake.Behaviour{Kind: fake.ErrorStatus, Status: http.StatusServiceUnavailable, Users: []string{"away"}},
		fake.Behaviour{Kind: fake.Refuse, Code: "LIMIT_REACHED", Message: "Daily limit reached", Users: []string{"refused"}},
		fake.Behaviour{Kind: fake.Drop, CreditFirst: true, Calls: 3, Users: []string{"dropped"}},
		fake.Behaviour{Kind: fake.Hang, Calls: 2, Users: []string{"hanging"}},
		fake.Behaviour{Kind: fake.Delay, DelayMS: 900, Users: []string{"slow"}})
	refused := n.awaitOrder(n.orderAndPay("refused"))
	require.Equal(t, []string{"done", "", "5.97"}, []string{refused.Order.Status, refused.Order.Reason, refused.Order.Refunded}, "2 and 1 pieces of 1.99")
	require.Equal(t, []string{"refused", "refused"}, []string{refused.Deliveries[0].Status, refused.Deliveries[1].Status})

	users := []string{"fine", "away", "refused", "dropped", "hanging", "slow"}
	orders := map[string]int64{}
	for _, user := range users {
		orders[user] = n.orderAndPay(user)
	}
	for range 2 {
		s.arrived(fmt.Sprintf("co_%d_1", orders["slow"]), 1)
		require.NoError(t, n.Kill())
		require.NoError(t, n.Restart(t.Context()))
		orders["slow"] = n.orderAndPay("slow")
		orders["fine"] = n.orderAndPay("fine")
	}

	away := n.awaitOrder(orders["away"])
	require.Equal(t, []string{"paid", "delivery_suspected"}, []string{away.Order.Status, away.Order.Reason})
	var listed struct {
		Items []struct {
			OrderID int64 `json:"order_id"`
		}
	}
	n.call("support", http.MethodGet, "/api/v1/admin/checkout-orders?delivery=suspected", nil).into(t, &listed)
	require.Contains(t, listed.Items, struct {
		OrderID int64 `json:"order_id"`
	}{orders["away"]})
	for _, user := range []string{"fine", "dropped", "hanging", "slow"} {
		o := n.awaitOrder(orders[user])
		require.Equal(t, "done", o.Order.Status, "%s: %+v", user, o)
	}
	refused = n.awaitOrder(orders["refused"])

	s.misbehave()
	n.deliverAgain(orders["away"], away)
	n.deliverAgain(orders["refused"], refused) // if it was killed in the middle: whether it was refused before, nobody knows
	for _, user := range users {
		n.awaitOrder(orders[user])
		require.Equal(t, "done", n.requireSettled(orders[user]).Order.Status)
	}
	ids := []int64{}
	require.NoError(t, s.db.Pool().QueryRow(t.Context(), "SELECT array_agg(order_id) FROM checkout_orders").Scan(&ids))
	for _, id := range ids {
		n.awaitOrder(id)
		n.requireSettled(id)
	}
	s.verify()
}
