package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// DecodeItem reads an item as the API, an import or a patch writes it: defaults filled in, times in UTC. Fields that
// do not exist are mistakes. In place of status, is_enabled and is_show_in_store may be sent; they decide it, and the
// one that is left out counts as true.
func DecodeItem(raw json.RawMessage) (Item, []FieldError) {
	var sent struct {
		Item
		IsEnabled     *bool `json:"is_enabled"`
		IsShowInStore *bool `json:"is_show_in_store"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&sent); err != nil {
		return Item{}, []FieldError{mistakeOf(err)}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Item{}, []FieldError{{"", "one JSON object"}}
	}
	if sent.IsEnabled != nil || sent.IsShowInStore != nil {
		sent.Status = StatusOf(sent.IsEnabled == nil || *sent.IsEnabled, sent.IsShowInStore == nil || *sent.IsShowInStore)
	}
	return sent.Item.WithDefaults().canonical(), nil
}

const unknownField = "json: unknown field "

// mistakeOf says in the caller's terms what the decoder found.
func mistakeOf(err error) FieldError {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "Item"), ".")
		return FieldError{field, "not a JSON " + wrong.Value + " here"}
	}
	if name, ok := strings.CutPrefix(err.Error(), unknownField); ok {
		return FieldError{strings.Trim(name, `"`), "there is no such field"}
	}
	return FieldError{"", "a JSON object with the fields of an item; amounts are decimals, times are RFC 3339"}
}

// Patch applies a JSON merge patch (RFC 7396) to an item: what is not named stays, null takes away, an array is
// replaced. The result is to be validated.
func Patch(item Item, patch json.RawMessage) (Item, []FieldError) {
	var change map[string]any
	if err := decodeNumbers(patch, &change); err != nil || change == nil {
		return Item{}, []FieldError{{"", "a JSON object (RFC 7396)"}}
	}
	now, err := json.Marshal(item)
	if err != nil {
		return Item{}, []FieldError{{"", "the item as it is cannot be patched; replace it"}}
	}
	var document any
	if err := decodeNumbers(now, &document); err != nil {
		return Item{}, []FieldError{{"", "the item as it is cannot be patched; replace it"}}
	}
	merged, err := json.Marshal(merge(document, change))
	if err != nil {
		return Item{}, []FieldError{{"", "a JSON object (RFC 7396)"}}
	}
	after, mistakes := DecodeItem(merged)
	if len(mistakes) > 0 {
		return Item{}, mistakes
	}
	after.ItemID, after.Version, after.UpdatedAt = item.ItemID, item.Version, item.UpdatedAt
	return after, ValidateEdit(item, after)
}

func merge(target, patch any) any {
	change, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range change {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}

// decodeNumbers keeps numbers as they are written: a price must not pass through a float.
func decodeNumbers(raw json.RawMessage, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// ImportAction is what an import does with a row.
type ImportAction string

const (
	ImportCreate    ImportAction = "created"
	ImportReplace   ImportAction = "replaced"
	ImportUnchanged ImportAction = "unchanged"
)

// ImportStep is one row of the plan of an import.
type ImportStep struct {
	Row    int // from 1
	Action ImportAction
	Item   Item
}

// RowError is one mistake in one row.
type RowError struct {
	Row int
	FieldError
}

// PlanImport decides what an import of these rows does. The lookup knows the project's items; rows may refer to each
// other in any order. It lists every mistake of every row; with one, nothing may be written.
func PlanImport(rows []json.RawMessage, lookup func(sku string) (Item, bool)) ([]ImportStep, []RowError) {
	var found []RowError
	add := func(row int, mistakes ...FieldError) {
		for _, mistake := range mistakes {
			found = append(found, RowError{row, mistake})
		}
	}
	first, imported := map[string]int{}, map[string]Item{}
	var steps []ImportStep
	for k, raw := range rows {
		row := k + 1
		item, mistakes := DecodeItem(raw)
		if add(row, mistakes...); len(mistakes) > 0 {
			continue
		}
		if earlier, twice := first[item.SKU]; twice {
			add(row, FieldError{"sku", fmt.Sprintf("row %d has this SKU too", earlier)})
			continue
		}
		first[item.SKU], imported[item.SKU] = row, item
		steps = append(steps, ImportStep{Row: row, Item: item})
	}
	both := func(sku string) (Item, bool) {
		if item, ok := imported[sku]; ok {
			return item, true
		}
		return lookup(sku)
	}
	for k := range steps {
		add(steps[k].Row, steps[k].plan(lookup, both)...)
	}
	slices.SortStableFunc(found, func(a, b RowError) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Field, b.Field))
	})
	return steps, found
}

// plan compares the row with the item of that SKU, if there is one.
func (s *ImportStep) plan(existing, both func(string) (Item, bool)) []FieldError {
	mistakes := s.Item.Validate(both)
	before, exists := existing(s.Item.SKU)
	switch {
	case !exists:
		s.Action = ImportCreate
		return mistakes
	case s.Item.Same(before):
		s.Action = ImportUnchanged
	default:
		s.Action = ImportReplace
	}
	s.Item.ItemID, s.Item.Version, s.Item.UpdatedAt = before.ItemID, before.Version, before.UpdatedAt
	return append(mistakes, ValidateEdit(before, s.Item)...)
}
