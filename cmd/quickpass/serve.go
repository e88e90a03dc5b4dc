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
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/fraud"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/telemetry"
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

// process is what the roles of one process share.
type process struct {
	config    config.Config
	roles     roles
	logger    *slog.Logger
	db        *postgres.DB
	engine    client.Client
	metrics   *prometheus.Registry
	watcher   *api.Watcher
	box       *outbox.Outbox
	intake    *events.Intake
	listeners *send.Client // of webhooks
}

// serve runs the roles until the context ends, then stops in the order in which work flows: no new
// requests, every accepted order started, running steps finished.
func serve(ctx context.Context, c config.Config, r roles, logger *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	p, err := connect(ctx, c, r, logger)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.serveOps(ctx); err != nil {
		return err
	}

	background := newBackground(ctx)
	defer background.stop()
	stopWorkers, workerPolls, err := p.startWorkers(ctx, background)
	if err != nil {
		return err
	}
	background.run(func(ctx context.Context) {
		<-workerPolls // an order that is started before would not be handed to the worker of this process
		p.box.Run(ctx)
	})
	if _, _, err := p.db.KeepEventPartitions(ctx, contract.EventPartitionsMadeAhead, time.Now().Add(-c.Events.Retention), time.Now()); err != nil {
		logger.Warn("no partitions of events yet, the schedule will make them", "error", err)
	}
	background.run(p.intake.Run)
	stopConsumers, err := p.startConsumers(ctx)
	if err != nil {
		return err
	}

	deadline := drainDeadline(ctx, c.HTTP.DrainTimeout)
	if r.api {
		err = p.serveHTTP(ctx)
	} else {
		<-ctx.Done()
	}
	stopConsumers()
	background.stop()
	return errors.Join(err, stopWorkers(deadline()))
}

// connect opens what every role needs. Temporal may come up later.
func connect(ctx context.Context, c config.Config, r roles, logger *slog.Logger) (*process, error) {
	db, err := postgres.Open(ctx, postgres.Options{
		URL:              c.Database.URL,
		MaxConnections:   int32(c.Database.MaxConnections),
		StatementTimeout: c.Database.StatementTimeout,
	})
	if err != nil {
		return nil, err
	}
	engine, err := temporal.Dial(temporal.Options{
		Address:   c.Temporal.Address,
		Namespace: c.Temporal.Namespace,
		Compress:  c.Temporal.Compress,
		Logger:    logger,
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	box := outbox.New(outbox.Options{DB: db, Client: engine, Logger: logger, Workers: c.Outbox.Workers, Queue: c.Outbox.Queue,
		Backlog: c.Outbox.Backlog, Open: c.Outbox.Open, Eager: r.worker})
	p := &process{
		config:    c,
		roles:     r,
		logger:    logger,
		db:        db,
		engine:    engine,
		metrics:   telemetry.NewRegistry(),
		watcher:   api.NewWatcher(db),
		box:       box,
		intake:    newIntake(c, db, box),
		listeners: send.New(c.Webhooks.AllowPrivate),
	}
	p.metrics.MustRegister(p.listeners, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quickpass_orders_waiting", Help: "Orders that are reserved and whose workflow is not started yet.",
	}, func() float64 { return float64(box.Waiting()) }))
	return p, nil
}

func (p *process) close() {
	p.engine.Close()
	p.db.Close()
}

// background is what goes on while requests drain: it does not end with the process's context, but when it is stopped.
type background struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func newBackground(ctx context.Context) *background {
	b := &background{}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return b
}

func (b *background) run(do func(context.Context)) { b.group.Go(func() { do(b.ctx) }) }

func (b *background) stop() {
	b.cancel()
	b.group.Wait()
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
			_, err := mainproduct.New(mainproduct.Config{
				BaseURL:     c.MainProduct.URL,
				APIKey:      key,
				InquiryPath: c.MainProduct.InquiryPath,
				RewardPath:  c.MainProduct.RewardPath,
			})
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

func (p *process) serveHTTP(ctx context.Context) error {
	c := p.config.HTTP
	doors, err := eventIntake(p.config, p.intake)
	if err != nil {
		return err
	}
	payments, err := paymentWebhook(p.config)
	if err != nil {
		return err
	}
	server, err := api.New(api.Options{
		DB:              p.db,
		Starter:         p.box,
		Temporal:        temporal.Health{Client: p.engine},
		Logger:          p.logger,
		Watcher:         p.watcher,
		Metrics:         p.metrics,
		Policy:          p.policy(),
		Events:          doors,
		Payments:        payments,
		Dev:             p.roles.dev,
		Origins:         c.CORSOrigins,
		PrivateWebhooks: p.config.Webhooks.AllowPrivate,
		RatePerKey:      c.RatePerKey,
		RatePerUser:     c.RatePerUser,
		MaxInFlight:     c.MaxInFlight,
		MaxWaiting:      c.MaxWaiting,
		DatabaseWait:    c.DatabaseWait,
		DrainDelay:      c.DrainDelay,
		ShutdownTimeout: (c.DrainTimeout - c.DrainDelay) / 2, // the rest is for accepted orders and running steps
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return fmt.Errorf("listen on %s (QUICKPASS_HTTP_ADDRESS): %w", c.Address, err)
	}
	p.logger.Info("HTTP is served", "address", listener.Addr().String())
	return server.Run(ctx, listener)
}

func (p *process) policy() store.Policy {
	c := p.config.Store
	return store.Policy{PurchaseInterval: c.PurchaseInterval, LargePurchase: c.LargePurchase, ConfirmWithin: c.ConfirmWithin,
		SharedDevice: c.SharedDevice, RiskyOrders: c.RiskyOrders, ApprovalLimit: c.ApprovalLimit}
}

// startWorkers starts the workers if that is a role of the process. Polls is closed when they poll, when the
// context has ended before, and when there are none.
func (p *process) startWorkers(ctx context.Context, b *background) (stop func(deadline time.Time) error, polls <-chan struct{}, err error) {
	ready := make(chan struct{})
	if !p.roles.worker {
		close(ready)
		return func(time.Time) error { return nil }, ready, nil
	}
	workers, err := p.newWorkers()
	if err != nil {
		return nil, nil, err
	}
	b.run(fraud.Guard{DB: p.db, Policy: p.policy(), Logger: p.logger, Every: riskInterval}.Run)
	return startWhenReady(ctx, p.engine, p.config.Temporal.Namespace, workers, p.logger, ready), ready, nil
}

func (p *process) newWorkers() (*worker.Workers, error) {
	c := p.config
	schedule, err := c.Webhooks.Schedule()
	if err != nil {
		return nil, fmt.Errorf("QUICKPASS_WEBHOOKS_RETRY_SCHEDULE: %w", err)
	}
	product, err := mainproduct.New(mainproduct.Config{
		BaseURL:     c.MainProduct.URL,
		APIKey:      c.MainProduct.APIKey,
		InquiryPath: c.MainProduct.InquiryPath,
		RewardPath:  c.MainProduct.RewardPath,
	})
	if err != nil {
		return nil, fmt.Errorf("main product: %w", err)
	}
	return worker.New(worker.Options{
		Client:          p.engine,
		DB:              p.db,
		Product:         product,
		OrderChanged:    p.orderChanged,
		WorkflowSlots:   c.Worker.WorkflowSlots,
		DeliverySlots:   c.Worker.DeliverySlots,
		QuietSlots:      c.Worker.QuietSlots,
		CachedRuns:      c.Worker.CachedRuns,
		StopTimeout:     c.HTTP.DrainTimeout,
		EventRetention:  c.Events.Retention,
		WebhookSlots:    c.Webhooks.Slots,
		Webhooks:        p.listeners,
		WebhookSchedule: schedule,
	}), nil
}

// orderChanged wakes who waits for the order, and the webhooks that tell of it.
func (p *process) orderChanged(orderID string) {
	p.watcher.Changed(orderID)
	if _, checkout := contract.CheckoutOrderID(orderID); checkout {
		p.box.OfferWebhooks()
	}
}

// startWhenReady starts the workers as soon as Temporal answers: it may come up after us. It closes ready
// then, or when the context has ended before, and returns the function that stops them.
func startWhenReady(ctx context.Context, engine client.Client, namespace string, workers *worker.Workers, logger *slog.Logger, ready chan<- struct{}) (stop func(deadline time.Time) error) {
	started := make(chan bool, 1)
	go func() {
		defer close(ready)
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
