package events

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/quickpass/quickpass/internal/events/eventpb"
	"github.com/quickpass/quickpass/internal/tasks"
)

// ProtoFile is the definition of the protobuf form (proto3), for senders.
var ProtoFile = eventpb.File

// eventsField is EventBatch.events; Event has no field of this number.
const eventsField = 1

// splitProtobuf finds the events of a body that is an EventBatch or one Event. They are taken apart before
// they are read, so that one bad event does not spoil the others.
func splitProtobuf(body []byte, limit int) (found [][]byte, err error) {
	for rest := body; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, invalidProtobuf(n)
		}
		if number != eventsField || kind != protowire.BytesType {
			if len(found) > 0 {
				return nil, &MessageError{CodeInvalidProtobuf, fmt.Sprintf("the body is not a quickpass.v1.EventBatch: it has a field %d", number)}
			}
			return add(nil, body, limit) // one Event
		}
		rest = rest[n:]
		event, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return nil, invalidProtobuf(n)
		}
		rest = rest[n:]
		if found, err = add(found, event, limit); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func invalidProtobuf(n int) error {
	return &MessageError{CodeInvalidProtobuf, "the body is not a quickpass.v1.EventBatch: " + protowire.ParseError(n).Error()}
}

// readProtobuf returns the fields of an event, and the same as one JSON object.
func readProtobuf(raw []byte) (fields map[string]any, payload []byte, problem *tasks.EventError) {
	var event eventpb.Event
	if err := proto.Unmarshal(raw, &event); err != nil {
		return nil, nil, &tasks.EventError{Code: CodeInvalidProtobuf, Message: "the event is not a quickpass.v1.Event with valid UTF-8"}
	}
	fields, problem = structFields(event.GetFields(), 1)
	if problem != nil {
		return nil, nil, problem
	}
	var at string
	if event.Timestamp != nil {
		if err := event.Timestamp.CheckValid(); err != nil {
			return fields, nil, &tasks.EventError{
				Code:    tasks.TimestampInvalid,
				Field:   "timestamp",
				Message: "is not a valid google.protobuf.Timestamp",
			}
		}
		at = event.Timestamp.AsTime().Format(time.RFC3339Nano)
	}
	for name, value := range map[string]string{"user_id": event.UserId, "event_type": event.EventType, "timestamp": at,
		"amount": event.Amount, "currency": event.Currency, "event_id": event.EventId} {
		if _, taken := fields[name]; taken {
			return nil, nil, &tasks.EventError{Code: tasks.InvalidField, Field: "fields", Message: name + " has a field of its own"}
		}
		if value != "" {
			fields[name] = value
		}
	}
	payload, err := json.Marshal(fields)
	if err != nil {
		return fields, nil, &tasks.EventError{Code: CodeInvalidProtobuf, Message: "the event cannot be written as JSON"}
	}
	return fields, payload, nil
}

func structFields(object *structpb.Struct, level int) (map[string]any, *tasks.EventError) {
	fields := make(map[string]any, len(object.GetFields())+8)
	for name, value := range object.GetFields() {
		var problem *tasks.EventError
		if fields[name], problem = structValue(name, value, level+1); problem != nil {
			return nil, problem
		}
	}
	return fields, nil
}

func structValue(name string, value *structpb.Value, level int) (any, *tasks.EventError) {
	if level > maxLevels {
		return nil, &tasks.EventError{Code: tasks.TooDeep, Message: "the event has too many levels of objects and arrays"}
	}
	switch kind := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue, nil
	case *structpb.Value_BoolValue:
		return kind.BoolValue, nil
	case *structpb.Value_NumberValue:
		if math.IsNaN(kind.NumberValue) || math.IsInf(kind.NumberValue, 0) {
			return nil, &tasks.EventError{Code: tasks.InvalidField, Field: "fields", Message: fmt.Sprintf("%.64q is not a number", name)}
		}
		return json.Number(jsontext.AppendFloat(nil, kind.NumberValue, 64)), nil
	case *structpb.Value_StructValue:
		return structFields(kind.StructValue, level)
	case *structpb.Value_ListValue:
		array := make([]any, len(kind.ListValue.GetValues()))
		for i, element := range kind.ListValue.GetValues() {
			var problem *tasks.EventError
			if array[i], problem = structValue(name, element, level+1); problem != nil {
				return nil, problem
			}
		}
		return array, nil
	default:
		return nil, nil // null
	}
}
