package activities_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/internal/webhook"
	"github.com/quickpass/quickpass/internal/webhook/fake"
	"github.com/quickpass/quickpass/internal/webhook/send"
)

// listened is a database where one order was paid, and the listener that is to be told of it.
type listened struct {
	db       *postgres.DB
	listener *fake.Listener
	steps    *activities.Webhook
	in       contract.WebhookInput
}

const listenerSecret = "the-secret-of-the-test"

func newListened(t *testing.T, list ...fake.Behaviour) *listened {
	t.Helper()
	l := &listened{db: testkit.Database(t), listener: fake.New(listenerSecret)}
	l.listener.Misbehave(list...)
	server := httptest.NewServer(l.listener)
	t.Cleanup(server.Close)
	t.Cleanup(l.listener.Stop)
	l.steps = &activities.Webhook{DB: l.db, Client: send.New(true), Schedule: webhook.Schedule{time.Minute}}
	testkit.AddUser(t, l.db, buyer, 0)
	_, err := l.db.PutWebhookEndpoint(t.Context(), postgres.WebhookEdit{
		ProjectID: testkit.Project,
		URL:       server.URL,
		Secret:    listenerSecret,
		Enabled:   true,
		Format:    2,
		Events:    webhook.DefaultEvents,
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
	gun := catalog.Item{
		SKU:             "gun_1",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Basic Blaster"},
		Prices:          []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}},
	}
	made, err := l.db.CreateCheckout(t.Context(), postgres.NewCheckout{
		Form:    checkout.PaidItem,
		Wanted:  []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     time.Hour,
		Shopper: postgres.Shopper{
			ProjectID: testkit.Project,
			UserID:    buyer,
			Catalog:   catalog.New([]catalog.Item{gun}, nil),
			View:      catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()},
		},
	})
	require.NoError(t, err)
	_, err = l.db.RecordPayment(t.Context(), made.OrderID, checkout.Payment{
		Provider:   "sandbox",
		ProviderID: "p1",
		Amount:     decimal.RequireFromString("1.99"),
		Currency:   "USD",
		Sandbox:    true,
	}, time.Now())
	require.NoError(t, err)
	leased, err := l.db.LeaseWebhooks(t.Context(), time.Hour, 10, time.Now())
	require.NoError(t, err)
	l.in = leased[0].Input
	return l
}

// due makes the next try due at once.
func (l *listened) due(t *testing.T) {
	testkit.Exec(t, l.db, "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 second', in_flight_until = NULL")
}

func TestWebhookArrivesAndIsWrittenDown(t *testing.T) {
	t.Parallel()
	l := newListened(t, fake.Behaviour{Kind: fake.Drop, Calls: 1}, fake.Behaviour{Kind: fake.Status, Status: 200, Body: "thanks"})
	standing, err := run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.NoError(t, err)
	require.Equal(t, webhook.Pending, standing.Status)
	early, err := run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.NoError(t, err)
	require.Equal(t, standing.Until.UTC(), early.Until.UTC())
	require.Len(t, l.listener.Books(), 1, "not before its time")
	l.due(t)
	standing, err = run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.NoError(t, err)
	require.Equal(t, contract.WebhookStanding{Status: webhook.Delivered}, standing)

	books := l.listener.Books()
	require.Len(t, books, 2)
	require.Equal(t, books[0].Body, books[1].Body, "the same bytes at each try")
	for _, received := range books {
		require.Equal(t, []any{l.in.DeliveryID, "order_paid", l.in.OrderID, "paid", true, true},
			[]any{received.ID, received.Event, received.OrderID, received.Status, received.LegacyOK, received.StandardOK})
	}
	d, attempts, err := l.db.GetWebhook(t.Context(), testkit.Project, l.in.DeliveryID)
	require.NoError(t, err)
	require.Equal(t, []any{webhook.Delivered, 2, "thanks"}, []any{d.Status, len(attempts), attempts[1].Answer})
	require.Nil(t, attempts[0].StatusCode)
	require.NotEmpty(t, attempts[0].Error)
	testkit.RequireClean(t, l.db)
}

// The process dies after the listener has said yes and before that is written down: it is told again, and
// both tries are known.
func TestWebhookOfALostProcessArrivesAgain(t *testing.T) {
	t.Parallel()
	l := newListened(t)
	call, _, err := l.db.BeginWebhook(t.Context(), l.in.DeliveryID, contract.WebhookTimeout, time.Now())
	require.NoError(t, err)
	require.Equal(t, 204, l.steps.Client.Send(t.Context(), call.URL, call.Secrets, call.DeliveryID, call.Body).StatusCode)
	standing, err := run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.NoError(t, err)
	require.Equal(t, webhook.Pending, standing.Status, "it may be under way")
	l.due(t)
	standing, err = run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.NoError(t, err)
	require.Equal(t, webhook.Delivered, standing.Status)
	books := l.listener.Books()
	require.Len(t, books, 2)
	require.Equal(t, books[0].ID, books[1].ID)
	testkit.RequireClean(t, l.db)
}

func TestWebhookOfNobodyFails(t *testing.T) {
	t.Parallel()
	l := newListened(t)
	l.in.DeliveryID = "we_none"
	_, err := run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.ErrorContains(t, err, "not found")
	l.steps.DB = awayDatabase(t)
	_, err = run[contract.WebhookStanding](t, l.steps.AttemptWebhook, l.in)
	require.Error(t, err)
	_, err = run[contract.WebhookTested](t, l.steps.TestWebhook, contract.WebhookTestInput{ProjectID: testkit.Project, EventID: "we_1"})
	require.Error(t, err)
}

func TestTestOfAnEndpoint(t *testing.T) {
	t.Parallel()
	l := newListened(t, fake.Behaviour{Kind: fake.Status, Status: 401, Body: "who are you?"})
	testkit.Exec(t, l.db, "UPDATE webhook_endpoints SET is_enabled = false")
	tested, err := run[contract.WebhookTested](t, l.steps.TestWebhook, contract.WebhookTestInput{
		ProjectID: testkit.Project,
		EventID:   "we_1",
	})
	require.NoError(t, err)
	require.Equal(t, []any{"we_1", webhook.Refused, 401, "who are you?", ""}, []any{tested.EventID, tested.Status, tested.StatusCode, tested.Answer, tested.Error})
	received := l.listener.Books()[0]
	require.Equal(t, []any{"we_1", "test", true, true}, []any{received.ID, received.Event, received.LegacyOK, received.StandardOK})
	none, err := run[contract.WebhookTested](t, l.steps.TestWebhook, contract.WebhookTestInput{ProjectID: 99, EventID: "we_1"})
	require.NoError(t, err)
	require.Equal(t, []any{webhook.Dead, "the project has no endpoint"}, []any{none.Status, none.Error})
}
