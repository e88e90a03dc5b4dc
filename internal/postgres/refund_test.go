package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func (s *shop) refund(order string, coins int64) postgres.Refund {
	return postgres.Refund{
		ProjectID:   project,
		RefundID:    fmt.Sprintf("rfd_%06d", s.ids.Add(1)),
		OrderID:     order,
		AmountCoins: coins,
		Reason:      "goodwill",
		Actor:       "admin-1",
	}
}

func TestRefundInParts(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 250)
	order := s.reserve("buyer")
	_, err := s.RefundOrder(t.Context(), s.refund(order, 0), s.clock)
	requireRefusal(t, store.OrderNotRefundable, err)
	s.capture(order, 1)

	r := s.refund(order, 30)
	r.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("refund"))}
	done, err := s.RefundOrder(t.Context(), r, s.clock)
	require.NoError(t, err)
	require.Equal(t, []any{int64(30), int64(30), store.Completed}, []any{done.AmountCoins, done.Order.RefundedCoins, done.Order.Status})
	first := r.RefundID
	r.RefundID = "rfd_other"
	done, err = s.RefundOrder(t.Context(), r, s.clock)
	require.NoError(t, err)
	require.Equal(t, []any{true, first, int64(30)}, []any{done.Replayed, done.RefundID, done.AmountCoins})

	_, err = s.RefundOrder(t.Context(), s.refund(order, 71), s.clock)
	requireRefusal(t, store.RefundTooLarge, err)
	s.requireWallet("buyer", 180, 0)
	s.requireClean()

	done, err = s.RefundOrder(t.Context(), s.refund(order, 0), s.clock)
	require.NoError(t, err)
	require.Equal(t, []any{int64(70), int64(100), store.Refunded}, []any{done.AmountCoins, done.Order.RefundedCoins, done.Order.Status})
	require.Equal(t, store.Refunded, s.capture(order, 1), "a late capture changes nothing")
	s.requireWallet("buyer", 250, 0)
	s.requireStock(9)
	s.requireClean()
	feed, err := s.Notifications(t.Context(), project, "buyer", 0, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"purchase_refunded", "purchase_refunded", "purchase_completed"}, []string{feed[0].Kind, feed[1].Kind, feed[2].Kind})
	require.ErrorContains(t, testkit.TryExec(t, s.DB, `UPDATE orders SET refunded_coins = 101`), "orders_refunded")
}

func TestParallelRefundsNeverExceedThePrice(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 100)
	order := s.reserve("buyer")
	s.capture(order, 1)
	var answers tally
	s.concurrently(20, func(ctx context.Context, _ int) error {
		_, err := s.RefundOrder(ctx, s.refund(order, 15), s.clock)
		return answers.count(err)
	})
	require.EqualValues(t, 6, answers.of(""))
	require.EqualValues(t, 14, answers.of(string(store.RefundTooLarge)))
	s.requireWallet("buyer", 90, 0)
	s.requireClean()
}

func TestSecondAdminApproves(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 350)
	policy := store.Policy{ApprovalLimit: 99}
	completed, suspected := s.reserve("buyer"), s.reserve("buyer")
	s.capture(completed, 1)
	s.release(suspected, 1)
	s.requireWallet("buyer", 250, 0)

	refund := s.refund(completed, 60)
	refund.Policy = policy
	done, err := s.RefundOrder(t.Context(), refund, s.clock)
	require.NoError(t, err)
	require.Nil(t, done.Approval, "60 is below the limit")
	refund = s.refund(completed, 0)
	refund.Policy = policy
	refund.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("refund"))}
	done, err = s.RefundOrder(t.Context(), refund, s.clock)
	require.NoError(t, err)
	require.NotNil(t, done.Approval, "100 in sum is above the limit")
	require.EqualValues(t, 40, done.Approval.AmountCoins)
	again := refund
	again.RefundID = "rfd_other"
	replayed, err := s.RefundOrder(t.Context(), again, s.clock)
	require.NoError(t, err)
	require.Equal(t, done.Approval.ApprovalID, replayed.Approval.ApprovalID)

	resolution := s.resolution(suspected, store.ResolveMarkDelivered)
	resolution.Policy, resolution.Actor = policy, "admin-1"
	resolved, err := s.ResolveOrder(t.Context(), resolution, s.clock)
	require.NoError(t, err)
	adjusted, err := s.AdjustWallet(t.Context(), postgres.Adjustment{
		ProjectID:    project,
		AdjustmentID: "adj_1",
		UserID:       "buyer",
		Amount:       -100,
		Reason:       "x",
		Actor:        "admin-1",
		Policy:       policy,
	}, s.clock)
	require.NoError(t, err)
	s.requireWallet("buyer", 310, 0)

	for _, approval := range []*postgres.Approval{done.Approval, resolved.Approval, adjusted.Approval} {
		decision := postgres.Decision{ProjectID: project, ApprovalID: approval.ApprovalID, Approve: true, Actor: "admin-1"}
		_, _, err = s.DecideApproval(t.Context(), decision, s.clock)
		require.ErrorIs(t, err, postgres.ErrSecondAdminRequired)
		// Of ten other admins who approve and reject at once, one decides.
		var carriedOut atomic.Int64
		var answers tally
		s.concurrently(10, func(ctx context.Context, i int) error {
			decision := decision
			decision.Actor = fmt.Sprint("admin-", i+2)
			_, _, err := s.DecideApproval(ctx, decision, s.clock)
			if err == nil {
				carriedOut.Add(1)
			}
			return answers.count(err)
		})
		require.EqualValues(t, 1, carriedOut.Load())
		require.EqualValues(t, 9, answers.of("conflict"))
	}
	s.requireWallet("buyer", 310+40-100-100, 0)
	s.requireClean()
	approvals, err := s.Approvals(t.Context(), project, "approved", "", 10)
	require.NoError(t, err)
	require.Len(t, approvals, 3)
}

func TestRejectedActDoesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, 100)
	adjust := func(id string, amount int64) *postgres.Approval {
		done, err := s.AdjustWallet(t.Context(), postgres.Adjustment{
			ProjectID:    project,
			AdjustmentID: id,
			UserID:       "buyer",
			Amount:       amount,
			Reason:       "x",
			Actor:        "admin-1",
			Policy:       store.Policy{ApprovalLimit: 10},
		}, s.clock)
		require.NoError(t, err)
		return done.Approval
	}
	rejected := adjust("adj_1", 1_000)
	decision := postgres.Decision{ProjectID: project, ApprovalID: rejected.ApprovalID, Actor: "admin-1", Reason: "typo"}
	approval, _, err := s.DecideApproval(t.Context(), decision, s.clock)
	require.NoError(t, err)
	require.Equal(t, "rejected", approval.Status)
	decision.Approve, decision.Actor = true, "admin-2"
	_, _, err = s.DecideApproval(t.Context(), decision, s.clock)
	require.ErrorIs(t, err, postgres.ErrConflict)

	// What can't be carried out stays pending.
	impossible := adjust("adj_2", -80)
	s.reserve("buyer")
	decision.ApprovalID = impossible.ApprovalID
	_, _, err = s.DecideApproval(t.Context(), decision, s.clock)
	require.ErrorContains(t, err, "insufficient coins")
	pending, err := s.GetApproval(t.Context(), project, impossible.ApprovalID)
	require.NoError(t, err)
	require.Equal(t, "pending", pending.Status)
	_, _, err = s.DecideApproval(t.Context(), postgres.Decision{ProjectID: project, ApprovalID: "apr_none", Actor: "x"}, s.clock)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	s.requireWallet("buyer", 0, 100)
	s.requireClean()
}
