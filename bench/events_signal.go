package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/rs/xid"
)

const (
	signalQueue = "bench-signals"
	signalName  = "event"
)

// signalCounter counts as the textbooks of workflow engines do: a workflow is the user's window, and each
// event is a signal to it. It stores no event and takes a duplicate for another.
type signalCounter struct {
	engine client.Client
	ends   *ends
	worker worker.Worker
}

// signaledEvent is the content of a signal.
type signaledEvent struct {
	EventID, UserID, EventType, Timestamp, Amount, Currency string
}

func (s *signalCounter) workflow(ctx workflow.Context) error {
	events := workflow.GetSignalChannel(ctx, signalName)
	for counted := 0; counted < 1_000_000; counted++ {
		var event signaledEvent
		events.Receive(ctx, &event)
		s.ends.reached(event.EventID)
	}
	return nil
}

func openSignals(ctx context.Context, st *stack) (*signalCounter, error) {
	s := &signalCounter{engine: st.engine, ends: newEnds()}
	s.worker = worker.New(s.engine, signalQueue, workerOptions())
	s.worker.RegisterWorkflowWithOptions(s.workflow, workflow.RegisterOptions{Name: "CountSignals"})
	if err := s.worker.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(poolSize)
	for n := range fewWindows {
		group.Go(func() error {
			_, err := s.engine.ExecuteWorkflow(groupCtx, client.StartWorkflowOptions{
				ID:                    signaledID(n),
				TaskQueue:             signalQueue,
				EnableEagerStart:      true,
				WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
			}, "CountSignals")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.worker.Stop()
		return nil, fmt.Errorf("start workflows that count: %w", err)
	}
	return s, nil
}

func signaledID(n int) string { return fmt.Sprintf("signals/%d", n) }

// send returns when the workflow has counted the event: else they would only pile up in the histories.
func (s *signalCounter) send(ctx context.Context, note *notes) error {
	begin := time.Now()
	n := rand.IntN(fewWindows)
	event := signaledEvent{
		EventID:   xid.New().String(),
		UserID:    bet{player: n}.userID(),
		EventType: "bet_placed",
		Timestamp: begin.UTC().Format(time.RFC3339),
		Amount:    "250.00",
		Currency:  "RUB",
	}
	end := s.ends.expect(event.EventID)
	if err := s.engine.SignalWorkflow(ctx, signaledID(n), "", signalName, event); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	select {
	case <-end:
		note.accept(begin)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
