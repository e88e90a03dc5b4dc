package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rs/xid"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	betsTask   = 1       // whose windows count events
	idleTask   = 2       // whose windows are only open
	playerForm = "%06d"  // of a player's number
	player     = "play-" // of user ids
	eventKey   = "bench-main-product-events-key"
)

// seedTasks writes the tasks and the key of the main product.
func seedTasks(ctx context.Context, db *postgres.DB, now time.Time) error {
	hash := sha256.Sum256([]byte(eventKey))
	if err := db.PutAPIKey(ctx, postgres.APIKey{
		KeyID:     "key_bench_events",
		ProjectID: project,
		Role:      "main_product",
	}, hash[:], now); err != nil {
		return err
	}
	minimum := decimal.NewFromInt(100)
	for id, eventType := range map[int64]string{betsTask: "bet_placed", idleTask: "deposit_made", burstTask: "level_up"} {
		target := int64(1_000_000_000)
		if id == burstTask {
			target = 1
		}
		task := tasks.Task{
			TaskID:    id,
			Status:    tasks.Published,
			Name:      "A billion bets of 100+ rubles",
			EventType: eventType,
			MinAmount: &minimum,
			Target:    decimal.NewFromInt(target),
			Window:    tasks.WindowRule{Kind: tasks.Rolling, Unit: tasks.Month},
			Reward:    tasks.Reward{Coins: 50},
		}.WithDefaults()
		if _, _, err := db.CreateTask(ctx, postgres.NewTask{ProjectID: project, Task: task, Actor: "bench"}, now); err != nil {
			return err
		}
	}
	return nil
}

// seedPlayers gives many users a window of a month that began an hour ago and whose target is never reached.
// Its workflow is said to be told, so that no sweep starts them all.
func (st *stack) seedPlayers(ctx context.Context) error {
	if err := st.seedUsers(ctx, player, manyWindows); err != nil {
		return err
	}
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	ends := begin.AddDate(0, 1, 0)
	_, err := st.served.Pool().Exec(ctx, `INSERT INTO task_windows (window_id, project_id, user_id, task_id, version, number, anchor, activated_at, ends_at, closes_at,
			time_zone, target, told, sweep_at, created_at, updated_at)
		SELECT 'bench-window-0' || right(u.user_id, 6), u.project_id, u.user_id, $1, 1, 1, $2::timestamptz, $2::timestamptz, $3::timestamptz, $3::timestamptz + interval '5 min',
			'UTC', 1000000000, 1, $3::timestamptz + interval '15 min', $2::timestamptz, $2::timestamptz
		FROM users u WHERE u.user_id LIKE $4`, betsTask, begin, ends, player+"%")
	if err != nil {
		return fmt.Errorf("open windows: %w", err)
	}
	_, err = st.served.Pool().Exec(ctx, "VACUUM (ANALYZE) users, task_windows")
	return err
}

// seedUsers adds users by their prefix and number.
func (st *stack) seedUsers(ctx context.Context, prefix string, count int) error {
	_, err := st.served.Pool().Exec(ctx, `INSERT INTO users (user_id, project_id, created_at, updated_at)
		SELECT $1 || lpad(n::text, 6, '0'), $2, now() - interval '1 day', now() FROM generate_series(0, $3 - 1) AS n`, prefix, project, count)
	if err != nil {
		return fmt.Errorf("add users: %w", err)
	}
	return nil
}

// bet is an event of the seed's kind, with an id.
type bet struct {
	id     string
	player int
	at     time.Time
}

func newBet(windows int) bet {
	return bet{id: xid.New().String(), player: rand.IntN(windows), at: time.Now().UTC()}
}

func (b bet) userID() string { return fmt.Sprintf(player+playerForm, b.player) }

// appendTo writes the event as its sender would. By hand, because what is not measured should cost little here.
func (b bet) appendTo(buffer []byte) []byte {
	buffer = append(append(buffer, `{"event_id":"`...), b.id...)
	buffer = append(append(buffer, `","user_id":"`...), b.userID()...)
	buffer = append(buffer, `","event_type":"bet_placed","timestamp":"`...)
	buffer = b.at.AppendFormat(buffer, time.RFC3339)
	buffer = append(buffer, `","amount":`...)
	buffer = strconv.AppendInt(buffer, int64(100+b.player%900), 10)
	return append(buffer, `.00,"currency":"RUB","game_type":"roulette","outcome":"win","bet_type":"red"}`...)
}

// newBatch is a body of so many events of players with a window.
func newBatch(windows int) []byte {
	body := []byte("[")
	for n := range eventBatch {
		if n > 0 {
			body = append(body, ',')
		}
		body = newBet(windows).appendTo(body)
	}
	return append(body, ']')
}
