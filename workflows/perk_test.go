package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/worker"
)

var perk = contract.PerkInput{ProjectID: 1, OrderID: "qp_1", UserID: "12345", Kind: "multiplier"}

// perkEnv is a perk whose ends the database will name one after the other, nil for the last.
func perkEnv(t *testing.T, start time.Time, ends ...*time.Time) (env *testsuite.TestWorkflowEnvironment, askedAt *[]time.Time) {
	var suite testsuite.WorkflowTestSuite
	env = suite.NewTestWorkflowEnvironment()
	env.SetStartTime(start)
	worker.RegisterWorkflows(env)
	env.RegisterActivityWithOptions(func(context.Context, contract.PerkInput) (e contract.PerkEnd, err error) { return },
		activity.RegisterOptions{Name: contract.EndPerkActivity})
	askedAt = &[]time.Time{}
	if len(ends) == 0 {
		return env, askedAt // Times(0) would allow any number of calls; without a mock, one finds no end
	}
	env.OnActivity(contract.EndPerkActivity, mock.Anything, perk).Return(func(context.Context, contract.PerkInput) (contract.PerkEnd, error) {
		*askedAt = append(*askedAt, env.Now())
		return contract.PerkEnd{Until: ends[len(*askedAt)-1]}, nil
	}).Times(len(ends))
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env, askedAt
}

func TestPerkEnds(t *testing.T) {
	t.Parallel()
	env, askedAt := perkEnv(t, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), nil)
	env.ExecuteWorkflow(contract.PerkWorkflow, perk)
	require.NoError(t, env.GetWorkflowError())
	require.Len(t, *askedAt, 1)
}

// Extended while it waits: it sleeps on to the later end, also over years, and tells once.
func TestPerkSleepsOnUntilTheLaterEnd(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	hour, years := start.Add(time.Hour), start.Add(3*365*24*time.Hour)
	env, askedAt := perkEnv(t, start, &hour, &years, &years, &years, nil)
	env.ExecuteWorkflow(contract.PerkWorkflow, perk)
	require.NoError(t, env.GetWorkflowError())
	jitter := store.PerkJitter(perk.OrderID)
	second, year := hour.Add(jitter), 365*24*time.Hour
	want := []time.Time{start, second, second.Add(year), second.Add(2 * year), years.Add(jitter)}
	for i, at := range *askedAt {
		require.WithinDuration(t, want[i], at, time.Millisecond, "%d", i)
	}
}

// The database is behind: its end is in the past for us. It is asked again, without spinning.
func TestPerkWaitsForAClockBehind(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	past := start.Add(-time.Hour)
	env, askedAt := perkEnv(t, start, &past, nil)
	env.ExecuteWorkflow(contract.PerkWorkflow, perk)
	require.NoError(t, env.GetWorkflowError())
	require.GreaterOrEqual(t, (*askedAt)[1].Sub(start), time.Second)
}

func TestPerkWithALongHistoryStartsAnew(t *testing.T) {
	t.Parallel()
	env, _ := perkEnv(t, time.Now())
	env.SetContinueAsNewSuggested(true)
	env.ExecuteWorkflow(contract.PerkWorkflow, perk)
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &again)
}
