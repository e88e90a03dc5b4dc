package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quickpass/quickpass/internal/events/eventpb"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// action is what a user did in the main product.
type action struct {
	id, user, kind, currency, game string
	amount                         decimal.Decimal
	at                             time.Time
}

func (a action) json() object {
	return object{
		"event_id":   a.id,
		"user_id":    a.user,
		"event_type": a.kind,
		"timestamp":  a.at.Format(time.RFC3339),
		"amount":     a.amount,
		"currency":   a.currency,
		"game_type":  a.game,
	}
}

func (a action) protobuf() *eventpb.Event {
	fields := &structpb.Struct{Fields: map[string]*structpb.Value{"game_type": structpb.NewStringValue(a.game)}}
	return &eventpb.Event{
		EventId:   a.id,
		UserId:    a.user,
		EventType: a.kind,
		Timestamp: timestamppb.New(a.at),
		Amount:    a.amount.String(),
		Currency:  a.currency,
		Fields:    fields,
	}
}

// of is the same action of another set of users.
func (a action) of(set string) action {
	a.id, a.user = set+"-"+a.id, set+"-"+a.user
	return a
}

const (
	streamUsers = 40
	streamDays  = 8
	strangers   = 3 // who act in the main product, and QuickPass does not know them
)

func streamUser(n int) string { return fmt.Sprintf("user-%02d", n) }

// stream makes up so many actions since the beginning and shortly before it. Each user does more than the one
// before, so that of each task some are completed and others are not.
func stream(random *rand.Rand, count int, begin time.Time) []action {
	actions := make([]action, count)
	span := int64(time.Since(begin)/time.Second) + int64(streamBefore/time.Second)
	for i := range actions {
		user := max(random.IntN(streamUsers), random.IntN(streamUsers))
		a := action{
			id:       fmt.Sprint(i),
			user:     streamUser(user),
			kind:     "bet_placed",
			currency: "RUB",
			game:     fmt.Sprintf("game-%d", random.IntN(1+user%8)),
			amount:   decimal.New(1+random.Int64N(50_000), -2),
			at:       begin.Add(time.Duration(random.Int64N(span))*time.Second - streamBefore),
		}
		switch chance := random.IntN(100); {
		case chance < 2:
			a.user = fmt.Sprintf("stranger-%d", random.IntN(strangers))
		case chance < 12:
			a.currency = "USD"
		case chance < 15:
			a.kind = "profile_filled" // no task looks at it
		case chance < 40:
			a.kind = "login"
		}
		actions[i] = a
	}
	return actions
}

const streamBefore = 12 * time.Hour // of actions before anything was activated

// rule is a task beside what it means, in plain Go.
type rule struct {
	name    string
	task    object
	target  decimal.Decimal
	manual  bool
	counts  func(action) bool
	window  func(time.Time) string // which of the user's windows it happened in; "" for none
	measure func([]action) decimal.Decimal
	taskID  int64 // when it is published
}

func (r rule) coins() int64 { return r.task["reward"].(object)["coins"].(int64) }

func (r rule) fromMainProduct() bool {
	_, ok := r.task["reward"].(object)["main_product"]
	return ok
}

// rules are of all modes. Resets are twelve hours from now, so that no window ends while a test runs.
func rules(begin time.Time) []rule {
	hundred := decimal.NewFromInt(100)
	reset := (time.Now().UTC().Hour() + 12) % 24
	day := func(at time.Time) string {
		return at.UTC().Add(-time.Duration(reset) * time.Hour).Format(time.DateOnly)
	}
	bet := func(a action) bool { return a.kind == "bet_placed" && a.currency == "RUB" }
	large := func(a action) bool { return bet(a) && !a.amount.LessThan(hundred) }
	number := func(n int) decimal.Decimal { return decimal.NewFromInt(int64(n)) }
	howMany := func(all []action) decimal.Decimal { return number(len(all)) }
	always := func(time.Time) string { return "the only one" }
	month := object{"kind": "rolling", "unit": "month", "time_zone": "Europe/Moscow"}
	return []rule{
		{name: "100 bets of 100+ rubles", manual: true, target: number(100), counts: large, window: always, measure: howMany,
			task: object{
				"event_type": "bet_placed",
				"min_amount": 100,
				"equals":     object{"currency": "RUB"},
				"activation": "manual",
				"window":     month,
				"reward":     object{"coins": int64(7), "main_product": object{"reward_type": "bonus_coins", "amount": 100}},
			}},
		{name: "bet 30,000 rubles", target: number(30_000), counts: bet, window: always,
			measure: func(all []action) (sum decimal.Decimal) {
				for _, a := range all {
					sum = sum.Add(a.amount)
				}
				return sum
			},
			task: object{
				"event_type": "bet_placed",
				"condition":  `currency == "RUB"`,
				"count":      object{"mode": "sum"},
				"activation": "automatic",
				"window":     month,
				"reward":     object{"coins": int64(11)},
			}},
		{name: "five games", manual: true, target: number(5), counts: bet, window: always,
			measure: func(all []action) decimal.Decimal {
				games := map[string]bool{}
				for _, a := range all {
					games[a.game] = true
				}
				return number(len(games))
			},
			task: object{
				"event_type": "bet_placed",
				"equals":     object{"currency": "RUB"},
				"count":      object{"mode": "distinct", "field": "game_type"},
				"activation": "manual",
				"window":     month,
				"reward":     object{"coins": int64(13)},
			}},
		{name: "six days in a row", target: number(6), counts: func(a action) bool { return a.kind == "login" }, window: always,
			measure: func(all []action) decimal.Decimal { return number(daysInARow(all, day)) },
			task: object{
				"event_type": "login",
				"count":      object{"mode": "streak"},
				"activation": "automatic",
				"window":     object{"kind": "rolling", "unit": "month", "time_zone": "UTC", "reset_hour": reset},
				"reward":     object{"coins": int64(17)},
			}},
		{name: "12 bets a day", target: number(12), counts: large, measure: howMany,
			window: func(at time.Time) string {
				if yesterday := day(time.Now().AddDate(0, 0, -1)); day(at) < yesterday {
					return "" // the day is over for longer than the grace
				}
				return day(at)
			},
			task: object{
				"event_type": "bet_placed",
				"min_amount": "100",
				"condition":  `event.currency == "RUB"`,
				"activation": "automatic",
				"recurring":  true,
				"window":     object{"kind": "calendar", "unit": "day", "time_zone": "UTC", "reset_hour": reset, "grace_seconds": 86_400},
				"reward":     object{"coins": int64(19)},
			}},
	}
}

func daysInARow(all []action, day func(time.Time) string) int {
	days := map[string]bool{}
	for _, a := range all {
		days[day(a.at)] = true
	}
	longest, run, before := 0, 0, time.Time{}
	for _, text := range slices.Sorted(maps.Keys(days)) {
		date, err := time.Parse(time.DateOnly, text)
		if err != nil || date.Sub(before) != 24*time.Hour {
			run = 0
		}
		run, before = run+1, date
		longest = max(longest, run)
	}
	return longest
}

// tally is what a stream must come to, or came to: the progress of each window by user and task, in the order
// of time; and the rewards.
type tally struct {
	progress map[string][]string
	coins    map[string]int64
	given    map[string]int // by the main product, by user
}

func newTally() tally {
	return tally{progress: map[string][]string{}, coins: map[string]int64{}, given: map[string]int{}}
}

// fold counts the actions without QuickPass.
func fold(rules []rule, actions []action, begin time.Time) tally {
	want := newTally()
	for _, r := range rules {
		windows := map[[2]string][]action{}
		for _, a := range actions {
			if label := r.window(a.at); r.counts(a) && !a.at.Before(begin) && label != "" && !strings.Contains(a.user, "stranger") {
				windows[[2]string{a.user, label}] = append(windows[[2]string{a.user, label}], a)
			}
		}
		for _, window := range slices.SortedFunc(maps.Keys(windows), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
			user, progress := window[0], decimal.Min(r.measure(windows[window]), r.target)
			want.progress[user+" "+r.name] = append(want.progress[user+" "+r.name], progress.String())
			if !progress.Equal(r.target) {
				continue
			}
			want.coins[user] += r.coins()
			if r.fromMainProduct() {
				want.given[user]++
			}
		}
	}
	return want
}

// requireMixed makes sure that the stream can show something: of each task some are completed and others are not.
func (got tally) requireMixed(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		var completed, open int
		for window, progress := range got.progress {
			if !strings.HasSuffix(window, r.name) {
				continue
			}
			for _, p := range progress {
				if p == r.target.String() {
					completed++
				} else {
					open++
				}
			}
		}
		require.Positive(t, completed, r.name)
		require.Positive(t, open, r.name)
	}
}

// of is the part of one set of users, without the name of the set.
func (got tally) of(set string) tally {
	part := newTally()
	take := func(user string) (string, bool) { return strings.CutPrefix(user, set+"-") }
	for user, progress := range got.progress {
		if user, ok := take(user); ok {
			part.progress[user] = progress
		}
	}
	for user, coins := range got.coins {
		if user, ok := take(user); ok {
			part.coins[user] = coins
		}
	}
	for user, given := range got.given {
		if user, ok := take(user); ok {
			part.given[user] = given
		}
	}
	return part
}

// prepare publishes the tasks, and makes sets of users whose windows began at the beginning.
func (n *node) prepare(rules []rule, begin time.Time, sets ...string) {
	n.t.Helper()
	for i := range rules {
		r := &rules[i]
		r.task["name"], r.task["status"], r.task["target"] = r.name, "published", r.target
		r.taskID = n.publish(r.task)
	}
	for _, set := range sets {
		for i := range streamUsers {
			user := set + "-" + streamUser(i)
			_, _, err := n.db.PutUser(n.t.Context(), testkit.Project, user, postgres.UserEdit{}, begin)
			require.NoError(n.t, err)
			for _, r := range rules {
				if r.manual {
					n.activate(user, r.taskID)
				}
			}
		}
	}
	since := begin.Format(time.RFC3339)
	testkit.Exec(n.t, n.db, "UPDATE task_windows SET anchor = '"+since+"', activated_at = '"+since+"'")
	testkit.Exec(n.t, n.db, "UPDATE tasks SET published_at = '"+since+"'")
}

// tally reads what QuickPass and the main product have.
func (s *stack) tally() tally {
	s.t.Helper()
	got := newTally()
	var user, progress string
	rows, err := s.db.Pool().Query(s.t.Context(), `SELECT w.user_id || ' ' || (v.definition ->> 'name'), w.progress::text
		FROM task_windows w JOIN task_versions v USING (task_id, version) WHERE w.progress > 0 ORDER BY w.ends_at`)
	require.NoError(s.t, err)
	_, err = pgx.ForEachRow(rows, []any{&user, &progress}, func() error {
		number, err := decimal.NewFromString(progress)
		got.progress[user] = append(got.progress[user], number.String())
		return err
	})
	require.NoError(s.t, err)
	var coins int64
	rows, err = s.db.Pool().Query(s.t.Context(), "SELECT user_id, available FROM users WHERE available > 0")
	require.NoError(s.t, err)
	_, err = pgx.ForEachRow(rows, []any{&user, &coins}, func() error { got.coins[user] = coins; return nil })
	require.NoError(s.t, err)
	for _, entry := range s.rewardBooks() {
		if entry.Credited > 0 {
			got.given[entry.UserID] += entry.Credited
		}
	}
	return got
}

// rewardBooks are the main product's books of rewards.
func (s *stack) rewardBooks() (entries []fake.Entry) {
	s.t.Helper()
	for offset := 0; ; {
		request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, fmt.Sprintf("%s/control/books?limit=1000&offset=%d", s.control, offset), nil)
		require.NoError(s.t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(s.t, err)
		var page fake.BooksPage
		err = errors.Join(json.NewDecoder(response.Body).Decode(&page), response.Body.Close())
		require.NoError(s.t, err)
		for _, entry := range page.Entries {
			if entry.TaskID != 0 {
				entries = append(entries, entry)
			}
		}
		if offset = page.NextOffset; offset == 0 {
			return entries
		}
	}
}

// counted waits until so many deliveries were counted, the repeated ones included. A broker may deliver more
// often than it was given, never less.
func (s *stack) counted(deliveries int) {
	s.t.Helper()
	testkit.Eventually(s.t, "the events are counted", func(ctx context.Context) error {
		var counted int
		err := s.db.Pool().QueryRow(ctx, "SELECT count(*) + coalesce(sum(duplicates), 0) FROM event_keys").Scan(&counted)
		if err == nil && counted < deliveries {
			err = fmt.Errorf("%d of %d", counted, deliveries)
		}
		return err
	})
}

// accepted waits until so many different events were counted.
func (s *stack) accepted(events int) {
	s.t.Helper()
	testkit.Eventually(s.t, "the events are accepted", func(ctx context.Context) error {
		var accepted int
		err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM event_keys").Scan(&accepted)
		if err == nil && accepted != events {
			err = fmt.Errorf("%d of %d", accepted, events)
		}
		return err
	})
}

// settled waits until every window that is completed is rewarded.
func (s *stack) settled() {
	s.t.Helper()
	testkit.Eventually(s.t, "every completed window is rewarded", func(ctx context.Context) error {
		var left int
		err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM task_windows WHERE state <> 'open' AND settled_at IS NULL").Scan(&left)
		if err == nil && left > 0 {
			err = fmt.Errorf("%d are not", left)
		}
		return err
	})
}

// batches cuts actions into pieces of random sizes.
func batches(random *rand.Rand, actions []action, largest int) (pieces [][]action) {
	for len(actions) > 0 {
		size := min(1+random.IntN(largest), len(actions))
		pieces, actions = append(pieces, actions[:size]), actions[size:]
	}
	return pieces
}

// shuffled gives a set of users the actions in another order, a tenth of them twice.
func shuffled(random *rand.Rand, actions []action, set string) []action {
	var all []action
	for _, a := range actions {
		all = append(all, a.of(set))
		if random.IntN(10) == 0 {
			all = append(all, a.of(set))
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// encode writes a piece in one of the forms that every door takes.
func encode(form int, piece []action) (contentType string, body []byte, err error) {
	if form%4 == 0 {
		var batch eventpb.EventBatch
		for _, a := range piece {
			batch.Events = append(batch.Events, a.protobuf())
		}
		body, err = proto.Marshal(&batch)
		return "application/x-protobuf", body, err
	}
	var all []object
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines) // one object a line
	for _, a := range piece {
		all = append(all, a.json())
		err = errors.Join(err, encoder.Encode(a.json()))
	}
	if form%4 == 1 || err != nil {
		return "application/x-ndjson", lines.Bytes(), err
	}
	if len(piece) == 1 {
		return "application/json", lines.Bytes(), nil
	}
	body, err = json.Marshal(all)
	return "application/json", body, err
}

// persist tries until it succeeds, as a main product does that delivers for sure.
func persist(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
