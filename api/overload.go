package api

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultMaxInFlight  = 1000
	defaultMaxWaiting   = 1000
	defaultDatabaseWait = 2 * time.Second
)

// gate bounds how many requests do something at the same time.
type gate struct {
	most   int64
	inside atomic.Int64
}

func (g *gate) enter() bool {
	if g.inside.Add(1) > g.most {
		g.inside.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.inside.Add(-1) }

func errOverloaded(what string) error {
	return &failure{code: ProblemCodeOverloaded, detail: what + "; nothing was done, try again in a moment", retryAfter: time.Second}
}

// admit refuses a call at once when too many are under way: an answer that comes too late helps nobody. Health and
// documentation stay open.
func (s *Server) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		call := callOf(c.Request().Context())
		if call.operation = s.operations[c.Request().Method+" "+c.Path()]; call.operation == nil {
			return next(c) // open to everybody, or no such route
		}
		if !s.working.enter() {
			return errOverloaded("more than " + strconv.FormatInt(s.working.most, 10) + " requests are under way")
		}
		call.inside = s.working
		defer func() { call.inside.leave() }()
		return next(c)
	}
}

// moveTo counts the call among those that wait from now on, which cost little for long, if there is room.
func (c *call) moveTo(g *gate) bool {
	if !g.enter() {
		return false
	}
	c.inside.leave()
	c.inside = g
	return true
}

// limitKey holds a key to its rate.
func (s *Server) limitKey(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		call := callOf(c.Request().Context())
		if call.operation == nil {
			return next(c)
		}
		if err := s.perKey.check(c.Request().Context(), call.key.KeyID, c.Response().Header()); err != nil {
			return err
		}
		return next(c)
	}
}

// registerGates shows how full the gates are.
func registerGates(registry *prometheus.Registry, working, waiting *gate) {
	gauge := func(name, help string, g *gate) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name,
			Help: help,
		}, func() float64 { return float64(g.inside.Load()) }))
	}
	gauge("quickpass_http_requests_in_flight", "Requests that are worked on.", working)
	gauge("quickpass_http_requests_waiting", "Requests that wait for an order: Prefer: wait, and streams.", waiting)
}
