package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdktemporal "go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

const (
	patience   = 3 * time.Minute
	bulkOrders = 1_000
	bulkBuyers = 20
)

// bulk is a whole QuickPass without HTTP, in a namespace and on a database of its own.
type bulk struct {
	t       *testing.T
	db      *postgres.DB
	client  client.Client
	product *fake.Server
	url     string
}

func newBulk(t *testing.T) *bulk {
	t.Helper()
	b := &bulk{t: t, db: testkit.Database(t)}
	books, err := fake.OpenBooks("", fake.SyncNever)
	require.NoError(t, err)
	b.product, err = fake.New(fake.Config{APIKey: "test-key-of-bulk"}, books)
	require.NoError(t, err)
	server := httptest.NewServer(b.product)
	t.Cleanup(func() {
		b.product.Close()
		server.Close()
		require.NoError(t, books.Close())
	})
	b.url = server.URL
	b.connect()
	return b
}

// connect waits until every part of Temporal knows the new namespace and its search attributes.
func (b *bulk) connect() {
	b.t.Helper()
	namespace := fmt.Sprintf("bulk-%s-%d", xid.New(), os.Getpid())
	address := os.Getenv("QUICKPASS_TEST_TEMPORAL_ADDRESS")
	require.NotEmpty(b.t, address, "run the tests with `make test`, which starts the real parts")
	var err error
	b.client, err = temporal.Dial(temporal.Options{Address: address, Namespace: namespace, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b.t, err)
	b.t.Cleanup(b.client.Close)
	_, err = b.client.WorkflowService().RegisterNamespace(b.t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	require.NoError(b.t, err)
	b.eventually("the search attributes are registered", func() bool {
		return temporal.RegisterSearchAttributes(b.t.Context(), b.client, namespace) == nil
	})
	b.eventually("the search attributes can be used", func() bool {
		_, err := b.client.CountWorkflow(b.t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: namespace,
			Query:     contract.SearchState + " = 'x'",
		})
		return err == nil
	})
}

func (b *bulk) eventually(what string, done func() bool) {
	b.t.Helper()
	require.Eventually(b.t, done, patience, 50*time.Millisecond, what)
}

// process is a worker with its outbox; stop ends both, and leaves the rest to whoever comes next.
func (b *bulk) process() (box *outbox.Outbox, stop func()) {
	b.t.Helper()
	product, err := mainproduct.New(mainproduct.Config{BaseURL: b.url, APIKey: "test-key-of-bulk"})
	require.NoError(b.t, err)
	workers := worker.New(worker.Options{
		Client:        b.client,
		DB:            b.db,
		Product:       product,
		WorkflowSlots: 200,
		DeliverySlots: 200,
		CachedRuns:    500,
		StopTimeout:   10 * time.Second,
	})
	require.NoError(b.t, workers.Start())
	box = outbox.New(outbox.Options{
		DB:      b.db,
		Client:  b.client,
		Logger:  slog.New(slog.DiscardHandler),
		Workers: 8,
		Queue:   2 * bulkOrders,
		Backlog: 2 * bulkOrders,
		Open:    10 * bulkOrders,
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	var group sync.WaitGroup
	group.Go(func() { box.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		require.True(b.t, workers.Stop(time.Now().Add(time.Minute)))
	})
	b.t.Cleanup(stop)
	return box, stop
}

// sell makes so many orders, each of 100 coins and tried once by the main product.
func (b *bulk) sell(box *outbox.Outbox, orders int) {
	b.t.Helper()
	ctx := b.t.Context()
	_, _, err := b.db.AddProduct(ctx, postgres.NewProduct{ProjectID: 1, Actor: "test", Product: store.Product{
		SKU:        "credits-500",
		Name:       "500 credits",
		Kind:       "credits",
		PriceCoins: 100,
		Status:     store.Published,
		Stock:      store.StockSettings{Initial: bulkOrders},
		Integration: store.Integration{
			ResourceType: "external_currency",
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(500),
			Currency:     "credits",
		},
		Delivery: store.DeliverySettings{Method: "api_call", TimeoutSeconds: 5, Retries: 0, RetryIntervalSeconds: 1},
	}}, time.Now())
	require.NoError(b.t, err)
	for buyer := range bulkBuyers {
		user := fmt.Sprint("u", buyer)
		_, _, err := b.db.PutUser(ctx, 1, user, postgres.UserEdit{}, time.Now())
		require.NoError(b.t, err)
		_, err = b.db.AdjustWallet(ctx, postgres.Adjustment{
			ProjectID:    1,
			AdjustmentID: "seed-" + user,
			UserID:       user,
			Amount:       100 * bulkOrders / bulkBuyers,
			Reason:       "test",
			Actor:        "test",
		}, time.Now())
		require.NoError(b.t, err)
		for i := range orders / bulkBuyers {
			in := contract.PurchaseInput{
				ProjectID: 1,
				OrderID:   fmt.Sprintf("qp_%02d_%03d", buyer, i),
				UserID:    user,
				SKU:       "credits-500",
				Quantity:  1,
				Attempt:   1,
			}
			_, err := b.db.ReservePurchase(ctx, postgres.Purchase{
				ProjectID: 1,
				OrderID:   in.OrderID,
				UserID:    user,
				SKU:       in.SKU,
				Quantity:  1,
			}, time.Now())
			require.NoError(b.t, err)
			box.Offer(in)
		}
	}
}

func (b *bulk) count(query string) (n int64) {
	b.t.Helper()
	require.NoError(b.t, b.db.Pool().QueryRow(b.t.Context(), query).Scan(&n))
	return n
}

// Issue 3: 1,000 orders that failed while the product was down are replayed in bulk, cut off half-way and resumed. Each
// completes once, and the report's sums agree with the ledger and the fake's books.
func TestBulkReplayResumesAndCompletesEachOrderOnce(t *testing.T) {
	t.Parallel()
	b := newBulk(t)
	require.NoError(t, b.product.SetBehaviours(fake.Behaviour{Kind: fake.ErrorStatus, Status: 503}))
	box, stop := b.process()
	b.sell(box, bulkOrders)
	b.eventually("every order has failed", func() bool { return b.count("SELECT count(*) FROM orders WHERE status = 'canceled'") == bulkOrders })
	require.NoError(t, b.product.SetBehaviours())
	require.Equal(t, bulkOrders, b.product.Books().Totals().Calls)

	// The API dies between the commit and the start of the workflow: the sweep starts it.
	_, _, err := b.db.CreateReplay(t.Context(), postgres.NewReplay{
		ProjectID:     1,
		ReplayID:      "rp_1",
		Filter:        store.ReplayFilter{Reason: store.MainProductUnreachable, SKU: "credits-500"},
		RatePerSecond: 100,
		Reason:        "the product is back",
		Actor:         "test",
	}, time.Now())
	require.NoError(t, err)
	progress := func() store.ReplayProgress {
		_, progress, err := b.db.GetReplay(t.Context(), 1, "rp_1")
		require.NoError(t, err)
		return progress
	}
	b.eventually("a part is done", func() bool { return progress().Waiting.Orders <= 700 })
	stop()
	half := progress()
	require.Positive(t, half.Waiting.Orders, "it was cut off half-way")
	t.Logf("cut off: %+v", half)

	b.process()
	var result contract.ReplayResult
	require.NoError(t, b.client.GetWorkflow(t.Context(), contract.ReplayWorkflowID("rp_1"), "").Get(t.Context(), &result))
	all := store.ReplayTally{Orders: bulkOrders, Coins: 100 * bulkOrders}
	require.Equal(t, store.ReplayCompleted, result.Status)
	require.Equal(t, store.ReplayProgress{Total: all, Completed: all, Reasons: []store.ReplayReason{}}, *result.Report)

	require.Equal(t, all.Coins, b.count("SELECT sum(amount) FROM ledger_transfers WHERE kind = 'capture'"), "the report agrees with the ledger")
	require.EqualValues(t, bulkOrders, b.count("SELECT count(*) FROM orders WHERE status = 'completed' AND attempt = 2"))
	require.EqualValues(t, bulkOrders, b.count("SELECT count(*) FROM audit_log WHERE action = 'order.replay' AND actor = 'test'"))
	totals := b.product.Books().Totals()
	require.Equal(t, []int{bulkOrders, bulkOrders}, []int{totals.CreditedOrders, totals.Credits}, "credited orders, credits")
	require.True(t, totals.Amounts["credits"].Equal(decimal.NewFromInt(500*bulkOrders)), "%s", totals.Amounts)
	checks, err := b.db.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Hour}, time.Now())
	require.NoError(t, err)
	for _, check := range checks {
		require.Empty(t, check.Broken, check.Rule)
	}

	// Temporal UI reads like the business.
	described, err := b.client.DescribeWorkflow(t.Context(), contract.ReplayWorkflowID("rp_1"), "")
	require.NoError(t, err)
	summary, err := described.GetStaticSummary()
	require.NoError(t, err)
	require.Equal(t, "1000 orders, 100 a second", summary)
	for name, want := range map[string]string{contract.SearchState: "completed", contract.SearchReason: "main_product_unreachable", contract.SearchSKU: "credits-500"} {
		got, ok := described.TypedSearchAttributes.GetKeyword(sdktemporal.NewSearchAttributeKeyKeyword(name))
		require.True(t, ok, name)
		require.Equal(t, want, got)
	}
}

// An admin's acts reach a workflow that waits without a timer, and the report is there soon after.
func TestBulkReplayIsToldOfChanges(t *testing.T) {
	t.Parallel()
	b := newBulk(t)
	require.NoError(t, b.product.SetBehaviours(fake.Behaviour{Kind: fake.ErrorStatus, Status: 503}))
	box, _ := b.process()
	b.sell(box, 40)
	b.eventually("every order has failed", func() bool { return b.count("SELECT count(*) FROM orders WHERE status = 'canceled'") == 40 })
	require.NoError(t, b.product.SetBehaviours())

	_, _, err := b.db.CreateReplay(t.Context(), postgres.NewReplay{
		ProjectID:     1,
		ReplayID:      "rp_1",
		Filter:        store.ReplayFilter{SKU: "credits-500"},
		RatePerSecond: 2,
		Reason:        "the product is back",
		Actor:         "test",
	}, time.Now())
	require.NoError(t, err)
	tell := func(command store.ReplayCommand) {
		if command != "" {
			require.NoError(t, b.db.ChangeReplay(t.Context(), postgres.ReplayChange{
				ProjectID: 1,
				ReplayID:  "rp_1",
				Command:   command,
				Actor:     "test",
				Reason:    "test",
			}, time.Now()))
		}
		replay, _, err := b.db.GetReplay(t.Context(), 1, "rp_1")
		require.NoError(t, err)
		box.Replay(contract.ReplayInputOf(replay))
	}
	inPhase := func(want string) {
		b.eventually("the workflow is "+want, func() bool {
			described, err := b.client.DescribeWorkflow(t.Context(), contract.ReplayWorkflowID("rp_1"), "")
			if err != nil {
				return false
			}
			phase, _ := described.TypedSearchAttributes.GetKeyword(sdktemporal.NewSearchAttributeKeyKeyword(contract.SearchState))
			return phase == want
		})
	}
	tell("")
	inPhase("replaying")
	tell(store.PauseReplay)
	inPhase("paused")
	waiting := b.count("SELECT count(*) FROM replay_items WHERE state = 'waiting'")
	require.Positive(t, waiting)
	b.eventually("what was begun has its outcome", func() bool { return b.count("SELECT count(*) FROM replay_items WHERE state = 'replayed'") == 0 })
	require.Equal(t, waiting, b.count("SELECT count(*) FROM replay_items WHERE state = 'waiting'"))
	tell(store.ResumeReplay)
	inPhase("replaying")
	b.eventually("it goes on", func() bool { return b.count("SELECT count(*) FROM replay_items WHERE state = 'waiting'") < waiting })
	tell(store.CancelReplay)
	var result contract.ReplayResult
	require.NoError(t, b.client.GetWorkflow(t.Context(), contract.ReplayWorkflowID("rp_1"), "").Get(t.Context(), &result))
	require.Equal(t, store.ReplayCanceled, result.Status)
	require.EqualValues(t, 40, result.Report.Completed.Orders+result.Report.Skipped.Orders)
	require.Equal(t, result.Report.Completed.Coins, b.count("SELECT sum(amount) FROM ledger_transfers WHERE kind = 'capture'"))
	require.EqualValues(t, result.Report.Completed.Orders, b.product.Books().Totals().Credits)
}
