package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/checkout"
)

// checkoutTruth is everything there is to judge about orders of carts and items, read when nothing moves.
type checkoutTruth struct {
	all      []*shopping
	orders   map[int64]checkoutRow
	owned    map[[2]string]int64 // by user and SKU
	lasting  map[string]float64  // seconds that a user's pass lasts in all
	wallets  map[string]int64
	refusals map[string]int // payments that were not taken, by reason
}

type checkoutRow struct {
	ID           int64
	User, Status string
	Lines        json.RawMessage
}

// settleCheckouts waits until no order of a cart or an item is open. One that nobody pays expires.
func settleCheckouts(ctx context.Context, s *stack, f *findings, recovery time.Duration) error {
	bound := orderSeconds*time.Second + recovery
	for begin := time.Now(); ; {
		var left int
		if err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM checkout_orders WHERE finished_at IS NULL").Scan(&left); err != nil || left == 0 {
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
	t = checkoutTruth{all: all, orders: map[int64]checkoutRow{}, owned: map[[2]string]int64{}, lasting: map[string]float64{}, wallets: map[string]int64{}, refusals: map[string]int{}}
	rows, err := s.db.Pool().Query(ctx, "SELECT order_id, user_id, status, lines FROM checkout_orders")
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
	return t, nil
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
		for _, bought := range o.lines {
			for sku, n := range gives[bought.SKU] {
				due[[2]string{o.user, sku}] += n * bought.Quantity
			}
		}
	}
	for id := range t.orders {
		if !known[id] {
			f.add("an order of a cart or item belongs to one wish", "order %d belongs to none", id)
		}
	}
	t.judgeGoods(f, due, spent)
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
