package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/worker"
)

func newReplenishment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	worker.RegisterWorkflows(env)
	for name, function := range map[string]any{
		contract.ReplenishActivity:   func(context.Context) (n int, err error) { return },
		contract.StockAlertsActivity: func(context.Context) (r contract.ReplenishmentReport, err error) { return },
	} {
		env.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env
}

func TestReplenishment(t *testing.T) {
	t.Parallel()
	env := newReplenishment(t)
	start := env.Now()
	var order []string
	env.OnActivity(contract.ReplenishActivity, mock.Anything).Return(0, errors.New("the database is away")).Times(3)
	env.OnActivity(contract.ReplenishActivity, mock.Anything).Return(func(context.Context) (int, error) {
		order = append(order, "replenish")
		return 2, nil
	}).Once()
	env.OnActivity(contract.StockAlertsActivity, mock.Anything).Return(func(context.Context) (contract.ReplenishmentReport, error) {
		order = append(order, "alerts")
		return contract.ReplenishmentReport{AlertsOpened: 1, AlertsResolved: 3}, nil
	}).Once()
	env.ExecuteWorkflow(contract.ReplenishmentWorkflow)
	require.NoError(t, env.GetWorkflowError())
	var report contract.ReplenishmentReport
	require.NoError(t, env.GetWorkflowResult(&report))
	require.Equal(t, contract.ReplenishmentReport{Replenished: 2, AlertsOpened: 1, AlertsResolved: 3}, report)
	require.Equal(t, []string{"replenish", "alerts"}, order, "what is restocked needs no alert")
	require.Equal(t, (1+2+4)*time.Second, env.Now().Sub(start))
}

// A product that can't be restocked is tried ten times; the admins are told all the same, and the run fails.
func TestReplenishmentFailsAfterTheAlerts(t *testing.T) {
	t.Parallel()
	env := newReplenishment(t)
	start := env.Now()
	env.OnActivity(contract.ReplenishActivity, mock.Anything).Return(0, errors.New("product a: broken")).Times(10)
	env.OnActivity(contract.StockAlertsActivity, mock.Anything).Return(contract.ReplenishmentReport{AlertsOpened: 1}, nil).Once()
	env.ExecuteWorkflow(contract.ReplenishmentWorkflow)
	require.ErrorContains(t, env.GetWorkflowError(), "product a: broken")
	require.Equal(t, (1+2+4+8+16+30*4)*time.Second, env.Now().Sub(start))
}

func TestReplenishmentWithoutAlerts(t *testing.T) {
	t.Parallel()
	env := newReplenishment(t)
	env.OnActivity(contract.ReplenishActivity, mock.Anything).Return(1, nil).Once()
	env.OnActivity(contract.StockAlertsActivity, mock.Anything).
		Return(contract.ReplenishmentReport{}, temporal.NewNonRetryableApplicationError("broken", "Broken", nil)).Once()
	env.ExecuteWorkflow(contract.ReplenishmentWorkflow)
	require.ErrorContains(t, env.GetWorkflowError(), "broken")
}
