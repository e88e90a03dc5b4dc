package workflows_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

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

// webhookScenario is a delivery that is recorded on a real server, and what its history must hold.
type webhookScenario struct {
	name   string
	status webhook.Status // of the result; empty: the run ends as canceled
	steps  []string

	listener []fake.Behaviour
	pause    time.Duration                           // of the schedule, two tries after the first; a second unless given
	during   func(t *testing.T, r *webhookRecording) // it waits
	replace  func(r *webhookRecording) map[string]any
}

const attempt = "AttemptWebhook"

var webhookScenarios = []webhookScenario{
	{name: "webhook_delivered", status: webhook.Delivered, steps: []string{attempt}},
	{name: "webhook_retried_then_delivered", status: webhook.Delivered, listener: []fake.Behaviour{{Kind: fake.Drop, Calls: 1}, {Kind: fake.Status, Status: 503, Calls: 1}}, steps: []string{attempt, timer, attempt, timer, attempt}},
	{name: "webhook_refused", status: webhook.Refused, listener: []fake.Behaviour{{Kind: fake.Status, Status: 422}}, steps: []string{attempt}},
	{name: "webhook_dead", status: webhook.Dead, listener: []fake.Behaviour{{Kind: fake.Status, Status: 500}}, steps: []string{attempt, timer, attempt, timer, attempt}},
	{name: "webhook_woken", status: webhook.Dead, pause: time.Hour, listener: []fake.Behaviour{{Kind: fake.Status, Status: 500}}, during: switchOff, steps: []string{attempt, timer, signal, attempt}},
	{name: "webhook_run_canceled", pause: time.Hour, listener: []fake.Behaviour{{Kind: fake.Status, Status: 500}}, during: cancelWebhookRun, steps: []string{attempt, timer, "cancel"}},
	{name: "webhook_database_away", status: webhook.Delivered, replace: attemptFails, steps: []string{attempt}},
}

// webhookRecording is a delivery on real parts.
type webhookRecording struct {
	engine testkit.Engine
	db     *postgres.DB
	in     contract.WebhookInput
	steps  *activities.Webhook
}

func (s webhookScenario) record(t *testing.T) {
	t.Helper()
	r := &webhookRecording{engine: testkit.Temporal(t), db: testkit.Database(t)}
	listener := fake.New("the-secret-of-the-test")
	listener.Misbehave(s.listener...)
	server := httptest.NewServer(listener)
	t.Cleanup(server.Close)
	t.Cleanup(listener.Stop)
	r.write(t, server.URL)
	pause := time.Second
	if s.pause != 0 {
		pause = s.pause
	}
	r.steps = &activities.Webhook{DB: r.db, Client: send.New(true), Schedule: webhook.Schedule{pause, pause}}
	var replaced map[string]any
	if s.replace != nil {
		replaced = s.replace(r)
	}
	startWorker(t, r.engine.Client, contract.TaskQueue, sdkworker.Options{}, nil, nil)
	startWorker(t, r.engine.Client, contract.WebhookTaskQueue, sdkworker.Options{DisableWorkflowWorker: true}, map[string]any{contract.AttemptWebhookActivity: r.steps.AttemptWebhook}, replaced)
	run, err := r.engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            contract.WebhookWorkflowID(r.in.DeliveryID),
		TaskQueue:     contract.TaskQueue,
		StaticSummary: "order_paid of order 1",
	},
		contract.WebhookWorkflow, r.in)
	require.NoError(t, err)
	if s.during != nil {
		r.awaitTimer(t)
		s.during(t, r)
	}
	err = run.Get(t.Context(), nil)
	require.Equal(t, s.status == "", err != nil, "%v", err)
	testkit.RequireClean(t, r.db)
	write(t, r.engine.Client, s.name, run)
}

// write makes a free order, of which the listener is to be told.
func (r *webhookRecording) write(t *testing.T, url string) {
	t.Helper()
	testkit.AddUser(t, r.db, "12345", 0)
	_, err := r.db.PutWebhookEndpoint(t.Context(), postgres.WebhookEdit{
		ProjectID: testkit.Project,
		URL:       url,
		Secret:    "the-secret-of-the-test",
		Enabled:   true,
		Format:    2,
		Events:    webhook.DefaultEvents,
		Actor:     "test",
	}, time.Now())
	require.NoError(t, err)
	item := catalog.Item{
		SKU:             "gun_1",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Basic Blaster"},
		Prices:          []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}},
	}
	made, err := r.db.CreateCheckout(t.Context(), postgres.NewCheckout{
		Form:    checkout.PaidItem,
		Wanted:  []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     time.Hour,
		Shopper: postgres.Shopper{
			ProjectID: testkit.Project,
			UserID:    "12345",
			Catalog:   catalog.New([]catalog.Item{item}, nil),
			View:      catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()},
		},
	})
	require.NoError(t, err)
	_, err = r.db.RecordPayment(t.Context(), made.OrderID, checkout.Payment{
		Provider:   "sandbox",
		ProviderID: "p1",
		Amount:     decimal.RequireFromString("1.99"),
		Currency:   "USD",
		Sandbox:    true,
	}, time.Now())
	require.NoError(t, err)
	leased, err := r.db.LeaseWebhooks(t.Context(), time.Hour, 10, time.Now())
	require.NoError(t, err)
	require.Len(t, leased, 1)
	r.in = leased[0].Input
}

func (r *webhookRecording) awaitTimer(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "the delivery waits", func(ctx context.Context) error {
		events := r.engine.Client.GetWorkflowHistory(ctx, contract.WebhookWorkflowID(r.in.DeliveryID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			found, err := events.Next()
			if err != nil || found.GetEventType() == enumspb.EVENT_TYPE_TIMER_STARTED {
				return err
			}
		}
		return errors.New("not yet")
	})
}

// switchOff takes the endpoint away; what was pending is due at once for this test, and its run is told to look.
func switchOff(t *testing.T, r *webhookRecording) {
	testkit.Exec(t, r.db, "UPDATE webhook_endpoints SET is_enabled = false")
	testkit.Exec(t, r.db, "UPDATE webhook_deliveries SET next_attempt_at = now()")
	require.NoError(t, r.engine.Client.SignalWorkflow(t.Context(), contract.WebhookWorkflowID(r.in.DeliveryID), "", contract.ChangedSignal, nil))
}

func cancelWebhookRun(t *testing.T, r *webhookRecording) {
	require.NoError(t, r.engine.Client.CancelWorkflow(t.Context(), contract.WebhookWorkflowID(r.in.DeliveryID), ""))
}

// attemptFails is a database that is away at the first look.
func attemptFails(r *webhookRecording) map[string]any {
	looks := 0
	return map[string]any{contract.AttemptWebhookActivity: func(ctx context.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
		if looks++; looks == 1 {
			return contract.WebhookStanding{}, errors.New("the database is away")
		}
		return r.steps.AttemptWebhook(ctx, in)
	}}
}

// recordWebhookTest records a test of the endpoint.
func recordWebhookTest(t *testing.T) {
	t.Helper()
	engine := testkit.Temporal(t)
	startWorker(t, engine.Client, contract.TaskQueue, sdkworker.Options{}, nil, nil)
	steps := &activities.Webhook{DB: testkit.Database(t), Client: send.New(true)} // of a project without an endpoint
	startWorker(t, engine.Client, contract.WebhookTaskQueue, sdkworker.Options{DisableWorkflowWorker: true}, map[string]any{contract.TestWebhookActivity: steps.TestWebhook}, nil)
	run, err := engine.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID:            "webhook-test/we_1",
		TaskQueue:     contract.TaskQueue,
		StaticSummary: "test of the endpoint of project 1",
	},
		contract.WebhookTestWorkflow, contract.WebhookTestInput{ProjectID: testkit.Project, EventID: "we_1"})
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	write(t, engine.Client, "webhook_test_sent", run)
}
