package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/webhook"
)

const (
	webhooks   = "/api/v1/admin/webhooks"
	deliveries = "/api/v1/admin/webhook-deliveries"
	listening  = `{"url": "https://game.example/hook", "secret": "the-secret-of-the-test"}`
)

// listen sets an endpoint up.
func (s *shop) listen(body string) answer {
	s.t.Helper()
	a := s.call("admin", "PUT", webhooks, body)
	require.Equal(s.t, 200, a.status, "%s", a.body)
	return a
}

func TestEndpointOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	none := s.call("support", "GET", webhooks, "")
	require.Equal(t, []any{404, "webhook_endpoint_not_found"}, []any{none.status, none.code()})
	require.Equal(t, 412, s.call("admin", "PUT", webhooks, listening, header("If-Match", "*")).status, "there is none")
	noSecret := s.call("admin", "PUT", webhooks, `{"url": "https://game.example/hook"}`)
	require.Equal(t, 400, noSecret.status)
	require.Contains(t, string(noSecret.body), "secret")

	made := s.listen(listening)
	require.Equal(t, `"1"`, made.header.Get("ETag"))
	require.JSONEq(t, fmt.Sprintf(`{"url": "https://game.example/hook", "is_enabled": true, "version": 2, "events": ["order_paid", "order_canceled"], "previous_until": null, "updated_at": %q}`,
		into[WebhookEndpoint](t, made).UpdatedAt.Format(time.RFC3339Nano)), string(made.body))
	require.Equal(t, string(made.body), string(s.call("support", "GET", webhooks, "").body))

	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	rotate := fmt.Sprintf(`{"url": "https://game.example/v2", "secret": "the-secret-that-follows", "previous_until": %q, "version": 1, "events": ["order_done"], "is_enabled": false}`, until.Format(time.RFC3339))
	require.Equal(t, 412, s.call("admin", "PUT", webhooks, rotate, header("If-Match", `"2"`)).status)
	changed := s.call("admin", "PUT", webhooks, rotate, header("If-Match", `"1"`))
	require.Equal(t, []any{200, `"2"`}, []any{changed.status, changed.header.Get("ETag")}, "%s", changed.body)
	e := into[WebhookEndpoint](t, changed)
	require.Equal(t, []any{"https://game.example/v2", false, 1, []webhook.Event{webhook.OrderDone}, until}, []any{e.URL, e.IsEnabled, e.Version, e.Events, e.PreviousUntil.UTC()})
	require.Equal(t, "version_conflict", s.call("admin", "PUT", webhooks, rotate, header("If-Match", `"1"`)).code())
	for _, a := range []answer{made, changed} {
		require.NotContains(t, string(a.body), "the-secret")
	}
	require.NotContains(t, s.log.String(), "the-secret")
}

func TestWrongEndpoints(t *testing.T) {
	t.Parallel()
	s := newShop(t).openV2()
	before := s.written()
	for _, body := range []string{
		``, `{}`, `{"url": ""}`, `{"url": 7}`, `{"url": "https://game.example", "secret": "short"}`, `{"url": "http://game.example", "secret": "the-secret-of-the-test"}`,
		`{"url": "https://127.0.0.1", "secret": "the-secret-of-the-test"}`, `{"url": "https://user:pw@game.example", "secret": "the-secret-of-the-test"}`,
		`{"url": "https://` + strings.Repeat("a", 2050) + `", "secret": "the-secret-of-the-test"}`, `{"url": "https://game.example", "secret": "with a space in it"}`,
		`{"url": "https://game.example", "secret": "whsec_not?base64!not?base64!"}`, `{"url": "https://game.example", "secret": "the-secret-of-the-test", "events": []}`,
		`{"url": "https://game.example", "secret": "the-secret-of-the-test", "events": ["order_eaten"]}`, `{"url": "https://game.example", "secret": "the-secret-of-the-test", "events": ["order_paid", "order_paid"]}`,
		`{"url": "https://game.example", "secret": "the-secret-of-the-test", "version": 3}`, `{"url": "https://game.example", "secret": "the-secret-of-the-test", "is_enabled": "yes"}`,
		`{"url": "https://game.example", "secret": "the-secret-of-the-test", "previous_until": "tomorrow"}`, `{"url": "https://game.example", "secret": "the-secret-of-the-test", "previous_until": "2999-01-01T00:00:00Z"}`,
		`{"url": "https://game.example", "secret": "the-secret-of-the-test", "colour": "red"}`,
	} {
		a := s.call("admin", "PUT", webhooks, body)
		require.Equal(t, []any{400, "invalid_request"}, []any{a.status, a.code()}, "%s: %s", body, a.body)
		if strings.Contains(body, "colour") || strings.Contains(body, "previous_until") || strings.Contains(body, "events") {
			continue // v2 does not know them
		}
		v2 := s.call("", "PUT", project+"/admin/webhook", body, byServer())
		require.Equal(t, 422, v2.status, "%s: %s", body, v2.body)
		require.Equal(t, 1102, into[v2Error](t, v2).ErrorCode)
	}
	require.Equal(t, before, s.written())
}

// In `dev`, a listener on this machine is what one has.
func TestPrivateEndpointsAreASetting(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.PrivateWebhooks = true })
	s.listen(`{"url": "http://127.0.0.1:9000/hook", "secret": "the-secret-of-the-test"}`)
}

// Clients of /api/v2 read the settings, change one and send all of them back.
func TestEndpointOfV2(t *testing.T) {
	t.Parallel()
	s := newShop(t).openV2()
	path := project + "/admin/webhook"
	call := func(method, body string) answer { return s.call("", method, path, body, byServer()) }
	require.JSONEq(t, `{"url": "", "secret": "", "is_enabled": false, "version": 2}`, string(call("GET", "").body))
	require.Equal(t, 422, call("PUT", `{"url": "https://game.example/hook", "secret": "********"}`).status, "a new endpoint needs a secret")
	require.Equal(t, 204, call("PUT", `{"url": "https://game.example/hook", "secret": "the-secret-of-the-test", "is_enabled": true, "version": 1, "unknown": 1}`).status)
	read := call("GET", "")
	require.JSONEq(t, `{"url": "https://game.example/hook", "secret": "********", "is_enabled": true, "version": 1}`, string(read.body))

	s.listen(`{"url": "https://game.example/hook", "events": ["order_done"], "version": 1}`)
	require.Equal(t, 204, call("PUT", string(read.body)).status)
	e, err := s.db.GetWebhookEndpoint(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"the-secret-of-the-test"}, e.Secrets(time.Now()), "sent back, it changes nothing")
	require.Equal(t, []webhook.Event{webhook.OrderDone}, e.Events, "v2 does not know them, so they stay")
	require.Equal(t, 204, call("PUT", `{"url": "https://game.example/hook", "secret": "the-secret-that-follows"}`).status)
	e, err = s.db.GetWebhookEndpoint(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"the-secret-that-follows", "the-secret-of-the-test"}, e.Secrets(time.Now()))
	require.Equal(t, 403, s.call("", "GET", path, "").status)
	require.NotEqual(t, 200, s.call("", "GET", path, "", byUser(t, "rich")).status, "the server's")
}

// Orders over HTTP are told of, and the outbox is woken by each call that may have changed one.
func TestOrdersOverHTTPAreToldOf(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.listen(listening)
	woken := func() int {
		s.starter.mu.Lock()
		defer s.starter.mu.Unlock()
		n := s.starter.webhooks
		s.starter.webhooks = 0
		return n
	}
	s.checkout("/free/item/gift", "")
	require.Equal(t, 1, woken())
	made := s.checkout("/payment/item/gun_1", `{"quantity": 2}`)
	require.Equal(t, 200, s.card(*made.Token, payments.CardPays, "").status)
	require.Equal(t, 1, woken())
	s.deliver(made.OrderID)
	require.Equal(t, 200, s.call("admin", "POST", fmt.Sprintf("/api/v1/admin/checkout-orders/%d/refund", made.OrderID), `{"reason": "asked"}`).status)
	require.Equal(t, 1, woken())
	other := s.checkout("/payment/item/gun_1", "")
	s.v2(200, "POST", fmt.Sprintf("%s/order/%d/cancel", project, other.OrderID), "")
	require.Equal(t, 1, woken())

	list := into[WebhookDeliveryPage](t, s.call("support", "GET", deliveries, ""))
	var told []string
	for _, d := range list.Items {
		told = append(told, fmt.Sprint(d.Event, " ", d.Sequence, " ", d.Status))
	}
	require.ElementsMatch(t, []string{"order_canceled 1 pending", "order_canceled 2 pending", "order_paid 1 pending", "order_paid 1 pending"}, told)
	canceled := into[WebhookDeliveryPage](t, s.call("support", "GET", fmt.Sprintf("%s?order_id=%d&event=order_canceled&status=pending", deliveries, made.OrderID), ""))
	require.Len(t, canceled.Items, 1)
	require.Equal(t, canceled.Items[0].DeliveryID, list.Items[1].DeliveryID, "newest first")
	body := into[struct {
		Body struct {
			Order struct{ ID int64 }
			Items []struct{ SKU, Amount string }
		}
	}](t, s.call("support", "GET", deliveries+"/"+canceled.Items[0].DeliveryID, "")).Body
	require.Equal(t, made.OrderID, body.Order.ID)
	require.Equal(t, "1.99", body.Items[0].Amount)
}

func TestListsOfDeliveries(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.listen(`{"url": "https://game.example/hook", "secret": "the-secret-of-the-test", "events": ["order_paid"]}`)
	for range 5 {
		s.checkout("/free/item/gift", "")
	}
	var seen []string
	cursor := ""
	for {
		page := into[WebhookDeliveryPage](t, s.call("admin", "GET", deliveries+"?limit=2"+cursor, ""))
		for _, d := range page.Items {
			seen = append(seen, d.DeliveryID)
		}
		if page.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *page.NextCursor
	}
	require.Len(t, seen, 5)
	require.Empty(t, into[WebhookDeliveryPage](t, s.call("admin", "GET", deliveries+"?status=dead", "")).Items)
	for _, query := range []string{"?status=lost", "?event=test", "?order_id=0", "?order_id=x", "?cursor=x", "?cursor=we_", "?limit=0", "?colour=red"} {
		require.Equal(t, 400, s.call("admin", "GET", deliveries+query, "").status, query)
	}
	require.Equal(t, "webhook_delivery_not_found", s.call("admin", "GET", deliveries+"/we_00000000000000000000", "").code())
	require.Equal(t, 400, s.call("admin", "GET", deliveries+"/nonsense", "").status)
}

func TestReplayOfADelivery(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.listen(listening)
	s.checkout("/free/item/gift", "")
	id := into[WebhookDeliveryPage](t, s.call("admin", "GET", deliveries, "")).Items[0].DeliveryID
	replay := func() answer { return s.call("admin", "POST", deliveries+"/"+id+"/replay", "") }
	pending := replay()
	require.Equal(t, []any{409, "webhook_not_replayable"}, []any{pending.status, pending.code()})
	require.Equal(t, "webhook_delivery_not_found", s.call("admin", "POST", deliveries+"/we_00000000000000000000/replay", "").code())

	call, _, err := s.db.BeginWebhook(t.Context(), id, time.Second, time.Now())
	require.NoError(t, err)
	_, err = s.db.FinishWebhook(t.Context(), postgres.WebhookReport{
		DeliveryID: id,
		Attempt:    call.Attempt,
		StatusCode: 422,
		Answer:     "no",
		Took:       time.Millisecond,
	}, nil, time.Now())
	require.NoError(t, err)
	detail := into[WebhookDeliveryDetail](t, s.call("support", "GET", deliveries+"/"+id, ""))
	require.Equal(t, []any{webhook.Refused, "refused", 1}, []any{detail.Delivery.Status, *detail.Delivery.Reason, len(detail.Tries)})
	require.Equal(t, []any{int32(422), "no"}, []any{*detail.Tries[0].StatusCode, *detail.Tries[0].Answer})
	var body struct {
		EventID string `json:"event_id"`
	}
	require.NoError(t, json.Unmarshal(detail.Body, &body))
	require.Equal(t, id, body.EventID)

	s.listen(`{"url": "https://game.example/hook", "is_enabled": false}`)
	off := replay()
	require.Equal(t, []any{409, "webhook_not_replayable"}, []any{off.status, off.code()})
	s.listen(`{"url": "https://game.example/hook"}`)
	again := replay()
	require.Equal(t, 202, again.status, "%s", again.body)
	d := into[WebhookDelivery](t, again)
	require.Equal(t, []any{webhook.Pending, 1, true}, []any{d.Status, d.Replays, d.NextAttemptAt != nil})
	require.Equal(t, 409, replay().status, "one caller wins")
}

func TestTestDelivery(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	test := func() answer { return s.call("admin", "POST", webhooks+"/test", "") }
	require.Equal(t, "webhook_endpoint_not_found", test().code())
	s.listen(listening)
	s.starter.tested = contract.WebhookTested{
		EventID:    "we_d5k2v0b6t2ac73f9m2v0",
		Status:     webhook.Delivered,
		StatusCode: 204,
		DurationMS: 41,
	}
	require.JSONEq(t, `{"event_id": "we_d5k2v0b6t2ac73f9m2v0", "status": "delivered", "status_code": 204, "answer": null, "error": null, "duration_ms": 41}`, string(test().body))
	s.starter.tested = contract.WebhookTested{
		EventID:    "we_d5k2v0b6t2ac73f9m2v0",
		Status:     webhook.Pending,
		Error:      "no answer in time",
		DurationMS: 6000,
	}
	require.JSONEq(t, `{"event_id": "we_d5k2v0b6t2ac73f9m2v0", "status": "pending", "status_code": null, "answer": null, "error": "no answer in time", "duration_ms": 6000}`, string(test().body))
	s.starter.testError = errors.Join(errors.New("temporal is away"), context.DeadlineExceeded)
	away := test()
	require.Equal(t, []any{503, "unavailable"}, []any{away.status, away.code()})
	require.NotContains(t, string(away.body), "temporal")
	require.Contains(t, s.log.String(), "temporal is away")
}

// What a poll says of an order is what its webhook says.
func TestWebhookAgreesWithTheOrder(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.listen(`{"url": "https://game.example/hook", "secret": "the-secret-of-the-test", "events": ["order_paid", "order_done"]}`)
	made := s.checkout("/free/item/gift", "")
	for _, d := range into[WebhookDeliveryPage](t, s.call("admin", "GET", fmt.Sprintf("%s?order_id=%d", deliveries, made.OrderID), "")).Items {
		body := into[struct {
			Body struct {
				Order struct{ Status checkout.OrderStatus }
			}
		}](t, s.call("admin", "GET", deliveries+"/"+d.DeliveryID, ""))
		require.Equal(t, s.status(made.OrderID), body.Body.Order.Status)
	}
}
