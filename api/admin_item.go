package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const (
	maxItemRows = 5000
	maxKeyLines = 100_000
	maxKeyCode  = 255 // characters
)

var (
	errItemNotFound   = fail(ProblemCodeItemNotFound, "no item of this SKU; GET /api/v1/admin/items lists them, POST creates one")
	errItemChanged    = fail(ProblemCodeVersionConflict, "read the item again and repeat the edit with its new ETag")
	errNotGameKey     = fail(ProblemCodeNotAGameKey, "only items of the type game_key have keys")
	errTooManyItems   = fail(ProblemCodeInvalidRequest, "an import has at most 5,000 items; send several")
	errTooManyKeys    = fail(ProblemCodeInvalidRequest, "an upload has at most 100,000 keys; send several")
	errItemsNoArray   = fail(ProblemCodeInvalidRequest, "the body must be an array of items")
	errNothingInThere = fail(ProblemCodeInvalidRequest, "there is no key in it; send one a line")
)

// adminItem is an item with what its JSON leaves out.
type adminItem struct {
	ItemID    int64     `json:"item_id"`
	Version   int64     `json:"version"`
	UpdatedAt time.Time `json:"updated_at"`
	catalog.Item
}

func adminItemOf(i catalog.Item) AdminItem { return adminItem{i.ItemID, i.Version, i.UpdatedAt, i} }

func itemETag(i catalog.Item) *string { return new(fmt.Sprintf(`"%d"`, i.Version)) }

// AdminListItems lists drafts too.
func (h *handlers) AdminListItems(ctx context.Context, r AdminListItemsRequestObject) (AdminListItemsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	items, err := h.db.ListItems(ctx, callOf(ctx).key.ProjectID, postgres.ItemFilter{
		Type:   value(r.Params.Type),
		Status: value(r.Params.Status),
		After:  value(r.Params.Cursor),
		Limit:  limit + 1,
	})
	items, next := page(items, limit, func(i catalog.Item) string { return i.SKU })
	return AdminListItems200JSONResponse{Items: each(items, adminItemOf), NextCursor: next}, err
}

// AdminGetItem reads an item as it was written.
func (h *handlers) AdminGetItem(ctx context.Context, r AdminGetItemRequestObject) (AdminGetItemResponseObject, error) {
	item, err := h.db.FindItem(ctx, callOf(ctx).key.ProjectID, r.Sku)
	if err != nil {
		return nil, orElse(err, errItemNotFound)
	}
	tag := itemETag(item)
	if r.Params.IfNoneMatch != nil && sameEntity(*r.Params.IfNoneMatch, *tag) {
		return AdminGetItem304Response{AdminGetItem304ResponseHeaders{ETag: tag}}, nil
	}
	return AdminGetItem200JSONResponse{Body: adminItemOf(item), Headers: AdminGetItem200ResponseHeaders{ETag: tag}}, nil
}

// AdminCreateItem adds an item (seed 002, "Create items"). A repeat under the same key gets the answer of the first.
func (h *handlers) AdminCreateItem(ctx context.Context, _ AdminCreateItemRequestObject) (AdminCreateItemResponseObject, error) {
	call := callOf(ctx)
	item, mistakes := catalog.DecodeItem(call.body)
	if len(mistakes) > 0 {
		return nil, mistakenItem(mistakes)
	}
	item, replayed, err := h.db.CreateItem(ctx, postgres.NewItem{
		ProjectID:   call.key.ProjectID,
		Item:        item,
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, fail(ProblemCodeSkuTaken, "there is an item of this SKU; PUT replaces it")
	}
	if err != nil {
		return nil, orMistaken(err)
	}
	return AdminCreateItem201JSONResponse{Body: adminItemOf(item), Headers: AdminCreateItem201ResponseHeaders{
		ETag: itemETag(item), Location: new("/api/v1/admin/items/" + item.SKU), IdempotencyReplayed: flag(replayed),
	}}, nil
}

// AdminPutItem replaces an item.
func (h *handlers) AdminPutItem(ctx context.Context, r AdminPutItemRequestObject) (AdminPutItemResponseObject, error) {
	item, mistakes := catalog.DecodeItem(callOf(ctx).body)
	if len(mistakes) > 0 {
		return nil, mistakenItem(mistakes)
	}
	item, err := h.editItem(ctx, r.Sku, r.Params.IfMatch, func(before catalog.Item) (catalog.Item, []catalog.FieldError) { return replaced(before, item), nil })
	return AdminPutItem200JSONResponse{Body: adminItemOf(item), Headers: AdminPutItem200ResponseHeaders{ETag: itemETag(item)}}, err
}

// replaced is the new item in the place of the old: what is given for good may be left out.
func replaced(before, after catalog.Item) catalog.Item {
	if after.SKU == "" {
		after.SKU = before.SKU
	}
	if after.Type == "" {
		after.Type = before.Type
	}
	if after.BundleType == "" || (before.BundleType != "" && after.BundleType == catalog.StandardBundle) {
		after.BundleType = before.BundleType
	}
	if after.VirtualItemType == "" {
		after.VirtualItemType = before.VirtualItemType
	}
	if after.UnitSKU == "" && after.DRM == "" {
		after.UnitSKU, after.DRM = before.UnitSKU, before.DRM
	}
	return after
}

// AdminPatchItem changes what the patch names. Patches of one item are applied one after the other.
func (h *handlers) AdminPatchItem(ctx context.Context, r AdminPatchItemRequestObject) (AdminPatchItemResponseObject, error) {
	patch := callOf(ctx).body
	item, err := h.editItem(ctx, r.Sku, r.Params.IfMatch, func(before catalog.Item) (catalog.Item, []catalog.FieldError) { return catalog.Patch(before, patch) })
	return AdminPatchItem200JSONResponse{Body: adminItemOf(item), Headers: AdminPatchItem200ResponseHeaders{ETag: itemETag(item)}}, err
}

func (h *handlers) editItem(ctx context.Context, sku string, ifMatch *string, edit func(before catalog.Item) (catalog.Item, []catalog.FieldError)) (catalog.Item, error) {
	call := callOf(ctx)
	item, err := h.db.EditItem(ctx, call.key.ProjectID, sku, func(before catalog.Item) (catalog.Item, error) {
		if ifMatch != nil && !sameVersion(*ifMatch, before.Version) {
			return before, errItemChanged
		}
		after, mistakes := edit(before)
		if len(mistakes) > 0 {
			return before, mistakenItem(mistakes)
		}
		return after, nil
	}, call.key.KeyID, h.now())
	return item, orMistaken(orElse(err, errItemNotFound))
}

func mistakenItem(mistakes []catalog.FieldError) *failure {
	f := mistaken(each(mistakes, func(m catalog.FieldError) store.FieldError {
		return store.FieldError{Field: orBody(m.Field), Message: m.Message}
	}))
	f.fields = slices.Compact(f.fields)
	return f
}

// orMistaken lists what the rules of the catalog refused.
func orMistaken(err error) error {
	var refused *postgres.CatalogMistakesError
	if errors.As(err, &refused) {
		return mistakenItem(refused.Mistakes)
	}
	return err
}

// AdminExportItems writes all items as the import takes them.
func (h *handlers) AdminExportItems(ctx context.Context, _ AdminExportItemsRequestObject) (AdminExportItemsResponseObject, error) {
	_, items, _, err := h.db.CatalogItems(ctx, callOf(ctx).key.ProjectID)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(items, func(a, b catalog.Item) int { return strings.Compare(a.SKU, b.SKU) })
	rows := make([]ItemInput, len(items))
	for i, item := range items {
		if rows[i], err = json.Marshal(item); err != nil {
			return nil, fmt.Errorf("export item %s: %w", item.SKU, err)
		}
	}
	return AdminExportItems200JSONResponse{
		Body:    rows,
		Headers: AdminExportItems200ResponseHeaders{ContentDisposition: new(`attachment; filename="items.json"`)},
	}, nil
}

// AdminImportItems adds and replaces many items, all or none.
func (h *handlers) AdminImportItems(ctx context.Context, r AdminImportItemsRequestObject) (AdminImportItemsResponseObject, error) {
	call := callOf(ctx)
	var rows []json.RawMessage
	if err := json.Unmarshal(call.body, &rows); err != nil || rows == nil {
		return nil, errItemsNoArray
	}
	if len(rows) > maxItemRows {
		return nil, errTooManyItems
	}
	dryRun := value(r.Params.DryRun)
	report, mistakes, replayed, err := h.db.ImportItems(ctx, postgres.ItemImport{
		ProjectID:   call.key.ProjectID,
		Rows:        rows,
		DryRun:      dryRun,
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}, h.now())
	if err != nil {
		return nil, err
	}
	if len(mistakes) > 0 {
		return nil, importMistakes(each(mistakes, func(m catalog.RowError) store.RowError {
			return store.RowError{Row: m.Row, FieldError: store.FieldError{Field: orBody(m.Field), Message: m.Message}}
		}))
	}
	counts := map[catalog.ImportAction]int{}
	for _, item := range report.Items {
		counts[item.Action]++
	}
	return AdminImportItems200JSONResponse{
		Body: ItemImport{ImportID: optional.Text(report.ImportID), DryRun: dryRun, Items: report.Items,
			Created: counts[catalog.ImportCreate], Replaced: counts[catalog.ImportReplace], Unchanged: counts[catalog.ImportUnchanged]},
		Headers: AdminImportItems200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, nil
}

// AdminGetItemGroups reads all groups, with all their languages.
func (h *handlers) AdminGetItemGroups(ctx context.Context, _ AdminGetItemGroupsRequestObject) (AdminGetItemGroupsResponseObject, error) {
	groups, err := h.db.CatalogGroups(ctx, callOf(ctx).key.ProjectID)
	slices.SortFunc(groups, func(a, b catalog.Group) int { return strings.Compare(a.ExternalID, b.ExternalID) })
	return AdminGetItemGroups200JSONResponse{Groups: groups}, err
}

// AdminPutItemGroups replaces all groups (seed 002, "Create an item group").
func (h *handlers) AdminPutItemGroups(ctx context.Context, r AdminPutItemGroupsRequestObject) (AdminPutItemGroupsResponseObject, error) {
	call := callOf(ctx)
	err := h.db.PutCatalogGroups(ctx, call.key.ProjectID, r.Body.Groups, call.key.KeyID, h.now())
	return AdminPutItemGroups200JSONResponse{Groups: r.Body.Groups}, orMistaken(err)
}

// AdminCountGameKeys tells how many keys of a game there are.
func (h *handlers) AdminCountGameKeys(ctx context.Context, r AdminCountGameKeysRequestObject) (AdminCountGameKeysResponseObject, error) {
	counts, err := h.db.GameKeyCounts(ctx, callOf(ctx).key.ProjectID, r.Sku)
	return AdminCountGameKeys200JSONResponse{
		Free:     counts.Free,
		Reserved: counts.Reserved,
		Given:    counts.Given,
		Revoked:  counts.Revoked,
	}, orNoKeys(err)
}

// AdminUploadGameKeys adds the keys of a text, one a line.
func (h *handlers) AdminUploadGameKeys(ctx context.Context, r AdminUploadGameKeysRequestObject) (AdminUploadGameKeysResponseObject, error) {
	call := callOf(ctx)
	codes, err := keyLines(string(call.body))
	if err != nil {
		return nil, err
	}
	added, counts, err := h.db.AddGameKeys(ctx, call.key.ProjectID, r.Sku, codes, call.key.KeyID, h.now())
	return AdminUploadGameKeys200JSONResponse{
		Added:    added,
		Skipped:  int64(len(codes)) - added,
		Free:     counts.Free,
		Reserved: counts.Reserved,
		Given:    counts.Given,
		Revoked:  counts.Revoked,
	}, orNoKeys(err)
}

// keyLines are the keys of a text, as they are: spaces around them and empty lines are left out.
func keyLines(text string) ([]string, error) {
	var codes []string
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		code := strings.TrimSpace(line)
		if code == "" {
			continue
		}
		if len([]rune(code)) > maxKeyCode || checkText(code) != nil {
			return nil, invalid(fmt.Sprintf("line %d", number), "a key has at most 255 characters, none of them a control character")
		}
		codes = append(codes, code)
	}
	switch {
	case len(codes) == 0:
		return nil, errNothingInThere
	case len(codes) > maxKeyLines:
		return nil, errTooManyKeys
	default:
		return codes, nil
	}
}

func orNoKeys(err error) error {
	if errors.Is(err, postgres.ErrNotGameKey) {
		return errNotGameKey
	}
	return orElse(err, errItemNotFound)
}
