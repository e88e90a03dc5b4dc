package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Resolution settles an order whose outcome nobody knows, by whom and why.
type Resolution struct {
	ProjectID     int32
	ResolutionID  string // res_ and an id
	OrderID       string
	Action        store.ResolveAction
	TransactionID string // the main product's, with mark_delivered
	Reason        string
	Actor         string
	Policy        store.Policy // says whether a second admin is needed
	Idempotency   *Idempotency
	approval      *Approval // set while an approved resolution is carried out
}

// Resolved is an order that was settled, now or by an earlier request with the same key.
type Resolved struct {
	Order    store.Order // as it is now
	Approval *Approval   // set: it waits, or has waited, for a second admin
	Replayed bool
}

// ResolveOrder settles a suspected or stuck order in one transaction. The order row decides between support and a
// workflow that is still running: who comes second finds the order over and changes nothing. It fails with a
// *store.Refusal, ErrNotFound, ErrTransactionClash or ErrIdempotencyKeyReused.
func (db *DB) ResolveOrder(ctx context.Context, r Resolution, now time.Time) (done Resolved, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		id, err := r.Idempotency.claim(ctx, q, r.ProjectID, r.ResolutionID, now)
		if err != nil {
			return err
		}
		if done.Replayed = id != r.ResolutionID; done.Replayed {
			done.Approval, err = approvalOf(ctx, q, r.ProjectID, id)
		} else {
			done.Approval, err = resolve(ctx, q, r, now)
		}
		if err != nil {
			return err
		}
		done.Order, err = readOrder(ctx, q, r.ProjectID, r.OrderID)
		return err
	})
	return done, orRefusal(err)
}

// orRefusal names what a CHECK refused because a purchase got in between the rules and the write.
func orRefusal(err error) error {
	switch {
	case violates(err, "users_available_not_negative"):
		return &store.Refusal{Code: store.InsufficientCoins, Message: "the coins were spent at this moment"}
	case lostRace(err):
		return &store.Refusal{Code: store.OutOfStock, Message: "the last pieces were sold at this moment"}
	default:
		return err
	}
}

func resolve(ctx context.Context, q *sqlc.Queries, r Resolution, now time.Time) (*Approval, error) {
	order, err := lockOrder(ctx, q, r.ProjectID, r.OrderID)
	if err != nil {
		return nil, err
	}
	if refusal := store.DecideResolution(order, r.Action, now); refusal != nil {
		return nil, refusal
	}
	switch r.Action {
	case store.ResolveMarkDelivered:
		if r.approval == nil && r.Policy.NeedsApproval(order.PriceCoins) {
			return askApproval(ctx, q, Approval{
				ProjectID:     r.ProjectID,
				ApprovalID:    approvalID(r.ResolutionID),
				Action:        ApproveDelivered,
				Subject:       r.OrderID,
				AmountCoins:   order.PriceCoins,
				TransactionID: r.TransactionID,
				Reason:        r.Reason,
				RequestedBy:   r.Actor,
			}, now)
		}
		err = markDelivered(ctx, q, r, order, now)
	case store.ResolveRefund:
		err = giveBack(ctx, q, r, order, now)
	default: // retry; it has an audit entry of its own
		reopened, err := q.ReopenOrder(ctx, sqlc.ReopenOrderParams{OrderID: r.OrderID, ProjectID: r.ProjectID, Now: now})
		if err != nil {
			return nil, fmt.Errorf("reopen order: %w", err)
		}
		return nil, reserveAgain(ctx, q, Replay{
			ProjectID: r.ProjectID,
			OrderID:   r.OrderID,
			Actor:     r.Actor,
			Reason:    r.Reason,
		}, reopened, now)
	}
	if err != nil {
		return nil, err
	}
	return nil, audit(ctx, q, r.ProjectID, r.Actor, "order.resolve", r.OrderID,
		r.approval.noted(map[string]any{"action": r.Action, "transaction_id": r.TransactionID, "reason": r.Reason}), now)
}

// markDelivered has the user pay for what they have. Of a canceled order the coins are back already, so they are
// reserved and captured again, as another attempt.
func markDelivered(ctx context.Context, q *sqlc.Queries, r Resolution, order store.Order, now time.Time) error {
	attempt := order.Attempt
	if order.Status == store.Canceled {
		reopened, err := q.ReopenOrder(ctx, sqlc.ReopenOrderParams{OrderID: r.OrderID, ProjectID: r.ProjectID, Now: now})
		if err != nil {
			return fmt.Errorf("reopen order: %w", err)
		}
		attempt = int(reopened.Attempt)
		if err := reserveSettlement(ctx, q, order, attempt, now); err != nil {
			return err
		}
	}
	_, err := capture(ctx, q, contract.CaptureInput{ProjectID: r.ProjectID, OrderID: r.OrderID, Attempt: attempt,
		Credit: store.Credit{TransactionID: r.TransactionID}}, now)
	return err
}

func reserveSettlement(ctx context.Context, q *sqlc.Queries, order store.Order, attempt int, now time.Time) error {
	row, err := q.LockBuyer(ctx, sqlc.LockBuyerParams{UserID: order.UserID, Now: now})
	if err != nil {
		return fmt.Errorf("reserve settlement: %w", err)
	}
	available, err := q.StockAvailable(ctx, sqlc.StockAvailableParams{ProjectID: order.ProjectID, Sku: order.SKU})
	if err != nil {
		return fmt.Errorf("reserve settlement: %w", err)
	}
	if refusal := store.DecideSettlement(store.Buyer{Available: row.Available}, available, order.Quantity, order.PriceCoins); refusal != nil {
		return refusal
	}
	err = q.ReserveAgain(ctx, sqlc.ReserveAgainParams{
		ProjectID:  order.ProjectID,
		OrderID:    order.OrderID,
		UserID:     order.UserID,
		Sku:        order.SKU,
		Quantity:   order.Quantity,
		PriceCoins: order.PriceCoins,
		Attempt:    int32(attempt),
		Event:      "settled",
		Reference:  ledger.Reference(order.OrderID, attempt),
		Now:        now,
	})
	if err != nil {
		return fmt.Errorf("reserve settlement: %w", err)
	}
	return nil
}

var refundedBySupport = store.Reason{
	Code:         store.RefundedBySupport,
	RetryAllowed: true,
	Message:      "support has canceled the order; the coins are back",
}

// giveBack leaves the user with the coins: those of a canceled order are back already, those of a stuck one
// are released.
func giveBack(ctx context.Context, q *sqlc.Queries, r Resolution, order store.Order, now time.Time) error {
	if order.Status == store.Canceled {
		if err := q.SettleSuspected(ctx, sqlc.SettleSuspectedParams{OrderID: r.OrderID, Now: now}); err != nil {
			return fmt.Errorf("settle order: %w", err)
		}
		return nil
	}
	_, err := release(ctx, q, contract.ReleaseInput{
		ProjectID: r.ProjectID,
		OrderID:   r.OrderID,
		Attempt:   order.Attempt,
		Expected:  order.Status,
		Reason:    refundedBySupport,
	}, now)
	return err
}

// NoteLateCredit marks an order as suspected that support had refunded before the main product's answer came. It
// returns false, and writes nothing, when support did not end this attempt of the order.
func (db *DB) NoteLateCredit(ctx context.Context, in contract.CaptureInput, now time.Time) (endedBySupport bool, err error) {
	detail, err := json.Marshal(in.Credit)
	if err != nil {
		return false, err
	}
	endedBySupport, err = db.q.NoteLateCredit(ctx, sqlc.NoteLateCreditParams{
		OrderID: in.OrderID,
		Attempt: int32(in.Attempt),
		Detail:  detail,
		Now:     now,
	})
	if err != nil {
		return false, fmt.Errorf("note late credit: %w", err)
	}
	return endedBySupport, nil
}
