package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/quickpass/quickpass/internal/tasks"
)

// splitJSON finds the events of a body that is one object, an array, or objects a line each. It is lax about what is
// within them, so that one bad event does not spoil the others.
func splitJSON(body []byte, limit int) ([][]byte, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	switch kind := decoder.PeekKind(); kind {
	case '[':
		return splitArray(decoder, body, limit)
	case '{':
		object, err := readRaw(decoder, body)
		if err != nil {
			return nil, invalidJSON(err)
		}
		if len(bytes.TrimSpace(body[decoder.InputOffset():])) > 0 {
			return splitLines(body, limit)
		}
		return add(nil, object, limit)
	default:
		if len(bytes.TrimSpace(body)) == 0 {
			return nil, nil
		}
		return nil, &MessageError{CodeInvalidJSON, "the body must be a JSON object, an array of them, or one a line"}
	}
}

func splitArray(decoder *jsontext.Decoder, body []byte, limit int) (found [][]byte, err error) {
	if _, err := decoder.ReadToken(); err != nil {
		return nil, invalidJSON(err)
	}
	for decoder.PeekKind() != ']' {
		element, err := readRaw(decoder, body)
		if err != nil {
			return nil, invalidJSON(err)
		}
		if found, err = add(found, element, limit); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, invalidJSON(err)
	}
	if len(bytes.TrimSpace(body[decoder.InputOffset():])) > 0 {
		return nil, &MessageError{CodeInvalidJSON, "the body goes on after the array"}
	}
	return found, nil
}

// readRaw returns the part of the body that is the next value.
func readRaw(decoder *jsontext.Decoder, body []byte) ([]byte, error) {
	value, err := decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(decoder.InputOffset())
	return body[end-len(value) : end : end], nil
}

func invalidJSON(err error) error {
	return &MessageError{CodeInvalidJSON, "the body is not valid JSON: " + syntaxText(err)}
}

// syntaxText says what is wrong and where, without the name of the library, and not at length.
func syntaxText(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "it ends too early"
	}
	text := strings.ToValidUTF8(strings.TrimPrefix(err.Error(), "jsontext: "), "?")
	const most = 200
	return text[:min(len(text), most)]
}

// decoders are used again, one event after the other: a new one costs more than most events.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewBuffer(nil)) }}

// readObject reads one JSON object strictly: names once, valid UTF-8, nothing behind it. Numbers are json.Number.
func readObject(raw []byte) (map[string]any, *tasks.EventError) {
	decoder := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(decoder)
	decoder.Reset(bytes.NewBuffer(raw))
	if decoder.PeekKind() != '{' {
		if !jsontext.Value(raw).IsValid() {
			return nil, &tasks.EventError{Code: CodeInvalidJSON, Message: "the event is not valid JSON"}
		}
		return nil, &tasks.EventError{Code: CodeNotAnObject, Message: "an event must be a JSON object"}
	}
	value, err := readValue(decoder, 1)
	if err == nil {
		if _, trailing := decoder.ReadToken(); !errors.Is(trailing, io.EOF) {
			return nil, &tasks.EventError{Code: CodeInvalidJSON, Message: "the event goes on after its object"}
		}
		return value.(map[string]any), nil
	}
	var problem *tasks.EventError
	if errors.As(err, &problem) {
		return nil, problem
	}
	return nil, &tasks.EventError{Code: CodeInvalidJSON, Message: "the event is not valid JSON: " + syntaxText(err)}
}

// maxLevels is more than an event may have; reading ends there.
const maxLevels = 32

func readValue(decoder *jsontext.Decoder, level int) (any, error) {
	if level > maxLevels {
		return nil, &tasks.EventError{Code: tasks.TooDeep, Message: "the event has too many levels of objects and arrays"}
	}
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"':
		return token.String(), nil
	case '0':
		return json.Number(token.String()), nil
	case 't', 'f':
		return token.Bool(), nil
	case '{':
		return readMembers(decoder, level)
	case '[':
		return readElements(decoder, level)
	default:
		return nil, nil // null
	}
}

func readMembers(decoder *jsontext.Decoder, level int) (map[string]any, error) {
	object := make(map[string]any, 8)
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if object[key], err = readValue(decoder, level+1); err != nil {
			return nil, err
		}
	}
	_, err := decoder.ReadToken()
	return object, err
}

func readElements(decoder *jsontext.Decoder, level int) ([]any, error) {
	array := []any{}
	for decoder.PeekKind() != ']' {
		value, err := readValue(decoder, level+1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	_, err := decoder.ReadToken()
	return array, err
}
