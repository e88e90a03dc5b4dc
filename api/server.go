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
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Starter starts the workflows of orders whose reserve has been committed.
type Starter interface {
	// Offer hands over an order. It never blocks; what is not taken is found by the sweep.
	Offer(contract.PurchaseInput)
	// Confirmed hands over an order whose confirmation was just written. It never blocks either.
	Confirmed(contract.PurchaseInput)
	// Replay hands over a bulk replay that was just made or changed. It never blocks either.
	Replay(contract.ReplayInput)
	// Accepting says whether the backlog has room for another purchase, and if not, when to ask again.
	Accepting() (retryAfter time.Duration, ok bool)
}

// Temporal tells whether the Temporal service answers.
type Temporal interface {
	Healthy(ctx context.Context) error
}

// Options of a Server. DB, Starter, Temporal and Logger are needed; the rest has defaults.
type Options struct {
	DB       *postgres.DB
	Starter  Starter
	Temporal Temporal
	Logger   *slog.Logger
	Watcher  *Watcher             // share it with the activities of the same process
	Metrics  *prometheus.Registry // of the process
	Policy   store.Policy         // the shop's fraud protection
	Clock    func() time.Time     // for what is written; time.Now unless given
	Dev      bool                 // take the fixed keys of `quickpass dev`

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
	health     *health
	metrics    *metrics
	echo       *echo.Echo

	draining atomic.Bool
	stopping chan struct{} // closed when waits must end
}

// New makes a server; an error is a mistake in openapi.yaml or the options.
func New(options Options) (*Server, error) {
	if options.DB == nil || options.Starter == nil || options.Temporal == nil || options.Logger == nil {
		return nil, errors.New("api: DB, Starter, Temporal and Logger are needed")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.Watcher == nil {
		options.Watcher = NewWatcher(options.DB)
	}
	options.RequestTimeout = cmp.Or(options.RequestTimeout, 10*time.Second)
	options.ReadTimeout = cmp.Or(options.ReadTimeout, 15*time.Second)
	options.ShutdownTimeout = cmp.Or(options.ShutdownTimeout, 20*time.Second)

	doc, err := loadSpec()
	if err != nil {
		return nil, err
	}
	s := &Server{options: options, metrics: newMetrics(options.Metrics), stopping: make(chan struct{})}
	s.health = &health{db: options.DB, temporal: options.Temporal, stopping: &s.draining}
	if s.operations, err = operationsOf(doc); err != nil {
		return nil, err
	}
	if s.keys, err = newKeyring(options.DB, options.Dev, time.Now); err != nil {
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
	e.Use(s.observe, s.authorize, s.validate)
	RegisterHandlers(e, NewStrictHandler(&handlers{
		db: s.options.DB, starter: s.options.Starter, watcher: s.options.Watcher, policy: s.options.Policy, stopping: s.stopping, timeout: s.options.RequestTimeout,
		now: func() time.Time { return s.options.Clock().UTC() },
	}, nil))
	open := map[string]http.Handler{
		"/healthz":      http.HandlerFunc(healthz),
		"/readyz":       s.health,
		"/metrics":      s.metrics.handler(),
		"/openapi.yaml": http.HandlerFunc(serveSpec),
		"/docs":         docs,
		"/docs.css":     http.HandlerFunc(serveStyle),
	}
	for path, handler := range open {
		e.Match([]string{http.MethodGet, http.MethodHead}, path, echo.WrapHandler(handler))
	}
	return e
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
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
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
