package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/quickpass/quickpass/internal/tasks"
)

// generatedPrefix stands before the id of an event that its sender gave none.
const generatedPrefix = "evt_"

const maxEventID = 128 // characters

// KeyOf returns the key under which an event is stored, by the id that its sender gave it or that we answered with.
func KeyOf(projectID int32, id string) [16]byte {
	if key, ok := generatedKey(id); ok {
		return key
	}
	return keyOf(projectID, string(tasks.ByEventID), id)
}

// identify gives an event its ID, its key, and the kind of its identity: the sender's event_id, else the
// transport's own (its kind, its parts, the index in the message, if it has one), else a fingerprint of the
// content.
func identify(event *tasks.Received, projectID int32, transport []string) *tasks.EventError {
	id, given, problem := eventID(event.Fields)
	switch {
	case problem != nil:
		return problem
	case given:
		event.ID, event.IdentifiedBy = id, tasks.ByEventID
		event.Key = keyOf(projectID, string(tasks.ByEventID), id)
		return nil
	case transport != nil:
		event.IdentifiedBy = tasks.ByTransport
		event.Key = keyOf(projectID, string(tasks.ByTransport), transport...)
	default:
		event.IdentifiedBy = tasks.ByContent
		event.Key = fingerprint(projectID, event.Fields)
	}
	event.ID = generatedPrefix + hex.EncodeToString(event.Key[:])
	return nil
}

// eventID is the sender's own id of an event: a text or a whole number, which are the same.
func eventID(fields map[string]any) (id string, given bool, problem *tasks.EventError) {
	switch value := fields["event_id"].(type) {
	case nil:
		return "", false, nil
	case string:
		id = value
	case json.Number:
		id = string(value)
		if strings.Trim(strings.TrimPrefix(id, "-"), "0123456789") != "" {
			id = ""
		}
	}
	if !validEventID(id) {
		return "", true, &tasks.EventError{
			Code:    tasks.InvalidField,
			Field:   "event_id",
			Message: "must be a text of 1 to 128 printable characters, or a whole number",
		}
	}
	if _, ok := generatedKey(id); ok {
		return "", true, &tasks.EventError{
			Code:    tasks.InvalidField,
			Field:   "event_id",
			Message: "must not look like evt_ and 32 hexadecimal digits, which is how events without an id are named",
		}
	}
	return id, true, nil
}

func validEventID(id string) bool {
	unprintable := func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }
	return id != "" && len(id) <= maxEventID*utf8.UTFMax && utf8.RuneCountInString(id) <= maxEventID &&
		!strings.ContainsFunc(id, unprintable) && strings.TrimSpace(id) == id
}

func generatedKey(id string) (key [16]byte, ok bool) {
	digits, ok := strings.CutPrefix(id, generatedPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(key)) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(digits))
	return key, err == nil
}

// keyOf hashes the parts with their lengths, so that no two lists of parts look the same.
func keyOf(projectID int32, kind string, parts ...string) [16]byte {
	buffer := binary.BigEndian.AppendUint32(make([]byte, 0, 256), uint32(projectID))
	buffer = appendText(buffer, kind)
	for _, part := range parts {
		buffer = appendText(buffer, part)
	}
	return firstHalf(sha256.Sum256(buffer))
}

// fingerprint is the same for equal fields, in whatever order, spacing and form of numbers they were sent.
func fingerprint(projectID int32, fields map[string]any) [16]byte {
	buffer := binary.BigEndian.AppendUint32(make([]byte, 0, 1024), uint32(projectID))
	buffer = appendText(buffer, string(tasks.ByContent))
	return firstHalf(sha256.Sum256(appendValue(buffer, fields)))
}

func firstHalf(sum [sha256.Size]byte) (key [16]byte) {
	copy(key[:], sum[:])
	return key
}

func appendText(buffer []byte, text string) []byte {
	return append(binary.AppendUvarint(buffer, uint64(len(text))), text...)
}

// appendValue writes a value with its type and its length before it: what is written can be read in one way only.
func appendValue(buffer []byte, value any) []byte {
	switch value := value.(type) {
	case string:
		return appendText(append(buffer, 's'), value)
	case json.Number:
		return appendText(append(buffer, 'n'), plainNumber(string(value)))
	case bool:
		return strconv.AppendBool(append(buffer, 'b'), value)
	case map[string]any:
		buffer = binary.AppendUvarint(append(buffer, 'o'), uint64(len(value)))
		for _, name := range slices.Sorted(maps.Keys(value)) {
			buffer = appendValue(appendText(buffer, name), value[name])
		}
		return buffer
	case []any:
		buffer = binary.AppendUvarint(append(buffer, 'a'), uint64(len(value)))
		for _, element := range value {
			buffer = appendValue(buffer, element)
		}
		return buffer
	default:
		return append(buffer, '0') // null
	}
}

// plainNumber writes a JSON number in one way: 250.00, 250 and 2.5e2 are 25e1. Nothing is computed with the
// digits, however many they are. An exponent that no counter holds is left as it is.
func plainNumber(text string) string {
	digits, negative := strings.CutPrefix(text, "-")
	exponent := 0
	if at := strings.IndexAny(digits, "eE"); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(digits[at+1:]); err != nil || exponent > 1<<30 || exponent < -1<<30 {
			return text
		}
		digits = digits[:at]
	}
	whole, decimals, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+decimals, "0")
	exponent -= len(decimals)
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return "0"
	}
	exponent += len(digits) - len(significant)
	if negative {
		significant = "-" + significant
	}
	return significant + "e" + strconv.Itoa(exponent)
}
