package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// plainShop is the purchase without an engine: a transaction, the call, a transaction. A crash in between loses
// it; it shows what the rest of the machine can do.
type plainShop struct {
	db      *postgres.DB
	product *mainproduct.Client
}

// newOrder is what a request asks to reserve, with an idempotency key as the storefront sends one.
func newOrder(user, sku string) postgres.Purchase {
	id := "qp_" + xid.New().String()
	return postgres.Purchase{
		ProjectID:   project,
		OrderID:     id,
		UserID:      user,
		SKU:         sku,
		Quantity:    1,
		Idempotency: &postgres.Idempotency{Key: id},
	}
}

func (s *plainShop) reserve(ctx context.Context, user, sku string) (postgres.Purchase, error) {
	order := newOrder(user, sku)
	_, err := s.db.ReservePurchase(ctx, order, time.Now())
	return order, err
}

// finish makes the call and the second transaction.
func (s *plainShop) finish(ctx context.Context, order postgres.Purchase) error {
	answer, err := deliver(ctx, s.product, order.OrderID, order.UserID)
	if err != nil {
		return err
	}
	return capture(ctx, s.db, order.OrderID, answer)
}

// buy is the purchase in this process.
func (s *plainShop) buy(ctx context.Context, note *notes) error {
	begin := time.Now()
	order, err := s.reserve(ctx, anyUser(), anySKU())
	if err != nil {
		return err
	}
	note.accept(begin)
	if err := s.finish(ctx, order); err != nil {
		return err
	}
	note.finish(begin)
	return nil
}

// deliver asks the main product once and wants the order credited.
func deliver(ctx context.Context, product *mainproduct.Client, orderID, user string) (mainproduct.Answer, error) {
	// What the reserve transaction froze in the order is known here: all products of the seed ask for the same.
	answer := product.Credit(ctx, mainproduct.CreditRequest{
		UserID:      user,
		Amount:      creditAmount,
		Currency:    "credits",
		OrderID:     orderID,
		ProductName: "100 credits",
	})
	if answer.Kind != mainproduct.Credited {
		return answer, fmt.Errorf("order %s: the main product answers %s %s %s", orderID, answer.Kind, answer.Code, answer.Reason)
	}
	return answer, nil
}

func capture(ctx context.Context, db *postgres.DB, orderID string, answer mainproduct.Answer) error {
	status, err := db.CaptureOrder(ctx, contract.CaptureInput{
		ProjectID: project,
		OrderID:   orderID,
		Attempt:   1,
		Calls:     1,
		Credit:    store.Credit{TransactionID: answer.TransactionID, CreditedAmount: answer.CreditedAmount, NewBalance: answer.NewBalance},
	}, time.Now())
	if err == nil && status != store.Completed {
		err = fmt.Errorf("order %s is %s", orderID, status)
	}
	return err
}

// plainServer is the plain shop over HTTP by the smallest handler that could be called one: no key, no
// validation, no log. It answers after the first transaction, as `quickpass serve` does.
type plainServer struct {
	shop   *plainShop
	server *http.Server
	url    string

	mu   sync.Mutex
	ends map[string]chan error // order id -> its end
}

func startPlainServer(shop *plainShop) (*plainServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &plainServer{shop: shop, url: "http://" + listener.Addr().String(), ends: map[string]chan error{}}
	s.server = &http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(listener) }() // until it is closed
	return s, nil
}

func (s *plainServer) handle(w http.ResponseWriter, r *http.Request) {
	var in struct {
		UserID string `json:"user_id"`
		SKU    string `json:"sku"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	order, err := s.shop.reserve(r.Context(), in.UserID, in.SKU)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	end := make(chan error, 1)
	s.mu.Lock()
	s.ends[order.OrderID] = end
	s.mu.Unlock()
	ctx := context.WithoutCancel(r.Context())
	go func() { end <- s.shop.finish(ctx, order) }()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]string{"order_id": order.OrderID, "status": "processing"})
}

// wait returns when the order has ended.
func (s *plainServer) wait(ctx context.Context, orderID string) error {
	s.mu.Lock()
	end := s.ends[orderID]
	delete(s.ends, orderID)
	s.mu.Unlock()
	if end == nil {
		return errors.New("no such order")
	}
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
