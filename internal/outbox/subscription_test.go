package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/outbox"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
	"github.com/quickpass/quickpass/worker"
)

// passes is a desk whose project sells one pass, of one minute a piece.
type passes struct {
	*desk
	out *outbox.Outbox
}

const passSKU = "pass"

func newPasses(t *testing.T) *passes {
	t.Helper()
	p := &passes{desk: &desk{t: t, engine: testkit.Temporal(t), db: testkit.Database(t)}}
	testkit.StorePass(t, p.db, passSKU)
	testkit.Exec(t, p.db, "UPDATE projects SET reminder_seconds = 0")
	p.out = outbox.New(outbox.Options{DB: p.db, Client: p.engine.Client, Logger: testkit.Logger(t), Workers: 16, Queue: 16})
	return p
}

func (p *passes) work() {
	p.t.Helper()
	workers := worker.New(worker.Options{Client: p.engine.Client, DB: p.db, Product: testkit.NewMainProduct(p.t).Client(p.t, false),
		WorkflowSlots: 50, DeliverySlots: 50, CachedRuns: 50, StopTimeout: time.Minute})
	require.NoError(p.t, workers.Start())
	p.t.Cleanup(func() { require.True(p.t, workers.Stop(time.Now().Add(time.Minute))) })
}

func (p *passes) sweep(now time.Time) {
	p.t.Helper()
	require.NoError(p.t, p.out.SweepSubscriptions(p.t.Context(), now))
}

// give grants so many users a pass as of that instant.
func (p *passes) give(prefix string, users int, at time.Time) {
	p.t.Helper()
	for from := 0; from < users; from += inventory.MaxOperations {
		call := postgres.InventoryCall{
			ProjectID: testkit.Project,
			Action:    inventory.ActionGrant,
			Source:    postgres.SourceReward,
			Zone:      time.UTC,
		}
		for i := range inventory.MaxOperations {
			call.Requests = append(call.Requests, inventory.Request{
				User:  inventory.User{ID: fmt.Sprint(prefix, from+i)},
				Items: []inventory.RequestedItem{{SKU: passSKU, Quantity: 1}},
			})
		}
		_, _, err := p.db.ChangeInventory(p.t.Context(), call, at)
		require.NoError(p.t, err)
	}
}

// toldOfEnd counts what all users were told of ends.
func (p *passes) toldOfEnd() (notices int) {
	p.t.Helper()
	require.NoError(p.t, p.db.Pool().QueryRow(p.t.Context(), "SELECT count(*) FROM notifications WHERE kind = 'subscription_expired'").Scan(&notices))
	return notices
}

func (p *passes) in(user string) contract.SubscriptionInput {
	return contract.SubscriptionInput{ProjectID: testkit.Project, UserID: user, SKU: passSKU}
}

func (p *passes) describe(user string) *workflowservice.DescribeWorkflowExecutionResponse {
	p.t.Helper()
	found, err := p.engine.Client.DescribeWorkflowExecution(p.t.Context(), contract.SubscriptionWorkflowID(p.in(user)), "")
	require.NoError(p.t, err)
	return found
}

// The first run begins at the end; a change wakes it at once; once the end is told another run tells of the next.
func TestSubscriptionIsToldOfFromTheSweep(t *testing.T) {
	t.Parallel()
	p := newPasses(t)
	user := promptUser()
	now := time.Now()
	testkit.GivePass(t, p.db, user, passSKU, 60, now)
	p.sweep(now)
	p.sweep(now)
	begins := p.describe(user).GetWorkflowExecutionInfo()
	require.WithinDuration(t, now.Add(time.Hour), begins.GetExecutionTime().AsTime(), time.Minute)
	require.EqualValues(t, 1, begins.GetHistoryLength()) // nothing but its start

	p.work()
	testkit.RevokePass(t, p.db, user, passSKU, now)
	p.sweep(time.Now())
	p.awaitClosed(user)
	_, expired := testkit.Notices(t, p.db, user)
	require.Zero(t, expired)

	testkit.GivePass(t, p.db, user, passSKU, 1, time.Now().Add(-59*time.Second))
	p.sweep(time.Now())
	p.awaitExpired(user, 1)
	testkit.RequireClean(t, p.db)
}

// A thousand that end in one moment: each is told once, whatever is swept meanwhile, and whatever is asked is
// answered by the clock.
func TestManySubscriptionsEndAtOnce(t *testing.T) {
	t.Parallel()
	p := newPasses(t)
	const users = 1000
	end := time.Now().Add(20 * time.Second).Truncate(time.Second)
	given := end.Add(-time.Minute)
	p.give("u", users, given)
	p.sweep(time.Now())
	p.work()
	for _, at := range []time.Time{end.Add(-time.Nanosecond), end} { // whether or not a timer has fired
		e, err := postgres.NewEntitlements(p.db).Check(t.Context(), testkit.Project, "u7", passSKU, at)
		require.NoError(t, err)
		require.Equal(t, at.Before(end), e.Status == subscriptions.Active)
	}
	testkit.Within(t, 3*time.Minute, "all are told", func(ctx context.Context) error {
		if err := p.out.SweepSubscriptions(ctx, time.Now()); err != nil {
			return err
		}
		var told int
		err := p.db.Pool().QueryRow(ctx, "SELECT count(*) FROM subscriptions WHERE ended_at = expires_at").Scan(&told)
		if err == nil && told < users {
			err = errors.New("not yet")
		}
		return err
	})
	require.Equal(t, users, p.toldOfEnd())
	testkit.RequireClean(t, p.db)
}

// A run that was lost: the sweep finds the end that nobody told.
func TestLostSubscriptionIsFound(t *testing.T) {
	t.Parallel()
	p := newPasses(t)
	user := promptUser()
	given := time.Now().Add(-5 * time.Minute)
	testkit.GivePass(t, p.db, user, passSKU, 1, given)
	testkit.Exec(t, p.db, "UPDATE subscriptions SET told = changes") // somebody has started a run, which is no more
	p.work()
	p.sweep(time.Now())
	p.awaitExpired(user, 1)
	testkit.RequireClean(t, p.db)
}

// More has ended than can be told in time, and no worker is there: the sweep tells in batches, each once, and
// the runs that come later find nothing to tell. What ended a moment ago is left to its run.
func TestLateSubscriptionsAreToldByTheSweep(t *testing.T) {
	t.Parallel()
	p := newPasses(t)
	const users = 450
	now := time.Now()
	p.give("late", users, now.Add(-2*time.Minute))
	user := promptUser()
	testkit.GivePass(t, p.db, user, passSKU, 1, now.Add(-70*time.Second)) // ended 10 s ago
	p.sweep(now)
	for range 2 {
		require.NoError(t, p.out.TellLateSubscriptions(t.Context(), now))
	}
	require.Equal(t, users, p.toldOfEnd())
	p.work()
	p.awaitExpired(user, 1)
	p.awaitClosed("late7")
	require.Equal(t, users+1, p.toldOfEnd())
	testkit.RequireClean(t, p.db)
}

// promptUser is one whose subscription has a short jitter.
func promptUser() string {
	for i := 0; ; i++ {
		user := fmt.Sprint("user-", i)
		if subscriptions.Jitter(contract.SubscriptionWorkflowID(contract.SubscriptionInput{
			ProjectID: testkit.Project,
			UserID:    user,
			SKU:       passSKU,
		})) < time.Second {
			return user
		}
	}
}

func (p *passes) awaitClosed(user string) {
	p.t.Helper()
	testkit.Eventually(p.t, "the run is over", func(ctx context.Context) error {
		found, err := p.engine.Client.DescribeWorkflowExecution(ctx, contract.SubscriptionWorkflowID(p.in(user)), "")
		if err == nil && found.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
			err = errors.New(found.GetWorkflowExecutionInfo().GetStatus().String())
		}
		return err
	})
}

func (p *passes) awaitExpired(user string, times int) {
	p.t.Helper()
	testkit.Eventually(p.t, "the end is told", func(context.Context) error {
		if _, expired := testkit.Notices(p.t, p.db, user); expired != times {
			return fmt.Errorf("%d times", expired)
		}
		return nil
	})
}
