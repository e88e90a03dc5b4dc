package worker

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/testkit"
)

// declared is what internal/contract says of each activity. Histories hold these types: a change here is a
// change of what is recorded.
var declared = map[string]reflect.Type{
	contract.ReserveActivity:                reflect.TypeFor[func(context.Context, contract.PurchaseInput) (contract.Reservation, error)](),
	contract.CaptureActivity:                reflect.TypeFor[func(context.Context, contract.CaptureInput) (contract.PurchaseResult, error)](),
	contract.ReleaseActivity:                reflect.TypeFor[func(context.Context, contract.ReleaseInput) (contract.PurchaseResult, error)](),
	contract.DeliverFirstActivity:           reflect.TypeFor[func(context.Context, contract.DeliveryInput) (contract.Outcome, error)](),
	contract.DeliverActivity:                reflect.TypeFor[func(context.Context, contract.DeliveryInput) (contract.Outcome, error)](),
	contract.InquireActivity:                reflect.TypeFor[func(context.Context, contract.InquiryInput) (contract.Outcome, error)](),
	contract.ReplenishActivity:              reflect.TypeFor[func(context.Context) (int, error)](),
	contract.StockAlertsActivity:            reflect.TypeFor[func(context.Context) (contract.ReplenishmentReport, error)](),
	contract.ReplayOrdersActivity:           reflect.TypeFor[func(context.Context, contract.ReplayBatch) (contract.ReplayStanding, error)](),
	contract.FinishReplayActivity:           reflect.TypeFor[func(context.Context, contract.ReplayRef) (contract.ReplayResult, error)](),
	contract.EndPerkActivity:                reflect.TypeFor[func(context.Context, contract.PerkInput) (contract.PerkEnd, error)](),
	contract.EventPartitionsActivity:        reflect.TypeFor[func(context.Context) (contract.EventUpkeep, error)](),
	contract.ForgetEventKeysActivity:        reflect.TypeFor[func(context.Context) (int64, error)](),
	contract.SettleSubscriptionActivity:     reflect.TypeFor[func(context.Context, contract.SubscriptionInput) (contract.SettledSubscription, error)](),
	contract.SettleWindowActivity:           reflect.TypeFor[func(context.Context, contract.TaskWindowInput) (contract.SettledWindow, error)](),
	contract.DeliverRewardActivity:          reflect.TypeFor[func(context.Context, contract.RewardInput) (contract.RewardResult, error)](),
	contract.RecordRewardActivity:           reflect.TypeFor[func(context.Context, contract.RecordRewardInput) error](),
	contract.CancelReplayActivity:           reflect.TypeFor[func(context.Context, contract.ReplayRef) error](),
	contract.DeliverCheckoutActivity:        reflect.TypeFor[func(context.Context, contract.CheckoutDelivery) (contract.Outcome, error)](),
	contract.InquireCheckoutActivity:        reflect.TypeFor[func(context.Context, contract.CheckoutDelivery) (contract.Outcome, error)](),
	contract.RecordCheckoutDeliveryActivity: reflect.TypeFor[func(context.Context, contract.RecordDeliveryInput) (contract.RecordedDelivery, error)](),
	contract.SettleCheckoutActivity:         reflect.TypeFor[func(context.Context, contract.CheckoutInput) (contract.SettledCheckout, error)](),
	contract.AttemptWebhookActivity:         reflect.TypeFor[func(context.Context, contract.WebhookInput) (contract.WebhookStanding, error)](),
	contract.TestWebhookActivity:            reflect.TypeFor[func(context.Context, contract.WebhookTestInput) (contract.WebhookTested, error)](),
}

// onMainProductQueue are the activities that may hang with the main product; all others are our own.
var onMainProductQueue = []string{contract.DeliverActivity, contract.InquireActivity, contract.DeliverRewardActivity, contract.DeliverCheckoutActivity, contract.InquireCheckoutActivity}

// onWebhookQueue are those that may hang with a listener.
var onWebhookQueue = []string{contract.AttemptWebhookActivity, contract.TestWebhookActivity}

func registered() (ours, product, webhooks map[string]any) {
	delivery, window, checkout := &activities.Delivery{}, &activities.TaskWindow{}, &activities.Checkout{}
	return ourActivities(Options{}, delivery, window, checkout), productActivities(delivery, window, checkout), webhookActivities(Options{})
}

func TestEveryActivityOfTheContractIsRegistered(t *testing.T) {
	t.Parallel()
	names := constants(t, "Activity")
	require.NotEmpty(t, names)
	ours, product, webhooks := registered()
	for _, name := range names {
		queues := 0
		for _, queue := range []map[string]any{ours, product, webhooks} {
			if _, ok := queue[name]; ok {
				queues++
			}
		}
		require.Equal(t, 1, queues, "%s is registered on exactly one kind of queue", name)
		require.Contains(t, declared, name, "this test knows its signature")
	}
	require.Len(t, names, len(ours)+len(product)+len(webhooks), "nothing is registered that the contract does not name")
	require.Len(t, declared, len(names))
}

func TestActivitiesHaveTheSignatureOfTheContract(t *testing.T) {
	t.Parallel()
	ours, product, webhooks := registered()
	for _, activities := range []map[string]any{ours, product, webhooks} {
		for name, function := range activities {
			require.Equal(t, declared[name], reflect.TypeOf(function), name)
		}
	}
}

// What may hang with the main product or a listener never takes a slot from our own steps, nor from the other.
func TestActivitiesAreOnTheRightQueue(t *testing.T) {
	t.Parallel()
	_, product, webhooks := registered()
	require.ElementsMatch(t, onMainProductQueue, slices.Collect(maps.Keys(product)))
	require.ElementsMatch(t, onWebhookQueue, slices.Collect(maps.Keys(webhooks)))
}

// recorder is a WorkflowRegistry that keeps what it is given.
type recorder struct{ workflows map[string]any }

func (*recorder) RegisterWorkflow(any) { panic("a workflow without a contract name") }

func (r *recorder) RegisterWorkflowWithOptions(w any, o workflow.RegisterOptions) {
	r.workflows[o.Name] = w
}

func (*recorder) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) {
	panic("a workflow without a contract name")
}

func TestEveryWorkflowOfTheContractIsRegistered(t *testing.T) {
	t.Parallel()
	r := &recorder{workflows: map[string]any{}}
	RegisterWorkflows(r)
	names := make([]string, 0, len(r.workflows))
	for name := range r.workflows {
		names = append(names, name)
	}
	require.ElementsMatch(t, constants(t, "Workflow"), names)

	purchase := reflect.TypeOf(r.workflows[contract.PurchaseWorkflow])
	require.Equal(t, []reflect.Type{reflect.TypeFor[workflow.Context](), reflect.TypeFor[contract.PurchaseInput]()}, inputs(purchase))
	require.Equal(t, []reflect.Type{reflect.TypeFor[contract.PurchaseResult](), reflect.TypeFor[error]()}, outputs(purchase))
}

// Each queue is polled for what is registered there: workflows and our steps on the main one and the quiet
// ones, calls to the main product on another, and on the process's own.
func TestWorkersPollTheirQueues(t *testing.T) {
	t.Parallel()
	engine := testkit.Temporal(t)
	product := testkit.NewMainProduct(t)
	workers := New(Options{Client: engine.Client, DB: testkit.Database(t), Product: product.Client(t, false),
		WorkflowSlots: 10, DeliverySlots: 10, CachedRuns: 10, StopTimeout: time.Minute})
	require.NoError(t, workers.Start())
	polled := func(queue string, kind enumspb.TaskQueueType) bool {
		answer, err := engine.Client.WorkflowService().DescribeTaskQueue(t.Context(), &workflowservice.DescribeTaskQueueRequest{
			Namespace: engine.Namespace, TaskQueue: &taskqueue.TaskQueue{Name: queue}, TaskQueueType: kind})
		return err == nil && len(answer.GetPollers()) > 0
	}
	for _, kind := range []enumspb.TaskQueueType{enumspb.TASK_QUEUE_TYPE_WORKFLOW, enumspb.TASK_QUEUE_TYPE_ACTIVITY} {
		for _, queue := range []string{contract.TaskQueue, contract.WindowTaskQueue, contract.TimerTaskQueue} {
			testkit.Eventually(t, queue+" is polled", func(context.Context) error { return unless(polled(queue, kind)) })
		}
	}
	testkit.Eventually(t, "the main product's queue is polled", func(context.Context) error {
		return unless(polled(contract.MainProductTaskQueue, enumspb.TASK_QUEUE_TYPE_ACTIVITY))
	})
	testkit.Eventually(t, "the queue of webhooks is polled", func(context.Context) error {
		return unless(polled(contract.WebhookTaskQueue, enumspb.TASK_QUEUE_TYPE_ACTIVITY))
	})
	require.False(t, polled(contract.WebhookTaskQueue, enumspb.TASK_QUEUE_TYPE_WORKFLOW), "no workflows there")
	require.False(t, polled(contract.MainProductTaskQueue, enumspb.TASK_QUEUE_TYPE_WORKFLOW), "no workflows there")
	require.True(t, workers.Stop(time.Now().Add(time.Minute)))
}

func TestWorkersThatCanNotReachTemporalDoNotStart(t *testing.T) {
	t.Parallel()
	engine := testkit.Engine{Address: testkit.TemporalAddress(t), Namespace: "no-such-namespace"}
	product := testkit.NewMainProduct(t)
	workers := New(Options{Client: engine.Connect(t), DB: testkit.Database(t), Product: product.Client(t, false),
		WorkflowSlots: 10, DeliverySlots: 10, CachedRuns: 10, StopTimeout: time.Minute})
	require.Error(t, workers.Start())
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

func unless(ok bool) error {
	if ok {
		return nil
	}
	return notYet{}
}

// constants are the values of internal/contract's string constants whose name has this ending.
func constants(t *testing.T, ending string) []string {
	t.Helper()
	paths, err := filepath.Glob("../internal/contract/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	var values []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, name := range spec.Names {
				literal, ok := spec.Values[i].(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING || !strings.HasSuffix(name.Name, ending) {
					continue
				}
				value, err := strconv.Unquote(literal.Value)
				require.NoError(t, err)
				values = append(values, value)
			}
			return true
		})
	}
	return values
}

func inputs(f reflect.Type) []reflect.Type {
	types := make([]reflect.Type, f.NumIn())
	for i := range types {
		types[i] = f.In(i)
	}
	return types
}

func outputs(f reflect.Type) []reflect.Type {
	types := make([]reflect.Type, f.NumOut())
	for i := range types {
		types[i] = f.Out(i)
	}
	return types
}
