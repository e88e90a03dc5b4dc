package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/quickpass/quickpass/internal/store"
)

// csvColumns are the paths of a product's fields, in the order of the export.
var csvColumns = []string{
	"sku", "name", "description", "kind", "price_coins", "status", "group", "position", "validity_seconds",
	"stock.initial", "stock.minimum", "stock.hide_at_zero", "stock.replenishment",
	"integration.resource_type", "integration.endpoint", "integration.amount", "integration.currency", "integration.parameters",
	"delivery.method", "delivery.timeout_seconds", "delivery.retries", "delivery.retry_interval_seconds",
	"limits.per_user", "limits.per_user_per_day", "limits.per_user_per_week", "limits.per_user_per_month", "limits.per_day", "limits.per_week",
	"limits.vip_reserve", "limits.give_back_on_refund",
	"schedule.from", "schedule.until", "schedule.weekly", "schedule.time_zone",
	"requires.vip", "requires.completed_tasks", "requires.attributes",
}

// risky are the characters by which spreadsheets recognise a formula, and the one that stops them.
const risky = "=+-@'"

// escapeCell keeps a spreadsheet from running what a product's name says. Every text that begins with one of these
// characters gets one more, also the one that is put before, so that unescapeCell gives back what was there.
func escapeCell(text string) string {
	if text != "" && strings.Contains(risky, text[:1]) {
		return "'" + text
	}
	return text
}

func unescapeCell(cell string) string {
	if len(cell) > 1 && cell[0] == '\'' && strings.Contains(risky, cell[1:2]) {
		return cell[1:]
	}
	return cell
}

// cellsOf is a product as a line of the export.
func cellsOf(row ProductInput) ([]string, error) {
	encoded, err := json.Marshal(row)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	cells := make([]string, len(csvColumns))
	for i, column := range csvColumns {
		value := decoded
		for name := range strings.SplitSeq(column, ".") {
			object, _ := value.(map[string]any) // an object that is left out has no fields
			value = object[name]
		}
		if cells[i], err = cellOf(value); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

func cellOf(value any) (string, error) {
	switch value := value.(type) {
	case nil:
		return "", nil
	case string:
		return escapeCell(value), nil
	case json.Number:
		return value.String(), nil
	case bool:
		return strconv.FormatBool(value), nil
	default:
		encoded, err := json.Marshal(value)
		return string(encoded), err // begins with [ or {
	}
}

// importedRow is one row as JSON would have it, with the mistakes that kept a cell out of it.
type importedRow struct {
	value    any
	mistakes []store.FieldError
}

// csvToRows reads a CSV file. A mistake in the header is one of row 0.
func csvToRows(file string, schema *openapi3.Schema) (rows []importedRow, header []store.RowError, err error) {
	if !utf8.ValidString(file) {
		return nil, nil, fail(ProblemCodeInvalidRequest, "the file is not valid UTF-8")
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix([]byte(file), []byte("\xef\xbb\xbf"))))
	reader.FieldsPerRecord = -1 // counted below, row by row
	columns, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, fail(ProblemCodeInvalidRequest, "the file needs a header with the names of its columns")
	}
	for err == nil {
		if len(rows) > maxImportRows {
			return nil, nil, errTooManyRows
		}
		var cells []string
		if cells, err = reader.Read(); err == nil {
			rows = append(rows, rowFromCells(columns, cells, schema))
		}
	}
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		return nil, nil, fail(ProblemCodeInvalidRequest, fmt.Sprintf("the file is not CSV (RFC 4180): line %d, byte %d: %s", syntax.Line, syntax.Column, syntax.Err))
	}
	if !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return rows, headerMistakes(columns), nil
}

func headerMistakes(columns []string) (mistakes []store.RowError) {
	for i, column := range columns {
		switch {
		case !slices.Contains(csvColumns, column):
			mistakes = append(mistakes, store.RowError{FieldError: store.FieldError{Field: column, Message: "there is no such field"}})
		case slices.Contains(columns[:i], column):
			mistakes = append(mistakes, store.RowError{FieldError: store.FieldError{Field: column, Message: "the column is there twice"}})
		}
	}
	return mistakes
}

// rowFromCells nests the cells by the paths of their columns. An empty cell is a field that is left out.
func rowFromCells(columns, cells []string, schema *openapi3.Schema) importedRow {
	object := map[string]any{}
	row := importedRow{value: object}
	if len(cells) != len(columns) {
		row.mistakes = append(row.mistakes, store.FieldError{
			Field:   "row",
			Message: fmt.Sprintf("has %d cells, the header has %d", len(cells), len(columns)),
		})
	}
	for i, cell := range cells {
		if i == len(columns) {
			break
		}
		if cell == "" || !slices.Contains(csvColumns, columns[i]) {
			continue
		}
		value, err := valueOfCell(cell, fieldSchema(schema, columns[i]))
		if err != nil {
			row.mistakes = append(row.mistakes, store.FieldError{Field: columns[i], Message: err.Error()})
			continue
		}
		parent, name := object, columns[i]
		if group, field, nested := strings.Cut(columns[i], "."); nested {
			if object[group] == nil {
				object[group] = map[string]any{}
			}
			parent, name = object[group].(map[string]any), field
		}
		parent[name] = value
	}
	return row
}

func fieldSchema(schema *openapi3.Schema, path string) *openapi3.Schema {
	for name := range strings.SplitSeq(path, ".") {
		schema = schema.Properties[name].Value
		if len(schema.AllOf) == 1 { // how OpenAPI 3.0 says that a shared object may be null
			schema = schema.AllOf[0].Value
		}
	}
	return schema
}

// valueOfCell is what the cell means by the type of its field. What does not fit stays a text, about which the
// schema then says why not.
func valueOfCell(cell string, schema *openapi3.Schema) (any, error) {
	cell = unescapeCell(cell)
	switch {
	case schema.Type.Is("integer"):
		if n, err := strconv.ParseInt(cell, 10, 64); err == nil {
			return json.Number(strconv.FormatInt(n, 10)), nil
		}
	case schema.Type.Is("boolean"):
		if b, err := strconv.ParseBool(strings.ToLower(cell)); err == nil && len(cell) > 1 { // spreadsheets write TRUE
			return b, nil
		}
	case schema.Type.Is("array"), schema.Type.Is("object"):
		value, err := decodeStrict([]byte(cell))
		if err != nil {
			return nil, fmt.Errorf("must be JSON: %w", err)
		}
		return value, nil
	}
	return cell, checkText(cell)
}
