package tasks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/store"
)

// EventCode says why an event was not accepted. Codes are part of the HTTP API and never change.
type EventCode string

const (
	MissingField      EventCode = "missing_field"
	InvalidField      EventCode = "invalid_field"
	TimestampInvalid  EventCode = "timestamp_invalid"
	TimestampInFuture EventCode = "timestamp_in_future"
	TimestampTooOld   EventCode = "timestamp_too_old"
	AmountInvalid     EventCode = "amount_invalid"
	TooManyFields     EventCode = "too_many_fields"
	TooLarge          EventCode = "too_large"
	TooDeep           EventCode = "too_deep"
)

// EventError tells the sender of an event what is wrong with it. Sending the same event again does not help.
type EventError struct {
	Code    EventCode
	Field   string // "" when it is about the whole event
	Message string
}

// Error makes an EventError usable as an error.
func (e *EventError) Error() string {
	if e.Field == "" {
		return string(e.Code) + ": " + e.Message
	}
	return string(e.Code) + ": " + e.Field + ": " + e.Message
}

// EventLimits bound the time of an event, measured from when it arrives.
type EventLimits struct {
	MaxAge   time.Duration // how long ago it may have happened
	MaxAhead time.Duration // by how much the sender's clock may be fast
}

const (
	maxPayload       = 16 << 10 // bytes
	maxFields        = 64       // with those of nested objects
	maxDepth         = 8        // the event itself is the first level
	maxText          = 64       // characters of user_id and currency
	maxEventType     = 100      // characters
	maxWholeDigits   = 18
	maxDecimals      = 8
	maxAmountText    = 64 // characters
	firstMillisecond = 100_000_000_000
)

// ParseEvent makes an event of a decoded JSON object with the seed's fields (seed 001, "Event Format"):
// user_id, event_type and timestamp are needed, amount and currency are not. Numbers in the object must be
// json.Number. The time is kept in UTC and in microseconds, which is what the database keeps.
func ParseEvent(object map[string]any, payload json.RawMessage, now time.Time, limits EventLimits) (Event, *EventError) {
	event := Event{Fields: object, Payload: payload}
	if err := checkPayload(object, payload); err != nil {
		return Event{}, err
	}
	var err *EventError
	if event.UserID, err = parseUserID(object); err != nil {
		return Event{}, err
	}
	if event.Type, err = parseEventType(object); err != nil {
		return Event{}, err
	}
	if event.OccurredAt, err = parseTimestamp(object, now, limits); err != nil {
		return Event{}, err
	}
	if event.Amount, err = parseAmount(object["amount"]); err != nil {
		return Event{}, err
	}
	if currency := object["currency"]; currency != nil {
		if text, ok := currency.(string); !ok || !store.Printable(text, 1, maxText) {
			return Event{}, &EventError{InvalidField, "currency", "must be a text of 1 to 64 printable characters, such as RUB"}
		}
	}
	return event, nil
}

func checkPayload(object map[string]any, payload json.RawMessage) *EventError {
	if len(payload) > maxPayload {
		return &EventError{TooLarge, "", fmt.Sprintf("the event has %d bytes; at most %d are taken", len(payload), maxPayload)}
	}
	if !utf8.Valid(payload) {
		return &EventError{InvalidField, "", "the event is not valid UTF-8"}
	}
	fields := 0
	return checkValue("", object, 1, &fields)
}

// checkValue refuses what the database can't keep, and what would make conditions slow.
func checkValue(field string, value any, depth int, fields *int) *EventError {
	switch value := value.(type) {
	case string:
		if !storable(value) {
			return &EventError{InvalidField, field, "has a NUL character or text that is not valid Unicode"}
		}
	case map[string]any:
		if depth > maxDepth {
			return &EventError{TooDeep, field, fmt.Sprintf("at most %d levels of objects and arrays", maxDepth)}
		}
		if *fields += len(value); *fields > maxFields {
			return &EventError{TooManyFields, field, fmt.Sprintf("at most %d fields, those of nested objects included", maxFields)}
		}
		for name, inner := range value {
			if !storable(name) {
				return &EventError{InvalidField, field, "has a field whose name has a NUL character or is not valid Unicode"}
			}
			if err := checkValue(within(field, name), inner, depth+1, fields); err != nil {
				return err
			}
		}
	case []any:
		if depth > maxDepth {
			return &EventError{TooDeep, field, fmt.Sprintf("at most %d levels of objects and arrays", maxDepth)}
		}
		for _, inner := range value {
			if err := checkValue(field, inner, depth+1, fields); err != nil {
				return err
			}
		}
	}
	return nil
}

func within(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// storable: U+FFFD is what decoders make of broken UTF-8 and of half a surrogate pair.
func storable(text string) bool {
	return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 && !strings.Contains(text, "\uFFFD")
}

func parseUserID(object map[string]any) (string, *EventError) {
	switch id := object["user_id"].(type) {
	case nil:
		return "", &EventError{MissingField, "user_id", "is needed: the user's id in the main product"}
	case string:
		if store.Printable(id, 1, maxText) {
			return id, nil
		}
	case json.Number:
		if wholeNumber(string(id)) {
			return string(id), nil
		}
	}
	return "", &EventError{InvalidField, "user_id", "must be a text of 1 to 64 printable characters, or a whole number"}
}

func wholeNumber(text string) bool {
	_, err := strconv.ParseInt(text, 10, 64)
	return err == nil && text[0] != '-'
}

func parseEventType(object map[string]any) (string, *EventError) {
	value := object["event_type"]
	if value == nil {
		return "", &EventError{MissingField, "event_type", "is needed: what the user did, such as bet_placed"}
	}
	if eventType, ok := value.(string); ok && validEventType(eventType) {
		return eventType, nil
	}
	return "", &EventError{InvalidField, "event_type", eventTypeRule}
}

const eventTypeRule = "must be 1 to 100 letters, digits, '.', '_', ':', '/' or '-', starting with a letter or digit"

func validEventType(text string) bool {
	for i, r := range []byte(text) {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._:/-", rune(r))) {
			return false
		}
	}
	return text != "" && len(text) <= maxEventType
}

func parseTimestamp(object map[string]any, now time.Time, limits EventLimits) (time.Time, *EventError) {
	value := object["timestamp"]
	if value == nil {
		return time.Time{}, &EventError{MissingField, "timestamp", "is needed: when it happened, such as 2024-01-15T14:30:00Z"}
	}
	at, ok := readTimestamp(value)
	switch {
	case !ok:
		return time.Time{}, &EventError{TimestampInvalid, "timestamp", "must be RFC 3339 with a zone, such as 2024-01-15T14:30:00Z, or whole Unix seconds or milliseconds"}
	case at.After(now.Add(limits.MaxAhead)):
		return time.Time{}, &EventError{TimestampInFuture, "timestamp",
			fmt.Sprintf("%s is more than %s ahead of the time here; check the sender's clock", at.Format(time.RFC3339), limits.MaxAhead)}
	case at.Before(now.Add(-limits.MaxAge)):
		return time.Time{}, &EventError{TimestampTooOld, "timestamp",
			fmt.Sprintf("%s is more than %s ago; such old events are not taken", at.Format(time.RFC3339), inWords(limits.MaxAge))}
	default:
		return at, nil
	}
}

func readTimestamp(value any) (time.Time, bool) {
	switch value := value.(type) {
	case string:
		var at time.Time
		if err := at.UnmarshalText([]byte(value)); err != nil {
			return time.Time{}, false
		}
		return at.UTC().Truncate(time.Microsecond), true
	case json.Number:
		number, err := strconv.ParseInt(string(value), 10, 64)
		switch {
		case err != nil || number < 0 || number >= firstMillisecond*1000:
			return time.Time{}, false
		case number >= firstMillisecond: // as seconds it would be after the year 5000
			return time.UnixMilli(number).UTC(), true
		default:
			return time.Unix(number, 0).UTC(), true
		}
	default:
		return time.Time{}, false
	}
}

func parseAmount(value any) (decimal.NullDecimal, *EventError) {
	if value == nil {
		return decimal.NullDecimal{}, nil
	}
	amount, ok := readDecimal(value)
	if !ok || amount.IsNegative() {
		return decimal.NullDecimal{}, &EventError{AmountInvalid, "amount",
			"must be a number, or a decimal as text, of 0 or more, with at most 18 digits before and 8 after the point"}
	}
	return decimal.NewNullDecimal(amount), nil
}

// readDecimal takes a JSON number or a decimal as text, with at most 18 digits before and 8 after the point.
// An exponent is bounded before anything is computed with it, because 1e999999999 is short to write and long
// to add.
func readDecimal(value any) (decimal.Decimal, bool) {
	var text string
	switch value := value.(type) {
	case json.Number:
		text = string(value)
	case string:
		text = value
	default:
		return decimal.Decimal{}, false
	}
	if len(text) > maxAmountText || !numeric(text) {
		return decimal.Decimal{}, false
	}
	number, err := decimal.NewFromString(text)
	if err != nil || number.Exponent() > maxWholeDigits || number.Exponent() < -maxAmountText {
		return decimal.Decimal{}, false
	}
	if number.Exponent() < -maxDecimals || number.Exponent() > 0 {
		short := number.Truncate(maxDecimals)
		if !short.Equal(number) {
			return decimal.Decimal{}, false
		}
		number = short
	}
	return number, number.Abs().LessThan(tooLargeAmount)
}

var tooLargeAmount = decimal.New(1, maxWholeDigits)

// numeric is the grammar of JSON's numbers, loosely: the decimal package takes more, such as "1_000" and ".5".
func numeric(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || digits[len(digits)-1] < '0' || digits[len(digits)-1] > '9' {
		return false
	}
	return strings.Trim(digits, "0123456789.eE+-") == ""
}

// inWords says days where a duration is some.
func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
