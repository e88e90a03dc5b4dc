package tasks_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

// BenchmarkCountBatch counts batches of 100 events of 50 users, each with 3 tasks: a simple one, one with a
// condition and a sum.
func BenchmarkCountBatch(b *testing.B) {
	simple, condition, sum := fiveBets(), fiveBets(), fiveBets()
	simple.Target = number("1000000000")
	condition.TaskID, condition.Condition, condition.Target = 124, `event.game_type == "roulette" && amount >= 100`, simple.Target
	sum.TaskID, sum.Count, sum.Target = 125, tasks.Count{Mode: tasks.CountSum, Field: "amount"}, simple.Target
	catalog, err := tasks.NewCatalog([]tasks.Task{simple, condition, sum})
	require.NoError(b, err)
	batch := tasks.Batch{
		Now:         parseNow,
		Catalog:     catalog,
		NewWindowID: func() string { return "new" },
		Users:       map[string]tasks.User{},
		Windows:     map[string][]tasks.Window{},
	}
	for i := range 100 {
		event := parsed(b, seedEvent)
		event.UserID = fmt.Sprint("user-", i%50)
		batch.Events = append(batch.Events, event)
		batch.Users[event.UserID] = tasks.User{UserID: event.UserID}
		var windows []tasks.Window
		for _, task := range []tasks.Task{simple, condition, sum} {
			window, refusal := task.Activate(tasks.User{UserID: event.UserID}, nil, parseNow.Add(-time.Hour))
			require.Nil(b, refusal)
			windows = append(windows, window)
		}
		batch.Windows[event.UserID] = windows
	}
	b.ReportAllocs()
	for b.Loop() {
		if outcome := tasks.CountBatch(batch); len(outcome.Changed) != 150 {
			b.Fatal(len(outcome.Changed))
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEventOfNoTask is what most events of a busy site are.
func BenchmarkEventOfNoTask(b *testing.B) {
	catalog, err := tasks.NewCatalog([]tasks.Task{fiveBets()})
	require.NoError(b, err)
	event := parsed(b, seedEvent)
	event.Type = "page_viewed"
	batch := tasks.Batch{
		Now:         parseNow,
		Catalog:     catalog,
		NewWindowID: func() string { return "new" },
		Users:       map[string]tasks.User{"12345": {UserID: "12345"}},
	}
	for range 100 {
		batch.Events = append(batch.Events, event)
	}
	b.ReportAllocs()
	for b.Loop() {
		tasks.CountBatch(batch)
	}
}

func BenchmarkParseEvent(b *testing.B) {
	object := decode(b, seedEvent)
	payload := json.RawMessage(seedEvent)
	b.ReportAllocs()
	for b.Loop() {
		if _, problem := tasks.ParseEvent(object, payload, parseNow, parseLimits); problem != nil {
			b.Fatal(problem)
		}
	}
}
