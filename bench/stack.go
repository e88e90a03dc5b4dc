package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/temporal"
)

const (
	productKey = "bench-main-product-key"
	// plainDatabase is for the purchases that this program makes by itself. In the database of `quickpass serve`
	// its sweep would take those that wait for more than 2 s for left over, and start them.
	plainDatabase  = "plain"
	servedDatabase = "quickpass" // devstack makes it
	dirPrefix      = "quickpass-bench-"
	stopTimeout    = time.Minute
	// poolSize is what `quickpass serve` has by default.
	poolSize = 16
)

// stack is everything that is measured, each part a process of its own.
type stack struct {
	dir      string
	postgres *devstack.Postgres
	temporal *devstack.Temporal
	serve    *devstack.Process
	product  *product
	ingest   *devstack.Process             // while one consumes
	rabbit   *devstack.RabbitMQ            // when events are measured
	stops    []func(context.Context) error // in the order of starting
	trim     bool                          // drop most indexes of Temporal's visibility

	apiURL   string
	pprofURL string
	served   *postgres.DB // the database of `quickpass serve`
	plain    *postgres.DB // the same schema and data, for this program's own purchases
	engine   client.Client
	calls    *mainproduct.Client // this program's own way to the main product
}

// startStack starts all parts and fills the databases.
func startStack(ctx context.Context, s settings, p *progress) (*stack, error) {
	removeAbandoned()
	dir := filepath.Join(os.TempDir(), dirPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	st := &stack{dir: dir, trim: s.trimVisibility}
	for _, step := range []struct {
		what  string
		start func(context.Context) error
	}{
		{"PostgreSQL", st.startPostgres},
		{"Temporal", st.startTemporal},
		{"the fake main product", st.startProduct},
		{"users and products", st.seed},
		{"quickpass serve", st.startServe},
	} {
		p.say("starting %s", step.what)
		if err := step.start(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", step.what, err), st.stop())
		}
	}
	return st, nil
}

// startPostgres starts a durable server, whatever Ephemeral says for tests: commits reach the disk before they
// are answered. No checkpoint falls into the run, because the full pages that follow one would blur the WAL
// that a purchase costs.
func (st *stack) startPostgres(ctx context.Context) (err error) {
	st.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{Dir: st.dir, Ephemeral: true, Settings: map[string]string{
		"fsync": "on", "synchronous_commit": "on", "shared_buffers": "1GB", "max_connections": "300",
		"max_wal_size": "16GB", "checkpoint_timeout": "1h",
	}})
	if err != nil {
		return err
	}
	st.stops = append(st.stops, st.postgres.Stop)
	return nil
}

func (st *stack) startTemporal(ctx context.Context) (err error) {
	st.temporal, err = devstack.StartTemporal(ctx, devstack.TemporalOptions{
		PostgresURL: st.postgres.AdminURL(),
		UIPort:      devstack.NoUI,
		Dir:         st.dir,
	})
	if err != nil {
		return err
	}
	st.stops = append(st.stops, st.temporal.Stop)
	st.engine, err = temporal.Dial(temporal.Options{
		Address:   st.temporal.Address(),
		Namespace: client.DefaultNamespace,
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	st.stops = append(st.stops, func(context.Context) error { st.engine.Close(); return nil })
	if st.trim {
		return st.trimVisibility(ctx)
	}
	return nil
}

const optionalIndexes = "tablename = 'executions_visibility' AND indexname NOT IN ('executions_visibility_pkey', 'default_idx', 'by_workflow_id', 'by_workflow_type', 'by_status')"

// trimVisibility does what an operator may choose to do: of the 74 indexes of the visibility table it keeps those
// by which workflows are found by id, type and status. Every index is written at the start and the end of a workflow.
func (st *stack) trimVisibility(ctx context.Context) error {
	db, err := postgres.Open(ctx, postgres.Options{
		URL:              st.databaseURL("temporal_visibility"),
		MaxConnections:   1,
		StatementTimeout: stopTimeout,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Pool().Exec(ctx, `DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT indexname FROM pg_indexes WHERE `+optionalIndexes+`
		LOOP EXECUTE format('DROP INDEX %I', name); END LOOP; END $$`)
	return err
}

// databaseURL leads to another database of the same server.
func (st *stack) databaseURL(name string) string {
	address, err := url.Parse(st.postgres.URL())
	if err != nil {
		panic(err) // devstack made it
	}
	address.Path = "/" + name
	return address.String()
}

// startServe starts the product as its users do, with its default settings.
func (st *stack) startServe(ctx context.Context) error {
	binary, err := devstack.FindTool("quickpass")
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	profiles, err := freeAddress()
	if err != nil {
		return err
	}
	st.apiURL, st.pprofURL = "http://"+address, "http://"+profiles
	st.serve, err = devstack.StartProcess(ctx, devstack.ProcessOptions{
		Name: "quickpass serve", Path: binary, Args: []string{"serve"}, Dir: st.dir, LogFile: filepath.Join(st.dir, "serve.log"),
		Env: []string{
			"QUICKPASS_HTTP_ADDRESS=" + address, "QUICKPASS_HTTP_PPROF_ADDRESS=" + profiles,
			"QUICKPASS_DATABASE_URL=" + st.postgres.URL(), "QUICKPASS_TEMPORAL_ADDRESS=" + st.temporal.Address(),
			"QUICKPASS_MAIN_PRODUCT_URL=" + st.product.url, "QUICKPASS_MAIN_PRODUCT_API_KEY=" + productKey,
			"QUICKPASS_STORE_PURCHASE_INTERVAL=1us", // the rule is on, and refuses nobody here
		},
		Ready: func(ctx context.Context) error { return devstack.ExpectOK(ctx, st.apiURL+"/readyz") }, StopTimeout: stopTimeout,
	})
	if err != nil {
		return err
	}
	st.stops = append(st.stops, st.serve.Stop)
	return nil
}

// openDatabases migrates and opens both databases; fill is called in between, and the second is a copy.
func (st *stack) openDatabases(ctx context.Context, fill func(*postgres.DB) error) (err error) {
	if _, err := postgres.Migrate(ctx, st.postgres.URL()); err != nil {
		return err
	}
	open := func(databaseURL string) (*postgres.DB, error) {
		return postgres.Open(ctx, postgres.Options{URL: databaseURL, MaxConnections: poolSize, StatementTimeout: stopTimeout})
	}
	filling, err := open(st.postgres.URL())
	if err != nil {
		return err
	}
	err = fill(filling)
	filling.Close() // a database that is copied must have no connections
	if err != nil {
		return err
	}
	admin, err := open(st.postgres.AdminURL())
	if err != nil {
		return err
	}
	defer admin.Close()
	if _, err := admin.Pool().Exec(ctx, "CREATE DATABASE "+plainDatabase+" TEMPLATE "+servedDatabase); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if st.served, err = open(st.postgres.URL()); err != nil {
		return err
	}
	if st.plain, err = open(st.databaseURL(plainDatabase)); err != nil {
		return err
	}
	st.stops = append(st.stops, func(context.Context) error { st.served.Close(); st.plain.Close(); return nil })
	return nil
}

// stop ends everything in the reverse order and removes what was written.
func (st *stack) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var failed []error
	for i := len(st.stops) - 1; i >= 0; i-- {
		failed = append(failed, st.stops[i](ctx))
	}
	return errors.Join(append(failed, os.RemoveAll(st.dir))...)
}

// removeAbandoned removes the directories of runs that were killed; their servers died with them.
func removeAbandoned() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir)[len(dirPrefix):])
		if err != nil || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // if not now, then by a later run
		}
	}
}

func freeAddress() (string, error) {
	port, err := devstack.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
