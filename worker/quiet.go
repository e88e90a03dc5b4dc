package worker

import (
	"cmp"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/workflows"
)

const defaultQuietSlots = 8

// quietQueue is one of what may come in thousands in one moment, and nobody waits for. Its few slots keep
// such a moment from the database's connections and from the server, its queue from the purchases.
type quietQueue struct {
	name       string
	workflows  map[string]any
	activities []string
}

// quietQueues: what is on them is registered on the main queue too, for runs that began there.
func quietQueues() []quietQueue {
	return []quietQueue{
		{contract.WindowTaskQueue, map[string]any{contract.TaskWindowWorkflow: workflows.TaskWindow}, []string{contract.SettleWindowActivity, contract.RecordRewardActivity}},
		{contract.TimerTaskQueue, map[string]any{
			contract.SubscriptionWorkflow: workflows.Subscription,
			contract.PerkWorkflow:         workflows.Perk,
			contract.WebhookWorkflow:      workflows.WebhookDelivery,
		},
			[]string{contract.SettleSubscriptionActivity, contract.EndPerkActivity}},
	}
}

func (q quietQueue) worker(o Options, ours map[string]any) worker.Worker {
	slots := cmp.Or(o.QuietSlots, defaultQuietSlots)
	w := worker.New(o.Client, q.name, worker.Options{
		MaxConcurrentWorkflowTaskExecutionSize:  slots,
		MaxConcurrentLocalActivityExecutionSize: slots,
		MaxConcurrentActivityExecutionSize:      slots,
		WorkerStopTimeout:                       o.StopTimeout,
		DisableRegistrationAliasing:             true,
	})
	for name, function := range q.workflows {
		w.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
	}
	for _, name := range q.activities {
		w.RegisterActivityWithOptions(ours[name], activity.RegisterOptions{Name: name})
	}
	return w
}
