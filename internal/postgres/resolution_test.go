package postgres_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

func (s *shop) resolution(order string, action store.ResolveAction) postgres.Resolution {
	r := postgres.Resolution{
		ProjectID:    project,
		ResolutionID: "res_" + order,
		OrderID:      order,
		Action:       action,
		Reason:       "ticket 7",
		Actor:        "support-1",
	}
	if action == store.ResolveMarkDelivered {
		r.TransactionID = "tx_by_hand_" + order
	}
	return r
}

func (s *shop) resolve(r postgres.Resolution) postgres.Resolved {
	s.t.Helper()
	done, err := s.ResolveOrder(s.t.Context(), r, s.clock)
	require.NoError(s.t, err)
	return done
}

// stuck is an order whose workflow has not been heard of beyond its bound.
func (s *shop) stuck(user string) string {
	order := s.reserve(user)
	s.clock = s.clock.Add(store.DefaultDelivery().Bound() + store.StuckGrace)
	return order
}

func TestSuspectedOrderIsMarkedDelivered(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	s.release(order, 1)
	s.requireWallet("buyer", 250, 0)

	done := s.resolve(s.resolution(order, store.ResolveMarkDelivered))
	require.Equal(t, store.Completed, done.Order.Status)
	require.Equal(t, 2, done.Order.Attempt)
	require.False(t, done.Order.Suspected)
	require.Equal(t, "tx_by_hand_"+order, done.Order.Credit.TransactionID)
	s.requireWallet("buyer", 150, 0)
	s.requireStock(9)
	s.requireClean()

	_, err := s.ResolveOrder(t.Context(), s.resolution(order, store.ResolveRefund), s.clock)
	requireRefusal(t, store.OrderNotResolvable, err)
}

func TestSuspectedOrderIsNotPaidWithCoinsThatAreGone(t *testing.T) {
	t.Parallel()
	for stock, code := range map[int64]store.Code{1: store.OutOfStock, 2: store.InsufficientCoins} {
		s := newShop(t, stock, 100)
		order := s.reserve("buyer")
		s.release(order, 1)
		s.capture(s.reserve("buyer"), 1)
		_, err := s.ResolveOrder(t.Context(), s.resolution(order, store.ResolveMarkDelivered), s.clock)
		requireRefusal(t, code, err)
		s.requireClean()
	}
}

func TestSuspectedOrderIsSettledAsNotDelivered(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	s.release(order, 1)
	done := s.resolve(s.resolution(order, store.ResolveRefund))
	require.Equal(t, store.Canceled, done.Order.Status)
	require.False(t, done.Order.Suspected)
	s.requireWallet("buyer", 250, 0)
	s.requireClean()
}

func TestSuspectedOrderIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	s.release(order, 1)
	r := s.resolution(order, store.ResolveRetry)
	r.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("retry"))}
	done := s.resolve(r)
	require.Equal(t, store.Processing, done.Order.Status)
	require.Equal(t, 2, done.Order.Attempt)
	r.ResolutionID = "res_again"
	require.True(t, s.resolve(r).Replayed)
	s.requireWallet("buyer", 150, 100)
	s.requireClean()
}

func TestStuckOrderIsMarkedDelivered(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	_, err := s.ResolveOrder(t.Context(), s.resolution(order, store.ResolveMarkDelivered), s.clock.Add(time.Minute))
	requireRefusal(t, store.OrderNotResolvable, err)
	s.clock = s.clock.Add(time.Hour)

	require.Equal(t, store.Completed, s.resolve(s.resolution(order, store.ResolveMarkDelivered)).Order.Status)
	require.Equal(t, store.Completed, s.capture(order, 1), "the workflow finds it over")
	require.Equal(t, store.Completed, s.release(order, 1))
	s.requireWallet("buyer", 150, 0)
	s.requireStock(9)
	s.requireClean()
}

func TestStuckOrderIsRefundedAndCreditedLate(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.stuck("buyer")
	done := s.resolve(s.resolution(order, store.ResolveRefund))
	require.Equal(t, store.Canceled, done.Order.Status)
	require.Equal(t, store.RefundedBySupport, done.Order.Reason.Code)
	require.False(t, done.Order.Suspected)
	s.requireWallet("buyer", 250, 0)
	s.requireStock(10)

	require.Equal(t, store.Canceled, s.capture(order, 1), "the workflow's answer comes too late")
	credit := contract.CaptureInput{ProjectID: project, OrderID: order, Attempt: 1, Credit: store.Credit{TransactionID: "tx_late"}}
	for range 2 {
		ended, err := s.NoteLateCredit(t.Context(), credit, s.clock)
		require.NoError(t, err)
		require.True(t, ended)
	}
	got, err := s.GetOrder(t.Context(), project, order)
	require.NoError(t, err)
	require.True(t, got.Suspected)
	timeline, err := s.Timeline(t.Context(), project, order, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"reserved", "canceled", "credited_late"}, []string{timeline[0].Event, timeline[1].Event, timeline[2].Event})
	require.Len(t, timeline, 3)
	s.requireClean()

	other := s.reserve("buyer")
	s.release(other, 1)
	ended, err := s.NoteLateCredit(t.Context(), contract.CaptureInput{OrderID: other, Attempt: 1}, s.clock)
	require.NoError(t, err)
	require.False(t, ended, "not ended by support")
}

func TestUnconfirmedOrderThatIsStuckIsRefunded(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	p := s.purchase("buyer")
	p.Policy = store.Policy{LargePurchase: 1, ConfirmWithin: time.Minute}
	_, err := s.ReservePurchase(t.Context(), p, s.clock)
	require.NoError(t, err)
	s.clock = s.clock.Add(time.Minute + store.StuckGrace)
	require.Equal(t, store.Canceled, s.resolve(s.resolution(p.OrderID, store.ResolveRefund)).Order.Status)
	s.requireWallet("buyer", 250, 0)
	s.requireClean()
}

func TestTransactionOfAnotherOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	s.capture(s.reserve("buyer"), 1)
	r := s.resolution(s.stuck("buyer"), store.ResolveMarkDelivered)
	r.TransactionID = "tx_qp_000001"
	_, err := s.ResolveOrder(t.Context(), r, s.clock)
	require.ErrorIs(t, err, postgres.ErrTransactionClash)
	s.requireWallet("buyer", 50, 100)
}

// Support and the workflow meet at the order row; whoever is first, the coins move once.
func TestResolveRacesWithTheWorkflow(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 2_000)
	orders := make([]string, 20)
	for i := range orders {
		orders[i] = s.reserve("buyer")
	}
	s.clock = s.clock.Add(time.Hour)
	var answers tally
	s.concurrently(3*len(orders), func(ctx context.Context, i int) error {
		order := orders[i/3]
		switch i % 3 {
		case 0:
			_, err := s.ResolveOrder(ctx, s.resolution(order, store.ResolveRefund), s.clock)
			return answers.count(err)
		case 1:
			_, err := s.ResolveOrder(ctx, s.resolution(order, store.ResolveMarkDelivered), s.clock)
			return answers.count(err)
		default:
			_, err := s.CaptureOrder(ctx, contract.CaptureInput{
				OrderID: order,
				Attempt: 1,
				Credit:  store.Credit{TransactionID: "tx_" + order},
			}, s.clock)
			return err
		}
	})
	s.requireClean()
}
