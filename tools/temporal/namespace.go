package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// namespaceWait bounds the time from the start of the services until a workflow can be started.
	namespaceWait = 60 * time.Second
	callTimeout   = 5 * time.Second
	// probes are enough workflow ids to fall on every shard of a small server.
	probes = 16
)

// registerNamespaces creates the namespaces that are missing and returns when all of them can be used.
func registerNamespaces(ctx context.Context, frontend string, names []string, retention time.Duration) error {
	conn, err := grpc.NewClient(frontend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to Temporal: %w", err)
	}
	defer conn.Close()
	client := workflowservice.NewWorkflowServiceClient(conn)
	ctx, cancel := context.WithTimeout(ctx, namespaceWait)
	defer cancel()
	for _, name := range names {
		err := retry(ctx, func(ctx context.Context) error { return register(ctx, client, name, retention) })
		if err != nil {
			return fmt.Errorf("register namespace %q: %w", name, err)
		}
		if err := retry(ctx, func(ctx context.Context) error { return probe(ctx, client, name) }); err != nil {
			return fmt.Errorf("namespace %q cannot be used: %w", name, err)
		}
	}
	return nil
}

func register(
	ctx context.Context, client workflowservice.WorkflowServiceClient, name string, retention time.Duration,
) error {
	// Described first: registering writes to the database even when the namespace is there.
	_, err := client.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: name})
	var absent *serviceerror.NamespaceNotFound
	if err = serviceerror.FromStatus(status.Convert(err)); err == nil || !errors.As(err, &absent) {
		return err
	}
	_, err = client.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace:                        name,
		WorkflowExecutionRetentionPeriod: durationpb.New(retention),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err = serviceerror.FromStatus(status.Convert(err)); errors.As(err, &exists) {
		return nil
	}
	return err
}

// probe asks each service for something harmless: history must own its shards, matching and visibility must know the
// namespace. A new namespace reaches their caches after a moment.
func probe(ctx context.Context, client workflowservice.WorkflowServiceClient, name string) error {
	for i := range probes {
		_, err := client.DescribeWorkflowExecution(ctx, &workflowservice.DescribeWorkflowExecutionRequest{
			Namespace: name,
			Execution: &commonpb.WorkflowExecution{WorkflowId: "ready-" + strconv.Itoa(i)},
		})
		var absent *serviceerror.NotFound
		if err = serviceerror.FromStatus(status.Convert(err)); err != nil && !errors.As(err, &absent) {
			return err
		}
	}
	_, err := client.DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace:     name,
		TaskQueue:     &taskqueuepb.TaskQueue{Name: "ready"},
		TaskQueueType: enumspb.TASK_QUEUE_TYPE_WORKFLOW,
	})
	if err != nil {
		return err
	}
	_, err = client.CountWorkflowExecutions(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: name})
	return err
}

// retry calls until there is no error or ctx ends, and then returns the last error. A request that the server calls
// invalid, such as a retention below a day, stays invalid.
func retry(ctx context.Context, call func(context.Context) error) error {
	for {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err := call(callCtx)
		cancel()
		var invalid *serviceerror.InvalidArgument
		if err == nil || errors.As(err, &invalid) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryInterval):
		}
	}
}
