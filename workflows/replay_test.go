package workflows_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/worker"
	"github.com/quickpass/quickpass/workflows"
)

var record = flag.Bool("record", false, "run everything of the replay tests on a real server and store its history")

// TestReplay replays the stored history of every outcome of Purchase and TaskWindow with today's code. What is
// under way when a new version is deployed goes on only if that works.
func TestReplay(t *testing.T) {
	t.Parallel()
	for name, recordAnew := range recorders() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if *record {
				recordAnew(t)
			}
			replayer := sdkworker.NewWorkflowReplayer()
			worker.RegisterWorkflows(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistory(nil, load(t, name)))
		})
	}
}

// recorders are all histories by name, each with what records it.
func recorders() map[string]func(*testing.T) {
	all := map[string]func(*testing.T){}
	for _, s := range scenarios {
		all[s.name] = s.record
	}
	for _, s := range windowScenarios {
		all[s.name] = s.record
	}
	for _, s := range checkoutScenarios {
		all[s.name] = s.record
	}
	for _, s := range passScenarios {
		all[s.name] = s.record
	}
	for _, s := range webhookScenarios {
		all[s.name] = s.record
	}
	all["webhook_test_sent"] = recordWebhookTest
	return all
}

// Each history holds the outcome that its name promises, so that no outcome goes missing when they are recorded.
func TestHistoriesHoldEveryOutcome(t *testing.T) {
	t.Parallel()
	if *record {
		return // they are being written
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			events := load(t, s.name).GetEvents()
			last := events[len(events)-1].GetWorkflowExecutionCompletedEventAttributes()
			require.NotNil(t, last, "a purchase ends with a result, whatever happened")
			var result contract.PurchaseResult
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(last.GetResult().GetPayloads()[0], &result))
			require.Equal(t, s.status, result.Status)
			if s.reason != "" {
				require.NotNil(t, result.Reason)
				require.Equal(t, s.reason, result.Reason.Code)
			}
			if s.refusal != "" {
				require.NotNil(t, result.Refusal)
				require.Equal(t, s.refusal, result.Refusal.Code)
			}
			require.Equal(t, s.steps, stepsOf(t, events))
		})
	}
	for _, s := range windowScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			events := load(t, s.name).GetEvents()
			require.Equal(t, s.steps, stepsOf(t, events))
			if s.state == "" {
				require.NotNil(t, events[len(events)-1].GetWorkflowExecutionCanceledEventAttributes())
				return
			}
			last := events[len(events)-1].GetWorkflowExecutionCompletedEventAttributes()
			require.NotNil(t, last)
			var result contract.SettledWindow
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(last.GetResult().GetPayloads()[0], &result))
			require.Equal(t, contract.SettledWindow{State: s.state}, result)
		})
	}
	for _, s := range checkoutScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			events := load(t, s.name).GetEvents()
			require.Equal(t, s.steps, stepsOf(t, events))
			if s.status == "" {
				require.NotNil(t, events[len(events)-1].GetWorkflowExecutionCanceledEventAttributes())
				return
			}
			last := events[len(events)-1].GetWorkflowExecutionCompletedEventAttributes()
			require.NotNil(t, last)
			var result contract.SettledCheckout
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(last.GetResult().GetPayloads()[0], &result))
			require.Equal(t, contract.SettledCheckout{Status: s.status}, result)
		})
	}
	for _, s := range webhookScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			events := load(t, s.name).GetEvents()
			require.Equal(t, s.steps, stepsOf(t, events))
			if s.status == "" {
				require.NotNil(t, events[len(events)-1].GetWorkflowExecutionCanceledEventAttributes())
				return
			}
			last := events[len(events)-1].GetWorkflowExecutionCompletedEventAttributes()
			require.NotNil(t, last)
			var result contract.WebhookStanding
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(last.GetResult().GetPayloads()[0], &result))
			require.Equal(t, contract.WebhookStanding{Status: s.status}, result)
		})
	}
	for _, s := range passScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			events := load(t, s.name).GetEvents()
			require.Equal(t, s.steps, stepsOf(t, events))
			if s.status == "" {
				require.NotNil(t, events[len(events)-1].GetWorkflowExecutionCanceledEventAttributes())
				return
			}
			last := events[len(events)-1].GetWorkflowExecutionCompletedEventAttributes()
			require.NotNil(t, last)
			var result contract.SettledSubscription
			require.NoError(t, converter.GetDefaultDataConverter().FromPayload(last.GetResult().GetPayloads()[0], &result))
			require.Equal(t, contract.SettledSubscription{Status: s.status}, result)
		})
	}
	var names []string
	for name := range recorders() {
		names = append(names, historyFile(name))
	}
	stored, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.ElementsMatch(t, names, stored, "every history has a test, and every test a history")
}

// A change of the order of steps must not pass unnoticed: each of these makes the replay fail.
func TestReplayFindsAChangeThatIsNotDeterministic(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	for name, planted := range map[string]func(workflow.Context, contract.PurchaseInput) (contract.PurchaseResult, error){
		"a timer before all": func(ctx workflow.Context, in contract.PurchaseInput) (contract.PurchaseResult, error) {
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return contract.PurchaseResult{}, err
			}
			return workflows.Purchase(ctx, in)
		},
		"an activity before all": func(ctx workflow.Context, in contract.PurchaseInput) (contract.PurchaseResult, error) {
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Second})
			_ = workflow.ExecuteActivity(ctx, contract.InquireActivity, contract.InquiryInput{OrderID: in.OrderID}).Get(ctx, nil)
			return workflows.Purchase(ctx, in)
		},
		"an activity after all": func(ctx workflow.Context, in contract.PurchaseInput) (contract.PurchaseResult, error) {
			result, err := workflows.Purchase(ctx, in)
			ctx, _ = workflow.NewDisconnectedContext(ctx)
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Second})
			_ = workflow.ExecuteActivity(ctx, contract.ReleaseActivity, contract.ReleaseInput{OrderID: in.OrderID}).Get(ctx, nil)
			return result, err
		},
		"no delivery": func(ctx workflow.Context, in contract.PurchaseInput) (contract.PurchaseResult, error) {
			return contract.PurchaseResult{Status: store.Completed}, workflow.Sleep(ctx, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, s := range scenarios {
				replayer := sdkworker.NewWorkflowReplayer()
				replayer.RegisterWorkflowWithOptions(planted, workflow.RegisterOptions{Name: contract.PurchaseWorkflow})
				require.Error(t, replayer.ReplayWorkflowHistory(nil, load(t, s.name)), s.name)
			}
		})
	}
}

func TestReplayFindsAChangeOfTaskWindow(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	for name, planted := range map[string]func(workflow.Context, contract.TaskWindowInput) (contract.SettledWindow, error){
		"a timer before all": func(ctx workflow.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return contract.SettledWindow{}, err
			}
			return workflows.TaskWindow(ctx, in)
		},
		"a look after all": func(ctx workflow.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
			settled, err := workflows.TaskWindow(ctx, in)
			ctx, _ = workflow.NewDisconnectedContext(ctx)
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Second})
			_ = workflow.ExecuteActivity(ctx, contract.SettleWindowActivity, in).Get(ctx, nil)
			return settled, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, s := range windowScenarios {
				replayer := sdkworker.NewWorkflowReplayer()
				replayer.RegisterWorkflowWithOptions(planted, workflow.RegisterOptions{Name: contract.TaskWindowWorkflow})
				require.Error(t, replayer.ReplayWorkflowHistory(nil, load(t, s.name)), s.name)
			}
		})
	}
}

func TestReplayFindsAChangeOfCheckout(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	planted := func(ctx workflow.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
		if err := workflow.Sleep(ctx, time.Second); err != nil {
			return contract.SettledCheckout{}, err
		}
		return workflows.Checkout(ctx, in)
	}
	for _, s := range checkoutScenarios {
		replayer := sdkworker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(planted, workflow.RegisterOptions{Name: contract.CheckoutWorkflow})
		require.Error(t, replayer.ReplayWorkflowHistory(nil, load(t, s.name)), s.name)
	}
}

func TestReplayFindsAChangeOfWebhook(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	planted := func(ctx workflow.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
		if err := workflow.Sleep(ctx, time.Second); err != nil {
			return contract.WebhookStanding{}, err
		}
		return workflows.WebhookDelivery(ctx, in)
	}
	for _, s := range webhookScenarios {
		replayer := sdkworker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(planted, workflow.RegisterOptions{Name: contract.WebhookWorkflow})
		require.Error(t, replayer.ReplayWorkflowHistory(nil, load(t, s.name)), s.name)
	}
}

func TestReplayFindsAChangeOfSubscription(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	planted := func(ctx workflow.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
		if err := workflow.Sleep(ctx, time.Second); err != nil {
			return contract.SettledSubscription{}, err
		}
		return workflows.Subscription(ctx, in)
	}
	for _, s := range passScenarios {
		replayer := sdkworker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(planted, workflow.RegisterOptions{Name: contract.SubscriptionWorkflow})
		require.Error(t, replayer.ReplayWorkflowHistory(nil, load(t, s.name)), s.name)
	}
}

// Histories are public: nothing of the machine that recorded them is in them.
func TestHistoriesNameNoMachine(t *testing.T) {
	t.Parallel()
	if *record {
		return
	}
	for name := range recorders() {
		content, err := os.ReadFile(historyFile(name))
		require.NoError(t, err)
		require.NotRegexp(t, `[0-9]@`, string(content), "%s: pid@host", name)
		var decoded any
		require.NoError(t, json.Unmarshal(content, &decoded))
		walk(decoded, func(object map[string]any) {
			if identity, ok := object["identity"]; ok {
				require.Equal(t, anonymous, identity, name)
			}
			if object["kind"] == stickyKind {
				require.Equal(t, anonymous, object["name"], "%s: host:uuid", name)
			}
		})
	}
}

func historyFile(name string) string { return filepath.Join("testdata", name+".json") }

func load(t *testing.T, name string) *historypb.History {
	t.Helper()
	file, err := os.Open(historyFile(name))
	require.NoError(t, err, "`go test ./workflows -run TestReplay -args -record` records it, see testdata/README.md")
	defer func() { _ = file.Close() }()
	history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return history
}

// stepsOf lists what a workflow did: "Reserve", local or not, "timer", "signal", "cancel". Attempts of one activity
// are one step.
func stepsOf(t *testing.T, events []*historypb.HistoryEvent) []string {
	t.Helper()
	var steps []string
	for _, event := range events {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_MARKER_RECORDED:
			marker := event.GetMarkerRecordedEventAttributes()
			if marker.GetMarkerName() == "LocalActivity" {
				steps = append(steps, "local "+activityOf(t, marker.GetDetails()["data"]))
			}
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			steps = append(steps, event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName())
		case enumspb.EVENT_TYPE_TIMER_STARTED:
			steps = append(steps, "timer")
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			if event.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == contract.ChangedSignal {
				steps = append(steps, "signal")
			}
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
			steps = append(steps, "cancel")
		default: // the engine's own
		}
	}
	return steps
}

func activityOf(t *testing.T, payloads *commonpb.Payloads) string {
	t.Helper()
	var marker struct{ ActivityType string }
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(payloads, &marker))
	return marker.ActivityType
}

// walk calls f for every object in decoded JSON.
func walk(value any, f func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		f(value)
		for _, inner := range value {
			walk(inner, f)
		}
	case []any:
		for _, inner := range value {
			walk(inner, f)
		}
	}
}
