package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// InventoryCall asks for operations on what users own: all are done, or none.
type InventoryCall struct {
	ProjectID   int32
	Action      inventory.Action
	Source      string
	Requests    []inventory.Request
	Zone        *time.Location // of calendar periods
	Idempotency *Idempotency   // may be nil
}

// ErrPurchaseReused: an external purchase id was used before for another purchase, or twice in one call.
var ErrPurchaseReused = errors.New("external_purchase_id belongs to another purchase")

// InventoryCallError says which item of which operation can't be done. It wraps an *inventory.Refusal,
// ErrPurchaseReused or an error of inventory.Unfold.
type InventoryCallError struct {
	Operation int
	Item      int // -1: the operation as a whole
	Err       error
}

// Error tells why.
func (e *InventoryCallError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *InventoryCallError) Unwrap() error { return e.Err }

// ChangeInventory does all operations of a call in one transaction, once per idempotency key: a repeat is
// answered with what the first was told. Users who are not known are made. A purchase that was told of before
// is not given again. It fails with *inventory.Refusal for a call of no or too many operations,
// *InventoryCallError and ErrIdempotencyKeyReused; nothing is done then.
func (db *DB) ChangeInventory(ctx context.Context, c InventoryCall, now time.Time) (answer inventory.Answer, replayed bool, err error) {
	if refusal := inventory.CheckBatch(len(c.Requests)); refusal != nil {
		return inventory.Answer{}, false, refusal
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		callID := xid.New().String()
		resource := "inventory/" + callID
		first, err := c.Idempotency.claim(ctx, q, c.ProjectID, resource, now)
		if err != nil {
			return err
		}
		if first != resource {
			replayed = true
			answer, err = keptAnswer(ctx, q, c.ProjectID, first)
			return err
		}
		answer, err = c.do(ctx, q, callID, now)
		if err != nil || c.Idempotency == nil {
			return err
		}
		return keepAnswer(ctx, q, c.ProjectID, callID, answer, now)
	})
	return answer, replayed, err
}

func keptAnswer(ctx context.Context, q *sqlc.Queries, projectID int32, resource string) (answer inventory.Answer, err error) {
	callID, ok := strings.CutPrefix(resource, "inventory/")
	if !ok {
		return answer, ErrIdempotencyKeyReused // by a call of another kind
	}
	kept, err := q.GetInventoryAnswer(ctx, sqlc.GetInventoryAnswerParams{ProjectID: projectID, CallID: callID})
	if err != nil {
		return answer, fmt.Errorf("answer of call %s: %w", callID, err)
	}
	return answer, json.Unmarshal(kept, &answer)
}

func keepAnswer(ctx context.Context, q *sqlc.Queries, projectID int32, callID string, answer inventory.Answer, now time.Time) error {
	encoded, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if err := q.KeepInventoryAnswer(ctx, sqlc.KeepInventoryAnswerParams{
		ProjectID: projectID,
		CallID:    callID,
		Answer:    encoded,
		Now:       now,
	}); err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return nil
}

// place is where an item stands in a call.
type place struct{ operation, item int }

func (c InventoryCall) do(ctx context.Context, q *sqlc.Queries, callID string, now time.Time) (inventory.Answer, error) {
	if err := c.ensureUsers(ctx, q, now); err != nil {
		return inventory.Answer{}, err
	}
	before, err := c.claimPurchases(ctx, q, now)
	if err != nil {
		return inventory.Answer{}, err
	}
	changes, places, err := c.changes(ctx, q, callID, before)
	if err != nil {
		return inventory.Answer{}, err
	}
	entries, err := changeInventory(ctx, q, c.ProjectID, changes, now)
	var refused *RefusedChangeError
	if errors.As(err, &refused) {
		at := places[refused.Operation]
		return inventory.Answer{}, &InventoryCallError{at.operation, at.item, refused.Refusal}
	}
	if err != nil {
		return inventory.Answer{}, err
	}
	answer := c.answer(changes, places, entries)
	for i, answered := range before {
		answer.Operations[i] = answered
	}
	return answer, c.answerPurchases(ctx, q, answer, before)
}

func (c InventoryCall) ensureUsers(ctx context.Context, q *sqlc.Queries, now time.Time) error {
	var users []string
	for _, r := range c.Requests {
		users = append(users, r.User.ID)
	}
	slices.Sort(users)
	if err := q.EnsureUsers(ctx, sqlc.EnsureUsersParams{ProjectID: c.ProjectID, UserIds: slices.Compact(users), Now: now}); err != nil {
		return fmt.Errorf("ensure users: %w", err)
	}
	return nil
}

// claimPurchases takes the ids of external purchases, in one order, and finds the answers of those that were
// told of before, by their place.
func (c InventoryCall) claimPurchases(ctx context.Context, q *sqlc.Queries, now time.Time) (map[int]inventory.AnsweredOperation, error) {
	var places []int
	for i, r := range c.Requests {
		if r.Purchase != nil {
			places = append(places, i)
		}
	}
	id := func(i int) string { return c.Requests[i].Purchase.ExternalPurchaseID }
	slices.SortStableFunc(places, func(a, b int) int { return strings.Compare(id(a), id(b)) })
	before := map[int]inventory.AnsweredOperation{}
	for k, i := range places {
		if k > 0 && id(i) == id(places[k-1]) {
			return nil, &InventoryCallError{i, -1, ErrPurchaseReused}
		}
		answered, repeated, err := claimPurchase(ctx, q, c.ProjectID, c.Requests[i], now)
		if errors.Is(err, ErrPurchaseReused) {
			return nil, &InventoryCallError{i, -1, err}
		}
		if err != nil {
			return nil, err
		}
		if repeated {
			before[i] = answered
		}
	}
	return before, nil
}

func claimPurchase(ctx context.Context, q *sqlc.Queries, projectID int32, r inventory.Request, now time.Time) (answered inventory.AnsweredOperation, repeated bool, err error) {
	encoded, err := json.Marshal(r)
	if err != nil {
		return answered, false, err
	}
	hash := sha256.Sum256(encoded)
	_, err = q.ClaimExternalPurchase(ctx, sqlc.ClaimExternalPurchaseParams{
		ProjectID:          projectID,
		ExternalPurchaseID: r.Purchase.ExternalPurchaseID,
		UserID:             r.User.ID,
		RequestHash:        hash[:],
		Amount:             r.Purchase.Amount,
		Currency:           r.Purchase.Currency,
		PurchasedAt:        r.Purchase.ExternalPurchaseDate,
		CustomParameters:   r.CustomParameters,
		Now:                now,
	})
	if !errors.Is(err, pgx.ErrNoRows) {
		return answered, false, err
	}
	first, err := q.GetExternalPurchase(ctx, sqlc.GetExternalPurchaseParams{
		ProjectID:          projectID,
		ExternalPurchaseID: r.Purchase.ExternalPurchaseID,
	})
	switch {
	case err != nil:
		return answered, false, fmt.Errorf("external purchase: %w", err)
	case string(first.RequestHash) != string(hash[:]):
		return answered, false, ErrPurchaseReused
	default:
		return answered, true, json.Unmarshal(first.Answer, &answered)
	}
}

func (c InventoryCall) answerPurchases(ctx context.Context, q *sqlc.Queries, answer inventory.Answer, before map[int]inventory.AnsweredOperation) error {
	for i, r := range c.Requests {
		if _, repeated := before[i]; repeated || r.Purchase == nil {
			continue
		}
		encoded, err := json.Marshal(answer.Operations[i])
		if err != nil {
			return err
		}
		err = q.AnswerExternalPurchase(ctx, sqlc.AnswerExternalPurchaseParams{
			ProjectID:          c.ProjectID,
			ExternalPurchaseID: r.Purchase.ExternalPurchaseID,
			Answer:             encoded,
		})
		if err != nil {
			return fmt.Errorf("answer of external purchase: %w", err)
		}
	}
	return nil
}

// changes are the operations, bundles unfolded, with the place of each in the call. What was done before is left out.
func (c InventoryCall) changes(ctx context.Context, q *sqlc.Queries, callID string, before map[int]inventory.AnsweredOperation) (changes []inventoryChange, places []place, err error) {
	items, err := c.catalog(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range c.Requests {
		if _, repeated := before[i]; repeated {
			continue
		}
		for k, item := range r.Items {
			reference := fmt.Sprintf("%s/%s/%d.%d", c.Source, callID, i, k)
			if r.Purchase != nil {
				reference = fmt.Sprintf("%s/%s/%d", c.Source, r.Purchase.ExternalPurchaseID, k)
			}
			more, err := c.itemChanges(items, r, item, reference)
			if err == nil && len(changes)+len(more) > inventory.MaxGrants {
				err = inventory.ErrTooManyGrants
			}
			if err != nil {
				return nil, nil, &InventoryCallError{i, k, err}
			}
			for range more {
				places = append(places, place{i, k})
			}
			changes = append(changes, more...)
		}
	}
	return changes, places, nil
}

// catalog has what is given or set, and what bundles among it contain.
func (c InventoryCall) catalog(ctx context.Context, q *sqlc.Queries) (*catalog.Catalog, error) {
	if c.Action != inventory.ActionGrant && c.Action != inventory.ActionSet {
		return catalog.New(nil, nil), nil
	}
	var missing []string
	for _, r := range c.Requests {
		for _, item := range r.Items {
			missing = append(missing, item.SKU)
		}
	}
	return catalogOf(ctx, q, c.ProjectID, missing)
}

// catalogOf reads these items, and what bundles among them contain.
func catalogOf(ctx context.Context, q *sqlc.Queries, projectID int32, skus []string) (*catalog.Catalog, error) {
	var items []catalog.Item
	seen := map[string]bool{}
	for len(skus) > 0 {
		rows, err := q.ReadItemDefinitions(ctx, sqlc.ReadItemDefinitionsParams{ProjectID: projectID, Skus: skus})
		if err != nil {
			return nil, fmt.Errorf("read items: %w", err)
		}
		for _, sku := range skus {
			seen[sku] = true
		}
		skus = nil
		for _, row := range rows {
			item, err := itemOf(sqlc.ListCatalogItemsRow(row))
			if err != nil {
				return nil, err
			}
			items = append(items, item)
			for _, part := range item.Content {
				if !seen[part.SKU] {
					seen[part.SKU] = true
					skus = append(skus, part.SKU)
				}
			}
		}
	}
	return catalog.New(items, nil), nil
}

func (c InventoryCall) itemChanges(items *catalog.Catalog, r inventory.Request, wanted inventory.RequestedItem, reference string) ([]inventoryChange, error) {
	switch c.Action {
	case inventory.ActionGrant:
		return c.grants(items, r, wanted, reference)
	case inventory.ActionSet:
		item, known := items.Item(wanted.SKU)
		if !known {
			return nil, fmt.Errorf("%w: %s", inventory.ErrUnknownItem, wanted.SKU)
		}
		if kind := item.Kind(); kind == inventory.Bundle || kind == "" {
			return nil, inventory.Refuse(inventory.NotAllowed, "an item of this type is not owned, and so can't be set")
		}
		snapshot, err := json.Marshal(item)
		return []inventoryChange{{userID: r.User.ID, sku: wanted.SKU, kind: item.Kind(), snapshot: snapshot, source: c.Source, comment: r.Comment,
			op: inventory.Operation{ID: reference, Action: c.Action, Quantity: wanted.Quantity}}}, err
	default:
		return []inventoryChange{{userID: r.User.ID, sku: wanted.SKU, source: c.Source, comment: r.Comment,
			op: inventory.Operation{ID: reference, Action: c.Action, Quantity: wanted.Quantity}}}, nil
	}
}

func (c InventoryCall) grants(items *catalog.Catalog, r inventory.Request, wanted inventory.RequestedItem, reference string) ([]inventoryChange, error) {
	item, known := items.Item(wanted.SKU)
	if !known {
		return nil, fmt.Errorf("%w: %s", inventory.ErrUnknownItem, wanted.SKU)
	}
	grants, err := items.Unfold(item, wanted.Quantity)
	if err != nil {
		return nil, err
	}
	giving := Giving{
		UserID:    r.User.ID,
		Reference: reference,
		Snapshots: map[string]catalog.Item{},
		Source:    c.Source,
		Comment:   r.Comment,
		Zone:      c.Zone,
	}
	for _, grant := range grants {
		grant.ID = grant.SKU
		giving.Grants = append(giving.Grants, grant)
		giving.Snapshots[grant.SKU], _ = items.Item(grant.SKU)
	}
	return giving.changes()
}

func (c InventoryCall) answer(changes []inventoryChange, places []place, entries []inventory.Entry) inventory.Answer {
	answer := inventory.Answer{Operations: make([]inventory.AnsweredOperation, len(c.Requests))}
	users := map[string]bool{}
	for i, r := range c.Requests {
		users[r.User.ID] = true
		platform := r.Platform
		if platform == "" {
			platform = inventory.DefaultPlatform
		}
		answer.Operations[i] = inventory.AnsweredOperation{
			UserID:   r.User.ID,
			Platform: platform,
			Comment:  r.Comment,
			Items:    []inventory.AnsweredItem{},
		}
	}
	answer.Count = len(users)
	for i, change := range changes {
		operation := &answer.Operations[places[i].operation]
		operation.Items = append(operation.Items, inventory.AnsweredItem{
			SKU:      change.sku,
			Quantity: change.op.Quantity,
			Balance:  entries[i].Balance,
		})
	}
	return answer
}
