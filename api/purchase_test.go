package api

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

const buy = `{"user_id":"rich","sku":"credits-500"}`

func TestPurchase(t *testing.T) {
	t.Parallel()
	s := newShop(t)

	a := s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"credits-500","quantity":2,"client":{"ip":"::ffff:203.0.113.7","device_id":"d1"}}`)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	accepted := into[Accepted](t, a)
	require.True(t, strings.HasPrefix(accepted.OrderID, "qp_"))
	require.Equal(t, "/api/v1/orders/"+accepted.OrderID, a.header.Get("Location"))
	require.Empty(t, a.header.Get("Idempotency-Replayed"))
	require.Equal(t, []contract.PurchaseInput{{ProjectID: 1, OrderID: accepted.OrderID, UserID: "rich", SKU: "credits-500", Quantity: 2, Attempt: 1}}, s.starter.seen())

	order := into[Order](t, s.call("storefront", "GET", a.header.Get("Location"), ""))
	require.Equal(t, OrderStatusProcessing, order.Status)
	require.EqualValues(t, 200, order.PriceCoins)
	require.Equal(t, Wallet{
		UserID:    "rich",
		Available: 999_800,
		Held:      200,
	}, into[Wallet](t, s.call("storefront", "GET", "/api/v1/users/rich/wallet", "")))
	require.EqualValues(t, 48, into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/credits-500", "")).Stock.Available)

	s.capture(s.starter.seen()[0])
	a = s.call("storefront", "GET", order.Links.Self, "")
	order = into[Order](t, a)
	require.Equal(t, OrderStatusCompleted, order.Status)
	require.Equal(t, "tx_"+order.OrderID, *order.TransactionID)
	require.Contains(t, string(a.body), `"credited_amount":"500"`)
	require.NotNil(t, order.FinishedAt)
	timeline := into[Timeline](t, s.call("storefront", "GET", order.Links.Timeline, ""))
	require.Equal(t, []string{"reserved", "completed"}, each(timeline.Items, func(e TimelineEntry) string { return e.Event }))
	feed := into[NotificationPage](t, s.call("storefront", "GET", "/api/v1/users/rich/notifications?limit=1", ""))
	require.Equal(t, "purchase_completed", feed.Items[0].Kind)
	require.NotNil(t, feed.NextCursor)
	feed = into[NotificationPage](t, s.call("storefront", "GET", "/api/v1/users/rich/notifications?cursor="+*feed.NextCursor, ""))
	require.Equal(t, "wallet_adjusted", feed.Items[0].Kind)
	require.Nil(t, feed.NextCursor)
}

func TestPurchaseRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	testkit.AddUser(s.t, s.db, "poor", 0)
	testkit.AddUser(s.t, s.db, "blocked", 1000)
	_, err := s.db.SetBlocked(t.Context(), 1, "blocked", true, "test", "fraud", time.Now())
	require.NoError(t, err)
	draft, dear := product("draft", 5), product("dear", 1000)
	draft.Status, dear.PriceCoins = store.Draft, 1_000_000_000_000
	for _, p := range []store.Product{draft, dear, product("gone", 0)} {
		_, _, err := s.db.AddProduct(t.Context(), postgres.NewProduct{ProjectID: 1, Product: p, Actor: "test"}, time.Now())
		require.NoError(t, err)
	}
	before := s.written()
	for name, test := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"coins":      {`{"user_id":"poor","sku":"credits-500"}`, 402, "insufficient_coins"},
		"blocked":    {`{"user_id":"blocked","sku":"credits-500"}`, 403, "user_blocked"},
		"user":       {`{"user_id":"nobody","sku":"credits-500"}`, 404, "user_not_found"},
		"product":    {`{"user_id":"rich","sku":"nothing"}`, 404, "product_not_found"},
		"draft":      {`{"user_id":"rich","sku":"draft"}`, 404, "product_not_found"},
		"stock":      {`{"user_id":"rich","sku":"gone"}`, 409, "out_of_stock"},
		"more stock": {`{"user_id":"rich","sku":"credits-500","quantity":51}`, 409, "out_of_stock"},
		"total":      {`{"user_id":"rich","sku":"dear","quantity":2}`, 422, "total_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("storefront", "POST", "/api/v1/purchases", test.body, header("Idempotency-Key", "k-"+strings.ReplaceAll(name, " ", "")))
			require.Equal(t, test.status, a.status)
			require.Equal(t, test.code, a.code())
			require.Equal(t, before, s.written())
		})
	}
	require.Empty(t, s.starter.seen())

	s.starter.full = true
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "overloaded", a.code())
	require.Equal(t, "2", a.header.Get("Retry-After"))
	require.Equal(t, before, s.written())
}

func TestPurchaseIdempotency(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	key := header("Idempotency-Key", "order-1")

	first := s.call("storefront", "POST", "/api/v1/purchases", buy, key)
	require.Equal(t, 202, first.status)
	before := s.written()
	again := s.call("storefront", "POST", "/api/v1/purchases", ` { "sku":"credits-500" , "user_id":"rich" } `, key)
	require.Equal(t, 202, again.status)
	require.Equal(t, first.body, again.body)
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))

	for _, other := range []answer{
		s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"credits-500","quantity":2}`, key),
		s.call("admin", "POST", "/api/v1/admin/users/rich/wallet/adjustments", `{"amount":5,"reason":"x"}`, key),
	} {
		require.Equal(t, 422, other.status)
		require.Equal(t, "idempotency_key_reused", other.code())
	}
	require.Equal(t, before, s.written())
	require.Len(t, s.starter.seen(), 1)

	s.capture(s.starter.seen()[0])
	final := s.call("storefront", "POST", "/api/v1/purchases", buy, key, header("Prefer", "wait=10"))
	require.Equal(t, 200, final.status)
	require.Equal(t, "true", final.header.Get("Idempotency-Replayed"))
	require.Equal(t, OrderStatusCompleted, into[Order](t, final).Status)
}

func TestPurchaseTwentyEqualRequestsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	answers := make([]answer, 20)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = s.call("storefront", "POST", "/api/v1/purchases", buy, header("Idempotency-Key", "same"))
		})
	}
	wg.Wait()
	replayed := 0
	for _, a := range answers {
		require.Equal(t, 202, a.status)
		require.Equal(t, answers[0].body, a.body)
		if a.header.Get("Idempotency-Replayed") == "true" {
			replayed++
		}
	}
	require.Equal(t, 19, replayed)
	require.Len(t, s.starter.seen(), 1)
	orders, err := s.db.ListOrders(t.Context(), 1, postgres.OrderFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, orders, 1)
}

func TestPurchasePreferWait(t *testing.T) {
	t.Parallel()

	t.Run("final in time", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		s.starter.do = s.capture
		a := s.call("storefront", "POST", "/api/v1/purchases", buy, func(r *http.Request) {
			r.Header.Add("Prefer", "respond-async")
			r.Header.Add("Prefer", "wait=120")
		})
		require.Equal(t, 200, a.status, "%s", a.body)
		require.Equal(t, "wait=60", a.header.Get("Preference-Applied"))
		require.Equal(t, OrderStatusCompleted, into[Order](t, a).Status)
	})
	t.Run("canceled in time, found by polling", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		s.starter.do = func(in contract.PurchaseInput) {
			_, err := s.db.ReleaseOrder(t.Context(), contract.ReleaseInput{OrderID: in.OrderID, Attempt: 1, Calls: 1,
				Reason: store.ReasonOfRefusal("USER_NOT_FOUND", "User not found", false)}, time.Now())
			if err != nil {
				panic(err)
			}
		}
		a := s.call("storefront", "POST", "/api/v1/purchases", buy, header("Prefer", "wait=30"))
		require.Equal(t, 200, a.status)
		order := into[Order](t, a)
		require.Equal(t, OrderStatusCanceled, order.Status)
		require.Equal(t, "main_product_refused", order.Reason.Code)
		require.Equal(t, "USER_NOT_FOUND", *order.Reason.ErrorCode)
		require.False(t, *order.Reason.RetryAllowed)
		require.Equal(t, 1, order.Attempts)
	})
	t.Run("not in time", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		a := s.call("storefront", "POST", "/api/v1/purchases", buy, header("Prefer", "wait=1"))
		require.Equal(t, 202, a.status)
		require.Equal(t, "wait=1", a.header.Get("Preference-Applied"))
	})
	for _, prefer := range []string{"wait", "wait=soon", "wait=-1", "wait=99999999999999999999", "handling=lenient"} {
		t.Run("ignored: "+prefer, func(t *testing.T) {
			t.Parallel()
			_, ok := preferredWait(&prefer)
			require.False(t, ok)
		})
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := into[Accepted](t, s.call("storefront", "POST", "/api/v1/purchases", buy)).OrderID
	path := "/api/v1/admin/orders/" + id + "/replay"

	a := s.call("support", "POST", path, "")
	require.Equal(t, 409, a.status)
	require.Equal(t, "order_not_replayable", a.code())
	a = s.call("support", "POST", "/api/v1/admin/orders/qp_none/replay", "")
	require.Equal(t, 404, a.status)
	require.Equal(t, "order_not_found", a.code())

	s.release(s.starter.seen()[0], store.Reason{Code: store.MainProductUnreachable, Message: "no answer"})
	key := header("Idempotency-Key", "replay-1")
	first := s.call("support", "POST", path, `{"reason":"the product is back"}`, key)
	require.Equal(t, 202, first.status, "%s", first.body)
	again := s.call("support", "POST", path, `{"reason":"the product is back"}`, key)
	require.Equal(t, first.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, 2, s.starter.seen()[1].Attempt)
	require.Len(t, s.starter.seen(), 2)
	require.Equal(t, 422, s.call("support", "POST", path, `{"reason":"another"}`, key).status)

	s.capture(s.starter.seen()[1])
	order := into[Order](t, s.call("support", "GET", "/api/v1/orders/"+id, ""))
	require.Equal(t, OrderStatusCompleted, order.Status)
	require.Equal(t, 2, order.Attempt)

	testkit.AddUser(s.t, s.db, "once", 100)
	id = into[Accepted](t, s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"once","sku":"credits-500"}`)).OrderID
	s.release(s.starter.seen()[2], store.Reason{Code: store.MainProductUnreachable, Message: "no answer"})
	require.Equal(t, 201, s.call("admin", "POST", "/api/v1/admin/users/once/wallet/adjustments", `{"amount":-50,"reason":"spent"}`).status)
	a = s.call("support", "POST", "/api/v1/admin/orders/"+id+"/replay", "")
	require.Equal(t, 402, a.status)
	require.Equal(t, "insufficient_coins", a.code())
}

func TestOrderLists(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	testkit.AddUser(s.t, s.db, "other", 1000)
	var ids []string
	for _, user := range []string{"rich", "other", "rich"} {
		ids = append(ids, into[Accepted](t, s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"`+user+`","sku":"credits-500"}`)).OrderID)
	}
	s.release(s.starter.seen()[1], store.Reason{Code: store.MainProductUnreachable, Message: "no answer"})
	list := func(path string) []string {
		return each(into[OrderPage](t, s.call("support", "GET", path, "")).Items, func(o Order) string { return o.OrderID })
	}
	require.Equal(t, []string{ids[2], ids[0]}, list("/api/v1/users/rich/orders"))
	require.Equal(t, []string{ids[2], ids[1], ids[0]}, list("/api/v1/admin/orders"))
	require.Equal(t, []string{ids[1]}, list("/api/v1/admin/orders?status=canceled&reason=main_product_unreachable&sku=credits-500&user_id=other&suspected=false&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"))
	require.Empty(t, list("/api/v1/admin/orders?to=2020-01-01T00:00:00%2B02:00"))

	page := into[OrderPage](t, s.call("support", "GET", "/api/v1/admin/orders?limit=2", ""))
	require.Equal(t, ids[1], *page.NextCursor)
	require.Equal(t, []string{ids[0]}, list("/api/v1/admin/orders?limit=2&cursor="+*page.NextCursor))
	require.Equal(t, "user_not_found", s.call("support", "GET", "/api/v1/users/nobody/orders", "").code())
}
