package worker_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// newNamespace connects to a namespace of this test's own.
func newNamespace(t *testing.T) client.Client {
	t.Helper()
	address := os.Getenv("QUICKPASS_TEST_TEMPORAL_ADDRESS")
	require.NotEmpty(t, address, "QUICKPASS_TEST_TEMPORAL_ADDRESS is not set: run the tests with `make test`, which starts the real parts")
	name := "stock-" + xid.New().String()
	c, err := temporal.Dial(temporal.Options{Address: address, Namespace: name, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	require.NoError(t, err)
	// Other parts of the server learn of a namespace a little later.
	require.Eventually(t, func() bool {
		_, err := c.ScheduleClient().Create(t.Context(), client.ScheduleOptions{ID: "probe", Paused: true,
			Action: &client.ScheduleWorkflowAction{Workflow: "Probe", TaskQueue: "probe"}})
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	return c
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	c := newNamespace(t)
	handle := c.ScheduleClient().GetHandle(t.Context(), contract.ReplenishmentSchedule)
	require.NoError(t, worker.EnsureSchedules(t.Context(), c))
	require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: "stocktaking"}))
	require.NoError(t, handle.Update(t.Context(), client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		in.Description.Schedule.Spec.Intervals = []client.ScheduleIntervalSpec{{Every: time.Hour}}
		return &client.ScheduleUpdate{Schedule: &in.Description.Schedule}, nil
	}}))
	require.NoError(t, worker.EnsureSchedules(t.Context(), c), "again, as the next start does")
	found, err := handle.Describe(t.Context())
	require.NoError(t, err)
	require.True(t, found.Schedule.State.Paused, "what an operator paused stays paused")
	require.Equal(t, time.Minute, found.Schedule.Spec.Intervals[0].Every, "the rest is this version's")
	require.Equal(t, enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, found.Schedule.Policy.Overlap)
	require.Equal(t, time.Minute, found.Schedule.Policy.CatchupWindow)
}

// The schedule runs the workflow on a real server, with the real activities on a real database.
func TestScheduleReplenishes(t *testing.T) {
	t.Parallel()
	c, db := newNamespace(t), testkit.Database(t)
	_, _, err := db.AddProduct(t.Context(), postgres.NewProduct{ProjectID: 1, Actor: "test", Product: store.Product{
		SKU:         "a",
		Name:        "a",
		Kind:        "credits",
		PriceCoins:  1,
		Status:      store.Published,
		Stock:       store.StockSettings{Initial: 3, Minimum: 5, Replenishment: store.Replenishment{Amount: 1, Ceiling: 9, MaxPerDay: 1}},
		Integration: store.Integration{ResourceType: "x", Endpoint: "/a", Amount: decimal.NewFromInt(1), Currency: "c"},
		Delivery:    store.DefaultDelivery(),
	}}, time.Now())
	require.NoError(t, err)
	product, err := mainproduct.New(mainproduct.Config{BaseURL: "http://127.0.0.1:1", APIKey: "unused"})
	require.NoError(t, err)
	workers := worker.New(worker.Options{
		Client:        c,
		DB:            db,
		Product:       product,
		WorkflowSlots: 10,
		DeliverySlots: 10,
		CachedRuns:    10,
		StopTimeout:   10 * time.Second,
	})
	require.NoError(t, workers.Start())
	defer func() { require.True(t, workers.Stop(time.Now().Add(time.Minute))) }()
	require.NoError(t, worker.EnsureSchedules(t.Context(), c))
	handle := c.ScheduleClient().GetHandle(t.Context(), contract.ReplenishmentSchedule)
	require.NoError(t, handle.Trigger(t.Context(), client.ScheduleTriggerOptions{}))

	require.Eventually(t, func() bool {
		alerts, err := db.Alerts(t.Context(), 1, new(true), 0, 10)
		require.NoError(t, err)
		return len(alerts) == 1
	}, time.Minute, 100*time.Millisecond)
	history, err := db.StockHistory(t.Context(), 1, "a", 0, 10)
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.Equal(t, []any{contract.ReplenishmentSchedule, int64(3), int64(4)}, []any{history[0].Actor, history[0].Before, history[0].After})
}
