package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Purchase is a request to reserve an order.
type Purchase struct {
	ProjectID   int32
	OrderID     string
	UserID      string
	SKU         string
	Quantity    int64
	Client      json.RawMessage // the buyer's address and device; may be nil
	Idempotency *Idempotency    // may be nil
}

// ReservePurchase is the commit point of a purchase: the rules, the hold on coins and stock, the order
// (which is also the outbox row of its workflow) and its first timeline entry, all or nothing.
//
// It returns the order's id, which is an earlier order's when the idempotency key was used before.
// A purchase that the rules do not allow is a *store.Refusal; nothing is written then.
//
// It takes two round trips: lock and read; write and commit.
func (db *DB) ReservePurchase(ctx context.Context, p Purchase, now time.Time) (orderID string, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("reserve: %w", err)
	}
	defer conn.Release()
	committed := false
	defer func() {
		if !committed {
			rollback(conn)
		}
	}()

	facts, err := lockAndRead(ctx, conn, p, now)
	if err != nil {
		return "", fmt.Errorf("reserve: %w", err)
	}
	if p.Idempotency != nil && facts.key.ResourceID != p.OrderID {
		return facts.key.ResourceID, p.Idempotency.check(facts.key)
	}
	decision, refusal := store.DecidePurchase(facts.buyer, facts.offer, p.Quantity)
	if refusal != nil {
		return "", refusal
	}
	if err := writeAndCommit(ctx, conn, p, decision, now); err != nil {
		return "", reserveError(err, "reserve")
	}
	committed = true
	return p.OrderID, nil
}

type purchaseFacts struct {
	key   sqlc.ClaimIdempotencyKeyRow
	buyer *store.Buyer
	offer *store.Offer
}

// lockAndRead begins the transaction, claims the key, locks the buyer and reads the offer.
func lockAndRead(ctx context.Context, conn *pgxpool.Conn, p Purchase, now time.Time) (purchaseFacts, error) {
	var facts purchaseFacts
	var batch pgx.Batch
	batch.Queue("begin")
	if p.Idempotency != nil {
		params := p.Idempotency.claimParams(p.ProjectID, p.OrderID, now)
		batch.Queue(sqlc.ClaimIdempotencyKey, params.ProjectID, params.Key, params.RequestHash, params.ResourceID, params.Now).
			Query(func(rows pgx.Rows) (err error) {
				facts.key, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[sqlc.ClaimIdempotencyKeyRow])
				return err
			})
	}
	batch.Queue(sqlc.LockBuyer, p.UserID).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlc.LockBuyerRow])
		if len(found) == 1 {
			facts.buyer = buyerOf(found[0])
		}
		return err
	})
	batch.Queue(sqlc.FindOffer, p.ProjectID, p.SKU).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlc.FindOfferRow])
		if err != nil || len(found) == 0 {
			return err
		}
		product, err := productOf(found[0])
		facts.offer = &store.Offer{Product: product, Available: found[0].Available}
		return err
	})
	return facts, conn.SendBatch(ctx, &batch).Close()
}

func writeAndCommit(ctx context.Context, conn *pgxpool.Conn, p Purchase, decision store.Purchase, now time.Time) error {
	delivery, err := json.Marshal(decision.Delivery)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	err = sqlc.New(queue{&batch}).WriteReserve(ctx, sqlc.WriteReserveParams{
		ProjectID: p.ProjectID, OrderID: p.OrderID, UserID: p.UserID, Sku: p.SKU, Quantity: p.Quantity, PriceCoins: decision.PriceCoins,
		Delivery: delivery, Client: p.Client, Reference: ledger.Reference(p.OrderID, 1), Now: now,
	})
	if err != nil {
		return err
	}
	batch.Queue("commit")
	return conn.SendBatch(ctx, &batch).Close()
}

// queue makes a query that returns nothing part of a batch instead of sending it.
type queue struct{ batch *pgx.Batch }

func (q queue) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	q.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

func (queue) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errors.New("only queries without an answer can be queued")
}

func (queue) QueryRow(context.Context, string, ...any) pgx.Row { return nil }

// rollback also ends a transaction whose caller has gone away.
func rollback(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() || conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback") // a connection left in a transaction is closed by the pool
}

// reserveError names the rule when a race got past the rules and a CHECK had the last word.
func reserveError(err error, doing string) error {
	switch {
	case violates(err, "stock_available_not_negative"):
		return &store.Refusal{Code: store.OutOfStock, Message: "the last pieces were sold a moment ago"}
	case violates(err, "users_available_not_negative"):
		return &store.Refusal{Code: store.InsufficientCoins, Message: "the coins were spent a moment ago"}
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// FindReservation reads what an order holds; ErrNotFound when it was never reserved.
func (db *DB) FindReservation(ctx context.Context, orderID string) (contract.Reservation, error) {
	row, err := db.q.FindReservation(ctx, orderID)
	if err != nil {
		return contract.Reservation{}, notFound(err)
	}
	delivery := &store.Delivery{}
	if err := json.Unmarshal(row.Delivery, delivery); err != nil {
		return contract.Reservation{}, fmt.Errorf("delivery of order %s: %w", orderID, err)
	}
	return contract.Reservation{Status: store.OrderStatus(row.Status), Attempt: int(row.Attempt), Suspected: row.Suspected, Delivery: delivery}, nil
}

// CaptureOrder completes an order: the held coins are spent, the reserved pieces sold, the user told.
// It returns the order's status, which is another than completed when this attempt was already over.
func (db *DB) CaptureOrder(ctx context.Context, in contract.CaptureInput, now time.Time) (store.OrderStatus, error) {
	detail, err := json.Marshal(in.Credit)
	if err != nil {
		return "", err
	}
	row, err := db.q.CaptureOrder(ctx, sqlc.CaptureOrderParams{
		OrderID: in.OrderID, Attempt: int32(in.Attempt), TransactionID: in.Credit.TransactionID, CreditedAmount: in.Credit.CreditedAmount,
		NewBalance: in.Credit.NewBalance, Calls: int32(in.Calls), Reference: ledger.Reference(in.OrderID, in.Attempt), Detail: detail, Now: now,
	})
	if violates(err, "orders_transaction_once") {
		return "", fmt.Errorf("capture: %w", ErrTransactionClash)
	}
	if err != nil {
		return "", fmt.Errorf("capture: %w", notFound(err))
	}
	if row.Changed {
		return store.Completed, nil
	}
	return store.OrderStatus(row.Status), nil
}

// ReleaseOrder cancels an order: coins and pieces go back, the user is told why. It returns the order's
// status; an order that was never reserved counts as canceled.
func (db *DB) ReleaseOrder(ctx context.Context, in contract.ReleaseInput, now time.Time) (store.OrderStatus, error) {
	detail, err := json.Marshal(in.Reason)
	if err != nil {
		return "", err
	}
	row, err := db.q.ReleaseOrder(ctx, sqlc.ReleaseOrderParams{
		OrderID: in.OrderID, Attempt: int32(in.Attempt), ReasonCode: string(in.Reason.Code), ReasonMessage: in.Reason.Message, ReasonDetail: detail,
		Unresolved: in.Unresolved, MaybeCredited: in.MaybeCredited, Calls: int32(in.Calls), Reference: ledger.Reference(in.OrderID, in.Attempt), Detail: detail, Now: now,
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows) || (err == nil && row.Changed):
		return store.Canceled, nil
	case err != nil:
		return "", fmt.Errorf("release: %w", err)
	default:
		return store.OrderStatus(row.Status), nil
	}
}

// DeliveryNote is a timeline entry about a call that brought no final answer.
type DeliveryNote struct {
	OrderID string
	Attempt int
	Event   string // delivery_failed, delivery_slow, inquired
	Calls   int    // to count on the order: 1 for a call that failed
	// MaybeCredited makes the order a suspect until a final answer comes.
	MaybeCredited bool
	Detail        any
}

// NoteDelivery writes the entry while the order is open.
func (db *DB) NoteDelivery(ctx context.Context, note DeliveryNote, now time.Time) error {
	detail, err := json.Marshal(note.Detail)
	if err != nil {
		return err
	}
	err = db.q.NoteDelivery(ctx, sqlc.NoteDeliveryParams{OrderID: note.OrderID, Attempt: int32(note.Attempt), Event: note.Event,
		Calls: int32(note.Calls), MaybeCredited: note.MaybeCredited, Detail: detail, Now: now})
	if err != nil {
		return fmt.Errorf("note delivery: %w", err)
	}
	return nil
}

// Replay asks for a canceled order to be tried again, by whom and why.
type Replay struct {
	ProjectID   int32
	OrderID     string
	Actor       string
	Reason      string
	Idempotency *Idempotency
}

// ReplayOrder turns a canceled order back into an open one: coins and stock are reserved anew at the
// order's own price, under the next attempt number. Of several callers one wins; the others get
// ErrConflict. replayed tells that the idempotency key was used before.
func (db *DB) ReplayOrder(ctx context.Context, r Replay, now time.Time) (replayed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		if r.Idempotency != nil {
			resource := "replay/" + r.OrderID + "/" + xid.New().String() // tells two requests of one instant apart
			first, err := r.Idempotency.claim(ctx, q, r.ProjectID, resource, now)
			if err != nil {
				return err
			}
			if replayed = first != resource; replayed {
				return nil
			}
		}
		order, err := q.ReopenOrder(ctx, sqlc.ReopenOrderParams{OrderID: r.OrderID, ProjectID: r.ProjectID, Now: now})
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		return reserveAgain(ctx, q, r, order, now)
	})
	return replayed, err
}

func reserveAgain(ctx context.Context, q *sqlc.Queries, r Replay, order sqlc.ReopenOrderRow, now time.Time) error {
	buyer, err := q.LockBuyer(ctx, order.UserID)
	if err != nil {
		return err
	}
	available, err := q.StockAvailable(ctx, sqlc.StockAvailableParams{ProjectID: r.ProjectID, Sku: order.Sku})
	if err != nil {
		return err
	}
	if refusal := store.DecideReplay(*buyerOf(buyer), available, order.Quantity, order.PriceCoins); refusal != nil {
		return refusal
	}
	err = q.ReserveAgain(ctx, sqlc.ReserveAgainParams{ProjectID: r.ProjectID, OrderID: r.OrderID, UserID: order.UserID, Sku: order.Sku, Quantity: order.Quantity,
		PriceCoins: order.PriceCoins, Attempt: order.Attempt, Reference: ledger.Reference(r.OrderID, int(order.Attempt)), Now: now})
	if err != nil {
		return reserveError(err, "reserve again")
	}
	// Who and why goes into the audit alone: the buyer's storefront reads the timeline.
	return audit(ctx, q, r.ProjectID, r.Actor, "order.replay", r.OrderID, map[string]string{"reason": r.Reason}, now)
}

func buyerOf(row sqlc.LockBuyerRow) *store.Buyer {
	return &store.Buyer{UserID: row.UserID, Blocked: row.Status == "blocked", Available: row.Available}
}
