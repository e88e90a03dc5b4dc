package api

import (
	"context"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	pollEvery   = 50 * time.Millisecond
	pollTimeout = 5 * time.Second
)

// Watcher tells those who wait for an order when to look at it again. One goroutine asks the database for
// all of them at once, and only while somebody waits; activities of the same process wake them sooner.
type Watcher struct {
	db *postgres.DB

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{} // order id -> who waits for it
	polling bool
}

// NewWatcher makes a watcher; one serves a whole process.
func NewWatcher(db *postgres.DB) *Watcher {
	return &Watcher{db: db, waiting: map[string]map[chan struct{}]struct{}{}}
}

// Changed wakes all who wait for the order. It never blocks; call it after the commit.
func (w *Watcher) Changed(orderID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for waiter := range w.waiting[orderID] {
		select {
		case waiter <- struct{}{}:
		default: // it has yet to look at an earlier change
		}
	}
}

// watch returns a channel that receives when the order may have changed, and does when it is final. The
// caller reads the order after watch, so that no change falls in between, and calls stop at the end.
func (w *Watcher) watch(orderID string) (changed <-chan struct{}, stop func()) {
	waiter := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[orderID] == nil {
		w.waiting[orderID] = map[chan struct{}]struct{}{}
	}
	w.waiting[orderID][waiter] = struct{}{}
	if !w.polling {
		w.polling = true
		go w.poll()
	}
	return waiter, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waiting[orderID], waiter)
		if len(w.waiting[orderID]) == 0 {
			delete(w.waiting, orderID)
		}
	}
}

// poll looks for final orders until nobody waits.
func (w *Watcher) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for range tick.C {
		orders := w.orders()
		if orders == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), pollTimeout)
		final, err := w.final(ctx, orders)
		cancel()
		if err != nil {
			continue // who waits sees the database's state by itself, or its own time limit
		}
		for _, orderID := range final {
			w.Changed(orderID)
		}
	}
}

// final tells which of these are final. Orders of carts are watched by the ids of their workflows.
func (w *Watcher) final(ctx context.Context, watched []string) ([]string, error) {
	var orders []string
	var checkouts []int64
	for _, id := range watched {
		if orderID, ok := contract.CheckoutOrderID(id); ok {
			checkouts = append(checkouts, orderID)
		} else {
			orders = append(orders, id)
		}
	}
	var final []string
	if len(orders) > 0 {
		var err error
		if final, err = w.db.FinalOrders(ctx, orders); err != nil {
			return nil, err
		}
	}
	if len(checkouts) > 0 {
		over, err := w.db.FinalCheckouts(ctx, checkouts)
		if err != nil {
			return nil, err
		}
		final = append(final, each(over, contract.CheckoutWorkflowID)...)
	}
	return final, nil
}

// orders lists what is waited for; with nothing left, polling is over.
func (w *Watcher) orders() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.polling = false
		return nil
	}
	orders := make([]string, 0, len(w.waiting))
	for orderID := range w.waiting {
		orders = append(orders, orderID)
	}
	return orders
}
