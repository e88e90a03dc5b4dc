package tasks

import (
	"encoding/json"
	"time"

	"github.com/shopspring/decimal"
)

// Event is one action of a user in the main product (seed 001, "Event Format").
type Event struct {
	UserID     string
	Type       string
	OccurredAt time.Time
	Amount     decimal.NullDecimal
	// Fields are all fields of the event as they were sent, those above too. Numbers are json.Number.
	Fields map[string]any
	// Payload is the event as one JSON object.
	Payload json.RawMessage
}

// Identity says by what a second delivery of an event is recognized.
type Identity string

const (
	ByEventID   Identity = "event_id"  // the sender's own
	ByTransport Identity = "transport" // CloudEvents id and source, AMQP message id, Kafka topic, partition and offset, webhook id
	ByContent   Identity = "content"   // a fingerprint: two equal bets are taken for one
)

// Received is an event that a door took in: decoded and valid.
type Received struct {
	Event
	ID           string   // the event_id; for the other identities evt_ and the key in hex
	IdentifiedBy Identity //
	Key          [16]byte // unique for the identity, within all projects
	Source       string   // the door: rest, webhook, kafka, rabbitmq
}

// Receipt says what became of an event that was given to be counted.
type Receipt struct {
	Duplicate bool // it was delivered before, and nothing changed
}
