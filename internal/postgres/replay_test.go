package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// failed makes so many orders that the main product did not answer.
func (s *shop) failed(user string, n int) []string {
	s.t.Helper()
	orders := make([]string, n)
	for i := range orders {
		orders[i] = s.reserve(user)
		s.release(orders[i], 1)
	}
	return orders
}

func (s *shop) newReplay(id string, filter store.ReplayFilter) {
	s.t.Helper()
	_, _, err := s.CreateReplay(s.t.Context(), postgres.NewReplay{
		ProjectID:     project,
		ReplayID:      id,
		Filter:        filter,
		RatePerSecond: 5,
		Reason:        "the product is back",
		Actor:         "admin",
	}, s.clock)
	require.NoError(s.t, err)
}

func (s *shop) replayAll(id string, orders ...string) {
	s.t.Helper()
	for _, order := range orders {
		require.NoError(s.t, s.ReplayItem(s.t.Context(), id, order, s.clock))
	}
}

func (s *shop) changeReplay(id string, command store.ReplayCommand) error {
	return s.ChangeReplay(s.t.Context(), postgres.ReplayChange{
		ProjectID: project,
		ReplayID:  id,
		Command:   command,
		Actor:     "admin",
		Reason:    "test",
	}, s.clock)
}

func (s *shop) finishReplay(id string) contract.ReplayResult {
	s.t.Helper()
	require.NoError(s.t, s.SettleReplay(s.t.Context(), id))
	result, err := s.FinishReplay(s.t.Context(), contract.ReplayRef{ProjectID: project, ReplayID: id}, s.clock)
	require.NoError(s.t, err)
	return result
}

func (s *shop) progress(id string) store.ReplayProgress {
	s.t.Helper()
	_, progress, err := s.GetReplay(s.t.Context(), project, id)
	require.NoError(s.t, err)
	return progress
}

func (s *shop) countRows(query string) (n int64) {
	s.t.Helper()
	require.NoError(s.t, s.Pool().QueryRow(s.t.Context(), query).Scan(&n))
	return n
}

// coinsOf is so many orders of 100 coins.
func coinsOf(orders int64) store.ReplayTally {
	return store.ReplayTally{Orders: orders, Coins: 100 * orders}
}

var unreachable = store.ReplayFilter{Reason: store.MainProductUnreachable}

func TestReplayTakesWhatThePreviewSays(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 100_000)
	s.addUser("other", 100_000)
	s.addProduct("crystals", 100)
	s.failed("buyer", 30)
	s.clock = s.clock.Add(time.Hour)
	late := s.failed("other", 5)
	refused := s.reserve("buyer")
	_, err := s.ReleaseOrder(t.Context(), contract.ReleaseInput{
		ProjectID: project,
		OrderID:   refused,
		Attempt:   1,
		Reason:    store.ReasonOfRefusal("USER_NOT_FOUND", "", false),
	}, s.clock)
	require.NoError(t, err)
	byHand := s.reserve("buyer")
	_, err = s.ReleaseOrder(t.Context(), contract.ReleaseInput{
		ProjectID: project,
		OrderID:   byHand,
		Attempt:   1,
		Reason:    store.Reason{Code: store.CanceledByOperator},
	}, s.clock)
	require.NoError(t, err)
	unconfirmed := s.reserve("buyer")
	_, err = s.ReleaseOrder(t.Context(), contract.ReleaseInput{
		ProjectID: project,
		OrderID:   unconfirmed,
		Attempt:   1,
		Reason:    store.Reason{Code: store.NotConfirmed},
	}, s.clock)
	require.NoError(t, err)
	s.capture(s.reserve("buyer"), 1)
	s.reserve("buyer")

	yes, no, from, to := true, false, s.clock, s.clock.Add(-time.Second)
	for name, test := range map[string]struct {
		filter store.ReplayFilter
		orders int64
	}{
		"every failure":   {store.ReplayFilter{To: &[]time.Time{s.clock.Add(time.Hour)}[0]}, 36},
		"reason":          {unreachable, 35},
		"refused":         {store.ReplayFilter{Reason: store.MainProductRefused}, 1},
		"by hand":         {store.ReplayFilter{Reason: store.CanceledByOperator}, 1},
		"user":            {store.ReplayFilter{UserID: "other"}, 5},
		"product":         {store.ReplayFilter{SKU: "crystals"}, 0},
		"suspected":       {store.ReplayFilter{Suspected: &yes}, 35},
		"not suspected":   {store.ReplayFilter{Suspected: &no}, 1},
		"from, inclusive": {store.ReplayFilter{From: &from}, 6},
		"to, exclusive":   {store.ReplayFilter{To: &to}, 30},
		"all together":    {store.ReplayFilter{Reason: store.MainProductUnreachable, SKU: "credits-500", UserID: "other", Suspected: &yes, From: &from}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			preview, err := s.PreviewReplay(t.Context(), project, test.filter, 20)
			require.NoError(t, err)
			require.Equal(t, coinsOf(test.orders), preview.Total)
			require.Len(t, preview.Sample, int(min(test.orders, 20)))
			id := "rp_" + name
			_, _, err = s.CreateReplay(t.Context(), postgres.NewReplay{
				ProjectID:     project,
				ReplayID:      id,
				Filter:        test.filter,
				RatePerSecond: 5,
				Reason:        "r",
				Actor:         "a",
			}, s.clock)
			if test.orders == 0 {
				require.ErrorIs(t, err, postgres.ErrNothingToReplay)
				return
			}
			require.NoError(t, err)
			require.Equal(t, coinsOf(test.orders), s.progress(id).Waiting)
			require.NoError(t, s.changeReplay(id, store.CancelReplay))
			require.Equal(t, store.ReplayCanceled, s.finishReplay(id).Status)
		})
	}
	orders, err := s.WaitingItems(t.Context(), contract.ReplayBatch{ReplayID: "rp_user", First: 1, Past: 100})
	require.NoError(t, err)
	require.Empty(t, orders)
	s.newReplay("rp_order", store.ReplayFilter{UserID: "other"})
	orders, err = s.WaitingItems(t.Context(), contract.ReplayBatch{ReplayID: "rp_order", First: 2, Past: 4})
	require.NoError(t, err)
	require.Equal(t, late[1:3], orders, "oldest first, by position")
	other, err := s.PreviewReplay(t.Context(), project+1, unreachable, 20)
	require.NoError(t, err)
	require.Zero(t, other.Total)
	s.requireClean()
}

func TestReplayHasOneOutcomeAnOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 1_000)
	s.addUser("poor", 200)
	s.addUser("blocked", 100)
	orders := s.failed("buyer", 4)
	poor, blocked := s.failed("poor", 1)[0], s.failed("blocked", 1)[0]
	s.newReplay("rp_1", unreachable)
	s.failed("buyer", 1) // fails later: not of the frozen set
	_, err := s.AdjustWallet(t.Context(), postgres.Adjustment{
		ProjectID:    project,
		AdjustmentID: "spent",
		UserID:       "poor",
		Amount:       -150,
		Reason:       "test",
		Actor:        "test",
	}, s.clock)
	require.NoError(t, err)
	_, err = s.SetBlocked(t.Context(), project, "blocked", true, "test", "fraud", s.clock)
	require.NoError(t, err)
	_, err = s.ReplayOrder(t.Context(), postgres.Replay{ProjectID: project, OrderID: orders[3], Actor: "somebody else"}, s.clock)
	require.NoError(t, err)

	for range 3 { // at least once means more than once
		s.replayAll("rp_1", append(orders, poor, blocked, "qp_none")...)
	}
	require.Equal(t, coinsOf(3), s.progress("rp_1").InFlight)
	require.Equal(t, store.ReplayRunning, s.finishReplay("rp_1").Status, "not before every order has its outcome")
	s.requireClean()

	s.capture(orders[0], 2)
	s.capture(orders[1], 2)
	s.release(orders[2], 2)
	require.NoError(t, s.SettleReplay(t.Context(), "rp_1"))
	_, err = s.ReplayOrder(t.Context(), postgres.Replay{ProjectID: project, OrderID: orders[2], Actor: "somebody else"}, s.clock)
	require.NoError(t, err, "what happens to an order later is not this replay's")
	s.capture(orders[2], 3)
	result := s.finishReplay("rp_1")
	require.Equal(t, store.ReplayCompleted, result.Status)
	require.Equal(t, store.ReplayProgress{
		Total: coinsOf(6), Completed: coinsOf(2), Canceled: coinsOf(1), Refused: coinsOf(2), Skipped: coinsOf(1),
		Reasons: []store.ReplayReason{
			{Outcome: store.ItemCanceled, Code: "main_product_unreachable", ReplayTally: coinsOf(1)}, {Outcome: store.ItemRefused, Code: "insufficient_coins", ReplayTally: coinsOf(1)},
			{Outcome: store.ItemRefused, Code: "user_blocked", ReplayTally: coinsOf(1)}, {Outcome: store.ItemSkipped, Code: "order_not_replayable", ReplayTally: coinsOf(1)},
		},
	}, *result.Report)
	require.Equal(t, result, s.finishReplay("rp_1"), "the report is written once")
	got, _, err := s.GetReplay(t.Context(), project, "rp_1")
	require.NoError(t, err)
	require.Equal(t, result.Report, got.Report)
	require.NotNil(t, got.FinishedAt)
	spent := s.countRows(`SELECT sum(t.amount) FROM ledger_transfers t JOIN replay_items i ON t.reference = i.order_id || '#' || i.attempt WHERE t.kind = 'capture' AND i.replay_id = 'rp_1'`)
	require.Equal(t, result.Report.Completed.Coins, spent, "the report agrees with the ledger")
	s.requireClean()
}

func TestReplayOutcomeIsOfItsOwnAttempt(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 1_000)
	order := s.failed("buyer", 1)[0]
	s.newReplay("rp_1", unreachable)
	s.replayAll("rp_1", order)
	s.release(order, 2)
	s.newReplay("rp_2", unreachable) // before the first was settled
	s.replayAll("rp_2", order)
	s.capture(order, 3)
	require.Equal(t, coinsOf(1), s.finishReplay("rp_1").Report.Canceled)
	require.Equal(t, coinsOf(1), s.finishReplay("rp_2").Report.Completed)
	s.requireClean()
}

func TestReplayItemIsTakenByOne(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, 10_000)
	orders := s.failed("buyer", 20)
	s.newReplay("rp_1", unreachable)
	s.newReplay("rp_2", unreachable)
	s.concurrently(8, func(ctx context.Context, i int) error {
		for _, order := range orders {
			if err := s.ReplayItem(ctx, fmt.Sprint("rp_", i%2+1), order, s.clock); err != nil {
				return err
			}
		}
		return nil
	})
	first, second := s.progress("rp_1"), s.progress("rp_2")
	require.EqualValues(t, 20, first.InFlight.Orders+second.InFlight.Orders)
	require.EqualValues(t, 20, first.Skipped.Orders+second.Skipped.Orders)
	s.requireWallet("buyer", 8_000, 2_000)
	s.requireClean()
}

func TestPauseStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 100_000)
	orders := s.failed("buyer", 60)
	s.newReplay("rp_1", unreachable)
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for i, order := range orders {
			if i == 5 {
				close(begun)
			}
			err = errors.Join(err, s.ReplayItem(t.Context(), "rp_1", order, s.clock))
		}
		done <- err
	}()
	<-begun
	require.NoError(t, s.changeReplay("rp_1", store.PauseReplay))
	before := s.progress("rp_1")
	require.Positive(t, before.Waiting.Orders)
	require.NoError(t, <-done)
	require.Equal(t, before, s.progress("rp_1"), "not one more")
	require.NoError(t, s.changeReplay("rp_1", store.PauseReplay), "paused is paused")
	require.NoError(t, s.changeReplay("rp_1", store.ResumeReplay))
	s.replayAll("rp_1", orders...)
	require.EqualValues(t, 60, s.progress("rp_1").InFlight.Orders)
	require.EqualValues(t, 2, s.countRows(`SELECT count(*) FROM audit_log WHERE action IN ('replay.pause', 'replay.resume') AND detail = '{"reason": "test"}'`))
	s.requireClean()
}

func TestCancelSkipsWhatWaits(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 100_000)
	orders := s.failed("buyer", 10)
	s.newReplay("rp_1", unreachable)
	s.replayAll("rp_1", orders[:4]...)
	require.NoError(t, s.changeReplay("rp_1", store.CancelReplay))
	s.replayAll("rp_1", orders...)
	require.Equal(t, coinsOf(6), s.progress("rp_1").Skipped)
	require.ErrorIs(t, s.changeReplay("rp_1", store.ResumeReplay), postgres.ErrConflict)
	require.Equal(t, store.ReplayCanceling, s.finishReplay("rp_1").Status)
	for _, order := range orders[:4] {
		s.capture(order, 2)
	}
	result := s.finishReplay("rp_1")
	require.Equal(t, store.ReplayCanceled, result.Status)
	require.Equal(t, coinsOf(4), result.Report.Completed)
	require.NoError(t, s.changeReplay("rp_1", store.CancelReplay), "canceled is canceled")
	require.ErrorIs(t, s.changeReplay("rp_1", store.PauseReplay), postgres.ErrConflict)
	require.ErrorIs(t, s.changeReplay("rp_none", store.PauseReplay), postgres.ErrNotFound)
	s.requireClean()
}

func TestOneKeyMakesOneReplay(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1_000, 100_000)
	s.failed("buyer", 3)
	var made atomic.Int64
	s.concurrently(10, func(ctx context.Context, i int) error {
		_, replayed, err := s.CreateReplay(ctx, postgres.NewReplay{
			ProjectID:     project,
			ReplayID:      fmt.Sprint("rp_", i),
			Filter:        unreachable,
			RatePerSecond: 5,
			Reason:        "r",
			Actor:         "a",
			Idempotency:   &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("body"))},
		}, s.clock)
		if !replayed {
			made.Add(1)
		}
		return err
	})
	require.EqualValues(t, 1, made.Load())
	replays, err := s.ListReplays(t.Context(), project, "", 10)
	require.NoError(t, err)
	require.Len(t, replays, 1)
	require.EqualValues(t, 1, s.countRows(`SELECT count(*) FROM audit_log WHERE action = 'replay.create'`))
}
