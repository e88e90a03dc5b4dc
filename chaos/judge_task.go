package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// window is what the database says of one user's window of a task.
type window struct {
	ID, User string
	TaskID   int64
	Progress decimal.Decimal
	State    string
}

// gift is the main product's part of a reward.
type gift struct {
	ID, Window  string
	User        string
	Amount      decimal.Decimal
	Status      string
	Reason      string
	Transaction string
}

// taskTruth is everything there is to judge about tasks, read when nothing moves.
type taskTruth struct {
	sent    map[string][]bet
	windows []window
	gifts   []gift
	books   map[string]fake.Entry // of rewards
}

func readTaskTruth(ctx context.Context, s *stack, l *eventLoad) (t taskTruth, err error) {
	t = taskTruth{sent: l.byUser(), books: map[string]fake.Entry{}}
	rows, err := s.db.Pool().Query(ctx, "SELECT window_id, user_id, task_id, progress, state FROM task_windows")
	if err != nil {
		return t, err
	}
	if t.windows, err = pgx.CollectRows(rows, pgx.RowToStructByPos[window]); err != nil {
		return t, err
	}
	rows, err = s.db.Pool().Query(ctx, `SELECT reward_id, window_id, user_id, amount, status, coalesce(reason_code, ''), coalesce(transaction_id, '')
		FROM task_rewards WHERE kind = 'main_product' ORDER BY reward_id`)
	if err != nil {
		return t, err
	}
	if t.gifts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[gift]); err != nil {
		return t, err
	}
	books, _, err := readBooks(ctx, s)
	for id, entry := range books {
		if entry.TaskID != 0 {
			t.books[id] = entry
		}
	}
	return t, err
}

// judge compares what was sent with what was counted, and what was promised with what was given. Coins are
// judged with the wallets.
func (t taskTruth) judge(f *findings, batches []*batch) {
	for _, b := range batches {
		if !b.taken {
			f.add("every batch of events got an answer", "%s has none", b.key)
		}
	}
	owes := t.judgeProgress(f)
	given := map[string]bool{}
	for _, g := range t.gifts {
		given[g.ID] = true
		entry := t.books[g.ID]
		switch {
		case !owes[g.Window]:
			f.add("rewards equal completions", "reward %s of %s: its window owes none", g.ID, g.User)
		case entry.Credited > 1:
			f.add("no reward is given twice", "reward %s of %s: %d times", g.ID, g.User, entry.Credited)
		case g.Status == string(contract.RewardPending):
			f.add("every reward has its outcome", "reward %s of %s is pending", g.ID, g.User)
		case g.Status == string(contract.RewardDelivered) && (entry.Credited != 1 || entry.UserID != g.User || !entry.Amount.Equal(g.Amount) || entry.TransactionID != g.Transaction):
			f.add("a delivered reward is as the books have it", "reward %s: %s for %s in %s, books: %+v", g.ID, g.Amount, g.User, g.Transaction, entry)
		}
		delete(owes, g.Window)
	}
	for id := range owes {
		f.add("rewards equal completions", "window %s has no reward of the main product", id)
	}
	for id := range t.books {
		if !given[id] {
			f.add("no reward without a completion", "the main product got reward %s, which does not exist", id)
		}
	}
}

// judgeProgress holds every window to a fold over the events, and returns those that the main product owes a part for.
func (t taskTruth) judgeProgress(f *findings) (owes map[string]bool) {
	const rule = "progress of tasks is a fold over the events that were sent"
	owes = map[string]bool{}
	found := map[[2]string]window{}
	for _, w := range t.windows {
		key := [2]string{w.User, fmt.Sprint(w.TaskID)}
		if other, double := found[key]; double {
			f.add(rule, "%s has two windows of task %d: %s and %s", w.User, w.TaskID, other.ID, w.ID)
		}
		found[key] = w
	}
	for user, bets := range t.sent {
		for _, q := range quests {
			w := found[[2]string{user, fmt.Sprint(q.TaskID)}]
			want, state := q.fold(q.Target, bets), "open"
			if want.Equal(q.Target) {
				state = "completed"
			}
			if !w.Progress.Equal(want) || w.State != state {
				f.add(rule, "%s, %s: %s and %s, want %s and %s (window %s)", user, q.Name, w.Progress, w.State, want, state, w.ID)
			}
			if state == "completed" && q.Reward.MainProduct != nil {
				owes[w.ID] = true
			}
		}
	}
	if most := len(t.sent) * len(quests); len(found) > most {
		f.add(rule, "%d windows, at most %d were opened by an event", len(found), most)
	}
	return owes
}

// statuses counts the main product's parts by what became of them.
func (t taskTruth) statuses() map[string]int {
	n := map[string]int{}
	for _, g := range t.gifts {
		n[strings.TrimSpace(g.Status+" "+g.Reason)]++
	}
	return n
}

// completed counts the windows that reached their target.
func (t taskTruth) completed() (n int) {
	for _, w := range t.windows {
		if w.State == "completed" {
			n++
		}
	}
	return n
}

// settleTasks waits until every completed window is rewarded, as far as the main product answers: the main
// product is well by now, so that all calls of a reward and the time to recover are enough.
func settleTasks(ctx context.Context, s *stack, f *findings, recovery time.Duration) error {
	bound := contract.RewardCalls*(contract.RewardTimeout+contract.RewardInterval) + recovery
	for begin := time.Now(); ; {
		var left int
		if err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM task_windows WHERE state <> 'open' AND settled_at IS NULL").Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		waited := time.Since(begin)
		if waited > bound {
			f.add("every completed window is settled within its bound after the faults", "%d are not after %s", left, bound)
			return fmt.Errorf("%d completed windows are not settled", left)
		}
		if waited > 5*time.Second && int(waited.Seconds())%10 == 0 {
			fmt.Printf("  %d completed windows are not settled, %.0f s after the orders\n", left, waited.Seconds())
		}
		if !pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// giftReplays is what the replay of all rewards came to that were not delivered.
type giftReplays struct {
	asked, delivered, givenBefore, refused int
}

// replayGifts tries every reward again that was refused or not delivered. Each is then given once, also where the main
// product had given it without our knowing; only users whom it does not know are refused.
func replayGifts(ctx context.Context, s *stack, l *eventLoad, before taskTruth, f *findings) (done giftReplays, err error) {
	client := &http.Client{Timeout: answerTimeout}
	asked := map[string]bool{}
	for n, g := range before.gifts {
		if g.Status == string(contract.RewardDelivered) {
			continue
		}
		asked[g.ID] = true
		url := s.apis[n%len(s.apis)] + "/api/v1/admin/rewards/" + g.ID + "/replay"
		status, _, data, err := post(ctx, client, url, s.keys["admin"], "chaos-replay-"+g.ID, map[string]string{"reason": "the main product is back"})
		if err != nil {
			return done, err
		}
		if status != http.StatusAccepted {
			f.add("every reward that was not delivered can be replayed", "reward %s: %d %s", g.ID, status, data)
		}
	}
	done.asked = len(asked)
	fmt.Printf("  %d rewards are replayed\n", done.asked)
	if err := settleTasks(ctx, s, f, time.Minute); err != nil {
		return done, err
	}
	after, err := readTaskTruth(ctx, s, l)
	if err != nil {
		return done, err
	}
	after.judge(f, l.batches)
	for _, g := range after.gifts {
		entry := after.books[g.ID]
		switch {
		case !asked[g.ID]:
			continue
		case g.Status == string(contract.RewardDelivered) && entry.Credited == 1:
			done.delivered++
		case g.User[0] == 'g' && g.Status == string(contract.RewardRefused):
			done.refused++
		default:
			f.add("a replayed reward is given once", "reward %s of %s is %s (%s), given %d times", g.ID, g.User, g.Status, g.Reason, entry.Credited)
		}
		if before.books[g.ID].Credited > 0 {
			done.givenBefore++
		}
	}
	return done, nil
}
