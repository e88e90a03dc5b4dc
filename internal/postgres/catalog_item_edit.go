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

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// CatalogMistakesError is returned for an edit of the catalog that its rules refuse.
type CatalogMistakesError struct{ Mistakes []catalog.FieldError }

// Error names the first.
func (e *CatalogMistakesError) Error() string {
	return fmt.Sprintf("%s: %s", e.Mistakes[0].Field, e.Mistakes[0].Message)
}

func mistaken(mistakes []catalog.FieldError) error {
	if len(mistakes) == 0 {
		return nil
	}
	return &CatalogMistakesError{mistakes}
}

// FindItem reads one item, whatever its status; ErrNotFound when there is none.
func (db *DB) FindItem(ctx context.Context, projectID int32, sku string) (catalog.Item, error) {
	row, err := db.q.FindCatalogItem(ctx, sqlc.FindCatalogItemParams{ProjectID: projectID, Sku: sku})
	if err != nil {
		return catalog.Item{}, notFound(err)
	}
	return itemOf(sqlc.ListCatalogItemsRow(row))
}

// ItemFilter narrows a list of items; empty fields do not.
type ItemFilter struct {
	Type   catalog.Type
	Status catalog.Status
	After  string // cursor: items of higher SKUs
	Limit  int
}

// ListItems lists items in the order of their SKU, drafts too.
func (db *DB) ListItems(ctx context.Context, projectID int32, f ItemFilter) ([]catalog.Item, error) {
	rows, err := db.q.PageOfCatalogItems(ctx, sqlc.PageOfCatalogItemsParams{ProjectID: projectID, After: f.After,
		Type: optional.Text(string(f.Type)), Status: optional.Text(string(f.Status)), MaxItems: int32(f.Limit)})
	if err != nil {
		return nil, fmt.Errorf("list items: %w", err)
	}
	items := make([]catalog.Item, len(rows))
	for i, row := range rows {
		if items[i], err = itemOf(sqlc.ListCatalogItemsRow(row)); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// catalogEdit is one transaction on a project's catalog. Edits of one project wait for each other, so that
// what one relies on (a bundle on its contents, a price on its currency) is not changed by another meanwhile.
type catalogEdit struct {
	q         *sqlc.Queries
	projectID int32
	actor     string
	now       time.Time
	items     map[string]catalog.Item

	limits  []sqlc.PutItemSalesParams // to be written in the order in which refunds lock them, then
	entries []catalogEntry            // the audit, which is a transaction's last lock
}

// catalogEntry is for the audit.
type catalogEntry struct {
	action, subject string
	detail          any
}

func (db *DB) editCatalog(ctx context.Context, projectID int32, actor string, now time.Time, edit func(*catalogEdit) error) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		if err := q.BumpCatalog(ctx, projectID); err != nil {
			return fmt.Errorf("edit the catalog: %w", err)
		}
		rows, err := q.ListCatalogItems(ctx, projectID)
		if err != nil {
			return fmt.Errorf("edit the catalog: %w", err)
		}
		e := &catalogEdit{
			q:         q,
			projectID: projectID,
			actor:     actor,
			now:       now.UTC().Truncate(time.Microsecond),
			items:     make(map[string]catalog.Item, len(rows)),
		}
		for _, row := range rows {
			item, err := itemOf(row)
			if err != nil {
				return err
			}
			e.items[item.SKU] = item
		}
		if err := edit(e); err != nil {
			return err
		}
		return e.finish(ctx)
	})
}

func (e *catalogEdit) finish(ctx context.Context) error {
	slices.SortFunc(e.limits, func(a, b sqlc.PutItemSalesParams) int { return strings.Compare(a.Sku, b.Sku) })
	for _, limit := range e.limits {
		if err := e.q.PutItemSales(ctx, limit); err != nil {
			return fmt.Errorf("limit of item %s: %w", limit.Sku, err)
		}
	}
	for _, entry := range e.entries {
		if err := audit(ctx, e.q, e.projectID, e.actor, entry.action, entry.subject, entry.detail, e.now); err != nil {
			return err
		}
	}
	return nil
}

func (e *catalogEdit) lookup(sku string) (catalog.Item, bool) {
	item, ok := e.items[sku]
	return item, ok
}

func (e *catalogEdit) insert(ctx context.Context, item catalog.Item) (catalog.Item, error) {
	definition, err := json.Marshal(item)
	if err != nil {
		return item, fmt.Errorf("definition of item %s: %w", item.SKU, err)
	}
	item.ItemID, err = e.q.InsertCatalogItem(ctx, sqlc.InsertCatalogItemParams{
		ProjectID:  e.projectID,
		Sku:        item.SKU,
		Type:       string(item.Type),
		Status:     string(item.Status),
		Definition: definition,
		Now:        e.now,
	})
	if err != nil {
		return item, fmt.Errorf("add item: %w", err)
	}
	item.Version, item.UpdatedAt = 1, e.now
	e.saved("item.create", item)
	return item, nil
}

func (e *catalogEdit) update(ctx context.Context, item catalog.Item) (catalog.Item, error) {
	definition, err := json.Marshal(item)
	if err != nil {
		return item, fmt.Errorf("definition of item %s: %w", item.SKU, err)
	}
	item.Version, err = e.q.UpdateCatalogItem(ctx, sqlc.UpdateCatalogItemParams{
		ProjectID:  e.projectID,
		Sku:        item.SKU,
		Status:     string(item.Status),
		Definition: definition,
		Now:        e.now,
	})
	if err != nil {
		return item, fmt.Errorf("update item: %w", err)
	}
	item.UpdatedAt = e.now
	e.saved("item.update", item)
	return item, nil
}

func (e *catalogEdit) saved(action string, item catalog.Item) {
	e.limits = append(e.limits, sqlc.PutItemSalesParams{ProjectID: e.projectID, Sku: item.SKU, Total: item.Limits.PerItem})
	e.entries = append(e.entries, catalogEntry{action, item.SKU, item})
}

// NewItem asks for an item to be added, and by whom.
type NewItem struct {
	ProjectID   int32
	Item        catalog.Item
	Actor       string
	Idempotency *Idempotency // may be nil
}

// CreateItem adds an item as its version 1, once per idempotency key: a repeat writes nothing and returns the
// item as it was created. It fails with ErrConflict when the SKU is taken, *CatalogMistakesError and
// ErrIdempotencyKeyReused.
func (db *DB) CreateItem(ctx context.Context, n NewItem, now time.Time) (item catalog.Item, replayed bool, err error) {
	err = db.editCatalog(ctx, n.ProjectID, n.Actor, now, func(e *catalogEdit) error {
		createdAt, err := n.claim(ctx, e)
		if err != nil {
			return err
		}
		existing, taken := e.items[n.Item.SKU]
		if createdAt != nil {
			item = n.Item
			item.ItemID, item.Version, item.UpdatedAt = existing.ItemID, 1, *createdAt
			return errReplayed
		}
		if taken {
			return ErrConflict
		}
		if err := mistaken(n.Item.Validate(e.lookup)); err != nil {
			return err
		}
		item, err = e.insert(ctx, n.Item)
		return err
	})
	if errors.Is(err, errReplayed) {
		return item, true, nil
	}
	return item, false, err
}

// claim tells when the item of this key was created, nil if it was not. The id in the resource tells two
// requests of one instant apart.
func (n NewItem) claim(ctx context.Context, e *catalogEdit) (createdAt *time.Time, err error) {
	resource := strings.Join([]string{"item", e.now.Format(time.RFC3339Nano), xid.New().String()}, "/")
	first, err := n.Idempotency.claim(ctx, e.q, n.ProjectID, resource, e.now)
	if err != nil || first == resource {
		return nil, err
	}
	parts := strings.Split(first, "/")
	if len(parts) != 3 || parts[0] != "item" {
		return nil, ErrIdempotencyKeyReused // by a call of another kind
	}
	at, err := time.Parse(time.RFC3339Nano, parts[1])
	return &at, err
}

// EditItem replaces an item by what decide makes of it, which sees the item as nobody else can change it
// meanwhile, and whose error is returned. What changes nothing makes no new version. It fails with
// ErrNotFound and *CatalogMistakesError.
func (db *DB) EditItem(ctx context.Context, projectID int32, sku string, decide func(before catalog.Item) (catalog.Item, error), actor string, now time.Time) (item catalog.Item, err error) {
	err = db.editCatalog(ctx, projectID, actor, now, func(e *catalogEdit) error {
		before, ok := e.items[sku]
		if !ok {
			return ErrNotFound
		}
		after, err := decide(before)
		if err != nil {
			return err
		}
		if err := mistaken(append(after.Validate(e.lookup), catalog.ValidateEdit(before, after)...)); err != nil {
			return err
		}
		if after.Same(before) {
			item = before
			return errUnchanged
		}
		after.ItemID = before.ItemID
		item, err = e.update(ctx, after)
		return err
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return item, err
}

// errUnchanged ends the transaction of an edit that changes nothing, so that nobody reads the catalog again for it.
var errUnchanged = errors.New("unchanged")

// CatalogGroups reads a project's groups, in no order.
func (db *DB) CatalogGroups(ctx context.Context, projectID int32) ([]catalog.Group, error) {
	return catalogGroups(ctx, db.q, projectID)
}

// PutCatalogGroups replaces all groups of a project; *CatalogMistakesError when the rules refuse them.
func (db *DB) PutCatalogGroups(ctx context.Context, projectID int32, groups []catalog.Group, actor string, now time.Time) error {
	if err := mistaken(catalog.ValidateGroups(groups)); err != nil {
		return err
	}
	definitions, err := json.Marshal(groups)
	if err != nil {
		return fmt.Errorf("groups of project %d: %w", projectID, err)
	}
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		if err := q.BumpCatalog(ctx, projectID); err != nil {
			return fmt.Errorf("edit the catalog: %w", err)
		}
		if err := q.DeleteCatalogGroups(ctx, projectID); err != nil {
			return fmt.Errorf("replace groups: %w", err)
		}
		if err := q.InsertCatalogGroups(ctx, sqlc.InsertCatalogGroupsParams{ProjectID: projectID, Definitions: definitions}); err != nil {
			return fmt.Errorf("replace groups: %w", err)
		}
		return audit(ctx, q, projectID, actor, "groups.replace", "groups", groups, now)
	})
}
