package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// regularShop sells as ours does, with one difference: every delivery is a regular activity. Reserve and answer,
// a bounded dispatcher with eager start, database steps as local activities, the same activities, slots and pool.
type regularShop struct {
	engine  client.Client
	db      *postgres.DB
	workers []worker.Worker
	queue   chan contract.PurchaseInput
	running sync.WaitGroup
	failed  atomic.Pointer[error] // the first start that failed
}

// What `quickpass serve` has by default.
const (
	dispatchers   = 16
	workflowSlots = 2000
	deliverySlots = 4000
	queueSize     = 100_000 // no sweep here: nothing may fall out of the queue
)

func openRegularShop(st *stack) (*regularShop, error) {
	s := &regularShop{engine: st.engine, db: st.plain, queue: make(chan contract.PurchaseInput, queueSize)}
	purchase := &activities.Purchase{DB: st.plain, OrderChanged: func(string) {}}
	delivery := &activities.Delivery{Product: st.calls, DB: st.plain, Calls: activities.NewCalls(), TaskQueue: regularProductQueue}

	own := worker.New(st.engine, regularQueue, worker.Options{
		MaxConcurrentWorkflowTaskExecutionSize: workflowSlots, MaxConcurrentLocalActivityExecutionSize: workflowSlots})
	own.RegisterWorkflowWithOptions(regularWorkflow, workflow.RegisterOptions{Name: "Regular"})
	own.RegisterActivityWithOptions(purchase.Reserve, activity.RegisterOptions{Name: contract.ReserveActivity})
	own.RegisterActivityWithOptions(purchase.Capture, activity.RegisterOptions{Name: contract.CaptureActivity})
	outside := worker.New(st.engine, regularProductQueue, worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: deliverySlots,
	})
	outside.RegisterActivityWithOptions(delivery.Deliver, activity.RegisterOptions{Name: contract.DeliverActivity})
	for _, w := range []worker.Worker{own, outside} {
		if err := w.Start(); err != nil {
			return nil, fmt.Errorf("start worker: %w", err)
		}
		s.workers = append(s.workers, w)
	}
	for range dispatchers {
		s.running.Go(s.dispatch)
	}
	return s, nil
}

func (s *regularShop) close() error {
	close(s.queue)
	s.running.Wait()
	for _, w := range s.workers {
		w.Stop()
	}
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("start workflow: %w", *err)
	}
	return nil
}

// buy reserves in this process; the caller has its answer with it.
func (s *regularShop) buy(ctx context.Context, user string) (orderID string, err error) {
	order := newOrder(user, anySKU())
	if _, err := s.db.ReservePurchase(ctx, order, time.Now()); err != nil {
		return "", err
	}
	s.queue <- contract.PurchaseInput{ProjectID: project, OrderID: order.OrderID, UserID: user, SKU: order.SKU, Quantity: 1, Attempt: 1}
	return order.OrderID, nil
}

func (s *regularShop) dispatch() {
	for in := range s.queue {
		_, err := s.engine.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{
			ID:                    regularID(in.OrderID),
			TaskQueue:             regularQueue,
			EnableEagerStart:      true,
			WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, "Regular", in)
		if err != nil {
			s.failed.CompareAndSwap(nil, &err)
		}
	}
}

func regularID(orderID string) string { return "regular/" + orderID }

func regularWorkflow(ctx workflow.Context, in contract.PurchaseInput) error {
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{ScheduleToCloseTimeout: 10 * time.Second})
	var reservation contract.Reservation
	if err := workflow.ExecuteLocalActivity(local, contract.ReserveActivity, in).Get(ctx, &reservation); err != nil {
		return err
	}
	settings := store.DefaultDelivery()
	outside := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           regularProductQueue,
		StartToCloseTimeout: settings.Timeout() + 5*time.Second,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: settings.RetryInterval(), BackoffCoefficient: 1,
			MaximumAttempts: int32(settings.Retries) + 1},
	})
	delivery := contract.DeliveryInput{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		UserID:    in.UserID,
		Attempt:   in.Attempt,
		Delivery:  *reservation.Delivery,
	}
	var outcome contract.Outcome
	if err := workflow.ExecuteActivity(outside, contract.DeliverActivity, delivery).Get(ctx, &outcome); err != nil {
		return err
	}
	captured := contract.CaptureInput{ProjectID: in.ProjectID, OrderID: in.OrderID, Attempt: in.Attempt, Credit: *outcome.Credit, Calls: 1}
	return workflow.ExecuteLocalActivity(local, contract.CaptureActivity, captured).Get(ctx, nil)
}
