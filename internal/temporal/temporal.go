// Package temporal connects to the Temporal server.
package temporal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"github.com/quickpass/quickpass/internal/contract"
)

// Options of a connection. TLS and API keys come from the SDK's own environment configuration
// (TEMPORAL_* variables or its file); the address and namespace here win over it.
type Options struct {
	Address   string
	Namespace string
	Compress  bool // gzip on the wire: worth it across data centres, a quarter of the worker's CPU on a local link
	Logger    *slog.Logger
}

// Dial makes a client that connects when first used, so that the API can start while Temporal is away.
func Dial(o Options) (client.Client, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, fmt.Errorf("temporal environment configuration: %w", err)
	}
	options.HostPort, options.Namespace = o.Address, o.Namespace
	options.Logger = log.NewStructuredLogger(o.Logger)
	if !o.Compress {
		options.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	}
	c, err := client.NewLazyClient(options)
	if err != nil {
		return nil, fmt.Errorf("temporal client: %w", err)
	}
	return c, nil
}

// Health answers whether Temporal does.
type Health struct{ Client client.Client }

// Healthy is nil when the frontend serves.
func (h Health) Healthy(ctx context.Context) error {
	_, err := h.Client.CheckHealth(ctx, &client.CheckHealthRequest{})
	return err
}

// usable is how often a new search attribute is asked for until the server knows it everywhere.
const usable = 100 * time.Millisecond

// RegisterSearchAttributes adds ours to the namespace and returns when they can be used; those that exist are
// left alone.
func RegisterSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	var query []string
	for _, name := range []string{contract.SearchUser, contract.SearchSKU, contract.SearchState, contract.SearchReason} {
		_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
			Namespace:        namespace,
			SearchAttributes: map[string]enumspb.IndexedValueType{name: enumspb.INDEXED_VALUE_TYPE_KEYWORD},
		})
		var exists *serviceerror.AlreadyExists
		if err != nil && !errors.As(err, &exists) {
			return fmt.Errorf("register search attribute %s: %w", name, err)
		}
		query = append(query, name+" = ''")
	}
	return waitUsable(ctx, c, strings.Join(query, " AND "))
}

// waitUsable asks for workflows by the new attributes: servers cache which there are, for about a second.
func waitUsable(ctx context.Context, c client.Client, query string) error {
	for {
		_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		var unknown *serviceerror.InvalidArgument
		if !errors.As(err, &unknown) {
			return err
		}
		select {
		case <-time.After(usable):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
