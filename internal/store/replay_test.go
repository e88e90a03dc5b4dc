package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/store"
)

func TestDecideReplayCommand(t *testing.T) {
	t.Parallel()
	const late = store.ReplayStatus("")
	want := map[store.ReplayCommand][5]store.ReplayStatus{
		store.PauseReplay:  {store.ReplayPaused, store.ReplayPaused, late, late, late},
		store.ResumeReplay: {store.ReplayRunning, store.ReplayRunning, late, late, late},
		store.CancelReplay: {store.ReplayCanceling, store.ReplayCanceling, store.ReplayCanceling, store.ReplayCanceled, late},
	}
	from := [5]store.ReplayStatus{store.ReplayRunning, store.ReplayPaused, store.ReplayCanceling, store.ReplayCanceled, store.ReplayCompleted}
	for command, leads := range want {
		for i, status := range from {
			next, ok := store.DecideReplayCommand(status, command)
			require.Equal(t, leads[i] != late, ok, "%s while %s", command, status)
			if ok {
				require.Equal(t, leads[i], next, "%s while %s", command, status)
			}
		}
	}
}

func TestReplayFilter(t *testing.T) {
	t.Parallel()
	require.NotContains(t, store.ReplayFilter{}.Reasons(), store.NotConfirmed)
	require.NotContains(t, store.ReplayFilter{}.Reasons(), store.CanceledByOperator)
	require.Equal(t, []store.ReasonCode{store.CanceledByOperator}, store.ReplayFilter{Reason: store.CanceledByOperator}.Reasons())
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	later := at.Add(time.Microsecond)
	require.False(t, store.ReplayFilter{From: &at, To: &later}.EmptyRange())
	require.True(t, store.ReplayFilter{From: &at, To: &at}.EmptyRange())
	require.True(t, store.ReplayFilter{From: &later, To: &at}.EmptyRange())
	require.False(t, store.ReplayFilter{From: &later}.EmptyRange())
}

func TestReplayPace(t *testing.T) {
	t.Parallel()
	for rate, want := range map[float64]struct {
		orders int64
		every  time.Duration
	}{
		0.1: {1, 10 * time.Second}, 1: {1, time.Second}, 1.5: {1, 666_666_667}, 2.5: {2, 800 * time.Millisecond},
		5: {5, time.Second}, 100: {100, time.Second},
	} {
		orders, every := store.ReplayPace(rate)
		require.Equal(t, want.orders, orders, "rate %v", rate)
		require.Equal(t, want.every, every, "rate %v", rate)
	}
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(store.MinReplayRate, store.MaxReplayRate).Draw(t, "rate")
		orders, every := store.ReplayPace(rate)
		require.InEpsilon(t, rate, float64(orders)/every.Seconds(), 1e-6)
		require.GreaterOrEqual(t, every, 500*time.Millisecond, "few steps, however fast")
	})
}

func TestSumReplay(t *testing.T) {
	t.Parallel()
	one := store.ReplayTally{Orders: 1, Coins: 100}
	two := store.ReplayTally{Orders: 2, Coins: 300}
	progress := store.SumReplay([]store.ReplayCount{
		{State: store.ItemWaiting, ReplayTally: one}, {State: store.ItemReplayed, ReplayTally: one}, {State: store.ItemCompleted, ReplayTally: two},
		{State: store.ItemCanceled, Reason: "main_product_refused", ReplayTally: one},
		{State: store.ItemRefused, Reason: "out_of_stock", ReplayTally: one}, {State: store.ItemRefused, Reason: "user_blocked", ReplayTally: two},
		{State: store.ItemSkipped, Reason: store.SkippedNotCanceled, ReplayTally: one},
	})
	require.Equal(t, store.ReplayTally{Orders: 9, Coins: 1_100}, progress.Total)
	require.Equal(t, []store.ReplayTally{one, one, two, one, {Orders: 3, Coins: 400}, one},
		[]store.ReplayTally{progress.Waiting, progress.InFlight, progress.Completed, progress.Canceled, progress.Refused, progress.Skipped})
	require.Len(t, progress.Reasons, 4)
	require.Equal(t, store.ReplayReason{Outcome: store.ItemRefused, Code: "user_blocked", ReplayTally: two}, progress.Reasons[2])
	require.NotNil(t, store.SumReplay(nil).Reasons, "a list in JSON, not null")
}
