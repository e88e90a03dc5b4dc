package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
)

// EventUpkeep makes the partitions of the coming days for stored events, and forgets events that are past keeping. A
// schedule runs it every hour; a partition that is missing all the same costs nothing but order, as the default one
// takes its events.
func EventUpkeep(ctx workflow.Context) (contract.EventUpkeep, error) {
	report, err := keepEventPartitions(ctx)
	if err != nil {
		return report, err
	}
	report.KeysForgotten, err = forgetEventKeys(ctx)
	return report, err
}
