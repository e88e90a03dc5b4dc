package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// ProductImport asks for many products to be added or replaced, and by whom.
type ProductImport struct {
	ProjectID   int32
	Rows        []store.ImportRow
	DryRun      bool
	Actor       string
	Idempotency *Idempotency // may be nil; a dry run does not use it
}

// ImportReport is what an import did, or would do.
type ImportReport struct {
	ImportID string         `json:"import_id"` // empty for a dry run
	Items    []ImportedItem `json:"items"`
}

// ImportedItem is what became of one row.
type ImportedItem struct {
	Row    int                `json:"row"`
	SKU    string             `json:"sku"`
	Action store.ImportAction `json:"action"`
}

// Count tells how many rows had this action.
func (r ImportReport) Count(action store.ImportAction) int {
	n := 0
	for _, item := range r.Items {
		if item.Action == action {
			n++
		}
	}
	return n
}

// errMistakes ends the transaction of an import that must not be made.
var errMistakes = errors.New("the rows have mistakes")

// ImportProducts adds and replaces all of the products, or writes nothing: then there are mistakes, or it was a dry
// run. It fails with ErrIdempotencyKeyReused, and with ErrConflict when a product was added meanwhile.
func (db *DB) ImportProducts(ctx context.Context, in ProductImport, now time.Time) (report ImportReport, mistakes []store.RowError, replayed bool, err error) {
	if in.DryRun {
		report, _, mistakes, err = in.plan(ctx, db.q)
		return report, mistakes, false, err
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		importID := "import_" + xid.New().String()
		first, err := in.Idempotency.claim(ctx, q, in.ProjectID, importID, now)
		if err != nil {
			return err
		}
		if replayed = first != importID; replayed {
			report, err = findImport(ctx, q, in.ProjectID, first)
			return err
		}
		err = q.LockProducts(ctx, sqlc.LockProductsParams{ProjectID: in.ProjectID, Skus: in.skus()})
		if err != nil {
			return fmt.Errorf("import products: %w", err)
		}
		var steps []store.ImportStep
		if report, steps, mistakes, err = in.plan(ctx, q); err != nil {
			return err
		}
		if len(mistakes) > 0 {
			return errMistakes
		}
		report.ImportID = importID
		return in.write(ctx, q, report, steps, now)
	})
	if errors.Is(err, errMistakes) {
		err = nil
	}
	return report, mistakes, replayed, err
}

func (in ProductImport) skus() []string {
	skus := make([]string, len(in.Rows))
	for i, row := range in.Rows {
		skus[i] = row.Product.SKU
	}
	return skus
}

func (in ProductImport) plan(ctx context.Context, q *sqlc.Queries) (ImportReport, []store.ImportStep, []store.RowError, error) {
	rows, err := q.FindOffers(ctx, sqlc.FindOffersParams{ProjectID: in.ProjectID, Skus: in.skus()})
	if err != nil {
		return ImportReport{}, nil, nil, fmt.Errorf("import products: %w", err)
	}
	existing := make(map[string]store.Product, len(rows))
	for _, row := range rows {
		if existing[row.Sku], err = productOf(sqlc.FindOfferRow(row)); err != nil {
			return ImportReport{}, nil, nil, err
		}
	}
	steps, mistakes, err := store.PlanImport(in.Rows, existing)
	if err != nil {
		return ImportReport{}, nil, nil, err
	}
	report := ImportReport{Items: make([]ImportedItem, len(steps))}
	for i, step := range steps {
		report.Items[i] = ImportedItem{Row: step.Row, SKU: step.Product.SKU, Action: step.Action}
	}
	return report, steps, mistakes, nil
}

func (in ProductImport) write(ctx context.Context, q *sqlc.Queries, report ImportReport, steps []store.ImportStep, now time.Time) error {
	// In the order of the SKU, so that two imports that create the same can't wait for each other.
	slices.SortFunc(steps, func(a, b store.ImportStep) int { return strings.Compare(a.Product.SKU, b.Product.SKU) })
	for _, step := range steps {
		var err error
		switch step.Action {
		case store.ImportCreate:
			err = addProduct(ctx, q, in.ProjectID, step.Product, in.Actor, now)
		case store.ImportReplace:
			_, err = updateProduct(ctx, q, in.ProjectID, step.Product, in.Actor, now)
		}
		if err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("import products: %w", err)
	}
	err = q.InsertProductImport(ctx, sqlc.InsertProductImportParams{
		ImportID:  report.ImportID,
		ProjectID: in.ProjectID,
		Actor:     in.Actor,
		Report:    encoded,
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("import products: %w", err)
	}
	counts := map[string]int{
		"created":   report.Count(store.ImportCreate),
		"replaced":  report.Count(store.ImportReplace),
		"unchanged": report.Count(store.ImportUnchanged),
	}
	return audit(ctx, q, in.ProjectID, in.Actor, "product.import", report.ImportID, counts, now)
}

func findImport(ctx context.Context, q *sqlc.Queries, projectID int32, importID string) (report ImportReport, err error) {
	encoded, err := q.GetProductImport(ctx, sqlc.GetProductImportParams{ImportID: importID, ProjectID: projectID})
	if err != nil {
		return report, fmt.Errorf("find import %s: %w", importID, err)
	}
	return report, json.Unmarshal(encoded, &report)
}
