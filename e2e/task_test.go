package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

// fiveBets is the seed's task: "Make 5 bets of 100+ rubles per day".
func fiveBets(change ...func(object)) object {
	task := object{
		"name": "Five bets", "description": "Make 5 bets of 100+ rubles per day", "status": "published",
		"event_type": "bet_placed", "min_amount": 100, "equals": object{"currency": "RUB"}, "count": object{"mode": "events"}, "target": 5,
		"window": object{"kind": "calendar", "unit": "month", "time_zone": "Europe/Moscow"}, "activation": "manual",
		"reward": object{"coins": 50, "main_product": object{"reward_type": "bonus_coins", "amount": 100}},
	}
	for _, f := range change {
		f(task)
	}
	return task
}

// publish creates a task and returns its id.
func (n *node) publish(task object) (taskID int64) {
	n.t.Helper()
	a := n.call("admin", http.MethodPost, "/api/v1/admin/tasks", task)
	require.Equal(n.t, http.StatusCreated, a.status, "%s", a.body)
	var created struct {
		TaskID int64 `json:"task_id"`
	}
	a.into(n.t, &created)
	return created.TaskID
}

func (n *node) activate(userID string, taskID int64) {
	n.t.Helper()
	a := n.call("storefront", http.MethodPost, fmt.Sprintf("/api/v1/users/%s/tasks/%d/activate", userID, taskID), nil)
	require.Equal(n.t, http.StatusCreated, a.status, "%s", a.body)
}

type userTask struct {
	TaskID          int64  `json:"task_id"`
	Status          string `json:"status"`
	Progress        int    `json:"progress"`
	Target          int    `json:"target"`
	SecondsLeft     *int64 `json:"seconds_left"`
	RewardsReceived []struct {
		Kind   string `json:"kind"`
		Status string `json:"status"`
	} `json:"rewards_received"`
}

func (n *node) userTask(userID string, taskID int64) userTask {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/users/"+userID+"/tasks", nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct{ Tasks []userTask }
	a.into(n.t, &body)
	for _, task := range body.Tasks {
		if task.TaskID == taskID {
			return task
		}
	}
	require.Fail(n.t, "the task is not shown", "%s", a.body)
	return userTask{}
}

// bet is the seed's event, to the letter but for the time and what a test changes.
func bet(change ...func(object)) object {
	event := object{"user_id": buyer, "event_type": "bet_placed", "timestamp": time.Now().UTC().Format(time.RFC3339), "amount": 250.00,
		"currency": "RUB", "game_type": "roulette", "outcome": "win", "bet_type": "red"}
	for _, f := range change {
		f(event)
	}
	return event
}

func with(field string, value any) func(object) {
	return func(event object) { event[field] = value }
}

type intake struct {
	Accepted   int
	Duplicates int
	Rejected   []struct {
		Index int
		Code  string
	}
}

func (n *node) send(events any) (in intake) {
	n.t.Helper()
	a := n.call("main_product", http.MethodPost, "/api/v1/events", events)
	require.Equal(n.t, http.StatusAccepted, a.status, "%s", a.body)
	a.into(n.t, &in)
	return in
}

func (n *node) decision(eventID string) (codes []string) {
	n.t.Helper()
	a := n.call("support", http.MethodGet, "/api/v1/events/"+eventID+"/decisions", nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct {
		Decisions []struct{ Code string }
	}
	a.into(n.t, &body)
	for _, d := range body.Decisions {
		codes = append(codes, d.Code)
	}
	return codes
}

// rewarded waits until every part of the reward was received.
func (n *node) rewarded(userID string, taskID int64) {
	n.t.Helper()
	testkit.Eventually(n.t, "the reward is there", func(context.Context) error {
		task := n.userTask(userID, taskID)
		if task.Status != "completed" || len(task.RewardsReceived) != 2 {
			return fmt.Errorf("%+v", task)
		}
		return nil
	})
}

// The seed's example: activation, five bets of 100 and more, a smaller one and a duplicate that do not count,
// completion, coins in the wallet, the main product's books credited once, and the user told.
func TestTask(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	taskID := n.publish(fiveBets())

	require.Equal(t, 1, n.send(bet(with("event_id", "early"))).Accepted)
	require.Equal(t, "available", n.userTask(buyer, taskID).Status)
	n.activate(buyer, taskID)
	require.Equal(t, "active", n.userTask(buyer, taskID).Status)
	again := n.call("storefront", http.MethodPost, fmt.Sprintf("/api/v1/users/%s/tasks/%d/activate", buyer, taskID), nil)
	require.Equal(t, []any{http.StatusConflict, "already_active"}, []any{again.status, again.code(t)})

	for i := range 4 {
		in := n.send(bet(with("event_id", fmt.Sprintf("bet-%d", i))))
		require.Equal(t, 1, in.Accepted)
	}
	require.Equal(t, intake{Accepted: 1}, dropEmpty(n.send(bet(with("event_id", "small"), with("amount", 99.99)))))
	require.Equal(t, intake{Duplicates: 1}, dropEmpty(n.send(bet(with("event_id", "bet-3")))))
	task := n.userTask(buyer, taskID)
	require.Equal(t, []any{"active", 4, 5}, []any{task.Status, task.Progress, task.Target})
	require.Positive(t, *task.SecondsLeft)
	require.Equal(t, []string{"too_small"}, n.decision("small"))
	require.Equal(t, []string{"counted"}, n.decision("bet-3"))

	require.Equal(t, 1, n.send([]object{bet(with("event_id", "bet-4"), with("amount", "100"))}).Accepted)
	n.rewarded(buyer, taskID)
	n.requireWallet(buyer, 1050, 0)
	require.Equal(t, 1, s.rewards(buyer))
	told := n.call("storefront", http.MethodGet, "/api/v1/users/"+buyer+"/notifications", nil)
	require.Contains(t, string(told.body), "task_completed")
	require.Contains(t, string(told.body), "reward_received")
	require.Equal(t, 1, n.send(bet(with("event_id", "more"))).Accepted)
	require.Equal(t, []string{"already_completed"}, n.decision("more"))
	s.verify()
}

func dropEmpty(in intake) intake {
	if len(in.Rejected) == 0 {
		in.Rejected = nil
	}
	return in
}

// Two windows, one user, 50 events at once around the target: one completion and one reward each.
func TestFiftyEventsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	nodes := []*node{s.serve("serve"), s.serve("serve")} // two processes share no lock but the database's
	first, second := nodes[0].publish(fiveBets(with("target", 40))), nodes[0].publish(fiveBets(with("target", 25), with("activation", "automatic")))
	nodes[0].activate(buyer, first)
	var group sync.WaitGroup
	failures := make([]error, 50)
	for i := range failures {
		group.Go(func() {
			a, err := nodes[i%2].try("main_product", http.MethodPost, "/api/v1/events", bet(with("event_id", fmt.Sprint(i))))
			if err == nil && a.status != http.StatusAccepted {
				err = errors.New(string(a.body))
			}
			failures[i] = err
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(failures...))
	for _, taskID := range []int64{first, second} {
		nodes[1].rewarded(buyer, taskID)
	}
	nodes[1].requireWallet(buyer, 1100, 0)
	require.Equal(t, 2, s.rewards(buyer))
	s.verify()
}
