package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// ItemImport asks for many items to be added or replaced, and by whom.
type ItemImport struct {
	ProjectID   int32
	Rows        []json.RawMessage
	DryRun      bool
	Actor       string
	Idempotency *Idempotency // may be nil; a dry run does not use it
}

// ItemImportReport is what an import did, or would do.
type ItemImportReport struct {
	ImportID string              `json:"import_id"` // empty for a dry run
	Items    []ImportedRowOfItem `json:"items"`
}

// ImportedRowOfItem is what became of one row.
type ImportedRowOfItem struct {
	Row    int                  `json:"row"`
	SKU    string               `json:"sku"`
	Action catalog.ImportAction `json:"action"`
}

// ImportItems adds and replaces all of the items, or writes nothing: then there are mistakes, or it was a dry
// run. It fails with ErrIdempotencyKeyReused.
func (db *DB) ImportItems(ctx context.Context, in ItemImport, now time.Time) (report ItemImportReport, mistakes []catalog.RowError, replayed bool, err error) {
	err = db.editCatalog(ctx, in.ProjectID, in.Actor, now, func(e *catalogEdit) error {
		importID := "import_" + xid.New().String()
		if !in.DryRun {
			first, err := in.Idempotency.claim(ctx, e.q, in.ProjectID, importID, now)
			if err != nil {
				return err
			}
			if replayed = first != importID; replayed {
				report, err = findItemImport(ctx, e.q, in.ProjectID, first)
				return err
			}
		}
		var steps []catalog.ImportStep
		steps, mistakes = catalog.PlanImport(in.Rows, e.lookup)
		if report = reportOf(steps); in.DryRun || len(mistakes) > 0 {
			return errUnchanged
		}
		report.ImportID = importID
		return e.write(ctx, steps, report)
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return report, mistakes, replayed, err
}

func reportOf(steps []catalog.ImportStep) ItemImportReport {
	report := ItemImportReport{Items: make([]ImportedRowOfItem, len(steps))}
	for i, step := range steps {
		report.Items[i] = ImportedRowOfItem{Row: step.Row, SKU: step.Item.SKU, Action: step.Action}
	}
	return report
}

func (e *catalogEdit) write(ctx context.Context, steps []catalog.ImportStep, report ItemImportReport) error {
	counts := map[catalog.ImportAction]int{}
	for _, step := range steps {
		var err error
		switch step.Action {
		case catalog.ImportCreate:
			_, err = e.insert(ctx, step.Item)
		case catalog.ImportReplace:
			_, err = e.update(ctx, step.Item)
		}
		if err != nil {
			return err
		}
		counts[step.Action]++
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("import items: %w", err)
	}
	err = e.q.InsertProductImport(ctx, sqlc.InsertProductImportParams{
		ImportID:  report.ImportID,
		ProjectID: e.projectID,
		Actor:     e.actor,
		Report:    encoded,
		Now:       e.now,
	})
	if err != nil {
		return fmt.Errorf("import items: %w", err)
	}
	e.entries = append(e.entries, catalogEntry{"item.import", report.ImportID, counts})
	return nil
}

func findItemImport(ctx context.Context, q *sqlc.Queries, projectID int32, importID string) (report ItemImportReport, err error) {
	encoded, err := q.GetProductImport(ctx, sqlc.GetProductImportParams{ImportID: importID, ProjectID: projectID})
	if err != nil {
		return report, fmt.Errorf("find import %s: %w", importID, err)
	}
	return report, json.Unmarshal(encoded, &report)
}
