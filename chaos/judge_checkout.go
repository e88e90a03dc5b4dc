package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// checkoutTruth is everything there is to judge about orders of carts and items, read when nothing moves.
type checkoutTruth struct {
	all      []*shopping
	orders   map[int64]checkoutRow
	owned    map[[2]string]int64 // by user and SKU
	lasting  map[string]float64  // seconds that a user's pass lasts in all
	wallets  map[string]int64
	refusals map[string]int // payments that were not taken, by reason
	back     map[pieces]int64
	asked    []asked
	books    map[string]fake.Entry // of what the main product gave for orders
}

type checkoutRow struct {
	ID                   int64
	User, Status, Reason string
	Lines                json.RawMessage
}

// pieces are those of a line of an order.
type pieces struct {
	OrderID int64
	LineID  string
}

// asked is what the main product was asked for, for an order.
type asked struct {
	OrderID int64
	Number  int
	User    string
	Amount  decimal.Decimal
	Status  string
}

// deliveryPrefix begins the order ids by which the main product knows them.
const deliveryPrefix = "co_"

func (a asked) id() string { return fmt.Sprintf("%s%d_%d", deliveryPrefix, a.OrderID, a.Number) }

// settleCheckouts waits until no order of a cart or an item is open, but for those that wait for an admin.
// One that nobody pays expires.
func settleCheckouts(ctx context.Context, s *stack, f *findings, recovery time.Duration) error {
	bound := max(orderSeconds*time.Second, 4*(quick(1).Timeout()+time.Second)) + recovery
	for begin := time.Now(); ; {
		var left int
		if err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM checkout_orders WHERE finished_at IS NULL AND reason IS DISTINCT FROM 'delivery_suspected'").Scan(&left); err != nil || left == 0 {
			return err
		}
		if time.Since(begin) > bound {
			f.add("every order of a cart or item is final within its bound after the faults", "%d are not after %s", left, bound)
			return fmt.Errorf("%d orders of carts and items are open", left)
		}
		if !pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

func readCheckoutTruth(ctx context.Context, s *stack, all []*shopping) (t checkoutTruth, err error) {
	t = checkoutTruth{
		all:      all,
		back:     map[pieces]int64{},
		books:    map[string]fake.Entry{},
		orders:   map[int64]checkoutRow{},
		owned:    map[[2]string]int64{},
		lasting:  map[string]float64{},
		wallets:  map[string]int64{},
		refusals: map[string]int{},
	}
	rows, err := s.db.Pool().Query(ctx, "SELECT order_id, user_id, status, coalesce(reason, ''), lines FROM checkout_orders")
	if err != nil {
		return t, err
	}
	orders, err := pgx.CollectRows(rows, pgx.RowToStructByPos[checkoutRow])
	if err != nil {
		return t, err
	}
	for _, o := range orders {
		t.orders[o.ID] = o
	}
	var user, sku string
	var n int64
	var seconds float64
	for _, part := range []struct {
		sql  string
		into []any
		keep func()
	}{
		{"SELECT user_id, sku, quantity FROM inventory", []any{&user, &sku, &n}, func() { t.owned[[2]string{user, sku}] = n }},
		{"SELECT user_id, extract(epoch FROM expires_at - started_at)::float8 FROM subscriptions WHERE sku = 'pass'", []any{&user, &seconds}, func() { t.lasting[user] = seconds }},
		{"SELECT user_id, available + held FROM users WHERE user_id LIKE 'shopper-%'", []any{&user, &n}, func() { t.wallets[user] = n }},
		{"SELECT reason, count(*) FROM checkout_payments WHERE outcome <> 'accepted' GROUP BY reason", []any{&sku, &n}, func() { t.refusals[sku] = int(n) }},
	} {
		rows, err := s.db.Pool().Query(ctx, part.sql)
		if err != nil {
			return t, err
		}
		if _, err := pgx.ForEachRow(rows, part.into, func() error { part.keep(); return nil }); err != nil {
			return t, err
		}
	}
	return t, t.readDeliveries(ctx, s)
}

func (t *checkoutTruth) readDeliveries(ctx context.Context, s *stack) error {
	rows, err := s.db.Pool().Query(ctx, `SELECT r.order_id, l.line ->> 'line_id', (l.line ->> 'quantity')::bigint FROM checkout_refunds r CROSS JOIN LATERAL jsonb_array_elements(r.lines) AS l (line)`)
	if err != nil {
		return err
	}
	var p pieces
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&p.OrderID, &p.LineID, &n}, func() error { t.back[p] += n; return nil }); err != nil {
		return err
	}
	if rows, err = s.db.Pool().Query(ctx, "SELECT d.order_id, d.number, o.user_id, d.amount, d.status FROM checkout_deliveries d JOIN checkout_orders o USING (order_id)"); err != nil {
		return err
	}
	if t.asked, err = pgx.CollectRows(rows, pgx.RowToStructByPos[asked]); err != nil {
		return err
	}
	books, _, err := readBooks(ctx, s)
	for id, entry := range books {
		if strings.HasPrefix(id, deliveryPrefix) {
			t.books[id] = entry
		}
	}
	return err
}

// decideSuspected has everything delivered again of which nobody knows whether it was: the main product is
// well by now, and credits nothing twice that it is asked for under the same id.
func decideSuspected(ctx context.Context, s *stack, f *findings, recovery time.Duration) (decided int, err error) {
	client := &http.Client{Timeout: answerTimeout}
	for {
		rows, err := s.db.Pool().Query(ctx, "SELECT order_id, number, round FROM checkout_deliveries WHERE status = 'suspected'")
		if err != nil {
			return decided, err
		}
		type suspect struct {
			OrderID       int64
			Number, Round int
		}
		suspects, err := pgx.CollectRows(rows, pgx.RowToStructByPos[suspect])
		if err != nil || len(suspects) == 0 {
			return decided, err
		}
		for n, one := range suspects {
			if one.Round > 3 {
				f.add("what is suspected is delivered when the main product is well", "delivery %d of order %d", one.Number, one.OrderID)
				return decided, nil
			}
			url := fmt.Sprintf("%s/api/v1/admin/checkout-orders/%d/deliveries/%d/decide", s.apis[n%len(s.apis)], one.OrderID, one.Number)
			status, _, data, err := post(ctx, client, url, s.keys["admin"], fmt.Sprintf("chaos-decide-%d-%d-%d", one.OrderID, one.Number, one.Round),
				map[string]string{"decision": string(checkout.DeliverAgain), "reason": "the main product is back"})
			if err != nil {
				return decided, err
			}
			if status != http.StatusOK {
				f.add("every suspected delivery can be decided", "delivery %d of order %d: %d %s", one.Number, one.OrderID, status, data)
			}
			decided++
		}
		if err := settleCheckouts(ctx, s, f, recovery); err != nil {
			return decided, err
		}
	}
}

// judge compares what users were told with what became of their orders, and what they own with what they have paid for.
func (t checkoutTruth) judge(f *findings) {
	known := map[int64]bool{}
	gives := map[string]map[string]int64{}
	for _, w := range wares() {
		gives[w.SKU] = w.gives
	}
	due, spent := map[[2]string]int64{}, map[string]int64{}
	for _, o := range t.all {
		row, exists := t.orders[o.orderID]
		if !exists {
			f.add("an accepted order of a cart or item is there", "%s of %s: order %d", o.key, o.user, o.orderID)
			continue
		}
		if known[o.orderID] {
			f.add("an order of a cart or item belongs to one wish", "order %d", o.orderID)
		}
		known[o.orderID] = true
		t.judgeOrder(f, o, row)
		if row.Status != string(checkout.Done) {
			continue
		}
		spent[o.user] += o.coins
		for k, bought := range o.lines {
			kept := bought.Quantity - t.back[pieces{o.orderID, strconv.Itoa(k + 1)}]
			for sku, n := range gives[bought.SKU] {
				due[[2]string{o.user, sku}] += n * kept
			}
		}
	}
	for id := range t.orders {
		if !known[id] {
			f.add("an order of a cart or item belongs to one wish", "order %d belongs to none", id)
		}
	}
	t.judgeGoods(f, due, spent)
	t.judgeDeliveries(f)
}

// judgeDeliveries holds what orders asked of the main product to its own books.
func (t checkoutTruth) judgeDeliveries(f *findings) {
	known := map[string]bool{}
	for _, a := range t.asked {
		known[a.id()] = true
		entry := t.books[a.id()]
		switch {
		case entry.Credited > 1:
			f.add("no part of an order is credited twice", "%s: %d times", a.id(), entry.Credited)
		case a.Status == string(checkout.DeliveryDelivered) && (entry.Credited != 1 || !entry.Amount.Equal(a.Amount) || entry.UserID != a.User):
			f.add("a delivered part of an order is as the books have it", "%s: %s for %s, books: %+v", a.id(), a.Amount, a.User, entry)
		case a.Status == string(checkout.DeliveryRefused) && entry.Credited != 0:
			f.add("what was refused was not credited", "%s: %+v", a.id(), entry)
		case a.Status != string(checkout.DeliveryDelivered) && a.Status != string(checkout.DeliveryRefused):
			f.add("every part of an order has its outcome", "%s is %s", a.id(), a.Status)
		}
	}
	for id := range t.books {
		if !known[id] {
			f.add("no crediting without an order", "the main product got %s, which no order asks for", id)
		}
	}
}

// parts counts what the main product was asked for by what became of it.
func (t checkoutTruth) parts() map[string]int {
	n := map[string]int{}
	for _, a := range t.asked {
		n[a.Status]++
	}
	return n
}

func (t checkoutTruth) judgeOrder(f *findings, o *shopping, row checkoutRow) {
	var lines []line
	if err := json.Unmarshal(row.Lines, &lines); err != nil || row.User != o.user || fmt.Sprint(lines) != fmt.Sprint(o.lines) {
		f.add("an order of a cart or item is what was wanted", "order %d of %s: %v for %s, want %v (%v)", o.orderID, row.User, lines, o.user, o.lines, err)
	}
	status := checkout.OrderStatus(row.Status)
	switch {
	case !status.Terminal():
		f.add("every order of a cart or item is final", "order %d is %s", o.orderID, status)
	case o.paid && o.canceled:
		f.add("an order is paid or canceled", "order %d: its user was told both", o.orderID)
	case status == checkout.Canceled && row.Reason == "refused_by_main_product": // and paid back
	case (o.paid || o.token == "") && status != checkout.Done:
		f.add("who paid gets the goods", "order %d is %s", o.orderID, status)
	case o.canceled && status != checkout.Canceled:
		f.add("who canceled pays nothing", "order %d is %s", o.orderID, status)
	case o.token != "" && !o.paid && !o.canceled && status == checkout.Done:
		f.add("who did not pay gets nothing", "order %d is %s, and nobody was told of a payment", o.orderID, status)
	}
}

// judgeGoods counts every inventory, pass and wallet from the orders alone.
func (t checkoutTruth) judgeGoods(f *findings, due map[[2]string]int64, spent map[string]int64) {
	for n := range shoppers {
		user := fmt.Sprintf("shopper-%d", n)
		for _, sku := range []string{"gun", "gift", "gold"} {
			if key := [2]string{user, sku}; t.owned[key] != due[key] {
				f.add("users own what they have paid for", "%s has %d of %s, want %d", user, t.owned[key], sku, due[key])
			}
		}
		periods := due[[2]string{user, "pass"}]
		if want := float64(periods * passDays * 24 * 60 * 60); t.lasting[user] != want || t.owned[[2]string{user, "pass"}] != min(periods, 1) {
			f.add("a pass lasts as long as was paid for", "%s: %.0f s and %d pieces, want %.0f s", user, t.lasting[user], t.owned[[2]string{user, "pass"}], want)
		}
		if want := shopperCoins - spent[user]; t.wallets[user] != want {
			f.add("shoppers' wallets are the coins given less the completed orders", "%s: %d, want %d", user, t.wallets[user], want)
		}
	}
}

func (t checkoutTruth) outcomes() map[string]int {
	n := map[string]int{}
	for _, o := range t.orders {
		n[o.Status]++
	}
	return n
}
