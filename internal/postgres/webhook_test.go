package postgres_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/internal/webhook"
)

const webhookSecret = "the-secret-of-the-test"

// listened is a counter whose orders are told of.
func listened(t *testing.T, events ...webhook.Event) *counter {
	t.Helper()
	c := newCounter(t)
	c.endpoint(func(e *postgres.WebhookEdit) { e.Events = events })
	return c
}

func (c *counter) endpoint(change ...func(*postgres.WebhookEdit)) postgres.WebhookEndpoint {
	c.t.Helper()
	edit := postgres.WebhookEdit{
		ProjectID: testkit.Project,
		URL:       "https://game.example/hook",
		Secret:    webhookSecret,
		Enabled:   true,
		Format:    2,
		Events:    webhook.DefaultEvents,
		Actor:     "test",
	}
	for _, f := range change {
		f(&edit)
	}
	e, err := c.PutWebhookEndpoint(c.t.Context(), edit, c.now)
	require.NoError(c.t, err)
	return e
}

// deliveries of an order, in their sequence.
func (c *counter) deliveries(orderID int64) (list []postgres.WebhookDelivery) {
	c.t.Helper()
	found, err := c.ListWebhooks(c.t.Context(), testkit.Project, postgres.WebhookFilter{OrderID: &orderID, Limit: 100})
	require.NoError(c.t, err)
	for _, d := range found { // newest first
		list = append([]postgres.WebhookDelivery{d}, list...)
	}
	return list
}

// told are the events of an order with the status that their bodies say, such as "order_paid paid".
func (c *counter) told(orderID int64) (events []string) {
	c.t.Helper()
	for i, d := range c.deliveries(orderID) {
		var body struct {
			NotificationType string `json:"notification_type"`
			EventID          string `json:"event_id"`
			Sequence         int    `json:"sequence"`
			Order            struct {
				ID     int64  `json:"id"`
				Status string `json:"status"`
			} `json:"order"`
		}
		require.NoError(c.t, json.Unmarshal(d.Body, &body))
		require.Equal(c.t, []any{string(d.Event), d.DeliveryID, d.Sequence, orderID, i + 1}, []any{body.NotificationType, body.EventID, body.Sequence, body.Order.ID, d.Sequence})
		events = append(events, body.NotificationType+" "+body.Order.Status)
	}
	return events
}

// Each change of an order is told once, in its sequence, in the transaction of the change.
func TestOrdersAreToldOf(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.Events...)
	whole := c.paidOrder("gun_1", 3)
	require.Equal(t, []string{"order_paid paid", "order_done done"}, c.told(whole))
	c.refund(whole, checkout.RefundLine{LineID: "1", Quantity: 1})
	c.refund(whole, checkout.RefundLine{LineID: "1", Quantity: 1})
	c.refund(whole)
	require.Equal(t, []string{"order_paid paid", "order_done done", "order_refunded done", "order_refunded done", "order_canceled canceled"}, c.told(whole))

	canceled := c.buy(c.order(checkout.PaidItem, "gun_1", 1)).OrderID
	_, err := c.CancelCheckout(t.Context(), testkit.Project, buyer, canceled, c.now)
	require.NoError(t, err)
	_, err = c.CancelCheckout(t.Context(), testkit.Project, buyer, canceled, c.now)
	require.NoError(t, err)
	require.Equal(t, []string{"order_canceled canceled"}, c.told(canceled), "once")

	free := c.order(checkout.FreeItem, "gift", 1)
	free.Idempotency = &postgres.Idempotency{Key: "k1", RequestHash: [32]byte{}}
	gift := c.buy(free).OrderID
	c.buy(free)
	require.Equal(t, []string{"order_paid done", "order_done done"}, c.told(gift), "nothing was to be paid; asked twice, told once")
	coins := c.order(checkout.VirtualItem, "pass", 1)
	coins.VirtualCurrency = "coins"
	require.Equal(t, []string{"order_paid done", "order_done done"}, c.told(c.buy(coins).OrderID))

	expired := c.buy(c.order(checkout.PaidItem, "gun_1", 1)).OrderID
	require.Empty(t, c.told(expired), "nothing has happened yet")
	c.now = c.now.Add(2 * time.Hour)
	c.settle(expired)
	c.settle(expired)
	require.Equal(t, []string{"order_expired expired"}, c.told(expired))
	testkit.RequireClean(t, c.DB)
}

// What can't be delivered any more is paid and canceled.
func TestUndeliverableOrderIsToldOf(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	first, second := c.buy(c.order(checkout.PaidItem, "skin", 1)), c.buy(c.order(checkout.PaidItem, "skin", 1))
	for _, o := range []postgres.CreatedCheckout{first, second} {
		c.pay(o.OrderID, "p-"+o.Token, "1.99")
		c.settle(o.OrderID)
	}
	require.Equal(t, []string{"order_paid paid"}, c.told(first.OrderID))
	require.Equal(t, []string{"order_paid paid", "order_canceled canceled"}, c.told(second.OrderID))
	var body struct {
		Order  struct{ Reason, Refunded string }
		Refund struct{ Amount string }
	}
	require.NoError(t, json.Unmarshal(c.deliveries(second.OrderID)[1].Body, &body))
	require.Equal(t, []string{"undeliverable", "1.99", "1.99"}, []string{body.Order.Reason, body.Order.Refunded, body.Refund.Amount})
}

func TestOnlyWhatIsChosenIsTold(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	require.Empty(t, c.told(c.paidOrder("gun_1", 1)), "nobody listens")
	c.endpoint(func(e *postgres.WebhookEdit) { e.Enabled = false })
	require.Empty(t, c.told(c.paidOrder("gun_1", 1)), "switched off")
	c.endpoint(func(e *postgres.WebhookEdit) { e.Events = []webhook.Event{webhook.OrderDone} })
	require.Equal(t, []string{"order_done done"}, c.told(c.paidOrder("gun_1", 1)))
	c.endpoint(func(e *postgres.WebhookEdit) { e.Format = 1 })
	order := c.paidOrder("gun_1", 1)
	require.Equal(t, []string{"order_paid paid"}, c.told(order))
	require.NotContains(t, string(c.deliveries(order)[0].Body), "is_bundle_content")
	testkit.RequireClean(t, c.DB)
}

var schedule = webhook.Schedule{5 * time.Minute, 15 * time.Minute}

func (c *counter) attempt(id string) (*postgres.WebhookCall, contract.WebhookStanding) {
	c.t.Helper()
	call, standing, err := c.BeginWebhook(c.t.Context(), id, 15*time.Second, c.now)
	require.NoError(c.t, err)
	return call, standing
}

func (c *counter) finish(call *postgres.WebhookCall, statusCode int, change ...func(*postgres.WebhookReport)) contract.WebhookStanding {
	c.t.Helper()
	report := postgres.WebhookReport{
		DeliveryID: call.DeliveryID,
		Attempt:    call.Attempt,
		StatusCode: statusCode,
		Took:       41 * time.Millisecond,
	}
	if statusCode == 0 {
		report.Error = "no answer in time"
	}
	for _, f := range change {
		f(&report)
	}
	standing, err := c.FinishWebhook(c.t.Context(), report, schedule, c.now)
	require.NoError(c.t, err)
	return standing
}

// try makes a try that is due.
func (c *counter) try(id string, statusCode int) contract.WebhookStanding {
	c.t.Helper()
	call, standing := c.attempt(id)
	require.NotNil(c.t, call, "%+v", standing)
	return c.finish(call, statusCode)
}

func (c *counter) delivery(id string) (postgres.WebhookDelivery, []postgres.WebhookAttempt) {
	c.t.Helper()
	d, attempts, err := c.GetWebhook(c.t.Context(), testkit.Project, id)
	require.NoError(c.t, err)
	return d, attempts
}

func (c *counter) openAlerts() (kinds []string) {
	c.t.Helper()
	alerts, err := c.Alerts(c.t.Context(), testkit.Project, new(true), 0, 100)
	require.NoError(c.t, err)
	for _, a := range alerts {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}

func TestDeliveryIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	call, standing := c.attempt(id)
	require.Equal(t, webhook.Pending, standing.Status)
	require.Equal(t, []any{1, "https://game.example/hook", []string{webhookSecret}, webhook.OrderPaid}, []any{call.Attempt, call.URL, call.Secrets, call.Event})
	d, attempts := c.delivery(id)
	require.Equal(t, string(d.Body), string(call.Body))
	require.Len(t, attempts, 1)
	require.Nil(t, attempts[0].FinishedAt, "under way")

	require.Equal(t, contract.WebhookStanding{Status: webhook.Delivered}, c.finish(call, 204, func(r *postgres.WebhookReport) { r.Answer = "thanks" }))
	require.Equal(t, contract.WebhookStanding{Status: webhook.Delivered}, c.finish(call, 500), "told again, nothing changes")
	d, attempts = c.delivery(id)
	require.Equal(t, []any{webhook.Delivered, 1, "", true}, []any{d.Status, d.Attempts, d.Reason, d.NextAttemptAt == nil})
	require.Equal(t, []any{int32(204), int64(41), "thanks", ""}, []any{*attempts[0].StatusCode, *attempts[0].DurationMS, attempts[0].Answer, attempts[0].Error})
	call, standing = c.attempt(id)
	require.Nil(t, call)
	require.Equal(t, contract.WebhookStanding{Status: webhook.Delivered}, standing)
	testkit.RequireClean(t, c.DB)
}

// Each try comes when the schedule says; after the last the delivery is dead, and one alert is open.
func TestDeliveryDies(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	for i, pause := range schedule {
		standing := c.try(id, 503)
		require.Equal(t, webhook.Pending, standing.Status)
		require.Equal(t, pause, standing.Until.Sub(c.now), "after try %d", i+1)
		c.now = c.now.Add(pause - time.Second)
		call, early := c.attempt(id)
		require.Nil(t, call)
		require.Equal(t, standing.Until.UTC(), early.Until.UTC(), "woken too early")
		c.now = c.now.Add(time.Second)
	}
	require.Empty(t, c.openAlerts())
	require.Equal(t, contract.WebhookStanding{Status: webhook.Dead}, c.try(id, 0))
	d, attempts := c.delivery(id)
	require.Equal(t, []any{webhook.Dead, "retries_exhausted", 3}, []any{d.Status, d.Reason, d.Attempts})
	require.Nil(t, attempts[2].StatusCode)
	require.Equal(t, "no answer in time", attempts[2].Error)
	require.Equal(t, []string{"webhook_dead"}, c.openAlerts())
	testkit.RequireClean(t, c.DB)
}

func TestListenerAsksForMoreTime(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	call, _ := c.attempt(id)
	standing := c.finish(call, 429, func(r *postgres.WebhookReport) { r.RetryAfter = 20 * time.Minute })
	require.Equal(t, 20*time.Minute, standing.Until.Sub(c.now))
}

func TestRefusalIsFinal(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	require.Equal(t, contract.WebhookStanding{Status: webhook.Refused}, c.try(id, 422))
	d, _ := c.delivery(id)
	require.Equal(t, []any{webhook.Refused, "refused"}, []any{d.Status, d.Reason})
	require.Equal(t, []string{"webhook_refused"}, c.openAlerts())
	testkit.RequireClean(t, c.DB)
}

// A process that is lost during its try leaves it open; after its bound another is made, and what the first
// one reports late only counts if it ends the delivery.
func TestLostAndLateTries(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	lost, _ := c.attempt(id)
	call, standing := c.attempt(id)
	require.Nil(t, call, "two at once are never made")
	require.Equal(t, 20*time.Second, standing.Until.Sub(c.now))
	c.now = standing.Until.UTC()
	call, _ = c.attempt(id)
	require.Equal(t, 2, call.Attempt)
	late := c.finish(lost, 503)
	require.Equal(t, webhook.Pending, late.Status)
	require.Equal(t, 20*time.Second, late.Until.Sub(c.now), "the second is under way")
	require.Equal(t, webhook.Pending, c.finish(call, 503).Status)

	other := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	lost, _ = c.attempt(other)
	c.now = c.now.Add(time.Minute)
	call, _ = c.attempt(other)
	require.Equal(t, webhook.Delivered, c.finish(lost, 200).Status, "it has arrived")
	require.Equal(t, webhook.Delivered, c.finish(call, 500).Status)
	testkit.RequireClean(t, c.DB)
}

// Of one order the second waits until the first is over, whatever became of it; other orders do not wait.
func TestDeliveriesOfAnOrderGoInSequence(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.OrderPaid, webhook.OrderDone)
	order, other := c.deliveries(c.paidOrder("gun_1", 1)), c.deliveries(c.paidOrder("gun_1", 1))
	first, second := order[0].DeliveryID, order[1].DeliveryID
	leased := c.leaseWebhooks()
	require.Len(t, leased, 4)
	require.NoError(t, c.MarkWebhooksTold(t.Context(), leased, c.now))

	call, standing := c.attempt(second)
	require.Nil(t, call)
	require.Equal(t, time.Minute, standing.Until.Sub(c.now))
	due := c.try(first, 500).Until
	_, standing = c.attempt(second)
	require.Equal(t, due.Add(time.Minute).UTC(), standing.Until.UTC())
	require.Equal(t, webhook.Delivered, c.try(other[0].DeliveryID, 200).Status)

	c.now = *due
	require.Equal(t, webhook.Refused, c.try(first, 409).Status)
	woken := c.leaseWebhooks()
	require.Len(t, woken, 2)
	require.ElementsMatch(t, []string{other[1].DeliveryID, second}, []string{woken[0].Input.DeliveryID, woken[1].Input.DeliveryID}, "those behind are woken")
	require.Equal(t, []int{2, 2}, []int{woken[0].Changes, woken[1].Changes})
	require.Equal(t, webhook.Delivered, c.try(second, 200).Status)
	testkit.RequireClean(t, c.DB)
}

func (c *counter) leaseWebhooks() []postgres.WebhookChange {
	c.t.Helper()
	leased, err := c.LeaseWebhooks(c.t.Context(), time.Minute, 10, c.now)
	require.NoError(c.t, err)
	return leased
}

func TestSweepFindsWebhooks(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	leased := c.leaseWebhooks()
	require.Len(t, leased, 1)
	require.Equal(t, []any{id, 1, webhook.OrderPaid, buyer}, []any{leased[0].Input.DeliveryID, leased[0].Changes, leased[0].Input.Event, leased[0].Input.UserID})
	require.Empty(t, c.leaseWebhooks(), "leased")
	c.now = c.now.Add(time.Minute)
	require.Len(t, c.leaseWebhooks(), 1, "nobody has said that it was told")
	require.NoError(t, c.MarkWebhooksTold(t.Context(), leased, c.now))
	due := *c.try(id, 500).Until
	c.now = due.Add(2*time.Minute - time.Second)
	require.Empty(t, c.leaseWebhooks())
	c.now = due.Add(2 * time.Minute)
	require.Len(t, c.leaseWebhooks(), 1, "its run was lost")
	c.try(id, 200)
	c.now = c.now.Add(24 * time.Hour)
	require.Empty(t, c.leaseWebhooks(), "it is over")
}

// What was written before the endpoint was switched off is not sent any more, and can be sent when it is on again.
func TestEndpointIsSwitchedOff(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	id := c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID
	off := func(e *postgres.WebhookEdit) { e.Enabled = false }
	c.endpoint(off)
	call, standing := c.attempt(id)
	require.Nil(t, call)
	require.Equal(t, contract.WebhookStanding{Status: webhook.Dead}, standing)
	d, attempts := c.delivery(id)
	require.Equal(t, "endpoint_off", d.Reason)
	require.Empty(t, attempts)
	require.Empty(t, c.openAlerts(), "somebody has done it")
	require.ErrorIs(t, c.ReplayWebhook(t.Context(), testkit.Project, id, "test", c.now), postgres.ErrEndpointOff)
	c.endpoint()
	require.NoError(t, c.ReplayWebhook(t.Context(), testkit.Project, id, "test", c.now))
	require.Equal(t, webhook.Delivered, c.try(id, 200).Status)
	testkit.RequireClean(t, c.DB)
}

// A listener that keeps many calls waiting is not called more, so that those of other projects are: what is
// due waits for minutes, and nothing counts as tried.
func TestSlowListenerIsNotCalledMore(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	var calls []*postgres.WebhookCall
	next := func() string { return c.deliveries(c.buy(c.order(checkout.FreeItem, "gift", 1)).OrderID)[0].DeliveryID }
	for range 20 {
		call, _ := c.attempt(next())
		calls = append(calls, call)
	}
	call, _ := c.attempt(next())
	require.NotNil(t, call, "they may be quick")
	c.now = c.now.Add(5 * time.Second)
	id := next()
	call, standing := c.attempt(id)
	require.Nil(t, call)
	require.GreaterOrEqual(t, standing.Until.Sub(c.now), time.Minute)
	require.Less(t, standing.Until.Sub(c.now), 5*time.Minute)
	d, _ := c.delivery(id)
	require.Equal(t, []any{webhook.Pending, 0}, []any{d.Status, d.Attempts})
	testkit.RequireClean(t, c.DB)

	for _, call := range calls[:2] {
		c.finish(call, 503)
	}
	call, _ = c.attempt(next())
	require.NotNil(t, call, "there is room")
	c.now = standing.Until.UTC()
	call, _ = c.attempt(id)
	require.NotNil(t, call, "the others are over, or lost")
}

// A replay begins the schedule anew, for one caller; the alert ends when nothing is dead any more.
func TestReplayOfWebhooks(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	ids := []string{c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID, c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID}
	for _, id := range ids {
		require.ErrorIs(t, c.ReplayWebhook(t.Context(), testkit.Project, id, "test", c.now), postgres.ErrConflict, "it is pending")
		for range 3 {
			c.try(id, 500)
			c.now = c.now.Add(time.Hour)
		}
	}
	require.Equal(t, []string{"webhook_dead"}, c.openAlerts(), "one for all")
	require.ErrorIs(t, c.ReplayWebhook(t.Context(), testkit.Project, "we_none", "test", c.now), postgres.ErrNotFound)
	require.ErrorIs(t, c.ReplayWebhook(t.Context(), testkit.Project+1, ids[0], "test", c.now), postgres.ErrNotFound)

	replay := func() error { return c.ReplayWebhook(t.Context(), testkit.Project, ids[0], "test", c.now) }
	won := 0
	for _, err := range at(replay, replay, replay) {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, postgres.ErrConflict)
		}
	}
	require.Equal(t, 1, won)
	require.Equal(t, []string{"webhook_dead"}, c.openAlerts(), "the other is dead")
	require.Equal(t, 5*time.Minute, c.try(ids[0], 500).Until.Sub(c.now), "from the beginning of the schedule")
	c.now = c.now.Add(time.Hour)
	require.Equal(t, webhook.Delivered, c.try(ids[0], 200).Status)
	require.NoError(t, c.ReplayWebhook(t.Context(), testkit.Project, ids[1], "test", c.now))
	require.Empty(t, c.openAlerts())
	c.try(ids[1], 200)

	require.NoError(t, replay(), "what was delivered, too")
	require.Equal(t, webhook.Delivered, c.try(ids[0], 200).Status)
	d, attempts := c.delivery(ids[0])
	require.Equal(t, []any{2, 6}, []any{d.Replays, len(attempts)})
	testkit.RequireClean(t, c.DB)
}

func TestListsOfWebhooks(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.OrderPaid, webhook.OrderDone)
	order := c.deliveries(c.paidOrder("gun_1", 1))
	c.paidOrder("gun_1", 1)
	c.try(order[0].DeliveryID, 200)
	list := func(f postgres.WebhookFilter) int {
		found, err := c.ListWebhooks(t.Context(), testkit.Project, f)
		require.NoError(t, err)
		return len(found)
	}
	require.Equal(t, []int{4, 1, 3, 2, 2, 2, 1}, []int{list(postgres.WebhookFilter{Limit: 10}), list(postgres.WebhookFilter{
		Status: "delivered",
		Limit:  10,
	}), list(postgres.WebhookFilter{Status: "pending", Limit: 10}),
		list(postgres.WebhookFilter{
			Event: "order_done",
			Limit: 10,
		}), list(postgres.WebhookFilter{OrderID: &order[0].OrderID, Limit: 10}), list(postgres.WebhookFilter{Limit: 2}),
		list(postgres.WebhookFilter{Before: order[1].DeliveryID, Limit: 10})})
	none, err := c.ListWebhooks(t.Context(), testkit.Project+1, postgres.WebhookFilter{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestSecretsOverlap(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	_, err := c.PutWebhookEndpoint(t.Context(), postgres.WebhookEdit{
		ProjectID: testkit.Project,
		URL:       "https://game.example",
		Format:    2,
		Events:    webhook.DefaultEvents,
	}, c.now)
	require.ErrorIs(t, err, postgres.ErrSecretNeeded)
	e := c.endpoint()
	require.Equal(t, []string{webhookSecret}, e.Secrets(c.now))
	e = c.endpoint(func(e *postgres.WebhookEdit) { e.Secret = "" })
	require.Equal(t, []string{webhookSecret}, e.Secrets(c.now), "it stays")
	require.Nil(t, c.endpoint().PreviousUntil, "the same again is no change")

	rotate := func(secret string, until *time.Time) postgres.WebhookEndpoint {
		return c.endpoint(func(e *postgres.WebhookEdit) { e.Secret, e.PreviousUntil = secret, until })
	}
	e = rotate("the-second-secret", nil)
	require.Equal(t, []string{"the-second-secret", webhookSecret}, e.Secrets(c.now))
	require.Equal(t, c.now.Add(24*time.Hour), e.PreviousUntil.UTC())
	require.Equal(t, []string{"the-second-secret"}, e.Secrets(c.now.Add(24*time.Hour)))
	e = rotate("", new(c.now.Add(time.Hour)))
	require.Equal(t, c.now.Add(time.Hour), e.PreviousUntil.UTC(), "sooner")
	require.Equal(t, []string{"the-second-secret"}, rotate("", new(c.now)).Secrets(c.now), "at once: it has leaked")
	require.Equal(t, []string{"the-third-secret!"}, rotate("the-third-secret!", new(c.now)).Secrets(c.now))
	var audits string
	require.NoError(t, c.Pool().QueryRow(t.Context(), "SELECT string_agg(detail::text, '') FROM audit_log WHERE action = 'webhook.update'").Scan(&audits))
	require.NotContains(t, audits, "secret!")
	require.NotContains(t, audits, webhookSecret)
	require.Contains(t, audits, `"secret_changed": true`)
}

func TestEditsOfTheEndpointRace(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	_, err := c.GetWebhookEndpoint(t.Context(), testkit.Project)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	edit := func(version int64) func() error {
		return func() error {
			_, err := c.PutWebhookEndpoint(t.Context(), postgres.WebhookEdit{
				ProjectID: testkit.Project,
				URL:       "https://game.example",
				Secret:    webhookSecret,
				Format:    2,
				Events:    webhook.DefaultEvents,
				Version:   version,
				Actor:     "test",
			}, c.now)
			return err
		}
	}
	require.ErrorIs(t, edit(1)(), postgres.ErrConflict, "there is none")
	require.NoError(t, errors.Join(edit(0)()))
	won := 0
	for _, err := range at(edit(1), edit(1), edit(1)) {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, postgres.ErrConflict)
		}
	}
	require.Equal(t, 1, won)
	e, err := c.GetWebhookEndpoint(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.EqualValues(t, 2, e.Version)
}

func TestVerifyFindsDamagedWebhooks(t *testing.T) {
	t.Parallel()
	for damage, rule := range map[string]string{
		`DELETE FROM webhook_attempts; DELETE FROM webhook_deliveries WHERE event = 'order_paid'`:                                              "webhooks tell of what their orders have been, in sequence",
		`UPDATE webhook_deliveries SET event = 'order_expired' WHERE event = 'order_done'`:                                                     "webhooks tell of what their orders have been, in sequence",
		`UPDATE webhook_attempts SET status_code = 500`:                                                                                        "webhooks count as answered only if they were",
		`DELETE FROM webhook_attempts`:                                                                                                         "webhooks count as answered only if they were",
		`UPDATE webhook_deliveries SET next_attempt_at = next_attempt_at - interval '1 day' WHERE status = 'pending' AND event = 'order_done'`: "webhooks are tried when they are due",
	} {
		t.Run(strings.Fields(damage)[0]+" "+rule, func(t *testing.T) {
			t.Parallel()
			c := listened(t, webhook.OrderPaid, webhook.OrderDone)
			c.try(c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID, 200)
			testkit.RequireClean(t, c.DB)
			for statement := range strings.SplitSeq(damage, ";") {
				testkit.Exec(t, c.DB, statement)
			}
			checks, err := c.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, c.now)
			require.NoError(t, err)
			for _, check := range checks {
				require.Equal(t, check.Rule == rule, len(check.Broken) > 0, "%s: %v", check.Rule, check.Broken)
			}
		})
	}
}

// One dies while another that was dead is replayed, again and again: whenever one is dead an alert is open,
// and only then.
func TestAlertsFollowWhatIsDead(t *testing.T) {
	t.Parallel()
	c := listened(t, webhook.DefaultEvents...)
	ids := []string{c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID, c.deliveries(c.paidOrder("gun_1", 1))[0].DeliveryID}
	die := func(id string) func() error {
		return func() error {
			call, _, err := c.BeginWebhook(t.Context(), id, time.Second, c.now)
			if err != nil || call == nil {
				return err
			}
			_, err = c.FinishWebhook(t.Context(), postgres.WebhookReport{
				DeliveryID: id,
				Attempt:    call.Attempt,
				StatusCode: 500,
			}, nil, c.now)
			return err
		}
	}
	require.NoError(t, die(ids[0])())
	for k := range 50 {
		dying, dead := ids[(k+1)%2], ids[k%2]
		require.NoError(t, errors.Join(at(die(dying), func() error { return c.ReplayWebhook(t.Context(), testkit.Project, dead, "test", c.now) })...))
		require.Equal(t, []string{"webhook_dead"}, c.openAlerts(), "round %d", k)
	}
	testkit.RequireClean(t, c.DB)
}
