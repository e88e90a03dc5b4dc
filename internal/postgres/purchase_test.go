package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

func TestReserveThenCapture(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 250)
	order := s.reserve("buyer")
	s.requireWallet("buyer", 150, 100)
	s.requireStock(49)
	s.requireClean()

	for range 3 { // at least once means more than once
		require.Equal(t, store.Completed, s.capture(order, 1))
	}
	require.Equal(t, store.Completed, s.release(order, 1), "a late release changes nothing")
	s.requireWallet("buyer", 150, 0)
	s.requireStock(49)
	s.requireClean()

	got, err := s.GetOrder(t.Context(), project, order)
	require.NoError(t, err)
	require.Equal(t, "tx_"+order, got.Credit.TransactionID)
	require.Equal(t, 1, got.Calls)
	feed, err := s.Notifications(t.Context(), project, "buyer", 0, 10)
	require.NoError(t, err)
	require.Equal(t, "purchase_completed", feed[0].Kind)
}

func TestOneTransactionCompletesOneOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 250)
	s.capture(s.reserve("buyer"), 1)
	_, err := s.CaptureOrder(t.Context(), contract.CaptureInput{ProjectID: project, OrderID: s.reserve("buyer"), Attempt: 1,
		Credit: store.Credit{TransactionID: "tx_qp_000001"}}, s.clock)
	require.ErrorIs(t, err, postgres.ErrTransactionClash)
	s.requireWallet("buyer", 50, 100)
	s.requireClean()
}

func TestReserveThenRelease(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 100)
	order := s.reserve("buyer")
	for range 3 {
		status, err := s.ReleaseOrder(t.Context(), contract.ReleaseInput{ProjectID: project, OrderID: order, Attempt: 1, Calls: 1,
			Reason: store.ReasonOfRefusal("USER_NOT_FOUND", "User not found", false)}, s.clock)
		require.NoError(t, err)
		require.Equal(t, store.Canceled, status)
	}
	s.requireWallet("buyer", 100, 0)
	s.requireStock(50)
	s.requireClean()
	got, err := s.GetOrder(t.Context(), project, order)
	require.NoError(t, err)
	require.Equal(t, "USER_NOT_FOUND", got.Reason.ErrorCode)
	require.False(t, got.Suspected)
	require.Equal(t, 1, got.Calls)
}

func TestReleaseOfWhatWasNeverReserved(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, 0)
	require.Equal(t, store.Canceled, s.release("qp_none", 1))
	s.requireClean()
}

func TestRefusalsWriteNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, 99)
	s.addUser("rich", 1_000)
	s.addUser("blocked", 1_000)
	_, err := s.SetBlocked(t.Context(), project, "blocked", true, "test", "fraud", s.clock)
	require.NoError(t, err)
	for code, change := range map[store.Code]func(*postgres.Purchase){
		store.UserNotFound:      func(p *postgres.Purchase) { p.UserID = "nobody" },
		store.ProductNotFound:   func(p *postgres.Purchase) { p.SKU = "nothing" },
		store.UserBlocked:       func(p *postgres.Purchase) { p.UserID = "blocked" },
		store.InsufficientCoins: func(p *postgres.Purchase) { p.UserID = "buyer" },
		store.OutOfStock:        func(p *postgres.Purchase) { p.Quantity = 2 },
	} {
		p := s.purchase("rich")
		p.Idempotency = &postgres.Idempotency{
			Key:         "same for all: a refused request leaves the key free",
			RequestHash: sha256.Sum256([]byte(code)),
		}
		change(&p)
		_, err := s.ReservePurchase(t.Context(), p, s.clock)
		requireRefusal(t, code, err)
		_, err = s.GetOrder(t.Context(), project, p.OrderID)
		require.ErrorIs(t, err, postgres.ErrNotFound)
	}
	s.requireWallet("rich", 1_000, 0)
	s.requireStock(1)
	s.requireClean()
}

func TestLastUnitIsSoldOnce(t *testing.T) {
	t.Parallel()
	const buyers, rounds = 500, 100
	s := newShop(t, 0, 0)
	for i := range buyers {
		s.addUser(fmt.Sprint("u", i), 100)
	}
	for round := range rounds {
		sku := fmt.Sprint("last-", round)
		s.addProduct(sku, 1)
		var answers tally
		var sold atomic.Value
		s.concurrently(buyers, func(ctx context.Context, i int) error {
			p := s.purchase(fmt.Sprint("u", i))
			p.SKU = sku
			_, err := s.ReservePurchase(ctx, p, s.clock)
			if err == nil {
				sold.Store(p.OrderID)
			}
			return answers.count(err)
		})
		require.Equal(t, []int64{1, buyers - 1}, []int64{answers.of(""), answers.of("out_of_stock")}, "sold, refused")
		s.release(sold.Load().(string), 1) // so that every buyer has the coins for the next round
	}
	s.requireClean()
}

func TestOneKeyMakesOneOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, 10_000)
	var ids sync.Map
	s.concurrently(20, func(ctx context.Context, _ int) error {
		p := s.purchase("buyer")
		p.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("body"))}
		reserved, err := s.ReservePurchase(ctx, p, s.clock)
		ids.Store(reserved.OrderID, true)
		return err
	})
	orders := 0
	ids.Range(func(any, any) bool { orders++; return true })
	require.Equal(t, 1, orders)
	s.requireWallet("buyer", 9_900, 100)

	p := s.purchase("buyer")
	p.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("another body"))}
	_, err := s.ReservePurchase(t.Context(), p, s.clock)
	require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused)
	s.requireWallet("buyer", 9_900, 100)
	s.requireClean()
}

func TestWalletIsNeverOverspent(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 1_000)
	var answers tally
	s.concurrently(50, func(ctx context.Context, _ int) error {
		_, err := s.ReservePurchase(ctx, s.purchase("buyer"), s.clock)
		return answers.count(err)
	})
	require.Equal(t, []int64{10, 40}, []int64{answers.of(""), answers.of("insufficient_coins")}, "sold, refused")
	s.requireWallet("buyer", 0, 1_000)
	s.requireClean()
}

func TestReplayIsWonByOne(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, 100)
	order := s.reserve("buyer")
	s.release(order, 1)
	var answers tally
	s.concurrently(20, func(ctx context.Context, _ int) error {
		_, err := s.ReplayOrder(ctx, postgres.Replay{
			ProjectID: project,
			OrderID:   order,
			Actor:     "admin",
			Reason:    "the product is back",
		}, s.clock)
		return answers.count(err)
	})
	require.Equal(t, []int64{1, 19}, []int64{answers.of(""), answers.of("conflict")}, "won, lost")
	s.requireWallet("buyer", 0, 100)
	s.requireClean()
	got, err := s.GetOrder(t.Context(), project, order)
	require.NoError(t, err)
	require.Equal(t, 2, got.Attempt)
	require.True(t, got.Suspected)

	require.Equal(t, store.Processing, s.release(order, 1), "a release of the first attempt comes late")
	require.Equal(t, store.Completed, s.capture(order, 2))
	s.requireWallet("buyer", 0, 0)
	s.requireStock(4)
	s.requireClean()
}

func TestReplayWithoutCoinsChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, 100)
	order := s.reserve("buyer")
	s.release(order, 1)
	s.reserve("buyer") // the coins go elsewhere
	_, err := s.ReplayOrder(t.Context(), postgres.Replay{ProjectID: project, OrderID: order, Actor: "admin"}, s.clock)
	requireRefusal(t, store.InsufficientCoins, err)
	got, err := s.GetOrder(t.Context(), project, order)
	require.NoError(t, err)
	require.Equal(t, store.Canceled, got.Status)
	require.Equal(t, 1, got.Attempt)
	s.requireClean()
}

func TestSweepLeasesEachOrderOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	for range 40 {
		s.reserve("buyer")
	}
	options := postgres.SweepOptions{Age: 2 * time.Second, Lease: 15 * time.Second, Limit: 10}
	early, err := s.LeaseUnstarted(t.Context(), options, s.clock.Add(time.Second))
	require.NoError(t, err)
	require.Empty(t, early, "younger orders are the dispatcher's")

	var leased atomic.Int64
	later := s.clock.Add(3 * time.Second)
	s.concurrently(8, func(ctx context.Context, _ int) error {
		for {
			orders, err := s.LeaseUnstarted(ctx, options, later)
			leased.Add(int64(len(orders)))
			if err != nil || len(orders) == 0 {
				return err
			}
		}
	})
	require.EqualValues(t, 40, leased.Load(), "each is handed out once a lease")
	again, err := s.LeaseUnstarted(t.Context(), options, later.Add(16*time.Second))
	require.NoError(t, err)
	require.Len(t, again, 10, "after the lease they are handed out again")
}
