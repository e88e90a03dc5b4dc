package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CheckoutOrder is an order as it is stored. Its payments and refunds are read for admins only, its keys for
// its buyer only.
type CheckoutOrder struct {
	checkout.Order
	Keys         []inventory.Key // that it gave and that were not taken back
	ProjectID    int32
	UserID       string
	CartID       string
	Country      string
	ExternalID   string
	ReturnURL    string
	Custom       json.RawMessage // custom_parameters; may be nil
	Reason       string          // why it was canceled, or what keeps it from being done
	PriceChanges []checkout.PriceChange
	Paid         *decimal.Decimal
	Refunded     decimal.Decimal
	CreatedAt    time.Time
	UpdatedAt    time.Time
	PaidAt       *time.Time
	FinishedAt   *time.Time
}

func checkoutOf(row sqlc.CheckoutOrder) (CheckoutOrder, error) {
	order, err := orderOfCheckout(row)
	if err != nil {
		return CheckoutOrder{}, err
	}
	o := CheckoutOrder{
		Order:      order,
		ProjectID:  row.ProjectID,
		UserID:     row.UserID,
		CartID:     orZero(row.CartID),
		Country:    orZero(row.Country),
		ExternalID: orZero(row.ExternalID),
		ReturnURL:  orZero(row.ReturnUrl),
		Custom:     row.CustomParameters,
		Reason:     orZero(row.Reason),
		Paid:       row.Paid,
		Refunded:   row.Refunded,
		CreatedAt:  row.CreatedAt,
		UpdatedAt:  row.UpdatedAt,
		PaidAt:     row.PaidAt,
		FinishedAt: row.FinishedAt,
	}
	if err := json.Unmarshal(row.Moved, &o.PriceChanges); err != nil {
		return o, fmt.Errorf("order %d: %w", row.OrderID, err)
	}
	return o, nil
}

func checkoutsOf(rows []sqlc.CheckoutOrder, err error) ([]CheckoutOrder, error) {
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	orders := make([]CheckoutOrder, len(rows))
	for i, row := range rows {
		if orders[i], err = checkoutOf(row); err != nil {
			return nil, err
		}
	}
	return orders, nil
}

// GetCheckout reads an order as its buyer may see it, with the codes of its game keys; ErrNotFound when the
// project has none of this id.
func (db *DB) GetCheckout(ctx context.Context, projectID int32, orderID int64) (CheckoutOrder, error) {
	row, err := db.q.GetCheckoutOrder(ctx, sqlc.GetCheckoutOrderParams{OrderID: orderID, ProjectID: projectID})
	if err != nil {
		return CheckoutOrder{}, notFound(err)
	}
	order, err := checkoutOf(row)
	if err != nil {
		return order, err
	}
	if order.Deliveries, err = readDeliveries(ctx, row, order.Lines, db.q.ListCheckoutDeliveries); err != nil {
		return order, err
	}
	order.Keys, err = keysOfOrder(ctx, db.q, order)
	return order, err
}

// CheckoutOfToken reads the order that a payment token, given as its SHA-256, pays for; ErrNotFound when it
// is nobody's.
func (db *DB) CheckoutOfToken(ctx context.Context, hash []byte) (CheckoutOrder, error) {
	row, err := db.q.FindCheckoutOfToken(ctx, hash)
	if err != nil {
		return CheckoutOrder{}, notFound(err)
	}
	return checkoutOf(row)
}

// CheckoutIsSandbox tells whether no money moves for an order; ErrNotFound.
func (db *DB) CheckoutIsSandbox(ctx context.Context, orderID int64) (bool, error) {
	mode, err := db.q.FindCheckoutMode(ctx, orderID)
	return mode == checkout.SandboxMode, notFound(err)
}

// GetCheckoutWhole reads an order with its payments and refunds.
func (db *DB) GetCheckoutWhole(ctx context.Context, projectID int32, orderID int64) (CheckoutOrder, error) {
	row, err := db.q.GetCheckoutOrder(ctx, sqlc.GetCheckoutOrderParams{OrderID: orderID, ProjectID: projectID})
	if err != nil {
		return CheckoutOrder{}, notFound(err)
	}
	order, err := checkoutOf(row)
	if err != nil {
		return order, err
	}
	order.Order, err = loadOrder(ctx, db.q, row, db.q.ListCheckoutDeliveries)
	return order, err
}

// CheckoutSearch narrows a search of orders.
type CheckoutSearch struct {
	From, Until   *time.Time // of creation; until exclusive
	Limit, Offset int
}

// SearchCheckouts lists orders, newest first, and counts all that fit.
func (db *DB) SearchCheckouts(ctx context.Context, projectID int32, s CheckoutSearch) (orders []CheckoutOrder, total int64, err error) {
	orders, err = checkoutsOf(db.q.SearchCheckoutOrders(ctx, sqlc.SearchCheckoutOrdersParams{
		ProjectID:    projectID,
		CreatedFrom:  s.From,
		CreatedUntil: s.Until,
		MaxOrders:    int32(s.Limit),
		Skip:         int32(s.Offset),
	}))
	if err != nil {
		return nil, 0, err
	}
	if total, err = db.q.CountCheckoutOrders(ctx, sqlc.CountCheckoutOrdersParams{
		ProjectID:    projectID,
		CreatedFrom:  s.From,
		CreatedUntil: s.Until,
	}); err != nil {
		return nil, 0, fmt.Errorf("count orders: %w", err)
	}
	return orders, total, nil
}

// CheckoutFilter narrows a list of orders; empty fields do not.
type CheckoutFilter struct {
	UserID, Status string
	Delivery       checkout.DeliveryStatus // pending or suspected: orders with one that is
	Before         int64                   // cursor: orders older than this one; 0: from the newest
	Limit          int
}

// ListCheckouts lists a project's orders, newest first.
func (db *DB) ListCheckouts(ctx context.Context, projectID int32, f CheckoutFilter) ([]CheckoutOrder, error) {
	params := sqlc.ListCheckoutOrdersParams{
		ProjectID: projectID,
		Before:    f.Before,
		UserID:    optional.Text(f.UserID),
		Status:    optional.Text(f.Status),
		Delivery:  optional.Text(string(f.Delivery)),
		MaxOrders: int32(f.Limit),
	}
	if status := checkout.OrderStatus(f.Status); status == checkout.New || status == checkout.Paid {
		return checkoutsOf(db.q.ListOpenCheckoutOrders(ctx, sqlc.ListOpenCheckoutOrdersParams(params)))
	}
	return checkoutsOf(db.q.ListCheckoutOrders(ctx, params))
}

// ListedPayment is a payment with its order.
type ListedPayment struct {
	PaymentID int64
	OrderID   int64
	checkout.PaymentRecord
	DecidedBy string // the admin who ended a held one
	DecidedAt *time.Time
}

// PaymentFilter narrows a list of payments; empty fields do not.
type PaymentFilter struct {
	Outcome string
	Before  int64 // cursor
	Limit   int
}

// ListPayments lists a project's payments, newest first. Those that were returned are to be given back at
// their provider.
func (db *DB) ListPayments(ctx context.Context, projectID int32, f PaymentFilter) ([]ListedPayment, error) {
	params := sqlc.ListProjectPaymentsParams{
		ProjectID:   projectID,
		Before:      f.Before,
		Outcome:     optional.Text(f.Outcome),
		MaxPayments: int32(f.Limit),
	}
	var rows []sqlc.CheckoutPayment
	var err error
	if f.Outcome == "" || f.Outcome == string(checkout.Accepted) {
		rows, err = db.q.ListProjectPayments(ctx, params)
	} else {
		rows, err = db.q.ListPaymentsNotAccepted(ctx, sqlc.ListPaymentsNotAcceptedParams(params))
	}
	if err != nil {
		return nil, fmt.Errorf("list payments: %w", err)
	}
	payments := make([]ListedPayment, len(rows))
	for i, row := range rows {
		payments[i] = ListedPayment{
			PaymentID:     row.PaymentID,
			OrderID:       row.OrderID,
			PaymentRecord: paymentRecord(row),
			DecidedBy:     orZero(row.DecidedBy),
			DecidedAt:     row.DecidedAt,
		}
	}
	return payments, nil
}

// FinalCheckouts tells which of these orders are finished.
func (db *DB) FinalCheckouts(ctx context.Context, orderIDs []int64) ([]int64, error) {
	final, err := db.q.FinalCheckoutOrders(ctx, orderIDs)
	if err != nil {
		return nil, fmt.Errorf("final orders: %w", err)
	}
	return final, nil
}
