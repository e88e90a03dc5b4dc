package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

const actor = "schedule/replenishment"

// replenishes sets how a product is restocked by itself.
func (s *shop) replenishes(sku string, r store.Replenishment, zone string) {
	s.t.Helper()
	offer, err := s.GetProduct(s.t.Context(), project, sku)
	require.NoError(s.t, err)
	offer.Product.Stock.Replenishment, offer.Product.Schedule.TimeZone = r, zone
	_, err = s.UpdateProduct(s.t.Context(), project, offer.Product, "test", s.clock)
	require.NoError(s.t, err)
	stored, err := s.GetProduct(s.t.Context(), project, sku)
	require.NoError(s.t, err)
	require.Equal(s.t, r, stored.Product.Stock.Replenishment)
}

func (s *shop) replenish() int {
	s.t.Helper()
	done, err := s.Replenish(s.t.Context(), actor, s.clock)
	require.NoError(s.t, err)
	return len(done)
}

func (s *shop) setStock(sku string, pieces int64) {
	s.t.Helper()
	_, err := s.EditStock(s.t.Context(), s.bulk(store.AllOrNothing, set(sku, pieces)), s.clock)
	require.NoError(s.t, err)
}

func TestReplenishment(t *testing.T) {
	t.Parallel()
	s := newShop(t, 11, 0) // one above the minimum
	s.addProduct("off", 0)
	s.replenishes("credits-500", store.Replenishment{Amount: 30, Ceiling: 35, MaxPerDay: 2}, "Asia/Kolkata")
	require.Zero(t, s.replenish())
	s.setStock("credits-500", 10)
	require.Equal(t, 1, s.replenish())
	s.requireStock(35)
	require.Zero(t, s.replenish(), "it is not low any more")
	s.setStock("credits-500", 0)
	require.Equal(t, 1, s.replenish())
	s.requireStock(30)
	s.setStock("credits-500", 0)
	require.Zero(t, s.replenish(), "twice a day at most")

	// The clock is at 17:30 in Kolkata: the next day begins at 18:30 UTC.
	s.clock = time.Date(2026, 11, 22, 18, 29, 59, 0, time.UTC)
	require.Zero(t, s.replenish())
	s.clock = s.clock.Add(time.Second)
	require.Equal(t, 1, s.replenish())
	s.requireStock(30)

	history, err := s.StockHistory(t.Context(), project, "credits-500", 0, 1)
	require.NoError(t, err)
	require.Equal(t, []any{"replenishment", "", actor, "at or below the minimum of 10 pieces", int64(0), int64(30)},
		[]any{history[0].Kind, history[0].EditID, history[0].Actor, history[0].Reason, history[0].Before, history[0].After})
	s.requireClean()
}

func TestDraftsAreNotReplenished(t *testing.T) {
	t.Parallel()
	s := newShop(t, 0, 0)
	s.replenishes("credits-500", store.Replenishment{Amount: 1, Ceiling: 35, MaxPerDay: 9}, "")
	testkit.Exec(t, s.DB, "UPDATE products SET status = 'draft'")
	require.Zero(t, s.replenish())
}

// Ten runs at once, over more products than one page has, while the pieces are being bought.
func TestReplenishmentAtOnce(t *testing.T) {
	t.Parallel()
	const products, runs, buyers = 250, 10, 50
	s := newShop(t, 0, 0)
	s.replenishes("credits-500", store.Replenishment{Amount: 20, Ceiling: 100, MaxPerDay: 1}, "")
	testkit.Exec(t, s.DB, fmt.Sprintf(`INSERT INTO products SELECT (jsonb_populate_record(p, jsonb_build_object('sku', 'copy-' || n))).* FROM products p, generate_series(1, %d) n`, products-1))
	testkit.Exec(t, s.DB, `INSERT INTO stock (project_id, sku, initial, available) SELECT project_id, sku, 0, 0 FROM products WHERE sku LIKE 'copy-%'`)
	for i := range buyers {
		s.addUser(fmt.Sprint("u", i), 100)
	}
	var restocked atomic.Int64
	var answers tally
	s.concurrently(runs+buyers, func(ctx context.Context, i int) error {
		if i < buyers {
			_, err := s.ReservePurchase(ctx, s.purchase(fmt.Sprint("u", i)), s.clock)
			return answers.count(err)
		}
		done, err := s.Replenish(ctx, actor, s.clock)
		restocked.Add(int64(len(done)))
		return err
	})
	require.EqualValues(t, products, restocked.Load())
	require.Equal(t, products, s.count("SELECT count(*) FROM stock_changes WHERE available_before = 0 AND available_after = 20"))
	require.LessOrEqual(t, answers.of(""), int64(20))
	s.requireClean()
}

// One product that can't be restocked is named, and does not keep the others from theirs.
func TestReplenishmentGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t, 0, 0)
	s.addProduct("a-broken", 0)
	for _, sku := range []string{"a-broken", "credits-500"} {
		s.replenishes(sku, store.Replenishment{Amount: 20, Ceiling: 100, MaxPerDay: 1}, "")
	}
	testkit.Exec(t, s.DB, `UPDATE products SET replenishment = '{"amount": "many"}' WHERE sku = 'a-broken'`)
	done, err := s.Replenish(t.Context(), actor, s.clock)
	require.ErrorContains(t, err, "a-broken")
	require.Len(t, done, 1)
	s.requireStock(20)
}

func TestStockAlerts(t *testing.T) {
	t.Parallel()
	s := newShop(t, 11, 0)
	raise := func(opened, resolved int, why string) {
		t.Helper()
		s.clock = s.clock.Add(time.Minute)
		o, r, err := s.RaiseStockAlerts(t.Context(), s.clock)
		require.NoError(t, err)
		require.Equal(t, []int{opened, resolved}, []int{o, r}, why)
	}
	raise(0, 0, "above the minimum")
	s.setStock("credits-500", 10)
	raise(1, 0, "at the minimum")
	raise(0, 0, "one open alert is enough")
	s.setStock("credits-500", 0)
	raise(1, 0, "at 0 there is another")
	s.setStock("credits-500", 1)
	raise(0, 1, "not at 0 any more, yet low")
	open, err := s.Alerts(t.Context(), project, new(true), 0, 10)
	require.NoError(t, err)
	require.Len(t, open, 1)
	require.Equal(t, []string{"stock_low", "credits-500"}, []string{open[0].Kind, open[0].Subject})
	require.JSONEq(t, `{"available":10,"minimum":10}`, string(open[0].Detail))
	s.setStock("credits-500", 11)
	raise(0, 1, "above again")
	s.setStock("credits-500", 0)
	raise(2, 0, "a new fall is a new alert")
	testkit.Exec(t, s.DB, "UPDATE products SET minimum_stock = 0")
	raise(0, 1, "without a minimum only 0 counts")
	testkit.Exec(t, s.DB, "UPDATE products SET status = 'draft'")
	raise(0, 1, "it is not sold any more")
	closed, err := s.Alerts(t.Context(), project, new(false), 0, 10)
	require.NoError(t, err)
	require.Len(t, closed, 4)
	older, err := s.Alerts(t.Context(), project, nil, closed[0].ID, 10)
	require.NoError(t, err)
	require.Len(t, older, 3)
	other, err := s.Alerts(t.Context(), project+1, nil, 0, 10)
	require.NoError(t, err)
	require.Empty(t, other, "alerts belong to a project")
}

func TestStockAlertsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 0, 0)
	for i := range 20 {
		s.addProduct(fmt.Sprint("p", i), 0)
	}
	for _, want := range []string{"opened", "resolved"} {
		var changed atomic.Int64
		s.concurrently(8, func(ctx context.Context, _ int) error {
			opened, resolved, err := s.RaiseStockAlerts(ctx, s.clock)
			changed.Add(int64(opened + resolved))
			return err
		})
		require.EqualValues(t, 42, changed.Load(), want)
		testkit.Exec(t, s.DB, "UPDATE stock SET available = 100, restocked = 100")
	}
}
