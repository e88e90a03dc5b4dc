package testkit

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// FiveBets is the task of seed 001, "Make 5 bets of 100+ rubles per day", for 50 coins and 100 bonus coins of the main
// product.
func FiveBets() tasks.Task {
	minimum := decimal.NewFromInt(100)
	return tasks.Task{TaskID: 123, Version: 1, Status: tasks.Published, Name: "Make 5 bets of 100+ rubles per day", EventType: "bet_placed",
		MinAmount: &minimum, Count: tasks.Count{Mode: tasks.CountEvents}, Target: decimal.NewFromInt(5),
		Window: tasks.WindowRule{Kind: tasks.Calendar, Unit: tasks.Day, GraceSeconds: 300}, Activation: tasks.Manual,
		Reward: tasks.Reward{Coins: 50, MainProduct: &tasks.MainProductReward{RewardType: "bonus_coins", Amount: decimal.NewFromInt(100)}}}
}

// StoreTask writes a version of a task as it is, without asking the rules; the highest that was written is
// the current one.
func StoreTask(t testing.TB, db *postgres.DB, task tasks.Task) {
	t.Helper()
	definition, err := json.Marshal(task)
	require.NoError(t, err)
	run := func(statement string, arguments ...any) {
		_, err := db.Pool().Exec(t.Context(), statement, arguments...)
		require.NoError(t, err)
	}
	run(`INSERT INTO tasks (task_id, project_id, version, status, published_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4::text, CASE WHEN $4::text = 'published' THEN now() END, now(), now())
		ON CONFLICT (task_id) DO UPDATE SET version = EXCLUDED.version, status = EXCLUDED.status, published_at = EXCLUDED.published_at`,
		task.TaskID, Project, task.Version, string(task.Status))
	run(`INSERT INTO task_versions (task_id, version, definition, created_at) VALUES ($1, $2, $3, now())`, task.TaskID, task.Version, definition)
}

// StoreWindow writes a window as it is, and an event that completed it if it is. It is the latest of its
// task, its workflow knows nothing of it, and it closes five minutes after its end.
func StoreWindow(t testing.TB, db *postgres.DB, w tasks.Window) {
	t.Helper()
	_, err := db.Pool().Exec(t.Context(), `INSERT INTO task_windows (window_id, project_id, user_id, task_id, version, number, anchor, activated_at, ends_at, closes_at,
			time_zone, target, progress, state, sweep_at, completed_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7::timestamptz, $7::timestamptz, $8, $9, 'UTC', 5, CASE WHEN $10::text = 'completed' THEN 5 ELSE 0 END, $10::text,
			$7::timestamptz, $11::timestamptz, $7::timestamptz, COALESCE($11::timestamptz, $7::timestamptz))`,
		w.WindowID, Project, w.UserID, w.TaskID, w.Version, max(w.Number, 1), w.ActivatedAt, w.EndsAt, w.EndsAt.Add(5*time.Minute), string(w.State), w.CompletedAt)
	require.NoError(t, err)
	if w.State == tasks.Completed {
		StoreCompletion(t, db, w.WindowID, *w.CompletedAt)
	}
}

// StoreCompletion writes an event that added all there is of a window's progress.
func StoreCompletion(t testing.TB, db *postgres.DB, windowID string, at time.Time) {
	t.Helper()
	_, err := db.Pool().Exec(t.Context(), `WITH event AS (
			INSERT INTO events (key, project_id, event_id, identified_by, source, user_id, event_type, occurred_at, received_at, payload, decisions)
			SELECT md5(w.window_id)::uuid, w.project_id, w.window_id, 'event_id', 'rest', w.user_id, 'bet_placed', $2, $2, '{}',
				json_build_array(json_build_object('window_id', w.window_id, 'code', 'counted', 'added', w.progress::text))
			FROM task_windows w WHERE w.window_id = $1
			RETURNING key, received_at)
		INSERT INTO event_keys (key, received_at) SELECT e.key, e.received_at FROM event e`, windowID, at)
	require.NoError(t, err)
}
