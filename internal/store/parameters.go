package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/shopspring/decimal"
)

const (
	maxParameterBytes  = 4096
	maxParameterLevels = 4
	maxParameterFields = 64 // in all
)

var errParameters = errors.New("parameters are not a JSON object of the allowed size")

// CanonicalParameters writes the same parameters always the same way: no spaces, keys sorted, numbers plain. It
// is nil for none, and for an empty object.
func CanonicalParameters(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) > 4*maxParameterBytes { // what is in the way before it is canonical, such as spaces
		return nil, errParameters
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil || value == nil {
		return nil, errParameters
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errParameters
	}
	if len(value) == 0 {
		return nil, nil
	}
	fields := 0
	plain, err := plainValue(value, 1, &fields)
	if err != nil {
		return nil, err
	}
	canonical, err := json.Marshal(plain)
	if err != nil || len(canonical) > maxParameterBytes {
		return nil, errParameters
	}
	return canonical, nil
}

func validParameters(raw json.RawMessage) bool {
	_, err := CanonicalParameters(raw)
	return err == nil
}

func plainValue(value any, level int, fields *int) (any, error) {
	switch value := value.(type) {
	case map[string]any:
		for key, one := range value {
			plain, err := plainElement(one, level, fields)
			if err != nil {
				return nil, err
			}
			value[key] = plain
		}
	case []any:
		for i, one := range value {
			plain, err := plainElement(one, level, fields)
			if err != nil {
				return nil, err
			}
			value[i] = plain
		}
	case json.Number:
		return plainNumber(value)
	}
	return value, nil
}

func plainElement(value any, level int, fields *int) (any, error) {
	if *fields++; level > maxParameterLevels || *fields > maxParameterFields {
		return nil, errParameters
	}
	return plainValue(value, level+1, fields)
}

// plainNumber writes 1e2 as 100 and 1.50 as 1.5, as PostgreSQL's jsonb does or nearly does.
func plainNumber(number json.Number) (any, error) {
	value, err := decimal.NewFromString(number.String())
	if err != nil || value.Exponent() > 30 || value.Exponent() < -30 || len(number) > 40 {
		return nil, errParameters
	}
	return json.Number(value.String()), nil
}
