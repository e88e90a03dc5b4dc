package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// ErrReturnGiven tells that the money went back by another transaction before.
var ErrReturnGiven = errors.New("given back by another transaction before")

// CheckoutReturn is money that goes back to who paid it: a payment that was not taken, or a refund.
type CheckoutReturn struct {
	ReturnID   int64
	OrderID    int64
	PaymentID  int64
	RefundID   string // empty: the payment itself
	Provider   string
	ProviderID string // of the payment
	Amount     decimal.Decimal
	Currency   string
	CreatedAt  time.Time
	Reference  string // of the transaction by which it went back; empty: it is owed
	GivenBy    string
	GivenAt    *time.Time
}

// returnRow is what all statements about returns give.
type returnRow struct {
	CheckoutReturn       sqlc.CheckoutReturn
	OrderID              int64
	Provider, ProviderID string
	Currency             string
	ProjectID            int32
}

func (r returnRow) back() CheckoutReturn {
	row := r.CheckoutReturn
	return CheckoutReturn{
		ReturnID:   row.ReturnID,
		OrderID:    r.OrderID,
		PaymentID:  row.PaymentID,
		RefundID:   orZero(row.RefundID),
		Provider:   r.Provider,
		ProviderID: r.ProviderID,
		Amount:     row.Amount,
		Currency:   r.Currency,
		CreatedAt:  row.CreatedAt,
		Reference:  orZero(row.Reference),
		GivenBy:    orZero(row.GivenBy),
		GivenAt:    row.GivenAt,
	}
}

// owePayment writes down that a payment which was not taken goes back.
func (o *lockedCheckout) owePayment(ctx context.Context, paymentID int64, amount decimal.Decimal) error {
	err := o.q.OweReturn(ctx, sqlc.OweReturnParams{OrderID: o.row.OrderID, PaymentID: paymentID, Amount: amount, Now: o.now})
	if err != nil {
		return fmt.Errorf("owe payment %d: %w", paymentID, err)
	}
	return nil
}

// oweRefund writes down that a refund goes back.
func (o *lockedCheckout) oweRefund(ctx context.Context, refundID string, amount decimal.Decimal) error {
	if !amount.IsPositive() {
		return nil
	}
	err := o.q.OweReturn(ctx, sqlc.OweReturnParams{OrderID: o.row.OrderID, RefundID: &refundID, Amount: amount, Now: o.now})
	if err != nil {
		return fmt.Errorf("owe refund %s: %w", refundID, err)
	}
	return nil
}

// ReturnGiven is somebody's word that money went back.
type ReturnGiven struct {
	ReturnID  int64
	ProjectID *int32  // of the admin who says so; nil: a provider does
	Provider  *string // who says so, about its own payments only
	Reference string
	By        string
}

// GiveReturn writes down that money went back. The same again changes nothing. It fails with ErrNotFound and
// ErrReturnGiven.
func (db *DB) GiveReturn(ctx context.Context, g ReturnGiven, now time.Time) (back CheckoutReturn, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.GiveReturn(ctx, sqlc.GiveReturnParams{
			ReturnID:  g.ReturnID,
			ProjectID: g.ProjectID,
			Provider:  g.Provider,
			Reference: g.Reference,
			GivenBy:   g.By,
			Now:       now,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			back, err = findGiven(ctx, q, g)
			return err
		}
		if err != nil {
			return fmt.Errorf("give return %d back: %w", g.ReturnID, err)
		}
		back = returnRow(row).back()
		return audit(ctx, q, row.ProjectID, g.By, "checkout.return", "return/"+strconv.FormatInt(g.ReturnID, 10),
			map[string]any{"order_id": back.OrderID, "amount": back.Amount, "currency": back.Currency, "reference": g.Reference}, now)
	})
	return back, err
}

// findGiven is what went back before, if it was by the same transaction.
func findGiven(ctx context.Context, q *sqlc.Queries, g ReturnGiven) (CheckoutReturn, error) {
	row, err := q.GetReturn(ctx, sqlc.GetReturnParams{ReturnID: g.ReturnID, ProjectID: g.ProjectID, Provider: g.Provider})
	if err != nil {
		return CheckoutReturn{}, notFound(err)
	}
	back := returnRow(row).back()
	if back.Reference != g.Reference {
		return back, ErrReturnGiven
	}
	return back, nil
}

// ReturnFilter narrows a list of returns.
type ReturnFilter struct {
	Given  *bool // nil: both
	Before int64 // cursor; 0: from the newest
	Limit  int
}

// ListReturns lists what goes back to who paid in a project, newest first.
func (db *DB) ListReturns(ctx context.Context, projectID int32, f ReturnFilter) ([]CheckoutReturn, error) {
	if f.Given != nil && !*f.Given {
		return returnsOf(db.q.ListOwedReturns(ctx, sqlc.ListOwedReturnsParams{
			ProjectID:  projectID,
			Before:     f.Before,
			MaxReturns: int32(f.Limit),
		}))
	}
	return returnsOf(db.q.ListReturns(ctx, sqlc.ListReturnsParams{
		ProjectID:  projectID,
		Before:     f.Before,
		Given:      f.Given,
		MaxReturns: int32(f.Limit),
	}))
}

func returnsOf[Row sqlc.ListReturnsRow | sqlc.ListOwedReturnsRow](rows []Row, err error) ([]CheckoutReturn, error) {
	if err != nil {
		return nil, fmt.Errorf("list returns: %w", err)
	}
	returns := make([]CheckoutReturn, len(rows))
	for i, row := range rows {
		returns[i] = returnRow(row).back()
	}
	return returns, nil
}
