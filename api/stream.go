package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	streamRefresh   = time.Second      // finds entries that another process wrote
	streamHeartbeat = 15 * time.Second // keeps proxies from closing a silent stream
)

// StreamOrder follows an order as server-sent events until it is final.
func (h *handlers) StreamOrder(ctx context.Context, r StreamOrderRequestObject) (StreamOrderResponseObject, error) {
	if _, err := h.order(ctx, r.ID); err != nil {
		return nil, err
	}
	last, err := strconv.ParseInt(or(r.Params.LastEventID, "0"), 10, 64)
	if err != nil {
		return nil, invalid("Last-Event-ID", "must be the id of an event")
	}
	if !callOf(ctx).moveTo(h.waiting) {
		return nil, errOverloaded("too many streams are open")
	}
	return &orderStream{handlers: h, call: callOf(ctx), orderID: r.ID, last: last}, nil
}

// orderStream is an answer that is written while things happen.
type orderStream struct {
	*handlers
	call    *call
	orderID string
	last    int64 // the entry that the client has
}

// VisitStreamOrderResponse writes the entries of the order's timeline, and at its end the order.
func (s *orderStream) VisitStreamOrderResponse(w http.ResponseWriter) error {
	changed, stop := s.watcher.watch(s.orderID)
	defer stop()
	return s.follow(w, s.call, changed, s.news)
}

// news is what happened since the last look. The order is read before its timeline: when it is final,
// all entries are there.
func (s *orderStream) news(ctx context.Context) (events []byte, final bool, err error) {
	order, err := s.db.GetOrder(ctx, s.call.key.ProjectID, s.orderID)
	if err != nil {
		return nil, false, err
	}
	entries, err := s.db.Timeline(ctx, s.call.key.ProjectID, s.orderID, s.last)
	if err != nil {
		return nil, false, err
	}
	for _, entry := range entries {
		s.last = entry.ID
		if events, err = appendEvent(events, "timeline", strconv.FormatInt(entry.ID, 10), timelineBody(entry)); err != nil {
			return nil, false, err
		}
	}
	if order.Status.Final() {
		events, err = appendEvent(events, "order", strconv.FormatInt(s.last, 10), orderBody(order))
	}
	return events, order.Status.Final(), err
}

// follow answers with server-sent events: what news finds at once, then whenever something has changed or a
// refresh is due; nothing new is no event. It ends after the last event, when the client leaves and when the
// server stops.
func (h *handlers) follow(w http.ResponseWriter, call *call, changed <-chan struct{}, news func(context.Context) (events []byte, last bool, err error)) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would collect it
	refresh, heartbeat := time.NewTicker(streamRefresh), time.NewTicker(streamHeartbeat)
	defer refresh.Stop()
	defer heartbeat.Stop()
	if err := call.send(w, []byte("retry: 2000\n\n"), h.timeout); err != nil { // the client knows at once that it is heard
		return err
	}
	for {
		reading, cancel := context.WithTimeout(call.client, h.timeout)
		events, last, err := news(reading)
		cancel()
		if err == nil && len(events) > 0 {
			err = call.send(w, events, h.timeout)
		}
		if err != nil || last {
			return err
		}
		select {
		case <-changed:
		case <-refresh.C:
		case <-heartbeat.C:
			if err := call.send(w, []byte(":\n\n"), h.timeout); err != nil {
				return err
			}
		case <-call.client.Done():
			return nil
		case <-h.stopping:
			return nil
		}
	}
}

// appendEvent adds an event to others; the id, from which a client goes on, may be empty.
func appendEvent(events []byte, name, id string, data any) ([]byte, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	if id != "" {
		events = fmt.Appendf(events, "id: %s\n", id)
	}
	return fmt.Appendf(events, "event: %s\ndata: %s\n\n", name, encoded), nil
}

// send writes and flushes; a client that does not take it in time is given up.
func (c *call) send(w http.ResponseWriter, events []byte, within time.Duration) error {
	c.hold(within)
	if _, err := w.Write(events); err != nil {
		return err
	}
	return c.connection.Flush()
}
