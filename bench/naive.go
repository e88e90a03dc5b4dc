package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
)

// naiveShop is the purchase as the textbooks of workflow engines write it: five regular activities in a row, and
// a caller that waits for the result.
type naiveShop struct {
	engine  client.Client
	db      *postgres.DB
	product *mainproduct.Client
}

// naiveOrder is the workflow's input.
type naiveOrder struct {
	OrderID, UserID, SKU string
}

// naiveWorkflow's activities carry the seed's timeout and retries.
func naiveWorkflow(ctx workflow.Context, order naiveOrder) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Second, BackoffCoefficient: 1, MaximumAttempts: 4},
	})
	for _, step := range []string{"NaiveCheck", "NaiveReserve"} {
		if err := workflow.ExecuteActivity(ctx, step, order).Get(ctx, nil); err != nil {
			return err
		}
	}
	var answer mainproduct.Answer
	if err := workflow.ExecuteActivity(ctx, "NaiveDeliver", order).Get(ctx, &answer); err != nil {
		return err
	}
	if err := workflow.ExecuteActivity(ctx, "NaiveCapture", order, answer).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.ExecuteActivity(ctx, "NaiveNotify", order).Get(ctx, nil)
}

func (s *naiveShop) check(ctx context.Context, order naiveOrder) error {
	if _, err := s.db.GetUser(ctx, order.UserID); err != nil {
		return err
	}
	_, err := s.db.GetProduct(ctx, project, order.SKU)
	return err
}

func (s *naiveShop) reserve(ctx context.Context, order naiveOrder) error {
	_, err := s.db.ReservePurchase(ctx, postgres.Purchase{ProjectID: project, OrderID: order.OrderID, UserID: order.UserID, SKU: order.SKU,
		Quantity: 1, Idempotency: &postgres.Idempotency{Key: order.OrderID}}, time.Now())
	return err
}

func (s *naiveShop) deliver(ctx context.Context, order naiveOrder) (mainproduct.Answer, error) {
	return deliver(ctx, s.product, order.OrderID, order.UserID)
}

func (s *naiveShop) capture(ctx context.Context, order naiveOrder, answer mainproduct.Answer) error {
	return capture(ctx, s.db, order.OrderID, answer)
}

// notify writes a line to the user's feed. (Capture has told of the purchase, as it does in ours; this is the
// second write that a separate step costs.)
func (s *naiveShop) notify(ctx context.Context, order naiveOrder) error {
	detail, err := json.Marshal(map[string]string{"sku": order.SKU})
	if err != nil {
		return err
	}
	_, err = s.db.Pool().Exec(ctx, "INSERT INTO notifications (project_id, user_id, kind, detail, created_at) VALUES ($1, $2, 'thanks', $3, now())",
		project, order.UserID, detail)
	return err
}

func (s *naiveShop) buy(ctx context.Context, note *notes) error {
	begin := time.Now()
	order := newOrder(anyUser(), anySKU())
	run, err := s.engine.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "naive/" + order.OrderID, TaskQueue: naiveQueue},
		"Naive", naiveOrder{OrderID: order.OrderID, UserID: order.UserID, SKU: order.SKU})
	if err != nil {
		return fmt.Errorf("naive purchase: %w", err)
	}
	note.accept(begin)
	if err := run.Get(ctx, nil); err != nil {
		return fmt.Errorf("naive purchase: %w", err)
	}
	note.finish(begin)
	return nil
}

func (s *naiveShop) worker() worker.Worker {
	w := worker.New(s.engine, naiveQueue, workerOptions())
	w.RegisterWorkflowWithOptions(naiveWorkflow, workflow.RegisterOptions{Name: "Naive"})
	for name, function := range map[string]any{
		"NaiveCheck": s.check, "NaiveReserve": s.reserve, "NaiveDeliver": s.deliver, "NaiveCapture": s.capture, "NaiveNotify": s.notify,
	} {
		w.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	return w
}
