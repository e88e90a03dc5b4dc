package fake

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Parameters are what an order says beyond seed 000: a JSON object without spaces and with its keys sorted, so that
// two that say the same are equal. Empty when there are none.
type Parameters string

// MarshalJSON writes the object itself.
func (p Parameters) MarshalJSON() ([]byte, error) { return []byte(p), nil }

// UnmarshalJSON takes an object and nothing else.
func (p *Parameters) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil || object == nil {
		return errors.New("parameters must be a JSON object")
	}
	sorted, err := json.Marshal(object)
	*p = Parameters(sorted)
	return err
}
