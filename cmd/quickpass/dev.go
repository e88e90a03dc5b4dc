package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	devProductKey  = "dev-main-product-key"
	devInquiryPath = "/api/v1/credits/orders/{order_id}"
	// These sign webhooks: "dev-events-webhook-secret" and "dev-payments-webhook-secret" in base64.
	devWebhookSecret = "whsec_ZGV2LWV2ZW50cy13ZWJob29rLXNlY3JldA==" //nolint:gosec // known to everybody, for `quickpass dev` only
	devPaymentSecret = "whsec_ZGV2LXBheW1lbnRzLXdlYmhvb2stc2VjcmV0" //nolint:gosec // likewise
	// devListenerSecret signs what the fake main product is told of orders.
	devListenerSecret = "dev-webhook-secret" //nolint:gosec // likewise
	stopTimeout       = 30 * time.Second
)

func devCommand(with withConfig) *cobra.Command {
	return &cobra.Command{Use: "dev", Short: "Run everything on this machine, with demo data", Args: cobra.NoArgs,
		RunE: with(dev)}
}

// stack is what `quickpass dev` has started, in the order of starting.
type stack struct {
	stops []func(context.Context) error
	ui    string // Temporal's web UI
	fake  string // the fake main product's page
}

func dev(ctx context.Context, c config.Config) (err error) {
	dir, err := filepath.Abs(c.Dev.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("QUICKPASS_DEV_DIR: %w", err)
	}
	if err := checkPorts(c); err != nil {
		return err
	}
	if os.Getenv("QUICKPASS_STORE_PURCHASE_INTERVAL") == "" {
		c.Store.PurchaseInterval = 0 // whoever tries things out buys more than once a minute
	}
	c.Webhooks.AllowPrivate = true // whoever tries webhooks out listens on this machine
	if len(c.Events.WebhookSecrets) == 0 {
		c.Events.WebhookSecrets = []string{devWebhookSecret}
	}
	if len(c.Payments.WebhookSecrets) == 0 {
		c.Payments.WebhookSecrets = []string{devPaymentSecret}
	}
	var s stack
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx, &c, dir); err != nil {
		return err
	}
	if err := seedDemo(ctx, c, s.fake); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "quickpass.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	logger := slog.New(slog.NewTextHandler(logFile, nil))

	go func() {
		if waitReady(ctx, c.HTTP.Address) == nil {
			printAddresses(os.Stdout, c, s, logFile.Name())
		}
	}()
	err = serve(ctx, c, roles{api: true, worker: true, ingest: true, dev: true}, logger)
	fmt.Println("stopping ...")
	return err
}

// checkPorts fails before anything is started, and names the setting.
func checkPorts(c config.Config) error {
	_, port, err := net.SplitHostPort(c.HTTP.Address)
	if err != nil {
		return err
	}
	httpPort, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("QUICKPASS_HTTP_ADDRESS: %w", err)
	}
	taken := []error{devstack.CheckPort(httpPort, "QUICKPASS_HTTP_ADDRESS")}
	if c.MainProduct.URL == "" {
		taken = append(taken, devstack.CheckPort(c.Dev.MainProductPort, "QUICKPASS_DEV_MAIN_PRODUCT_PORT"))
	}
	return errors.Join(taken...)
}

// start brings up what the settings do not say is elsewhere, and writes the addresses into the settings.
func (s *stack) start(ctx context.Context, c *config.Config, dir string) error {
	progress := func(step string) { fmt.Println(step) }
	if c.Database.URL == "" {
		pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{
			Dir:      filepath.Join(dir, "postgres"),
			Port:     c.Dev.PostgresPort,
			Progress: progress,
		})
		if err != nil {
			return err
		}
		s.stops = append(s.stops, pg.Stop)
		c.Database.URL = pg.URL()
	}
	if os.Getenv("QUICKPASS_TEMPORAL_ADDRESS") == "" {
		engine, err := devstack.StartTemporal(ctx, devstack.TemporalOptions{
			PostgresURL: c.Database.URL,
			Port:        c.Dev.TemporalPort,
			UIPort:      c.Dev.TemporalUIPort,
			Namespace:   c.Temporal.Namespace,
			Dir:         filepath.Join(dir, "temporal"),
			Progress:    progress,
		})
		if err != nil {
			return err
		}
		s.stops = append(s.stops, engine.Stop)
		c.Temporal.Address, s.ui = engine.Address(), engine.UIURL()
	}
	if c.MainProduct.URL == "" {
		if err := s.startFake(ctx, c, dir); err != nil {
			return err
		}
	}
	if _, err := postgres.Migrate(ctx, c.Database.URL); err != nil {
		return err
	}
	return nil
}

func (s *stack) startFake(ctx context.Context, c *config.Config, dir string) error {
	program, err := devstack.FindTool("fakeproduct")
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Dev.MainProductPort))
	c.MainProduct.URL, c.MainProduct.APIKey = "http://"+address, devProductKey
	if c.MainProduct.InquiryPath == "" {
		c.MainProduct.InquiryPath = devInquiryPath
	}
	fake, err := devstack.StartProcess(ctx, devstack.ProcessOptions{
		Name:      "the fake main product",
		Path:      program,
		Args:      []string{"-address", address, "-books", filepath.Join(dir, "fakeproduct.jsonl"), "-api-key", devProductKey, "-webhook-secret", devListenerSecret},
		LogFile:   filepath.Join(dir, "fakeproduct.log"),
		PIDFile:   filepath.Join(dir, "fakeproduct.pid"),
		ReadyLine: "ready",
	})
	if err != nil {
		return err
	}
	s.stops = append(s.stops, fake.Stop)
	s.fake = c.MainProduct.URL
	return nil
}

// stop ends everything in the reverse order of starting.
func (s *stack) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		errs = append(errs, s.stops[i](ctx))
	}
	return errors.Join(errs...)
}

// waitReady returns when /readyz answers 200: PostgreSQL and Temporal are there.
func waitReady(ctx context.Context, address string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if devstack.ExpectOK(ctx, "http://"+address+"/readyz") == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
