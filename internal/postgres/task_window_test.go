package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// quest is a shop whose user has a window of the seed's task, from noon to midnight.
type quest struct {
	*shop
	task tasks.Task
}

const player = "buyer"

func newQuest(t testing.TB, change ...func(*tasks.Task)) *quest {
	t.Helper()
	q := &quest{shop: newShop(t, 10, 0), task: testkit.FiveBets()}
	for _, f := range change {
		f(&q.task)
	}
	testkit.StoreTask(t, q.DB, q.task)
	return q
}

func coinsOnly(task *tasks.Task) { task.Reward = tasks.Reward{Coins: 50} }

func (q *quest) window(id string, state tasks.State, change ...func(*tasks.Window)) string {
	q.t.Helper()
	w := tasks.Window{
		WindowID:    id,
		UserID:      player,
		TaskID:      q.task.TaskID,
		Version:     q.task.Version,
		ActivatedAt: q.clock,
		EndsAt:      q.clock.Add(12 * time.Hour),
		State:       state,
	}
	if state == tasks.Completed {
		w.CompletedAt = &q.clock
	}
	for _, f := range change {
		f(&w)
	}
	testkit.StoreWindow(q.t, q.DB, w)
	return id
}

func (q *quest) settle(id string) contract.SettledWindow {
	q.t.Helper()
	settled, err := q.SettleWindow(q.t.Context(), id, q.clock)
	require.NoError(q.t, err)
	return settled
}

func (q *quest) rewards(f postgres.RewardFilter) (rewards []postgres.Reward) {
	q.t.Helper()
	f.Limit = 100
	rewards, err := q.Rewards(q.t.Context(), project, f)
	require.NoError(q.t, err)
	return rewards
}

// reward reads one part.
func (q *quest) reward(id string) postgres.Reward {
	q.t.Helper()
	for _, reward := range q.rewards(postgres.RewardFilter{}) {
		if reward.RewardID == id {
			return reward
		}
	}
	q.t.Fatalf("no reward %s", id)
	return postgres.Reward{}
}

// told lists what the user was told, oldest first.
func (q *quest) told() (kinds []string) {
	q.t.Helper()
	feed, err := q.Notifications(q.t.Context(), project, player, 0, 100)
	require.NoError(q.t, err)
	for i := len(feed) - 1; i >= 0; i-- {
		kinds = append(kinds, feed[i].Kind)
	}
	return kinds
}

// row reads columns of a window as text.
func (q *quest) row(id, columns string) (text string) {
	q.t.Helper()
	require.NoError(q.t, q.Pool().QueryRow(q.t.Context(), "SELECT ("+columns+")::text FROM task_windows WHERE window_id = $1", id).Scan(&text))
	return text
}

func (q *quest) lease(now time.Time) (windows []string) {
	q.t.Helper()
	leased, err := q.LeaseTaskWindows(q.t.Context(), 30*time.Second, 100, now)
	require.NoError(q.t, err)
	for _, w := range leased {
		windows = append(windows, w.Input.WindowID)
	}
	return windows
}

func (q *quest) mark(now time.Time, changes ...postgres.TaskWindowChange) {
	q.t.Helper()
	require.NoError(q.t, q.MarkTaskWindowsTold(q.t.Context(), changes, now))
}

func changed(id string, changes int) postgres.TaskWindowChange {
	return postgres.TaskWindowChange{Input: contract.TaskWindowInput{WindowID: id}, Changes: changes}
}

func TestOpenWindowWaitsThenExpires(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	id, closes := q.window("tw_1", tasks.Open), q.clock.Add(12*time.Hour+5*time.Minute)
	for _, at := range []time.Time{q.clock, closes.Add(-time.Microsecond)} {
		q.clock = at
		settled := q.settle(id)
		require.Equal(t, tasks.Open, settled.State)
		require.True(t, closes.Equal(*settled.Until))
	}
	require.Empty(t, q.told())
	q.clock = closes
	for range 2 {
		require.Equal(t, contract.SettledWindow{State: tasks.Expired}, q.settle(id))
	}
	require.Equal(t, []string{"task_expired"}, q.told())
	require.Equal(t, "(expired,t,t)", q.row(id, "state, live, settled_at IS NOT NULL"))
	require.Empty(t, q.rewards(postgres.RewardFilter{}))
	q.requireClean()
}

// A window that another one has followed is no longer what events look at, once it is closed.
func TestWindowThatWasFollowedIsNotLive(t *testing.T) {
	t.Parallel()
	for state, closed := range map[tasks.State]bool{tasks.Open: true, tasks.Completed: true, tasks.Canceled: false} {
		q := newQuest(t, coinsOnly)
		first := q.window("tw_1", state)
		second := q.window("tw_2", tasks.Open, func(w *tasks.Window) { w.Number, w.EndsAt = 2, q.clock.Add(24*time.Hour) })
		if closed {
			q.clock = q.clock.Add(13 * time.Hour)
		}
		q.settle(first)
		q.settle(second)
		require.Equal(t, !closed, q.row(first, "live") == "true", state)
		require.Equal(t, "true", q.row(second, "live"))
	}
}

func TestCompletedWindowIsPaidOnce(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	id := q.window("tw_1", tasks.Completed)
	want := contract.SettledWindow{
		State: tasks.Completed,
		Reward: &contract.RewardInput{ProjectID: project, RewardID: "tw_1.main_product", UserID: player, TaskID: 123,
			MainProductReward: tasks.MainProductReward{RewardType: "bonus_coins", Amount: decimal.NewFromInt(100)}},
	}
	q.concurrently(20, func(ctx context.Context, _ int) error {
		settled, err := q.SettleWindow(ctx, id, q.clock)
		if err == nil && settled.Reward == nil {
			err = errors.New("no reward")
		}
		return err
	})
	settled := q.settle(id)
	require.True(t, want.Reward.Amount.Equal(settled.Reward.Amount))
	settled.Reward.Amount = want.Reward.Amount
	require.Equal(t, want, settled)
	q.requireWallet(player, 50, 0)
	require.Equal(t, []string{"task_completed"}, q.told())
	require.Equal(t, "false", q.row(id, "settled_at IS NOT NULL"), "the main product still owes")
	q.requireClean()

	coins := q.reward("tw_1.coins")
	require.Equal(t, []any{contract.RewardDelivered, int64(50), "50", q.task.Name}, []any{coins.Status, coins.Coins, coins.NewBalance.String(), coins.TaskName})
	feed, err := q.Notifications(t.Context(), project, player, 0, 1)
	require.NoError(t, err)
	require.JSONEq(t, `{"task_id": 123, "name": "Make 5 bets of 100+ rubles per day", "window_id": "tw_1", "rewards": [
		{"reward_id": "tw_1.coins", "kind": "coins", "coins": 50, "status": "delivered", "new_balance": "50"},
		{"reward_id": "tw_1.main_product", "kind": "main_product", "reward_type": "bonus_coins", "amount": "100", "status": "pending"}]}`, string(feed[0].Detail))

	balance := decimal.NewFromInt(1500)
	result := contract.RewardResult{Status: contract.RewardDelivered, TransactionID: "tx_789", NewBalance: &balance}
	q.concurrently(10, func(ctx context.Context, _ int) error {
		return q.RecordReward(ctx, "tw_1.main_product", result, q.clock)
	})
	require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(id))
	require.Equal(t, []string{"task_completed", "reward_received"}, q.told())
	delivered := q.reward("tw_1.main_product")
	require.Equal(t, []any{contract.RewardDelivered, "tx_789", "1500"}, []any{delivered.Status, delivered.TransactionID, delivered.NewBalance.String()})
	require.Equal(t, "true", q.row(id, "settled_at IS NOT NULL"))
	q.requireWallet(player, 50, 0)
	q.requireClean()
}

func TestRewardWithoutParts(t *testing.T) {
	t.Parallel()
	q := newQuest(t, func(task *tasks.Task) { task.Reward = tasks.Reward{} })
	id := q.window("tw_1", tasks.Completed)
	for range 2 {
		require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(id))
	}
	require.Equal(t, []string{"task_completed"}, q.told())
	require.Empty(t, q.rewards(postgres.RewardFilter{}))
	q.requireClean()
}

// An edit does not change what an open window pays; the budget is the one that holds when it pays.
func TestWindowPaysByItsOwnVersion(t *testing.T) {
	t.Parallel()
	q := newQuest(t, coinsOnly)
	id := q.window("tw_1", tasks.Completed)
	edited := q.task
	edited.Version, edited.Reward, edited.Budget = 2, tasks.Reward{Coins: 7}, tasks.Budget{TotalCoins: 50}
	testkit.StoreTask(t, q.DB, edited)
	q.settle(id)
	q.requireWallet(player, 50, 0)
	q.requireClean()
}

func TestBudgetIsNeverOverspent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		budget  tasks.Budget
		windows []string // one user each, or the same
		paid    int64    // coins
	}{
		"total":       {tasks.Budget{TotalCoins: 120}, []string{"a", "b", "c", "d", "e"}, 100},
		"to the coin": {tasks.Budget{TotalCoins: 100}, []string{"a", "b", "c"}, 100},
		"too small":   {tasks.Budget{TotalCoins: 49}, []string{"a", "b"}, 0},
		"per user":    {tasks.Budget{PerUser: 100}, []string{"a", "a", "a", "b", "b", "b"}, 200},
		"both":        {tasks.Budget{TotalCoins: 150, PerUser: 50}, []string{"a", "a", "b", "c", "d"}, 150},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQuest(t, coinsOnly, func(task *tasks.Task) { task.Budget = test.budget })
			users, windows := map[string]int{}, []string{}
			for i, user := range test.windows {
				if users[user]++; users[user] == 1 {
					q.addUser(user, 0)
				}
				windows = append(windows, q.window("tw_"+string(rune('a'+i)), tasks.Completed, func(w *tasks.Window) { w.UserID, w.Number = user, users[user] }))
			}
			q.concurrently(2*len(windows), func(ctx context.Context, i int) error {
				_, err := q.SettleWindow(ctx, windows[i/2], q.clock)
				return err
			})
			var paid int64
			for _, reward := range q.rewards(postgres.RewardFilter{Statuses: []contract.RewardStatus{contract.RewardDelivered}}) {
				paid += reward.Coins
			}
			require.Equal(t, test.paid, paid)
			over := q.rewards(postgres.RewardFilter{Statuses: []contract.RewardStatus{contract.RewardOverBudget}})
			require.Len(t, over, len(windows)-int(test.paid/50))
			require.Equal(t, "over_budget", over[0].ReasonCode)
			alerts, err := q.Alerts(t.Context(), project, new(true), 0, 10)
			require.NoError(t, err)
			require.Len(t, alerts, 1, "one open alert")
			require.Equal(t, []string{"task_budget_spent", "123"}, []string{alerts[0].Kind, alerts[0].Subject})
			q.requireClean()
		})
	}
}

// The budget is asked again when an admin replays what was over it.
func TestReplayOfARewardOverBudget(t *testing.T) {
	t.Parallel()
	q := newQuest(t, coinsOnly, func(task *tasks.Task) { task.Budget.TotalCoins = 10 })
	id := q.window("tw_1", tasks.Completed)
	require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(id))
	q.requireWallet(player, 0, 0)
	require.Equal(t, []string{"task_completed"}, q.told(), "the user has completed it all the same")
	q.mark(q.clock, changed(id, 1))

	replay := func() postgres.TaskWindowChange {
		change, replayed, err := q.ReplayReward(t.Context(), postgres.RewardReplay{
			ProjectID: project,
			RewardID:  "tw_1.coins",
			Actor:     "admin",
			Reason:    "more budget",
		}, q.clock)
		require.NoError(t, err)
		require.False(t, replayed)
		return change
	}
	change := replay()
	require.Equal(t, postgres.TaskWindowChange{
		Input:    contract.TaskWindowInput{ProjectID: project, WindowID: id, UserID: player, TaskID: 123},
		TaskName: q.task.Name,
		State:    tasks.Completed,
		ClosesAt: change.ClosesAt,
		Changes:  2,
	}, change)
	q.requireClean()
	q.settle(id)
	require.Equal(t, contract.RewardOverBudget, q.reward("tw_1.coins").Status, "there is no more of it")

	q.task.Version, q.task.Budget.TotalCoins = 2, 50
	testkit.StoreTask(t, q.DB, q.task)
	replay()
	for range 2 {
		require.Equal(t, contract.SettledWindow{State: tasks.Completed}, q.settle(id))
	}
	q.requireWallet(player, 50, 0)
	require.Equal(t, []string{"task_completed", "reward_received"}, q.told())
	open, err := q.Alerts(t.Context(), project, new(true), 0, 10)
	require.NoError(t, err)
	require.Empty(t, open)
	q.requireClean()
}

func TestReplayOfWhatTheMainProductDidNotGive(t *testing.T) {
	t.Parallel()
	for _, status := range []contract.RewardStatus{contract.RewardRefused, contract.RewardUndelivered} {
		q := newQuest(t)
		const reward = "tw_1.main_product"
		id := q.window("tw_1", tasks.Completed)
		q.settle(id)
		replay := postgres.RewardReplay{
			ProjectID:   project,
			RewardID:    reward,
			Actor:       "admin",
			Reason:      "try again",
			Idempotency: &postgres.Idempotency{Key: "k"},
		}
		_, _, err := q.ReplayReward(t.Context(), replay, q.clock)
		require.ErrorIs(t, err, postgres.ErrConflict, "it is pending")
		other := replay
		other.ProjectID = 2
		_, _, err = q.ReplayReward(t.Context(), other, q.clock)
		require.ErrorIs(t, err, postgres.ErrNotFound)
		other = replay
		other.RewardID = "tw_9.coins"
		_, _, err = q.ReplayReward(t.Context(), other, q.clock)
		require.ErrorIs(t, err, postgres.ErrNotFound)

		require.NoError(t, q.RecordReward(t.Context(), reward, contract.RewardResult{
			Status:  status,
			Code:    "USER_NOT_FOUND",
			Message: "User not found",
		}, q.clock))
		require.Equal(t, []string{"task_completed"}, q.told())
		owed := q.rewards(postgres.RewardFilter{Statuses: []contract.RewardStatus{contract.RewardRefused, contract.RewardUndelivered}})
		require.Len(t, owed, 1)
		require.Equal(t, []any{status, "USER_NOT_FOUND", "User not found"}, []any{owed[0].Status, owed[0].ReasonCode, owed[0].ReasonMessage})
		require.Nil(t, q.settle(id).Reward)
		q.requireClean()

		var won, lost, repeated atomic.Int64
		q.concurrently(10, func(ctx context.Context, i int) error {
			one := replay
			if i%2 == 0 {
				one.Idempotency = nil
			}
			_, replayed, err := q.ReplayReward(ctx, one, q.clock)
			switch {
			case errors.Is(err, postgres.ErrConflict):
				lost.Add(1)
				return nil
			case replayed:
				repeated.Add(1)
			case err == nil:
				won.Add(1)
			}
			return err
		})
		require.Equal(t, int64(1), won.Load(), "%d lost, %d repeated", lost.Load(), repeated.Load())
		require.Equal(t, "2", q.row(id, "changes"))
		q.requireClean()
		require.Equal(t, reward, q.settle(id).Reward.RewardID)
		require.NoError(t, q.RecordReward(t.Context(), reward, contract.RewardResult{
			Status:        contract.RewardDelivered,
			TransactionID: "tx",
		}, q.clock))
		require.Nil(t, q.settle(id).Reward)
		require.Empty(t, q.reward(reward).ReasonCode)
		_, _, err = q.ReplayReward(t.Context(), postgres.RewardReplay{
			ProjectID: project,
			RewardID:  reward,
			Actor:     "admin",
			Reason:    "again",
		}, q.clock)
		require.ErrorIs(t, err, postgres.ErrConflict, "it is delivered")
		q.requireWallet(player, 50, 0)
		q.requireClean()
	}
}

// Both parts are replayed, and the main product answers first: the window stays open to settling until the coins are
// decided too.
func TestWindowIsNotSettledWhileAnotherPartIsPending(t *testing.T) {
	t.Parallel()
	q := newQuest(t, func(task *tasks.Task) { task.Budget.TotalCoins = 10 })
	id := q.window("tw_1", tasks.Completed)
	q.settle(id)
	_, _, err := q.ReplayReward(t.Context(), postgres.RewardReplay{
		ProjectID: project,
		RewardID:  "tw_1.coins",
		Actor:     "admin",
		Reason:    "test",
	}, q.clock)
	require.NoError(t, err)
	require.NoError(t, q.RecordReward(t.Context(), "tw_1.main_product", contract.RewardResult{
		Status:        contract.RewardDelivered,
		TransactionID: "tx",
	}, q.clock))
	require.Equal(t, "false", q.row(id, "settled_at IS NOT NULL"))
	q.requireClean()
	q.settle(id)
	require.Equal(t, "true", q.row(id, "settled_at IS NOT NULL"))
	require.Equal(t, contract.RewardOverBudget, q.reward("tw_1.coins").Status)
	q.requireClean()
}

// Reports of runs that cross each other: what is given is given, and nothing else overrules an earlier report.
func TestReportsThatComeLate(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	const reward = "tw_1.main_product"
	q.settle(q.window("tw_1", tasks.Completed))
	report := func(status contract.RewardStatus) contract.RewardStatus {
		require.NoError(t, q.RecordReward(t.Context(), reward, contract.RewardResult{Status: status, Code: string(status)}, q.clock))
		return q.reward(reward).Status
	}
	require.Equal(t, contract.RewardUndelivered, report(contract.RewardUndelivered))
	require.Equal(t, contract.RewardUndelivered, report(contract.RewardRefused))
	require.Equal(t, contract.RewardDelivered, report(contract.RewardDelivered))
	require.Equal(t, contract.RewardDelivered, report(contract.RewardUndelivered))
	require.Equal(t, []string{"task_completed", "reward_received"}, q.told())
	require.ErrorIs(t, q.RecordReward(t.Context(), "tw_2.main_product", contract.RewardResult{Status: contract.RewardRefused}, q.clock), postgres.ErrNotFound)
	q.requireClean()
}

func TestRewardCallsAreCountedWhilePending(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	const reward = "tw_1.main_product"
	q.settle(q.window("tw_1", tasks.Completed))
	for range 3 {
		status, err := q.BeginRewardCall(t.Context(), reward)
		require.NoError(t, err)
		require.Equal(t, contract.RewardPending, status)
	}
	require.NoError(t, q.RecordReward(t.Context(), reward, contract.RewardResult{Status: contract.RewardRefused, Code: "NO"}, q.clock))
	status, err := q.BeginRewardCall(t.Context(), reward)
	require.NoError(t, err)
	require.Equal(t, contract.RewardRefused, status)
	require.Equal(t, 3, q.reward(reward).Calls)
	_, err = q.BeginRewardCall(t.Context(), "tw_2.main_product")
	require.ErrorIs(t, err, postgres.ErrNotFound)
}

func TestCancelWindow(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	cancel := postgres.WindowCancel{ProjectID: project, UserID: player, TaskID: 123, Reason: "cheating", Actor: "admin"}
	_, err := q.CancelWindow(t.Context(), cancel, q.clock)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	q.window("tw_1", tasks.Completed)
	_, err = q.CancelWindow(t.Context(), cancel, q.clock)
	require.ErrorIs(t, err, postgres.ErrConflict, "it is completed")
	id := q.window("tw_2", tasks.Open, func(w *tasks.Window) { w.Number = 2 })
	_, err = q.CancelWindow(t.Context(), cancel, q.clock.Add(12*time.Hour+5*time.Minute))
	require.ErrorIs(t, err, postgres.ErrConflict, "its time is up")
	change, err := q.CancelWindow(t.Context(), cancel, q.clock)
	require.NoError(t, err)
	require.Equal(t, []any{id, tasks.Canceled, 2}, []any{change.Input.WindowID, change.State, change.Changes})
	_, err = q.CancelWindow(t.Context(), cancel, q.clock)
	require.ErrorIs(t, err, postgres.ErrConflict)
	for range 2 {
		require.Equal(t, contract.SettledWindow{State: tasks.Canceled}, q.settle(id))
	}
	require.Equal(t, []string{"task_canceled"}, q.told())
	feed, err := q.Notifications(t.Context(), project, player, 0, 1)
	require.NoError(t, err)
	require.NotContains(t, string(feed[0].Detail), "cheating", "why is not the user's to read")
	log, err := q.Audit(t.Context(), project, postgres.AuditFilter{Action: "task_window.cancel", Limit: 10})
	require.NoError(t, err)
	require.JSONEq(t, `{"user_id": "buyer", "task_id": 123, "reason": "cheating"}`, string(log[0].Detail))
	q.requireClean()
}

// A chain: the next task is told of when the last task that it requires is completed for the first time, once, and
// only to those who may see it.
func TestNextTaskOfTheChainIsTold(t *testing.T) {
	t.Parallel()
	q := newQuest(t, coinsOnly)
	other := q.task
	other.TaskID = 124
	testkit.StoreTask(t, q.DB, other)
	hour := q.clock.Add(time.Hour)
	for id, change := range map[int64]func(*tasks.Task){
		200: func(*tasks.Task) {},
		201: func(task *tasks.Task) { task.Status = tasks.Draft },
		202: func(task *tasks.Task) { task.Requires = []int64{123, 124, 200} },
		203: func(task *tasks.Task) { task.StartsAt = &hour },
		204: func(task *tasks.Task) { task.EndsAt = &q.clock },
		205: func(task *tasks.Task) { task.Audience.VIP = true },
		206: func(task *tasks.Task) { task.Audience.Attributes = map[string]string{"country": "DE"} },
		207: func(task *tasks.Task) { task.Audience.UserIDs = []string{"another"} },
		208: func(task *tasks.Task) {
			task.StartsAt, task.EndsAt = &q.clock, &hour
			task.Audience = tasks.Audience{
				Attributes: map[string]string{"country": "FR", "level": "5"},
				UserIDs:    []string{"another", player},
			}
		},
		209: func(task *tasks.Task) { task.Requires = nil },
	} {
		next := q.task
		next.TaskID, next.Name, next.Requires = id, "next", []int64{123, 124}
		change(&next)
		testkit.StoreTask(t, q.DB, next)
	}
	_, _, err := q.PutUser(t.Context(), project, player, postgres.UserEdit{Attributes: json.RawMessage(`{"country": "FR", "level": 5}`)}, q.clock)
	require.NoError(t, err)
	available := func() (found []string) {
		feed, err := q.Notifications(t.Context(), project, player, 0, 100)
		require.NoError(t, err)
		for _, entry := range feed {
			if entry.Kind == "task_available" {
				found = append(found, string(entry.Detail))
			}
		}
		return found
	}
	q.settle(q.window("tw_1", tasks.Completed))
	require.Empty(t, available(), "124 is missing")
	// Both of these are completed before either is settled.
	later := q.clock.Add(time.Second)
	second := q.window("tw_2", tasks.Completed, func(w *tasks.Window) { w.TaskID = 124 })
	again := q.window("tw_3", tasks.Completed, func(w *tasks.Window) { w.Number, w.CompletedAt = 2, &later })
	q.concurrently(4, func(ctx context.Context, i int) error {
		_, err := q.SettleWindow(ctx, []string{second, again}[i%2], q.clock)
		return err
	})
	require.Equal(t, []string{`{"name": "next", "task_id": 208}`, `{"name": "next", "task_id": 200}`}, available())
	q.requireClean()
}

func TestRewardsAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	q.addUser("other", 0)
	for i, id := range []string{"tw_1", "tw_2", "tw_3"} {
		q.settle(q.window(id, tasks.Completed, func(w *tasks.Window) { w.Number, w.UserID = i+1, []string{player, player, "other"}[i] }))
	}
	ids := func(f postgres.RewardFilter) (ids []string) {
		for _, reward := range q.rewards(f) {
			ids = append(ids, reward.RewardID)
		}
		return ids
	}
	pending := []contract.RewardStatus{contract.RewardPending}
	require.Equal(t, []string{"tw_3.main_product", "tw_3.coins", "tw_2.main_product", "tw_2.coins", "tw_1.main_product", "tw_1.coins"}, ids(postgres.RewardFilter{}))
	require.Equal(t, []string{"tw_2.coins", "tw_1.main_product", "tw_1.coins"}, ids(postgres.RewardFilter{Before: "tw_2.main_product"}))
	require.Equal(t, []string{"tw_2.main_product", "tw_2.coins", "tw_1.main_product", "tw_1.coins"}, ids(postgres.RewardFilter{UserID: player}))
	require.Equal(t, []string{"tw_3.main_product", "tw_2.main_product", "tw_1.main_product"}, ids(postgres.RewardFilter{Statuses: pending}))
	require.Equal(t, []string{"tw_1.main_product"}, ids(postgres.RewardFilter{
		Statuses: pending,
		UserID:   player,
		TaskID:   new(int64(123)),
		Before:   "tw_2.coins",
	}))
	require.Equal(t, []string{"tw_3.coins"}, ids(postgres.RewardFilter{
		UserID:   "other",
		Statuses: []contract.RewardStatus{contract.RewardDelivered},
	}))
	require.Empty(t, ids(postgres.RewardFilter{TaskID: new(int64(1))}))
	elsewhere, err := q.Rewards(t.Context(), 2, postgres.RewardFilter{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, elsewhere)
}

func TestWindowsAreLeasedUntilTheirWorkflowsKnow(t *testing.T) {
	t.Parallel()
	q := newQuest(t, coinsOnly)
	begin := q.clock
	id, closes := q.window("tw_1", tasks.Open), begin.Add(12*time.Hour+5*time.Minute)
	require.Empty(t, q.lease(begin.Add(-time.Microsecond)))
	leased, err := q.LeaseTaskWindows(t.Context(), 30*time.Second, 10, begin)
	require.NoError(t, err)
	require.True(t, closes.Equal(leased[0].ClosesAt))
	leased[0].ClosesAt = time.Time{}
	require.Equal(t, []postgres.TaskWindowChange{{Input: contract.TaskWindowInput{
		ProjectID: project,
		WindowID:  id,
		UserID:    player,
		TaskID:    123,
	},
		TaskName: q.task.Name, State: tasks.Open, Changes: 1}}, leased)
	require.Empty(t, q.lease(begin.Add(29*time.Second)))
	require.Equal(t, []string{id}, q.lease(begin.Add(30*time.Second)), "nobody confirmed it")
	q.mark(begin, changed(id, 1), changed("tw_gone", 1))
	require.Empty(t, q.lease(closes.Add(10*time.Minute-time.Microsecond)))
	require.Equal(t, []string{id}, q.lease(closes.Add(10*time.Minute)), "its timer is lost")

	// It changes while it is being told of an earlier change.
	_, err = q.CancelWindow(t.Context(), postgres.WindowCancel{
		ProjectID: project,
		UserID:    player,
		TaskID:    123,
		Actor:     "admin",
	}, begin.Add(time.Hour))
	require.NoError(t, err)
	q.mark(begin.Add(time.Hour), changed(id, 1))
	require.Equal(t, "(1,2)", q.row(id, "told, changes"))
	require.Equal(t, []string{id}, q.lease(begin.Add(time.Hour)))
	q.mark(begin.Add(time.Hour), changed(id, 2), changed(id, 1))
	require.Equal(t, "(2,2)", q.row(id, "told, changes"), "an old report takes nothing back")
	require.Empty(t, q.lease(begin.Add(time.Hour+59*time.Second)))
	require.Equal(t, []string{id}, q.lease(begin.Add(time.Hour+time.Minute)), "it is not settled: the signal, or the run, was lost")
	q.settle(id)
	require.Empty(t, q.lease(begin.Add(1000*time.Hour)))
}

// What is completed and not paid is told of again, less and less often, and not while the main product is asked.
func TestUnsettledWindowIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	begin := q.clock
	id := q.window("tw_1", tasks.Completed)
	for _, after := range []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute,
		64 * time.Minute, 124 * time.Minute, 184 * time.Minute} {
		require.Empty(t, q.lease(begin.Add(after-time.Microsecond)), "%s", after)
		require.Equal(t, []string{id}, q.lease(begin.Add(after)), "%s", after)
		q.mark(begin.Add(after), changed(id, 1))
	}
	q.clock = begin.Add(1000 * time.Hour)
	q.settle(id)
	require.Empty(t, q.lease(q.clock.Add(3*time.Minute)))
	require.Equal(t, []string{id}, q.lease(q.clock.Add(4*time.Minute)), "the run was lost while the main product was asked")
	require.NoError(t, q.RecordReward(t.Context(), "tw_1.main_product", contract.RewardResult{
		Status: contract.RewardUndelivered,
		Code:   "timeout",
	}, q.clock))
	require.Empty(t, q.lease(q.clock.Add(1000*time.Hour)))
}

func TestSettleOfAWindowThatIsNotThere(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	_, err := q.SettleWindow(t.Context(), "tw_9", q.clock)
	require.ErrorIs(t, err, postgres.ErrNotFound)
}

func TestVerifyFindsWrongRewards(t *testing.T) {
	t.Parallel()
	for damage, rule := range map[string]string{
		`DELETE FROM task_rewards WHERE window_id = 'tw_1' AND kind = 'main_product'`:                 "every completed window was rewarded once, as promised",
		`UPDATE task_rewards SET coins = coins + 1`:                                                   "every completed window was rewarded once, as promised",
		`UPDATE task_rewards SET window_id = 'tw_2' WHERE kind = 'coins'`:                             "every completed window was rewarded once, as promised",
		`UPDATE task_rewards SET user_id = 'other'`:                                                   "every completed window was rewarded once, as promised",
		`UPDATE task_rewards SET status = 'pending' WHERE kind = 'main_product'`:                      "windows are settled when nothing of their reward is pending",
		`UPDATE task_windows SET settled_at = NULL WHERE window_id = 'tw_1'`:                          "windows are settled when nothing of their reward is pending",
		`UPDATE task_rewards SET status = 'over_budget' WHERE kind = 'coins'`:                         "rewards moved their coins once",
		`UPDATE task_rewards SET reward_id = 'tw_1.other' WHERE kind = 'coins'`:                       "rewards moved their coins once",
		`UPDATE task_budgets SET spent_coins = spent_coins + 1`:                                       "budgets of tasks equal what was paid",
		`DELETE FROM task_budgets`:                                                                    "budgets of tasks equal what was paid",
		`UPDATE task_windows SET settled_at = NULL, updated_at = updated_at WHERE window_id = 'tw_1'`: "every window that is over is settled in time",
		`UPDATE task_windows SET anchor = anchor - interval '1 day', activated_at = activated_at - interval '1 day', ends_at = ends_at - interval '1 day',
			closes_at = closes_at - interval '1 day' WHERE window_id = 'tw_2'`: "every window that is over is settled in time",
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			q := newQuest(t)
			q.settle(q.window("tw_1", tasks.Completed))
			require.NoError(t, q.RecordReward(t.Context(), "tw_1.main_product", contract.RewardResult{
				Status:        contract.RewardDelivered,
				TransactionID: "tx",
			}, q.clock))
			q.window("tw_2", tasks.Open, func(w *tasks.Window) { w.Number = 2 })
			q.requireClean()
			testkit.Exec(t, q.DB, damage)
			checks, err := q.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, q.clock.Add(30*time.Minute))
			require.NoError(t, err)
			broken := map[string][]string{}
			for _, check := range checks {
				broken[check.Rule] = check.Broken
			}
			require.NotEmpty(t, broken[rule], "%v", broken)
		})
	}
}

// The database is the last guard: what no function does, it refuses.
func TestRewardsAreGuardedByConstraints(t *testing.T) {
	t.Parallel()
	q := newQuest(t)
	q.settle(q.window("tw_1", tasks.Completed))
	for statement, constraint := range map[string]string{
		`INSERT INTO task_rewards SELECT (jsonb_populate_record(r, '{"reward_id": "another"}')).* FROM task_rewards r WHERE kind = 'coins'`:                                                      "task_rewards_window_id_kind_key",
		`INSERT INTO ledger_transfers (project_id, user_id, debit, credit, amount, kind, reference, created_at) VALUES (1, 'buyer', 'issuance', 'available', 50, 'reward', 'tw_1.coins', now())`: "ledger_transfers_once",
		`UPDATE task_windows SET state = 'open', completed_at = NULL`: "task_windows_completed",
		`UPDATE task_budgets SET spent_coins = -1`:                    "task_budgets_spent_coins_check",
	} {
		require.ErrorContains(t, testkit.TryExec(t, q.DB, statement), constraint)
	}
}
