package events

import (
	"bytes"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/tasks"
)

// Message is what a door received at once: the body of a request, a Kafka record, a RabbitMQ message.
type Message struct {
	ProjectID   int32
	Source      string // the door
	ContentType string // as it was sent; empty: JSON
	Body        []byte // must not be changed afterwards: the events refer to it
	// CloudEvent is set when the message's headers are a CloudEvent in binary mode.
	CloudEvent *CloudEvent
	// Transport is the door's own identity of the message, if it has one: its kind and its parts.
	Transport []string
}

// Item is one event of a message: received, or rejected.
type Item struct {
	Index     int
	Received  tasks.Received
	Rejection *Rejection // nil when it was received
}

// Rejection says what is wrong with one event of a message. Sending it again as it is does not help.
type Rejection struct {
	Index   int    `json:"index"` // in the message, from 0
	EventID string `json:"event_id,omitempty"`
	Code    string `json:"code"` // stable: one of tasks.EventCode or of this package
	Message string `json:"message"`

	Raw         []byte `json:"-"` // the event as it was sent, able to stand alone
	ContentType string `json:"-"` // of Raw
}

// Codes of this package, beside those of tasks.EventCode. They are part of the HTTP API and never change.
const (
	CodeInvalidJSON          = "invalid_json"
	CodeInvalidProtobuf      = "invalid_protobuf"
	CodeInvalidCloudEvent    = "invalid_cloudevent"
	CodeNotAnObject          = "not_an_object"
	CodeEmpty                = "empty"
	CodeBodyTooLarge         = "body_too_large"
	CodeTooManyEvents        = "too_many_events"
	CodeUnsupportedMediaType = "unsupported_media_type"
	CodeNotStorable          = "not_storable" // of dead letters: the database refuses the event for good
)

// MessageError says why nothing of a message could be read.
type MessageError struct {
	Code    string // one of the codes of this package
	Message string // for the sender
}

// Error makes a MessageError usable as an error.
func (e *MessageError) Error() string { return e.Code + ": " + e.Message }

// Decoder turns messages into events.
type Decoder struct {
	Limits    tasks.EventLimits
	MaxBytes  int // of a message
	MaxEvents int // of a message
}

// Decode reads a message at the time now. One bad event does not spoil the others; the error, a *MessageError, means
// that nothing could be read.
func (d Decoder) Decode(m Message, now time.Time) ([]Item, error) {
	if len(m.Body) > d.MaxBytes {
		return nil, &MessageError{CodeBodyTooLarge, fmt.Sprintf("the body has %d bytes; at most %d are taken", len(m.Body), d.MaxBytes)}
	}
	form, err := formOf(m.ContentType)
	if err != nil {
		return nil, err
	}
	if err := m.CloudEvent.check(); err != nil {
		return nil, err
	}
	raw, err := d.split(form, m.Body)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, &MessageError{CodeEmpty, "the body has no event"}
	}
	items := make([]Item, len(raw))
	for i, element := range raw {
		items[i] = d.item(m, form, i, element, now)
	}
	return items, nil
}

// form is how events are written.
type form int

const (
	formJSON  form = iota
	formLines      // JSON, one event a line
	formEnvelope
	formProtobuf
)

// contentType of a single event of the form.
func (f form) contentType() string {
	switch f {
	case formEnvelope:
		return "application/cloudevents+json"
	case formProtobuf:
		return "application/x-protobuf"
	default:
		return "application/json"
	}
}

func formOf(contentType string) (form, error) {
	if strings.TrimSpace(contentType) == "" {
		return formJSON, nil
	}
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	charset := strings.ToLower(parameters["charset"])
	if err == nil && (charset == "" || charset == "utf-8" || charset == "utf8") {
		switch mediaType {
		case "application/json", "text/json", "text/plain", "application/octet-stream":
			return formJSON, nil
		case "application/x-ndjson", "application/ndjson", "application/jsonl":
			return formLines, nil
		case "application/cloudevents+json", "application/cloudevents-batch+json":
			return formEnvelope, nil
		case "application/x-protobuf", "application/protobuf":
			return formProtobuf, nil
		}
	}
	return 0, &MessageError{CodeUnsupportedMediaType,
		fmt.Sprintf("the content type %.100q is not taken; send application/json, application/x-ndjson, application/cloudevents+json or application/x-protobuf", contentType)}
}

// split finds the events of a body, each still to be read.
func (d Decoder) split(form form, body []byte) ([][]byte, error) {
	switch form {
	case formProtobuf:
		return splitProtobuf(body, d.MaxEvents)
	case formLines:
		return splitLines(body, d.MaxEvents)
	default:
		return splitJSON(body, d.MaxEvents)
	}
}

// add appends an event to those that were found, within the limit.
func add(found [][]byte, element []byte, limit int) ([][]byte, error) {
	if len(found) == limit {
		return nil, &MessageError{CodeTooManyEvents, fmt.Sprintf("the body has more than %d events; send them in several", limit)}
	}
	return append(found, element), nil
}

// maxElement is far more than an event may have, with an envelope around it: nothing larger is read at all.
const maxElement = 64 << 10

func (d Decoder) item(m Message, form form, index int, element []byte, now time.Time) Item {
	fields, payload, transport, problem := read(m, form, index, element)
	var received tasks.Received
	if problem == nil {
		received, problem = d.receive(m, fields, payload, transport, now)
	}
	if problem == nil {
		return Item{Index: index, Received: received}
	}
	rejection := &Rejection{
		Index:       index,
		Code:        string(problem.Code),
		Message:     problem.Message,
		Raw:         element,
		ContentType: form.contentType(),
	}
	if problem.Field != "" {
		rejection.Message = problem.Field + " " + problem.Message
	}
	rejection.EventID, _, _ = eventID(fields)
	return Item{Index: index, Rejection: rejection}
}

// read returns an event's fields, the event as one JSON object, and the transport's identity of it.
func read(m Message, form form, index int, element []byte) (fields map[string]any, payload []byte, transport []string, problem *tasks.EventError) {
	if len(element) > maxElement {
		return nil, nil, nil, &tasks.EventError{Code: tasks.TooLarge, Message: fmt.Sprintf("the event has %d bytes", len(element))}
	}
	switch form {
	case formEnvelope:
		return readEnvelope(element)
	case formProtobuf:
		fields, payload, problem = readProtobuf(element)
	default:
		payload = element
		fields, problem = readObject(element)
	}
	return fields, payload, m.identity(index), problem
}

// identity is that of one event of the message, or nil when it has none of its own.
func (m Message) identity(index int) []string {
	switch {
	case m.CloudEvent != nil:
		return m.CloudEvent.identity(index)
	case m.Transport != nil:
		return append(slices.Clip(m.Transport), strconv.Itoa(index))
	default:
		return nil
	}
}

func (d Decoder) receive(m Message, fields map[string]any, payload []byte, transport []string, now time.Time) (tasks.Received, *tasks.EventError) {
	event, problem := tasks.ParseEvent(fields, payload, now, d.Limits)
	if problem != nil {
		return tasks.Received{}, problem
	}
	received := tasks.Received{Event: event, Source: m.Source}
	problem = identify(&received, m.ProjectID, transport)
	return received, problem
}

// splitLines finds the lines that are not blank.
func splitLines(body []byte, limit int) (found [][]byte, err error) {
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if found, err = add(found, line, limit); err != nil {
			return nil, err
		}
	}
	return found, nil
}
