package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// GetOrder reads one order of a project; ErrNotFound when there is none.
func (db *DB) GetOrder(ctx context.Context, projectID int32, orderID string) (store.Order, error) {
	row, err := db.q.GetOrder(ctx, sqlc.GetOrderParams{OrderID: orderID, ProjectID: projectID})
	if err != nil {
		return store.Order{}, notFound(err)
	}
	return orderOf(row)
}

// OrderFilter narrows a list of orders; empty fields do not.
type OrderFilter struct {
	UserID, Status, Reason, SKU string
	Suspected                   *bool
	From, Until                 *time.Time // creation, from inclusive, until exclusive
	Before                      string     // cursor: orders older than this one
	Limit                       int
}

// ListOrders lists a project's orders, newest first.
func (db *DB) ListOrders(ctx context.Context, projectID int32, f OrderFilter) ([]store.Order, error) {
	rows, err := db.q.ListOrders(ctx, sqlc.ListOrdersParams{
		ProjectID:    projectID,
		Before:       optional.Text(f.Before),
		UserID:       optional.Text(f.UserID),
		Status:       optional.Text(f.Status),
		Reason:       optional.Text(f.Reason),
		Sku:          optional.Text(f.SKU),
		Suspected:    f.Suspected,
		CreatedFrom:  f.From,
		CreatedUntil: f.Until,
		MaxOrders:    int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	orders := make([]store.Order, 0, len(rows))
	for _, row := range rows {
		order, err := orderOf(row)
		if err != nil {
			return nil, err
		}
		orders = append(orders, order)
	}
	return orders, nil
}

// TimelineEntry is one thing that happened to an order.
type TimelineEntry struct {
	ID      int64 // grows with time
	Attempt int
	Event   string
	Detail  json.RawMessage // may be nil
	At      time.Time
}

// Timeline reads what happened to an order after the given entry, oldest first.
func (db *DB) Timeline(ctx context.Context, projectID int32, orderID string, after int64) ([]TimelineEntry, error) {
	rows, err := db.q.ListTimeline(ctx, sqlc.ListTimelineParams{OrderID: orderID, ProjectID: projectID, After: after})
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	entries := make([]TimelineEntry, len(rows))
	for i, row := range rows {
		entries[i] = TimelineEntry{ID: row.EntryID, Attempt: int(row.Attempt), Event: row.Event, Detail: row.Detail, At: row.At}
	}
	return entries, nil
}

// FinalOrders tells which of these orders have their outcome.
func (db *DB) FinalOrders(ctx context.Context, orderIDs []string) ([]string, error) {
	final, err := db.q.FinalOrders(ctx, orderIDs)
	if err != nil {
		return nil, fmt.Errorf("final orders: %w", err)
	}
	return final, nil
}

// Unstarted is an open order whose workflow may not run, or may not know that its order was confirmed.
type Unstarted struct {
	Input     contract.PurchaseInput
	Confirmed bool
}

// MarkStarted notes which orders are under way, for the sweeps of all processes; orders that are over are not
// written.
func (db *DB) MarkStarted(ctx context.Context, started []Unstarted, now time.Time) error {
	params := sqlc.MarkStartedParams{Now: now, OrderIds: make([]string, len(started)), Attempts: make([]int32, len(started))}
	for i, order := range started {
		params.OrderIds[i], params.Attempts[i] = order.Input.OrderID, int32(order.Input.Attempt)
	}
	if err := db.q.MarkStarted(ctx, params); err != nil {
		return fmt.Errorf("mark started orders: %w", err)
	}
	return nil
}

// SweepOptions say what LeaseUnstarted may hand out.
type SweepOptions struct {
	Age   time.Duration // only orders that have not changed for so long
	Lease time.Duration // an order is handed out once in so long
	Trust time.Duration // how long a started workflow is taken for running
	Limit int
}

// LeaseUnstarted hands out open orders whose workflow may never have been started, or was lost. A
// lease, not a claim: if the caller dies too, the next sweep finds them again.
func (db *DB) LeaseUnstarted(ctx context.Context, o SweepOptions, now time.Time) ([]Unstarted, error) {
	rows, err := db.q.LeaseUnstarted(ctx, sqlc.LeaseUnstartedParams{
		Now: now, OlderThan: now.Add(-o.Age), LeaseBefore: now.Add(-o.Lease), TrustBefore: now.Add(-o.Trust), MaxOrders: int32(o.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("lease unstarted orders: %w", err)
	}
	orders := make([]Unstarted, len(rows))
	for i, row := range rows {
		orders[i] = Unstarted{Confirmed: row.Confirmed, Input: contract.PurchaseInput{ProjectID: row.ProjectID, OrderID: row.OrderID,
			UserID: row.UserID, SKU: row.Sku, Quantity: row.Quantity, Attempt: int(row.Attempt)}}
	}
	return orders, nil
}

// Backlog counts open orders.
type Backlog struct {
	Open      int
	Unstarted int // of these: not changed for a while, and nobody is known to have started them
}

// CountBacklog counts up to limit; age is how long an order may take to be started.
func (db *DB) CountBacklog(ctx context.Context, age time.Duration, limit int, now time.Time) (Backlog, error) {
	row, err := db.q.CountOpen(ctx, sqlc.CountOpenParams{OlderThan: now.Add(-age), MaxOrders: int32(limit)})
	if err != nil {
		return Backlog{}, fmt.Errorf("count open orders: %w", err)
	}
	return Backlog{Open: int(row.OpenOrders), Unstarted: int(row.Unstarted)}, nil
}

func orderOf(row sqlc.Order) (store.Order, error) {
	order := store.Order{
		OrderID:       row.OrderID,
		ProjectID:     row.ProjectID,
		UserID:        row.UserID,
		SKU:           row.Sku,
		Quantity:      row.Quantity,
		PriceCoins:    row.PriceCoins,
		RefundedCoins: row.RefundedCoins,
		Status:        store.OrderStatus(row.Status),
		Attempt:       int(row.Attempt),
		Suspected:     row.Suspected,
		Calls:         int(row.DeliveryCalls),
		CreatedAt:     row.CreatedAt,
		UpdatedAt:     row.UpdatedAt,
		FinishedAt:    row.FinishedAt,
	}
	if err := json.Unmarshal(row.Delivery, &order.Delivery); err != nil {
		return store.Order{}, fmt.Errorf("delivery of order %s: %w", row.OrderID, err)
	}
	if row.Status == string(store.Canceled) && row.ReasonDetail != nil {
		order.Reason = &store.Reason{}
		if err := json.Unmarshal(row.ReasonDetail, order.Reason); err != nil {
			return store.Order{}, fmt.Errorf("reason of order %s: %w", row.OrderID, err)
		}
	}
	if row.Risk != nil {
		order.Risk = &store.Risk{}
		if err := json.Unmarshal(row.Risk, order.Risk); err != nil {
			return store.Order{}, fmt.Errorf("risk of order %s: %w", row.OrderID, err)
		}
	}
	if row.Status == string(store.AwaitingConfirmation) {
		order.ConfirmBy = row.ConfirmBy
	}
	if row.TransactionID != nil {
		order.Credit = &store.Credit{TransactionID: *row.TransactionID, CreditedAmount: row.CreditedAmount, NewBalance: row.NewBalance}
	}
	return order, nil
}
