package outbox_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// newEngine connects to a namespace of this test's own.
func newEngine(t *testing.T) client.Client {
	t.Helper()
	address := os.Getenv("QUICKPASS_TEST_TEMPORAL_ADDRESS")
	require.NotEmpty(t, address, "QUICKPASS_TEST_TEMPORAL_ADDRESS is not set: run the tests with `make test`, which starts the real parts")
	name := "perks-" + xid.New().String()
	engine, err := temporal.Dial(temporal.Options{Address: address, Namespace: name, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(engine.Close)
	_, err = engine.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	require.NoError(t, err)
	// Other parts of the server learn of a namespace, and of its search attributes, a little later.
	require.Eventually(t, func() bool {
		return temporal.RegisterSearchAttributes(t.Context(), engine, name) == nil
	}, time.Minute, 200*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := engine.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: name,
			Query:     contract.SearchReason + " = 'x'",
		})
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	return engine
}

// A perk's end is told once, by the run that the sweep started, after the end that an extension moved; whichever
// process swept, and however often.
func TestEndOfExtendedPerkIsTold(t *testing.T) {
	t.Parallel()
	engine, db := newEngine(t), testkit.Database(t)
	const seconds = 3
	_, _, err := db.AddProduct(t.Context(), postgres.NewProduct{
		ProjectID: 1,
		Actor:     "test",
		Product: store.Product{
			SKU:             "x2",
			Name:            "double",
			Kind:            store.KindMultiplier,
			ValiditySeconds: seconds,
			PriceCoins:      1,
			Status:          store.Published,
			Stock:           store.StockSettings{Initial: 10},
			Integration:     store.Integration{ResourceType: "x", Endpoint: "/a", Amount: decimal.NewFromInt(1), Currency: "c"},
			Delivery:        store.DefaultDelivery(),
		},
	}, time.Now())
	require.NoError(t, err)
	_, _, err = db.PutUser(t.Context(), 1, "buyer", postgres.UserEdit{}, time.Now())
	require.NoError(t, err)
	_, err = db.AdjustWallet(t.Context(), postgres.Adjustment{
		ProjectID:    1,
		AdjustmentID: "a",
		UserID:       "buyer",
		Amount:       10,
		Reason:       "test",
		Actor:        "test",
	}, time.Now())
	require.NoError(t, err)
	buy := func(order string) {
		_, err := db.ReservePurchase(t.Context(), postgres.Purchase{
			ProjectID: 1,
			OrderID:   order,
			UserID:    "buyer",
			SKU:       "x2",
			Quantity:  1,
		}, time.Now())
		require.NoError(t, err)
		_, err = db.CaptureOrder(t.Context(), contract.CaptureInput{
			ProjectID: 1,
			OrderID:   order,
			Attempt:   1,
			Calls:     1,
			Credit:    store.Credit{TransactionID: order},
		}, time.Now())
		require.NoError(t, err)
	}
	var ends []time.Time
	told := func() bool {
		feed, err := db.Notifications(t.Context(), 1, "buyer", 0, 100)
		require.NoError(t, err)
		ends = nil
		for _, entry := range feed {
			if entry.Kind == "perk_ended" {
				ends = append(ends, entry.CreatedAt)
			}
		}
		return len(ends) > 0
	}
	product, err := mainproduct.New(mainproduct.Config{BaseURL: "http://127.0.0.1:1", APIKey: "unused"})
	require.NoError(t, err)
	workers := worker.New(worker.Options{
		Client:        engine,
		DB:            db,
		Product:       product,
		WorkflowSlots: 10,
		DeliverySlots: 10,
		CachedRuns:    10,
		StopTimeout:   10 * time.Second,
	})
	require.NoError(t, workers.Start())
	defer func() { require.True(t, workers.Stop(time.Now().Add(time.Minute))) }()
	boxes := make([]*outbox.Outbox, 2)
	for i := range boxes {
		boxes[i] = outbox.New(outbox.Options{DB: db, Client: engine, Logger: slog.New(slog.DiscardHandler), Workers: 2})
	}

	first := promptOrder()
	buy(first)
	for _, box := range boxes {
		require.NoError(t, box.StartPerks(t.Context()))
	}
	testkit.Exec(t, db, "UPDATE entitlements SET sweep_at = now()") // as if the first sweep had died before it noted the start
	require.NoError(t, boxes[1].StartPerks(t.Context()))
	buy("qp_extends")
	perks, err := db.Perks(t.Context(), 1, "buyer", postgres.PerkFilter{Limit: 10})
	require.NoError(t, err)
	end := perks[0].ExpiresAt
	if perks[1].ExpiresAt.After(end) {
		end = perks[1].ExpiresAt
	}
	require.Eventually(t, told, time.Minute, 50*time.Millisecond)
	require.NoError(t, engine.GetWorkflow(t.Context(), contract.PerkWorkflowID(first), "").Get(t.Context(), nil))
	require.Len(t, ends, 1)
	require.False(t, ends[0].Before(end), "told at %s, ended at %s", ends[0], end)
}

// promptOrder is an order id whose jitter is short.
func promptOrder() string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("qp_%d", i); store.PerkJitter(id) < time.Second {
			return id
		}
	}
}
