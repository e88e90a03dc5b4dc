// Package send calls the listeners of webhooks.
package send

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quickpass/quickpass/internal/outbound"
	"github.com/quickpass/quickpass/internal/webhook"
)

const (
	userAgent = "QuickPass-Webhooks/1"
	// maxAnswer is how much of an answer is read, and kept.
	maxAnswer = 1 << 10
	maxError  = 300
)

// Client calls listeners. It also counts how they answer, for Prometheus.
type Client struct {
	http *http.Client
	took *prometheus.HistogramVec
}

// New makes a client. With allowPrivate, which is for development, plain HTTP and any address go.
func New(allowPrivate bool) *Client {
	return &Client{
		http: outbound.NewClient(allowPrivate, maxAnswer),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "quickpass_webhook_attempt_seconds",
			Help:    "Calls of listeners of webhooks, by what their answer means.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}, []string{"outcome"}),
	}
}

// Answer is what a listener said, or why it said nothing.
type Answer struct {
	StatusCode int    // 0: nothing
	Text       string // the first bytes of the body
	Error      string
	RetryAfter time.Duration
	Took       time.Duration
}

// Send signs a body and calls a listener, once. The context bounds it.
func (c *Client) Send(ctx context.Context, address string, secrets []string, id string, body []byte) Answer {
	start := time.Now()
	answer, err := c.send(ctx, address, secrets, id, body)
	answer.Took = time.Since(start)
	if err != nil {
		answer.Error = errorText(err)
	}
	outcome := string(webhook.Judge(answer.StatusCode))
	if outcome == string(webhook.Pending) {
		outcome = "failed"
	}
	c.took.WithLabelValues(outcome).Observe(answer.Took.Seconds())
	return answer
}

func (c *Client) send(ctx context.Context, address string, secrets []string, id string, body []byte) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	signed, err := webhook.Sign(secrets, id, time.Now(), body)
	if err != nil {
		return Answer{}, err
	}
	for name, value := range signed {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	response, err := c.http.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer := Answer{StatusCode: response.StatusCode, RetryAfter: webhook.RetryAfter(response.Header.Get("Retry-After"), time.Now())}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	answer.Text = printable(string(text))
	if err != nil && answer.StatusCode >= 300 {
		return answer, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil // a 2xx is a yes, whether or not its body arrives
}

// printable is text that PostgreSQL takes, in whole characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == 0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
}

// errorText has no address in it: its path may hold a secret.
func errorText(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := printable(err.Error())
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		text = "no answer in time"
	case errors.Is(err, outbound.ErrNotPublic):
		text = outbound.ErrNotPublic.Error()
	}
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}

// Describe and Collect make the client a prometheus.Collector.
func (c *Client) Describe(ch chan<- *prometheus.Desc) { c.took.Describe(ch) }

// Collect see Describe.
func (c *Client) Collect(ch chan<- prometheus.Metric) { c.took.Collect(ch) }
