package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	senders       = 2 // of events, at the same time
	largestBatch  = 30
	sendAgain     = 10                     // one batch in so many is sent again, to another process
	betweenSends  = 100 * time.Millisecond // on average
	games         = 6
	giftType      = "bonus_coins"
	eventSeedBase = 1000 // the senders' random choices are none of the buyers'
)

// quest is a task beside its fold: what the events that were sent must have come to.
type quest struct {
	tasks.Task
	fold func(target decimal.Decimal, sent []bet) decimal.Decimal // the progress
}

// quests begin by themselves and are done once. Their targets are spread, so that windows are completed all the time.
var quests = []quest{
	quest{tasks.Task{
		TaskID: 1,
		Name:   "One bet",
		Target: whole(1),
		Count:  tasks.Count{Mode: tasks.CountEvents},
		Reward: tasks.Reward{Coins: 3},
	}, howMany}.withGift(10),
	{tasks.Task{TaskID: 2, Name: "Five bets", Target: whole(5), Count: tasks.Count{Mode: tasks.CountEvents}, Reward: tasks.Reward{Coins: 5}}, howMany},
	quest{tasks.Task{
		TaskID: 3,
		Name:   "Four games",
		Target: whole(4),
		Count:  tasks.Count{Mode: tasks.CountDistinct, Field: "game_type"},
	}, differentGames}.withGift(20),
	quest{tasks.Task{
		TaskID: 4,
		Name:   "Bets of 2,000",
		Target: whole(2000),
		Count:  tasks.Count{Mode: tasks.CountSum},
		Reward: tasks.Reward{Coins: 7},
	}, together}.withGift(30),
	{tasks.Task{TaskID: 5, Name: "Thirty bets", Target: whole(30), Count: tasks.Count{Mode: tasks.CountEvents}, Reward: tasks.Reward{Coins: 11}}, howMany},
	quest{tasks.Task{
		TaskID: 6,
		Name:   "Bets of 20,000",
		Target: whole(20_000),
		Count:  tasks.Count{Mode: tasks.CountSum},
	}, together}.withGift(40),
}

func (q quest) withGift(amount int64) quest {
	q.Reward.MainProduct = &tasks.MainProductReward{RewardType: giftType, Amount: whole(amount)}
	return q
}

func whole(n int64) decimal.Decimal { return decimal.NewFromInt(n) }

func howMany(target decimal.Decimal, sent []bet) decimal.Decimal {
	return decimal.Min(whole(int64(len(sent))), target)
}

func differentGames(target decimal.Decimal, sent []bet) decimal.Decimal {
	played := map[string]bool{}
	for _, b := range sent {
		played[b.Game] = true
	}
	return decimal.Min(whole(int64(len(played))), target)
}

func together(target decimal.Decimal, sent []bet) (sum decimal.Decimal) {
	for _, b := range sent {
		sum = sum.Add(b.Amount)
	}
	return decimal.Min(sum, target)
}

func seedTasks(ctx context.Context, db *postgres.DB) error {
	for _, q := range quests {
		task := q.Task
		task.Status, task.EventType, task.Activation = tasks.Published, "bet_placed", tasks.Automatic
		task.Window = tasks.WindowRule{Kind: tasks.Rolling, Unit: tasks.Month, GraceSeconds: tasks.DefaultGraceSeconds}
		if _, _, err := db.CreateTask(ctx, postgres.NewTask{
			ProjectID: project,
			Task:      task.WithDefaults(),
			Actor:     "chaos",
		}, time.Now()); err != nil {
			return fmt.Errorf("task %s: %w", task.Name, err)
		}
	}
	return nil
}

// bet is an event as it is sent.
type bet struct {
	ID     string          `json:"event_id"`
	User   string          `json:"user_id"`
	Type   string          `json:"event_type"`
	At     time.Time       `json:"timestamp"`
	Amount decimal.Decimal `json:"amount"`
	Game   string          `json:"game_type"`
}

// batch is some events under one Idempotency-Key.
type batch struct {
	key   string
	bets  []bet
	taken bool
}

// eventLoad is the main product that tells of bets, and repeats itself until it is heard.
type eventLoad struct {
	stack    *stack
	findings *findings
	client   *http.Client

	taken, again, retries atomic.Int64
	mu                    sync.Mutex
	batches               []*batch
}

func newEventLoad(s *stack, f *findings) *eventLoad {
	return &eventLoad{stack: s, findings: f, client: &http.Client{Timeout: answerTimeout}}
}

// run sends until sending ends; then each sender finishes the batch that it has, until giveUp ends.
func (l *eventLoad) run(sending, giveUp context.Context, seed uint64) {
	var group sync.WaitGroup
	for n := range senders {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, eventSeedBase+uint64(n)))
			for i := 0; pause(sending, time.Duration(r.Int64N(int64(2*betweenSends)))); i++ {
				l.send(giveUp, l.next(r, fmt.Sprintf("events-%d-%d-%d", seed, n, i)), r)
			}
		})
	}
	group.Wait()
}

// next makes up a batch and remembers it for the judge.
func (l *eventLoad) next(r *rand.Rand, key string) *batch {
	b := &batch{key: key}
	now := time.Now().UTC().Truncate(time.Second)
	for i := range 1 + r.IntN(largestBatch) {
		b.bets = append(b.bets, bet{ID: fmt.Sprintf("%s-%d", key, i), User: pickUser(r), Type: "bet_placed", At: now,
			Amount: decimal.New(1+r.Int64N(50_000), -2), Game: fmt.Sprintf("game-%d", r.IntN(games))})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, b)
	return b
}

// send repeats a batch until it is taken; now and then once more after that.
func (l *eventLoad) send(ctx context.Context, b *batch, r *rand.Rand) {
	at := r.IntN(len(l.stack.apis))
	for ctx.Err() == nil {
		if answer, ok := l.ask(ctx, l.stack.apis[at], b.key, b.bets); ok {
			b.taken = true
			l.taken.Add(int64(len(b.bets)))
			l.check(b, answer, answer.Accepted+answer.Duplicates == len(b.bets))
			break
		}
		l.retries.Add(1)
		at = 1 - at
		pause(ctx, 100*time.Millisecond+time.Duration(r.IntN(400))*time.Millisecond)
	}
	if r.IntN(sendAgain) > 0 {
		return
	}
	if answer, ok := l.ask(ctx, l.stack.apis[1-at], b.key+"-again", b.bets); ok {
		l.again.Add(int64(len(b.bets)))
		l.check(b, answer, answer.Duplicates == len(b.bets))
	}
}

func (l *eventLoad) check(b *batch, answer intakeAnswer, right bool) {
	if !right || len(answer.Rejected) > 0 {
		l.findings.add("events are accepted once", "batch %s of %d: %+v", b.key, len(b.bets), answer)
	}
}

type intakeAnswer struct {
	Accepted, Duplicates int
	Rejected             []struct{ Code string }
}

// ask returns false when there is no definite answer.
func (l *eventLoad) ask(ctx context.Context, api, key string, bets []bet) (answer intakeAnswer, ok bool) {
	status, _, data, err := post(ctx, l.client, api+"/api/v1/events", l.stack.keys["main_product"], key, bets)
	switch {
	case err != nil || status == http.StatusServiceUnavailable:
		return answer, false
	case status != http.StatusAccepted:
		l.findings.add("an outage is answered with 503", "POST /events: %d %s", status, data)
		return answer, false
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		l.findings.add("every answer is JSON", "POST /events: %d %q", status, data)
		return answer, false
	}
	return answer, true
}

// byUser are the events that users whom QuickPass knows have sent.
func (l *eventLoad) byUser() map[string][]bet {
	sent := map[string][]bet{}
	for _, b := range l.batches {
		for _, one := range b.bets {
			if !strings.HasPrefix(one.User, "nobody-") {
				sent[one.User] = append(sent[one.User], one)
			}
		}
	}
	return sent
}

// earned are the coins of the tasks that each user must have completed.
func earned(sent map[string][]bet) map[string]int64 {
	coins := map[string]int64{}
	for user, bets := range sent {
		for _, q := range quests {
			if q.fold(q.Target, bets).Equal(q.Target) {
				coins[user] += q.Reward.Coins
			}
		}
	}
	return coins
}
