package api

import (
	"bytes"
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

func (s *orderStream) VisitStreamOrderResponse(w http.ResponseWriter) error {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would collect it
	changed, stop := s.watcher.watch(s.orderID)
	defer stop()
	refresh, heartbeat := time.NewTicker(streamRefresh), time.NewTicker(streamHeartbeat)
	defer refresh.Stop()
	defer heartbeat.Stop()
	if err := s.call.send(w, []byte("retry: 2000\n\n"), s.timeout); err != nil { // the client knows at once that it is heard
		return err
	}
	for {
		events, final, err := s.news()
		if err == nil && len(events) > 0 {
			err = s.call.send(w, events, s.timeout)
		}
		if err != nil || final {
			return err
		}
		select {
		case <-changed:
		case <-refresh.C:
		case <-heartbeat.C:
			if err := s.call.send(w, []byte(":\n\n"), s.timeout); err != nil {
				return err
			}
		case <-s.call.client.Done():
			return nil
		case <-s.stopping:
			return nil
		}
	}
}

// news is what happened since the last look. The order is read before its timeline: when it is final,
// all entries are there.
func (s *orderStream) news() (events []byte, final bool, err error) {
	ctx, cancel := context.WithTimeout(s.call.client, s.timeout)
	defer cancel()
	order, err := s.db.GetOrder(ctx, s.call.key.ProjectID, s.orderID)
	if err != nil {
		return nil, false, err
	}
	entries, err := s.db.Timeline(ctx, s.call.key.ProjectID, s.orderID, s.last)
	if err != nil {
		return nil, false, err
	}
	var buf bytes.Buffer
	for _, entry := range entries {
		s.last = entry.ID
		if err := writeEvent(&buf, "timeline", entry.ID, timelineBody(entry)); err != nil {
			return nil, false, err
		}
	}
	if order.Status.Final() {
		err = writeEvent(&buf, "order", s.last, orderBody(order))
	}
	return buf.Bytes(), order.Status.Final(), err
}

func writeEvent(buf *bytes.Buffer, event string, id int64, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(buf, "id: %d\nevent: %s\ndata: %s\n\n", id, event, encoded)
	return err
}

// send writes and flushes; a client that does not take it in time is given up.
func (c *call) send(w http.ResponseWriter, events []byte, within time.Duration) error {
	c.hold(within)
	if _, err := w.Write(events); err != nil {
		return err
	}
	return c.connection.Flush()
}
