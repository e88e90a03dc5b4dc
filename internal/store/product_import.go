package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ImportRow is one product of a bulk import.
type ImportRow struct {
	Row          int // from 1
	Product      Product
	InitialGiven bool // Product.Stock.Initial was named
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
	Row     int
	Action  ImportAction
	Product Product // with the stock that it has, if it exists
}

// RowError is one mistake in one row; row 0 is the header of a CSV file.
type RowError struct {
	Row int
	FieldError
}

// PlanImport decides what an import does, given the products of those SKUs that exist. It lists every mistake
// that only a look at the other rows and at what exists can find; with one, nothing may be written.
func PlanImport(rows []ImportRow, existing map[string]Product) (steps []ImportStep, mistakes []RowError, err error) {
	first := map[string]int{}
	for _, row := range rows {
		product := row.Product
		mistake := func(field, message string) {
			mistakes = append(mistakes, RowError{row.Row, FieldError{field, message}})
		}
		if earlier, twice := first[product.SKU]; twice {
			mistake("sku", fmt.Sprintf("row %d has this SKU too", earlier))
			continue
		}
		first[product.SKU] = row.Row
		current, exists := existing[product.SKU]
		step := ImportStep{Row: row.Row, Action: ImportCreate}
		switch {
		case !exists && !row.InitialGiven:
			mistake("stock.initial", "is needed to create a product")
		case exists && row.InitialGiven && product.Stock.Initial != current.Stock.Initial:
			mistake("stock.initial", "is set when a product is created; leave it out")
		case exists:
			product.Stock.Initial = current.Stock.Initial
			same, err := product.sameSettings(current)
			if err != nil {
				return nil, nil, err
			}
			if step.Action = ImportReplace; same {
				step.Action = ImportUnchanged
			}
		}
		step.Product = product
		steps = append(steps, step)
	}
	return steps, mistakes, nil
}

// SortRowErrors brings mistakes in the order of their rows.
func SortRowErrors(mistakes []RowError) {
	slices.SortStableFunc(mistakes, func(a, b RowError) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Field, b.Field))
	})
}

// sameSettings tells whether an edit to the other's settings would change nothing.
func (p Product) sameSettings(other Product) (bool, error) {
	mine, err := p.settings()
	if err != nil {
		return false, err
	}
	theirs, err := other.settings()
	return bytes.Equal(mine, theirs), err
}

func (p Product) settings() ([]byte, error) {
	p.Version, p.UpdatedAt = 0, time.Time{}
	p.Schedule.From, p.Schedule.Until = inUTC(p.Schedule.From), inUTC(p.Schedule.Until)
	var err error
	if p.Integration.Parameters, err = CanonicalParameters(p.Integration.Parameters); err != nil {
		return nil, fmt.Errorf("product %s: %w", p.SKU, err)
	}
	return json.Marshal(p)
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}
