package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	checkTimeout = time.Second
	checkFor     = time.Second // an answer is reused so long: probes must not become load
)

func healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

// health answers /readyz.
type health struct {
	db       *postgres.DB
	temporal Temporal
	stopping *atomic.Bool

	mu     sync.Mutex
	checks map[string]string
	at     time.Time
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.stopping.Load() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "stopping", "checks": map[string]string{}})
		return
	}
	checks := h.look(context.WithoutCancel(r.Context())) // its answer is shared
	for _, result := range checks {
		if result != "ok" {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not_ready", "checks": checks})
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "checks": checks})
}

// look asks PostgreSQL and Temporal at the same time; who comes meanwhile shares the answer.
func (h *health) look(ctx context.Context) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) < checkFor {
		return h.checks
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	postgres, temporal := check(ctx, h.db.Ping), check(ctx, h.temporal.Healthy)
	h.checks = map[string]string{"postgres": <-postgres, "temporal": <-temporal}
	h.at = time.Now()
	return h.checks
}

func check(ctx context.Context, ask func(context.Context) error) <-chan string {
	result, asked := make(chan string, 1), make(chan error, 1)
	go func() { asked <- ask(ctx) }()
	go func() {
		select {
		case err := <-asked:
			if err == nil {
				result <- "ok"
				return
			}
		case <-ctx.Done(): // whether or not the check honours it
		}
		result <- "unreachable"
	}()
	return result
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // nobody is left to tell
}
