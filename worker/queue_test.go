package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/quickpass/quickpass/internal/contract"
)

// handled are the names that each queue's workers have.
type handled struct{ workflows, activities map[string]any }

func queues() map[string]handled {
	r := &recorder{workflows: map[string]any{}}
	RegisterWorkflows(r)
	ours, product, webhooks := registered()
	all := map[string]handled{contract.TaskQueue: {r.workflows, ours}, contract.MainProductTaskQueue: {nil, product}, contract.WebhookTaskQueue: {nil, webhooks}}
	for _, q := range quietQueues() {
		activities := map[string]any{}
		for _, name := range q.activities {
			activities[name] = ours[name]
		}
		all[q.name] = handled{q.workflows, activities}
	}
	return all
}

// What is on a quiet queue is ours, and on the main queue too: a run stays on the queue on which it began.
func TestQuietQueuesHaveWhatTheMainQueueHas(t *testing.T) {
	t.Parallel()
	all := queues()
	require.Len(t, all, 5)
	for _, q := range quietQueues() {
		for name := range q.workflows {
			require.Contains(t, all[contract.TaskQueue].workflows, name)
		}
		for name, function := range all[q.name].activities {
			require.NotNil(t, function, name)
		}
	}
}

// Each name is registered on the queue where a stored history has it, whether the run began before or after
// windows and timers had queues of their own.
func TestEveryNameIsRegisteredWhereItIsScheduled(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../workflows/testdata/*.json")
	require.NoError(t, err)
	all, begun := queues(), map[string]bool{}
	for _, file := range files {
		content, err := os.Open(file)
		require.NoError(t, err)
		history, err := client.HistoryFromJSON(content, client.HistoryJSONOptions{})
		require.NoError(t, err)
		require.NoError(t, content.Close())
		requireHandled(t, all, history.GetEvents(), filepath.Base(file))
		begun[history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetTaskQueue().GetName()] = true
	}
	for _, queue := range []string{contract.TaskQueue, contract.WindowTaskQueue, contract.TimerTaskQueue} {
		require.True(t, begun[queue], "no history began on %s", queue)
	}
}

func requireHandled(t *testing.T, all map[string]handled, events []*historypb.HistoryEvent, file string) {
	t.Helper()
	start := events[0].GetWorkflowExecutionStartedEventAttributes()
	own := start.GetTaskQueue().GetName()
	require.Contains(t, all[own].workflows, start.GetWorkflowType().GetName(), "%s: on %s", file, own)
	for _, event := range events {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			scheduled := event.GetActivityTaskScheduledEventAttributes()
			queue := scheduled.GetTaskQueue().GetName()
			if _, shared := all[queue]; shared { // else the queue of one process
				require.Contains(t, all[queue].activities, scheduled.GetActivityType().GetName(), "%s: on %s", file, queue)
			}
		case enumspb.EVENT_TYPE_MARKER_RECORDED:
			var local struct{ ActivityType string }
			marker := event.GetMarkerRecordedEventAttributes()
			if marker.GetMarkerName() != "LocalActivity" {
				continue // of a version
			}
			data := marker.GetDetails()["data"].GetPayloads()
			require.NotEmpty(t, data)
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(data[0], &local))
			require.Contains(t, all[own].activities, local.ActivityType, "%s: local, on %s", file, own)
		default:
		}
	}
}
