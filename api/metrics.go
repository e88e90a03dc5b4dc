package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.HistogramVec
}

// newMetrics registers the API's figures beside what the rest of the process registered.
func newMetrics(registry *prometheus.Registry) *metrics {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "quickpass_http_request_duration_seconds",
		Help:    "Time to answer an HTTP request.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"method", "route", "status"})
	registry.MustRegister(requests)
	return &metrics{requests: requests}
}

// observe counts by route and class of status; a path that matched no route must not make a series.
func (m *metrics) observe(method, route string, status int, took time.Duration) {
	if route == "" || status == http.StatusNotFound && route == "/*" {
		method, route = "any", "unmatched"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}
