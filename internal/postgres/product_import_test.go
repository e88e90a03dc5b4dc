package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

func amount(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func importOf(skus ...string) postgres.ProductImport {
	in := postgres.ProductImport{ProjectID: project, Actor: "test"}
	for i, sku := range skus {
		product := vipDay()
		product.SKU = sku
		in.Rows = append(in.Rows, store.ImportRow{Row: i + 1, Product: product, InitialGiven: true})
	}
	return in
}

func (s *shop) countOf(query string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.Pool().QueryRow(s.t.Context(), query).Scan(&n))
	return n
}

func TestImportIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 11, 0)
	in := importOf("a", "b", "credits-500") // the last has another stock
	report, mistakes, _, err := s.ImportProducts(t.Context(), in, s.clock)
	require.NoError(t, err)
	require.Equal(t, []store.RowError{{Row: 3, FieldError: store.FieldError{Field: "stock.initial", Message: "is set when a product is created; leave it out"}}}, mistakes[:1])
	require.Empty(t, mistakes[1:])
	require.Empty(t, report.ImportID)
	require.Equal(t, 1, s.countOf("SELECT count(*) FROM products"))

	in.Rows[2].InitialGiven = false
	in.DryRun = true
	_, mistakes, _, err = s.ImportProducts(t.Context(), in, s.clock)
	require.NoError(t, err)
	require.Empty(t, mistakes)
	require.Equal(t, 1, s.countOf("SELECT count(*) FROM products"))

	in.DryRun, in.Idempotency = false, &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("x"))}
	first, _, replayed, err := s.ImportProducts(t.Context(), in, s.clock)
	require.NoError(t, err)
	require.False(t, replayed)
	require.Equal(t, []int{2, 1, 0}, []int{first.Count(store.ImportCreate), first.Count(store.ImportReplace), first.Count(store.ImportUnchanged)})
	audited := s.countOf("SELECT count(*) FROM audit_log")
	again, _, replayed, err := s.ImportProducts(t.Context(), in, s.clock)
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, first, again)
	in.Idempotency = nil
	same, _, _, err := s.ImportProducts(t.Context(), in, s.clock)
	require.NoError(t, err)
	require.Equal(t, 3, same.Count(store.ImportUnchanged))
	require.Equal(t, audited+1, s.countOf("SELECT count(*) FROM audit_log"), "the import itself, and no product")
	require.Equal(t, 1, s.countOf("SELECT count(*) FROM products WHERE sku = 'credits-500' AND version = 2"))
	s.requireStock(11)
	s.requireClean()
}

// Of imports that create the same, in another order, one wins and the others are told.
func TestImportsCreateOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 0)
	skus := make([]string, 30)
	for i := range skus {
		skus[i] = fmt.Sprintf("p%02d", i)
	}
	var answers tally
	s.concurrently(8, func(ctx context.Context, i int) error {
		_, _, _, err := s.ImportProducts(ctx, importOf(append(append([]string{}, skus[i:]...), skus[:i]...)...), s.clock)
		return answers.count(err)
	})
	require.EqualValues(t, 8, answers.of("")+answers.of("conflict"))
	require.Positive(t, answers.of(""))
	require.Equal(t, 30, s.countOf("SELECT count(*) FROM audit_log WHERE action = 'product.create' AND subject LIKE 'p%'"))
}

// Imports of the same products in another order neither wait for each other without end nor mix.
func TestImportsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 0)
	skus := make([]string, 30)
	for i := range skus {
		skus[i] = fmt.Sprintf("p%02d", i)
	}
	_, _, _, err := s.ImportProducts(t.Context(), importOf(skus...), s.clock)
	require.NoError(t, err)
	s.concurrently(8, func(ctx context.Context, i int) error {
		in := importOf(append(append([]string{}, skus[i:]...), skus[:i]...)...)
		for row := range in.Rows {
			in.Rows[row].Product.Name = fmt.Sprint("import ", i)
		}
		_, mistakes, _, err := s.ImportProducts(ctx, in, s.clock)
		if len(mistakes) > 0 {
			return errors.New(mistakes[0].Message)
		}
		return err
	})
	require.Equal(t, 1, s.countOf("SELECT count(DISTINCT name) FROM products WHERE sku <> 'credits-500'"), "one import's names")
}
