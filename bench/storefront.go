package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// storefront buys over HTTP, as the server of a shop page does: a key, keep-alive, and an Idempotency-Key with
// every purchase.
type storefront struct {
	http *http.Client
	url  string
}

func newStorefront(url string) *storefront {
	transport := &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Minute}
	return &storefront{http: &http.Client{Transport: transport}, url: url + "/api/v1/purchases"}
}

// buy posts a purchase. With wait the answer comes when the order is final, and must be a success.
func (s *storefront) buy(ctx context.Context, user string, wait bool) (orderID string, err error) {
	return s.buySKU(ctx, user, anySKU(), wait)
}

func (s *storefront) buySKU(ctx context.Context, user, sku string, wait bool) (orderID string, err error) {
	body, err := json.Marshal(map[string]any{"user_id": user, "sku": sku})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+apiKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", rand.Text())
	want := http.StatusAccepted
	if wait {
		request.Header.Set("Prefer", "wait=60")
		want = http.StatusOK
	}
	response, err := s.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("purchase: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("purchase: %w", err)
	}
	var order struct {
		OrderID string            `json:"order_id"`
		Status  store.OrderStatus `json:"status"`
	}
	if response.StatusCode == http.StatusTooManyRequests { // two of one user at once, and the one that came second has looked at the clock first
		return s.buySKU(ctx, user, sku, wait)
	}
	if response.StatusCode != want {
		return "", fmt.Errorf("purchase: %s: %s", response.Status, answer)
	}
	if err := json.Unmarshal(answer, &order); err != nil {
		return "", fmt.Errorf("purchase: %w", err)
	}
	if wait && order.Status != store.Completed {
		return "", fmt.Errorf("purchase: order %s is %s", order.OrderID, order.Status)
	}
	return order.OrderID, nil
}

// doneWatch tells when orders are final by asking the database for all of them at once. A storefront that does
// not wait costs `quickpass serve` nothing but the POST; this way the end can be seen without charging it for
// the waiting.
type doneWatch struct {
	db    *postgres.DB
	every time.Duration

	mu      sync.Mutex
	waiting map[string]chan struct{}
}

func newDoneWatch(db *postgres.DB, every time.Duration) *doneWatch {
	return &doneWatch{db: db, every: every, waiting: map[string]chan struct{}{}}
}

// run looks until the context ends.
func (w *doneWatch) run(ctx context.Context) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		orders := w.orders()
		if len(orders) == 0 {
			continue
		}
		final, err := w.db.FinalOrders(ctx, orders)
		if err != nil && ctx.Err() == nil {
			return err
		}
		w.mu.Lock()
		for _, id := range final {
			close(w.waiting[id])
			delete(w.waiting, id)
		}
		w.mu.Unlock()
	}
}

func (w *doneWatch) orders() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.waiting))
	for id := range w.waiting {
		ids = append(ids, id)
	}
	return ids
}

// wait returns when the order is final.
func (w *doneWatch) wait(ctx context.Context, orderID string) error {
	final := make(chan struct{})
	w.mu.Lock()
	w.waiting[orderID] = final
	w.mu.Unlock()
	select {
	case <-final:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
