package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

const project = 1

// shop is a database with one product, of 100 coins, and one user.
type shop struct {
	*postgres.DB
	t     testing.TB
	ids   atomic.Int64
	clock time.Time
}

func newShop(t testing.TB, stock, coins int64) *shop {
	t.Helper()
	s := &shop{DB: testkit.Database(t), t: t, clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	s.addProduct("credits-500", stock)
	s.addUser("buyer", coins)
	return s
}

func (s *shop) addProduct(sku string, stock int64) {
	s.t.Helper()
	product := testkit.Credits500()
	product.SKU, product.Stock.Initial = sku, stock
	_, _, err := s.AddProduct(s.t.Context(), postgres.NewProduct{ProjectID: project, Actor: "test", Product: product}, s.clock)
	require.NoError(s.t, err)
}

func (s *shop) addUser(id string, coins int64) {
	s.t.Helper()
	_, _, err := s.PutUser(s.t.Context(), project, id, postgres.UserEdit{}, s.clock)
	require.NoError(s.t, err)
	if coins != 0 {
		_, err = s.AdjustWallet(s.t.Context(), postgres.Adjustment{
			ProjectID:    project,
			AdjustmentID: "seed-" + id,
			UserID:       id,
			Amount:       coins,
			Reason:       "test",
			Actor:        "test",
		}, s.clock)
		require.NoError(s.t, err)
	}
}

func (s *shop) purchase(user string) postgres.Purchase {
	return postgres.Purchase{
		ProjectID: project,
		OrderID:   fmt.Sprintf("qp_%06d", s.ids.Add(1)),
		UserID:    user,
		SKU:       "credits-500",
		Quantity:  1,
	}
}

func (s *shop) reserve(user string) string {
	s.t.Helper()
	reserved, err := s.ReservePurchase(s.t.Context(), s.purchase(user), s.clock)
	require.NoError(s.t, err)
	return reserved.OrderID
}

func (s *shop) capture(order string, attempt int) store.OrderStatus {
	s.t.Helper()
	amount := decimal.NewFromInt(500)
	status, err := s.CaptureOrder(s.t.Context(), contract.CaptureInput{ProjectID: project, OrderID: order, Attempt: attempt, Calls: 1,
		Credit: store.Credit{TransactionID: "tx_" + order, CreditedAmount: &amount}}, s.clock)
	require.NoError(s.t, err)
	return status
}

// release gives an order back as one that the main product may have credited all the same.
func (s *shop) release(order string, attempt int) store.OrderStatus {
	s.t.Helper()
	status, err := s.ReleaseOrder(s.t.Context(), contract.ReleaseInput{ProjectID: project, OrderID: order, Attempt: attempt,
		Reason: store.Reason{Code: store.MainProductUnreachable}, MaybeCredited: true}, s.clock)
	require.NoError(s.t, err)
	return status
}

func (s *shop) requireWallet(user string, available, held int64) {
	s.t.Helper()
	u, err := s.GetUser(s.t.Context(), user)
	require.NoError(s.t, err)
	require.Equal(s.t, []int64{available, held}, []int64{u.Available, u.Held}, "available, held")
}

func (s *shop) requireStock(available int64) {
	s.t.Helper()
	offer, err := s.GetProduct(s.t.Context(), project, "credits-500")
	require.NoError(s.t, err)
	require.Equal(s.t, available, offer.Available)
}

// requireClean asks what `quickpass verify` asks.
func (s *shop) requireClean() {
	s.t.Helper()
	checks, err := s.Verify(s.t.Context(), postgres.VerifyOptions{Grace: time.Hour}, s.clock)
	require.NoError(s.t, err)
	for _, check := range checks {
		require.Empty(s.t, check.Broken, check.Rule)
	}
}

// concurrently lets n callers go at the same moment.
func (s *shop) concurrently(n int, do func(ctx context.Context, i int) error) {
	s.t.Helper()
	var group sync.WaitGroup
	errs := make([]error, n)
	begin := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-begin
			errs[i] = do(s.t.Context(), i)
		})
	}
	close(begin)
	group.Wait()
	require.NoError(s.t, errors.Join(errs...))
}

// tally counts answers by their refusal code, "" for success; anything else is an error.
type tally struct{ counts sync.Map }

func (c *tally) count(err error) error {
	var refusal *store.Refusal
	code := ""
	switch {
	case errors.As(err, &refusal):
		code = string(refusal.Code)
	case errors.Is(err, postgres.ErrConflict):
		code = "conflict"
	case err != nil:
		return err
	}
	n, _ := c.counts.LoadOrStore(code, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
	return nil
}

func (c *tally) of(code string) int64 {
	n, ok := c.counts.Load(code)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func requireRefusal(t testing.TB, code store.Code, err error) {
	t.Helper()
	var refusal *store.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, code, refusal.Code)
}
