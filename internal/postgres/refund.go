package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Refund asks for coins of a completed order to go back, by whom and why.
type Refund struct {
	ProjectID   int32
	RefundID    string // rfd_ and an id; the reference of its transfer
	OrderID     string
	AmountCoins int64 // 0: all that is left
	Reason      string
	Actor       string
	Policy      store.Policy // says whether a second admin is needed
	Idempotency *Idempotency
	approval    *Approval // set while an approved refund is carried out
}

// Refunded is a refund that was made, now or by an earlier request with the same key.
type Refunded struct {
	RefundID    string
	AmountCoins int64
	Order       store.Order // as it is now
	Approval    *Approval   // set: it waits, or has waited, for a second admin
	Replayed    bool
}

// RefundOrder gives coins of a completed order back, whole or in part: the ledger, the order, the timeline, the
// audit and what the user is told, all or nothing. It fails with a *store.Refusal, ErrNotFound or
// ErrIdempotencyKeyReused. When all refunds of the order would sum to more than the policy's limit, nothing moves: an
// approval is asked for.
func (db *DB) RefundOrder(ctx context.Context, r Refund, now time.Time) (done Refunded, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		id, err := r.Idempotency.claim(ctx, q, r.ProjectID, r.RefundID, now)
		if err != nil {
			return err
		}
		if id == r.RefundID {
			done, err = refund(ctx, q, r, now)
		} else {
			done, err = refundedBefore(ctx, q, r.ProjectID, id)
		}
		if err != nil {
			return err
		}
		done.Order, err = readOrder(ctx, q, r.ProjectID, r.OrderID)
		return err
	})
	return done, err
}

func refundedBefore(ctx context.Context, q *sqlc.Queries, projectID int32, refundID string) (Refunded, error) {
	approval, err := approvalOf(ctx, q, projectID, refundID)
	if err != nil || approval != nil {
		return Refunded{Approval: approval, Replayed: true}, err
	}
	row, err := q.GetRefund(ctx, sqlc.GetRefundParams{RefundID: refundID, ProjectID: projectID})
	if err != nil {
		return Refunded{}, fmt.Errorf("find refund: %w", notFound(err))
	}
	return Refunded{RefundID: row.RefundID, AmountCoins: row.AmountCoins, Replayed: true}, nil
}

func refund(ctx context.Context, q *sqlc.Queries, r Refund, now time.Time) (Refunded, error) {
	order, err := lockOrder(ctx, q, r.ProjectID, r.OrderID)
	if err != nil {
		return Refunded{}, err
	}
	coins, refusal := store.DecideRefund(order, r.AmountCoins)
	if refusal != nil {
		return Refunded{}, refusal
	}
	// The sum counts, so that many small refunds of one order don't get around the limit.
	if r.approval == nil && r.Policy.NeedsApproval(order.RefundedCoins+coins) {
		approval, err := askApproval(ctx, q, Approval{ProjectID: r.ProjectID, ApprovalID: approvalID(r.RefundID), Action: ApproveRefund,
			Subject: r.OrderID, AmountCoins: coins, Reason: r.Reason, RequestedBy: r.Actor}, now)
		return Refunded{Approval: approval}, err
	}
	err = q.RefundOrder(ctx, sqlc.RefundOrderParams{
		OrderID:     r.OrderID,
		RefundID:    r.RefundID,
		AmountCoins: coins,
		Reason:      r.Reason,
		Actor:       r.Actor,
		Now:         now,
	})
	if err != nil {
		return Refunded{}, fmt.Errorf("refund: %w", err)
	}
	return Refunded{RefundID: r.RefundID, AmountCoins: coins}, audit(ctx, q, r.ProjectID, r.Actor, "order.refund", r.OrderID,
		r.approval.noted(map[string]any{"refund_id": r.RefundID, "amount": coins, "reason": r.Reason}), now)
}

func lockOrder(ctx context.Context, q *sqlc.Queries, projectID int32, orderID string) (store.Order, error) {
	row, err := q.LockOrder(ctx, sqlc.LockOrderParams{OrderID: orderID, ProjectID: projectID})
	if err != nil {
		return store.Order{}, notFound(err)
	}
	return orderOf(row)
}

func readOrder(ctx context.Context, q *sqlc.Queries, projectID int32, orderID string) (store.Order, error) {
	row, err := q.GetOrder(ctx, sqlc.GetOrderParams{OrderID: orderID, ProjectID: projectID})
	if err != nil {
		return store.Order{}, notFound(err)
	}
	return orderOf(row)
}
