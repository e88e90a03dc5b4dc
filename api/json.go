package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds nesting; the deepest body of the API has 3 levels, users' attributes may have more.
const maxDepth = 16

// decodeStrict reads exactly one JSON value for validation, and refuses what encoding/json would let
// through: invalid UTF-8, half surrogate pairs, control characters, duplicate keys and numbers that no
// column can hold. The message of an error is for the client.
func decodeStrict(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not valid UTF-8")
	}
	var syntax *json.SyntaxError
	var probe json.RawMessage
	if err := json.Unmarshal(body, &probe); errors.As(err, &syntax) {
		return nil, errors.New("the body is not one JSON value: " + syntax.Error() + ", at byte " + strconv.FormatInt(syntax.Offset, 10))
	} else if err != nil {
		return nil, errors.New("the body is not one JSON value")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	return decodeValue(decoder, 0)
}

func decodeValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, errors.New("the body is not one JSON value")
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, errors.New("the body is nested too deeply")
		}
		if token == '{' {
			return decodeObject(decoder, depth)
		}
		return decodeArray(decoder, depth)
	case string:
		return token, checkText(token)
	case json.Number:
		return token, checkNumber(token)
	default:
		return token, nil // true, false, null
	}
}

func decodeObject(decoder *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string) // the syntax has been checked
		if err := checkText(key); err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, errors.New("the key " + strconv.Quote(key) + " is there twice")
		}
		if object[key], err = decodeValue(decoder, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return object, err
}

func decodeArray(decoder *json.Decoder, depth int) (any, error) {
	array := []any{}
	for decoder.More() {
		value, err := decodeValue(decoder, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	_, err := decoder.Token()
	return array, err
}

func checkText(s string) error {
	for _, r := range s {
		// encoding/json turns half of a surrogate pair into U+FFFD.
		if unicode.IsControl(r) || r == utf8.RuneError {
			return errors.New("texts must not have control characters or broken Unicode")
		}
	}
	return nil
}

// checkNumber refuses what PostgreSQL's numeric would choke on, such as 1e400000.
func checkNumber(n json.Number) error {
	value, err := strconv.ParseFloat(n.String(), 64)
	size := math.Abs(value)
	switch {
	case err != nil || len(n) > 40 || size > 1e30,
		size != 0 && size < 1e-30,
		size == 0 && strings.ContainsAny(n.String(), "eE"):
		return errors.New("a number is beyond what is taken")
	}
	return nil
}
