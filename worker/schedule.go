package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/contract"
)

// EnsureSchedules creates the schedules of this version, or brings those that are there up to it. One that an
// operator has paused stays paused. Several processes may do so at the same time.
func EnsureSchedules(ctx context.Context, c client.Client) error {
	for _, options := range schedules() {
		_, err := c.ScheduleClient().Create(ctx, options)
		if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
			err = updateSchedule(ctx, c, options)
		}
		if err != nil {
			return fmt.Errorf("schedule %s: %w", options.ID, err)
		}
	}
	return nil
}

func schedules() []client.ScheduleOptions {
	return []client.ScheduleOptions{
		every(contract.ReplenishmentInterval, contract.ReplenishmentSchedule, contract.ReplenishmentWorkflow, "restock what is low, and tell admins what still is"),
		every(contract.EventUpkeepInterval, contract.EventUpkeepSchedule, contract.EventUpkeepWorkflow, "partitions of the coming days for events; forget old ones"),
	}
}

// every runs a workflow that looks at things as they are, so that runs missed while Temporal was away need
// not be made up for.
func every(interval time.Duration, id, workflow, summary string) client.ScheduleOptions {
	return client.ScheduleOptions{
		ID:            id,
		Spec:          client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: interval}}},
		Overlap:       enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: interval,
		Action:        &client.ScheduleWorkflowAction{ID: id, Workflow: workflow, TaskQueue: contract.TaskQueue, StaticSummary: summary},
	}
}

func updateSchedule(ctx context.Context, c client.Client, options client.ScheduleOptions) error {
	return c.ScheduleClient().GetHandle(ctx, options.ID).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			schedule := in.Description.Schedule
			schedule.Spec, schedule.Action = &options.Spec, options.Action
			schedule.Policy = &client.SchedulePolicies{Overlap: options.Overlap, CatchupWindow: options.CatchupWindow}
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		},
	})
}
