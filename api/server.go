// Package api is QuickPass's HTTP API. openapi.yaml is its source: the routes, the types, the validation,
// the roles and the page at /docs come from it. Handlers decode, make one call, and map the answer.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/telemetry"
)

// Starter starts the workflows of orders whose reserve has been committed.
type Starter interface {
	// Offer hands over an order. It never blocks; what is not taken is found by the sweep.
	Offer(contract.PurchaseInput)
	// Confirmed hands over an order whose confirmation was just written. It never blocks either.
	Confirmed(contract.PurchaseInput)
	// Replay hands over a bulk replay that was just made or changed. It never blocks either.
	Replay(contract.ReplayInput)
	// OfferTaskWindows hands over windows of tasks that were just opened, canceled or reopened. It never blocks either.
	OfferTaskWindows(windows ...postgres.TaskWindowChange)
	// OfferCheckout hands over an order that was just made, paid or canceled. It never blocks either.
	OfferCheckout(order postgres.CheckoutChange)
	// OfferWebhooks says that orders may have changed of which listeners are to be told. It never blocks either.
	OfferWebhooks()
	// TestWebhook has a worker send a test to the project's listener, and waits for its answer.
	TestWebhook(ctx context.Context, projectID int32) (contract.WebhookTested, error)
	// Accepting says whether the backlog has room for another purchase, and if not, when to ask again.
	Accepting() (retryAfter time.Duration, ok bool)
}

// Temporal tells whether the Temporal service answers.
type Temporal interface {
	Healthy(ctx context.Context) error
}

// Options of a Server. DB, Starter, Temporal, Logger and Events are needed; the rest has defaults.
type Options struct {
	DB       *postgres.DB
	Starter  Starter
	Temporal Temporal
	Logger   *slog.Logger
	Watcher  *Watcher             // share it with the activities of the same process
	Metrics  *prometheus.Registry // of the process
	Policy   store.Policy         // the shop's fraud protection
	Events   EventIntake
	Payments *events.WebhookVerifier // checks notifications of payments; none are taken unless given
	Clock    func() time.Time        // for what is written; time.Now unless given
	Dev      bool                    // take the fixed keys of `quickpass dev`

	Origins         []string // of pages that may make the calls of /api/v2; "*" are all
	PrivateWebhooks bool     // listeners, and issuers of tokens, may be on this machine and in private networks, and take plain HTTP

	RatePerKey   int           // requests a second of one API key, over all processes; 0 is no limit
	RatePerUser  int           // purchases a minute of one user, over all processes; 0 is no limit
	MaxInFlight  int           // requests that are worked on at the same time, 1,000
	MaxWaiting   int           // requests that wait for an order (Prefer: wait, and streams), 1,000
	DatabaseWait time.Duration // for a connection to the database, 2 s

	RequestTimeout  time.Duration // of a request's work, 10 s; waits that the client asks for come on top
	ReadTimeout     time.Duration // to receive a request whole, 15 s
	DrainDelay      time.Duration // between a failing /readyz and the end of accepting, for load balancers to notice; none unless given
	ShutdownTimeout time.Duration // for requests under way to end, 20 s
}

// Server serves the API.
type Server struct {
	options    Options
	operations map[string]*operation
	keys       *keyring
	readiness  *telemetry.Readiness
	projects   *projects
	shop       *shopCache
	perKey     *limiter
	perUser    *limiter
	working    *gate // requests that are worked on
	waiting    *gate // requests that wait for an order
	metrics    *metrics
	echo       *echo.Echo

	stopping chan struct{} // closed when waits must end
	release  func()        // ends what New has begun
}

// New makes a server; an error is a mistake in openapi.yaml or the options.
func New(options Options) (*Server, error) {
	if options.DB == nil || options.Starter == nil || options.Temporal == nil || options.Logger == nil || options.Events.Counter == nil {
		return nil, errors.New("api: DB, Starter, Temporal, Logger and Events are needed")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.Watcher == nil {
		options.Watcher = NewWatcher(options.DB)
	}
	if options.Metrics == nil {
		options.Metrics = telemetry.NewRegistry()
	}
	options.MaxInFlight = cmp.Or(options.MaxInFlight, defaultMaxInFlight)
	options.MaxWaiting = cmp.Or(options.MaxWaiting, defaultMaxWaiting)
	options.DatabaseWait = cmp.Or(options.DatabaseWait, defaultDatabaseWait)
	options.RequestTimeout = cmp.Or(options.RequestTimeout, 10*time.Second)
	options.ReadTimeout = cmp.Or(options.ReadTimeout, 15*time.Second)
	options.ShutdownTimeout = cmp.Or(options.ShutdownTimeout, 20*time.Second)

	doc, err := loadSpec()
	if err != nil {
		return nil, err
	}
	s := &Server{options: options, metrics: newMetrics(options.Metrics), stopping: make(chan struct{}),
		working: &gate{most: int64(options.MaxInFlight)}, waiting: &gate{most: int64(options.MaxWaiting)}}
	registerGates(options.Metrics, s.working, s.waiting)
	if s.shop, err = newShopCache(options.DB, options.Logger, options.RequestTimeout); err != nil {
		return nil, err
	}
	if s.perKey, err = newLimiter("key", options.RatePerKey, time.Second, options.DB, options.Logger); err != nil {
		return nil, err
	}
	if s.perUser, err = newLimiter("user", options.RatePerUser, time.Minute, options.DB, options.Logger); err != nil {
		return nil, err
	}
	s.readiness = telemetry.NewReadiness(map[string]telemetry.Check{"postgres": options.DB.Ping, "temporal": options.Temporal.Healthy})
	if s.operations, err = operationsOf(doc); err != nil {
		return nil, err
	}
	if s.keys, err = newKeyring(options.DB, options.Dev, time.Now); err != nil {
		return nil, err
	}
	background, release := context.WithCancel(context.Background())
	s.release = release
	if s.projects, err = newProjects(background, options.DB, options.Clock, options.PrivateWebhooks); err != nil {
		return nil, err
	}
	page, err := renderDocs(doc)
	if err != nil {
		return nil, fmt.Errorf("render /docs: %w", err)
	}
	s.echo = s.routes(page)
	return s, nil
}

func (s *Server) routes(docs http.Handler) *echo.Echo {
	e := echo.New()
	e.Binder = bodyBinder{}
	e.Use(s.observe, crossOrigin(s.options.Origins), s.admit, s.authorize, s.limitKey, s.validate, s.seeOwnEdits)
	h := &handlers{
		db:              s.options.DB,
		starter:         s.options.Starter,
		watcher:         s.options.Watcher,
		shop:            s.shop,
		catalogs:        newTaskCatalogs(s.options.DB, s.options.RequestTimeout, s.options.Clock),
		shadows:         &gate{most: 1},
		perUser:         s.perUser,
		waiting:         s.waiting,
		items:           newItemCatalogs(s.options.DB, s.options.RequestTimeout),
		projects:        s.projects,
		policy:          s.options.Policy,
		stopping:        s.stopping,
		timeout:         s.options.RequestTimeout,
		now:             func() time.Time { return s.options.Clock().UTC() },
		events:          s.options.Events,
		callerOf:        s.callerOf,
		sandbox:         sandboxOf(s.options.DB),
		notifications:   notificationsOf(s.options.DB, s.options.Payments),
		checks:          postgres.NewEntitlements(s.options.DB),
		privateWebhooks: s.options.PrivateWebhooks,
	}
	RegisterHandlers(withHead{e}, NewStrictHandler(h, nil))
	e.POST("/api/v1/events", h.PostEvents)
	e.POST("/api/v1/hooks/events", h.PostEventsHook)
	e.POST("/api/v1/hooks/payments", h.PostPaymentsHook)
	e.POST("/api/v1/hooks/payment-returns", h.PostPaymentReturnsHook)
	withHead{e}.GET(paymentPagePath, h.GetPaymentPage)
	e.POST(paymentPagePath, h.PostPaymentPage)
	for path, parameter := range map[string]string{"/paystation3/": "access_token", "/paystation4/": "token"} {
		e.GET(path, redirectToPaymentPage(parameter))
	}
	open := map[string]http.Handler{
		"/healthz":      http.HandlerFunc(telemetry.Alive),
		"/readyz":       s.readiness,
		"/metrics":      telemetry.Metrics(s.options.Metrics),
		"/event.proto":  http.HandlerFunc(serveEventProto),
		"/openapi.yaml": http.HandlerFunc(serveSpec),
		"/docs":         docs,
		"/docs.css":     http.HandlerFunc(serveStyle),
	}
	for path, handler := range open {
		e.Match([]string{http.MethodGet, http.MethodHead}, path, echo.WrapHandler(handler))
	}
	return e
}

// withHead registers HEAD beside each GET (RFC 9110, 9.1); net/http leaves the body out.
type withHead struct{ *echo.Echo }

// GET registers both. A stream has no head to tell; its HEAD is there to be refused, since Echo would say 404.
func (e withHead) GET(path string, handler echo.HandlerFunc, middleware ...echo.MiddlewareFunc) *echo.Route {
	head := handler
	if strings.HasSuffix(path, "/stream") {
		head = func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderAllow, http.MethodGet)
			return echo.ErrMethodNotAllowed
		}
	}
	e.HEAD(path, head, middleware...)
	return e.Echo.GET(path, handler, middleware...)
}

// background listens to edits of the catalog and clears rate limits away that nobody uses, until stop is called.
// It goes on while requests drain.
func (s *Server) background(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { s.shop.listen(ctx) })
	if s.perKey != nil || s.perUser != nil {
		running.Go(func() { s.forgetIdleBuckets(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
		s.release()
	}
}

// Handler is the whole API, for tests and for servers that set their own timeouts; Run sets the right ones.
func (s *Server) Handler() http.Handler { return s.echo }

// Run serves until ctx ends, then stops gracefully: /readyz fails first, then after DrainDelay nothing new is
// accepted, waiting clients get their answer early, and requests under way end. It returns nil after a
// graceful stop.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       s.options.ReadTimeout,
		WriteTimeout:      s.options.ReadTimeout + s.options.RequestTimeout + 5*time.Second, // waits and streams extend it
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(func() { close(s.stopping) })
	stop := s.background(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	s.readiness.Stopping()
	s.options.Logger.Info("HTTP is draining", slog.Duration("delay", s.options.DrainDelay))
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-time.After(s.options.DrainDelay):
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		_ = server.Close()
		return fmt.Errorf("stop HTTP: requests were cut off after %s: %w", s.options.ShutdownTimeout, err)
	}
	return nil
}
