// Package fake is a listener of webhooks for tests: it keeps its books, checks both signatures, and
// misbehaves on demand.
package fake

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/quickpass/quickpass/internal/webhook"
)

// Kind is a way to misbehave.
type Kind string

const (
	Status Kind = "status" // answers with Status
	Drop   Kind = "drop"   // closes the connection after it has read and kept the webhook
	Hang   Kind = "hang"   // does not answer until the caller leaves, or the listener stops
)

// Behaviour is for some calls, one after the other; without one a call is answered with 204.
type Behaviour struct {
	Kind       Kind
	Status     int
	Body       string
	RetryAfter string
	Calls      int // so many, then the next behaviour; 0: for good
}

// Received is a webhook that has arrived, whatever was answered.
type Received struct {
	At         time.Time `json:"at"`
	ID         string    `json:"webhook_id"`
	Event      string    `json:"event"`
	Sequence   int       `json:"sequence"`
	OrderID    int64     `json:"order_id"`
	Status     string    `json:"order_status"` // as the body says
	LegacyOK   bool      `json:"signature_ok"` // Authorization: Signature was made with one of the secrets
	StandardOK bool      `json:"webhook_signature_ok"`
	Answered   int       `json:"answered"` // 0: not
	Body       string    `json:"body"`
}

// maxBooks bounds the memory of a listener that runs for long; the oldest go first.
const maxBooks = 10_000

// Listener is an http.Handler.
type Listener struct {
	secrets []string
	stopped chan struct{}
	stop    sync.Once

	mu         sync.Mutex
	behaviours []Behaviour
	books      []Received
}

// New makes a listener that knows these secrets.
func New(secrets ...string) *Listener {
	return &Listener{secrets: secrets, stopped: make(chan struct{})}
}

// Misbehave replaces what comes next.
func (l *Listener) Misbehave(list ...Behaviour) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behaviours = list
}

// Books is everything that has arrived, in the order of arrival.
func (l *Listener) Books() []Received {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.books)
}

// List shows the books as JSON.
func (l *Listener) List(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]Received{}, l.Books()...)) // the caller may have left
}

// Stop ends calls that hang.
func (l *Listener) Stop() { l.stop.Do(func() { close(l.stopped) }) }

// ServeHTTP takes a webhook.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	behaviour := l.next()
	received := l.read(r.Header, body)
	answer := http.StatusNoContent
	switch behaviour.Kind {
	case Status:
		answer = behaviour.Status
	case Drop, Hang:
		answer = 0
	}
	received.Answered = answer
	l.mu.Lock()
	l.books = append(l.books[max(0, len(l.books)-maxBooks+1):], received)
	l.mu.Unlock()
	switch behaviour.Kind {
	case Drop:
		panic(http.ErrAbortHandler)
	case Hang:
		select {
		case <-r.Context().Done():
		case <-l.stopped:
		}
		return
	}
	if behaviour.RetryAfter != "" {
		w.Header().Set("Retry-After", behaviour.RetryAfter)
	}
	w.WriteHeader(answer)
	_, _ = io.WriteString(w, behaviour.Body) // the caller may have left
}

func (l *Listener) next() Behaviour {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.behaviours) == 0 {
		return Behaviour{}
	}
	current := l.behaviours[0]
	if current.Calls == 1 {
		l.behaviours = l.behaviours[1:]
	} else if current.Calls > 1 {
		l.behaviours = slices.Clone(l.behaviours)
		l.behaviours[0].Calls--
	}
	return current
}

func (l *Listener) read(header http.Header, body []byte) Received {
	var told struct {
		Event    string `json:"notification_type"`
		Sequence int    `json:"sequence"`
		Order    struct {
			ID     int64  `json:"id"`
			Status string `json:"status"`
		} `json:"order"`
	}
	_ = json.Unmarshal(body, &told) // a body that is none has no event, which its test sees
	received := Received{
		At:       time.Now(),
		ID:       header.Get(webhook.HeaderID),
		Event:    told.Event,
		Sequence: told.Sequence,
		OrderID:  told.Order.ID,
		Status:   told.Order.Status,
		Body:     string(body),
	}
	for _, secret := range l.secrets {
		received.LegacyOK = received.LegacyOK || legacy(secret, header.Get(webhook.HeaderAuthorization), body)
		received.StandardOK = received.StandardOK || standard(secret, header, body)
	}
	return received
}

func legacy(secret, authorization string, body []byte) bool {
	want := "Signature " + webhook.LegacySignature(secret, body)
	return subtle.ConstantTimeCompare([]byte(want), []byte(authorization)) == 1
}

func standard(secret string, header http.Header, body []byte) bool {
	key, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if strings.HasPrefix(secret, "whsec_") {
		key, err = standardwebhooks.NewWebhook(secret)
	}
	seconds, parseErr := strconv.ParseInt(header.Get(webhook.HeaderTimestamp), 10, 64)
	fresh := parseErr == nil && time.Since(time.Unix(seconds, 0)).Abs() < 5*time.Minute
	return err == nil && fresh && key.VerifyIgnoringTimestamp(body, header) == nil
}
