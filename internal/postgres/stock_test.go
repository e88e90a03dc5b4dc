package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func (s *shop) bulk(mode store.EditMode, items ...store.StockEdit) postgres.StockEdit {
	return postgres.StockEdit{
		ProjectID: project,
		EditID:    fmt.Sprintf("stk_%06d", s.ids.Add(1)),
		Mode:      mode,
		Items:     items,
		Actor:     "admin",
		Reason:    "delivery",
	}
}

func set(sku string, pieces int64) store.StockEdit { return store.StockEdit{SKU: sku, Set: &pieces} }
func add(sku string, pieces int64) store.StockEdit { return store.StockEdit{SKU: sku, Add: &pieces} }

func (s *shop) stockOf(sku string) postgres.StockLevel {
	s.t.Helper()
	levels, err := s.ListStock(s.t.Context(), project, "", 1000)
	require.NoError(s.t, err)
	i := slices.IndexFunc(levels, func(l postgres.StockLevel) bool { return l.SKU == sku })
	require.GreaterOrEqual(s.t, i, 0)
	return levels[i]
}

func TestStockEditKeepsHistory(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 1_000)
	s.addProduct("a", 5)
	s.capture(s.reserve("buyer"), 1)
	s.reserve("buyer") // 48 available, 1 reserved, 1 sold
	done, err := s.EditStock(t.Context(), s.bulk(store.AllOrNothing, set("credits-500", 100), add("a", -5)), s.clock)
	require.NoError(t, err)
	require.Equal(t, []int64{48, 100, 5, 0}, []int64{*done.Results[0].Before, *done.Results[0].After, *done.Results[1].Before, *done.Results[1].After})
	level := s.stockOf("credits-500")
	require.Equal(t, []int64{50, 52, 100, 1, 1}, []int64{level.Settings.Initial, level.Restocked, level.Available, level.Reserved, level.Sold})
	require.EqualValues(t, -5, s.stockOf("a").Restocked)

	_, err = s.EditStock(t.Context(), s.bulk(store.AllOrNothing, set("credits-500", 100), add("a", 3)), s.clock)
	require.NoError(t, err)
	history, err := s.StockHistory(t.Context(), project, "credits-500", 0, 10)
	require.NoError(t, err)
	require.Len(t, history, 1, "an edit that changes nothing is no change")
	require.Equal(t, postgres.StockChange{
		ID:     history[0].ID,
		Kind:   "manual",
		EditID: done.EditID,
		Actor:  "admin",
		Reason: "delivery",
		Before: 48,
		After:  100,
		At:     s.clock,
	},
		withUTC(history[0]))
	history, err = s.StockHistory(t.Context(), project, "a", 0, 1)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 3}, []int64{history[0].Before, history[0].After}, "newest first")
	history, err = s.StockHistory(t.Context(), project, "a", history[0].ID, 10)
	require.NoError(t, err)
	require.Len(t, history, 1)
	_, err = s.StockHistory(t.Context(), project, "nothing", 0, 1)
	require.ErrorIs(t, err, postgres.ErrNotFound)

	require.ErrorContains(t, testkit.TryExec(t, s.DB, "UPDATE stock_changes SET reason = 'x'"), "append-only")
	require.ErrorContains(t, testkit.TryExec(t, s.DB, "DELETE FROM stock_changes"), "append-only")
	require.ErrorContains(t, testkit.TryExec(t, s.DB, "DELETE FROM stock_edits"), "append-only")
	require.Equal(t, 2, s.count("SELECT count(*) FROM audit_log WHERE action = 'stock.edit' AND actor = 'admin' AND detail ->> 'reason' = 'delivery'"))
	s.requireClean()
}

func withUTC(c postgres.StockChange) postgres.StockChange {
	c.At = c.At.UTC()
	return c
}

func (s *shop) count(query string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.Pool().QueryRow(s.t.Context(), query).Scan(&n))
	return n
}

func TestOneWrongRowChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 0)
	s.addProduct("a", 5)
	items := []store.StockEdit{set("credits-500", 1), add("a", 1), set("nothing", 1), add("a", 1)}
	edit := s.bulk(store.AllOrNothing, items...)
	edit.Idempotency = &postgres.Idempotency{Key: "free after a refusal", RequestHash: sha256.Sum256([]byte("x"))}
	_, err := s.EditStock(t.Context(), edit, s.clock)
	var refused *store.RefusedEditError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, store.EditProductNotFound, refused.Results[2].Mistake.Code)
	require.Equal(t, store.EditRepeated, refused.Results[3].Mistake.Code)
	s.requireStock(50)
	require.Zero(t, s.count("SELECT (SELECT count(*) FROM stock_changes) + (SELECT count(*) FROM stock_edits) + (SELECT count(*) FROM idempotency_keys)"))

	edit.Mode = store.PerItem
	done, err := s.EditStock(t.Context(), edit, s.clock)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, false, false}, []bool{done.Results[0].Changed(), done.Results[1].Changed(), done.Results[2].Changed(), done.Results[3].Changed()})
	s.requireStock(1)
	require.EqualValues(t, 6, s.stockOf("a").Available)
	s.requireClean()
}

func TestOneKeyEditsStockOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 0)
	answers := make([]postgres.StockEdited, 10)
	s.concurrently(len(answers), func(ctx context.Context, i int) error {
		edit := s.bulk(store.PerItem, add("credits-500", 7), add("nothing", 1))
		edit.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("same"))}
		done, err := s.EditStock(ctx, edit, s.clock)
		answers[i] = done
		return err
	})
	fresh := 0
	for _, answer := range answers {
		require.Equal(t, answers[0].EditID, answer.EditID)
		require.Equal(t, answers[0].Results, answer.Results, "a repeat gets the answer of the first")
		if !answer.Replayed {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	s.requireStock(57)
	edit := s.bulk(store.PerItem, add("credits-500", 8))
	edit.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("another"))}
	_, err := s.EditStock(t.Context(), edit, s.clock)
	require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused)
	s.requireClean()
}

// Two bulk edits of the same products, in opposite orders, run while 200 purchases of these products are made,
// captured and released: nobody deadlocks, nothing is oversold, and the books add up.
func TestBulkEditsUnderPurchases(t *testing.T) {
	t.Parallel()
	const products, purchases, rounds = 20, 200, 15
	s := newShop(t, 0, 0)
	skus := make([]string, products)
	for i := range skus {
		skus[i] = fmt.Sprintf("p-%02d", i)
		s.addProduct(skus[i], 5)
	}
	for i := range purchases {
		s.addUser(fmt.Sprint("u", i), 1_000)
	}
	var answers tally
	s.concurrently(purchases+2, func(ctx context.Context, i int) error {
		if i < 2 {
			return editAll(ctx, s, skus, i == 1, rounds)
		}
		p := s.purchase(fmt.Sprint("u", i-2))
		p.SKU = skus[i%products]
		_, err := s.ReservePurchase(ctx, p, s.clock)
		if err != nil {
			return answers.count(err)
		}
		switch i % 3 { // the third stays open
		case 0:
			s.release(p.OrderID, 1)
		case 1:
			s.capture(p.OrderID, 1)
		}
		return answers.count(nil)
	})
	require.EqualValues(t, purchases, answers.of("")+answers.of("out_of_stock"))
	require.Positive(t, answers.of(""))
	s.requireClean()
}

func editAll(ctx context.Context, s *shop, skus []string, backwards bool, rounds int) error {
	var items []store.StockEdit
	for _, sku := range skus {
		if backwards {
			items = append([]store.StockEdit{set(sku, 4)}, items...)
		} else {
			items = append(items, add(sku, 3))
		}
	}
	for range rounds {
		if _, err := s.EditStock(ctx, s.bulk(store.AllOrNothing, items...), s.clock); err != nil {
			return err
		}
	}
	return nil
}

func TestThousandRowsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 0, 0)
	testkit.Exec(t, s.DB, `INSERT INTO products (project_id, sku, name, description, kind, price_coins, status, minimum_stock, hide_at_zero, integration, delivery, created_at, updated_at)
		SELECT 1, 'bulk-' || n, 'x', '', 'credits', 1, 'published', 0, false, '{}', '{}', now(), now() FROM generate_series(1, 1000) n`)
	testkit.Exec(t, s.DB, `INSERT INTO stock (project_id, sku, initial, available) SELECT 1, sku, 0, 0 FROM products WHERE sku LIKE 'bulk-%'`)
	items := make([]store.StockEdit, 1000)
	for i := range items {
		items[i] = set(fmt.Sprint("bulk-", i+1), int64(i))
	}
	_, err := s.EditStock(t.Context(), s.bulk(store.AllOrNothing, items...), s.clock)
	require.NoError(t, err)
	require.Equal(t, 999, s.count("SELECT count(*) FROM stock_changes"))
	require.Equal(t, 499_500, s.count("SELECT sum(available) FROM stock"))
	s.requireClean()
}

func TestConsumption(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 1_000)
	start := s.clock
	for range 3 { // a day apart
		s.capture(s.reserve("buyer"), 1)
		s.clock = s.clock.Add(24 * time.Hour)
	}
	s.reserve("buyer") // open: not sold yet
	s.release(s.reserve("buyer"), 1)
	for window, sold := range map[time.Duration]int64{24 * time.Hour: 1, 48 * time.Hour: 2, 72*time.Hour - time.Second: 2, 72 * time.Hour: 3, 400 * time.Hour: 3} {
		c, err := s.Consumption(t.Context(), project, "credits-500", window, s.clock)
		require.NoError(t, err)
		require.Equal(t, store.Consumption{Available: 46, Minimum: 10, Sold: sold, Window: window, CreatedAt: start}, withCreation(c))
	}
	_, err := s.Consumption(t.Context(), project, "nothing", time.Hour, s.clock)
	require.ErrorIs(t, err, postgres.ErrNotFound)
}

func withCreation(c store.Consumption) store.Consumption {
	c.CreatedAt = c.CreatedAt.UTC()
	return c
}
