package tasks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

func parsed(t require.TestingT, text string) tasks.Event {
	event, problem := tasks.ParseEvent(decode(t, text), json.RawMessage(text), parseNow, parseLimits)
	require.Nil(t, problem)
	return event
}

func try(t require.TestingT, condition string, event tasks.Event) tasks.Decision {
	decision, err := tasks.Task{EventType: "bet_placed", Condition: condition}.WithDefaults().Try(event)
	require.NoError(t, err)
	return decision
}

func TestConditions(t *testing.T) {
	t.Parallel()
	event := parsed(t, strings.Replace(seedEvent, `"bet_type": "red"`,
		`"bet_type": "red", "odds": 2, "player": {"level": 7, "tags": ["new", "vip"]}, "text amount": "12.5", "big": 1e999, "none": null`, 1))
	for condition, want := range map[string]tasks.Code{
		``:                                      tasks.Counted,
		`event.game_type == "roulette"`:         tasks.Counted,
		`event.game_type == "slots"`:            tasks.ConditionFalse,
		`amount >= 250`:                         tasks.Counted,
		`amount > 250`:                          tasks.ConditionFalse,
		`event.amount == 250 && event.odds < 3`: tasks.Counted,
		`event.odds * 2.0 == 4.0`:               tasks.Counted,
		`event.odds in [1, 2, 3]`:               tasks.Counted,
		`currency == "RUB" && user_id == "12345" && event_type == "bet_placed"`: tasks.Counted,
		`timestamp.getHours("Europe/Moscow") == 17`:                             tasks.Counted,
		`timestamp < timestamp("2024-01-15T14:30:01Z")`:                         tasks.Counted,
		`"vip" in event.player.tags && event.player.level >= 5`:                 tasks.Counted,
		`event.player.tags.exists(t, t.startsWith("v"))`:                        tasks.Counted,
		`event["game_type"].matches("^rou.*e$")`:                                tasks.Counted,
		`has(event.outcome) && !has(event.bonus)`:                               tasks.Counted,
		`event.none == null`:                                                    tasks.Counted,
		`event.bonus == 1`:                                                      tasks.ConditionFailed,
		`event.bonus == 1 || amount > 1`:                                        tasks.Counted,
		`event.game_type > 5`:                                                   tasks.ConditionFailed,
		`event.game_type`:                                                       tasks.ConditionFailed,
		`event.big > 1`:                                                         tasks.ConditionFailed,
		`double(event["text amount"]) > 12`:                                     tasks.Counted,
	} {
		require.Equal(t, want, try(t, condition, event).Code, condition)
	}
}

func TestConditionShowsTheFieldsThatItNames(t *testing.T) {
	t.Parallel()
	event := parsed(t, strings.Replace(seedEvent, `"bet_type": "red"`, `"bet_type": "red", "player": {"level": 7}`, 1))
	decision := try(t, `event.game_type == "slots" && event.player.level > 3 && amount > 100 && event["outcome"] == "win"`, event)
	require.Equal(t, map[string]string{"game_type": "roulette", "player.level": "7", "amount": "250.00", "outcome": "win"}, decision.Values)

	decision = try(t, `event.bonus > 3`, event)
	require.Equal(t, tasks.ConditionFailed, decision.Code)
	require.Contains(t, decision.Values["error"], "bonus")
}

func TestAConditionWithoutAnAmountFails(t *testing.T) {
	t.Parallel()
	event := parsed(t, strings.Replace(seedEvent, `"amount": 250.00,`, ``, 1))
	require.Equal(t, tasks.ConditionFailed, try(t, `amount >= 100`, event).Code)
}

func TestNoConditionHangs(t *testing.T) {
	t.Parallel()
	numbers := strings.Repeat("1,", 4000) + "1"
	event := parsed(t, strings.Replace(seedEvent, `"bet_type": "red"`, `"bet_type": ["`+strings.Repeat("a", 5000)+`", `+numbers+`]`, 1))
	for _, condition := range []string{
		`event.bet_type.all(a, event.bet_type.all(b, event.bet_type.all(c, true)))`,
		`event.bet_type[0].matches("(a+)+$")` + strings.Repeat(` && event.bet_type[0].matches("(a+)+$")`, 40),
	} {
		decision := try(t, condition, event)
		require.Equal(t, tasks.ConditionFailed, decision.Code)
		require.Contains(t, decision.Values["error"], "cost limit")
	}
	decision := try(t, `event.bet_type[0] == "b"`, event)
	require.LessOrEqual(t, len(decision.Values["bet_type"]), 300)
}

func TestConditionsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	for _, condition := range []string{`1`, `amount + `, `nothing == 1`, `amount == "x"`, `event.a.matches("(")x`, strings.Repeat("(", 1000), strings.Repeat(" ", 2001) + "true"} {
		_, err := tasks.NewCondition(condition)
		require.Error(t, err, condition)
		require.LessOrEqual(t, len(err.Error()), 300)
	}
}

func TestOneConditionServesManyAtOnce(t *testing.T) {
	t.Parallel()
	task := fiveBets()
	task.Condition = `event.player.level == amount`
	catalog, err := tasks.NewCatalog([]tasks.Task{task})
	require.NoError(t, err)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			text := strings.Replace(seedEvent, `"bet_type": "red"`, fmt.Sprintf(`"player": {"level": %d}`, 100+i), 1)
			event := parsed(t, strings.Replace(text, "250.00", fmt.Sprint(100+i), 1))
			for range 100 {
				outcome := tasks.CountBatch(tasks.Batch{
					Now:         parseNow,
					Catalog:     catalog,
					NewWindowID: func() string { return "new" },
					Events:      []tasks.Event{event},
					Users:       map[string]tasks.User{"12345": {UserID: "12345"}},
					Windows:     map[string][]tasks.Window{"12345": {running(task)}},
				})
				if outcome.Decisions[0][0].Code != tasks.Counted {
					t.Errorf("%v", outcome.Decisions[0][0])
				}
			}
		})
	}
	group.Wait()
}

// running is a window of the day of the seed's event, activated in the morning.
func running(task tasks.Task) tasks.Window {
	window, refusal := task.Activate(tasks.User{UserID: "12345"}, nil, instant("2024-01-15T09:00:00+03:00"))
	if refusal != nil {
		panic(refusal)
	}
	window.WindowID = "w_1"
	return window
}
