package testkit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/temporal"
)

const (
	temporalVariable = "QUICKPASS_TEST_TEMPORAL_ADDRESS"
	programsVariable = "QUICKPASS_TEST_BIN"
	// retention is the shortest that Temporal takes.
	retention = 24 * time.Hour
)

var namespaces atomic.Int64

// Engine is a Temporal server with a namespace for one test alone: task queues have fixed names, so tests
// that ran workers in one namespace would do each other's work.
type Engine struct {
	Address   string
	Namespace string
	Client    client.Client
}

// TemporalAddress is where the tests' Temporal listens, host and port.
func TemporalAddress(t testing.TB) string {
	t.Helper()
	return required(t, temporalVariable)
}

// Temporal registers a namespace with our search attributes and connects to it. It returns when workflows
// can be started there.
func Temporal(t testing.TB) Engine {
	t.Helper()
	engine := NewNamespace(t)
	Eventually(t, "the search attributes are registered", func(ctx context.Context) error {
		return temporal.RegisterSearchAttributes(ctx, engine.Client, engine.Namespace) // fails when another namespace changes meanwhile
	})
	// Each part of the server learns of a namespace and of its attributes in its own time.
	Eventually(t, "the search attributes can be used", func(ctx context.Context) error {
		_, err := engine.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: engine.Namespace, Query: contract.SearchReason + " = 'x'"})
		return err
	})
	return engine
}

// NewNamespace registers a namespace and nothing in it, as an operator would find it on the first start.
func NewNamespace(t testing.TB) Engine {
	t.Helper()
	engine := Engine{Address: TemporalAddress(t), Namespace: fmt.Sprintf("test-%d-%d", os.Getpid(), namespaces.Add(1))}
	engine.Client = engine.Connect(t)
	_, err := engine.Client.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: engine.Namespace, WorkflowExecutionRetentionPeriod: durationpb.New(retention)})
	require.NoError(t, err)
	Eventually(t, "the namespace can be used", func(ctx context.Context) error {
		_, err := engine.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: engine.Namespace})
		return err
	})
	return engine
}

// Connect makes another client of the namespace, as another process has.
func (e Engine) Connect(t testing.TB) client.Client {
	t.Helper()
	c, err := temporal.Dial(temporal.Options{Address: e.Address, Namespace: e.Namespace, Logger: Logger(t)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// Program is the absolute path of a program of bin/.
func Program(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(required(t, programsVariable), name)
	_, err := os.Stat(path)
	require.NoError(t, err, "the program %s is missing: run the tests with `make test`, which builds it", name)
	return path
}

// Logger writes warnings to the test's log; what comes after the test's end is dropped.
func Logger(t testing.TB) *slog.Logger {
	t.Helper()
	w := &logWriter{t: t}
	t.Cleanup(func() { w.over.Store(true) })
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type logWriter struct {
	t    testing.TB
	over atomic.Bool
}

func (w *logWriter) Write(line []byte) (int, error) {
	if !w.over.Load() {
		w.t.Logf("%s", line)
	}
	return len(line), nil
}

// patience is how long Eventually waits: not an expectation of speed, but the end of a test that hangs.
const patience = 2 * time.Minute

// Eventually returns when done returns nil, and fails the test with its last error when that takes too long.
func Eventually(t testing.TB, what string, done func(context.Context) error) {
	t.Helper()
	Within(t, patience, what, done)
}

// Within is Eventually with less patience, for what would otherwise happen much later for another reason.
func Within(t testing.TB, limit time.Duration, what string, done func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.NoError(t, err, "waited for: %s", what)
		}
	}
}
