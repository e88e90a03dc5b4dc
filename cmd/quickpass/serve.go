package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/quickpass/quickpass/api"
	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/fraud"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/temporal"
	"github.com/quickpass/quickpass/internal/webhook/send"
	"github.com/quickpass/quickpass/worker"
)

// riskInterval is how long after its last risky order an account may still buy.
const riskInterval = 30 * time.Second

// roles of a process. Each may run in any number of processes.
type roles struct {
	api    bool
	worker bool
	ingest bool // events from the brokers that are set up
	dev    bool // accept the fixed keys of `quickpass dev`
}

func serveCommands(with withConfig) []*cobra.Command {
	var commands []*cobra.Command
	for _, role := range []struct {
		name, short string
		roles       roles
	}{
		{"serve", "Run the API, a worker and the consumers of events in one process (the fastest way)", roles{api: true, worker: true, ingest: true}},
		{"api", "Run the API alone", roles{api: true}},
		{"worker", "Run a worker alone", roles{worker: true}},
		{"ingest", "Run the consumers of events from Kafka and RabbitMQ alone", roles{ingest: true}},
	} {
		commands = append(commands, &cobra.Command{Use: role.name, Short: role.short, Args: cobra.NoArgs,
			RunE: with(func(ctx context.Context, c config.Config) error {
				return serve(ctx, c, role.roles, newLogger(c.Log))
			}, role.roles.needs)})
	}
	return commands
}

// serve runs the roles until the context ends, then stops in the order in which work flows: no new
// requests, every accepted order started, running steps finished.
func serve(ctx context.Context, c config.Config, r roles, logger *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
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
	box := outbox.New(outbox.Options{DB: db, Client: engine, Logger: logger, Workers: c.Outbox.Workers, Queue: c.Outbox.Queue, Backlog: c.Outbox.Backlog, Open: c.Outbox.Open, Eager: r.worker})
	boxCtx, stopBox := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBox()
	var background sync.WaitGroup
	engineReady := make(chan struct{})
	background.Go(func() {
		select { // an order that is started before the worker polls would not be handed to it
		case <-engineReady:
		case <-ctx.Done():
		}
		box.Run(boxCtx)
	})

	stopWorkers := func(time.Time) error { return nil }
	policy := store.Policy{PurchaseInterval: c.Store.PurchaseInterval, LargePurchase: c.Store.LargePurchase, ConfirmWithin: c.Store.ConfirmWithin,
		SharedDevice: c.Store.SharedDevice, RiskyOrders: c.Store.RiskyOrders, ApprovalLimit: c.Store.ApprovalLimit}
	listeners := send.New(c.Webhooks.AllowPrivate)
	if r.worker {
		background.Go(func() { fraud.Guard{DB: db, Policy: policy, Logger: logger, Every: riskInterval}.Run(boxCtx) })
		workers, err := newWorkers(c, db, engine, listeners, func(id string) {
			watcher.Changed(id)
			if _, checkout := contract.CheckoutOrderID(id); checkout {
				box.OfferWebhooks()
			}
		})
		if err != nil {
			return err
		}
		stopWorkers = startWhenReady(ctx, engine, c.Temporal.Namespace, workers, logger, engineReady)
	} else {
		close(engineReady)
	}

	if _, _, err := db.KeepEventPartitions(ctx, contract.EventPartitionsMadeAhead, time.Now().Add(-c.Events.Retention), time.Now()); err != nil {
		logger.Warn("no partitions of events yet, the schedule will make them", "error", err)
	}
	intake := newIntake(c, db, box)
	intakeCtx, stopIntake := context.WithCancel(context.WithoutCancel(ctx))
	defer stopIntake()
	background.Go(func() { intake.Run(intakeCtx) })
	stopConsumers := func() {}
	if r.ingest {
		if stopConsumers, err = startConsumers(ctx, c, intake, logger); err != nil {
			return err
		}
	}

	deadline := drainDeadline(ctx, c.HTTP.DrainTimeout)
	if r.api {
		options := api.Options{DB: db, Starter: box, Temporal: temporal.Health{Client: engine}, Logger: logger, Watcher: watcher, Dev: r.dev, Policy: policy,
			PrivateWebhooks: c.Webhooks.AllowPrivate, Metrics: prometheus.NewRegistry()}
		options.Metrics.MustRegister(listeners)
		if options.Events, err = eventIntake(c, intake); err != nil {
			return err
		}
		if options.Payments, err = paymentWebhook(c); err != nil {
			return err
		}
		err = serveHTTP(ctx, c, options, box)
	} else {
		<-ctx.Done()
	}
	stopConsumers()
	stopIntake()
	stopBox()
	background.Wait()
	return errors.Join(err, stopWorkers(deadline()))
}

// drainDeadline returns the moment by which everything must have stopped, once the context has ended.
func drainDeadline(ctx context.Context, timeout time.Duration) func() time.Time {
	var deadline atomic.Value
	context.AfterFunc(ctx, func() { deadline.CompareAndSwap(nil, time.Now().Add(timeout)) })
	return func() time.Time {
		deadline.CompareAndSwap(nil, time.Now().Add(timeout)) // the API failed before the context ended
		return deadline.Load().(time.Time)
	}
}

// gcPercent trades memory, of which a process has little in use, for a tenth of its CPU; GOGC wins over it.
const gcPercent = 400

// needs names the settings that the roles can't do without.
func (r roles) needs(c config.Config) error {
	missing := []error{needsDatabase(c)}
	if r.worker {
		if c.MainProduct.URL == "" {
			missing = append(missing, errors.New("QUICKPASS_MAIN_PRODUCT_URL must be set, such as https://game.example"))
		}
		if c.MainProduct.APIKey == "" {
			missing = append(missing, errors.New("QUICKPASS_MAIN_PRODUCT_API_KEY must be set"))
		}
		if c.MainProduct.URL != "" {
			key := cmp.Or(c.MainProduct.APIKey, "none")
			_, err := mainproduct.New(mainproduct.Config{BaseURL: c.MainProduct.URL, APIKey: key, InquiryPath: c.MainProduct.InquiryPath, RewardPath: c.MainProduct.RewardPath})
			if err != nil {
				missing = append(missing, fmt.Errorf("QUICKPASS_MAIN_PRODUCT_URL, _API_KEY, _INQUIRY_PATH or _REWARD_PATH: %w", err))
			}
		}
	}
	if r.ingest && !r.api && len(c.Kafka.Brokers) == 0 && c.AMQP.URL == "" {
		missing = append(missing, errors.New("QUICKPASS_KAFKA_BROKERS or QUICKPASS_AMQP_URL must be set: there is nothing to consume"))
	}
	return errors.Join(missing...)
}

func serveHTTP(ctx context.Context, c config.Config, options api.Options, box *outbox.Outbox) error {
	options.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quickpass_orders_waiting", Help: "Orders that are reserved and whose workflow is not started yet.",
	}, func() float64 { return float64(box.Waiting()) }))
	options.DrainDelay = c.HTTP.DrainDelay
	options.ShutdownTimeout = (c.HTTP.DrainTimeout - c.HTTP.DrainDelay) / 2 // the rest is for accepted orders and running steps
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
	if err := servePprof(c.HTTP.PprofAddress, options.Logger); err != nil {
		return err
	}
	options.Logger.Info("HTTP is served", "address", listener.Addr().String())
	return server.Run(ctx, listener)
}

func newWorkers(c config.Config, db *postgres.DB, engine client.Client, listeners *send.Client, changed func(string)) (*worker.Workers, error) {
	schedule, err := c.Webhooks.Schedule()
	if err != nil {
		return nil, fmt.Errorf("QUICKPASS_WEBHOOKS_RETRY_SCHEDULE: %w", err)
	}
	product, err := mainproduct.New(mainproduct.Config{BaseURL: c.MainProduct.URL, APIKey: c.MainProduct.APIKey, InquiryPath: c.MainProduct.InquiryPath, RewardPath: c.MainProduct.RewardPath})
	if err != nil {
		return nil, fmt.Errorf("main product: %w", err)
	}
	return worker.New(worker.Options{Client: engine, DB: db, Product: product, OrderChanged: changed, WorkflowSlots: c.Worker.WorkflowSlots,
		DeliverySlots: c.Worker.DeliverySlots, QuietSlots: c.Worker.QuietSlots, CachedRuns: c.Worker.CachedRuns, StopTimeout: c.HTTP.DrainTimeout,
		EventRetention: c.Events.Retention, WebhookSlots: c.Webhooks.Slots, Webhooks: listeners, WebhookSchedule: schedule}), nil
}

// startWhenReady starts the workers as soon as Temporal answers: it may come up after us. It
// closes ready then, and returns the function that stops them.
func startWhenReady(ctx context.Context, engine client.Client, namespace string, workers *worker.Workers, logger *slog.Logger, ready chan<- struct{}) (stop func(deadline time.Time) error) {
	started := make(chan bool, 1)
	go func() {
		for {
			err := temporal.RegisterSearchAttributes(ctx, engine, namespace)
			if err == nil {
				err = worker.EnsureSchedules(ctx, engine)
			}
			if err == nil {
				err = workers.Start()
			}
			if err == nil {
				logger.Info("the worker polls", "namespace", namespace)
				close(ready)
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
	return func(deadline time.Time) error {
		if <-started && !workers.Stop(deadline) {
			// Nothing is lost: what was cut off is found by the sweep and by Temporal.
			logger.Warn("stopped with steps or calls under way", "drain_timeout_over", deadline)
		}
		return nil
	}
}
