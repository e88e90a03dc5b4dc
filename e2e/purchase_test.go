package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// The README's purchase: "500 credits" for 100 coins.
func TestPurchase(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	n := s.serve("serve")
	a := n.call("storefront", http.MethodPost, "/api/v1/purchases", object{
		"user_id": buyer,
		"sku":     "credits-500",
		"client":  object{"ip": "192.0.2.7", "device_id": "phone"},
	},
		"Prefer", "wait=30", "Idempotency-Key", "first")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	var bought order
	a.into(t, &bought)
	o := n.completed(bought.OrderID)
	require.Equal(t, bought, o)
	require.Equal(t, 1, o.Attempts)
	require.Equal(t, 1, s.books(o.OrderID).Calls)
	n.requireWallet(buyer, 900, 0)
	n.requireStock(49)
	_, events := n.timeline(o.OrderID)
	require.Equal(t, []string{"reserved", "completed"}, events)
	told := n.call("storefront", http.MethodGet, "/api/v1/users/"+buyer+"/notifications", nil)
	require.Contains(t, string(told.body), "purchase_completed")
	require.Contains(t, string(told.body), o.OrderID)

	testkit.Eventually(t, "Temporal UI finds the run by its buyer and product", func(ctx context.Context) error {
		found, err := s.engine.Client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: s.engine.Namespace,
			Query:     fmt.Sprintf("%s = '%s' AND %s = 'credits-500' AND ExecutionStatus = 'Completed'", contract.SearchUser, buyer, contract.SearchSKU),
		})
		if err == nil && len(found.GetExecutions()) != 1 {
			err = fmt.Errorf("%d found", len(found.GetExecutions()))
		}
		if err == nil {
			require.Equal(t, contract.PurchaseWorkflowID(o.OrderID), found.GetExecutions()[0].GetExecution().GetWorkflowId())
		}
		return err
	})
	s.verify()
}

func TestSamePostTwentyTimesAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	n := s.serve("serve")
	var group sync.WaitGroup
	answers := make([]answer, 20)
	failures := make([]error, len(answers))
	for i := range answers {
		group.Go(func() {
			answers[i], failures[i] = n.try("storefront", http.MethodPost, "/api/v1/purchases", object{
				"user_id": buyer,
				"sku":     "credits-500",
			}, "Idempotency-Key", "one")
		})
	}
	group.Wait()
	first := 0
	for i, a := range answers {
		require.NoError(t, failures[i])
		require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
		require.JSONEq(t, string(answers[0].body), string(a.body))
		require.Equal(t, answers[0].header.Get("Location"), a.header.Get("Location"))
		if a.header.Get("Idempotency-Replayed") == "" {
			first++
		}
	}
	require.Equal(t, 1, first, "one of them bought")
	var accepted order
	answers[0].into(t, &accepted)
	n.completed(accepted.OrderID)
	n.requireWallet(buyer, 900, 0)
	n.requireStock(49)

	reused := n.call("storefront", http.MethodPost, "/api/v1/purchases", object{
		"user_id":  buyer,
		"sku":      "credits-500",
		"quantity": 2,
	}, "Idempotency-Key", "one")
	require.Equal(t, http.StatusUnprocessableEntity, reused.status)
	require.Equal(t, "idempotency_key_reused", reused.code(t))
	s.verify()
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(3)
	testkit.AddUser(t, s.db, "poor", 99)
	testkit.AddUser(t, s.db, "bad", 1000)
	testkit.AddUser(t, s.db, "ghost", 100)
	testkit.AddUser(t, s.db, "broke", 100)
	n := s.serve("serve")
	blocked := n.call("support", http.MethodPost, "/api/v1/admin/users/bad/block", object{"reason": "fraud"})
	require.Equal(t, http.StatusOK, blocked.status, "%s", blocked.body)
	for _, c := range []struct {
		body   object
		status int
		code   string
	}{
		{object{"user_id": "poor", "sku": "credits-500"}, http.StatusPaymentRequired, "insufficient_coins"},
		{object{"user_id": "bad", "sku": "credits-500"}, http.StatusForbidden, "user_blocked"},
		{object{"user_id": "nobody", "sku": "credits-500"}, http.StatusNotFound, "user_not_found"},
		{object{"user_id": buyer, "sku": "nothing"}, http.StatusNotFound, "product_not_found"},
		{object{"user_id": buyer, "sku": "credits-500", "quantity": 4}, http.StatusConflict, "out_of_stock"},
		{object{"user_id": buyer, "sku": "credits-500", "quantity": 0}, http.StatusBadRequest, "invalid_request"},
	} {
		a := n.call("storefront", http.MethodPost, "/api/v1/purchases", c.body)
		require.Equal(t, c.status, a.status, "%s", a.body)
		require.Equal(t, c.code, a.code(t))
	}
	n.requireStock(3)

	// Critical and partial errors of the seed: no retry, everything back, the user told.
	s.misbehave(fake.Behaviour{Kind: fake.Refuse, Users: []string{"broke"}, Code: fake.CodeInsufficientFunds})
	for userID, reason := range map[string]string{"ghost": "main_product_refused", "broke": "main_product_insufficient_funds"} {
		o := n.canceled(n.buy(userID), reason)
		require.Equal(t, 1, o.Attempts)
		require.Equal(t, 1, s.books(o.OrderID).Calls)
		require.False(t, o.Suspected)
		require.NotNil(t, o.Reason.ErrorCode)
		n.requireWallet(userID, 100, 0)
		told := n.call("storefront", http.MethodGet, "/api/v1/users/"+userID+"/notifications", nil)
		require.Contains(t, string(told.body), "purchase_canceled")
	}
	n.requireStock(3)
	s.verify()
}

// The seed's three retries, 10 s apart, for real; then coins and stock back. When the product is back, a replay
// completes the order once.
func TestThreeRetriesTenSecondsApart(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	n := s.serve("serve")
	require.NoError(t, s.product.Kill()) // the main product is down
	orderID := n.buy(buyer)
	n.requireWallet(buyer, 900, 100)
	n.requireStock(49)

	o := n.canceled(orderID, "main_product_unreachable")
	require.Equal(t, 4, o.Attempts)
	require.False(t, o.Suspected, "no call ever arrived")
	n.requireWallet(buyer, 1000, 0)
	n.requireStock(50)
	entries, events := n.timeline(orderID)
	require.Equal(t, []string{"reserved", "delivery_failed", "delivery_failed", "delivery_failed", "delivery_failed", "canceled"}, events)
	for i := 2; i <= 4; i++ {
		gap := entries[i].At.Sub(entries[i-1].At)
		require.GreaterOrEqual(t, gap.Seconds(), 10.0, "between try %d and %d", i-1, i)
	}

	require.NoError(t, s.product.Restart(t.Context()))
	s.over(orderID)
	n.replay(orderID)
	o = n.completed(orderID)
	require.Equal(t, 2, o.Attempt)
	require.Equal(t, 5, o.Attempts)
	require.Equal(t, 1, s.books(orderID).Calls)
	n.requireWallet(buyer, 900, 0)
	n.requireStock(49)
	again := n.call("support", http.MethodPost, "/api/v1/admin/orders/"+orderID+"/replay", object{})
	require.Equal(t, http.StatusConflict, again.status)
	require.Equal(t, "order_not_replayable", again.code(t))
	s.verify()
}

// The product credits and the answer is lost, four times. Nobody can be asked, so the coins go back and the order
// is a suspect. The replay finds it credited, and it is not credited again.
func TestReplayOfWhatWasCreditedWithoutOurKnowing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, soon)
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.Drop, CreditFirst: true})
	orderID := n.buy(buyer)
	o := n.canceled(orderID, "main_product_unreachable")
	require.True(t, o.Suspected)
	require.Equal(t, 4, o.Attempts)
	require.Equal(t, []int{4, 1}, []int{s.books(orderID).Calls, s.books(orderID).Credited})
	n.requireWallet(buyer, 1000, 0)

	s.misbehave()
	s.over(orderID)
	n.replay(orderID)
	o = n.completed(orderID)
	require.False(t, o.Suspected)
	require.Equal(t, 5, o.Attempts)
	require.Equal(t, 5, s.books(orderID).Calls)
	n.requireWallet(buyer, 900, 0)
	n.requireStock(49)
	s.verify()
}

// The same, and the product can be asked when the replay comes: it is asked, and not called.
func TestReplayOfASuspectAsksFirst(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, soon)
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.Drop, CreditFirst: true})
	orderID := n.buy(buyer)
	require.True(t, n.canceled(orderID, "main_product_unreachable").Suspected)
	s.misbehave()
	s.over(orderID)
	require.NoError(t, n.Stop(t.Context()))
	n = s.serve("serve", "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH="+inquiryPath)
	n.replay(orderID)
	o := n.completed(orderID)
	require.Equal(t, 4, s.books(orderID).Calls, "a question is no call")
	require.Equal(t, 4, o.Attempts, "calls to the main product, as its own books count them")
	_, events := n.timeline(orderID)
	require.Equal(t, []string{"replayed", "inquired", "completed"}, events[len(events)-3:])
	s.verify()
}

// All answers are lost, and the product can be asked: the order completes without a replay.
func TestInquirySettlesWhatTheCallsDidNot(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, soon)
	n := s.serve("serve", "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH="+inquiryPath)
	s.misbehave(fake.Behaviour{Kind: fake.Drop, CreditFirst: true})
	credited := n.buy(buyer)
	o := n.completed(credited)
	require.Equal(t, 4, o.Attempts)
	s.misbehave(fake.Behaviour{Kind: fake.Drop}) // received, never credited
	require.True(t, n.canceled(n.buy(buyer), "main_product_unreachable").Suspected, "not yet, says the product; a lost call may still be on its way")
	n.requireWallet(buyer, 900, 0)
	s.verify()
}

// A product that is down can't be asked either. No call ever arrived, so the order is no suspect.
func TestProductThatIsDownMakesNoSuspects(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, func(d *store.DeliverySettings) { d.Retries = 1; d.RetryIntervalSeconds = 1 })
	n := s.serve("serve", "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH="+inquiryPath)
	require.NoError(t, s.product.Kill())
	o := n.canceled(n.buy(buyer), "main_product_unreachable")
	require.Equal(t, 2, o.Attempts)
	require.False(t, o.Suspected)
	s.verify()
}

// Support sees "canceled" and clicks "replay" at once, while the first run is still taking its last breath.
func TestReplayTheMomentItIsCanceled(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, func(d *store.DeliverySettings) { d.Retries = 0 })
	n := s.serve("serve")
	for range 5 {
		s.misbehave(fake.Behaviour{Kind: fake.ErrorStatus, Calls: 1})
		a := n.call("storefront", http.MethodPost, "/api/v1/purchases", object{"user_id": buyer, "sku": "credits-500"}, "Prefer", "wait=60")
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		var o order
		a.into(t, &o)
		require.Equal(t, "canceled", o.Status)
		n.replay(o.OrderID)
		n.completed(o.OrderID)
	}
	s.verify()
}

// The answer takes 20 s: one call, and no retry in between.
func TestSlowAnswerIsOneCall(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.Delay, DelayMS: 20_000})
	o := n.completed(n.buy(buyer))
	require.Equal(t, 1, o.Attempts)
	require.Equal(t, 1, s.books(o.OrderID).Calls)
	_, events := n.timeline(o.OrderID)
	require.NotContains(t, events, "delivery_failed")
	s.verify()
}

// The product hangs for some users: the purchases of the others are completed while those still wait.
func TestHangingForSomeHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(100)
	for i := range 20 {
		testkit.AddUser(t, s.db, fmt.Sprint("hang", i), 100)
		testkit.AddUser(t, s.db, fmt.Sprint("well", i), 100)
	}
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.Hang, Users: []string{"hang"}})
	var hanging, well []string
	for i := range 20 {
		hanging = append(hanging, n.buy(fmt.Sprint("hang", i)))
	}
	for _, orderID := range hanging {
		s.arrived(orderID, 1)
	}
	for i := range 20 {
		well = append(well, n.buy(fmt.Sprint("well", i)))
	}
	for _, orderID := range well {
		n.completed(orderID)
	}
	for _, orderID := range hanging {
		require.Equal(t, "processing", n.get(orderID).Status)
		require.Equal(t, 1, s.books(orderID).Calls)
	}
	s.verify()
}

// What an order waits for, as ops sees it: by the progress query and by the search attributes.
func TestTroubleIsVisibleInTemporal(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, func(d *store.DeliverySettings) { d.RetryIntervalSeconds = 3600 })
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.ErrorStatus})
	orderID := n.buy(buyer)
	testkit.Eventually(t, "the run is found by its trouble", func(ctx context.Context) error {
		found, err := s.engine.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: s.engine.Namespace,
			Query: contract.SearchState + " = 'retrying' AND " + contract.SearchReason + " = 'server_error'"})
		if err == nil && found.GetCount() != 1 {
			err = fmt.Errorf("%d found", found.GetCount())
		}
		return err
	})
	value, err := s.engine.Client.QueryWorkflow(t.Context(), contract.PurchaseWorkflowID(orderID), "", contract.PurchaseProgressQuery)
	require.NoError(t, err)
	var progress contract.PurchaseProgress
	require.NoError(t, value.Get(&progress))
	require.Equal(t, []string{"retrying", "the main product", "server_error"}, []string{progress.Step, progress.WaitingFor, progress.LastError})

	require.NoError(t, s.engine.Client.CancelWorkflow(t.Context(), contract.PurchaseWorkflowID(orderID), ""))
	o := n.canceled(orderID, "canceled_by_operator")
	require.True(t, o.Suspected, "the product answered 500: it may have credited")
	n.requireWallet(buyer, 1000, 0)
	s.over(orderID)
	s.verify()
}

// A client follows an order from its first to its last moment.
func TestStream(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, soon)
	n := s.serve("serve")
	s.misbehave(fake.Behaviour{Kind: fake.ErrorStatus, Calls: 1})
	orderID := n.buy(buyer)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+"/api/v1/orders/"+orderID+"/stream", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+s.keys["storefront"])
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	var events []string
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() { // until the server ends the stream
		for _, event := range []string{"reserved", "delivery_failed", "completed"} {
			if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), `"event":"`+event+`"`) {
				events = append(events, event)
			}
		}
		if lines.Text() == "event: order" {
			events = append(events, "order")
		}
	}
	require.NoError(t, lines.Err())
	require.Equal(t, []string{"reserved", "delivery_failed", "completed", "order"}, events)
	n.completed(orderID)
	s.verify()
}
