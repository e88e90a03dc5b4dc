package outbox_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// Hundreds of windows were completed while no worker was there. A purchase that came last is done before most
// of them, since it does not stand in their queue. What is compared is an order, which no slow machine
// changes.
func TestAPurchaseDoesNotStandBehindWindows(t *testing.T) {
	t.Parallel()
	d := newDesk(t, testkit.Temporal(t))
	task := testkit.FiveBets()
	task.Reward = tasks.Reward{Coins: 1}
	testkit.StoreTask(t, d.db, task)
	const windows = 400
	now := time.Now()
	for i := range windows {
		testkit.StoreWindow(t, d.db, tasks.Window{
			WindowID:    fmt.Sprintf("tw_%03d", i),
			UserID:      buyer,
			TaskID:      task.TaskID,
			Version:     1,
			Number:      i + 1,
			State:       tasks.Completed,
			ActivatedAt: now.Add(-time.Hour),
			EndsAt:      now.Add(time.Hour),
			CompletedAt: &now,
		})
	}
	box := d.outbox()
	require.NoError(t, box.SweepTaskWindows(t.Context(), time.Now()))
	run(t, box)
	in := d.reserve()
	box.Offer(in)
	d.requireStarted(in)

	d.work()
	require.NoError(t, d.engine.Client.GetWorkflow(t.Context(), contract.PurchaseWorkflowID(in.OrderID), "").Get(t.Context(), nil))
	settled := func() (count int, err error) {
		err = d.db.Pool().QueryRow(t.Context(), "SELECT count(*) FROM task_windows WHERE settled_at IS NOT NULL").Scan(&count)
		return count, err
	}
	before, err := settled()
	require.NoError(t, err)
	t.Logf("%d of %d windows were settled when the purchase was done", before, windows)
	require.Less(t, before, windows/2)
	testkit.Eventually(t, "all windows are settled", func(context.Context) error {
		count, err := settled()
		if err == nil && count < windows {
			err = fmt.Errorf("%d are", count)
		}
		return err
	})
}
