package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/quickpass/quickpass/api"
	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/worker"
)

// roles of a process. Each may run in any number of processes.
type roles struct {
	api    bool
	worker bool
	dev    bool // accept the fixed keys of `quickpass dev`
}

func serveCommands(with withConfig) []*cobra.Command {
	var commands []*cobra.Command
	for _, role := range []struct {
		name, short string
		roles       roles
	}{
		{"serve", "Run the API and a worker in one process (the fastest way)", roles{api: true, worker: true}},
		{"api", "Run the API alone", roles{api: true}},
		{"worker", "Run a worker alone", roles{worker: true}},
	} {
		commands = append(commands, &cobra.Command{Use: role.name, Short: role.short, Args: cobra.NoArgs,
			RunE: with(func(ctx context.Context, c config.Config, _ []string) error {
				return serve(ctx, c, role.roles, newLogger(c.Log))
			})})
	}
	return commands
}

// serve runs the roles until the context ends, then stops in the order in which work flows: no new
// requests, every accepted order started, running steps finished.
func serve(ctx context.Context, c config.Config, r roles, logger *slog.Logger) error {
	if err := required(c, r); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: c.Database.URL, MaxConnections: int32(c.Database.MaxConnections), StatementTimeout: c.Database.StatementTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	engine, err := temporal.Dial(temporal.Options{Address: c.Temporal.Address, Namespace: c.Temporal.Namespace, Compress: c.Temporal.Compress, Logger: logger})
	if err != nil {
		return err
	}
	defer engine.Close()

	watcher := api.NewWatcher(db)
	box := outbox.New(outbox.Options{DB: db, Client: engine, Logger: logger, Workers: c.Outbox.Workers, Queue: c.Outbox.Queue, Backlog: c.Outbox.Backlog, Eager: r.worker})
	boxCtx, stopBox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBox()
	var background sync.WaitGroup
	background.Go(func() { box.Run(boxCtx) })

	stopWorkers := func() error { return nil }
	if r.worker {
		workers, err := newWorkers(c, db, engine, watcher.Changed)
		if err != nil {
			return err
		}
		stopWorkers = startWhenReady(ctx, engine, c.Temporal.Namespace, workers, logger)
	}

	if r.api {
		err = serveHTTP(ctx, c, api.Options{DB: db, Starter: box, Temporal: temporal.Health{Client: engine}, Logger: logger, Watcher: watcher, Dev: r.dev,
			Policy: store.Policy{PurchaseInterval: c.Store.PurchaseInterval, LargePurchase: c.Store.LargePurchase,
				ConfirmWithin: c.Store.ConfirmWithin, SharedDevice: c.Store.SharedDevice}}, box)
	} else {
		<-ctx.Done()
	}
	stopBox()
	background.Wait()
	return errors.Join(err, stopWorkers())
}

// required names the settings that a role can't do without.
func required(c config.Config, r roles) error {
	var missing []error
	if c.Database.URL == "" {
		missing = append(missing, errors.New("QUICKPASS_DATABASE_URL must be set, such as postgres://user:password@host:5432/quickpass"))
	}
	if r.worker && c.MainProduct.URL == "" {
		missing = append(missing, errors.New("QUICKPASS_MAIN_PRODUCT_URL must be set, such as https://game.example"))
	}
	if r.worker && c.MainProduct.APIKey == "" {
		missing = append(missing, errors.New("QUICKPASS_MAIN_PRODUCT_API_KEY must be set"))
	}
	return errors.Join(missing...)
}

func serveHTTP(ctx context.Context, c config.Config, options api.Options, box *outbox.Outbox) error {
	options.Metrics = prometheus.NewRegistry()
	options.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quickpass_orders_waiting", Help: "Orders that are reserved and whose workflow is not started yet.",
	}, func() float64 { return float64(box.Waiting()) }))
	options.DrainDelay = c.HTTP.DrainDelay
	options.ShutdownTimeout = c.HTTP.DrainTimeout - c.HTTP.DrainDelay
	options.RatePerKey, options.RatePerUser = c.HTTP.RatePerKey, c.HTTP.RatePerUser
	options.MaxInFlight, options.MaxWaiting, options.DatabaseWait = c.HTTP.MaxInFlight, c.HTTP.MaxWaiting, c.HTTP.DatabaseWait
	server, err := api.New(options)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.HTTP.Address)
	if err != nil {
		return fmt.Errorf("listen on %s (QUICKPASS_HTTP_ADDRESS): %w", c.HTTP.Address, err)
	}
	options.Logger.Info("HTTP is served", "address", listener.Addr().String())
	return server.Run(ctx, listener)
}

func newWorkers(c config.Config, db *postgres.DB, engine client.Client, changed func(string)) (*worker.Workers, error) {
	product, err := mainproduct.New(mainproduct.Config{BaseURL: c.MainProduct.URL, APIKey: c.MainProduct.APIKey, InquiryPath: c.MainProduct.InquiryPath})
	if err != nil {
		return nil, fmt.Errorf("main product: %w", err)
	}
	return worker.New(worker.Options{Client: engine, DB: db, Product: product, OrderChanged: changed, WorkflowSlots: c.Worker.WorkflowSlots,
		DeliverySlots: c.Worker.DeliverySlots, CachedRuns: c.Worker.CachedRuns, StopTimeout: c.HTTP.DrainTimeout}), nil
}

// startWhenReady starts the workers as soon as Temporal answers: it may come up after us. It returns
// the function that stops them.
func startWhenReady(ctx context.Context, engine client.Client, namespace string, workers *worker.Workers, logger *slog.Logger) (stop func() error) {
	started := make(chan bool, 1)
	go func() {
		for {
			err := temporal.RegisterSearchAttributes(ctx, engine, namespace)
			if err == nil {
				err = workers.Start()
			}
			if err == nil {
				logger.Info("the worker polls", "namespace", namespace)
				started <- true
				return
			}
			logger.Warn("the worker waits for Temporal", "error", err)
			select {
			case <-ctx.Done():
				started <- false
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() error {
		if <-started {
			return workers.Stop()
		}
		return nil
	}
}
