package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

// lockedCheckout is an order whose row is locked, with its payments and refunds.
type lockedCheckout struct {
	tx    pgx.Tx
	q     *sqlc.Queries
	row   sqlc.CheckoutOrder
	order checkout.Order
	holds checkoutHolds
	now   time.Time

	written    []checkout.Delivery // as they are stored; those of order as they are to be
	openBefore int32               // deliveries, when it was locked
	justGiven  bool                // its goods, in this transaction
}

// withCheckout does something with a locked order, in one transaction. It fails with ErrNotFound.
func (db *DB) withCheckout(ctx context.Context, orderID int64, now time.Time, do func(*lockedCheckout) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		o, err := lockCheckout(ctx, tx, db.q.WithTx(tx), orderID, now)
		if err != nil {
			return err
		}
		return do(o)
	})
}

func lockCheckout(ctx context.Context, tx pgx.Tx, q *sqlc.Queries, orderID int64, now time.Time) (*lockedCheckout, error) {
	o := &lockedCheckout{tx: tx, q: q, now: now.UTC().Truncate(time.Microsecond)}
	var err error
	if o.row, err = q.LockCheckoutOrder(ctx, orderID); err != nil {
		return nil, notFound(err)
	}
	if o.order, err = loadOrder(ctx, q, o.row, q.LockCheckoutDeliveries); err != nil {
		return nil, err
	}
	o.written, o.openBefore = slices.Clone(o.order.Deliveries), o.row.OpenDeliveries
	return o, json.Unmarshal(o.row.Holds, &o.holds)
}

// loadOrder reads what the rules need to know of an order; how its deliveries are read, the caller says.
func loadOrder(ctx context.Context, q *sqlc.Queries, row sqlc.CheckoutOrder, deliveries listDeliveries) (checkout.Order, error) {
	order, err := orderOfCheckout(row)
	if err != nil {
		return order, err
	}
	if order.Deliveries, err = readDeliveries(ctx, row, order.Lines, deliveries); err != nil {
		return order, err
	}
	payments, err := q.ListCheckoutPayments(ctx, row.OrderID)
	if err != nil {
		return order, fmt.Errorf("payments: %w", err)
	}
	for _, p := range payments {
		order.Payments = append(order.Payments, paymentRecord(p))
	}
	refunds, err := q.ListCheckoutRefunds(ctx, row.OrderID)
	if err != nil {
		return order, fmt.Errorf("refunds: %w", err)
	}
	for _, r := range refunds {
		refund := checkout.Refund{ID: r.RefundID, Amount: r.Amount, Whole: r.Whole, Reason: r.Reason}
		if err := json.Unmarshal(r.Lines, &refund.Lines); err != nil {
			return order, fmt.Errorf("refund %s: %w", r.RefundID, err)
		}
		order.Refunds = append(order.Refunds, refund)
	}
	return order, nil
}

// orderOfCheckout is what the order's own row says.
func orderOfCheckout(row sqlc.CheckoutOrder) (checkout.Order, error) {
	order := checkout.Order{OrderID: row.OrderID, Status: checkout.OrderStatus(row.Status), Sandbox: row.Mode == checkout.SandboxMode}
	if row.ExpiresAt != nil {
		order.ExpiresAt = row.ExpiresAt.UTC()
	}
	for _, part := range []struct {
		raw  json.RawMessage
		into any
	}{{row.Lines, &order.Lines}, {row.Price, &order.Price}, {row.VirtualPrice, &order.Virtual}} {
		if part.raw == nil {
			continue
		}
		if err := json.Unmarshal(part.raw, part.into); err != nil {
			return order, fmt.Errorf("order %d: %w", row.OrderID, err)
		}
	}
	return order, nil
}

func paymentRecord(p sqlc.CheckoutPayment) checkout.PaymentRecord {
	return checkout.PaymentRecord{
		At: p.CreatedAt,
		Payment: checkout.Payment{
			Provider:   p.Provider,
			ProviderID: p.ProviderID,
			Amount:     p.Amount,
			Currency:   p.Currency,
			Sandbox:    p.Sandbox,
		},
		Decision: checkout.Decision{Outcome: checkout.Outcome(p.Outcome), Reason: checkout.Reason(p.Reason)},
	}
}

func (o *lockedCheckout) status() checkout.OrderStatus { return o.order.Status }

// expired says whether the time of an unpaid order is up, whether or not its timer has fired.
func (o *lockedCheckout) expired() bool {
	return o.status() == checkout.New && !o.now.Before(o.order.ExpiresAt)
}

// checkoutMove is a change of an order's status.
type checkoutMove struct {
	to     checkout.OrderStatus // its own again when only a part was refunded
	reason string               // may be empty
	refund *checkout.Refund     // that brings it about; may be nil
	tell   bool                 // its workflow has to look at it
}

// move writes the order's new status.
func (o *lockedCheckout) move(ctx context.Context, m checkoutMove) error {
	if m.to != o.status() && !o.status().CanBecome(m.to) {
		return fmt.Errorf("order %d can't become %s: it is %s", o.row.OrderID, m.to, o.status())
	}
	holds, err := json.Marshal(o.holds)
	if err != nil {
		return err
	}
	params := sqlc.MoveCheckoutOrderParams{
		OrderID:        o.row.OrderID,
		Status:         string(m.to),
		Reason:         optional.Text(m.reason),
		Holds:          holds,
		Paid:           o.row.Paid,
		Refunded:       o.row.Refunded,
		OpenDeliveries: o.row.OpenDeliveries,
		Tell:           m.tell,
		Now:            o.now,
	}
	if m.to == checkout.Paid {
		params.PaidAt = &o.now
	}
	if o.row.Changes, err = o.q.MoveCheckoutOrder(ctx, params); err != nil {
		return fmt.Errorf("order %d to %s: %w", o.row.OrderID, m.to, err)
	}
	before := o.status()
	o.order.Status, o.row.Status = m.to, string(m.to)
	if m.reason != "" {
		o.row.Reason = &m.reason
	}
	if event, told := webhook.EventOf(before, m.to); told {
		return tellByWebhook(ctx, o.q, o.row, m.refund, o.now, event)
	}
	return nil
}

// expire ends an unpaid order whose time is up.
func (o *lockedCheckout) expire(ctx context.Context) error {
	return o.close(ctx, checkoutMove{to: checkout.Expired})
}

// close ends an unpaid order and gives back all that it holds.
func (o *lockedCheckout) close(ctx context.Context, m checkoutMove) error {
	if err := o.giveBack(ctx, o.holds, pieceReserved); err != nil {
		return err
	}
	if err := o.freeGameKeys(ctx); err != nil {
		return err
	}
	if err := o.move(ctx, m); err != nil {
		return err
	}
	return tellOfCheckout(ctx, o.q, o.row, "checkout_"+string(m.to), map[string]any{"reason": m.reason}, o.now)
}

// freeGameKeys frees those that are reserved.
func (o *lockedCheckout) freeGameKeys(ctx context.Context) error {
	if err := o.q.FreeGameKeys(ctx, sqlc.FreeGameKeysParams{OrderID: o.row.OrderID, Now: o.now}); err != nil {
		return fmt.Errorf("free game keys: %w", err)
	}
	return nil
}

// giveBack gives back a part of what the order holds, or all.
func (o *lockedCheckout) giveBack(ctx context.Context, back checkoutHolds, state pieceState) error {
	for _, u := range back.Usages {
		err := o.q.GiveUsageBack(ctx, sqlc.GiveUsageBackParams{
			ProjectID:   o.row.ProjectID,
			UserID:      o.row.UserID,
			Sku:         u.SKU,
			Promotion:   u.Promotion,
			PeriodStart: u.PeriodStart,
			Quantity:    u.Quantity,
		})
		if err != nil {
			return fmt.Errorf("give back: %w", err)
		}
	}
	for _, s := range back.Sales {
		err := o.q.GiveSaleBack(ctx, sqlc.GiveSaleBackParams{
			ProjectID: o.row.ProjectID,
			Sku:       s.SKU,
			Sold:      bool(state),
			Quantity:  s.Quantity,
		})
		if err != nil {
			return fmt.Errorf("give back: %w", err)
		}
	}
	o.holds = o.holds.minus(back)
	return nil
}

// pay makes an accepted payment the order's. What was reserved is sold.
func (o *lockedCheckout) pay(ctx context.Context, amount decimal.Decimal) error {
	for _, s := range o.holds.Sales {
		if err := o.q.SellReserved(ctx, sqlc.SellReservedParams{ProjectID: o.row.ProjectID, Sku: s.SKU, Quantity: s.Quantity}); err != nil {
			return fmt.Errorf("sell what was reserved: %w", err)
		}
	}
	o.row.Paid = &amount
	owed, err := oweDeliveries(ctx, o.q, o.row.ProjectID, o.row.OrderID, o.order.Lines, o.now)
	if err != nil {
		return err
	}
	o.order.Deliveries, o.written, o.row.OpenDeliveries = owed, slices.Clone(owed), int32(len(owed))
	return o.move(ctx, checkoutMove{to: checkout.Paid, tell: true})
}

// snapshotsOf reads the items as they are now; what the catalog has no more is left out.
func snapshotsOf(ctx context.Context, q *sqlc.Queries, projectID int32, grants []inventory.Grant) (map[string]catalog.Item, error) {
	skus := make([]string, len(grants))
	for i, grant := range grants {
		skus[i] = grant.SKU
	}
	rows, err := q.FindCatalogItems(ctx, sqlc.FindCatalogItemsParams{ProjectID: projectID, Skus: skus})
	if err != nil {
		return nil, fmt.Errorf("items: %w", err)
	}
	items := map[string]catalog.Item{}
	for _, row := range rows {
		item, err := itemOf(sqlc.ListCatalogItemsRow(row))
		if err != nil {
			return nil, err
		}
		items[item.SKU] = item
	}
	return items, nil
}

func (o *lockedCheckout) alert(ctx context.Context, kind string, detail map[string]any) error {
	return o.alertAbout(ctx, kind, strconv.FormatInt(o.row.OrderID, 10), detail)
}

func (o *lockedCheckout) alertAbout(ctx context.Context, kind, subject string, detail map[string]any) error {
	return openAlert(ctx, o.q, o.row.ProjectID, kind, subject, detail, o.now)
}

// tellOfCheckout tells the user what became of an order.
func tellOfCheckout(ctx context.Context, q *sqlc.Queries, row sqlc.CheckoutOrder, kind string, more map[string]any, now time.Time) error {
	var lines []checkout.OrderLine
	if err := json.Unmarshal(row.Lines, &lines); err != nil {
		return err
	}
	items := make([]map[string]any, len(lines))
	for i, line := range lines {
		items[i] = map[string]any{"sku": line.SKU, "name": line.Name, "quantity": line.Quantity}
	}
	told := map[string]any{"order_id": row.OrderID, "items": items}
	for key, value := range more {
		told[key] = value
	}
	detail, err := json.Marshal(told)
	if err != nil {
		return err
	}
	err = q.InsertNotification(ctx, sqlc.InsertNotificationParams{
		ProjectID: row.ProjectID,
		UserID:    row.UserID,
		Kind:      kind,
		Detail:    detail,
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("tell %s: %w", kind, err)
	}
	return nil
}

// change is what its workflow is to know of.
func (o *lockedCheckout) change() CheckoutChange {
	return CheckoutChange{
		ProjectID: o.row.ProjectID,
		OrderID:   o.row.OrderID,
		UserID:    o.row.UserID,
		Status:    o.status(),
		ExpiresAt: o.row.ExpiresAt,
		Changes:   int(o.row.Changes),
	}
}
