package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// deliverySuspected is the reason of an order that waits for an admin's word about a delivery, and for nothing else.
const deliverySuspected = "delivery_suspected"

func deliveryOf(row sqlc.CheckoutDelivery) (checkout.Delivery, error) {
	d := checkout.Delivery{
		Number:    int(row.Number),
		LineID:    row.LineID,
		SKU:       row.Sku,
		Quantity:  row.Quantity,
		Instead:   row.Instead,
		Status:    checkout.DeliveryStatus(row.Status),
		Round:     int(row.Round),
		Calls:     int(row.Calls),
		Unsettled: int(row.Unsettled),
		Begun:     row.Begun,
	}
	if row.TransactionID != nil {
		d.Credit = &store.Credit{TransactionID: *row.TransactionID, CreditedAmount: row.CreditedAmount, NewBalance: row.NewBalance}
	}
	if row.ReasonCode != nil {
		d.Reason = &checkout.DeliveryReason{Code: *row.ReasonCode, Message: orZero(row.ReasonMessage)}
	}
	if err := json.Unmarshal(row.Ask, &d.Ask); err != nil {
		return d, fmt.Errorf("delivery %d of order %d: %w", row.Number, row.OrderID, err)
	}
	return d, nil
}

// listDeliveries is one of the two queries.
type listDeliveries = func(ctx context.Context, orderID int64) ([]sqlc.CheckoutDelivery, error)

// readDeliveries reads them by one of the two queries, locked or not, if the order can have any.
func readDeliveries(ctx context.Context, row sqlc.CheckoutOrder, lines []checkout.OrderLine, list listDeliveries) ([]checkout.Delivery, error) {
	if !checkout.OfMainProduct(lines) {
		return nil, nil
	}
	rows, err := list(ctx, row.OrderID)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	all := make([]checkout.Delivery, len(rows))
	for i, one := range rows {
		if all[i], err = deliveryOf(one); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// oweDeliveries writes what the main product is to give of an order that has just been paid, and counts it.
func oweDeliveries(ctx context.Context, q *sqlc.Queries, projectID int32, orderID int64, lines []checkout.OrderLine, now time.Time) ([]checkout.Delivery, error) {
	all, err := checkout.Deliveries(lines)
	if err != nil {
		return nil, fmt.Errorf("order %d: %w", orderID, err)
	}
	for _, d := range all {
		ask, err := json.Marshal(d.Ask)
		if err != nil {
			return nil, err
		}
		err = q.InsertCheckoutDelivery(ctx, sqlc.InsertCheckoutDeliveryParams{
			OrderID:   orderID,
			Number:    int32(d.Number),
			ProjectID: projectID,
			LineID:    d.LineID,
			Sku:       d.SKU,
			Quantity:  d.Quantity,
			Amount:    d.Ask.Amount,
			Currency:  d.Ask.Currency,
			Ask:       ask,
			Instead:   d.Instead,
			Now:       now,
		})
		if err != nil {
			return nil, fmt.Errorf("write delivery: %w", err)
		}
	}
	return all, nil
}

// CheckoutCall is a call to the main product that is about to be made.
type CheckoutCall struct {
	Due bool // otherwise the delivery has been settled meanwhile, and nothing may be sent
	Ask store.Delivery
}

// BeginCheckoutDelivery counts a call before it is made. It fails with ErrNotFound.
func (db *DB) BeginCheckoutDelivery(ctx context.Context, d contract.CheckoutDelivery, now time.Time) (CheckoutCall, error) {
	row, err := db.q.BeginCheckoutDelivery(ctx, sqlc.BeginCheckoutDeliveryParams{
		OrderID: d.OrderID,
		Number:  int32(d.Number),
		Round:   int32(d.Round),
		Now:     now,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return CheckoutCall{}, nil
	}
	if err != nil {
		return CheckoutCall{}, fmt.Errorf("begin delivery %s: %w", d.MainProductOrderID(), err)
	}
	delivery, err := deliveryOf(row)
	return CheckoutCall{Due: true, Ask: delivery.Ask}, err
}

// SettleCheckoutCall notes that a call has certainly had no effect.
func (db *DB) SettleCheckoutCall(ctx context.Context, d contract.CheckoutDelivery, now time.Time) error {
	err := db.q.SettleCheckoutCall(ctx, sqlc.SettleCheckoutCallParams{
		OrderID: d.OrderID,
		Number:  int32(d.Number),
		Round:   int32(d.Round),
		Now:     now,
	})
	if err != nil {
		return fmt.Errorf("settle call %s: %w", d.MainProductOrderID(), err)
	}
	return nil
}

// RecordDelivery writes what became of a delivery, and ends its order when it was the last: refused lines are
// paid back, what is suspected is listed for an admin. An answer to a round that is over changes nothing. It
// fails with ErrNotFound, and with ErrTransactionClash when the main product has completed something else
// with this transaction.
func (db *DB) RecordDelivery(ctx context.Context, in contract.RecordDeliveryInput, now time.Time) (recorded contract.RecordedDelivery, err error) {
	err = db.withCheckout(ctx, in.Delivery.OrderID, now, func(o *lockedCheckout) error {
		d, err := o.delivery(in.Delivery.Number)
		if err != nil {
			return err
		}
		if d.Status == checkout.DeliveryPending && d.Round == in.Delivery.Round {
			err = o.recordDelivery(ctx, d, answerOfOutcome(in.Outcome))
		}
		recorded = contract.RecordedDelivery{Delivery: d.Status, Order: o.status()}
		if d.Reason != nil {
			recorded.Code = d.Reason.Code
		}
		return err
	})
	if err != nil {
		return contract.RecordedDelivery{}, fmt.Errorf("record delivery %s: %w", in.Delivery.MainProductOrderID(), orClash(err))
	}
	return recorded, nil
}

func orClash(err error) error {
	if violates(err, "checkout_deliveries_transaction_once") {
		return ErrTransactionClash
	}
	return err
}

// answerOfOutcome reads what the workflow brings.
func answerOfOutcome(outcome contract.Outcome) checkout.DeliveryAnswer {
	switch {
	case outcome.Kind == contract.Credited && outcome.Credit != nil:
		return checkout.DeliveryAnswer{Credit: outcome.Credit}
	case outcome.Kind == contract.Refused && outcome.Reason != nil:
		return checkout.DeliveryAnswer{
			Refused: true,
			Reason:  checkout.DeliveryReason{Code: outcome.Reason.ErrorCode, Message: outcome.Reason.Message},
		}
	default:
		return checkout.DeliveryAnswer{Reason: checkout.DeliveryReason{
			Code:    outcome.Error,
			Message: "the calls to the main product brought no final answer",
		}}
	}
}

// delivery is one of the order's, in place. It fails with ErrNotFound.
func (o *lockedCheckout) delivery(number int) (*checkout.Delivery, error) {
	k := slices.IndexFunc(o.order.Deliveries, func(d checkout.Delivery) bool { return d.Number == number })
	if k < 0 {
		return nil, ErrNotFound
	}
	return &o.order.Deliveries[k], nil
}

func (o *lockedCheckout) recordDelivery(ctx context.Context, d *checkout.Delivery, answer checkout.DeliveryAnswer) error {
	if answer.Credit != nil {
		if err := o.ownTransaction(ctx, answer.Credit.TransactionID); err != nil {
			return err
		}
		if credited := answer.Credit.CreditedAmount; credited != nil && !credited.Equal(d.Ask.Amount) {
			err := o.alertAbout(ctx, "checkout_delivery_differs", o.subject(d.Number),
				map[string]any{
					"order_id": o.row.OrderID,
					"sku":      d.SKU,
					"asked":    d.Ask.Amount,
					"credited": credited,
					"currency": d.Ask.Currency,
				})
			if err != nil {
				return err
			}
		}
	}
	*d = d.Answered(answer)
	return o.finish(ctx, false)
}

// ownTransaction makes sure that no purchase of the shop has been completed with it; of other deliveries an
// index knows.
func (o *lockedCheckout) ownTransaction(ctx context.Context, transactionID string) error {
	purchases, err := o.q.OrderOfTransaction(ctx, sqlc.OrderOfTransactionParams{ProjectID: o.row.ProjectID, TransactionID: transactionID})
	if err != nil {
		return fmt.Errorf("find transaction: %w", err)
	}
	if purchases > 0 {
		return ErrTransactionClash
	}
	return nil
}

// subject of an alert about a delivery.
func (o *lockedCheckout) subject(number int) string {
	return strconv.FormatInt(o.row.OrderID, 10) + "/" + strconv.Itoa(number)
}

func (o *lockedCheckout) count(status checkout.DeliveryStatus) (n int) {
	for _, d := range o.order.Deliveries {
		if d.Status == status {
			n++
		}
	}
	return n
}

// open counts the deliveries that keep the order from being done.
func (o *lockedCheckout) open() int {
	return o.count(checkout.DeliveryPending) + o.count(checkout.DeliverySuspected)
}

// finish writes the deliveries as they are now, and what follows: lines that were refused are paid back, and
// the order is done when none is open. With tell, its workflow has to look at it.
func (o *lockedCheckout) finish(ctx context.Context, tell bool) error {
	refused := checkout.Refused(o.order.Deliveries)
	if err := o.writeDeliveries(ctx); err != nil {
		return err
	}
	// While something is suspected nothing ends as a whole: a bonus may have been given after all.
	if refund, left := o.order.RefundOfLines("refused", refused); left && (!refund.Whole || o.open() == 0) {
		if err := o.payRefusedBack(ctx, refund); err != nil {
			return err
		}
	}
	switch {
	case o.status() != checkout.Paid:
		return nil
	case o.open() > 0:
		return o.awaitDeliveries(ctx, tell)
	}
	if err := o.move(ctx, checkoutMove{to: checkout.Done}); err != nil {
		return err
	}
	return tellOfCheckout(ctx, o.q, o.row, "checkout_done", nil, o.now)
}

// payRefusedBack refunds lines that were refused. Money moves at the provider, so an admin has to know of it.
func (o *lockedCheckout) payRefusedBack(ctx context.Context, refund checkout.Refund) error {
	if o.order.Price != nil && refund.Amount.IsPositive() {
		err := o.alertAbout(ctx, "checkout_delivery_refused", refund.ID, map[string]any{
			"order_id":  o.row.OrderID,
			"user_id":   o.row.UserID,
			"refund_id": refund.ID,
			"amount":    refund.Amount,
			"currency":  o.order.Price.Currency,
			"lines":     refund.Lines,
		})
		if err != nil {
			return err
		}
	}
	return o.refund(ctx, refund, refundCause{"refused_by_main_product", "refused_by_main_product", "quickpass"})
}

// writeDeliveries writes those that have changed, and raises and resolves their alerts.
func (o *lockedCheckout) writeDeliveries(ctx context.Context) error {
	for k, d := range o.order.Deliveries {
		was := o.written[k]
		if reflect.DeepEqual(d, was) {
			continue
		}
		params := sqlc.WriteCheckoutDeliveryParams{OrderID: o.row.OrderID, Number: int32(d.Number), Status: string(d.Status),
			Round: int32(d.Round), Unsettled: int32(d.Unsettled), Begun: d.Begun, Now: o.now}
		if d.Credit != nil {
			params.TransactionID, params.CreditedAmount, params.NewBalance = &d.Credit.TransactionID, d.Credit.CreditedAmount, d.Credit.NewBalance
		}
		if d.Reason != nil {
			params.ReasonCode, params.ReasonMessage = &d.Reason.Code, &d.Reason.Message
		}
		if err := o.q.WriteCheckoutDelivery(ctx, params); err != nil {
			return fmt.Errorf("write delivery %d: %w", d.Number, err)
		}
		if err := o.alertOfDelivery(ctx, was.Status, d); err != nil {
			return err
		}
		o.written[k] = d
	}
	o.row.OpenDeliveries = int32(o.open())
	return nil
}

const alertDeliverySuspected = "checkout_delivery_suspected"

func (o *lockedCheckout) alertOfDelivery(ctx context.Context, was checkout.DeliveryStatus, d checkout.Delivery) error {
	switch {
	case d.Status == was:
		return nil
	case d.Status == checkout.DeliverySuspected:
		return o.alertAbout(ctx, alertDeliverySuspected, o.subject(d.Number), map[string]any{
			"order_id":       o.row.OrderID,
			"number":         d.Number,
			"user_id":        o.row.UserID,
			"sku":            d.SKU,
			"amount":         d.Ask.Amount,
			"currency":       d.Ask.Currency,
			"code":           d.Reason.Code,
			"maybe_credited": d.Unsettled > 0,
		})
	case was == checkout.DeliverySuspected:
		err := o.q.ResolveAlert(ctx, sqlc.ResolveAlertParams{
			ProjectID: o.row.ProjectID,
			Kind:      alertDeliverySuspected,
			Subject:   o.subject(d.Number),
			Now:       o.now,
		})
		if err != nil {
			return fmt.Errorf("resolve alert: %w", err)
		}
	}
	return nil
}

// awaitDeliveries leaves the order paid, for the main product or an admin. Repeated, it writes nothing.
func (o *lockedCheckout) awaitDeliveries(ctx context.Context, tell bool) error {
	suspected := o.count(checkout.DeliveryPending) == 0
	if !tell && !o.justGiven && suspected == (orZero(o.row.Reason) == deliverySuspected) && o.row.OpenDeliveries == o.openBefore {
		return nil
	}
	params := sqlc.SetOpenDeliveriesParams{
		OrderID:   o.row.OrderID,
		StillOpen: o.row.OpenDeliveries,
		Suspected: suspected,
		GivenAt:   o.row.GivenAt,
		Tell:      tell,
		Now:       o.now,
	}
	var err error
	if o.row.Changes, err = o.q.SetOpenDeliveries(ctx, params); err != nil {
		return fmt.Errorf("deliveries of order %d: %w", o.row.OrderID, err)
	}
	return nil
}

// closeDeliveries ends those that are open of an order that is refunded as a whole. None of them is under
// way: the callers have looked.
func (o *lockedCheckout) closeDeliveries(ctx context.Context) error {
	for k, d := range o.order.Deliveries {
		if d.Status.Open() {
			o.order.Deliveries[k].Status = checkout.DeliveryRefunded
		}
	}
	return o.writeDeliveries(ctx)
}

// dueDeliveries are what the main product is to be asked for now.
func (o *lockedCheckout) dueDeliveries() (due []contract.CheckoutDelivery) {
	for _, d := range o.order.Deliveries {
		if d.Status == checkout.DeliveryPending {
			due = append(due, contract.CheckoutDelivery{
				OrderID:   o.row.OrderID,
				UserID:    o.row.UserID,
				Number:    d.Number,
				Round:     d.Round,
				Suspected: d.Unsettled > 0,
				Summary:   d.Ask.Amount.String() + " " + d.Ask.Currency,
				Settings:  d.Ask.DeliverySettings,
			})
		}
	}
	return due
}
