package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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
	Address     netip.Addr      // the buyer's; may be the zero value
	DeviceID    string          // the buyer's; may be empty
	Client      json.RawMessage // both, as they are kept with the order; may be nil
	Idempotency *Idempotency    // may be nil
	Policy      store.Policy
}

// Reserved is an order that holds its coins and pieces.
type Reserved struct {
	OrderID   string
	ConfirmBy *time.Time // set: the buyer must confirm before it is delivered
	Replayed  bool       // the idempotency key was used before; it is that order
}

// raceRetries is how often a reserve is tried again when another purchase got in between the rules and the
// write: the rules then see what it left and name their reason.
const raceRetries = 3

// ReservePurchase is the commit point of a purchase: the rules, the hold on coins and stock, the order
// (which is also the outbox row of its workflow) and its first timeline entry, all or nothing.
//
// A purchase that the rules do not allow is a *store.Refusal; nothing is written then.
func (db *DB) ReservePurchase(ctx context.Context, p Purchase, now time.Time) (reserved Reserved, err error) {
	now = now.Truncate(time.Microsecond) // as PostgreSQL keeps it: a repeat must read what the first was told
	for range raceRetries {
		reserved, err = db.reserveOnce(ctx, p, now)
		if !lostRace(err) {
			return reserved, err
		}
	}
	return Reserved{}, &store.Refusal{Code: store.OutOfStock, Message: "the last pieces are being sold at this moment"}
}

// lostRace tells whether a CHECK refused what the rules had allowed a moment before.
func lostRace(err error) bool {
	return violates(err, "stock_available_not_negative") || violates(err, "stock_adds_up") || violates(err, "users_available_not_negative")
}

// reserveOnce takes two round trips: lock and read; write and commit.
func (db *DB) reserveOnce(ctx context.Context, p Purchase, now time.Time) (Reserved, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return Reserved{}, fmt.Errorf("reserve: %w", err)
	}
	defer conn.Release()
	defer rollback(conn) // changes nothing after the commit

	facts, err := lockAndRead(ctx, conn, p, now)
	if err != nil {
		return Reserved{}, fmt.Errorf("reserve: %w", err)
	}
	if p.Idempotency != nil && facts.key.ResourceID != p.OrderID {
		return reservedBefore(ctx, conn, p, facts.key)
	}
	decision, refusal := store.DecidePurchase(facts.buyer, facts.offer, facts.request, p.Policy)
	if refusal != nil {
		return Reserved{}, refusal
	}
	if err := writeAndCommit(ctx, conn, p, *facts.offer, decision, now); err != nil {
		return Reserved{}, fmt.Errorf("reserve: %w", err)
	}
	return Reserved{OrderID: p.OrderID, ConfirmBy: decision.ConfirmBy}, nil
}

func reservedBefore(ctx context.Context, conn *pgxpool.Conn, p Purchase, key sqlc.ClaimIdempotencyKeyRow) (Reserved, error) {
	if err := p.Idempotency.check(key); err != nil {
		return Reserved{}, err
	}
	row, err := sqlc.New(conn).FindReservation(ctx, key.ResourceID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Reserved{}, ErrIdempotencyKeyReused // by a call of another kind
	}
	if err != nil {
		return Reserved{}, fmt.Errorf("reserve: %w", err)
	}
	return Reserved{OrderID: key.ResourceID, ConfirmBy: row.ConfirmBy, Replayed: true}, nil
}

type purchaseFacts struct {
	key     sqlc.ClaimIdempotencyKeyRow
	buyer   *store.Buyer
	offer   *store.Offer
	request store.Request
}

// buyersOffer is sqlc.FindBuyersOfferRow with the part that all reads of offers share.
type buyersOffer struct {
	sqlc.FindOfferRow
	CompletedTasks []string
}

// lockAndRead begins the transaction, claims the key, locks the buyer and reads what the rules ask for.
func lockAndRead(ctx context.Context, conn *pgxpool.Conn, p Purchase, now time.Time) (purchaseFacts, error) {
	facts := purchaseFacts{request: store.Request{Quantity: p.Quantity, Now: now}}
	var batch pgx.Batch
	batch.Queue("begin")
	if p.Idempotency != nil {
		params := p.Idempotency.claimParams(p.ProjectID, p.OrderID, now)
		readOne(&batch, func(row sqlc.ClaimIdempotencyKeyRow) error {
			facts.key = row
			return nil
		}, sqlc.ClaimIdempotencyKey, params.ProjectID, params.Key, params.RequestHash, params.ResourceID, params.Now)
	}
	readOne(&batch, func(row sqlc.LockBuyerRow) (err error) {
		facts.buyer, err = buyerOf(row)
		return err
	}, sqlc.LockBuyer, now, p.UserID)
	readOne(&batch, func(row buyersOffer) error {
		offer, err := offerOf(row.FindOfferRow)
		facts.offer = &offer
		if facts.buyer != nil {
			facts.buyer.CompletedTasks = row.CompletedTasks
		}
		return err
	}, sqlc.FindBuyersOffer, p.UserID, p.ProjectID, p.SKU)
	readOne(&batch, func(row sqlc.CountBoughtRow) error {
		facts.request.Bought = store.Bought{Ever: row.Ever, Day: row.Day, Week: row.Week, Month: row.Month}
		if facts.buyer != nil && !row.LastPurchaseAt.IsZero() {
			facts.buyer.LastPurchaseAt = &row.LastPurchaseAt
		}
		return nil
	}, sqlc.CountBought, p.UserID, now, p.ProjectID, p.SKU)
	if p.Address.IsValid() || p.DeviceID != "" {
		readOne(&batch, func(row sqlc.TracePurchaseRow) error {
			facts.request.Trace = store.Trace{
				AddressDenied: row.AddressDenied,
				DeviceKnown:   row.DeviceKnown,
				DeviceUsers:   int(row.DeviceUsers),
				HasDevice:     p.DeviceID != "",
			}
			return nil
		}, sqlc.TracePurchase, p.ProjectID, address(p.Address), p.DeviceID, p.UserID)
	}
	return facts, conn.SendBatch(ctx, &batch).Close()
}

// readOne queues a query whose row, if there is one, goes to use.
func readOne[Row any](batch *pgx.Batch, use func(Row) error, query string, args ...any) {
	batch.Queue(query, args...).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
		if err != nil || len(found) == 0 {
			return err
		}
		return use(found[0])
	})
}

func writeAndCommit(ctx context.Context, conn *pgxpool.Conn, p Purchase, offer store.Offer, decision store.Purchase, now time.Time) error {
	params := sqlc.WriteReserveParams{
		ProjectID: p.ProjectID, OrderID: p.OrderID, UserID: p.UserID, Sku: p.SKU, Quantity: p.Quantity, PriceCoins: decision.PriceCoins,
		Client: p.Client, Status: string(store.Processing), Floor: decision.StockFloor, ConfirmBy: decision.ConfirmBy,
		Reference: ledger.Reference(p.OrderID, 1), Now: now,
	}
	if decision.ConfirmBy != nil {
		params.Status = string(store.AwaitingConfirmation)
	}
	if limits := offer.Product.Limits; limits.CapsSales() {
		zone := offer.Product.Schedule.Zone()
		params.SalesDay, params.SalesWeek = date(store.DayOf(now, zone).Start), date(store.WeekOf(now, zone).Start)
		params.DayCap, params.WeekCap = positive(limits.PerDay), positive(limits.PerWeek)
	}
	var err error
	if params.Delivery, err = json.Marshal(decision.Delivery); err != nil {
		return err
	}
	if decision.Risk != nil {
		if params.Risk, err = json.Marshal(decision.Risk); err != nil {
			return err
		}
	}
	var batch pgx.Batch
	q := sqlc.New(queue{&batch})
	if err := q.WriteReserve(ctx, params); err != nil {
		return err
	}
	if p.DeviceID != "" {
		if err := q.RememberDevice(ctx, sqlc.RememberDeviceParams{
			ProjectID: p.ProjectID,
			DeviceID:  p.DeviceID,
			UserID:    p.UserID,
			Now:       now,
		}); err != nil {
			return err
		}
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

func address(a netip.Addr) *netip.Addr {
	if !a.IsValid() {
		return nil
	}
	return &a
}

func date(t time.Time) pgtype.Date {
	return pgtype.Date{Time: store.Date(t), Valid: true}
}

func positive(n int64) *int64 {
	if n <= 0 {
		return nil
	}
	return &n
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
	return contract.Reservation{
		Status:    store.OrderStatus(row.Status),
		Attempt:   int(row.Attempt),
		Suspected: row.Suspected,
		Delivery:  delivery,
		ConfirmBy: row.ConfirmBy,
	}, nil
}

// CaptureOrder completes an order: the held coins are spent, the reserved pieces sold, the user told.
// It returns the order's status, which is another than completed when this attempt was already over.
func (db *DB) CaptureOrder(ctx context.Context, in contract.CaptureInput, now time.Time) (store.OrderStatus, error) {
	return capture(ctx, db.q, in, now)
}

func capture(ctx context.Context, q *sqlc.Queries, in contract.CaptureInput, now time.Time) (store.OrderStatus, error) {
	detail, err := json.Marshal(in.Credit)
	if err != nil {
		return "", err
	}
	row, err := q.CaptureOrder(ctx, sqlc.CaptureOrderParams{
		OrderID:        in.OrderID,
		Attempt:        int32(in.Attempt),
		TransactionID:  in.Credit.TransactionID,
		CreditedAmount: in.Credit.CreditedAmount,
		NewBalance:     in.Credit.NewBalance,
		Calls:          int32(in.Calls),
		Reference:      ledger.Reference(in.OrderID, in.Attempt),
		Detail:         detail,
		Now:            now,
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
	return release(ctx, db.q, in, now)
}

func release(ctx context.Context, q *sqlc.Queries, in contract.ReleaseInput, now time.Time) (store.OrderStatus, error) {
	detail, err := json.Marshal(in.Reason)
	if err != nil {
		return "", err
	}
	row, err := q.ReleaseOrder(ctx, sqlc.ReleaseOrderParams{
		OrderID:        in.OrderID,
		Attempt:        int32(in.Attempt),
		ReasonCode:     string(in.Reason.Code),
		ReasonMessage:  in.Reason.Message,
		ReasonDetail:   detail,
		ExpectedStatus: string(cmp.Or(in.Expected, store.Processing)),
		MaybeCredited:  in.MaybeCredited,
		Calls:          int32(in.Calls),
		Reference:      ledger.Reference(in.OrderID, in.Attempt),
		Detail:         detail,
		Now:            now,
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
	// MaybeCredited makes the order a suspect unless it is completed after all.
	MaybeCredited bool
	Settled       int // begun calls (BeginCall) of which it is now known that they did nothing
	Detail        any
}

// BeginCall notes that a call is about to be made, so that the order is a suspect if nothing more is heard of it.
func (db *DB) BeginCall(ctx context.Context, orderID string, attempt int) error {
	if err := db.q.BeginCall(ctx, sqlc.BeginCallParams{OrderID: orderID, Attempt: int32(attempt)}); err != nil {
		return fmt.Errorf("begin call: %w", err)
	}
	return nil
}

// NoteDelivery writes the entry while the order is open.
func (db *DB) NoteDelivery(ctx context.Context, note DeliveryNote, now time.Time) error {
	detail, err := json.Marshal(note.Detail)
	if err != nil {
		return err
	}
	err = db.q.NoteDelivery(ctx, sqlc.NoteDeliveryParams{OrderID: note.OrderID, Attempt: int32(note.Attempt), Event: note.Event,
		Calls: int32(note.Calls), Settled: int32(note.Settled), MaybeCredited: note.MaybeCredited, Detail: detail, Now: now})
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
		_, err = replayOrder(ctx, q, r, now)
		return err
	})
	return replayed, err
}

// replayOrder reopens the order and returns the number of the attempt that begins.
func replayOrder(ctx context.Context, q *sqlc.Queries, r Replay, now time.Time) (attempt int32, err error) {
	order, err := q.ReopenOrder(ctx, sqlc.ReopenOrderParams{OrderID: r.OrderID, ProjectID: r.ProjectID, Now: now})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, err
	}
	return order.Attempt, reserveAgain(ctx, q, r, order, now)
}

func reserveAgain(ctx context.Context, q *sqlc.Queries, r Replay, order sqlc.ReopenOrderRow, now time.Time) error {
	row, err := q.LockBuyer(ctx, sqlc.LockBuyerParams{UserID: order.UserID, Now: now})
	if err != nil {
		return err
	}
	buyer, err := buyerOf(row)
	if err != nil {
		return err
	}
	available, err := q.StockAvailable(ctx, sqlc.StockAvailableParams{ProjectID: r.ProjectID, Sku: order.Sku})
	if err != nil {
		return err
	}
	if refusal := store.DecideReplay(*buyer, available, order.Quantity, order.PriceCoins); refusal != nil {
		return refusal
	}
	err = q.ReserveAgain(ctx, sqlc.ReserveAgainParams{
		ProjectID:  r.ProjectID,
		OrderID:    r.OrderID,
		UserID:     order.UserID,
		Sku:        order.Sku,
		Quantity:   order.Quantity,
		PriceCoins: order.PriceCoins,
		Attempt:    order.Attempt,
		Event:      "replayed",
		Reference:  ledger.Reference(r.OrderID, int(order.Attempt)),
		Now:        now,
	})
	if err != nil {
		return fmt.Errorf("reserve again: %w", err)
	}
	// Who and why goes into the audit alone: the buyer's storefront reads the timeline.
	return audit(ctx, q, r.ProjectID, r.Actor, "order.replay", r.OrderID, map[string]string{"reason": r.Reason}, now)
}

func buyerOf(row sqlc.LockBuyerRow) (*store.Buyer, error) {
	buyer := &store.Buyer{
		UserID:     row.UserID,
		Blocked:    row.Status == "blocked",
		Suspicious: row.Suspicious,
		VIP:        row.Vip,
		Available:  row.Available,
	}
	var err error
	buyer.Attributes, err = attributesOf(row.UserID, row.Attributes)
	return buyer, err
}

// ConfirmOrder is the second verification of a large or risky purchase. It fails with ErrConflict when the order
// does not await one, or not any more.
func (db *DB) ConfirmOrder(ctx context.Context, projectID int32, orderID string, now time.Time) error {
	_, err := db.q.ConfirmOrder(ctx, sqlc.ConfirmOrderParams{ProjectID: projectID, OrderID: orderID, Now: now})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("confirm order: %w", err)
	}
	return nil
}
