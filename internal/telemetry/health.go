package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	checkTimeout = time.Second
	checkFor     = time.Second // an answer is reused so long: probes must not become load
)

// Check asks one of the parts that a process can't work without whether it is there.
type Check func(context.Context) error

// Alive answers /healthz: the process runs, whatever it can reach.
func Alive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

// Readiness answers /readyz: 200 when every part answers, 503 otherwise and while the process stops.
type Readiness struct {
	parts    map[string]Check
	stopping atomic.Bool

	mu      sync.Mutex
	results map[string]string
	at      time.Time
}

// NewReadiness makes a Readiness of the parts, by the names that its answers give them.
func NewReadiness(parts map[string]Check) *Readiness { return &Readiness{parts: parts} }

// Stopping makes every later answer 503, so that load balancers send nothing new.
func (h *Readiness) Stopping() { h.stopping.Store(true) }

func (h *Readiness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.stopping.Load() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "stopping", "checks": map[string]string{}})
		return
	}
	results := h.look(context.WithoutCancel(r.Context())) // its answer is shared
	for _, result := range results {
		if result != "ok" {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not_ready", "checks": results})
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "checks": results})
}

// look asks all parts at the same time; who comes meanwhile shares the answer.
func (h *Readiness) look(ctx context.Context) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) < checkFor {
		return h.results
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	asked := make(map[string]<-chan string, len(h.parts))
	for part, ask := range h.parts {
		asked[part] = check(ctx, ask)
	}
	h.results = make(map[string]string, len(asked))
	for part, result := range asked {
		h.results[part] = <-result
	}
	h.at = time.Now()
	return h.results
}

func check(ctx context.Context, ask Check) <-chan string {
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
