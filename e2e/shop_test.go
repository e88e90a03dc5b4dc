package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// A large purchase waits for its buyer through a restart of everything of ours; confirmed, it is delivered; not
// confirmed, everything is given back at the deadline.
func TestLargePurchaseWaitsThroughARestart(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(100)
	env := []string{"QUICKPASS_STORE_LARGE_PURCHASE=100", "QUICKPASS_STORE_CONFIRM_WITHIN=1h"}
	n := s.serve("serve", env...)
	large := func(n *node) string {
		a := n.call("storefront", "POST", "/api/v1/purchases", map[string]any{"user_id": buyer, "sku": "credits-500"})
		require.Equal(t, http.StatusAccepted, a.status)
		var accepted struct {
			OrderID string `json:"order_id"`
			Status  string
		}
		a.into(t, &accepted)
		require.Equal(t, "awaiting_confirmation", accepted.Status)
		return accepted.OrderID
	}
	orderID := large(n)
	n.requireWallet(buyer, 900, 100)
	require.NoError(t, n.Kill())
	n = s.serve("serve", "QUICKPASS_STORE_LARGE_PURCHASE=100", "QUICKPASS_STORE_CONFIRM_WITHIN=3s")
	require.Equal(t, http.StatusAccepted, n.call("storefront", "POST", "/api/v1/orders/"+orderID+"/confirm", nil).status)
	n.completed(orderID)
	require.Equal(t, 1, s.books(orderID).Calls)

	late := large(n)
	testkit.Eventually(t, "it is given back", func(context.Context) error {
		if o := n.get(late); o.Status != "canceled" || o.reason() != string(store.NotConfirmed) {
			return fmt.Errorf("it is %s (%s)", o.Status, o.reason())
		}
		return nil
	})
	n.requireWallet(buyer, 900, 0)
	n.requireStock(99)
	s.verify()
}

// 1,000 orders fail while the product is down and are replayed in bulk; the process is killed half-way and another
// goes on: each order completes once, and report, ledger and the product's books agree.
func TestBulkReplayThroughKillNine(t *testing.T) {
	t.Parallel()
	const orders = 1000
	s := newStack(t)
	s.sell(2*orders, func(d *store.DeliverySettings) { d.Retries = 0 })
	testkit.AddUser(t, s.db, "many", 100*orders)
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.ErrorStatus, Status: 503})
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = n.buy("many")
	}
	for _, orderID := range ids {
		n.canceled(orderID, "main_product_unreachable")
	}
	s.misbehave()

	a := n.call("admin", "POST", "/api/v1/admin/replays", map[string]any{
		"filter": map[string]any{"reason": "main_product_unreachable"}, "rate_per_second": 100, "reason": "the product is back"})
	require.Equal(t, http.StatusAccepted, a.status, string(a.body))
	var replay struct {
		ReplayID string `json:"replay_id"`
	}
	a.into(t, &replay)
	s.arrived(ids[orders/2], 2) // one call before it failed, one by the replay
	require.NoError(t, n.Kill())
	n = s.serve("serve")
	var report struct{ Status string }
	testkit.Eventually(t, "the replay is over", func(context.Context) error {
		n.call("admin", "GET", "/api/v1/admin/replays/"+replay.ReplayID, nil).into(t, &report)
		if report.Status != string(store.ReplayCompleted) {
			return fmt.Errorf("it is %s", report.Status)
		}
		return nil
	})
	for _, orderID := range ids {
		n.completed(orderID)
		require.Equal(t, 1, s.books(orderID).Credited, "credited once")
	}
	n.requireWallet("many", 0, 0)
	n.requireStock(orders)
	s.verify() // its rules compare the report with the ledger
}
