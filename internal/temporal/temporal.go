// Package temporal connects to the Temporal server.
package temporal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
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

// settle is how long servers may take to learn of a new search attribute: each of their services refreshes
// what it knows of namespaces every 2 s. A workflow that used one sooner would repeat its task, and with it
// its first delivery.
const settle = 5 * time.Second

// RegisterSearchAttributes adds those of ours that the namespace lacks, and returns when they can be used.
func RegisterSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, name := range []string{contract.SearchUser, contract.SearchSKU, contract.SearchState, contract.SearchReason} {
		if _, ok := known.GetCustomAttributes()[name]; !ok {
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace:        namespace,
		SearchAttributes: missing,
	})
	var exists *serviceerror.AlreadyExists // another process was a moment faster
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("register search attributes: %w", err)
	}
	select {
	case <-time.After(settle):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
