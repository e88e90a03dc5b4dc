package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// The API and the worker apart, two of each, on a namespace that nobody has prepared.
func TestAPIAndWorkerApart(t *testing.T) {
	t.Parallel()
	s := newStackOn(t, testkit.NewNamespace(t))
	s.sell(100)
	testkit.AddUser(t, s.db, "many", 10_000)
	apis := []*node{s.serve("api"), s.serve("api")}
	s.worker("worker 1")
	s.worker("worker 2")
	var orders []string
	for i := range 40 {
		orders = append(orders, apis[i%2].buy("many"))
	}
	for i, orderID := range orders {
		o := apis[(i+1)%2].completed(orderID) // the other one tells
		require.Equal(t, 1, o.Attempts)
		require.Equal(t, 1, s.books(orderID).Calls, "nothing failed: one call")
	}
	apis[0].requireWallet("many", 10_000-4000, 0)
	apis[1].requireStock(60)
	s.verify()
}

// kill -9 with orders in every state; the next process finishes all of them.
func TestKillNineInFlight(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(100)
	testkit.AddUser(t, s.db, "many", 10_000)
	n := s.serve("serve")
	var orders []string
	for range 10 {
		orders = append(orders, n.buy("many"))
	}
	n.completed(orders[0])
	s.misbehave(fake.Behaviour{Kind: fake.Delay, DelayMS: 3000})
	for range 20 {
		orders = append(orders, n.buy("many"))
	}
	s.arrived(orders[15], 1)
	require.NoError(t, n.Kill())
	s.misbehave()
	n = s.serve("serve")
	for _, orderID := range orders {
		n.completed(orderID)
	}
	n.requireWallet("many", 10_000-3000, 0)
	n.requireStock(70)
	s.verify()
}

// A worker dies with a slow call in flight. Another waits until that call can't be answered any more, then tries.
func TestProcessThatHasTheCallIsLost(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50, func(d *store.DeliverySettings) { d.TimeoutSeconds = 12; d.RetryIntervalSeconds = 1 })
	api := s.serve("api")
	first := s.worker("worker 1")
	s.misbehave(fake.Behaviour{Kind: fake.Hang, Calls: 1})
	orderID := api.buy(buyer)
	s.arrived(orderID, 1)
	testkit.Eventually(t, "the first delivery is slow", func(ctx context.Context) error {
		value, err := s.engine.Client.QueryWorkflow(ctx, contract.PurchaseWorkflowID(orderID), "", contract.PurchaseProgressQuery)
		if err != nil {
			return err
		}
		var progress contract.PurchaseProgress
		if err := value.Get(&progress); err != nil {
			return err
		}
		if progress.WaitingFor != "a slow answer of the main product" {
			return errors.New(progress.Step + " " + progress.WaitingFor)
		}
		return nil
	})
	require.NoError(t, first.Kill())
	s.worker("worker 2")
	api.completed(orderID)
	entry := s.books(orderID)
	require.Equal(t, 2, entry.Calls)
	require.GreaterOrEqual(t, entry.LastAt.Sub(entry.FirstAt).Seconds(), 12.0, "not before the first call's own deadline")
	s.verify()
}

// SIGTERM under load: whatever was accepted is completed, by this process or the next, and the exit code is 0.
func TestTerminationDuringLoad(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(1_000_000)
	testkit.AddUser(t, s.db, "many", 1_000_000_000)
	address := freeAddress(t)
	// Not by devstack: it does not tell the exit code.
	cmd := exec.CommandContext(t.Context(), testkit.Program(t, "quickpass"), "serve")
	cmd.Env, cmd.Dir = slices.Concat(os.Environ(), s.env, []string{"QUICKPASS_HTTP_ADDRESS=" + address}), s.dir
	log, err := os.Create(filepath.Join(s.dir, "terminated.log"))
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	n := &node{stack: s, url: "http://" + address}
	testkit.Eventually(t, "it is ready", func(context.Context) error {
		a, err := n.try("", http.MethodGet, "/readyz", nil)
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%d", a.status)
		}
		return err
	})
	s.misbehave(fake.Behaviour{Kind: fake.Delay, DelayMS: 200})

	var mu sync.Mutex
	var accepted []string
	var odd []answer
	var enough, stop atomic.Bool
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for !stop.Load() {
				a, err := n.try("storefront", http.MethodPost, "/api/v1/purchases", object{"user_id": "many", "sku": "credits-500"})
				if err != nil {
					continue // the listener is closed
				}
				mu.Lock()
				if a.status == http.StatusAccepted {
					var o order
					a.into(t, &o)
					accepted = append(accepted, o.OrderID)
				} else {
					odd = append(odd, a)
				}
				enough.Store(len(accepted) > 200)
				mu.Unlock()
			}
		})
	}
	testkit.Eventually(t, "there is load", func(context.Context) error {
		if !enough.Load() {
			return errors.New("not yet")
		}
		return nil
	})
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	exit := cmd.Wait()
	stop.Store(true)
	group.Wait()
	require.NoError(t, exit, "%s", tail(log.Name()))
	for _, a := range odd {
		require.Equal(t, http.StatusServiceUnavailable, a.status, "%s", a.body)
	}

	s.misbehave()
	n = s.serve("serve")
	for _, orderID := range accepted {
		n.completed(orderID)
	}
	var orders int
	require.NoError(t, s.db.Pool().QueryRow(t.Context(), "SELECT count(*) FROM orders WHERE status = 'processing'").Scan(&orders))
	require.Zero(t, orders, "also those whose buyer never got the answer")
	s.verify()
}

// While Temporal is away purchases are accepted all the same, and complete when it is back.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	n := s.serveUntil("/healthz", "serve", "QUICKPASS_TEMPORAL_ADDRESS=127.0.0.1:1")
	ready := n.call("", http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusServiceUnavailable, ready.status)
	require.JSONEq(t, `{"status": "not_ready", "checks": {"postgres": "ok", "temporal": "unreachable"}}`, string(ready.body))
	var orders []string
	for range 5 {
		orders = append(orders, n.buy(buyer))
	}
	n.requireWallet(buyer, 500, 500)
	require.NoError(t, n.Stop(t.Context()))
	n = s.serve("serve")
	for _, orderID := range orders {
		n.completed(orderID)
	}
	n.requireWallet(buyer, 500, 0)
	s.verify()
}

// A worker has no API, but operators can look at it.
func TestWorkerIsWatched(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	address := freeAddress(t)
	ops := &node{stack: s, url: "http://" + address}
	env := append(slices.Clone(s.env), "QUICKPASS_OPS_ADDRESS="+address)
	ops.Process = s.start("worker", "quickpass", env, devstack.ProcessOptions{Ready: answers(ops.url + "/readyz")}, "worker")
	require.Equal(t, http.StatusOK, ops.call("", http.MethodGet, "/healthz", nil).status)
	figures := string(ops.call("", http.MethodGet, "/metrics", nil).body)
	for _, figure := range []string{"go_goroutines ", "process_resident_memory_bytes ", "quickpass_orders_waiting 0"} {
		require.Contains(t, figures, figure)
	}
	require.Equal(t, http.StatusNotFound, ops.call("", http.MethodGet, "/api/v1/products", nil).status)
	require.NoError(t, ops.Stop(t.Context()))
}

// Every mistake at once: a wrong value, and what is missing.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	s := &stack{t: t, dir: t.TempDir()}
	for _, role := range []string{"serve", "worker"} {
		output, code := s.run([]string{"QUICKPASS_HTTP_ADDRESS=nowhere", "QUICKPASS_LOG_LEVEL=loud", "QUICKPASS_TEMPORAL_ADDRESS=nowhere"}, role)
		require.Equal(t, 1, code)
		for _, name := range []string{"QUICKPASS_HTTP_ADDRESS", "QUICKPASS_LOG_LEVEL", "QUICKPASS_TEMPORAL_ADDRESS"} {
			require.Contains(t, output, name)
		}
	}
	output, code := s.run(nil, "serve")
	require.Equal(t, 1, code)
	for _, name := range []string{"QUICKPASS_DATABASE_URL", "QUICKPASS_MAIN_PRODUCT_URL", "QUICKPASS_MAIN_PRODUCT_API_KEY"} {
		require.Contains(t, output, name+" must be set")
	}
}

// A wrong setting stops the start with every mistake listed at once, whatever kind of mistake it is.
func TestMissingAndWrongSettingsAreOneList(t *testing.T) {
	t.Parallel()
	s := &stack{t: t, dir: t.TempDir()}
	output, code := s.run([]string{"QUICKPASS_LOG_LEVEL=loud", "QUICKPASS_OUTBOX_WORKERS=many", "QUICKPASS_MAIN_PRODUCT_URL=https://user:password@game.example"}, "serve")
	require.Equal(t, 1, code)
	for _, name := range []string{"QUICKPASS_LOG_LEVEL", "QUICKPASS_OUTBOX_WORKERS", "QUICKPASS_DATABASE_URL", "QUICKPASS_MAIN_PRODUCT_API_KEY", "QUICKPASS_MAIN_PRODUCT_URL"} {
		require.Contains(t, output, name)
	}
}

// The broken row is named, and the exit code says so.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sell(50)
	s.verify()
	testkit.Exec(t, s.db, "UPDATE users SET available = available + 1 WHERE user_id = '"+buyer+"'")
	output, code := s.run(s.env, "verify")
	require.Equal(t, 1, code)
	require.Contains(t, output, "BROKEN")
	require.Contains(t, output, buyer)
}
