package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// fiveBets is the task of seed 001, as an admin sends it.
const fiveBets = `{"task_id":123,"name":"Make 5 bets of 100+ rubles per day","status":"published","event_type":"bet_placed","min_amount":100,"equals":{"currency":"RUB"},
	"target":5,"window":{"time_zone":"Europe/Moscow"},"reward":{"coins":500,"main_product":{"reward_type":"bonus_coins","amount":100}}}`

// edited changes fields of a body, or takes them away.
func edited(t testing.TB, body string, changes map[string]any) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &fields))
	for field, value := range changes {
		if fields[field] = value; value == nil {
			delete(fields, field)
		}
	}
	encoded, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(encoded)
}

// clock is a server's time that a test moves.
type clock struct{ now atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.now.Store(&at) }

func (c *clock) use(o *Options) { o.Clock = func() time.Time { return *c.now.Load() } }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestAdminEditsTask(t *testing.T) {
	t.Parallel()
	at := newClock(noon)
	s := newShop(t, at.use)
	const path = "/api/v1/admin/tasks/123"
	require.Equal(t, "404 task_not_found", s.outcome("admin", "GET", path, ""))
	require.Equal(t, "404 task_not_found", s.outcome("admin", "PUT", path, fiveBets))

	a := s.call("admin", "POST", "/api/v1/admin/tasks", fiveBets, header("Idempotency-Key", "k"))
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Equal(t, path, a.header.Get("Location"))
	require.Equal(t, `"1"`, a.header.Get("ETag"))
	require.JSONEq(t, `{"task_id":123,"version":1,"name":"Make 5 bets of 100+ rubles per day","description":"","status":"published","event_type":"bet_placed","min_amount":"100",
		"equals":{"currency":"RUB"},"condition":"","count":{"mode":"events"},"target":5,
		"window":{"kind":"calendar","unit":"day","time_zone":"Europe/Moscow","reset_hour":0,"grace_seconds":300},
		"activation":"manual","recurring":false,"requires":[],"starts_at":null,"ends_at":null,"audience":{},
		"reward":{"coins":500,"main_product":{"reward_type":"bonus_coins","amount":"100"}},"budget":{},
		"published_at":"2026-11-22T12:00:00Z","updated_at":"2026-11-22T12:00:00Z"}`, string(a.body))
	at.set(noon.Add(time.Hour))
	again := s.call("admin", "POST", "/api/v1/admin/tasks", fiveBets, header("Idempotency-Key", "k"))
	require.Equal(t, string(a.body), string(again.body))
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "409 task_id_taken", s.outcome("admin", "POST", "/api/v1/admin/tasks", fiveBets))
	read := s.call("support", "GET", path, "")
	require.JSONEq(t, string(a.body), string(read.body))
	require.Equal(t, http.StatusNotModified, s.call("admin", "GET", path, "", header("If-None-Match", `"1"`)).status)

	sum := edited(t, fiveBets, map[string]any{"count": map[string]any{"mode": "sum"}, "target": "10000.50", "min_amount": "0.5", "equals": map[string]any{"level": 7, "live": true, "currency": "RUB"},
		"window": map[string]any{"kind": "rolling", "unit": "week", "grace_seconds": 0}, "status": nil})
	for _, stale := range []string{`"2"`, `W/"1"`, `1`, `"x"`} {
		require.Equal(t, "412 version_conflict", s.outcome("admin", "PUT", path, sum, header("If-Match", stale)))
	}
	a = s.call("admin", "PUT", path, sum, header("If-Match", `"1"`))
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, `"2"`, a.header.Get("ETag"))
	second := into[map[string]any](t, a)
	require.Equal(t, "10000.5", second["target"], "a sum is an amount")
	require.Equal(t, "0.5", second["min_amount"])
	require.Equal(t, map[string]any{"level": "7", "live": "true", "currency": "RUB"}, second["equals"])
	require.Equal(t, "draft", second["status"], "what is left out falls back to its default")
	require.Nil(t, second["published_at"])
	require.EqualValues(t, 0, into[Task](t, a).Window.GraceSeconds)

	versions := into[TaskPage](t, s.call("support", "GET", path+"/versions?limit=1", ""))
	require.EqualValues(t, 2, versions.Items[0].Version)
	versions = into[TaskPage](t, s.call("support", "GET", path+"/versions?cursor="+*versions.NextCursor, ""))
	require.EqualValues(t, 1, versions.Items[0].Version)
	require.Nil(t, versions.NextCursor)
	require.Equal(t, "404 task_not_found", s.outcome("admin", "GET", "/api/v1/admin/tasks/9/versions", ""))

	a = s.call("admin", "POST", "/api/v1/admin/tasks", edited(t, fiveBets, map[string]any{"task_id": nil, "requires": []int64{123}}))
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Equal(t, "/api/v1/admin/tasks/124", a.header.Get("Location"))
	list := into[TaskPage](t, s.call("support", "GET", "/api/v1/admin/tasks", ""))
	require.Equal(t, []int64{123, 124}, each(list.Items, func(t Task) int64 { return t.TaskID }))
	list = into[TaskPage](t, s.call("support", "GET", "/api/v1/admin/tasks?status=published&limit=1", ""))
	require.Equal(t, []int64{124}, each(list.Items, func(t Task) int64 { return t.TaskID }))
	require.Empty(t, into[TaskPage](t, s.call("support", "GET", "/api/v1/admin/tasks?cursor=124", "")).Items)

	for _, requires := range []string{`[124]`, `[99]`, `[123]`} {
		a = s.call("admin", "PUT", path, edited(t, fiveBets, map[string]any{"requires": json.RawMessage(requires)}))
		require.Equal(t, "400 invalid_request", fmt.Sprint(a.status, " ", a.code()), "%s", a.body)
		require.Equal(t, "requires", (*into[Problem](t, a).Errors)[0].Field)
	}
}

// outcome is the status and code of an answer.
func (s *shop) outcome(role, method, path, body string, changes ...with) string {
	s.t.Helper()
	a := s.call(role, method, path, body, changes...)
	return strings.TrimSpace(fmt.Sprint(a.status, " ", a.code()))
}

func TestTaskBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.Equal(t, 201, s.call("admin", "POST", "/api/v1/admin/tasks", edited(t, fiveBets, map[string]any{"task_id": 1})).status)
	before := s.written()
	for name, test := range map[string]struct {
		field string // of the body, or of the parameter
		value any
		where string // the field that is named, if another
	}{
		"no name":              {field: "name", value: nil},
		"empty name":           {field: "name", value: ""},
		"no event type":        {field: "event_type", value: nil},
		"event type":           {field: "event_type", value: "bet placed!"},
		"no target":            {field: "target", value: nil},
		"target 0":             {field: "target", value: 0},
		"target negative":      {field: "target", value: -5},
		"target negative text": {field: "target", value: "-5"},
		"target half":          {field: "target", value: 2.5},
		"target NaN":           {field: "target", value: "NaN"},
		"target 100 digits":    {field: "target", value: strings.Repeat("9", 100)},
		"target boolean":       {field: "target", value: true},
		"minimum negative":     {field: "min_amount", value: -1},
		"minimum text":         {field: "min_amount", value: "much"},
		"equals object":        {field: "equals", value: map[string]any{"a": map[string]any{}}, where: "equals.a"},
		"equals null":          {field: "equals", value: map[string]any{"a": nil}, where: "equals.a"},
		"condition":            {field: "condition", value: "event.amount >"},
		"condition number":     {field: "condition", value: "1 + 1"},
		"condition variable":   {field: "condition", value: "player == 1"},
		"condition long":       {field: "condition", value: strings.Repeat("a", 2001)},
		"mode":                 {field: "count", value: map[string]any{"mode": "average"}, where: "count.mode"},
		"distinct of nothing":  {field: "count", value: map[string]any{"mode": "distinct"}, where: "count.field"},
		"window unit":          {field: "window", value: map[string]any{"unit": "year"}, where: "window.unit"},
		"window zone":          {field: "window", value: map[string]any{"time_zone": "Mars/Olympus"}, where: "window.time_zone"},
		"window zone local":    {field: "window", value: map[string]any{"time_zone": "Local"}, where: "window.time_zone"},
		"reset hour":           {field: "window", value: map[string]any{"reset_hour": 24}, where: "window.reset_hour"},
		"grace":                {field: "window", value: map[string]any{"grace_seconds": -1}, where: "window.grace_seconds"},
		"unknown in window":    {field: "window", value: map[string]any{"days": 3}, where: "window.days"},
		"activation":           {field: "activation", value: "sometimes"},
		"requires text":        {field: "requires", value: []any{"1"}, where: "requires[0]"},
		"requires unknown":     {field: "requires", value: []any{77}},
		"requires twice":       {field: "requires", value: []any{1, 1}},
		"ends before":          {field: "ends_at", value: "2020-01-01T00:00:00Z"},
		"starts yesterday":     {field: "starts_at", value: "yesterday"},
		"audience":             {field: "audience", value: map[string]any{"age": 18}, where: "audience.age"},
		"audience user":        {field: "audience", value: map[string]any{"user_ids": []any{"a b"}}, where: "audience.user_ids[0]"},
		"coins negative":       {field: "reward", value: map[string]any{"coins": -1}, where: "reward.coins"},
		"coins half":           {field: "reward", value: map[string]any{"coins": 0.5}, where: "reward.coins"},
		"reward amount 0":      {field: "reward", value: map[string]any{"main_product": map[string]any{"reward_type": "x", "amount": 0}}, where: "reward.main_product.amount"},
		"reward no type":       {field: "reward", value: map[string]any{"main_product": map[string]any{"amount": 1}}, where: "reward.main_product.reward_type"},
		"budget negative":      {field: "budget", value: map[string]any{"total_coins": -1}, where: "budget.total_coins"},
		"status":               {field: "status", value: "hidden"},
		"task id":              {field: "task_id", value: 0},
		"task id text":         {field: "task_id", value: "123"},
		"unknown field":        {field: "points", value: 1},
	} {
		t.Run(name, func(t *testing.T) {
			changes := map[string]any{test.field: test.value}
			if test.field == "ends_at" {
				changes["starts_at"] = "2021-01-01T00:00:00Z"
			}
			body := edited(t, fiveBets, changes)
			where := test.where
			if where == "" {
				where = test.field
			}
			a := s.call("admin", "POST", "/api/v1/admin/tasks", body)
			require.Equal(t, "400 invalid_request", fmt.Sprint(a.status, " ", a.code()), "%s", a.body)
			require.Equal(t, where, (*into[Problem](t, a).Errors)[0].Field, "%s", a.body)
			if name == "requires unknown" {
				return // a dry run does not ask for other tasks
			}
			dry := s.call("admin", "POST", "/api/v1/admin/tasks/dry-run", `{"task":`+body+`,"events":[{}]}`)
			require.Equal(t, "400 invalid_request", fmt.Sprint(dry.status, " ", dry.code()), "%s", dry.body)
			require.Equal(t, "task."+where, (*into[Problem](t, dry).Errors)[0].Field, "%s", dry.body)
		})
	}

	const dryRun, shadow = "POST /api/v1/admin/tasks/dry-run", "POST /api/v1/admin/tasks/1/shadow"
	for call, want := range map[string]string{
		"GET /api/v1/admin/tasks/x":                                     "400 invalid_request",
		"GET /api/v1/admin/tasks/0":                                     "400 invalid_request",
		"GET /api/v1/admin/tasks/-1":                                    "400 invalid_request",
		"GET /api/v1/admin/tasks/1.5":                                   "400 invalid_request",
		"GET /api/v1/admin/tasks/99999999999999999999":                  "400 invalid_request",
		"GET /api/v1/admin/tasks/9007199254740991":                      "404 task_not_found",
		"GET /api/v1/admin/tasks/dry-run":                               "400 invalid_request",
		"GET /api/v1/admin/tasks?status=gone":                           "400 invalid_request",
		"GET /api/v1/admin/tasks?cursor=x":                              "400 invalid_request",
		"GET /api/v1/admin/tasks?cursor=9999999999999999999":            "400 invalid_request",
		"GET /api/v1/admin/tasks/1/versions?limit=0":                    "400 invalid_request",
		"GET /api/v1/users/nobody/tasks":                                "404 user_not_found",
		"GET /api/v1/users/nobody/tasks/stream":                         "404 user_not_found",
		"GET /api/v1/users/a%2Fb/tasks":                                 "400 invalid_request",
		"POST /api/v1/users/rich/tasks/x/activate":                      "400 invalid_request",
		"POST /api/v1/users/rich/tasks/99/activate":                     "404 task_not_found",
		"POST /api/v1/users/nobody/tasks/1/activate":                    "404 user_not_found",
		"POST /api/v1/users/nobody/tasks/1/cancel":                      "404 user_not_found",
		"POST /api/v1/users/rich/tasks/1/cancel":                        "409 not_active",
		"POST /api/v1/users/rich/tasks/99/cancel":                       "404 task_not_found",
		`POST /api/v1/users/rich/tasks/1/cancel {"why":1}`:              "400 invalid_request",
		"GET /api/v1/events/nothing/decisions":                          "404 event_not_found",
		"GET /api/v1/events/evt_00/decisions":                           "404 event_not_found",
		"GET /api/v1/events/a%2Fb%20%D0%B7/decisions":                   "404 event_not_found",
		"GET /api/v1/events/%ff%fe/decisions":                           "404 event_not_found",
		"GET /api/v1/events/a%00b/decisions":                            "400 invalid_request",
		"GET /api/v1/events/" + strings.Repeat("a", 129) + "/decisions": "400 invalid_request",
		"GET /api/v1/admin/rewards?status=lost":                         "400 invalid_request",
		"GET /api/v1/admin/rewards?task_id=x":                           "400 invalid_request",
		"GET /api/v1/admin/rewards?cursor=%00":                          "400 invalid_request",
		"POST /api/v1/admin/rewards/none/replay":                        "400 invalid_request",
		`POST /api/v1/admin/rewards/none/replay {"reason":"again"}`:     "404 reward_not_found",
		`POST /api/v1/admin/rewards/none/replay {"reason":" "}`:         "400 invalid_request",
		dryRun:         "400 invalid_request",
		dryRun + ` {}`: "400 invalid_request",
		dryRun + ` {"task":` + fiveBets + `,"events":[]}`:                                     "400 invalid_request",
		dryRun + ` {"task":` + fiveBets + `,"events":[1]}`:                                    "400 invalid_request",
		dryRun + ` {"task":` + fiveBets + `,"events":[{"amount":1e999}]}`:                     "400 invalid_request",
		dryRun + ` {"task":` + fiveBets + `,"events":[` + strings.Repeat("{},", 100) + `{}]}`: "400 invalid_request",
		shadow + ` {}`: "400 invalid_request",
		shadow + ` {"from":"2026-01-02T00:00:00Z","until":"2026-01-02T00:00:00Z"}`:                         "400 invalid_request",
		shadow + ` {"from":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`:                         "400 invalid_request",
		shadow + ` {"from":"2026-01-01T00:00:00Z","until":"2026-02-02T00:00:00Z"}`:                         "400 invalid_request",
		`POST /api/v1/admin/tasks/9/shadow {"from":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z"}`: "404 task_not_found",
	} {
		method, rest, _ := strings.Cut(call, " ")
		path, body, _ := strings.Cut(rest, " ")
		require.Equal(t, want, s.outcome("admin", method, path, body), "%s", call)
	}
	require.Equal(t, before, s.written())
}

func TestEveryMistakeOfATaskIsListed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := s.call("admin", "POST", "/api/v1/admin/tasks", `{"name":" x","event_type":"bet_placed","target":2.5,"condition":"amount >","window":{"time_zone":"Nowhere"},"count":{"mode":"distinct"}}`)
	fields := each(*into[Problem](t, a).Errors, func(p FieldProblem) string { return p.Field })
	require.ElementsMatch(t, []string{"name", "condition", "count.field", "target", "window.time_zone"}, fields)
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	const bet = `{"user_id":"12345","event_type":"bet_placed","timestamp":"2024-01-15T14:30:00Z","amount":250.00,"currency":"RUB","outcome":"win"}`
	sample := []string{
		bet, edited(t, bet, map[string]any{"amount": 99.99}), edited(t, bet, map[string]any{"currency": "EUR"}), edited(t, bet, map[string]any{"amount": nil}),
		edited(t, bet, map[string]any{"outcome": "loss"}), edited(t, bet, map[string]any{"outcome": nil}), edited(t, bet, map[string]any{"event_type": "deposit"}),
		edited(t, bet, map[string]any{"timestamp": nil}), edited(t, bet, map[string]any{"amount": -1}), edited(t, bet, map[string]any{"amount": "NaN"}),
	}
	task := edited(t, fiveBets, map[string]any{"condition": `event.outcome == "win"`})
	a := s.call("support", "POST", "/api/v1/admin/tasks/dry-run", `{"task":`+task+`,"events":[`+strings.Join(sample, ",")+`]}`)
	require.Equal(t, 200, a.status, "%s", a.body)
	results := into[TaskDryRun](t, a).Events
	require.Equal(t, []string{"counted", "too_small", "not_equal", "no_amount", "condition_false", "condition_failed", "not_equal", "missing_field", "amount_invalid", "amount_invalid"},
		each(results, func(e TaskDryRunEvent) string { return e.Code }))
	require.Equal(t, "1", results[0].Added.String())
	require.Equal(t, map[string]string{"amount": "99.99", "min_amount": "100"}, results[1].Values)
	require.Equal(t, "loss", results[4].Values["event.outcome"]+results[4].Values["outcome"])
	require.Equal(t, "timestamp", *results[7].Field)
	for i, result := range results {
		require.Equal(t, i, result.Index)
		require.NotEmpty(t, result.Message)
	}
	require.Equal(t, before, s.written())
}

func TestEveryDecisionHasAMessage(t *testing.T) {
	t.Parallel()
	for _, code := range []tasks.Code{tasks.Counted, tasks.AlreadySeen, tasks.TooSmall, tasks.NoAmount, tasks.NotEqual, tasks.ConditionFalse, tasks.ConditionFailed,
		tasks.BeforeActivation, tasks.WindowClosed, tasks.Late, tasks.AlreadyCompleted, tasks.WindowCanceled, tasks.NotActivated, tasks.NotInAudience, tasks.Locked,
		tasks.NotRunning, tasks.OverBudget, tasks.UnknownUser, tasks.Duplicate} {
		require.NotEmpty(t, decisionMessages[code], code)
	}
}

// tasks reads a user's tasks by id.
func (s *shop) tasks(user string) map[int64]UserTask {
	s.t.Helper()
	a := s.call("storefront", "GET", "/api/v1/users/"+user+"/tasks", "")
	require.Equal(s.t, 200, a.status, "%s", a.body)
	list := map[int64]UserTask{}
	for _, task := range into[UserTasks](s.t, a).Tasks {
		list[task.TaskID] = task
	}
	return list
}

func (s *shop) addTask(changes map[string]any) {
	s.t.Helper()
	a := s.call("admin", "POST", "/api/v1/admin/tasks", edited(s.t, fiveBets, changes))
	require.Equal(s.t, 201, a.status, "%s", a.body)
}

func TestUserTasks(t *testing.T) {
	t.Parallel()
	at := newClock(noon)
	s := newShop(t, at.use)
	s.addTask(nil)
	s.addTask(map[string]any{"task_id": 124, "requires": []int64{123}})
	s.addTask(map[string]any{"task_id": 125, "activation": "automatic", "recurring": true, "count": map[string]any{"mode": "sum"}, "target": 1000})
	s.addTask(map[string]any{"task_id": 126, "status": "draft"})
	s.addTask(map[string]any{"task_id": 127, "audience": map[string]any{"vip": true}})
	s.addTask(map[string]any{"task_id": 128, "starts_at": "2027-01-01T00:00:00Z"})

	list := s.tasks("rich")
	require.Len(t, list, 3)
	require.Equal(t, tasks.UserAvailable, list[123].Status)
	require.Nil(t, list[123].EndsAt)
	require.Equal(t, tasks.UserLocked, list[124].Status)
	require.Equal(t, []int64{123}, list[124].Missing)
	require.Equal(t, tasks.UserActive, list[125].Status, "an automatic one waits for its first event")
	require.Nil(t, list[125].WindowID)
	require.EqualValues(t, 9*3600, *list[125].SecondsLeft)

	activate := func(user, task string, changes ...with) string {
		return s.outcome("storefront", "POST", "/api/v1/users/"+user+"/tasks/"+task+"/activate", "", changes...)
	}
	key := header("Idempotency-Key", "k")
	a := s.call("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", "", key)
	require.Equal(t, 201, a.status, "%s", a.body)
	window := *into[UserTask](t, a).WindowID
	require.JSONEq(t, `{"task_id":123,"name":"Make 5 bets of 100+ rubles per day","description":"","status":"active","progress":0,"target":5,
		"activated_at":"2026-11-22T12:00:00Z","ends_at":"2026-11-22T21:00:00Z","seconds_left":32400,"window_id":"`+window+`","missing":[],"activation":"manual","recurring":false,
		"count":{"mode":"events"},"reward":{"coins":500,"main_product":{"reward_type":"bonus_coins","amount":"100"}},"rewards_received":[]}`, string(a.body))
	again := s.call("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", "", key)
	require.Equal(t, string(a.body), string(again.body))
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "422 idempotency_key_reused", activate("rich", "125", key))
	for task, want := range map[string]string{"123": "409 already_active", "124": "409 locked", "125": "409 automatic", "126": "409 not_running", "127": "403 not_eligible", "128": "409 not_running"} {
		require.Equal(t, want, activate("rich", task), task)
	}

	// An edit changes nothing of a window that is open.
	edit := s.call("admin", "PUT", "/api/v1/admin/tasks/123", edited(t, fiveBets, map[string]any{"name": "Make 6 bets", "target": 6, "reward": map[string]any{"coins": 1}}))
	require.Equal(t, 200, edit.status)
	mine := s.tasks("rich")[123]
	require.Equal(t, "Make 5 bets of 100+ rubles per day", mine.Name)
	require.Equal(t, "5", mine.Target.String())
	require.EqualValues(t, 500, mine.Reward.Coins)
	testkit.AddUser(s.t, s.db, "other", 0)
	require.Equal(t, "Make 6 bets", s.tasks("other")[123].Name)

	at.set(noon.Add(9*time.Hour - time.Millisecond))
	require.Equal(t, tasks.UserActive, s.tasks("rich")[123].Status)
	require.EqualValues(t, 1, *s.tasks("rich")[123].SecondsLeft)
	at.set(noon.Add(9 * time.Hour))
	require.Equal(t, tasks.UserExpired, s.tasks("rich")[123].Status, "to the instant")
	require.EqualValues(t, 0, *s.tasks("rich")[123].SecondsLeft)
	require.Equal(t, "409 already_used", activate("rich", "123"))
	require.Equal(t, "409 not_active", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/125/cancel", ""))

	// Taken off, it is remembered for a while.
	require.Equal(t, 200, s.call("admin", "PUT", "/api/v1/admin/tasks/123", edited(t, fiveBets, map[string]any{"status": "draft"})).status)
	require.Equal(t, tasks.UserExpired, s.tasks("rich")[123].Status)
	require.NotContains(t, s.tasks("other"), int64(123))
	at.set(noon.Add(9*time.Hour + stillShown + time.Second))
	require.NotContains(t, s.tasks("rich"), int64(123))
}

func TestCompletedTask(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.addTask(map[string]any{"window": map[string]any{"kind": "rolling"}})
	s.addTask(map[string]any{"task_id": 124, "requires": []int64{123}})
	require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", ""))
	s.complete(*s.tasks("rich")[123].WindowID)

	list := s.tasks("rich")
	require.Equal(t, tasks.UserCompleted, list[123].Status)
	require.Equal(t, "5", list[123].Progress.String())
	require.Len(t, list[123].RewardsReceived, 1, "the main product's part is owed")
	require.EqualValues(t, 500, *list[123].RewardsReceived[0].Coins)
	require.Equal(t, tasks.UserAvailable, list[124].Status)
	require.Equal(t, "409 already_completed", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", ""))
	require.Equal(t, "409 not_active", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/cancel", ""))
	require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/124/activate", ""))
	require.EqualValues(t, 1_000_500, into[Wallet](t, s.call("storefront", "GET", "/api/v1/users/rich/wallet", "")).Available)
	feed := into[NotificationPage](t, s.call("storefront", "GET", "/api/v1/users/rich/notifications", "")).Items
	require.ElementsMatch(t, []string{"wallet_adjusted", "task_completed", "task_available"}, each(feed, func(n Notification) string { return n.Kind }))

	require.Equal(t, "204", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/124/cancel", ""))
	require.Equal(t, tasks.UserAvailable, s.tasks("rich")[124].Status)
	require.Equal(t, "409 not_active", s.outcome("support", "POST", "/api/v1/users/rich/tasks/124/cancel", `{"reason":"asked for it"}`))
	require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/124/activate", ""))
}

// complete brings a window to its target and pays it, as counting and the workflow do.
func (s *shop) complete(windowID string) {
	s.t.Helper()
	testkit.Exec(s.t, s.db, "UPDATE task_windows SET state = 'completed', progress = target, completed_at = now(), changes = changes + 1, updated_at = now() WHERE window_id = '"+windowID+"'")
	_, err := s.db.SettleWindow(s.t.Context(), windowID, time.Now())
	require.NoError(s.t, err)
}

func TestActivateTaskOnceOfMany(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.addTask(nil)
	outcomes := make([]string, 20)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() { outcomes[i] = s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", "") })
	}
	wg.Wait()
	tally := map[string]int{}
	for _, outcome := range outcomes {
		tally[outcome]++
	}
	require.Equal(t, map[string]int{"201": 1, "409 already_active": 19}, tally)
}

func TestRewards(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	testkit.AddUser(s.t, s.db, "other", 0)
	s.addTask(map[string]any{"window": map[string]any{"kind": "rolling"}})
	for _, user := range []string{"rich", "other"} {
		require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/"+user+"/tasks/123/activate", ""))
		s.complete(*s.tasks(user)[123].WindowID)
	}
	list := func(query string) []Reward {
		a := s.call("support", "GET", "/api/v1/admin/rewards"+query, "")
		require.Equal(t, 200, a.status, "%s", a.body)
		return into[RewardPage](t, a).Items
	}
	require.Len(t, list(""), 4)
	require.Len(t, list("?status=delivered&user_id=rich"), 1)
	require.Empty(t, list("?task_id=124"))
	page := into[RewardPage](t, s.call("admin", "GET", "/api/v1/admin/rewards?limit=1&task_id=123", ""))
	require.Len(t, list("?cursor="+*page.NextCursor), 3)
	pending := list("?status=pending&user_id=other")[0]
	require.Equal(t, "bonus_coins", *pending.RewardType)
	require.Equal(t, "100", pending.Amount.String())
	require.Nil(t, pending.Coins)

	replay := "/api/v1/admin/rewards/" + pending.RewardID + "/replay"
	const reason = `{"reason":"the main product is back"}`
	require.Equal(t, "409 reward_not_replayable", s.outcome("support", "POST", replay, reason))
	testkit.Exec(t, s.db, "UPDATE task_rewards SET status = 'refused', reason_code = 'USER_NOT_FOUND', reason_message = 'who' WHERE status = 'pending'")
	refused := list("?status=refused&user_id=other")[0]
	require.Equal(t, RewardReason{Code: "USER_NOT_FOUND", Message: "who"}, *refused.Reason)
	require.Equal(t, "202", s.outcome("support", "POST", replay, reason, header("Idempotency-Key", "k")))
	a := s.call("support", "POST", replay, reason, header("Idempotency-Key", "k"))
	require.Equal(t, 202, a.status)
	require.Equal(t, "true", a.header.Get("Idempotency-Replayed"))
	require.Len(t, list("?status=pending"), 1)
}

func TestStreamUserTasks(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.addTask(map[string]any{"window": map[string]any{"kind": "rolling"}})
	next := s.follow(t, "/api/v1/users/rich/tasks/stream", "")
	read := func() (string, UserTask) {
		e, ok := next()
		require.True(t, ok)
		require.Equal(t, "tasks", e.name)
		var list UserTasks
		require.NoError(t, json.Unmarshal([]byte(e.data), &list))
		return e.id, list.Tasks[0]
	}
	first, task := read()
	require.Equal(t, tasks.UserAvailable, task.Status)
	require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", ""))
	second, task := read()
	require.Equal(t, tasks.UserActive, task.Status)
	require.NotEqual(t, first, second)
	testkit.Exec(t, s.db, "UPDATE task_windows SET progress = 3")
	third, task := read()
	require.Equal(t, "3", task.Progress.String(), "and no event for the seconds that pass")

	next = s.follow(t, "/api/v1/users/rich/tasks/stream", third)
	s.complete(*task.WindowID)
	_, task = read()
	require.Equal(t, tasks.UserCompleted, task.Status, "only what is new after Last-Event-ID")
}

func TestTaskStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.MaxWaiting = 1 })
	s.follow(t, "/api/v1/users/rich/tasks/stream", "")
	require.Equal(t, "503 overloaded", s.outcome("storefront", "GET", "/api/v1/users/rich/tasks/stream", ""))
}

// storeEvent writes an event as the intake does, with what it meant.
func (s *shop) storeEvent(id, user string, occurredAt time.Time, payload string, decisions ...tasks.Decision) {
	s.t.Helper()
	key := events.KeyOf(1, id)
	encoded, err := json.Marshal(decisions)
	require.NoError(s.t, err)
	for _, statement := range []string{
		`INSERT INTO event_keys (key, received_at, duplicates) VALUES ($1, $2, 2)`,
		`INSERT INTO events (key, project_id, event_id, identified_by, source, user_id, event_type, occurred_at, received_at, payload, decisions)
			VALUES ($1, 1, $3, 'event_id', 'rest', $4, 'bet_placed', $2::timestamptz, $2, $5, NULLIF($6::jsonb, 'null'))`,
	} {
		arguments := []any{key, occurredAt, id, user, payload, encoded}
		if strings.Contains(statement, "event_keys") {
			arguments = arguments[:2]
		}
		_, err = s.db.Pool().Exec(s.t.Context(), statement, arguments...)
		require.NoError(s.t, err)
	}
}

func bet(user string, at time.Time, amount string) string {
	return fmt.Sprintf(`{"user_id":%q,"event_type":"bet_placed","timestamp":%q,"amount":%s,"currency":"RUB"}`, user, at.Format(time.RFC3339), amount)
}

func TestEventDecisions(t *testing.T) {
	t.Parallel()
	at := newClock(noon)
	s := newShop(t, at.use)
	s.addTask(nil)
	s.addTask(map[string]any{"task_id": 124, "requires": []int64{123}})
	at.set(noon.Add(time.Minute))
	now := noon.Add(time.Minute)
	s.storeEvent("bet 1/й", "rich", now, bet("rich", now, "50"), tasks.Decision{
		TaskID:   123,
		Version:  1,
		WindowID: "w1",
		Code:     tasks.TooSmall,
		Values:   map[string]string{"amount": "50", "min_amount": "100"},
	})
	decisions := func(id string) EventDecisions {
		a := s.call("main_product", "GET", "/api/v1/events/"+id+"/decisions", "")
		require.Equal(t, 200, a.status, "%s", a.body)
		return into[EventDecisions](t, a)
	}
	found := decisions("bet%201%2F%D0%B9")
	require.Equal(t, "bet 1/й", found.EventID)
	require.Equal(t, []any{EventDecisionsIdentifiedBy("event_id"), "rest", "rich", "bet_placed", now, 2}, []any{found.IdentifiedBy, found.Source, found.UserID, found.EventType, found.OccurredAt, found.Duplicates})
	require.Len(t, found.Decisions, 2)
	require.Equal(t, tasks.TooSmall, found.Decisions[0].Code)
	require.Equal(t, "Make 5 bets of 100+ rubles per day", *found.Decisions[0].Name)
	require.Equal(t, "w1", *found.Decisions[0].WindowID)
	require.Equal(t, map[string]string{"amount": "50", "min_amount": "100"}, found.Decisions[0].Values)
	require.Equal(t, tasks.Locked, found.Decisions[1].Code)

	s.storeEvent("bet-2", "rich", now, bet("rich", now, "100"))
	require.Equal(t, []tasks.Code{tasks.NotActivated, tasks.Locked}, each(decisions("bet-2").Decisions, func(d EventDecision) tasks.Code { return d.Code }))
	s.storeEvent("bet-3", "stranger", now, bet("stranger", now, "100"), tasks.Decision{Code: tasks.UnknownUser})
	unknown := decisions("bet-3").Decisions
	require.Len(t, unknown, 1)
	require.Equal(t, tasks.UnknownUser, unknown[0].Code)
	require.Nil(t, unknown[0].TaskID)
	require.NotEmpty(t, unknown[0].Message)

	// The name is that of the version that decided, also when it is long gone.
	for range 2 {
		at.set(at.now.Load().Add(time.Hour))
		require.Equal(t, 200, s.call("admin", "PUT", "/api/v1/admin/tasks/123", edited(t, fiveBets, map[string]any{"name": "Another", "status": "draft"})).status)
	}
	require.Equal(t, "Make 5 bets of 100+ rubles per day", *decisions("bet%201%2F%D0%B9").Decisions[0].Name)

	s.putKey("key-of-others", "admin")
	testkit.Exec(t, s.db, "INSERT INTO projects (project_id, name) VALUES (2, 'other')")
	testkit.Exec(t, s.db, "UPDATE api_keys SET project_id = 2 WHERE key_id = 'id-key-of-others'")
	require.Equal(t, "404 event_not_found", s.outcome("others", "GET", "/api/v1/events/bet-2/decisions", ""))
	require.Equal(t, "404 task_not_found", s.outcome("others", "GET", "/api/v1/admin/tasks/123", ""))
}

func TestShadowRun(t *testing.T) {
	t.Parallel()
	at := newClock(noon)
	s := newShop(t, at.use)
	testkit.Exec(t, s.db, "UPDATE users SET created_at = '2026-01-01'")
	s.addTask(map[string]any{"status": "draft", "target": 2, "recurring": true, "budget": map[string]any{"total_coins": 900}})
	run := func() ShadowRun {
		a := s.call("support", "POST", "/api/v1/admin/tasks/123/shadow", `{"from":"2026-11-01T00:00:00+03:00","until":"2026-11-22T12:00:00Z"}`)
		require.Equal(t, 200, a.status, "%s", a.body)
		return into[ShadowRun](t, a)
	}
	empty := run()
	require.Zero(t, empty.Events)
	require.Empty(t, empty.Items)
	for i := range 12 { // three bets a day, the third too many
		moment := noon.Add(-time.Duration(i/3)*24*time.Hour - time.Duration(i%3+1)*time.Hour)
		s.storeEvent(fmt.Sprint("bet-", i), "rich", moment, bet("rich", moment, "100"))
	}
	s.storeEvent("small", "rich", noon.Add(-time.Minute), bet("rich", noon.Add(-time.Minute), "1"))
	s.storeEvent("stranger", "stranger", noon.Add(-time.Minute), bet("stranger", noon.Add(-time.Minute), "100"))
	s.storeEvent("outside", "rich", noon, bet("rich", noon, "100"))
	before := s.written()
	found := run()
	require.EqualValues(t, 14, found.Events)
	require.EqualValues(t, map[string]int64{"counted": 8, "already_completed": 5, "unknown_user": 1}, found.Decisions)
	require.EqualValues(t, 4, found.Completions)
	require.Equal(t, 1, found.CompletedUsers)
	require.EqualValues(t, 500, found.Coins, "the second would be above the budget")
	require.EqualValues(t, 3, found.OverBudget)
	require.Equal(t, "400", found.MainProduct.Amount.String())
	require.Equal(t, []ShadowUser{{UserID: "rich", Completions: 4, Coins: 500}}, found.Items)
	require.False(t, found.More)
	require.Equal(t, before, s.written())
}

func TestProductThatRequiresTasks(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.addTask(map[string]any{"window": map[string]any{"kind": "rolling"}})
	a := s.call("admin", "POST", "/api/v1/admin/products", `{"sku":"gift","name":"Gift","price_coins":1,"status":"published","stock":{"initial":5},
		"integration":{"amount":1,"currency":"c"},"requires":{"completed_tasks":[123]}}`)
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Equal(t, store.TaskIDs{"123"}, into[Product](t, a).Requires.CompletedTasks)
	const purchase = `{"user_id":"rich","sku":"gift"}`
	require.Equal(t, "403 not_eligible", s.outcome("storefront", "POST", "/api/v1/purchases", purchase))
	require.Equal(t, "201", s.outcome("storefront", "POST", "/api/v1/users/rich/tasks/123/activate", ""))
	require.Equal(t, "not_eligible", *into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/gift?user_id=rich", "")).Purchasable.Code)
	s.complete(*s.tasks("rich")[123].WindowID)
	require.True(t, into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/gift?user_id=rich", "")).Purchasable.Allowed)
	require.Equal(t, "202", s.outcome("storefront", "POST", "/api/v1/purchases", purchase))
}
