package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/postgres"
)

// call is what is known of the request in hand; the middleware fills it in.
type call struct {
	requestID   string
	client      context.Context // until the client leaves; without the time limit of a request
	connection  *http.ResponseController
	operation   *operation
	key         postgres.APIKey
	caller      caller // of a call of /api/v2
	body        []byte
	media       string // of the body
	value       any    // the body, decoded; a text if it is no JSON
	idempotency *postgres.Idempotency
	inside      *gate       // which counts it at the moment
	header      http.Header // of the answer
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// hold keeps the connection open for an answer that is meant to take this long.
func (c *call) hold(d time.Duration) {
	// Not every writer has deadlines (those of tests have none). The read deadline would otherwise
	// end the request as if the client had left.
	_ = c.connection.SetReadDeadline(time.Time{})
	_ = c.connection.SetWriteDeadline(time.Now().Add(d))
}

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// observe is the outermost middleware: it names the request, turns errors and panics into problems,
// logs and measures.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		r := c.Request()
		client := postgres.WithPoolWait(r.Context(), s.options.DatabaseWait)
		call := &call{
			requestID:  r.Header.Get(echo.HeaderXRequestID),
			client:     client,
			connection: http.NewResponseController(c.Response()),
			header:     c.Response().Header(),
		}
		if !requestIDPattern.MatchString(call.requestID) {
			call.requestID = xid.New().String()
		}
		c.SetRequest(r.WithContext(context.WithValue(client, callKey{}, call)))
		secure(call.header, call.requestID)

		err := recovered(next, c)
		status := c.Response().Status
		broken := errors.As(err, new(*brokenOff)) && c.Response().Committed
		if err != nil {
			status = refuse(c, call, err)
		}
		s.metrics.observe(r.Method, c.Path(), status, time.Since(start))
		s.log(c, call, status, time.Since(start), err)
		if broken {
			panic(http.ErrAbortHandler) // the client must not take what it has for the whole
		}
		return nil
	}
}

// brokenOff is an error in the middle of an answer whose first part has been sent.
type brokenOff struct{ error }

func (b *brokenOff) Unwrap() error { return b.error }

// recovered runs a handler and returns its panic as an error.
func recovered(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return next(c)
}

func secure(header http.Header, requestID string) {
	header.Set(echo.HeaderXRequestID, requestID)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
}

// log writes the access log; ids, never keys.
func (s *Server) log(c echo.Context, call *call, status int, took time.Duration, err error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", c.Request().Method), slog.String("route", c.Path()), slog.String("path", c.Request().URL.Path),
		slog.Int("status", status), slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.String("request_id", call.requestID),
	}
	if call.key.KeyID != "" {
		attrs = append(attrs, slog.String("key_id", call.key.KeyID))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.options.Logger.LogAttrs(call.client, level, "request", attrs...)
}
