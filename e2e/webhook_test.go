package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/internal/webhook/fake"
)

const (
	listenerSecret = "the-secret-of-the-listener"
	card           = "4111111111111111"
)

// sellGun puts a gun and a gift on sale for users of project 1.
func (s *stack) sellGun() {
	s.t.Helper()
	testkit.Exec(s.t, s.db, "UPDATE projects SET jwt_secret = '"+userSecret+"' WHERE project_id = 1")
	for _, item := range []catalog.Item{
		{SKU: "gun_1", Prices: []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}}},
		{SKU: "gift", IsFree: true},
	} {
		item.Type, item.VirtualItemType, item.Status, item.Name = catalog.VirtualGood, catalog.Consumable, catalog.Published, catalog.Text{"en": item.SKU}
		_, _, err := s.db.CreateItem(s.t.Context(), postgres.NewItem{ProjectID: 1, Item: item, Actor: "test"}, time.Now())
		require.NoError(s.t, err)
	}
}

type madeOrder struct {
	OrderID int64 `json:"order_id"`
	Token   string
}

func (n *node) checkout(path string) (made madeOrder) {
	n.t.Helper()
	a := n.call("", http.MethodPost, "/api/v2/project/1"+path, object{}, n.tokenOf(buyer)...)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	a.into(n.t, &made)
	return made
}

func (n *node) payCard(token string) {
	n.t.Helper()
	a := n.call("", http.MethodPost, "/api/v1/sandbox/payments", object{"token": token, "card": card})
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
}

func (n *node) polled(orderID int64, headers ...string) (status string) {
	n.t.Helper()
	a := n.call("", http.MethodGet, fmt.Sprint("/api/v2/project/1/order/", orderID), nil, append(n.tokenOf(buyer), headers...)...)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct{ Status string }
	a.into(n.t, &body)
	return body.Status
}

// streamed is what the stream of an order says last, before it ends by itself.
func (n *node) streamed(orderID int64) (status string) {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, fmt.Sprint(n.url, "/api/v2/project/1/order/", orderID, "/stream"), nil)
	require.NoError(n.t, err)
	request.Header.Set("Authorization", n.tokenOf(buyer)[1])
	response, err := http.DefaultClient.Do(request)
	require.NoError(n.t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var body struct{ Status string }
			require.NoError(n.t, json.Unmarshal([]byte(data), &body))
			status = body.Status
		}
	}
	return status
}

// A listener drops, fails and hangs, and everything of ours is killed while it hangs. In the end every event
// of every order has arrived, in its sequence and well signed, and poll, long poll, stream and webhook agree.
func TestWebhooksArriveThroughKillNine(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sellGun()
	listener := fake.New(listenerSecret)
	server := httptest.NewServer(listener)
	t.Cleanup(server.Close)
	t.Cleanup(listener.Stop)
	listener.Misbehave(fake.Behaviour{
		Kind:  fake.Drop,
		Calls: 3,
	}, fake.Behaviour{
		Kind:   fake.Status,
		Status: 500,
		Calls:  3,
	}, fake.Behaviour{Kind: fake.Hang, Calls: 2}, fake.Behaviour{Kind: fake.Status, Status: 503, Calls: 2})
	env := []string{"QUICKPASS_WEBHOOKS_ALLOW_PRIVATE=true", "QUICKPASS_WEBHOOKS_RETRY_SCHEDULE=60x1s"}
	n := s.serve("serve", env...)
	a := n.call("admin", http.MethodPut, "/api/v1/admin/webhooks", object{"url": server.URL + "/hook", "secret": listenerSecret,
		"events": []string{"order_paid", "order_done", "order_canceled", "order_refunded", "order_expired"}})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)

	want := map[int64]string{}
	var refunded int64
	for k := range 6 {
		made := n.checkout("/payment/item/gun_1")
		n.payCard(made.Token)
		want[made.OrderID] = "order_paid order_done"
		if k == 0 {
			refunded = made.OrderID
		}
	}
	want[n.checkout("/free/item/gift").OrderID] = "order_paid order_done"
	left := n.checkout("/payment/item/gun_1").OrderID
	require.Equal(t, http.StatusOK, n.call("", http.MethodPost, fmt.Sprintf("/api/v2/project/1/order/%d/cancel", left), nil, s.tokenOf(buyer)...).status)
	want[left] = "order_canceled"

	testkit.Eventually(t, "the listener hangs", func(context.Context) error {
		for _, received := range listener.Books() {
			if received.Answered == 0 && len(listener.Books()) >= 8 {
				return nil
			}
		}
		return fmt.Errorf("%d have arrived", len(listener.Books()))
	})
	require.NoError(t, n.Kill())
	n = s.serve("serve", env...)
	testkit.Eventually(t, "the order is delivered", func(context.Context) error {
		if status := n.polled(refunded); status != "done" {
			return fmt.Errorf("it is %s", status)
		}
		return nil
	})
	require.Equal(t, http.StatusOK, n.call("admin", http.MethodPost, fmt.Sprintf("/api/v1/admin/checkout-orders/%d/refund", refunded), object{"reason": "asked"}).status)
	want[refunded] = "order_paid order_done order_canceled"

	testkit.Eventually(t, "all is told", func(context.Context) error {
		var page struct{ Items []struct{ Status string } }
		n.call("support", http.MethodGet, "/api/v1/admin/webhook-deliveries?limit=100", nil).into(t, &page)
		for _, d := range page.Items {
			if d.Status != "delivered" {
				return fmt.Errorf("one is %s", d.Status)
			}
		}
		if len(page.Items) != 2*6+2+1+1 {
			return fmt.Errorf("%d are written down", len(page.Items))
		}
		return nil
	})
	var lost int
	require.NoError(t, s.db.Pool().QueryRow(t.Context(), "SELECT count(*) FROM webhook_attempts WHERE finished_at IS NULL").Scan(&lost))
	require.Equal(t, 2, lost, "the tries under way when the process was killed")
	books := listener.Books()
	require.Greater(t, len(books), 16+8, "what was dropped, failed and lost arrived again")
	for orderID, events := range want {
		told, status := arrivals(t, books, orderID)
		require.Equal(t, events, strings.Join(told, " "), "order %d", orderID)
		require.Equal(t, []string{status, status, status}, []string{n.polled(orderID), n.polled(orderID, "Prefer", "wait=5"), n.streamed(orderID)}, "webhook, poll, long poll and stream of order %d", orderID)
	}
	s.verify()
}

// arrivals are the events of an order, each once, and the status that the last of them says.
func arrivals(t *testing.T, books []fake.Received, orderID int64) (events []string, status string) {
	t.Helper()
	ids, last := map[string]bool{}, 0
	for _, received := range books {
		if received.OrderID != orderID {
			continue
		}
		require.True(t, received.LegacyOK && received.StandardOK, "%s", received.Body)
		require.GreaterOrEqual(t, received.Sequence, last, "a later event never comes before an earlier one")
		last, status = received.Sequence, received.Status
		if !ids[received.ID] {
			ids[received.ID], events = true, append(events, received.Event)
			require.Equal(t, len(events), received.Sequence)
		}
	}
	return events, status
}
