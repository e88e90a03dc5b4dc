// Package worker wires workflows and activities to task queues: one worker for our own steps, one for calls
// to the main product, one that only this process polls, for calls it has in flight, one for listeners of
// webhooks, and those of the quiet queues.
package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/xid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/webhook"
	"github.com/quickpass/quickpass/internal/webhook/send"
	"github.com/quickpass/quickpass/workflows"
)

// Options of the workers of one process.
type Options struct {
	Client       client.Client
	DB           *postgres.DB
	Product      *mainproduct.Client
	OrderChanged func(orderID string) // called after an order got its outcome here; may be nil
	// WorkflowSlots bounds the workflow tasks, and with them the first deliveries, that wait at the same
	// time; DeliverySlots the later ones. A slot that waits costs about 0.2 MB.
	WorkflowSlots int
	DeliverySlots int
	QuietSlots    int // runs of each quiet queue that are looked at at the same time; each holds a connection to the database
	CachedRuns    int // workflows kept in memory between their tasks
	StopTimeout   time.Duration
	// EventRetention is how long stored events and their keys are kept.
	EventRetention time.Duration
	// WebhookSlots bounds the listeners that are called at the same time.
	WebhookSlots    int
	Webhooks        *send.Client
	WebhookSchedule webhook.Schedule
}

// Workers of one process.
type Workers struct {
	workers []worker.Worker
	calls   *activities.Calls
}

// New makes the workers; nothing is polled before Start.
func New(o Options) *Workers {
	if o.OrderChanged == nil {
		o.OrderChanged = func(string) {}
	}
	worker.SetStickyWorkflowCacheSize(o.CachedRuns)
	calls := activities.NewCalls()
	window := &activities.TaskWindow{DB: o.DB, Product: o.Product}
	delivery := &activities.Delivery{
		Product:   o.Product,
		DB:        o.DB,
		Calls:     calls,
		TaskQueue: contract.MainProductTaskQueue + "/" + xid.New().String(),
	}
	checkout := &activities.Checkout{DB: o.DB, Product: o.Product, OrderChanged: o.OrderChanged}
	main := worker.New(o.Client, contract.TaskQueue, worker.Options{
		MaxConcurrentWorkflowTaskExecutionSize:  o.WorkflowSlots,
		MaxConcurrentLocalActivityExecutionSize: o.WorkflowSlots,
		WorkerStopTimeout:                       o.StopTimeout,
		DisableRegistrationAliasing:             true, // names are a contract, not Go identifiers
	})
	RegisterWorkflows(main)
	for name, function := range ourActivities(o, delivery, window, checkout) {
		main.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	workers := []worker.Worker{main}
	for _, queue := range []string{contract.MainProductTaskQueue, delivery.TaskQueue} {
		w := worker.New(o.Client, queue, worker.Options{
			DisableWorkflowWorker:              true,
			MaxConcurrentActivityExecutionSize: o.DeliverySlots,
			WorkerStopTimeout:                  o.StopTimeout,
			DisableRegistrationAliasing:        true,
		})
		for name, function := range productActivities(delivery, window, checkout) {
			w.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
		}
		workers = append(workers, w)
	}
	for _, q := range quietQueues() {
		workers = append(workers, q.worker(o, ourActivities(o, delivery, window, checkout)))
	}
	webhooks := worker.New(o.Client, contract.WebhookTaskQueue, worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: o.WebhookSlots,
		WorkerStopTimeout:                  o.StopTimeout,
		DisableRegistrationAliasing:        true,
	})
	for name, function := range webhookActivities(o) {
		webhooks.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	return &Workers{workers: append(workers, webhooks), calls: calls}
}

// RegisterWorkflows gives every workflow its contract name; replay tests use the same.
func RegisterWorkflows(registry worker.WorkflowRegistry) {
	registry.RegisterWorkflowWithOptions(workflows.Purchase, workflow.RegisterOptions{Name: contract.PurchaseWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.Perk, workflow.RegisterOptions{Name: contract.PerkWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.Subscription, workflow.RegisterOptions{Name: contract.SubscriptionWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.TaskWindow, workflow.RegisterOptions{Name: contract.TaskWindowWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.Checkout, workflow.RegisterOptions{Name: contract.CheckoutWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.WebhookDelivery, workflow.RegisterOptions{Name: contract.WebhookWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.WebhookTest, workflow.RegisterOptions{Name: contract.WebhookTestWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.Replay, workflow.RegisterOptions{Name: contract.ReplayWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.EventUpkeep, workflow.RegisterOptions{Name: contract.EventUpkeepWorkflow})
	registry.RegisterWorkflowWithOptions(workflows.Replenishment, workflow.RegisterOptions{Name: contract.ReplenishmentWorkflow})
}

func ourActivities(o Options, delivery *activities.Delivery, window *activities.TaskWindow, checkout *activities.Checkout) map[string]any {
	purchase := &activities.Purchase{DB: o.DB, OrderChanged: o.OrderChanged}
	stock, replay, perk := &activities.Stock{DB: o.DB}, &activities.Replay{DB: o.DB}, &activities.Perk{DB: o.DB}
	subscription := &activities.Subscription{DB: o.DB}
	events := &activities.Events{DB: o.DB, Retention: o.EventRetention}
	return map[string]any{
		contract.ReserveActivity:                purchase.Reserve,
		contract.CaptureActivity:                purchase.Capture,
		contract.ReleaseActivity:                purchase.Release,
		contract.DeliverFirstActivity:           delivery.DeliverFirst,
		contract.ReplenishActivity:              stock.Replenish,
		contract.StockAlertsActivity:            stock.RaiseAlerts,
		contract.ReplayOrdersActivity:           replay.ReplayOrders,
		contract.FinishReplayActivity:           replay.FinishReplay,
		contract.CancelReplayActivity:           replay.CancelReplay,
		contract.EndPerkActivity:                perk.EndPerk,
		contract.EventPartitionsActivity:        events.KeepPartitions,
		contract.ForgetEventKeysActivity:        events.ForgetKeys,
		contract.SettleWindowActivity:           window.SettleWindow,
		contract.SettleSubscriptionActivity:     subscription.SettleSubscription,
		contract.RecordRewardActivity:           window.RecordReward,
		contract.SettleCheckoutActivity:         checkout.SettleCheckout,
		contract.RecordCheckoutDeliveryActivity: checkout.RecordDelivery,
	}
}

func productActivities(delivery *activities.Delivery, window *activities.TaskWindow, checkout *activities.Checkout) map[string]any {
	return map[string]any{
		contract.DeliverActivity:         delivery.Deliver,
		contract.InquireActivity:         delivery.Inquire,
		contract.DeliverRewardActivity:   window.DeliverReward,
		contract.DeliverCheckoutActivity: checkout.Deliver,
		contract.InquireCheckoutActivity: checkout.Inquire,
	}
}

func webhookActivities(o Options) map[string]any {
	webhooks := &activities.Webhook{DB: o.DB, Client: o.Webhooks, Schedule: o.WebhookSchedule}
	return map[string]any{
		contract.AttemptWebhookActivity: webhooks.AttemptWebhook,
		contract.TestWebhookActivity:    webhooks.TestWebhook,
	}
}

// Start begins to poll. A worker that can't is an error, not a log line.
func (w *Workers) Start() error {
	for i, one := range w.workers {
		if err := one.Start(); err != nil {
			for _, started := range w.workers[:i] {
				started.Stop()
			}
			return fmt.Errorf("start worker: %w", err)
		}
	}
	return nil
}

// Stop polls no more, lets running steps finish, and waits for calls in flight, until the deadline; false
// when it came first.
func (w *Workers) Stop(deadline time.Time) bool {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	done := make(chan struct{})
	go func() {
		for _, one := range w.workers {
			one.Stop()
		}
		w.calls.Wait(ctx)
		close(done)
	}()
	select {
	case <-done:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
