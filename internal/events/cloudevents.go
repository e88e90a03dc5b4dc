package events

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/quickpass/quickpass/internal/tasks"
)

// CloudEvent is the part of a CloudEvent (version 1.0) in binary mode that identifies it.
type CloudEvent struct{ SpecVersion, ID, Source string }

// CloudEventOf reads the headers of a CloudEvent in binary mode, or returns nil when there are none. Their
// prefix is ce- in HTTP, ce_ in Kafka and cloudEvents: in AMQP.
func CloudEventOf(header func(name string) string, prefix string) *CloudEvent {
	event := CloudEvent{SpecVersion: header(prefix + "specversion"), ID: header(prefix + "id"), Source: header(prefix + "source")}
	if event == (CloudEvent{}) {
		return nil
	}
	return &event
}

func (e *CloudEvent) check() error {
	switch {
	case e == nil:
		return nil
	case e.SpecVersion != "" && e.SpecVersion != "1.0":
		return &MessageError{CodeInvalidCloudEvent, "specversion must be 1.0"}
	case e.ID == "" || e.Source == "":
		return &MessageError{CodeInvalidCloudEvent, "a CloudEvent needs id and source"}
	default:
		return nil
	}
}

// identity is that of one event of its data.
func (e *CloudEvent) identity(index int) []string {
	return []string{"cloudevents", e.Source, e.ID, strconv.Itoa(index)}
}

// readEnvelope reads a CloudEvent in structured mode: its data is the event.
func readEnvelope(raw []byte) (fields map[string]any, payload []byte, transport []string, problem *tasks.EventError) {
	members, problem := envelopeMembers(raw)
	if problem != nil {
		return nil, nil, nil, problem
	}
	attribute := func(name string) string {
		value := members[name]
		if jsontext.Value(value).Kind() != '"' {
			return ""
		}
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return ""
		}
		return string(text)
	}
	event := CloudEvent{SpecVersion: attribute("specversion"), ID: attribute("id"), Source: attribute("source")}
	if event.SpecVersion == "" || event.check() != nil {
		return nil, nil, nil, invalidEnvelope("a CloudEvent needs specversion 1.0, id and source, each a text")
	}
	form, err := formOf(attribute("datacontenttype"))
	encoded := members["data_base64"] != nil
	if err != nil || form != formJSON && (form != formProtobuf || !encoded) {
		return nil, nil, nil, invalidEnvelope("datacontenttype must be application/json, or application/x-protobuf with data_base64")
	}
	payload = members["data"]
	if payload == nil && !encoded {
		return nil, nil, nil, invalidEnvelope("a CloudEvent needs data: the event")
	}
	if encoded {
		if payload, err = base64.StdEncoding.DecodeString(attribute("data_base64")); err != nil {
			return nil, nil, nil, invalidEnvelope("data_base64 is not valid base64")
		}
	}
	if form == formProtobuf {
		fields, payload, problem = readProtobuf(payload)
	} else {
		fields, problem = readObject(payload)
	}
	return fields, payload, event.identity(0), problem
}

func invalidEnvelope(message string) *tasks.EventError {
	return &tasks.EventError{Code: CodeInvalidCloudEvent, Message: message}
}

// envelopeMembers finds the members of an object, each still to be read.
func envelopeMembers(raw []byte) (map[string][]byte, *tasks.EventError) {
	// Members are found by their place in raw, which only a value without space before it starts at.
	raw = bytes.TrimSpace(raw)
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if decoder.PeekKind() != '{' {
		return nil, &tasks.EventError{Code: CodeNotAnObject, Message: "a CloudEvent must be a JSON object"}
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, invalidEnvelope(syntaxText(err))
	}
	members := map[string][]byte{}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, invalidEnvelope(syntaxText(err))
		}
		key := strings.Clone(name.String())
		if members[key], err = readRaw(decoder, raw); err != nil {
			return nil, invalidEnvelope(syntaxText(err))
		}
	}
	return members, nil
}
