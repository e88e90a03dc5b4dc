package outbox_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/internal/webhook"
	"github.com/quickpass/quickpass/internal/webhook/fake"
	"github.com/quickpass/quickpass/internal/webhook/send"
	"github.com/quickpass/quickpass/worker"
)

const listenerSecret = "the-secret-of-the-test"

// hear is a till whose orders are told to a listener, by workers that try again after a second, once.
func hear(t *testing.T, list ...fake.Behaviour) (*till, *fake.Listener) {
	t.Helper()
	b, listener := newTill(t), fake.New(listenerSecret)
	listener.Misbehave(list...)
	server := httptest.NewServer(listener)
	t.Cleanup(server.Close)
	t.Cleanup(listener.Stop)
	_, err := b.db.PutWebhookEndpoint(t.Context(), postgres.WebhookEdit{
		ProjectID: testkit.Project,
		URL:       server.URL,
		Secret:    listenerSecret,
		Enabled:   true,
		Format:    2,
		Events:    []webhook.Event{webhook.OrderPaid, webhook.OrderDone},
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
	workers := worker.New(worker.Options{
		Client:          b.engine.Client,
		DB:              b.db,
		Product:         b.product.Client(t, false),
		WorkflowSlots:   50,
		DeliverySlots:   50,
		CachedRuns:      50,
		StopTimeout:     time.Minute,
		WebhookSlots:    20,
		Webhooks:        send.New(true),
		WebhookSchedule: webhook.Schedule{time.Second},
	})
	require.NoError(t, workers.Start())
	t.Cleanup(func() { require.True(t, workers.Stop(time.Now().Add(time.Minute))) })
	return b, listener
}

func (b *till) requireWebhooks(orderID int64, want ...webhook.Status) (ids []string) {
	b.t.Helper()
	testkit.Eventually(b.t, "its webhooks", func(ctx context.Context) error {
		list, err := b.db.ListWebhooks(ctx, testkit.Project, postgres.WebhookFilter{OrderID: &orderID, Limit: 10})
		if err != nil {
			return err
		}
		ids = nil
		for i, status := range want {
			if len(list) != len(want) || list[len(list)-1-i].Status != status {
				return errors.New("not yet")
			}
			ids = append(ids, list[len(list)-1-i].DeliveryID)
		}
		return nil
	})
	return ids
}

func events(books []fake.Received, orderID int64) (told []string) {
	for _, received := range books {
		if received.OrderID == orderID {
			told = append(told, received.Event)
		}
	}
	return told
}

// An order's events arrive in their sequence, though the first try of the first is dropped.
func TestWebhooksOfAnOrderArrive(t *testing.T) {
	t.Parallel()
	b, listener := hear(t, fake.Behaviour{Kind: fake.Drop, Calls: 1})
	box := b.outbox()
	run(t, box)
	made := b.order(time.Hour)
	box.OfferCheckout(b.pay(made.OrderID))
	box.OfferWebhooks()
	b.requireWebhooks(made.OrderID, webhook.Delivered, webhook.Delivered)
	require.Equal(t, []string{"order_paid", "order_paid", "order_done"}, events(listener.Books(), made.OrderID))
	for _, received := range listener.Books() {
		require.True(t, received.LegacyOK && received.StandardOK)
	}
	testkit.RequireClean(t, b.db)
}

// A delivery whose run is over is sent again by a new run of the same id.
func TestDeadWebhookIsReplayed(t *testing.T) {
	t.Parallel()
	b, listener := hear(t, fake.Behaviour{Kind: fake.Status, Status: 500})
	box := b.outbox()
	run(t, box)
	made := b.order(time.Hour)
	b.pay(made.OrderID) // nobody is offered it: the sweeps find all of it
	ids := b.requireWebhooks(made.OrderID, webhook.Dead, webhook.Dead)
	listener.Misbehave()
	require.NoError(t, b.db.ReplayWebhook(t.Context(), testkit.Project, ids[0], "test", time.Now()))
	box.OfferWebhooks()
	b.requireWebhooks(made.OrderID, webhook.Delivered, webhook.Dead)
	require.Equal(t, []string{"order_paid", "order_paid", "order_done", "order_done", "order_paid"}, events(listener.Books(), made.OrderID))
	testkit.RequireClean(t, b.db)
}

// While the listener hangs with one order's webhook, other orders are delivered.
func TestListenerThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b, listener := hear(t, fake.Behaviour{Kind: fake.Hang, Calls: 1})
	box := b.outbox()
	run(t, box)
	stuck, other := b.order(time.Hour), b.order(time.Hour)
	box.OfferCheckout(b.pay(stuck.OrderID))
	testkit.Eventually(t, "the listener hangs", func(context.Context) error {
		if len(listener.Books()) == 0 {
			return errors.New("nothing arrived")
		}
		return nil
	})
	recorded, err := b.db.RecordPayment(t.Context(), other.OrderID, sandboxPayment("p2"), time.Now())
	require.NoError(t, err)
	box.OfferCheckout(*recorded.Change)
	b.requireStatus(other.OrderID, "done")
	b.requireWebhooks(other.OrderID, webhook.Delivered, webhook.Delivered)
	b.requireWebhooks(stuck.OrderID, webhook.Pending, webhook.Pending)
	listener.Stop()
	b.requireWebhooks(stuck.OrderID, webhook.Delivered, webhook.Delivered)
	testkit.RequireClean(t, b.db)
}

// A test goes through a worker to the listener and back.
func TestEndpointIsTested(t *testing.T) {
	t.Parallel()
	b, listener := hear(t, fake.Behaviour{Kind: fake.Status, Status: 202, Body: "hello"})
	tested, err := b.outbox().TestWebhook(t.Context(), testkit.Project)
	require.NoError(t, err)
	require.Equal(t, []any{webhook.Delivered, 202, "hello"}, []any{tested.Status, tested.StatusCode, tested.Answer})
	require.Equal(t, tested.EventID, listener.Books()[0].ID)
}
