package e2e

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// victim is something that a test kills and starts again.
type victim interface {
	Kill() error
	Restart(ctx context.Context) error
}

// stopAfter stops a server at the end of the test.
func stopAfter(t *testing.T, stop func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, stop(context.WithoutCancel(t.Context()))) })
}

// ownServers are a PostgreSQL and a Temporal that a test may kill.
func ownServers(t *testing.T) (*devstack.Postgres, *devstack.Temporal) {
	t.Helper()
	pg, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{}) // what it says is committed is on disk
	require.NoError(t, err)
	stopAfter(t, pg.Stop)
	_, err = postgres.Migrate(t.Context(), pg.URL())
	require.NoError(t, err)
	temporal, err := devstack.StartTemporal(t.Context(), devstack.TemporalOptions{PostgresURL: pg.URL(), UIPort: devstack.NoUI})
	require.NoError(t, err)
	stopAfter(t, temporal.Stop)
	return pg, temporal
}

// Everything is killed in turn, each time in the middle of a stream that comes in by HTTP, Kafka and
// RabbitMQ. Senders repeat what was not taken. In the end progress is a fold over what was sent, and every
// completion is rewarded once.
func TestKillNineInAStreamOfEvents(t *testing.T) {
	t.Parallel()
	pg, temporal := ownServers(t)
	broker, err := devstack.StartRabbitMQ(t.Context(), devstack.RabbitMQOptions{})
	require.NoError(t, err)
	stopAfter(t, broker.Stop)
	s := newStackAt(t, pg.URL(), testkit.Engine{Address: temporal.Address(), Namespace: "default"})
	begin := time.Now().UTC().Truncate(time.Second).AddDate(0, 0, -streamDays)
	queue, topic := newRabbit(t, broker.URL()), newKafka(t)
	require.NoError(t, broker.Restart(t.Context())) // RabbitMQ has a new queue on disk for sure only after a stop in order
	api := s.serve("api")
	ingest, worker := s.ingest("ingest", append(queue.env(), topic.env())...), s.worker("worker")
	rules := rules(begin)
	api.prepare(rules, begin, "k")

	random := mathrand.New(mathrand.NewPCG(3, 4))
	actions := stream(random, 9000, begin)
	want := fold(rules, actions, begin)
	want.requireMixed(t, rules)
	all := shuffled(random, actions, "k")
	doors := []door{api.restDoor(), topic.door(), queue.door()}
	for i := range doors {
		doors[i].largest = 8 // many messages, so that some are under way whenever something dies
	}
	victims := []struct {
		name string
		victim
	}{{"api", api}, {"ingest", ingest}, {"worker", worker}, {"RabbitMQ", broker}, {"Temporal", temporal}, {"PostgreSQL", pg}}
	poured := 0
	for i, dying := range victims {
		part := all[i*len(all)/len(victims) : (i+1)*len(all)/len(victims)]
		var pouring errgroup.Group
		for n, d := range doors {
			own := mathrand.New(mathrand.NewPCG(uint64(i), uint64(n)))
			pouring.Go(func() error { return d.pour(t.Context(), own, part[n*len(part)/len(doors):(n+1)*len(part)/len(doors)]) })
		}
		s.counted(poured + len(part)/10)
		require.NoError(t, dying.Kill(), dying.name)
		require.NoError(t, dying.Restart(t.Context()), dying.name)
		require.NoError(t, pouring.Wait(), dying.name)
		poured += len(part)
	}
	s.accepted(len(actions))
	s.settled()
	require.Equal(t, want, s.tally().of("k"))
	for _, entry := range s.rewardBooks() {
		require.Equal(t, 1, entry.Credited, "%+v", entry)
	}
	s.verify()
}

// reward is what an admin sees of one part.
type reward struct {
	RewardID string `json:"reward_id"`
	UserID   string `json:"user_id"`
	Coins    *int64
	Status   string
	Calls    int
	Reason   *struct{ Code string }
}

func (n *node) listRewards(query string) (list []reward) {
	n.t.Helper()
	a := n.call("admin", http.MethodGet, "/api/v1/admin/rewards?"+query, nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct{ Items []reward }
	a.into(n.t, &body)
	return body.Items
}

// owed waits until the main product's part of a user's reward has this status.
func (n *node) owed(userID, status string) (found reward) {
	n.t.Helper()
	testkit.Eventually(n.t, "the reward of "+userID+" is "+status, func(context.Context) error {
		for _, r := range n.listRewards("user_id=" + userID) {
			if r.Coins == nil {
				if found = r; r.Status == status {
					return nil
				}
			}
		}
		return fmt.Errorf("%+v", found)
	})
	return found
}

func (n *node) replayReward(rewardID string) answer {
	n.t.Helper()
	return n.call("support", http.MethodPost, "/api/v1/admin/rewards/"+rewardID+"/replay", object{"reason": "the product is back"})
}

// The main product is away, refuses, and credits without an answer. The window is completed and its coins are
// paid in any case, once; what the main product owes is listed, replayed, and given once. The test lasts as
// long as the three pauses of ten seconds that the seed asks for.
func TestRewardsOfATroubledMainProduct(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	taskID := n.publish(fiveBets(with("target", 1), with("activation", "automatic")))
	s.misbehave(
		fake.Behaviour{Kind: fake.ErrorStatus, Status: http.StatusServiceUnavailable, On: fake.OnReward, Users: []string{"away"}},
		fake.Behaviour{
			Kind:         fake.Refuse,
			Code:         "LIMIT_REACHED",
			Message:      "Daily limit reached",
			RetryAllowed: true,
			On:           fake.OnReward,
			Users:        []string{"refused"},
		},
		fake.Behaviour{Kind: fake.Drop, CreditFirst: true, Calls: 1, On: fake.OnReward, Users: []string{"dropped"}})
	users := []string{"away", "refused", "dropped"}
	for _, user := range users {
		testkit.AddUser(t, s.db, user, 0)
		require.Equal(t, 1, n.send(bet(with("user_id", user), with("event_id", user))).Accepted)
	}

	refused := n.owed("refused", "refused")
	require.Equal(t, []any{1, "LIMIT_REACHED"}, []any{refused.Calls, refused.Reason.Code}, "a refusal is not tried again")
	n.owed("dropped", "delivered")
	require.Equal(t, 1, s.rewards("dropped"), "credited, and the answer lost")
	away := n.owed("away", "undelivered")
	require.Equal(t, 4, away.Calls)
	require.Equal(t, []reward{away}, n.listRewards("status=undelivered"))
	for _, user := range users {
		require.Equal(t, "completed", n.userTask(user, taskID).Status)
		n.requireWallet(user, 50, 0)
	}
	require.Zero(t, s.rewards("away")+s.rewards("refused"))

	s.misbehave()
	for _, r := range []reward{away, refused} {
		require.Equal(t, http.StatusAccepted, n.replayReward(r.RewardID).status)
		require.Equal(t, r.Calls+1, n.owed(r.UserID, "delivered").Calls)
		again := n.replayReward(r.RewardID)
		require.Equal(t, []any{http.StatusConflict, "reward_not_replayable"}, []any{again.status, again.code(t)})
	}
	require.Empty(t, n.listRewards("status=undelivered"))
	for _, user := range users {
		n.rewarded(user, taskID)
		n.requireWallet(user, 50, 0)
		require.Equal(t, 1, s.rewards(user))
	}
	s.settled()
	s.verify()
}

// notifications lists what a user was told, newest first.
func (n *node) notifications(userID string) (kinds []string) {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/users/"+userID+"/notifications", nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct{ Items []struct{ Kind string } }
	a.into(n.t, &body)
	for _, item := range body.Items {
		kinds = append(kinds, item.Kind)
	}
	return kinds
}

func count(kinds []string, kind string) (n int) {
	for _, k := range kinds {
		if k == kind {
			n++
		}
	}
	return n
}

// Completing the first task opens the others: one to be activated, one that counts at once, and the shop's product.
func TestChainOfTasks(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	first := n.publish(fiveBets(with("target", 2)))
	manual := n.publish(fiveBets(with("name", "Next"), with("requires", []int64{first})))
	automatic := n.publish(fiveBets(with("name", "At once"), with("requires", []int64{first}), with("activation", "automatic"), with("target", 3)))
	last := n.publish(fiveBets(with("name", "Last"), with("requires", []int64{manual, automatic})))
	product := testkit.Credits500()
	product.Requires = store.Requirements{CompletedTasks: store.TaskIDs{fmt.Sprint(first)}}
	testkit.AddProduct(t, s.db, product)

	for _, taskID := range []int64{manual, automatic, last} {
		require.Equal(t, "locked", n.userTask(buyer, taskID).Status)
	}
	locked := n.call("storefront", http.MethodPost, fmt.Sprintf("/api/v1/users/%s/tasks/%d/activate", buyer, manual), nil)
	require.Equal(t, []any{http.StatusConflict, "locked"}, []any{locked.status, locked.code(t)})
	buy := func() answer {
		return n.call("storefront", http.MethodPost, "/api/v1/purchases", object{"user_id": buyer, "sku": "credits-500"})
	}
	early := buy()
	require.Equal(t, []any{http.StatusForbidden, "not_eligible"}, []any{early.status, early.code(t)})

	n.activate(buyer, first)
	require.Equal(t, 1, n.send(bet(with("event_id", "1"))).Accepted)
	require.Equal(t, "locked", n.userTask(buyer, automatic).Status)
	require.Equal(t, 2, n.send([]object{bet(with("event_id", "2")), bet(with("event_id", "3"))}).Accepted)
	require.Equal(t, []string{"available", "active", "locked"}, []string{n.userTask(buyer, manual).Status, n.userTask(buyer, automatic).Status, n.userTask(buyer, last).Status})
	require.Equal(t, 1, n.userTask(buyer, automatic).Progress, "the event that completed the first does not count, the next one does")
	n.rewarded(buyer, first)
	require.Equal(t, 2, count(n.notifications(buyer), "task_available"))
	require.Equal(t, http.StatusAccepted, buy().status)
	n.activate(buyer, manual)
	for i := range 5 {
		require.Equal(t, 1, n.send(bet(with("event_id", fmt.Sprint("more-", i)))).Accepted)
	}
	n.rewarded(buyer, manual)
	n.rewarded(buyer, automatic)
	require.Equal(t, "available", n.userTask(buyer, last).Status)
	require.Equal(t, 3, count(n.notifications(buyer), "task_available"))
	require.Equal(t, 3, s.rewards(buyer)) // the books' order of credits has no task
	s.verify()
}

// expire moves the instants of all windows into the past; the workflows wait for the old ones.
func (s *stack) expire() {
	s.t.Helper()
	testkit.Exec(s.t, s.db, `UPDATE task_windows SET anchor = now() - interval '2 days', activated_at = now() - interval '2 days',
		ends_at = now() - interval '1 day', closes_at = now() - interval '1 day' + interval '5 minutes', sweep_at = now()`)
}

// requireExpired: closed once, the user told once, and nothing counts any more.
func (n *node) requireExpired(userID string, taskID int64) {
	n.t.Helper()
	testkit.Eventually(n.t, "the window is closed", func(ctx context.Context) error {
		var state string
		err := n.db.Pool().QueryRow(ctx, "SELECT state FROM task_windows WHERE user_id = $1 AND task_id = $2 AND settled_at IS NOT NULL", userID, taskID).Scan(&state)
		if err == nil && state != "expired" {
			err = errors.New(state)
		}
		return err
	})
	require.Equal(n.t, []any{"expired", 1}, []any{n.userTask(userID, taskID).Status, n.userTask(userID, taskID).Progress})
	require.Equal(n.t, []string{"task_expired"}, n.notifications(userID))
	require.Empty(n.t, n.listRewards("user_id="+userID))
}

// A window whose time is over is closed once, whoever looks first: its workflow that is woken, or the sweep
// when the workflow is lost, or both at once.
func TestWindowsExpire(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	taskID := n.publish(fiveBets(with("window", object{"kind": "rolling", "unit": "day"})))
	users := []string{"woken", "lost", "both"}
	windows := map[string]string{}
	for _, user := range users {
		testkit.AddUser(t, s.db, user, 0)
		n.activate(user, taskID)
		require.Equal(t, 1, n.send(bet(with("user_id", user), with("event_id", user))).Accepted)
		windows[user] = n.windowID(user, taskID)
	}
	testkit.Eventually(t, "the workflows wait", func(ctx context.Context) (err error) {
		for _, id := range windows {
			_, described := s.engine.Client.DescribeWorkflowExecution(ctx, contract.TaskWindowWorkflowID(id), "")
			err = errors.Join(err, described)
		}
		return err
	})
	require.NoError(t, s.engine.Client.TerminateWorkflow(t.Context(), contract.TaskWindowWorkflowID(windows["lost"]), "", "a test"))
	s.expire()
	require.Equal(t, "expired", n.userTask("both", taskID).Status, "by the time alone")
	var group errgroup.Group
	for _, user := range []string{"woken", "both", "both", "both"} {
		group.Go(func() error {
			id := contract.TaskWindowWorkflowID(windows[user])
			options := client.StartWorkflowOptions{
				ID:                       id,
				TaskQueue:                contract.WindowTaskQueue,
				WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			}
			_, err := s.engine.Client.SignalWithStartWorkflow(t.Context(), id, contract.ChangedSignal, nil, options, contract.TaskWindowWorkflow,
				contract.TaskWindowInput{ProjectID: testkit.Project, WindowID: windows[user], UserID: user, TaskID: taskID})
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, user := range users {
		n.requireExpired(user, taskID)
	}
	late := bet(with("user_id", "lost"), with("event_id", "late"), with("timestamp", time.Now().AddDate(0, 0, -1).Add(-time.Hour).UTC().Format(time.RFC3339)))
	require.Equal(t, 1, n.send(late).Accepted)
	require.Equal(t, []string{"late"}, n.decision("late"))
	require.Equal(t, 1, n.userTask("lost", taskID).Progress)
	s.verify()
}

func (n *node) windowID(userID string, taskID int64) (id string) {
	n.t.Helper()
	require.NoError(n.t, n.db.Pool().QueryRow(n.t.Context(), "SELECT window_id FROM task_windows WHERE user_id = $1 AND task_id = $2", userID, taskID).Scan(&id))
	return id
}

// Nobody helps: the campaign ends seconds after the activation, and the workflows' own timers close the windows.
func TestWindowsExpireByThemselves(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	taskID := n.publish(fiveBets(with("window", object{
		"kind":          "calendar",
		"unit":          "month",
		"grace_seconds": 0,
	}), with("ends_at", time.Now().Add(4*time.Second).UTC().Truncate(time.Second))))
	users := []string{"one", "two", "three"}
	for _, user := range users {
		testkit.AddUser(t, s.db, user, 0)
		n.activate(user, taskID)
		require.Equal(t, 1, n.send(bet(with("user_id", user), with("event_id", user))).Accepted)
	}
	for _, user := range users {
		n.requireExpired(user, taskID)
	}
	s.verify()
}
