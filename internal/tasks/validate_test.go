package tasks_test

import (
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/tasks"
)

func number(text string) decimal.Decimal { return decimal.RequireFromString(text) }

func pointer[T any](value T) *T { return &value }

// fiveBets is the task of seed 001: "Make 5 bets of 100+ rubles per day".
func fiveBets() tasks.Task {
	return tasks.Task{
		TaskID: 123, Version: 1, Status: tasks.Published, PublishedAt: pointer(instant("2024-01-01T00:00:00Z")),
		Name: "Make 5 bets of 100+ rubles per day", EventType: "bet_placed",
		MinAmount: pointer(number("100")), Equals: map[string]string{"currency": "RUB"}, Target: number("5"),
		Window: tasks.WindowRule{TimeZone: "Europe/Moscow", GraceSeconds: -1}, Reward: tasks.Reward{Coins: 50},
	}.WithDefaults()
}

func TestSeedsTaskIsValid(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	require.Empty(t, task.Validate())
	require.Equal(t, tasks.Count{Mode: tasks.CountEvents}, task.Count)
	require.Equal(t, tasks.WindowRule{Kind: tasks.Calendar, Unit: tasks.Day, TimeZone: "Europe/Moscow", GraceSeconds: 300}, task.Window)
	require.Equal(t, tasks.Manual, task.Activation)
}

func TestDefaultsKeepWhatIsSaid(t *testing.T) {
	t.Parallel()
	task := tasks.Task{Count: tasks.Count{Mode: tasks.CountSum}}.WithDefaults()
	require.Equal(t, tasks.Draft, task.Status)
	require.Equal(t, "amount", task.Count.Field)
	require.Equal(t, "UTC", task.Window.TimeZone)
	require.Zero(t, task.Window.GraceSeconds)
	require.Equal(t, task, task.WithDefaults())
}

func TestTaskEdges(t *testing.T) {
	t.Parallel()
	sum := tasks.Count{Mode: tasks.CountSum, Field: "amount"}
	distinct := tasks.Count{Mode: tasks.CountDistinct, Field: "game_type"}
	streak := tasks.Count{Mode: tasks.CountStreak}
	ids := func(n int) []int64 {
		list := make([]int64, n)
		for i := range list {
			list[i] = int64(1000 + i)
		}
		return list
	}
	for _, test := range []struct {
		field  string // of the mistake; "" when there is none
		change func(*tasks.Task)
	}{
		{"", func(t *tasks.Task) { t.Name = strings.Repeat("ж", 200) }},
		{"name", func(t *tasks.Task) { t.Name = strings.Repeat("ж", 201) }},
		{"name", func(t *tasks.Task) { t.Name = "" }},
		{"name", func(t *tasks.Task) { t.Name = "a\x00" }},
		{"description", func(t *tasks.Task) { t.Description = strings.Repeat("a", 2001) }},
		{"status", func(t *tasks.Task) { t.Status = "hidden" }},
		{"event_type", func(t *tasks.Task) { t.EventType = "" }},
		{"event_type", func(t *tasks.Task) { t.EventType = "bet placed" }},
		{"", func(t *tasks.Task) { t.MinAmount = pointer(number("0")) }},
		{"min_amount", func(t *tasks.Task) { t.MinAmount = pointer(number("-1")) }},
		{"min_amount", func(t *tasks.Task) { t.MinAmount = pointer(number("0.000000001")) }},
		{"min_amount", func(t *tasks.Task) { t.MinAmount = pointer(number("1e18")) }},
		{"equals", func(t *tasks.Task) { t.Equals = map[string]string{"": "x"} }},
		{"equals", func(t *tasks.Task) { t.Equals = map[string]string{"a": strings.Repeat("x", 201)} }},
		{"equals", func(t *tasks.Task) {
			for i := range 21 {
				t.Equals[strings.Repeat("a", i+1)] = "x"
			}
		}},
		{"", func(t *tasks.Task) { t.Condition = `event.outcome == "win" && amount >= 100` }},
		{"condition", func(t *tasks.Task) { t.Condition = `amount` }},
		{"condition", func(t *tasks.Task) { t.Condition = `amount >` }},
		{"condition", func(t *tasks.Task) { t.Condition = `true || "` + strings.Repeat("x", 2000) + `" == ""` }},
		{"count.mode", func(t *tasks.Task) { t.Count.Mode = "average" }},
		{"count.field", func(t *tasks.Task) { t.Count.Field = "amount" }},
		{"target", func(t *tasks.Task) { t.Target = number("0") }},
		{"target", func(t *tasks.Task) { t.Target = number("1.5") }},
		{"target", func(t *tasks.Task) { t.Target = number("1000000001") }},
		{"", func(t *tasks.Task) { t.Count, t.Target = sum, number("1.5") }},
		{"target", func(t *tasks.Task) { t.Count, t.Target = sum, number("0.000000001") }},
		{"target", func(t *tasks.Task) { t.Count, t.Target = sum, number("-1") }},
		{"", func(t *tasks.Task) { t.Count, t.Target = distinct, number("1000") }},
		{"target", func(t *tasks.Task) { t.Count, t.Target = distinct, number("1001") }},
		{"count.field", func(t *tasks.Task) { t.Count.Mode = tasks.CountDistinct }},
		{"", func(t *tasks.Task) { t.Count, t.Target = streak, number("1") }},
		{"target", func(t *tasks.Task) { t.Count, t.Target = streak, number("2") }},
		{"", func(t *tasks.Task) { t.Count, t.Target, t.Window.Unit = streak, number("7"), tasks.Week }},
		{"target", func(t *tasks.Task) { t.Count, t.Target, t.Window.Unit = streak, number("8"), tasks.Week }},
		{"", func(t *tasks.Task) { t.Count, t.Target, t.Window.Unit = streak, number("28"), tasks.Month }},
		{"target", func(t *tasks.Task) { t.Count, t.Target, t.Window.Unit = streak, number("29"), tasks.Month }},
		{"window.kind", func(t *tasks.Task) { t.Window.Kind = "sliding" }},
		{"window.unit", func(t *tasks.Task) { t.Window.Unit = "year" }},
		{"window.time_zone", func(t *tasks.Task) { t.Window.TimeZone = "Local" }},
		{"window.time_zone", func(t *tasks.Task) { t.Window.TimeZone = "Europe/Atlantis" }},
		{"window.time_zone", func(t *tasks.Task) { t.Window.TimeZone = "../etc/passwd" }},
		{"", func(t *tasks.Task) { t.Window.ResetHour = 23 }},
		{"window.reset_hour", func(t *tasks.Task) { t.Window.ResetHour = 24 }},
		{"window.reset_hour", func(t *tasks.Task) { t.Window.ResetHour = -1 }},
		{"", func(t *tasks.Task) { t.Window.GraceSeconds = 0 }},
		{"", func(t *tasks.Task) { t.Window.GraceSeconds = 86400 }},
		{"window.grace_seconds", func(t *tasks.Task) { t.Window.GraceSeconds = 86401 }},
		{"activation", func(t *tasks.Task) { t.Activation = "never" }},
		{"", func(t *tasks.Task) { t.Requires = ids(20) }},
		{"requires", func(t *tasks.Task) { t.Requires = ids(21) }},
		{"requires", func(t *tasks.Task) { t.Requires = []int64{7, 8, 7} }},
		{"requires", func(t *tasks.Task) { t.Requires = []int64{0} }},
		{"requires", func(t *tasks.Task) { t.Requires = []int64{123} }},
		{"ends_at", func(t *tasks.Task) { t.StartsAt, t.EndsAt = t.PublishedAt, t.PublishedAt }},
		{"starts_at", func(t *tasks.Task) { t.StartsAt = pointer(instant("2024-01-15T12:00:00.5Z")) }},
		{"ends_at", func(t *tasks.Task) { t.EndsAt = pointer(instant("2024-01-15T12:00:00.000001Z")) }},
		{"audience.attributes", func(t *tasks.Task) { t.Audience.Attributes = map[string]string{"\n": ""} }},
		{"audience.user_ids", func(t *tasks.Task) { t.Audience.UserIDs = []string{""} }},
		{"audience.user_ids", func(t *tasks.Task) { t.Audience.UserIDs = make([]string, 1001) }},
		{"", func(t *tasks.Task) { t.Reward = tasks.Reward{} }},
		{"", func(t *tasks.Task) { t.Reward.Coins = ledger.MaxCoins }},
		{"reward.coins", func(t *tasks.Task) { t.Reward.Coins = ledger.MaxCoins + 1 }},
		{"reward.coins", func(t *tasks.Task) { t.Reward.Coins = -1 }},
		{"", func(t *tasks.Task) {
			t.Reward.MainProduct = &tasks.MainProductReward{RewardType: "bonus_coins", Amount: number("100")}
		}},
		{"reward.main_product.reward_type", func(t *tasks.Task) { t.Reward.MainProduct = &tasks.MainProductReward{Amount: number("100")} }},
		{"reward.main_product.amount", func(t *tasks.Task) { t.Reward.MainProduct = &tasks.MainProductReward{RewardType: "bonus_coins"} }},
		{"reward.main_product.amount", func(t *tasks.Task) {
			t.Reward.MainProduct = &tasks.MainProductReward{RewardType: "bonus_coins", Amount: number("0.000000001")}
		}},
		{"", func(t *tasks.Task) { t.Budget = tasks.Budget{TotalCoins: 50, PerUser: 50} }},
		{"budget.total_coins", func(t *tasks.Task) { t.Budget.TotalCoins = 49 }},
		{"budget.total_coins", func(t *tasks.Task) { t.Budget.TotalCoins = -1 }},
		{"budget.per_user", func(t *tasks.Task) { t.Reward.Coins, t.Budget.PerUser = 0, 10 }},
	} {
		task := fiveBets()
		test.change(&task)
		errs := task.Validate()
		if test.field == "" {
			require.Empty(t, errs)
			continue
		}
		require.NotEmpty(t, errs, test.field)
		for _, err := range errs {
			require.Equal(t, test.field, err.Field)
		}
	}
}

func TestEveryMistakeIsListed(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(tasks.Task{}.Validate()), 8)
}

func TestRequiresCycle(t *testing.T) {
	t.Parallel()
	chain := func(id int64, requires ...int64) tasks.Task { return tasks.Task{TaskID: id, Requires: requires} }
	require.Nil(t, tasks.RequiresCycle([]tasks.Task{chain(1), chain(2, 1), chain(3, 1, 2), chain(4, 99)}))
	require.Equal(t, []int64{1, 3, 2}, tasks.RequiresCycle([]tasks.Task{chain(1, 3), chain(2, 1), chain(3, 2)}))
	require.Equal(t, []int64{5}, tasks.RequiresCycle([]tasks.Task{chain(4, 5), chain(5, 5)}))
}
