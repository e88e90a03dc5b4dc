package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/worker"
)

func newEventUpkeep(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	worker.RegisterWorkflows(env)
	env.RegisterActivityWithOptions(func(context.Context) (r contract.EventUpkeep, err error) { return }, activity.RegisterOptions{Name: contract.EventPartitionsActivity})
	env.RegisterActivityWithOptions(func(context.Context) (n int64, err error) { return }, activity.RegisterOptions{Name: contract.ForgetEventKeysActivity})
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env
}

func TestEventUpkeep(t *testing.T) {
	t.Parallel()
	env := newEventUpkeep(t)
	start := env.Now()
	env.OnActivity(contract.EventPartitionsActivity, mock.Anything).Return(contract.EventUpkeep{}, errors.New("the database is away")).Twice()
	env.OnActivity(contract.EventPartitionsActivity, mock.Anything).Return(contract.EventUpkeep{
		PartitionsMade:    8,
		PartitionsDropped: 1,
	}, nil).Once()
	env.OnActivity(contract.ForgetEventKeysActivity, mock.Anything).Return(int64(12), nil).Once()
	env.ExecuteWorkflow(contract.EventUpkeepWorkflow)
	require.NoError(t, env.GetWorkflowError())
	var report contract.EventUpkeep
	require.NoError(t, env.GetWorkflowResult(&report))
	require.Equal(t, contract.EventUpkeep{PartitionsMade: 8, PartitionsDropped: 1, KeysForgotten: 12}, report)
	require.Equal(t, (1+2)*time.Second, env.Now().Sub(start))
}

// Keys are only forgotten when the events that they lead to are: a failed first step ends the run, and the
// next hour tries again.
func TestEventUpkeepFails(t *testing.T) {
	t.Parallel()
	env := newEventUpkeep(t)
	env.OnActivity(contract.EventPartitionsActivity, mock.Anything).Return(contract.EventUpkeep{}, errors.New("the database is away")).Times(10)
	env.ExecuteWorkflow(contract.EventUpkeepWorkflow)
	require.Error(t, env.GetWorkflowError())
}
