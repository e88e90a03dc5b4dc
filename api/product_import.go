package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const maxImportRows = 1000

var errTooManyRows = fail(ProblemCodeInvalidRequest, "an import has at most 1,000 products; send several")

// AdminImportProducts adds and replaces many products, all or none.
func (h *handlers) AdminImportProducts(ctx context.Context, r AdminImportProductsRequestObject) (AdminImportProductsResponseObject, error) {
	call := callOf(ctx)
	rows, mistakes, err := importRows(call)
	if err != nil {
		return nil, err
	}
	dryRun := value(r.Params.DryRun)
	report, more, replayed, err := h.db.ImportProducts(ctx, postgres.ProductImport{
		ProjectID: call.key.ProjectID, Rows: rows, Actor: call.key.KeyID, Idempotency: call.idempotency,
		DryRun: dryRun || len(mistakes) > 0, // with mistakes, only to list those that the database knows of
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, fail(ProblemCodeSkuTaken, "one of the products was created meanwhile; nothing was written, import again")
	}
	if err != nil {
		return nil, err
	}
	if mistakes = append(mistakes, more...); len(mistakes) > 0 {
		return nil, importMistakes(mistakes)
	}
	return AdminImportProducts200JSONResponse{
		Body: ProductImport{
			ImportID:  optional.Text(report.ImportID),
			DryRun:    dryRun,
			Created:   report.Count(store.ImportCreate),
			Replaced:  report.Count(store.ImportReplace),
			Unchanged: report.Count(store.ImportUnchanged),
			Items: each(report.Items, func(i postgres.ImportedItem) ImportedProduct {
				return ImportedProduct{Row: i.Row, Sku: i.SKU, Action: i.Action}
			}),
		},
		Headers: AdminImportProducts200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, nil
}

func importMistakes(mistakes []store.RowError) *failure {
	store.SortRowErrors(mistakes)
	mistakes = slices.CompactFunc(mistakes, func(a, b store.RowError) bool { return a.Row == b.Row && a.Field == b.Field })
	f := fail(ProblemCodeImportHasMistakes, fmt.Sprintf("nothing was written; see rows for all %d mistakes", len(mistakes)))
	f.rows = each(mistakes, func(m store.RowError) RowProblem { return RowProblem{Row: m.Row, Field: m.Field, Message: m.Message} })
	return f
}

// importRows reads the body. Rows with a mistake are returned too, as far as they can be read, if their SKU is known.
func importRows(call *call) (rows []store.ImportRow, mistakes []store.RowError, err error) {
	schema := call.operation.body.Items.Value
	var imported []importedRow
	if call.media == echo.MIMEApplicationJSON {
		list, ok := call.value.([]any)
		if !ok {
			return nil, nil, fail(ProblemCodeInvalidRequest, "the body must be an array of products")
		}
		for _, value := range list {
			imported = append(imported, importedRow{value: value})
		}
	} else if imported, mistakes, err = csvToRows(call.value.(string), schema); err != nil {
		return nil, nil, err
	}
	if len(imported) > maxImportRows {
		return nil, nil, errTooManyRows
	}
	for i, one := range imported {
		row, wrong := one.read(schema)
		row.Row = i + 1
		skuKnown := true
		for _, mistake := range wrong {
			mistakes = append(mistakes, store.RowError{Row: row.Row, FieldError: mistake})
			skuKnown = skuKnown && mistake.Field != "sku" && mistake.Field != "body"
		}
		if skuKnown {
			rows = append(rows, row)
		}
	}
	return rows, mistakes, nil
}

// read holds a row to the schema and to the rules, and lists every mistake: what the schema refuses is taken out,
// so that the rest is judged all the same.
func (r importedRow) read(schema *openapi3.Schema) (store.ImportRow, []store.FieldError) {
	mistakes := r.mistakes
	if err := schema.VisitJSON(r.value, schemaOptions...); err != nil {
		for _, problem := range fieldProblems("", err) {
			if !known(mistakes, problem.Field) {
				mistakes = append(mistakes, store.FieldError(problem))
			}
			leaveOut(r.value, problem.Field)
		}
	}
	object, ok := r.value.(map[string]any)
	if !ok {
		return store.ImportRow{}, mistakes
	}
	in, wrong := inputOfRow(object)
	mistakes = append(mistakes, wrong...)
	stock := value(in.Stock)
	row := store.ImportRow{InitialGiven: stock.Initial != nil}
	stock.Initial = new(value(stock.Initial))
	in.Stock = &stock
	product, err := productOf(value(in.Sku), in)
	var refused *failure
	if errors.As(err, &refused) {
		product.Integration.Parameters = nil // perhaps a mistake; the row is not written anyway
		for _, problem := range refused.fields {
			if !known(mistakes, problem.Field) {
				mistakes = append(mistakes, store.FieldError(problem))
			}
		}
	}
	row.Product = product
	return row, mistakes
}

// inputOfRow decodes a row field by field, so that one that does not fit spoils no other.
func inputOfRow(object map[string]any) (in ProductInput, mistakes []store.FieldError) {
	for name, value := range object {
		encoded, err := json.Marshal(map[string]any{name: value})
		if err == nil {
			err = json.Unmarshal(encoded, &in)
		}
		var wrong *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrong):
			mistakes = append(mistakes, store.FieldError{
				Field:   wrong.Field,
				Message: "must be a whole number without fraction or exponent",
			})
		case err != nil:
			mistakes = append(mistakes, store.FieldError{Field: name, Message: "can't be read"})
		}
	}
	return in, mistakes
}

// known tells whether there is a mistake about this field, or about one that it is a part of.
func known(mistakes []store.FieldError, field string) bool {
	return slices.ContainsFunc(mistakes, func(m store.FieldError) bool {
		return m.Field == field || strings.HasPrefix(field, m.Field+".") || strings.HasPrefix(field, m.Field+"[")
	})
}

// leaveOut takes a field out of a row, a list as a whole.
func leaveOut(row any, field string) {
	object, _ := row.(map[string]any)
	name, rest, nested := strings.Cut(field, ".")
	if inner, ok := object[name].(map[string]any); ok && nested {
		leaveOut(inner, rest)
		return
	}
	delete(object, name)
}
