package api

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

const suspectedReason = `{"action":"mark_delivered","transaction_id":"tx_by_hand","reason":"ticket 7"}`

// order buys a piece and ends it as the workflow would.
func (s *shop) order(end func(contract.PurchaseInput)) string {
	s.t.Helper()
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(s.t, 202, a.status, "%s", a.body)
	offered := s.starter.seen()
	in := offered[len(offered)-1]
	if end != nil {
		end(in)
	}
	return in.OrderID
}

// suspect ends an order as one that the main product may have credited all the same.
func (s *shop) suspect(in contract.PurchaseInput) {
	_, err := s.db.ReleaseOrder(s.t.Context(), contract.ReleaseInput{ProjectID: 1, OrderID: in.OrderID, Attempt: in.Attempt,
		Reason: store.Reason{Code: store.MainProductUnreachable}, MaybeCredited: true}, time.Now())
	require.NoError(s.t, err)
}

func (s *shop) available() int64 {
	return into[Wallet](s.t, s.call("support", "GET", "/api/v1/users/rich/wallet", "")).Available
}

func TestResolveOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.order(s.suspect)
	path := "/api/v1/admin/orders/" + id + "/resolve"
	key := header("Idempotency-Key", "resolve-1")
	a := s.call("support", "POST", path, suspectedReason, key)
	require.Equal(t, 200, a.status, "%s", a.body)
	order := into[Order](t, a)
	require.Equal(t, OrderStatusCompleted, order.Status)
	require.Equal(t, "tx_by_hand", *order.TransactionID)
	require.False(t, order.Suspected)
	again := s.call("support", "POST", path, suspectedReason, key)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, a.body, again.body)
	require.Equal(t, "order_not_resolvable", s.call("support", "POST", path, suspectedReason).code())
	require.EqualValues(t, 999_900, s.available())

	other := "/api/v1/admin/orders/" + s.order(s.suspect) + "/resolve"
	require.Equal(t, "transaction_taken", s.call("support", "POST", other, suspectedReason).code())
	a = s.call("support", "POST", other, `{"action":"retry","reason":"the product is back"}`)
	require.Equal(t, OrderStatusProcessing, into[Order](t, a).Status)
	offered := s.starter.seen()
	require.Equal(t, 2, offered[len(offered)-1].Attempt)
	a = s.call("support", "POST", other, `{"action":"refund","reason":"impatient"}`)
	require.Equal(t, "order_not_resolvable", a.code(), "it is under way")
	require.NotEmpty(t, a.header.Get("Retry-After"))

	third := s.order(s.suspect)
	a = s.call("admin", "POST", "/api/v1/admin/orders/"+third+"/resolve", `{"action":"refund","reason":"never arrived"}`)
	require.Equal(t, OrderStatusCanceled, into[Order](t, a).Status)
	require.False(t, into[Order](t, a).Suspected)
	require.EqualValues(t, 999_800, s.available())
}

func TestStuckOrderOverHTTP(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := newShop(t, func(o *Options) { o.Clock = func() time.Time { return start.Add(time.Hour) } })
	in := contract.PurchaseInput{}
	id := s.order(func(i contract.PurchaseInput) { in = i })
	// It was bought an hour ahead, at the clock of the API; its bound begins there.
	_, err := s.db.Pool().Exec(t.Context(), `UPDATE orders SET updated_at = $1`, start.Add(50*time.Minute))
	require.NoError(t, err)
	a := s.call("support", "POST", "/api/v1/admin/orders/"+id+"/resolve", `{"action":"refund","reason":"lost"}`)
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, "refunded_by_support", into[Order](t, a).Reason.Code)
	s.capture(in)
	require.Equal(t, OrderStatusCanceled, into[Order](t, s.call("support", "GET", "/api/v1/orders/"+id, "")).Status)
	require.EqualValues(t, 1_000_000, s.available())
}

func TestRefundOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.order(s.capture)
	path := "/api/v1/admin/orders/" + id + "/refund"
	key := header("Idempotency-Key", "refund-1")
	a := s.call("support", "POST", path, `{"amount_coins":40,"reason":"half of it failed"}`, key)
	require.Equal(t, 201, a.status, "%s", a.body)
	refund := into[Refund](t, a)
	require.EqualValues(t, 40, refund.AmountCoins)
	require.EqualValues(t, 40, refund.Order.RefundedCoins)
	require.Equal(t, OrderStatusCompleted, refund.Order.Status)
	again := s.call("support", "POST", path, `{"reason":"half of it failed","amount_coins":40}`, key)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "idempotency_key_reused", s.call("support", "POST", path, `{"reason":"x"}`, key).code())
	require.Equal(t, "refund_too_large", s.call("support", "POST", path, `{"amount_coins":61,"reason":"x"}`).code())
	a = s.call("support", "POST", path, `{"reason":"all"}`)
	require.Equal(t, OrderStatusRefunded, into[Refund](t, a).Order.Status)
	require.EqualValues(t, 60, into[Refund](t, a).AmountCoins)
	require.Equal(t, "order_not_refundable", s.call("support", "POST", path, `{"reason":"more"}`).code())
	require.EqualValues(t, 1_000_000, s.available())
}

func TestSecondAdmin(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.Policy.ApprovalLimit = 99 })
	s.putKey("second", "admin")
	second := header("Authorization", "Bearer second")
	completed, suspected := s.order(s.capture), s.order(s.suspect)
	const approvals = "/api/v1/admin/approvals/"
	var ids []string
	for _, act := range [][2]string{
		{"/api/v1/admin/users/rich/wallet/adjustments", `{"amount":100,"reason":"prize"}`},
		{"/api/v1/admin/orders/" + completed + "/refund", `{"reason":"all"}`},
		{"/api/v1/admin/orders/" + suspected + "/resolve", suspectedReason},
	} {
		key := header("Idempotency-Key", act[0])
		a := s.call("admin", "POST", act[0], act[1], key)
		require.Equal(t, 202, a.status, "%s", a.body)
		approval := into[Approval](t, a)
		require.Equal(t, ApprovalStatusPending, approval.Status)
		require.Equal(t, a.body, s.call("admin", "POST", act[0], act[1], key).body)
		require.Equal(t, a.body, s.call("support", "GET", a.header.Get("Location"), "").body)
		ids = append(ids, approval.ApprovalID)
	}
	require.EqualValues(t, 999_900, s.available())
	require.Equal(t, ids[2], into[ApprovalPage](t, s.call("support", "GET", "/api/v1/admin/approvals?status=pending&limit=1", "")).Items[0].ApprovalID)

	for _, id := range ids {
		a := s.call("admin", "POST", approvals+id+"/approve", "")
		require.Equal(t, 403, a.status)
		require.Equal(t, "second_admin_required", a.code())
		require.Equal(t, "forbidden", s.call("support", "POST", approvals+id+"/approve", "").code())
		key := header("Idempotency-Key", id)
		a = s.call("admin", "POST", approvals+id+"/approve", `{"reason":"checked"}`, second, key)
		require.Equal(t, 200, a.status, "%s", a.body)
		require.Equal(t, ApprovalStatusApproved, into[Approval](t, a).Status)
		require.Equal(t, "id-second", *into[Approval](t, a).DecidedBy)
		require.Equal(t, "true", s.call("admin", "POST", approvals+id+"/approve", `{"reason":"checked"}`, second, key).header.Get("Idempotency-Replayed"))
		require.Equal(t, "approval_decided", s.call("admin", "POST", approvals+id+"/reject", "", second).code())
	}
	require.EqualValues(t, 1_000_000, s.available(), "100 more, 100 back, 100 for what was delivered")
	require.Equal(t, 201, s.call("admin", "POST", "/api/v1/admin/users/rich/wallet/adjustments", `{"amount":-99,"reason":"at the limit"}`).status)

	// The one who asked takes it back.
	a := s.call("admin", "POST", "/api/v1/admin/users/rich/wallet/adjustments", `{"amount":5000,"reason":"typo"}`)
	a = s.call("admin", "POST", a.header.Get("Location")+"/reject", `{"reason":"typo"}`)
	require.Equal(t, ApprovalStatusRejected, into[Approval](t, a).Status)
	require.Equal(t, "order_not_resolvable", s.call("admin", "POST", "/api/v1/admin/orders/"+suspected+"/resolve", suspectedReason).code())
}

func TestDisputesOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.order(s.capture)
	key := header("Idempotency-Key", "dispute-1")
	a := s.call("support", "POST", "/api/v1/admin/orders/"+id+"/disputes", `{"note":"ничего не пришло"}`, key)
	require.Equal(t, 201, a.status, "%s", a.body)
	path := a.header.Get("Location")
	require.Equal(t, a.body, s.call("support", "POST", "/api/v1/admin/orders/"+id+"/disputes", `{"note":"ничего не пришло"}`, key).body)
	require.Equal(t, 201, s.call("support", "POST", path+"/notes", `{"note":"asked the product"}`).status)
	a = s.call("admin", "PUT", path, `{"state":"rejected","note":"they have it"}`)
	require.Equal(t, DisputeStateRejected, into[Dispute](t, a).State)
	require.Equal(t, "dispute_closed", s.call("admin", "PUT", path, `{"state":"open"}`).code())
	dispute := into[Dispute](t, s.call("support", "GET", path, ""))
	require.Len(t, *dispute.Notes, 3)
	require.Equal(t, "id-key-of-support", dispute.OpenedBy)
	require.Len(t, into[DisputePage](t, s.call("support", "GET", "/api/v1/admin/disputes?state=rejected&user_id=rich&order_id="+id, "")).Items, 1)
	require.Empty(t, into[DisputePage](t, s.call("support", "GET", "/api/v1/admin/disputes?state=open", "")).Items)
}

func TestHistoryAndAudit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.order(s.capture)
	require.Equal(t, 201, s.call("support", "POST", "/api/v1/admin/orders/"+id+"/refund", `{"amount_coins":1,"reason":"x"}`).status)
	for path, want := range map[string]int{"/api/v1/admin/orders/" + id + "/history": 9, "/api/v1/admin/users/rich/history": 12} {
		whole := into[HistoryPage](t, s.call("support", "GET", path, ""))
		require.Len(t, whole.Items, want, path)
		var paged []HistoryEntry
		for next := ""; ; {
			page := into[HistoryPage](t, s.call("support", "GET", path+"?limit=2"+next, ""))
			paged = append(paged, page.Items...)
			if page.NextCursor == nil {
				break
			}
			next = "&cursor=" + *page.NextCursor
		}
		require.Equal(t, whole.Items, paged)
	}
	audit := into[AuditPage](t, s.call("support", "GET", "/api/v1/admin/audit?action=order.refund&actor=id-key-of-support&subject="+id+"&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", ""))
	require.Len(t, audit.Items, 1)
	require.Len(t, audit.Items[0].Hash, 64)
	audit = into[AuditPage](t, s.call("admin", "GET", "/api/v1/admin/audit?limit=1", ""))
	require.NotNil(t, audit.NextCursor)
	require.Len(t, into[AuditPage](t, s.call("admin", "GET", "/api/v1/admin/audit?cursor="+*audit.NextCursor, "")).Items, 2)
}

func TestFraudAdmin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const denied = "/api/v1/admin/denied-addresses"
	require.Equal(t, 201, s.call("admin", "POST", denied, `{"address":"203.0.113.0/24","reason":"fraud"}`).status)
	require.Equal(t, 200, s.call("admin", "POST", denied, `{"address":"203.0.113.0/24","reason":"more fraud"}`).status)
	require.Equal(t, 201, s.call("admin", "POST", denied, `{"address":"2001:db8::1","reason":"fraud"}`).status)
	from := `{"user_id":"rich","sku":"credits-500","client":{"ip":"203.0.113.7","device_id":"phone 1/ё"}}`
	require.Equal(t, "address_denied", s.call("storefront", "POST", "/api/v1/purchases", from).code())
	page := into[DeniedAddressPage](t, s.call("support", "GET", denied+"?limit=1", ""))
	require.Equal(t, "more fraud", page.Items[0].Reason)
	page = into[DeniedAddressPage](t, s.call("support", "GET", denied+"?cursor="+strings.ReplaceAll(*page.NextCursor, "/", "%2F"), ""))
	require.Equal(t, "2001:db8::1/128", page.Items[0].Address)
	require.Equal(t, 204, s.call("admin", "DELETE", denied+"?address=203.0.113.0/24&reason=over", "").status)
	require.Equal(t, "address_not_denied", s.call("admin", "DELETE", denied+"?address=203.0.113.0/24&reason=over", "").code())
	require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", from).status)

	device := into[DevicePage](t, s.call("support", "GET", "/api/v1/admin/devices/phone%201%2F%D1%91", ""))
	require.Equal(t, "rich", device.Items[0].UserID)
	require.Empty(t, into[DevicePage](t, s.call("support", "GET", "/api/v1/admin/devices/never-seen", "")).Items)

	require.True(t, into[AdminUser](t, s.call("support", "POST", "/api/v1/admin/users/rich/flag", `{"reason":"odd"}`)).Suspicious)
	require.False(t, into[AdminUser](t, s.call("support", "POST", "/api/v1/admin/users/rich/unflag", `{"reason":"fine"}`)).Suspicious)
}

func TestBadInputToSupport(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.order(s.capture)
	before := s.written()
	orders, none := "/api/v1/admin/orders/"+id, "/api/v1/admin/orders/qp_none"
	for name, test := range map[string]struct{ call, body, code string }{
		"resolve: no body":         {"POST " + orders + "/resolve", ``, "invalid_request"},
		"resolve: no reason":       {"POST " + orders + "/resolve", `{"action":"refund"}`, "invalid_request"},
		"resolve: other action":    {"POST " + orders + "/resolve", `{"action":"forget","reason":"x"}`, "invalid_request"},
		"resolve: no transaction":  {"POST " + orders + "/resolve", `{"action":"mark_delivered","reason":"x"}`, "invalid_request"},
		"resolve: needless id":     {"POST " + orders + "/resolve", `{"action":"refund","reason":"x","transaction_id":"t"}`, "invalid_request"},
		"resolve: unknown field":   {"POST " + orders + "/resolve", `{"action":"refund","reason":"x","force":true}`, "invalid_request"},
		"resolve: completed":       {"POST " + orders + "/resolve", `{"action":"refund","reason":"x"}`, "order_not_resolvable"},
		"resolve: no order":        {"POST " + none + "/resolve", `{"action":"refund","reason":"x"}`, "order_not_found"},
		"refund: zero":             {"POST " + orders + "/refund", `{"amount_coins":0,"reason":"x"}`, "invalid_request"},
		"refund: negative":         {"POST " + orders + "/refund", `{"amount_coins":-1,"reason":"x"}`, "invalid_request"},
		"refund: float":            {"POST " + orders + "/refund", `{"amount_coins":0.5,"reason":"x"}`, "invalid_request"},
		"refund: huge":             {"POST " + orders + "/refund", `{"amount_coins":99999999999999999999,"reason":"x"}`, "invalid_request"},
		"refund: too much":         {"POST " + orders + "/refund", `{"amount_coins":101,"reason":"x"}`, "refund_too_large"},
		"refund: blank reason":     {"POST " + orders + "/refund", `{"reason":" "}`, "invalid_request"},
		"refund: no order":         {"POST " + none + "/refund", `{"reason":"x"}`, "order_not_found"},
		"history: no order":        {"GET " + none + "/history", ``, "order_not_found"},
		"history: no user":         {"GET /api/v1/admin/users/nobody/history", ``, "user_not_found"},
		"history: cursor":          {"GET " + orders + "/history?cursor=1.orders.2", ``, "invalid_request"},
		"history: cursor far away": {"GET " + orders + "/history?cursor=999999999999999999.audit.1", ``, "invalid_request"},
		"dispute: no note":         {"POST " + orders + "/disputes", `{}`, "invalid_request"},
		"dispute: long note":       {"POST " + orders + "/disputes", `{"note":"` + strings.Repeat("я", 2001) + `"}`, "invalid_request"},
		"dispute: no order":        {"POST " + none + "/disputes", `{"note":"x"}`, "order_not_found"},
		"dispute: none":            {"GET /api/v1/admin/disputes/dsp_none", ``, "dispute_not_found"},
		"dispute: note on none":    {"POST /api/v1/admin/disputes/dsp_none/notes", `{"note":"x"}`, "dispute_not_found"},
		"dispute: move none":       {"PUT /api/v1/admin/disputes/dsp_none", `{"state":"resolved"}`, "dispute_not_found"},
		"dispute: other state":     {"PUT /api/v1/admin/disputes/dsp_none", `{"state":"won"}`, "invalid_request"},
		"disputes: state":          {"GET /api/v1/admin/disputes?state=won", ``, "invalid_request"},
		"approval: none":           {"GET /api/v1/admin/approvals/apr_none", ``, "approval_not_found"},
		"approval: approve none":   {"POST /api/v1/admin/approvals/apr_none/approve", ``, "approval_not_found"},
		"approval: reject none":    {"POST /api/v1/admin/approvals/apr_none/reject", `{"reason":"x"}`, "approval_not_found"},
		"approval: unknown field":  {"POST /api/v1/admin/approvals/apr_none/approve", `{"yes":true}`, "invalid_request"},
		"approvals: status":        {"GET /api/v1/admin/approvals?status=open", ``, "invalid_request"},
		"flag nobody":              {"POST /api/v1/admin/users/nobody/flag", `{"reason":"x"}`, "user_not_found"},
		"flag silently":            {"POST /api/v1/admin/users/rich/flag", `{}`, "invalid_request"},
		"unflag nobody":            {"POST /api/v1/admin/users/nobody/unflag", `{"reason":"x"}`, "user_not_found"},
		"deny: host bits":          {"POST /api/v1/admin/denied-addresses", `{"address":"203.0.113.7/24","reason":"x"}`, "invalid_request"},
		"deny: everybody":          {"POST /api/v1/admin/denied-addresses", `{"address":"0.0.0.0/0","reason":"x"}`, "invalid_request"},
		"deny: text":               {"POST /api/v1/admin/denied-addresses", `{"address":"localhost","reason":"x"}`, "invalid_request"},
		"deny: no reason":          {"POST /api/v1/admin/denied-addresses", `{"address":"203.0.113.7"}`, "invalid_request"},
		"allow: nothing":           {"DELETE /api/v1/admin/denied-addresses", ``, "invalid_request"},
		"allow: no reason":         {"DELETE /api/v1/admin/denied-addresses?address=203.0.113.7", ``, "invalid_request"},
		"allow: NUL in reason":     {"DELETE /api/v1/admin/denied-addresses?address=203.0.113.7&reason=a%00", ``, "invalid_request"},
		"allow: broken UTF-8":      {"DELETE /api/v1/admin/denied-addresses?address=203.0.113.7&reason=a%ff", ``, "invalid_request"},
		"allow: not denied":        {"DELETE /api/v1/admin/denied-addresses?address=203.0.113.7&reason=x", ``, "address_not_denied"},
		"denied: cursor":           {"GET /api/v1/admin/denied-addresses?cursor=1.2.3.4/2", ``, "invalid_request"},
		"device: NUL":              {"GET /api/v1/admin/devices/a%00", ``, "invalid_request"},
		"device: broken UTF-8":     {"GET /api/v1/admin/devices/a%ff", ``, "invalid_request"},
		"device: long":             {"GET /api/v1/admin/devices/" + strings.Repeat("d", 129), ``, "invalid_request"},
		"audit: NUL":               {"GET /api/v1/admin/audit?subject=%00", ``, "invalid_request"},
		"audit: actor in Unicode":  {"GET /api/v1/admin/audit?actor=%D1%91", ``, "invalid_request"},
		"audit: action":            {"GET /api/v1/admin/audit?action=DROP", ``, "invalid_request"},
		"audit: from":              {"GET /api/v1/admin/audit?from=yesterday", ``, "invalid_request"},
		"audit: cursor":            {"GET /api/v1/admin/audit?cursor=0", ``, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(test.call, " ")
			a := s.call("admin", method, path, test.body)
			require.Equal(t, test.code, a.code(), "%d %s", a.status, a.body)
		})
	}
	require.Equal(t, before, s.written())
}
