package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	checkoutLease = 30 * time.Second // an order that could not be told of is tried again after that
	checkoutBatch = 500
)

// OfferCheckout hands over an order that was just made, paid or canceled. It never waits: what the queue does
// not take stays in PostgreSQL until the sweep finds it.
func (o *Outbox) OfferCheckout(order postgres.CheckoutChange) {
	select {
	case o.checkouts <- order:
	default:
	}
}

// sweepCheckouts also deletes abandoned carts.
func (o *Outbox) sweepCheckouts(ctx context.Context) {
	o.sweepEvery(ctx, sweepInterval, "orders and carts", func(ctx context.Context) error {
		err := o.SweepCheckouts(ctx, time.Now().Add(-sweepAge)) // what is younger is still in a dispatcher's hands
		_, cartErr := o.options.DB.DeleteAbandonedCarts(ctx, checkoutBatch, time.Now())
		return errors.Join(err, cartErr)
	})
}

// SweepCheckouts tells of every order that was due to be looked at by this time: a change that no dispatcher told, a
// signal or a run that was lost, a timer that did not fire.
func (o *Outbox) SweepCheckouts(ctx context.Context, due time.Time) error {
	return tellLeased(ctx, o, checkoutLease, func(ctx context.Context) ([]postgres.CheckoutChange, error) {
		return o.options.DB.LeaseCheckouts(ctx, checkoutLease, checkoutBatch, due)
	}, o.tellCheckouts)
}

func (o *Outbox) tellCheckouts(ctx context.Context, orders []postgres.CheckoutChange) error {
	return tellAll(ctx, o.options.Workers, newestChanges(orders), o.tellCheckout, func(ctx context.Context, told []postgres.CheckoutChange) error {
		return o.options.DB.MarkCheckoutsTold(ctx, told, time.Now())
	})
}

// newestChanges leaves out what a later change of the same order has overtaken: one that is paid needs no
// delayed run first.
func newestChanges(orders []postgres.CheckoutChange) []postgres.CheckoutChange {
	newest := map[int64]int{}
	for _, order := range orders {
		newest[order.OrderID] = max(newest[order.OrderID], order.Changes)
	}
	return slices.DeleteFunc(orders, func(o postgres.CheckoutChange) bool { return o.Changes < newest[o.OrderID] })
}

// tellCheckout is safe to repeat: a run that waits is found, the signal carries nothing, and a run that comes too late
// finds the order settled.
func (o *Outbox) tellCheckout(ctx context.Context, order postgres.CheckoutChange) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	in := contract.CheckoutInput{ProjectID: order.ProjectID, OrderID: order.OrderID, UserID: order.UserID}
	options := client.StartWorkflowOptions{
		ID:                       contract.CheckoutWorkflowID(order.OrderID),
		TaskQueue:                contract.TaskQueue,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // a run that was ended by hand, while the order goes on
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            fmt.Sprintf("order %d of %s", order.OrderID, order.UserID),
		TypedSearchAttributes:    temporal.NewSearchAttributes(searchUser.ValueSet(order.UserID)),
	}
	fresh := order.Status == checkout.New && order.ExpiresAt != nil
	if fresh {
		options.StartDelay = min(max(time.Until(*order.ExpiresAt), 0), longestDelay)
	}
	if err := o.startOrSignal(ctx, options, fresh, contract.CheckoutWorkflow, in); err != nil {
		return fmt.Errorf("tell of order %d: %w", order.OrderID, err)
	}
	return nil
}
