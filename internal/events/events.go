// Package events takes in what users do in the main product (seed 001, "Transfer Methods"): over HTTP, signed webhooks,
// Kafka and RabbitMQ. A door decodes a message, gives each event the identity by which a second delivery is recognized,
// and has the batch counted before it acknowledges anything.
package events

import (
	"context"
	"errors"

	"github.com/quickpass/quickpass/internal/tasks"
)

// The doors, as they are named in stored events and in metrics.
const (
	SourceREST     = "rest"
	SourceWebhook  = "webhook"
	SourceKafka    = "kafka"
	SourceRabbitMQ = "rabbitmq"
)

// Counter stores and counts events. It returns when they are committed, with one receipt for each event in
// order, and may be called concurrently. After an error none is known to be counted, and the same events may
// be given again: their keys make a second time harmless. ErrRefused in the error means that waiting does not
// help.
type Counter interface {
	Count(ctx context.Context, projectID int32, batch []tasks.Received) ([]tasks.Receipt, error)
}

// ErrRefused: an event of the batch can never be stored. A consumer then gives them one by one, and puts the
// one that is refused alone among the dead letters.
var ErrRefused = errors.New("an event of the batch cannot be stored")
