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
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

// lockedCheckout is an order whose row is locked, with its payments and refunds.
type lockedCheckout struct {
	tx    pgx.Tx
	q     *sqlc.Queries
	row   sqlc.CheckoutOrder
	rules checkout.Order
	holds checkoutHolds
	now   time.Time

	refunding *checkout.Refund // by the move that comes

	written    []checkout.Delivery // as they are stored; those of rules as they are to be
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
	if o.rules, err = rulesOf(ctx, q, o.row, q.LockCheckoutDeliveries); err != nil {
		return nil, err
	}
	o.written, o.openBefore = slices.Clone(o.rules.Deliveries), o.row.OpenDeliveries
	return o, json.Unmarshal(o.row.Holds, &o.holds)
}

// rulesOf reads what the rules need to know of an order; how its deliveries are read, the caller says.
func rulesOf(ctx context.Context, q *sqlc.Queries, row sqlc.CheckoutOrder, deliveries listDeliveries) (checkout.Order, error) {
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
		refund := checkout.Refund{ID: r.RefundID, Amount: r.Amount, Whole: r.Whole}
		if err := json.Unmarshal(r.Lines, &refund.Lines); err != nil {
			return order, fmt.Errorf("refund %s: %w", r.RefundID, err)
		}
		order.Refunds = append(order.Refunds, refund)
	}
	return order, nil
}

// orderOfCheckout is what the order's own row says.
func orderOfCheckout(row sqlc.CheckoutOrder) (checkout.Order, error) {
	order := checkout.Order{OrderID: row.OrderID, Status: checkout.OrderStatus(row.Status), Sandbox: row.Mode == "sandbox"}
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
	return checkout.PaymentRecord{At: p.CreatedAt,
		Payment:  checkout.Payment{Provider: p.Provider, ProviderID: p.ProviderID, Amount: p.Amount, Currency: p.Currency, Sandbox: p.Sandbox},
		Decision: checkout.Decision{Outcome: checkout.Outcome(p.Outcome), Reason: checkout.Reason(p.Reason)}}
}

func (o *lockedCheckout) status() checkout.OrderStatus { return o.rules.Status }

// due says whether an unpaid order has expired, whether or not its timer has fired.
func (o *lockedCheckout) due() bool {
	return o.status() == checkout.New && !o.now.Before(o.rules.ExpiresAt)
}

// move writes the order's new status; its own again when only a part was refunded. With tell, its workflow has to look at it.
func (o *lockedCheckout) move(ctx context.Context, to checkout.OrderStatus, reason string, tell bool) error {
	if to != o.status() && !o.status().CanBecome(to) {
		return fmt.Errorf("order %d can't become %s: it is %s", o.row.OrderID, to, o.status())
	}
	holds, err := json.Marshal(o.holds)
	if err != nil {
		return err
	}
	params := sqlc.MoveCheckoutOrderParams{OrderID: o.row.OrderID, Status: string(to), Reason: optional(reason), Holds: holds, Paid: o.row.Paid, Refunded: o.row.Refunded,
		OpenDeliveries: o.row.OpenDeliveries, Tell: tell, Now: o.now}
	if to == checkout.Paid {
		params.PaidAt = &o.now
	}
	if o.row.Changes, err = o.q.MoveCheckoutOrder(ctx, params); err != nil {
		return fmt.Errorf("order %d to %s: %w", o.row.OrderID, to, err)
	}
	before := o.status()
	o.rules.Status, o.row.Status = to, string(to)
	if reason != "" {
		o.row.Reason = &reason
	}
	if event, told := webhook.EventOf(before, to); told {
		return tellByWebhook(ctx, o.q, o.row, o.refunding, o.now, event)
	}
	return nil
}

// end ends an unpaid order and gives back all that it holds.
func (o *lockedCheckout) end(ctx context.Context, to checkout.OrderStatus, reason string, tell bool) error {
	if err := o.giveBack(ctx, o.holds, false); err != nil {
		return err
	}
	if err := o.q.FreeGameKeys(ctx, sqlc.FreeGameKeysParams{OrderID: o.row.OrderID, Now: o.now}); err != nil {
		return fmt.Errorf("free game keys: %w", err)
	}
	if err := o.move(ctx, to, reason, tell); err != nil {
		return err
	}
	return tellOfCheckout(ctx, o.q, o.row, "checkout_"+string(to), map[string]any{"reason": reason}, o.now)
}

// giveBack gives back a part of what the order holds, or all.
func (o *lockedCheckout) giveBack(ctx context.Context, back checkoutHolds, sold bool) error {
	for _, u := range back.Usages {
		err := o.q.GiveUsageBack(ctx, sqlc.GiveUsageBackParams{ProjectID: o.row.ProjectID, UserID: o.row.UserID, Sku: u.SKU, Promotion: u.Promotion, PeriodStart: u.PeriodStart, Quantity: u.Quantity})
		if err != nil {
			return fmt.Errorf("give back: %w", err)
		}
	}
	for _, s := range back.Sales {
		err := o.q.GiveSaleBack(ctx, sqlc.GiveSaleBackParams{ProjectID: o.row.ProjectID, Sku: s.SKU, Sold: sold, Quantity: s.Quantity})
		if err != nil {
			return fmt.Errorf("give back: %w", err)
		}
	}
	o.holds = o.holds.minus(back)
	return nil
}

func (h checkoutHolds) minus(back checkoutHolds) checkoutHolds {
	var left checkoutHolds
	for _, s := range h.Sales {
		for _, b := range back.Sales {
			if b.SKU == s.SKU {
				s.Quantity -= b.Quantity
			}
		}
		if s.Quantity > 0 {
			left.Sales = append(left.Sales, s)
		}
	}
	for _, u := range h.Usages {
		for _, b := range back.Usages {
			if b.SKU == u.SKU && b.Promotion == u.Promotion {
				u.Quantity -= b.Quantity
			}
		}
		if u.Quantity > 0 {
			left.Usages = append(left.Usages, u)
		}
	}
	return left
}

// of is what these pieces hold; the use of a promotion goes with the last piece of its line.
func (h checkoutHolds) of(o checkout.Order, refund checkout.Refund) checkoutHolds {
	var part checkoutHolds
	for _, line := range o.Lines {
		quantity, before := quantityOf(refund.Lines, line.LineID), int64(0)
		for _, earlier := range o.Refunds {
			before += quantityOf(earlier.Lines, line.LineID)
		}
		if line.IsBonus || quantity == 0 {
			continue
		}
		for _, s := range h.Sales {
			if s.SKU == line.SKU {
				s.Quantity = quantity
				part.Sales = append(part.Sales, s)
			}
		}
		for _, u := range h.Usages {
			if u.SKU != line.SKU || (u.Promotion != "" && before+quantity < line.Quantity) {
				continue
			}
			if u.Promotion == "" {
				u.Quantity = quantity
			}
			part.Usages = append(part.Usages, u)
		}
	}
	return part
}

func quantityOf(lines []checkout.RefundLine, lineID string) int64 {
	for _, line := range lines {
		if line.LineID == lineID {
			return line.Quantity
		}
	}
	return 0
}

// pay makes an accepted payment the order's. What was reserved is sold.
func (o *lockedCheckout) pay(ctx context.Context, amount decimal.Decimal) error {
	for _, s := range o.holds.Sales {
		if err := o.q.SellReserved(ctx, sqlc.SellReservedParams{ProjectID: o.row.ProjectID, Sku: s.SKU, Quantity: s.Quantity}); err != nil {
			return fmt.Errorf("sell what was reserved: %w", err)
		}
	}
	o.row.Paid = &amount
	owed, err := oweDeliveries(ctx, o.q, o.row.ProjectID, o.row.OrderID, o.rules.Lines, o.now)
	if err != nil {
		return err
	}
	o.rules.Deliveries, o.written, o.row.OpenDeliveries = owed, slices.Clone(owed), int32(len(owed))
	return o.move(ctx, checkout.Paid, "", true)
}

func (o *lockedCheckout) undeliverable(ctx context.Context, refused *RefusedChangeError) error {
	refund, refusal := checkout.DecideRefund(o.rules, "rf_"+strconv.FormatInt(o.row.OrderID, 10)+"_undeliverable", nil)
	if refusal != nil {
		return refusal
	}
	err := o.alert(ctx, "order_undeliverable", map[string]any{"user_id": o.row.UserID, "sku": refused.SKU, "code": refused.Refusal.Code, "message": refused.Refusal.Message, "refund_id": refund.ID})
	if err != nil {
		return err
	}
	return o.refund(ctx, refund, "undeliverable", "quickpass")
}

// refund gives money and limits back and takes what was given; the rules have decided it.
func (o *lockedCheckout) refund(ctx context.Context, refund checkout.Refund, reason, actor string) error {
	if !o.given() && !refund.Whole {
		return fmt.Errorf("order %d is not delivered yet", o.row.OrderID)
	}
	lines, err := json.Marshal(refund.Lines)
	if err != nil {
		return err
	}
	err = o.q.InsertCheckoutRefund(ctx, sqlc.InsertCheckoutRefundParams{RefundID: refund.ID, OrderID: o.row.OrderID, Lines: lines, Amount: refund.Amount, Whole: refund.Whole, Reason: reason, Actor: actor, Now: o.now})
	if err != nil {
		return fmt.Errorf("write refund: %w", err)
	}
	if err := o.returnCoins(ctx, refund); err != nil {
		return err
	}
	if err := o.oweRefund(ctx, refund.ID, refund.Amount); err != nil {
		return err
	}
	if err := o.giveBack(ctx, o.holds.of(o.rules, refund), true); err != nil {
		return err
	}
	if err := o.takeBack(ctx, refund); err != nil {
		return err
	}
	o.row.Refunded = o.row.Refunded.Add(refund.Amount)
	to, why := o.status(), ""
	if refund.Whole {
		to, why = checkout.Canceled, reason
		if err := o.closeDeliveries(ctx); err != nil {
			return err
		}
	}
	o.refunding = &refund
	o.rules.Refunds = append(o.rules.Refunds, refund)
	if err := o.move(ctx, to, why, false); err != nil {
		return err
	}
	o.refunding = nil
	return tellOfCheckout(ctx, o.q, o.row, "checkout_refunded", map[string]any{"refund_id": refund.ID, "amount": refund.Amount, "whole": refund.Whole}, o.now)
}

func (o *lockedCheckout) returnCoins(ctx context.Context, refund checkout.Refund) error {
	if o.rules.Virtual == nil || o.rules.Virtual.SKU != catalog.CoinsSKU || !refund.Amount.IsPositive() {
		return nil
	}
	err := o.q.ReturnCoinsOfCheckout(ctx, sqlc.ReturnCoinsOfCheckoutParams{Amount: refund.Amount.IntPart(), UserID: o.row.UserID, ProjectID: o.row.ProjectID, Reference: refund.ID, Now: o.now})
	if err != nil {
		return fmt.Errorf("return coins: %w", err)
	}
	return nil
}

// takeBack takes what the refunded pieces gave, or frees what was reserved for them.
func (o *lockedCheckout) takeBack(ctx context.Context, refund checkout.Refund) error {
	if !o.given() {
		if err := o.q.FreeGameKeys(ctx, sqlc.FreeGameKeysParams{OrderID: o.row.OrderID, Now: o.now}); err != nil {
			return fmt.Errorf("free game keys: %w", err)
		}
		return nil
	}
	var lines []checkout.OrderLine
	for _, line := range o.rules.Lines {
		if line.Quantity = quantityOf(refund.Lines, line.LineID); line.Quantity > 0 {
			lines = append(lines, line)
		}
	}
	grants, err := checkout.LocalGrants(lines)
	if err != nil {
		return err
	}
	taking := TakingBack{ProjectID: o.row.ProjectID, UserID: o.row.UserID, Reference: checkoutReference(o.row.OrderID), RefundID: refund.ID, Grants: grants, Source: SourceOrder, OrderID: o.row.OrderID}
	if v := o.rules.Virtual; v != nil && v.SKU != catalog.CoinsSKU && refund.Amount.IsPositive() {
		taking.Return = &Spending{SKU: v.SKU, Amount: refund.Amount.IntPart()}
	}
	return takeBack(ctx, o.q, taking, o.now)
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
	err = q.InsertNotification(ctx, sqlc.InsertNotificationParams{ProjectID: row.ProjectID, UserID: row.UserID, Kind: kind, Detail: detail, Now: now})
	if err != nil {
		return fmt.Errorf("tell %s: %w", kind, err)
	}
	return nil
}

// change is what its workflow is to know of.
func (o *lockedCheckout) change() CheckoutChange {
	return CheckoutChange{ProjectID: o.row.ProjectID, OrderID: o.row.OrderID, UserID: o.row.UserID, Status: o.status(), ExpiresAt: o.row.ExpiresAt, Changes: int(o.row.Changes)}
}
