package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// RefusedChangeError says which operation the rules refuse; the transaction has to be taken back.
type RefusedChangeError struct {
	UserID    string
	SKU       string
	Operation int // its place in the call
	Refusal   *inventory.Refusal
}

// Error names the SKU.
func (e *RefusedChangeError) Error() string { return e.SKU + ": " + e.Refusal.Error() }

// Unwrap gives the refusal.
func (e *RefusedChangeError) Unwrap() error { return e.Refusal }

// inventoryChange is one operation on one user's holding of a SKU. Its Operation.ID is the entry's reference.
type inventoryChange struct {
	userID   string
	sku      string
	kind     inventory.Kind  // of a grant or a set, which may be the first
	snapshot json.RawMessage // of a grant or a set; nil: the one that is there
	minimal  json.RawMessage // what to keep when neither is
	orderID  *int64          // whose game keys these are
	source   string
	comment  string
	op       inventory.Operation
}

type ownedKey struct{ userID, sku string }

func (k ownedKey) compare(other ownedKey) int {
	return cmp.Or(cmp.Compare(k.userID, other.userID), cmp.Compare(k.sku, other.sku))
}

func (c inventoryChange) key() ownedKey { return ownedKey{c.userID, c.sku} }

func (c inventoryChange) makesHolding() bool {
	return c.op.Action == inventory.ActionGrant || c.op.Action == inventory.ActionSet
}

// heldRow is a locked holding.
type heldRow struct {
	inventory.Holding
	snapshot    json.RawMessage // new; nil: unchanged
	changed     bool
	timeChanged bool // of the subscription
}

// inventoryTx changes holdings in the transaction of its queries.
type inventoryTx struct {
	q          *sqlc.Queries
	projectID  int32
	now        time.Time
	held       map[ownedKey]*heldRow
	done       map[doneKey]sqlc.FindInventoryEntriesRow
	extensions map[string]subscriptions.Extension
	entries    sqlc.InsertInventoryEntriesParams
}

type doneKey struct{ reference, action string }

// changeInventory does the operations in their order, each once: one that was done before is answered with
// what it did then, and the refund of a grant that was never given is nothing (its entry is empty). The rows
// are locked in one order, so that no two calls wait for each other. It fails with *RefusedChangeError;
// everything is to be taken back then.
func changeInventory(ctx context.Context, q *sqlc.Queries, projectID int32, changes []inventoryChange, now time.Time) ([]inventory.Entry, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	tx := &inventoryTx{q: q, projectID: projectID, now: now.UTC().Truncate(time.Microsecond), held: map[ownedKey]*heldRow{},
		done: map[doneKey]sqlc.FindInventoryEntriesRow{}, extensions: map[string]subscriptions.Extension{}}
	for _, prepare := range []func(context.Context, []inventoryChange) error{tx.lock, tx.lockSubscriptions, tx.findDone, tx.findExtensions} {
		if err := prepare(ctx, changes); err != nil {
			return nil, err
		}
	}
	entries := make([]inventory.Entry, len(changes))
	for i, change := range changes {
		var err error
		entries[i], err = tx.apply(ctx, change)
		var refusal *inventory.Refusal
		if errors.As(err, &refusal) {
			return nil, &RefusedChangeError{UserID: change.userID, SKU: change.sku, Operation: i, Refusal: refusal}
		}
		if err != nil {
			return nil, err
		}
	}
	return entries, tx.write(ctx)
}

func (tx *inventoryTx) lock(ctx context.Context, changes []inventoryChange) error {
	var wanted sqlc.LockHoldingsParams
	missing := sqlc.EnsureHoldingsParams{ProjectID: tx.projectID, Now: tx.now}
	seen := map[ownedKey]bool{}
	for _, c := range changes {
		wanted.UserIds, wanted.Skus = append(wanted.UserIds, c.userID), append(wanted.Skus, c.sku)
		if c.makesHolding() && !seen[c.key()] {
			seen[c.key()] = true
			snapshot := c.snapshot
			if snapshot == nil {
				snapshot = c.minimal
			}
			missing.UserIds, missing.Skus = append(missing.UserIds, c.userID), append(missing.Skus, c.sku)
			missing.Kinds, missing.Snapshots = append(missing.Kinds, string(c.kind)), append(missing.Snapshots, string(snapshot))
		}
	}
	if len(missing.Skus) > 0 {
		if err := tx.q.EnsureHoldings(ctx, missing); err != nil {
			return fmt.Errorf("make holdings: %w", err)
		}
	}
	wanted.ProjectID = tx.projectID
	rows, err := tx.q.LockHoldings(ctx, wanted)
	if err != nil {
		return fmt.Errorf("lock holdings: %w", err)
	}
	for _, row := range rows {
		held := &heldRow{Holding: inventory.Holding{SKU: row.Sku, Kind: inventory.Kind(row.Kind), Quantity: row.Quantity}}
		if row.GrantID != nil {
			held.GrantID = *row.GrantID
		}
		tx.held[ownedKey{row.UserID, row.Sku}] = held
	}
	return nil
}

func (tx *inventoryTx) lockSubscriptions(ctx context.Context, _ []inventoryChange) error {
	params := sqlc.LockSubscriptionsParams{ProjectID: tx.projectID}
	for key, held := range tx.held {
		if held.Kind == inventory.NonRenewingSubscription {
			params.UserIds, params.Skus = append(params.UserIds, key.userID), append(params.Skus, key.sku)
		}
	}
	if len(params.Skus) == 0 {
		return nil
	}
	rows, err := tx.q.LockSubscriptions(ctx, params)
	if err != nil {
		return fmt.Errorf("lock subscriptions: %w", err)
	}
	for _, row := range rows {
		tx.held[ownedKey{row.UserID, row.Sku}].Subscription = subscriptionOf(row)
	}
	return nil
}

func subscriptionOf(row sqlc.Subscription) subscriptions.Subscription {
	s := subscriptions.Subscription{Stretch: row.Stretch}
	if row.ExpiresAt != nil {
		started, expires := row.StartedAt.UTC(), row.ExpiresAt.UTC()
		s.StartedAt, s.ExpiresAt = &started, &expires
	}
	return s
}

func (tx *inventoryTx) findDone(ctx context.Context, changes []inventoryChange) error {
	references := make([]string, 0, len(changes))
	for _, c := range changes {
		references = append(references, c.op.ID)
		if c.op.Action == inventory.ActionRefund {
			references = append(references, c.op.GrantID)
		}
	}
	rows, err := tx.q.FindInventoryEntries(ctx, sqlc.FindInventoryEntriesParams{ProjectID: tx.projectID, Refs: references})
	if err != nil {
		return fmt.Errorf("find entries: %w", err)
	}
	for _, row := range rows {
		tx.done[doneKey{row.Reference, row.Action}] = row
	}
	return nil
}

func (tx *inventoryTx) findExtensions(ctx context.Context, changes []inventoryChange) error {
	var ids []string
	for _, c := range changes {
		if held := tx.held[c.key()]; c.op.Action == inventory.ActionRefund && held != nil && held.Kind == inventory.NonRenewingSubscription {
			ids = append(ids, c.op.GrantID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.q.FindExtensions(ctx, sqlc.FindExtensionsParams{ProjectID: tx.projectID, ExtensionIds: ids})
	if err != nil {
		return fmt.Errorf("find extensions: %w", err)
	}
	refunded := map[string]bool{}
	for _, row := range rows {
		entry, err := decodeSubscriptionEntry(row.Entry)
		if err != nil {
			return err
		}
		if entry.Extended != nil {
			tx.extensions[row.ExtensionID] = *entry.Extended
		} else {
			refunded[row.ExtensionID] = true
		}
	}
	for id, extension := range tx.extensions {
		extension.Refunded = refunded[id]
		tx.extensions[id] = extension
	}
	return nil
}

func decodeSubscriptionEntry(raw json.RawMessage) (entry subscriptions.Entry, err error) {
	if err := json.Unmarshal(raw, &entry); err != nil {
		return entry, fmt.Errorf("entry of a subscription: %w", err)
	}
	return entry, nil
}

func (tx *inventoryTx) apply(ctx context.Context, c inventoryChange) (inventory.Entry, error) {
	if row, repeated := tx.done[doneKey{c.op.ID, string(c.op.Action)}]; repeated {
		return inventory.Entry{OperationID: c.op.ID, Action: c.op.Action, Delta: row.Delta, Balance: row.Balance, At: row.At}, nil
	}
	held := tx.held[c.key()]
	if held == nil {
		held = &heldRow{Holding: inventory.Holding{
			SKU:  c.sku,
			Kind: inventory.Consumable,
		}} // not owned, and so refused or nothing to refund
	}
	if c.op.Action == inventory.ActionRefund {
		if _, given := tx.done[doneKey{c.op.GrantID, string(inventory.ActionGrant)}]; !given {
			return inventory.Entry{}, nil
		}
		c.op.Extension = tx.extensions[c.op.GrantID]
		if held.Kind == inventory.NonRenewingSubscription && c.op.Quantity != c.op.Extension.Quantity {
			return inventory.Entry{}, inventory.Refuse(inventory.NotAllowed, "the periods of one subscription that were bought together are refunded together")
		}
	}
	if c.makesHolding() && held.Kind != c.kind {
		if held.Quantity > 0 {
			return inventory.Entry{}, inventory.Refuse(inventory.NotAllowed, fmt.Sprintf("the item is owned as %s, and can't be given as %s", held.Kind, c.kind))
		}
		held.Kind = c.kind
	}
	c.op.At = tx.now
	entry, err := tx.applyRules(ctx, held, c)
	if err != nil {
		return inventory.Entry{}, err
	}
	if c.makesHolding() && c.snapshot != nil {
		held.snapshot = c.snapshot
	}
	held.changed = true
	tx.done[doneKey{c.op.ID, string(c.op.Action)}] = sqlc.FindInventoryEntriesRow{Delta: entry.Delta, Balance: entry.Balance, At: tx.now}
	tx.record(c, entry)
	return entry, tx.recordTime(ctx, held, c, entry.Subscription)
}

// applyRules also moves the codes of game keys, which are owned one by one. Of a refund as many are taken as
// the order still has.
func (tx *inventoryTx) applyRules(ctx context.Context, held *heldRow, c inventoryChange) (inventory.Entry, error) {
	if held.Kind == inventory.GameKey && c.op.Action == inventory.ActionRefund {
		taken, err := tx.revokeKeys(ctx, c, c.orderID)
		if err != nil || taken == 0 {
			return inventory.Entry{OperationID: c.op.ID, Action: c.op.Action, Balance: held.Quantity, At: tx.now}, err
		}
		c.op.Quantity = taken
	}
	after, entry, refusal := inventory.Apply(held.Holding, c.op)
	if refusal != nil {
		return inventory.Entry{}, refusal
	}
	held.Holding = after
	if held.Kind != inventory.GameKey {
		return entry, nil
	}
	var moved int64
	var err error
	switch c.op.Action {
	case inventory.ActionGrant:
		moved, err = tx.giveKeys(ctx, c)
	case inventory.ActionRevoke:
		moved, err = tx.revokeKeys(ctx, c, nil)
	default:
		return entry, nil
	}
	switch {
	case err != nil:
		return inventory.Entry{}, fmt.Errorf("game keys: %w", err)
	case moved != c.op.Quantity:
		return inventory.Entry{}, inventory.Refuse(inventory.OutOfKeys, fmt.Sprintf("%d keys are asked for, %d are there", c.op.Quantity, moved))
	default:
		return entry, nil
	}
}

// maxKeys that are looked for at once, more than any stock has.
const maxKeys = 1_000_000

// giveKeys gives those that the order reserved, then free ones.
func (tx *inventoryTx) giveKeys(ctx context.Context, c inventoryChange) (given int64, err error) {
	wanted := min(c.op.Quantity, maxKeys)
	if c.orderID != nil {
		given, err = tx.q.GiveReservedGameKeys(ctx, sqlc.GiveReservedGameKeysParams{
			ProjectID: tx.projectID,
			Sku:       c.sku,
			UserID:    c.userID,
			OrderID:   *c.orderID,
			Keys:      int32(wanted),
			Now:       tx.now,
		})
	}
	if err != nil || given == wanted {
		return given, err
	}
	free, err := tx.q.GiveFreeGameKeys(ctx, sqlc.GiveFreeGameKeysParams{
		ProjectID: tx.projectID,
		Sku:       c.sku,
		UserID:    c.userID,
		OrderID:   c.orderID,
		Keys:      int32(wanted - given),
		Now:       tx.now,
	})
	return given + free, err
}

func (tx *inventoryTx) revokeKeys(ctx context.Context, c inventoryChange, orderID *int64) (int64, error) {
	return tx.q.RevokeGameKeys(ctx, sqlc.RevokeGameKeysParams{
		ProjectID: tx.projectID,
		Sku:       c.sku,
		UserID:    &c.userID,
		OrderID:   orderID,
		Keys:      int32(min(c.op.Quantity, maxKeys)),
		Now:       tx.now,
	})
}

func (tx *inventoryTx) record(c inventoryChange, entry inventory.Entry) {
	e := &tx.entries
	e.UserIds, e.Skus = append(e.UserIds, c.userID), append(e.Skus, c.sku)
	e.Actions, e.Refs = append(e.Actions, string(c.op.Action)), append(e.Refs, c.op.ID)
	e.Deltas, e.Balances = append(e.Deltas, entry.Delta), append(e.Balances, entry.Balance)
	e.Sources, e.Comments = append(e.Sources, c.source), append(e.Comments, c.comment)
}

// recordTime writes the entry of a subscription's own ledger.
func (tx *inventoryTx) recordTime(ctx context.Context, held *heldRow, c inventoryChange, entry *subscriptions.Entry) error {
	if entry == nil {
		return nil
	}
	held.timeChanged = true
	params := sqlc.InsertSubscriptionEntryParams{ProjectID: tx.projectID, UserID: c.userID, Sku: c.sku, Now: tx.now}
	switch {
	case entry.Extended != nil:
		params.Kind, params.ExtensionID = "extended", &entry.Extended.ID
	case entry.Refunded != nil:
		params.Kind, params.ExtensionID = "refunded", &entry.Refunded.ExtensionID
		extension := tx.extensions[entry.Refunded.ExtensionID]
		extension.Refunded = true
		tx.extensions[entry.Refunded.ExtensionID] = extension
	default:
		params.Kind = "revoked"
	}
	var err error
	if params.Entry, err = json.Marshal(entry); err != nil {
		return err
	}
	if err := tx.q.InsertSubscriptionEntry(ctx, params); err != nil {
		return fmt.Errorf("entry of subscription %s: %w", c.sku, err)
	}
	return nil
}

func (tx *inventoryTx) write(ctx context.Context) error {
	if len(tx.entries.Refs) == 0 {
		return nil
	}
	tx.entries.ProjectID, tx.entries.Now = tx.projectID, tx.now
	if err := tx.q.InsertInventoryEntries(ctx, tx.entries); err != nil {
		return fmt.Errorf("write entries: %w", err)
	}
	holdings := sqlc.UpdateHoldingsParams{ProjectID: tx.projectID, Now: tx.now}
	var times []ownedKey
	for key, held := range tx.held {
		if !held.changed {
			continue
		}
		holdings.UserIds, holdings.Skus = append(holdings.UserIds, key.userID), append(holdings.Skus, key.sku)
		holdings.Kinds, holdings.Quantities = append(holdings.Kinds, string(held.Kind)), append(holdings.Quantities, held.Quantity)
		holdings.GrantIds, holdings.Snapshots = append(holdings.GrantIds, held.GrantID), append(holdings.Snapshots, string(held.snapshot))
		if held.timeChanged {
			times = append(times, key)
		}
	}
	if err := tx.q.UpdateHoldings(ctx, holdings); err != nil {
		return fmt.Errorf("write holdings: %w", err)
	}
	slices.SortFunc(times, ownedKey.compare)
	for _, key := range times {
		s := tx.held[key].Subscription
		err := tx.q.SaveSubscription(ctx, sqlc.SaveSubscriptionParams{
			ProjectID: tx.projectID,
			UserID:    key.userID,
			Sku:       key.sku,
			Stretch:   s.Stretch,
			StartedAt: s.StartedAt,
			ExpiresAt: s.ExpiresAt,
			Now:       tx.now,
		})
		if err != nil {
			return fmt.Errorf("write subscription %s: %w", key.sku, err)
		}
	}
	return nil
}
