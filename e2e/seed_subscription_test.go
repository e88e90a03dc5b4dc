package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

// game is the project of seeds 002 and 004 in the demo data of `quickpass dev`.
const game = "/api/v2/project/44056"

// gamer calls /api/v2 as the seeds' client does; the token is the only thing that differs.
type gamer struct {
	*node
	token string
}

// newGamer gets its token as a newcomer does, from `quickpass token`.
func newGamer(n *node, userID string) *gamer {
	n.t.Helper()
	token, code := n.run(nil, "token", "--project", "44056", "--user", userID)
	require.Zero(n.t, code, token)
	return &gamer{n, strings.TrimSpace(token)}
}

// send makes a call whose body is written as in the seed.
func (g *gamer) send(status int, method, path, body string, into any, headers ...string) {
	g.t.Helper()
	var sent any
	if body != "" {
		sent = json.RawMessage(body)
	}
	a := g.call("", method, path, sent, append([]string{"Authorization", "Bearer " + g.token}, headers...)...)
	require.Equal(g.t, status, a.status, "%s %s: %s", method, path, a.body)
	if into != nil {
		a.into(g.t, into)
	}
}

// server makes a call as the game's server.
func (g *gamer) server(status int, method, path, body string, into any) {
	g.t.Helper()
	g.send(status, method, path, body, into, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("44056:dev-project-44056")))
}

type seedPrice struct {
	Amount, Currency      string
	AmountWithoutDiscount string `json:"amount_without_discount"`
}

type seedOrder struct {
	OrderID int64 `json:"order_id"`
	Token   string
	Status  string
	Content struct {
		IsFree bool `json:"is_free"`
		Price  *seedPrice
		Items  []struct {
			SKU      string
			Quantity int
			Price    *seedPrice
		}
	}
}

type seedSubscription struct {
	SKU             string
	VirtualItemType string `json:"virtual_item_type"`
	Status          string
	ExpiredAt       *int64 `json:"expired_at"`
}

// subscription reads the battle pass by both paths, which agree.
func (g *gamer) subscription() (pass seedSubscription) {
	g.t.Helper()
	var now, older struct{ Items []seedSubscription }
	g.send(200, "GET", game+"/user/time_limited_items", "", &now)
	g.send(200, "GET", game+"/user/subscriptions", "", &older)
	require.Equal(g.t, now, older)
	for _, item := range now.Items {
		if item.SKU == "battle_pass" {
			return item
		}
	}
	require.Fail(g.t, "the battle pass is not listed")
	return pass
}

// pay pays with a test card, and waits until the order is done.
func (g *gamer) pay(made seedOrder) {
	g.t.Helper()
	g.send(200, "POST", "/api/v1/sandbox/payments", fmt.Sprintf(`{"token": %q, "card": "4111111111111111"}`, made.Token), nil)
	testkit.Eventually(g.t, "the order is done", func(context.Context) error {
		var order seedOrder
		g.send(200, "GET", fmt.Sprint(game, "/order/", made.OrderID), "", &order, "Prefer", "wait=10")
		if order.Status != "done" {
			return fmt.Errorf("it is %s", order.Status)
		}
		return nil
	})
}

// The calls of seeds 002 and 004 against `make run`, as they are written there but for host and token: the
// catalog, the cart, orders of a cart, of the current cart and of one item, reading an order, subscriptions,
// grant and revocation. Sums are right where the seed's sample is not.
func TestSeedOfSubscriptions(t *testing.T) {
	t.Parallel()
	n := devStack(t)
	n.dev()
	g := newGamer(n, "d342dad2-9d59-11e9-a384-42010aa8003f")

	var shop struct {
		Items []struct {
			SKU, Type, Name string
			IsFree          bool   `json:"is_free"`
			VirtualItemType string `json:"virtual_item_type"`
			Price           *seedPrice
		}
	}
	g.send(200, "GET", game+"/items/virtual_items?locale=en", "", &shop)
	kinds := map[string]string{}
	for _, item := range shop.Items {
		kinds[item.SKU] = item.VirtualItemType
		if item.SKU == "gun_1" {
			require.Equal(t, seedPrice{"0.9950", "USD", "1.9900"}, *item.Price)
			require.Equal(t, []any{"virtual_good", false}, []any{item.Type, item.IsFree})
		}
	}
	require.Equal(t, []string{"consumable", "non_renewing_subscription", "non_renewing_subscription"}, []string{kinds["gun_1"], kinds["battle_pass"], kinds["season_pass"]})

	var cart struct {
		CartID string `json:"cart_id"`
		IsFree bool   `json:"is_free"`
		Items  []struct{ SKU string }
		Price  *seedPrice
	}
	g.send(200, "GET", game+"/cart/custom_id?locale=en&currency=USD", "", &cart)
	require.Equal(t, []any{"custom_id", true, 0, true}, []any{cart.CartID, cart.IsFree, len(cart.Items), cart.Price == nil})
	g.send(204, "PUT", game+"/cart/custom_id/item/gun_1", `{"quantity": 123}`, nil)

	const asInTheSeed = `{"currency": "USD", "locale": "en", "sandbox": false}`
	var made, read seedOrder
	g.send(200, "POST", game+"/payment/cart/custom_id", asInTheSeed, &made)
	require.Len(t, made.Token, len("f4puMEFFDZcx9nv5HoNHIkPe9qghvBQo"))
	g.send(200, "GET", fmt.Sprint(game, "/order/", made.OrderID), "", &read)
	require.Equal(t, []any{"new", false, made.OrderID}, []any{read.Status, read.Content.IsFree, read.OrderID})
	require.Equal(t, seedPrice{"122.3850", "USD", "244.7700"}, *read.Content.Price)
	require.Equal(t, []any{"gun_1", 123, seedPrice{"0.9950", "USD", "1.9900"}}, []any{read.Content.Items[0].SKU, read.Content.Items[0].Quantity, *read.Content.Items[0].Price})
	g.pay(made)

	g.send(200, "PUT", game+"/cart/fill", `{"items": [{"sku": "battle_pass", "quantity": 1}]}`, &cart)
	require.Equal(t, "none", g.subscription().Status)
	before := time.Now()
	var current seedOrder
	g.send(200, "POST", game+"/payment/cart", asInTheSeed, &current)
	g.pay(current)
	first := g.subscription()
	require.Equal(t, []string{"active", "non_renewing_subscription"}, []string{first.Status, first.VirtualItemType})
	require.GreaterOrEqual(t, *first.ExpiredAt, before.Add(30*24*time.Hour).Unix())

	const period = 30 * 24 * 60 * 60
	var item seedOrder
	g.send(200, "POST", game+"/payment/item/battle_pass", asInTheSeed, &item)
	g.pay(item)
	require.Equal(t, *first.ExpiredAt+period, *g.subscription().ExpiredAt, "bought again while it runs: more time, from its end on")
	type seedOwned struct {
		SKU      string
		Quantity int
	}
	var owned struct{ Items []seedOwned }
	g.send(200, "GET", game+"/user/inventory/items", "", &owned)
	require.Contains(t, owned.Items, seedOwned{"battle_pass", 1}, "bought again, there is still one")

	const change = `[{"user": {"id": "d342dad2-9d59-11e9-a384-42010aa8003f"}, "items": [{"sku": "battle_pass", "quantity": 1}], "comment": "by the game", "platform": "xsolla"}]`
	g.server(200, "POST", game+"/inventory/reward", change, nil)
	require.Equal(t, *first.ExpiredAt+2*period, *g.subscription().ExpiredAt, "a grant reckons as a purchase does")
	var refused struct{ ErrorCode int }
	g.send(422, "POST", game+"/user/inventory/item/consume", `{"sku": "battle_pass", "quantity": 1}`, &refused)
	g.server(200, "POST", game+"/inventory/revoke", change, nil)
	require.Equal(t, "none", g.subscription().Status, "whatever was left")
	var entitlement struct{ Active bool }
	g.server(200, "GET", game+"/entitlements/d342dad2-9d59-11e9-a384-42010aa8003f/battle_pass", "", &entitlement)
	require.False(t, entitlement.Active)

	n.requireCleanDev()
}

// requireCleanDev runs `quickpass verify` on the database that `quickpass dev` says it has.
func (n *node) requireCleanDev() {
	n.t.Helper()
	url := regexp.MustCompile(`(?m)^  PostgreSQL\s+(\S+)`).FindStringSubmatch(tail(n.LogFile()))
	require.Len(n.t, url, 2, "the table of addresses tells where it is")
	output, code := n.run([]string{"QUICKPASS_DATABASE_URL=" + url[1]}, "verify")
	require.Zero(n.t, code, output)
	require.NotContains(n.t, output, "BROKEN")
	require.Equal(n.t, http.StatusOK, n.call("", http.MethodGet, "/readyz", nil).status)
}
