package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// checkoutStream is an answer that is written while an order changes.
type checkoutStream struct {
	*handlers
	call  *call
	order postgres.CheckoutOrder
	told  checkout.OrderStatus
}

// VisitStreamCheckoutOrderResponse writes the order as it is, and each time its status changes.
func (s *checkoutStream) VisitStreamCheckoutOrderResponse(w http.ResponseWriter) error {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would collect it
	changed, stop := s.watcher.watch(contract.CheckoutWorkflowID(s.order.OrderID))
	defer stop()
	refresh, heartbeat := time.NewTicker(streamRefresh), time.NewTicker(streamHeartbeat)
	defer refresh.Stop()
	defer heartbeat.Stop()
	if err := s.call.send(w, []byte("retry: 2000\n\n"), s.timeout); err != nil { // the client knows at once that it is heard
		return err
	}
	for {
		event, err := s.news()
		if err == nil && event != nil {
			err = s.call.send(w, event, s.timeout)
		}
		if err != nil || s.told.Terminal() {
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

// news is the order, if its status is another than was told last.
func (s *checkoutStream) news() ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.call.client, s.timeout)
	defer cancel()
	order, err := s.db.GetCheckout(ctx, s.order.ProjectID, s.order.OrderID)
	if err != nil {
		return nil, err
	}
	shown := shownOrder(order, s.now())
	if shown.Status == s.told {
		return nil, nil
	}
	s.told = shown.Status
	encoded, err := json.Marshal(shown)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "event: order\ndata: %s\n\n", encoded)
	return buf.Bytes(), nil
}
