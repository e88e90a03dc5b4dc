package store

import "fmt"

// EditMode says what a bulk edit of stock does when one of its rows is wrong.
type EditMode string

const (
	AllOrNothing EditMode = "all_or_nothing" // nothing is changed
	PerItem      EditMode = "per_item"       // the other rows are
)

// StockEdit is one row of a bulk edit (seed 000, "Manual Replenishment", "Bulk Management"): Set gives the
// available pieces, Add is what is put to them or, if negative, taken away. One of the two is set.
type StockEdit struct {
	SKU string
	Set *int64
	Add *int64
}

// EditCode says why a row was refused. Codes are promises: add, never change.
type EditCode string

const (
	EditProductNotFound EditCode = "product_not_found"
	EditRepeated        EditCode = "sku_repeated"
	EditBelowZero       EditCode = "below_zero"
	EditAboveMaximum    EditCode = "above_maximum"
)

// EditMistake is why a row was refused.
type EditMistake struct {
	Field   string   `json:"field"` // of the row: sku, set or add
	Code    EditCode `json:"code"`
	Message string   `json:"message"`
}

// EditResult is what became of one row: After is nil when it was refused, Before too when there is no such product.
type EditResult struct {
	SKU     string       `json:"sku"`
	Before  *int64       `json:"before,omitempty"` // available pieces
	After   *int64       `json:"after,omitempty"`  // available pieces
	Mistake *EditMistake `json:"mistake,omitempty"`
}

// Changed says whether the row made a difference.
func (r EditResult) Changed() bool { return r.After != nil && *r.After != *r.Before }

// RefusedEditError says that a bulk edit changed nothing because of the rows with a mistake.
type RefusedEditError struct{ Results []EditResult }

func (e *RefusedEditError) Error() string {
	for i, result := range e.Results {
		if result.Mistake != nil {
			return fmt.Sprintf("items[%d]: %s", i, result.Mistake.Message)
		}
	}
	return "no row is wrong"
}

// ValidateStockEdits lists the rows that do not have exactly one of set and add.
func ValidateStockEdits(edits []StockEdit) []FieldError {
	var errs []FieldError
	for i, edit := range edits {
		if (edit.Set == nil) == (edit.Add == nil) {
			errs = append(errs, FieldError{fmt.Sprintf("items[%d]", i), "needs set or add, not both"})
		}
	}
	return errs
}

// DecideStockEdits tells what becomes of each row, given the available pieces of the products there are. With
// AllOrNothing a mistake in any row is a *RefusedEditError.
func DecideStockEdits(mode EditMode, edits []StockEdit, available map[string]int64) ([]EditResult, error) {
	results := make([]EditResult, len(edits))
	first := make(map[string]int, len(edits))
	refused := false
	for i, edit := range edits {
		results[i] = EditResult{SKU: edit.SKU}
		earlier, repeated := first[edit.SKU]
		before, exists := available[edit.SKU]
		switch {
		case repeated:
			results[i].Mistake = &EditMistake{"sku", EditRepeated, fmt.Sprintf("items[%d] has the same SKU", earlier)}
		case !exists:
			results[i].Mistake = &EditMistake{"sku", EditProductNotFound, "there is no product of this SKU"}
		default:
			results[i].Before = &before
			results[i].After, results[i].Mistake = edit.apply(before)
		}
		if !repeated {
			first[edit.SKU] = i
		}
		refused = refused || results[i].Mistake != nil
	}
	if refused && mode == AllOrNothing {
		return nil, &RefusedEditError{Results: results}
	}
	return results, nil
}

func (e StockEdit) apply(before int64) (after *int64, mistake *EditMistake) {
	field, pieces := "set", int64(0)
	if e.Set != nil {
		pieces = *e.Set
	} else {
		field, pieces = "add", before+*e.Add
	}
	switch {
	case pieces < 0:
		return nil, &EditMistake{field, EditBelowZero, fmt.Sprintf("%d pieces are available; the stock would fall below zero", before)}
	case pieces > maxPieces:
		return nil, &EditMistake{field, EditAboveMaximum, fmt.Sprintf("%d pieces are available; at most 1,000,000,000 may be", before)}
	default:
		return &pieces, nil
	}
}

// Replenishment restocks a product by itself when its stock is at or below the minimum (seed 000, "Auto
// Replenishment"). The zero value is off.
type Replenishment struct {
	Amount    int64 `json:"amount,omitempty"`      // pieces at a time
	Ceiling   int64 `json:"ceiling,omitempty"`     // available pieces that it never goes beyond
	MaxPerDay int   `json:"max_per_day,omitempty"` // times, in a day of the product's time zone
}

// On says whether the product is restocked by itself.
func (r Replenishment) On() bool { return r.Amount > 0 }

func (r Replenishment) validate(minimum int64, check func(ok bool, field, message string)) {
	if r == (Replenishment{}) {
		return
	}
	check(r.Amount >= 1 && r.Amount <= maxPieces, "stock.replenishment.amount", "from 1 to 1,000,000,000 pieces")
	check(r.Ceiling > minimum && r.Ceiling <= maxPieces, "stock.replenishment.ceiling", "above stock.minimum, at most 1,000,000,000 pieces")
	check(r.MaxPerDay >= 1 && r.MaxPerDay <= 1000, "stock.replenishment.max_per_day", "from 1 to 1000 times")
}

// Replenish tells whether so many available pieces are restocked now and to how many, given how often that
// was done today.
func (s StockSettings) Replenish(available int64, timesToday int64) (after int64, due bool) {
	r := s.Replenishment
	after = min(available+r.Amount, r.Ceiling)
	if !r.On() || available > s.Minimum || timesToday >= int64(r.MaxPerDay) || after <= available {
		return available, false
	}
	return after, true
}
