package tasks_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

func TestShadowRun(t *testing.T) {
	t.Parallel()
	draft := recurring(fiveBets())
	draft.Status, draft.PublishedAt, draft.Target = tasks.Draft, nil, number("2")
	draft.StartsAt = pointer(instant("2030-01-01T00:00:00Z")) // next time
	draft.Reward.MainProduct = &tasks.MainProductReward{RewardType: "bonus_coins", Amount: number("1.5")}
	draft.Budget = tasks.Budget{TotalCoins: 150, PerUser: 100}
	users := map[string]tasks.User{"a": {UserID: "a"}, "b": {UserID: "b"}, "late": {UserID: "late", CreatedAt: instant("2024-01-16T12:00:00+03:00")}}
	var events []tasks.Event
	for day := 14; day <= 18; day++ {
		for _, user := range []string{"a", "a", "a", "b", "b", "late", "stranger"} {
			events = append(events, bet(fmt.Sprintf("2024-01-%dT10:00:00+03:00", day), "user_id="+user))
		}
		events = append(events, bet(fmt.Sprintf("2024-01-%dT11:00:00+03:00", day), "user_id=late", "amount=1"), bet(fmt.Sprintf("2024-01-%dT11:00:00+03:00", day), "event_type=deposit"))
	}
	shadow, err := tasks.NewShadow(draft, instant("2024-01-15T00:00:00+03:00"), instant("2024-01-18T00:00:00+03:00"))
	require.NoError(t, err)
	shadow.Count(users, events[:11])
	shadow.Count(users, events[11:])
	report := shadow.Report()
	require.Equal(t, int64(24), report.Events, "of three days")
	require.Equal(t, map[tasks.Code]int64{tasks.Counted: 13, tasks.AlreadyCompleted: 3, tasks.UnknownUser: 3, tasks.BeforeActivation: 4, tasks.TooSmall: 1}, report.Decisions)
	require.Equal(t, int64(3), report.Users)
	require.Equal(t, int64(6), report.Completions)
	require.Equal(t, []tasks.ShadowUser{{UserID: "a", Completions: 3, Coins: 100}, {UserID: "b", Completions: 3, Coins: 50}}, report.Completed)
	require.Equal(t, int64(150), report.Coins)
	require.Equal(t, int64(3), report.OverBudget)
	require.Equal(t, "9", report.MainProduct.String())
}

func TestShadowRunOfAnAutomaticChain(t *testing.T) {
	t.Parallel()
	task := automatic(fiveBets())
	task.Target, task.Requires = number("1"), []int64{7}
	shadow, err := tasks.NewShadow(task, instant("2024-01-15T00:00:00+03:00"), instant("2024-01-16T00:00:00+03:00"))
	require.NoError(t, err)
	shadow.Count(map[string]tasks.User{"12345": seedUser}, []tasks.Event{bet("2024-01-15T10:00:00+03:00")})
	require.Zero(t, shadow.Report().Completions)

	_, err = tasks.NewShadow(tasks.Task{Condition: "("}, parseNow, parseNow)
	require.Error(t, err)
}
