package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// order is what the database says of one order.
type order struct {
	ID, User, SKU string
	Quantity      int64
	Price         int64
	Status        string
	Attempt       int
	Suspected     bool
	Reason        string
	Amount        decimal.Decimal // that the main product was asked for
	Currency      string
	Transaction   string
	Credited      *decimal.Decimal
	Calls         int
	Finished      *time.Time
}

func (o order) completed() bool { return o.Status == "completed" }

func readOrders(ctx context.Context, s *stack) (map[string]order, error) {
	rows, err := s.db.Pool().Query(ctx, `SELECT order_id, user_id, sku, quantity, price_coins, status, attempt, suspected, coalesce(reason_code, ''),
		(delivery ->> 'amount')::numeric, delivery ->> 'currency', coalesce(transaction_id, ''), credited_amount, delivery_calls, finished_at FROM orders`)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order])
	if err != nil {
		return nil, err
	}
	orders := make(map[string]order, len(list))
	for _, o := range list {
		orders[o.ID] = o
	}
	return orders, nil
}

// truth is everything there is to judge, read when nothing moves.
type truth struct {
	intents []*intent
	orders  map[string]order
	books   map[string]fake.Entry
	totals  fake.Totals
	keys    map[string]string // Idempotency-Key -> order
	wallets map[string][2]int64
	earned  map[string]int64 // coins of completed tasks
}

func readTruth(ctx context.Context, s *stack, intents []*intent, earned map[string]int64) (t truth, err error) {
	t = truth{intents: intents, earned: earned, keys: map[string]string{}, wallets: map[string][2]int64{}}
	if t.orders, err = readOrders(ctx, s); err != nil {
		return t, err
	}
	if t.books, t.totals, err = readBooks(ctx, s); err != nil {
		return t, err
	}
	rows, err := s.db.Pool().Query(ctx, "SELECT key, resource_id FROM idempotency_keys WHERE key LIKE 'chaos-%'")
	if err != nil {
		return t, err
	}
	var key, resource string
	if _, err := pgx.ForEachRow(rows, []any{&key, &resource}, func() error { t.keys[key] = resource; return nil }); err != nil {
		return t, err
	}
	rows, err = s.db.Pool().Query(ctx, "SELECT user_id, available, held FROM users")
	if err != nil {
		return t, err
	}
	var available, held int64
	_, err = pgx.ForEachRow(rows, []any{&key, &available, &held}, func() error { t.wallets[key] = [2]int64{available, held}; return nil })
	return t, err
}

// judge compares what the buyers were told, what QuickPass wrote and what the main product did.
func (t truth) judge(f *findings) {
	t.judgeIntents(f)
	t.judgeOrders(f)
	t.judgeCoins(f)
}

// judgeIntents: every intent ended as exactly one order or one refusal.
func (t truth) judgeIntents(f *findings) {
	owner := map[string]string{}
	for _, i := range t.intents {
		id, claimed := t.keys[i.key]
		o, exists := t.orders[i.orderID]
		switch {
		case i.orderID == "" && i.refusal == "":
			f.add("every intent got an answer", "%s of %s: none after %d tries", i.key, i.user, i.tries)
		case i.refusal != "" && claimed:
			f.add("a refused intent has no order", "%s: refused with %s after %d tries, yet order %s exists", i.key, i.refusal, i.tries, id)
		case i.refusal != "":
		case !exists:
			f.add("an accepted intent has its order", "%s: order %s does not exist", i.key, i.orderID)
		case id != i.orderID || o.User != i.user || o.SKU != i.sku || o.Quantity != i.quantity:
			f.add("an accepted intent has its order", "%s: %d × %s for %s became order %s (key: %s): %d × %s for %s", i.key, i.quantity, i.sku, i.user, i.orderID, id, o.Quantity, o.SKU, o.User)
		case owner[i.orderID] != "":
			f.add("an order belongs to one intent", "order %s: %s and %s", i.orderID, owner[i.orderID], i.key)
		default:
			owner[i.orderID] = i.key
		}
	}
	for id := range t.orders {
		if owner[id] == "" {
			f.add("an order belongs to one intent", "order %s belongs to none", id)
		}
	}
}

// judgeOrders: completed means credited once, canceled means not credited, unless the order is flagged as suspected.
func (t truth) judgeOrders(f *findings) {
	for id, o := range t.orders {
		entry := t.books[id]
		switch {
		case entry.Credited > 1:
			f.add("no order is credited twice", "order %s (%s): %d times", id, o.Status, entry.Credited)
		case o.Finished == nil:
			f.add("every order is final", "order %s is %s", id, o.Status)
		case o.completed() && entry.Credited == 0:
			f.add("a completed order was credited", "order %s, transaction %s: the books have no crediting (calls %d)", id, o.Transaction, entry.Calls)
		case o.completed() && (entry.UserID != o.User || !entry.Amount.Equal(o.Amount) || entry.Currency != o.Currency || entry.TransactionID != o.Transaction ||
			o.Credited == nil || !o.Credited.Equal(o.Amount)):
			f.add("a completed order is as the books have it", "order %s: %s %s for %s in transaction %s, books: %s %s for %s in %s",
				id, o.Amount, o.Currency, o.User, o.Transaction, entry.Amount, entry.Currency, entry.UserID, entry.TransactionID)
		case !o.completed() && entry.Credited > 0 && !o.Suspected:
			f.add("a canceled order that was credited is flagged", "order %s (%s, %s): credited at %s, not suspected", id, o.SKU, o.Reason, entry.CreditedAt.Format(time.RFC3339Nano))
		}
	}
	for id, entry := range t.books {
		if _, exists := t.orders[id]; !exists && entry.TaskID == 0 && !strings.HasPrefix(id, deliveryPrefix) {
			f.add("no crediting without an order", "the main product got order %s, which does not exist", id)
		}
	}
}

// judgeCoins counts every wallet from the orders and the events alone, without the ledger.
func (t truth) judgeCoins(f *findings) {
	spent := map[string]int64{}
	for _, o := range t.orders {
		if o.completed() {
			spent[o.User] += o.Price
		}
	}
	for _, user := range users() {
		if got, want := t.wallets[user], coinsOf(user)-spent[user]+t.earned[user]; got[0] != want || got[1] != 0 {
			f.add("wallets are the coins given and earned less the completed orders", "%s: %d and %d held, want %d", user, got[0], got[1], want)
		}
	}
}

// suspected counts the flagged orders, and those of them whose coins are back although the product credited.
func (t truth) suspected() (flagged, credited int) {
	for id, o := range t.orders {
		if o.Suspected {
			flagged++
			if t.books[id].Credited > 0 {
				credited++
			}
		}
	}
	return flagged, credited
}

// judgeWorkflows asks Temporal: every run has completed. A failed one is a bug.
func judgeWorkflows(ctx context.Context, s *stack, f *findings) (total int64, err error) {
	c, err := client.Dial(client.Options{HostPort: s.temporal.Address()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	count := func(query string) (int64, error) {
		answer, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		if err != nil {
			return 0, err
		}
		return answer.GetCount(), nil
	}
	var open int64 // windows of tasks and subscriptions, each of which has its timer
	if err := s.db.Pool().QueryRow(ctx, `SELECT (SELECT count(*) FROM task_windows WHERE state = 'open') + (SELECT count(*) FROM subscriptions WHERE expires_at > now())`).Scan(&open); err != nil {
		return 0, err
	}
	running := open + 1
	for begin := time.Now(); running != open && time.Since(begin) < 30*time.Second; { // orders are final a moment before their workflows
		if running, err = count("ExecutionStatus='Running'"); err != nil {
			return 0, err
		}
		if running != open && !pause(ctx, time.Second) {
			return 0, context.Cause(ctx)
		}
	}
	if running != open {
		f.add("every workflow has completed", "%d still run although no order is open and %d windows and subscriptions are", running, open)
	}
	for _, status := range []string{"Failed", "Terminated", "TimedOut", "Canceled"} {
		n, err := count("ExecutionStatus='" + status + "'")
		if err != nil {
			return 0, err
		}
		if n > 0 {
			f.add("every workflow has completed", "%d are %s%s", n, status, examples(ctx, c, status))
		}
	}
	return count("")
}

func examples(ctx context.Context, c client.Client, status string) string {
	list, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 5, Query: "ExecutionStatus='" + status + "'"})
	if err != nil {
		return ""
	}
	text := ": "
	for _, run := range list.GetExecutions() {
		text += fmt.Sprintf("%s (%s) ", run.GetExecution().GetWorkflowId(), run.GetExecution().GetRunId())
	}
	return text
}
