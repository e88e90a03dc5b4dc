package mainproduct

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/shopspring/decimal"
)

const (
	maxBodyBytes    = 64 << 10 // a documented answer has less than 1 KiB
	maxMessageRunes = 200
	maxCodeRunes    = 100
	maxIDBytes      = 200
	// maxNumberBytes and maxExponent bound a number on the wire: 1e2000000000 is ten bytes to read
	// and gigabytes to print.
	maxNumberBytes = 100
	maxExponent    = 100
)

// body is the documented JSON answer, decoded. Nil pointers were absent or null.
type body struct {
	success        bool
	transactionID  string
	newBalance     *decimal.Decimal
	creditedAmount *decimal.Decimal
	errorCode      string
	errorMessage   string
	retryAllowed   bool
}

// interpret turns a complete HTTP answer into one of the kinds. It is the only place that decides.
func interpret(status int, raw []byte) Answer {
	b, err := parseBody(raw)
	understood := err == nil

	switch {
	case status >= 500:
		return unknown(ReasonServerError, describe(status, raw), true)
	case status == http.StatusRequestTimeout:
		return unknown(ReasonTimeout, describe(status, raw), true)
	case status == http.StatusTooEarly:
		return unknown(ReasonTooEarly, describe(status, raw), true)
	case status == http.StatusTooManyRequests:
		return unknown(ReasonTooManyRequests, describe(status, raw), false)
	case understood && !b.success && printable(b.errorCode) != "":
		return Answer{Kind: Refused, Code: b.errorCode, Message: b.errorMessage, RetryAllowed: b.retryAllowed}
	case understood && b.success && b.transactionID != "" && isSuccess(status):
		return Answer{
			Kind:           Credited,
			TransactionID:  b.transactionID,
			NewBalance:     b.newBalance,
			CreditedAmount: b.creditedAmount,
		}
	case understood && b.success:
		// It says that it credited, without a transaction id or under a status that denies it.
		return unknown(ReasonUnintelligibleAnswer, describe(status, raw), true)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return unknown(ReasonUnauthorized, describe(status, raw), false)
	case status == http.StatusNotFound:
		return unknown(ReasonEndpointNotFound, describe(status, raw), false)
	case status >= 300 && status < 400:
		return unknown(ReasonRedirect, describe(status, nil), true)
	case err != nil:
		return unknown(ReasonUnintelligibleAnswer, fmt.Sprintf("%v: %s", err, describe(status, raw)), true)
	default:
		// A refusal without an error_code.
		return unknown(ReasonUnintelligibleAnswer, describe(status, raw), true)
	}
}

func isSuccess(status int) bool { return status >= 200 && status < 300 }

// describe is for humans only: the status and the body, still to be cleaned and shortened.
func describe(status int, raw []byte) string {
	text := fmt.Sprintf("status %d", status)
	if len(raw) > 0 {
		text += ", body " + string(raw)
	}
	return text
}

// parseBody decodes the documented answer strictly: one JSON object, success present, every known
// field of its documented type. Unknown fields are fine, as APIs grow. A name that comes twice is not:
// two readers would understand such an answer differently, and this one decides about money.
func parseBody(raw []byte) (body, error) {
	if len(raw) > maxBodyBytes {
		return body{}, fmt.Errorf("answer is over %d bytes", maxBodyBytes)
	}
	fields, err := parseObject(raw)
	if err != nil {
		return body{}, err
	}
	if isAbsent(fields["success"]) {
		return body{}, errors.New("answer has no success")
	}

	var b body
	for _, field := range []struct {
		name   string
		decode func(json.RawMessage) error
	}{
		{"success", into(&b.success)},
		{"retry_allowed", into(&b.retryAllowed)},
		{"transaction_id", into(&b.transactionID)},
		{"error_code", into(&b.errorCode)},
		{"error_message", into(&b.errorMessage)},
		{"new_balance", amountInto(&b.newBalance)},
		{"credited_amount", amountInto(&b.creditedAmount)},
	} {
		value := fields[field.name]
		if isAbsent(value) {
			continue
		}
		if err := field.decode(value); err != nil {
			return body{}, fmt.Errorf("%s: %w", field.name, err)
		}
	}

	// An id is kept as it is or not at all: a shortened one would name another transaction.
	if id := b.transactionID; len(id) > maxIDBytes || id != printable(id) {
		return body{}, errors.New("transaction_id: too long, or not plain text")
	}
	return b, nil
}

// parseObject splits one JSON object into its fields. Unlike json.Unmarshal into a struct it matches
// names exactly and finds names that come twice.
func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	start, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("answer is not JSON: %w", err)
	}
	if start != json.Delim('{') {
		return nil, errors.New("answer is not a JSON object")
	}
	fields := make(map[string]json.RawMessage, 8)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("answer is not JSON: %w", err)
		}
		key, _ := name.(string) // the decoder accepts nothing else here
		if _, twice := fields[key]; twice {
			return nil, fmt.Errorf("answer has %q twice", key)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("answer is not JSON: %w", err)
		}
		fields[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("answer is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("answer goes on after its JSON object")
	}
	return fields, nil
}

func isAbsent(value json.RawMessage) bool { return len(value) == 0 || string(value) == "null" }

func into[T any](target *T) func(json.RawMessage) error {
	return func(value json.RawMessage) error { return json.Unmarshal(value, target) }
}

func amountInto(target **decimal.Decimal) func(json.RawMessage) error {
	return func(value json.RawMessage) error {
		amount, err := parseAmount(value)
		if err != nil {
			return err
		}
		*target = &amount
		return nil
	}
}

// parseAmount reads an amount written as a JSON number, or as a string that holds one: many APIs write
// decimals as strings so that no reader makes a float of them. It refuses negative numbers.
func parseAmount(value json.RawMessage) (decimal.Decimal, error) {
	text := string(value)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(value, &text); err != nil {
			return decimal.Decimal{}, err
		}
	}
	// What starts with a digit and is JSON is a JSON number: no NaN, no sign, no hexadecimal.
	isNumber := text != "" && text[0] >= '0' && text[0] <= '9' && json.Valid([]byte(text))
	if !isNumber || len(text) > maxNumberBytes {
		return decimal.Decimal{}, errors.New("not an amount")
	}
	amount, err := decimal.NewFromString(text)
	if err != nil {
		return decimal.Decimal{}, err
	}
	if !boundedExponent(amount) {
		return decimal.Decimal{}, errors.New("amount out of range")
	}
	return amount, nil
}

func boundedExponent(d decimal.Decimal) bool {
	return d.Exponent() <= maxExponent && d.Exponent() >= -maxExponent
}

// printable makes foreign text one trimmed line of printable characters, so that it can neither forge a
// line of a log nor break a database's text column.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(text, "\uFFFD")))
}

// shorten keeps the first limit runes.
func shorten(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return strings.TrimSpace(string(runes[:limit]))
	}
	return text
}
