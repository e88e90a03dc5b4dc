package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type event struct{ id, name, data string }

// stream opens an order's stream and returns a function that reads the next event, false at the end.
func (s *shop) stream(t *testing.T, orderID, lastEventID string) func() (event, bool) {
	t.Helper()
	return s.follow(t, "/api/v1/orders/"+orderID+"/stream", lastEventID)
}

func (s *shop) follow(t *testing.T, path, lastEventID string) func() (event, bool) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+path, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+keyOf("storefront"))
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	lines := bufio.NewScanner(response.Body)
	return func() (event, bool) {
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					return e, true
				}
			}
		}
		return event{}, false
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := into[Accepted](t, s.call("storefront", "POST", "/api/v1/purchases", buy)).OrderID
	next := s.stream(t, id, "")
	reserved, ok := next()
	require.True(t, ok)
	require.Equal(t, "timeline", reserved.name)
	require.Contains(t, reserved.data, `"event":"reserved"`)

	s.capture(s.starter.seen()[0])
	completed, _ := next()
	require.Equal(t, "timeline", completed.name)
	require.Contains(t, completed.data, `"event":"completed"`)
	last, _ := next()
	require.Equal(t, "order", last.name)
	var order Order
	require.NoError(t, json.Unmarshal([]byte(last.data), &order))
	require.Equal(t, OrderStatusCompleted, order.Status)
	_, more := next()
	require.False(t, more, "the stream ends")

	entry, err := strconv.ParseInt(reserved.id, 10, 64)
	require.NoError(t, err)
	require.Positive(t, entry)
	next = s.stream(t, id, reserved.id)
	again, _ := next()
	require.Equal(t, completed, again, "only what came after Last-Event-ID")
	next = s.stream(t, id, completed.id)
	again, _ = next()
	require.Equal(t, "order", again.name)
}

func TestWatcherStopsWithItsLastWaiter(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.starter.do = s.capture
	require.Equal(t, 200, s.call("storefront", "POST", "/api/v1/purchases", buy, header("Prefer", "wait=30")).status)
	require.Eventually(t, func() bool {
		s.watcher.mu.Lock()
		defer s.watcher.mu.Unlock()
		return !s.watcher.polling && len(s.watcher.waiting) == 0
	}, 5*pollTimeout, pollEvery)
}
