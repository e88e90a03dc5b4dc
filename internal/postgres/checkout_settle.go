package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CheckoutChange is an order that was made, paid or canceled, and of which its workflow is to know.
type CheckoutChange struct {
	ProjectID int32
	OrderID   int64
	UserID    string
	Status    checkout.OrderStatus
	ExpiresAt *time.Time
	Changes   int // so many there have been, with this one
}

// SettleCheckout delivers an order that is paid, ends one whose time is up, and says until when there is
// nothing to do, or what the main product is to be asked for. Repeating it changes nothing and gives the same
// answer. It fails with ErrNotFound.
func (db *DB) SettleCheckout(ctx context.Context, orderID int64, now time.Time) (settled contract.SettledCheckout, err error) {
	err = db.withCheckout(ctx, orderID, now, func(o *lockedCheckout) error {
		settled = contract.SettledCheckout{}
		switch {
		case o.expired():
			err = o.expire(ctx)
		case o.status() == checkout.Paid:
			err = o.deliver(ctx)
		case o.status() == checkout.New:
			settled.Until = &o.order.ExpiresAt
		}
		if o.status() == checkout.Paid {
			settled.Deliveries = o.dueDeliveries()
		}
		settled.Status = o.status()
		return err
	})
	if err != nil {
		return contract.SettledCheckout{}, fmt.Errorf("settle order %d: %w", orderID, err)
	}
	return settled, nil
}

// given says whether the goods are in the inventory. Of what the main product gives, its deliveries tell.
func (o *lockedCheckout) given() bool { return o.status() == checkout.Done || o.row.GivenAt != nil }

// deliver gives what was paid for, once, and ends the order unless it waits for the main product.
func (o *lockedCheckout) deliver(ctx context.Context) error {
	if !o.given() {
		if err := o.give(ctx); err != nil || o.status() != checkout.Paid {
			return err
		}
		o.row.GivenAt, o.justGiven = &o.now, true
	}
	return o.finish(ctx, false)
}

// give puts the goods into the inventory. What can't be given any more, such as a non-consumable that the
// user has got elsewhere meanwhile, is paid back as a whole, and admins are alerted.
func (o *lockedCheckout) give(ctx context.Context) error {
	grants, err := checkout.LocalGrants(o.order.Lines)
	if err != nil {
		return fmt.Errorf("order %d: %w", o.row.OrderID, err)
	}
	giving := Giving{
		ProjectID: o.row.ProjectID,
		UserID:    o.row.UserID,
		Reference: checkoutReference(o.row.OrderID),
		Grants:    grants,
		Source:    SourceOrder,
		OrderID:   o.row.OrderID,
	}
	if giving.Snapshots, err = snapshotsOf(ctx, o.q, o.row.ProjectID, grants); err != nil {
		return err
	}
	project, err := o.q.GetProject(ctx, o.row.ProjectID)
	if err != nil {
		return fmt.Errorf("project: %w", err)
	}
	if giving.Zone, err = time.LoadLocation(project.TimeZone); err != nil {
		return fmt.Errorf("zone of project %d: %w", o.row.ProjectID, err)
	}
	err = pgx.BeginFunc(ctx, o.tx, func(savepoint pgx.Tx) error { return giveGrants(ctx, o.q.WithTx(savepoint), giving, o.now) })
	var refused *RefusedChangeError
	switch {
	case errors.As(err, &refused):
		return o.refundUndeliverable(ctx, refused)
	case err != nil:
		return fmt.Errorf("give: %w", err)
	}
	return nil
}

// CancelCheckout ends an order that is not paid, for its user. One that is over already stays as it is: of
// cancel, payment and expiry the first decides. It is refused for one that is paid, and fails with
// ErrNotFound.
func (db *DB) CancelCheckout(ctx context.Context, projectID int32, userID string, orderID int64, now time.Time) (change CheckoutChange, err error) {
	err = db.withCheckout(ctx, orderID, now, func(o *lockedCheckout) error {
		change = CheckoutChange{}
		switch {
		case o.row.ProjectID != projectID || o.row.UserID != userID:
			return ErrNotFound
		case o.status() == checkout.Canceled || o.status() == checkout.Expired:
			return nil
		case o.status() != checkout.New:
			return checkout.Refuse(checkout.InvalidField, "the order is "+string(o.status())+"; only one that is not paid can be canceled")
		case o.expired():
			return o.expire(ctx)
		}
		if err := o.close(ctx, checkoutMove{to: checkout.Canceled, reason: "canceled_by_user", tell: true}); err != nil {
			return err
		}
		change = o.change()
		return nil
	})
	return change, err
}

// LeaseCheckouts hands out orders whose workflow may not know how they are, or may not run. A lease, not a claim: what
// MarkCheckoutsTold does not confirm is found again.
func (db *DB) LeaseCheckouts(ctx context.Context, lease time.Duration, limit int, now time.Time) ([]CheckoutChange, error) {
	rows, err := db.q.LeaseCheckoutOrders(ctx, sqlc.LeaseCheckoutOrdersParams{
		Now:        now,
		LeaseUntil: now.Add(lease),
		MaxOrders:  int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("lease orders: %w", err)
	}
	orders := make([]CheckoutChange, len(rows))
	for i, row := range rows {
		orders[i] = CheckoutChange{
			ProjectID: row.ProjectID,
			OrderID:   row.OrderID,
			UserID:    row.UserID,
			Status:    checkout.OrderStatus(row.Status),
			ExpiresAt: row.ExpiresAt,
			Changes:   int(row.Changes),
		}
	}
	return orders, nil
}

// MarkCheckoutsTold notes that the workflows of these orders know of so many changes.
func (db *DB) MarkCheckoutsTold(ctx context.Context, orders []CheckoutChange, now time.Time) error {
	params := sqlc.MarkCheckoutOrdersToldParams{Now: now, OrderIds: make([]int64, len(orders)), Changes: make([]int32, len(orders))}
	for i, o := range orders {
		params.OrderIds[i], params.Changes[i] = o.OrderID, int32(o.Changes)
	}
	if err := db.q.MarkCheckoutOrdersTold(ctx, params); err != nil {
		return fmt.Errorf("mark orders: %w", err)
	}
	return nil
}
