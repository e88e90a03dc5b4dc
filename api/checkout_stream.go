package api

import (
	"context"
	"net/http"

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
	changed, stop := s.watcher.watch(contract.CheckoutWorkflowID(s.order.OrderID))
	defer stop()
	return s.follow(w, s.call, changed, s.news)
}

// news is the order, if its status is another than was told last.
func (s *checkoutStream) news(ctx context.Context) (event []byte, final bool, err error) {
	order, err := s.db.GetCheckout(ctx, s.order.ProjectID, s.order.OrderID)
	if err != nil {
		return nil, false, err
	}
	shown := shownOrder(order, s.now())
	if shown.Status == s.told {
		return nil, false, nil
	}
	s.told = shown.Status
	event, err = appendEvent(nil, "order", "", shown)
	return event, shown.Status.Terminal(), err
}
