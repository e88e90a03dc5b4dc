package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/xid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Names of what this program's own workers run; each kind of purchase has a task queue of its own.
const (
	emptyQueue   = "bench-empty"
	naiveQueue   = "bench-naive"
	regularQueue = "bench-regular"
	// The deliveries of the regular variant, which may hang, are apart as ours are.
	regularProductQueue = "bench-regular-main-product"
)

// ends tells who waits in this process that a workflow has come to its last line. That is not yet the server's
// word, but ours is measured the same way: a purchase is done when its last transaction is committed.
type ends struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
}

func newEnds() *ends { return &ends{waiting: map[string]chan struct{}{}} }

// expect must be called before the workflow starts.
func (e *ends) expect(workflowID string) <-chan struct{} {
	end := make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[workflowID] = end
	return end
}

func (e *ends) reached(workflowID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if end, ok := e.waiting[workflowID]; ok { // not when the last task is run again
		close(end)
		delete(e.waiting, workflowID)
	}
}

// emptyShop starts a workflow that does nothing: the limit of one workflow per purchase.
type emptyShop struct {
	engine client.Client
	ends   *ends
}

func (s *emptyShop) workflow(ctx workflow.Context) error {
	s.ends.reached(workflow.GetInfo(ctx).WorkflowExecution.ID)
	return nil
}

func (s *emptyShop) buy(ctx context.Context, note *notes) error {
	_, err := s.start(ctx, note)
	return err
}

// start returns the id of the workflow when its end is seen.
func (s *emptyShop) start(ctx context.Context, note *notes) (workflowID string, err error) {
	begin := time.Now()
	id := "empty/" + xid.New().String()
	end := s.ends.expect(id)
	_, err = s.engine.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: emptyQueue, EnableEagerStart: true,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE}, "Empty")
	if err != nil {
		return "", fmt.Errorf("empty workflow: %w", err)
	}
	note.accept(begin)
	select {
	case <-end:
		note.finish(begin)
		return id, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *emptyShop) worker() worker.Worker {
	w := worker.New(s.engine, emptyQueue, workerOptions())
	w.RegisterWorkflowWithOptions(s.workflow, workflow.RegisterOptions{Name: "Empty"})
	return w
}

// workerOptions are those of the measurements that the design is built on.
func workerOptions() worker.Options {
	return worker.Options{MaxConcurrentWorkflowTaskPollers: 5, MaxConcurrentActivityTaskPollers: 5}
}

// historyEvents counts the events of a completed workflow.
func (st *stack) historyEvents(ctx context.Context, workflowID string) (int, error) {
	events := st.engine.GetWorkflowHistory(ctx, workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	count := 0
	for events.HasNext() {
		if _, err := events.Next(); err != nil {
			return 0, fmt.Errorf("history of %s: %w", workflowID, err)
		}
		count++
	}
	return count, nil
}
