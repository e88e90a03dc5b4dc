package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// board is a desk with the seed's task, whose windows nobody works on unless a test starts workers.
type board struct {
	*desk
	product *testkit.MainProduct
	windows int
}

func newBoard(t *testing.T, engine testkit.Engine) *board {
	t.Helper()
	b := &board{desk: &desk{t: t, engine: engine, db: testkit.Database(t)}, product: testkit.NewMainProduct(t)}
	testkit.StoreTask(t, b.db, testkit.FiveBets())
	testkit.AddUser(t, b.db, buyer, 0)
	return b
}

// open opens a window that ends so long from now, with a grace of five minutes.
func (b *board) open(ends time.Duration) postgres.TaskWindowChange {
	b.t.Helper()
	b.windows++
	now := time.Now().Truncate(time.Second)
	w := tasks.Window{WindowID: b.promptWindow(), UserID: buyer, TaskID: 123, Version: 1, Number: b.windows, State: tasks.Open,
		ActivatedAt: now.Add(-time.Hour), EndsAt: now.Add(ends)}
	testkit.StoreWindow(b.t, b.db, w)
	return postgres.TaskWindowChange{
		Input:    contract.TaskWindowInput{ProjectID: testkit.Project, WindowID: w.WindowID, UserID: buyer, TaskID: 123},
		TaskName: testkit.FiveBets().Name,
		State:    tasks.Open,
		ClosesAt: w.EndsAt.Add(5 * time.Minute),
		Changes:  1,
	}
}

// promptWindow is the id of a window whose jitter is short.
func (b *board) promptWindow() string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("tw_%d_%d", b.windows, i); tasks.CloseJitter(id) < 2*time.Second {
			return id
		}
	}
}

// complete is what the count of the last event does.
func (b *board) complete(w postgres.TaskWindowChange) postgres.TaskWindowChange {
	b.t.Helper()
	testkit.Exec(b.t, b.db, `UPDATE task_windows SET state = 'completed', progress = target, completed_at = now(), updated_at = now(), changes = changes + 1,
		sweep_at = now() WHERE window_id = '`+w.Input.WindowID+`'`)
	testkit.StoreCompletion(b.t, b.db, w.Input.WindowID, time.Now())
	w.State, w.Changes = tasks.Completed, w.Changes+1
	return w
}

func (b *board) work() {
	b.t.Helper()
	workers := worker.New(worker.Options{Client: b.engine.Client, DB: b.db, Product: b.product.Client(b.t, false),
		WorkflowSlots: 50, DeliverySlots: 50, CachedRuns: 50, StopTimeout: time.Minute})
	require.NoError(b.t, workers.Start())
	b.t.Cleanup(func() { require.True(b.t, workers.Stop(time.Now().Add(time.Minute))) })
}

// started reads the event with which the latest run of a window's workflow began.
func (b *board) started(w postgres.TaskWindowChange) (*historypb.WorkflowExecutionStartedEventAttributes, error) {
	event, err := b.engine.Client.GetWorkflowHistory(b.t.Context(), contract.TaskWindowWorkflowID(w.Input.WindowID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	return event.GetWorkflowExecutionStartedEventAttributes(), err
}

func (b *board) requireStarted(w postgres.TaskWindowChange) *historypb.WorkflowExecutionStartedEventAttributes {
	b.t.Helper()
	var attributes *historypb.WorkflowExecutionStartedEventAttributes
	testkit.Within(b.t, time.Minute, w.Input.WindowID+" is started", func(context.Context) (err error) {
		attributes, err = b.started(w)
		return err
	})
	return attributes
}

func (b *board) requireNotStarted(w postgres.TaskWindowChange) {
	b.t.Helper()
	_, err := b.started(w)
	var notFound *serviceerror.NotFound
	require.ErrorAs(b.t, err, &notFound)
}

func (b *board) requireRow(w postgres.TaskWindowChange, columns, want string) {
	b.t.Helper()
	testkit.Within(b.t, time.Minute, columns+" of "+w.Input.WindowID, func(ctx context.Context) error {
		var got string
		err := b.db.Pool().QueryRow(ctx, "SELECT ("+columns+")::text FROM task_windows WHERE window_id = $1", w.Input.WindowID).Scan(&got)
		if err == nil && got != want {
			err = errors.New(got)
		}
		return err
	})
}

// requireRuns counts the runs of a window that Temporal has heard of.
func (b *board) requireRuns(w postgres.TaskWindowChange, want int) {
	b.t.Helper()
	testkit.Eventually(b.t, "the runs are visible", func(ctx context.Context) error {
		answer, err := b.engine.Client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: b.engine.Namespace, Query: fmt.Sprintf("WorkflowId = '%s'", contract.TaskWindowWorkflowID(w.Input.WindowID))})
		if err == nil && len(answer.GetExecutions()) != want {
			err = fmt.Errorf("%d runs", len(answer.GetExecutions()))
		}
		return err
	})
}

func (b *board) requireStatus(w postgres.TaskWindowChange, kind string, status contract.RewardStatus) {
	b.t.Helper()
	testkit.Eventually(b.t, kind+" of "+w.Input.WindowID, func(ctx context.Context) error {
		rewards, err := b.db.Rewards(ctx, testkit.Project, postgres.RewardFilter{Limit: 100})
		for _, reward := range rewards {
			if reward.WindowID == w.Input.WindowID && reward.Kind == kind && reward.Status == status {
				return err
			}
		}
		return errors.Join(err, fmt.Errorf("%+v", rewards))
	})
}

// Temporal UI alone must tell ops what a window is. Its run costs nothing until it closes.
func TestOpenWindowIsStartedForItsClosing(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	box := b.outbox()
	w := b.open(10 * time.Hour)
	w.TaskName = strings.Repeat("ü", 300)
	box.OfferTaskWindows(w)
	run(t, box)
	attributes := b.requireStarted(w)
	require.Equal(t, contract.TaskWindowWorkflow, attributes.GetWorkflowType().GetName())
	require.Equal(t, contract.WindowTaskQueue, attributes.GetTaskQueue().GetName())
	delay := attributes.GetFirstWorkflowTaskBackoff().AsDuration()
	require.InDelta(t, (10*time.Hour + 5*time.Minute + tasks.CloseJitter(w.Input.WindowID)).Seconds(), delay.Seconds(), 60)
	var user string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(attributes.GetSearchAttributes().GetIndexedFields()[contract.SearchUser], &user))
	require.Equal(t, buyer, user)
	description, err := b.engine.Client.DescribeWorkflow(t.Context(), contract.TaskWindowWorkflowID(w.Input.WindowID), "")
	require.NoError(t, err)
	summary, err := description.GetStaticSummary()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ü", 60)+" of 12345", summary)
	b.requireRow(w, "told, sweep_at = closes_at + interval '10 minutes'", "(1,t)")
}

// Completed while its run waits for the closing: the signal ends the delay, coins and the main product's part are given
// once, whatever is offered and swept again.
func TestCompletedWindowIsRewardedAtOnce(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	b.work()
	box := b.outbox()
	w := b.open(10 * time.Hour)
	box.OfferTaskWindows(w)
	run(t, box)
	first := b.requireStarted(w).GetOriginalExecutionRunId()
	b.requireRow(w, "told", "1")
	done := b.complete(w)
	box.OfferTaskWindows(done, done, w)
	require.NoError(t, b.engine.Client.GetWorkflow(t.Context(), contract.TaskWindowWorkflowID(w.Input.WindowID), first).Get(t.Context(), nil))
	b.requireRow(w, "told, settled_at IS NOT NULL", "(2,t)")
	testkit.RequireWallet(t, b.db, buyer, 50, 0)
	b.product.RequireCalls(t, w.Input.WindowID+".main_product", 1, 1)
	entry, _ := b.product.Books().Entry(w.Input.WindowID + ".main_product")
	require.Equal(t, []any{buyer, "bonus_coins", "100", int64(123), "Task completion reward"}, []any{entry.UserID, entry.Currency, entry.Amount.String(), entry.TaskID, entry.Reason})
	testkit.RequireClean(t, b.db)
}

// A process that was held up tells of an opened window after another has told of its completion, and its run
// is over. No second run waits for the closing of a window that is settled.
func TestLateNewsOfAnOpenedWindow(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	b.work()
	opened := b.open(10 * time.Hour)
	quick, slow := b.outbox(), b.outbox()
	quick.OfferTaskWindows(b.complete(opened))
	run(t, quick)
	b.requireRow(opened, "told, settled_at IS NOT NULL", "(2,t)")
	only := b.requireStarted(opened).GetOriginalExecutionRunId()
	require.NoError(t, b.engine.Client.GetWorkflow(t.Context(), contract.TaskWindowWorkflowID(opened.Input.WindowID), only).Get(t.Context(), nil))
	another := b.open(10 * time.Hour)
	slow.OfferTaskWindows(opened, another) // told of together
	run(t, slow)
	b.requireRow(another, "told", "1")
	require.Equal(t, only, b.requireStarted(opened).GetOriginalExecutionRunId())
}

func TestWindowExpires(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	b.work()
	w := b.open(-5*time.Minute + 2*time.Second) // it closes in two seconds
	box := b.outbox()
	box.OfferTaskWindows(w)
	run(t, box)
	b.requireRow(w, "state, settled_at >= closes_at", "(expired,t)")
	testkit.RequireClean(t, b.db)
}

// The process died before it told anything. However many others sweep, each window has one run.
func TestSweepTellsWhatACrashLeft(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	windows := make([]postgres.TaskWindowChange, 20)
	for i := range windows {
		windows[i] = b.open(time.Hour)
	}
	b.requireNotStarted(windows[0])
	for range 3 {
		run(t, b.outbox())
	}
	for _, w := range windows {
		b.requireStarted(w)
		b.requireRow(w, "told", "1")
	}
	b.requireRuns(windows[0], 1)
}

// The signal of a completion was lost, or the run was ended by hand: the sweep has the window paid all the same, once.
func TestSweepRepairsCompletedWindows(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	box := b.outbox()
	untold, ended := b.open(time.Hour), b.open(time.Hour)
	require.NoError(t, box.SweepTaskWindows(t.Context(), time.Now()))
	b.requireRow(ended, "told", "1")
	b.complete(untold)
	done := b.complete(ended)
	require.NoError(t, b.db.MarkTaskWindowsTold(t.Context(), []postgres.TaskWindowChange{done}, time.Now())) // and the signal was lost
	require.NoError(t, b.engine.Client.TerminateWorkflow(t.Context(), contract.TaskWindowWorkflowID(ended.Input.WindowID), "", "by hand"))
	b.work()
	require.NoError(t, box.SweepTaskWindows(t.Context(), time.Now()))
	b.requireRow(untold, "settled_at IS NOT NULL", "true")
	b.requireRow(ended, "told, settled_at IS NULL", "(2,t)")
	require.NoError(t, box.SweepTaskWindows(t.Context(), time.Now().Add(2*time.Minute)))
	b.requireRow(ended, "settled_at IS NOT NULL", "true")
	b.requireRuns(untold, 1)
	b.requireRuns(ended, 2)
	testkit.RequireWallet(t, b.db, buyer, 100, 0)
	testkit.RequireClean(t, b.db)
}

// The timer of an open window was lost with its run.
func TestSweepClosesWhatShouldHaveClosed(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	box := b.outbox()
	w := b.open(-30 * time.Minute)
	require.NoError(t, b.db.MarkTaskWindowsTold(t.Context(), []postgres.TaskWindowChange{w}, time.Now().Add(-time.Hour)))
	b.work()
	b.requireNotStarted(w)
	require.NoError(t, box.SweepTaskWindows(t.Context(), time.Now()))
	b.requireRow(w, "state", "expired")
	testkit.RequireClean(t, b.db)
}

// What the main product refused is listed; a replay delivers it in a new run, under the same id.
func TestReplayedRewardIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Temporal(t))
	b.work()
	box := b.outbox()
	run(t, box)
	b.product.Misbehave(t, fake.Behaviour{Kind: fake.Refuse, On: fake.OnReward, Code: "CLOSED"})
	w := b.complete(b.open(time.Hour))
	box.OfferTaskWindows(w)
	b.requireStatus(w, "main_product", contract.RewardRefused)
	b.requireRow(w, "told, settled_at IS NOT NULL", "(2,t)")
	b.product.Misbehave(t)
	change, _, err := b.db.ReplayReward(t.Context(), postgres.RewardReplay{
		ProjectID: testkit.Project,
		RewardID:  w.Input.WindowID + ".main_product",
		Actor:     "test",
		Reason:    "open again",
	}, time.Now())
	require.NoError(t, err)
	box.OfferTaskWindows(change)
	b.requireStatus(w, "main_product", contract.RewardDelivered)
	b.product.RequireCalls(t, w.Input.WindowID+".main_product", 2, 1)
	b.requireRow(w, "told, settled_at IS NOT NULL", "(3,t)")
	testkit.RequireWallet(t, b.db, buyer, 50, 0)
	require.True(t, b.product.Books().Balance(buyer, "bonus_coins").Equal(decimal.NewFromInt(100)))
	testkit.RequireClean(t, b.db)
}

// While Temporal is away nothing waits for it and nothing is leased; the windows stay where they are.
func TestWindowsWaitWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := newBoard(t, testkit.Engine{})
	box := b.outbox(func(o *outbox.Options) { o.Client, o.Queue = away(t), 1 })
	w := b.open(time.Hour)
	for range 10_000 { // nobody takes any out of the queue
		box.OfferTaskWindows(w, w)
	}
	require.Error(t, box.SweepTaskWindows(t.Context(), time.Now()))
	b.requireRow(w, "told, sweep_at = activated_at", "(0,t)")
}
