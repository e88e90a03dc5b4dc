package inventory_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestCountedOperations(t *testing.T) {
	t.Parallel()
	const most = inventory.MaxQuantity
	grant, consume, set, revoke, refund := inventory.ActionGrant, inventory.ActionConsume, inventory.ActionSet, inventory.ActionRevoke, inventory.ActionRefund
	for _, test := range []struct {
		kind     inventory.Kind
		owned    int64
		action   inventory.Action
		quantity int64
		after    int64
		code     inventory.Code
	}{
		{"consumable", 0, grant, 1, 1, ""},
		{"consumable", 3, grant, most - 3, most, ""},
		{"consumable", 3, grant, most - 2, 0, inventory.BalanceTooLarge},
		{"consumable", most, grant, 1, 0, inventory.BalanceTooLarge},
		{"consumable", 0, grant, most + 1, 0, inventory.QuantityOutOfRange},
		{"consumable", 0, grant, math.MaxInt64, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, grant, 0, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, grant, -1, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, consume, 3, 0, ""},
		{"consumable", 3, consume, 2, 1, ""},
		{"consumable", 3, consume, 4, 0, inventory.NotOwned},
		{"consumable", 0, consume, 1, 0, inventory.NotOwned},
		{"consumable", 3, consume, 0, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, consume, math.MinInt64, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, revoke, 3, 0, ""},
		{"consumable", 3, revoke, 4, 0, inventory.NotOwned},
		{"consumable", 3, revoke, -1, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, set, 0, 0, ""},
		{"consumable", 3, set, 3, 3, ""},
		{"consumable", 3, set, most, most, ""},
		{"consumable", 3, set, most + 1, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, set, -1, 0, inventory.QuantityOutOfRange},
		{"consumable", 3, refund, 2, 1, ""},
		{"consumable", 3, refund, 5, 0, ""},
		{"consumable", 0, refund, 5, 0, ""},
		{"virtual_currency", 10, grant, 5, 15, ""},
		{"virtual_currency", 10, consume, 10, 0, ""},
		{"virtual_currency", 10, consume, 11, 0, inventory.NotEnoughCurrency},
		{"virtual_currency", 10, revoke, 11, 0, inventory.NotOwned},
		{"virtual_currency", 10, set, 7, 7, ""},
		{"virtual_currency", 10, refund, 100, 0, ""},
		{"non_consumable", 0, grant, 1, 1, ""},
		{"non_consumable", 1, grant, 1, 0, inventory.AlreadyOwned},
		{"non_consumable", 0, grant, 2, 0, inventory.AlreadyOwned},
		{"non_consumable", 1, consume, 1, 0, inventory.NotAllowed},
		{"non_consumable", 1, set, 1, 1, ""},
		{"non_consumable", 0, set, 1, 1, ""},
		{"non_consumable", 1, set, 0, 0, ""},
		{"non_consumable", 1, set, 2, 0, inventory.QuantityOutOfRange},
		{"non_consumable", 1, revoke, 1, 0, ""},
		{"non_consumable", 1, revoke, 2, 0, inventory.NotOwned},
		{"non_consumable", 0, revoke, 1, 0, inventory.NotOwned},
		{"game_key", 0, grant, 2, 2, ""},
		{"game_key", 2, revoke, 1, 1, ""},
		{"game_key", 2, refund, 2, 0, ""},
		{"game_key", 2, consume, 1, 0, inventory.NotAllowed},
		{"game_key", 2, set, 1, 0, inventory.NotAllowed},
		{"bundle", 0, grant, 1, 0, inventory.NotAllowed},
		{"bundle", 0, revoke, 1, 0, inventory.NotAllowed},
		{"", 0, grant, 1, 0, inventory.NotAllowed},
		{"consumable", 1, "steal", 1, 0, inventory.NotAllowed},
	} {
		t.Run(fmt.Sprintf("%s %d %s %d", test.kind, test.owned, test.action, test.quantity), func(t *testing.T) {
			t.Parallel()
			before := inventory.Holding{SKU: "x", Kind: test.kind, Quantity: test.owned}
			after, entry, refusal := inventory.Apply(before, inventory.Operation{
				ID:       "op",
				Action:   test.action,
				Quantity: test.quantity,
				At:       noon,
			})
			if test.code != "" {
				require.Equal(t, test.code, refusal.Code)
				require.ErrorContains(t, refusal, string(test.code)+": ")
				require.Equal(t, before, after)
				require.Zero(t, entry)
				return
			}
			require.Nil(t, refusal)
			require.Equal(t, test.after, after.Quantity)
			require.Equal(t, inventory.Entry{
				OperationID: "op",
				Action:      test.action,
				Delta:       test.after - test.owned,
				Balance:     test.after,
				At:          noon,
			}, entry)
		})
	}
}

func TestRefundOfNonConsumableTakesWhatItsOwnGrantGave(t *testing.T) {
	t.Parallel()
	apply := func(h inventory.Holding, op inventory.Operation) inventory.Holding {
		h, _, refusal := inventory.Apply(h, op)
		require.Nil(t, refusal)
		return h
	}
	first := apply(inventory.Holding{
		SKU:  "sword",
		Kind: inventory.NonConsumable,
	}, inventory.Operation{ID: "a", Action: inventory.ActionGrant, Quantity: 1})
	require.Equal(t, "a", first.GrantID)
	none := apply(first, inventory.Operation{ID: "r", Action: inventory.ActionRevoke, Quantity: 1})
	require.Empty(t, none.GrantID)
	second := apply(none, inventory.Operation{ID: "b", Action: inventory.ActionGrant, Quantity: 1})
	require.Equal(t, second, apply(second, inventory.Operation{
		ID:       "s",
		Action:   inventory.ActionSet,
		Quantity: 1,
	}), "it is still what b gave")
	require.Equal(t, second, apply(second, inventory.Operation{ID: "f", Action: inventory.ActionRefund, Quantity: 1, GrantID: "a"}))
	require.Equal(t, none, apply(second, inventory.Operation{ID: "f", Action: inventory.ActionRefund, Quantity: 1, GrantID: "b"}))
	require.Equal(t, none, apply(none, inventory.Operation{ID: "f", Action: inventory.ActionRefund, Quantity: 1, GrantID: "a"}))
}

func TestSubscriptionOperations(t *testing.T) {
	t.Parallel()
	grant := func(id string, quantity int64, at time.Time) inventory.Operation {
		return inventory.Operation{ID: id, Action: inventory.ActionGrant, Quantity: quantity, At: at, Period: month, Zone: time.UTC}
	}
	none := inventory.Holding{SKU: "pass", Kind: inventory.NonRenewingSubscription}
	owned, entry, refusal := inventory.Apply(none, grant("a", 2, noon))
	require.Nil(t, refusal)
	require.EqualValues(t, 1, owned.Quantity)
	require.EqualValues(t, 1, entry.Delta)
	require.Equal(t, noon.AddDate(0, 2, 0), *owned.Subscription.ExpiresAt)
	require.Equal(t, "a", entry.Subscription.Extended.ID)
	extension := *entry.Subscription.Extended

	longer, entry, refusal := inventory.Apply(owned, grant("b", 3, noon.AddDate(0, 1, 0)))
	require.Nil(t, refusal)
	require.EqualValues(t, 1, longer.Quantity, "the quantity stays 1")
	require.Zero(t, entry.Delta)
	require.EqualValues(t, 1, entry.Balance)
	require.Equal(t, noon.AddDate(0, 5, 0), *longer.Subscription.ExpiresAt)

	shorter, entry, refusal := inventory.Apply(longer, inventory.Operation{
		ID:        "r",
		Action:    inventory.ActionRefund,
		Quantity:  2,
		At:        noon.AddDate(0, 1, 0),
		GrantID:   "a",
		Extension: extension,
	})
	require.Nil(t, refusal)
	require.EqualValues(t, 1, shorter.Quantity)
	require.Equal(t, extension.AddedSeconds, entry.Subscription.Refunded.TakenSeconds)
	require.Equal(t, longer.Subscription.ExpiresAt.Add(-time.Duration(extension.AddedSeconds)*time.Second), *shorter.Subscription.ExpiresAt)
	extension.Refunded = true
	repeated, entry, refusal := inventory.Apply(shorter, inventory.Operation{
		ID:        "r2",
		Action:    inventory.ActionRefund,
		Quantity:  2,
		At:        noon.AddDate(0, 1, 0),
		GrantID:   "a",
		Extension: extension,
	})
	require.Nil(t, refusal)
	require.Equal(t, shorter, repeated)
	require.Nil(t, entry.Subscription)

	expired := noon.AddDate(1, 0, 0)
	for name, at := range map[string]time.Time{"active": noon, "expired": expired} {
		revoked, entry, refusal := inventory.Apply(longer, inventory.Operation{
			ID:       "v",
			Action:   inventory.ActionRevoke,
			Quantity: 1,
			At:       at,
		})
		require.Nil(t, refusal, name)
		require.Equal(t, none, revoked, name)
		require.EqualValues(t, -1, entry.Delta, name)
		require.Equal(t, &subscriptions.Revocation{At: at}, entry.Subscription.Revoked, name)
	}

	for name, test := range map[string]struct {
		h    inventory.Holding
		op   inventory.Operation
		code inventory.Code
	}{
		"revoke of none":       {none, inventory.Operation{Action: inventory.ActionRevoke, Quantity: 1, At: noon}, inventory.NotOwned},
		"revoke of two":        {longer, inventory.Operation{Action: inventory.ActionRevoke, Quantity: 2, At: noon}, inventory.NotOwned},
		"consume":              {longer, inventory.Operation{Action: inventory.ActionConsume, Quantity: 1, At: noon}, inventory.NotAllowed},
		"set":                  {longer, inventory.Operation{Action: inventory.ActionSet, Quantity: 1, At: noon}, inventory.NotAllowed},
		"grant of none":        {longer, grant("c", 0, noon), inventory.QuantityOutOfRange},
		"grant of 101 years":   {none, grant("c", 1201, noon), inventory.PeriodTooLong},
		"too long in all":      {longer, grant("c", 1200, noon), inventory.PeriodTooLong},
		"grant without period": {none, inventory.Operation{ID: "c", Action: inventory.ActionGrant, Quantity: 1, At: noon, Zone: time.UTC}, inventory.InvalidPeriod},
	} {
		after, _, refusal := inventory.Apply(test.h, test.op)
		require.NotNil(t, refusal, name)
		require.Equal(t, test.code, refusal.Code, name)
		require.Equal(t, test.h, after, name)
	}
}

// Never negative, never beyond what the kind allows, entries sum to the balance, and a subscription's entries
// fold to its time.
func TestHoldingsAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := inventory.Holding{
			SKU:  "x",
			Kind: rapid.SampledFrom([]inventory.Kind{"consumable", "non_consumable", "virtual_currency", "game_key", "non_renewing_subscription"}).Draw(t, "kind"),
		}
		var sum, model int64
		var ledger []subscriptions.Entry
		var grants []inventory.Operation
		extensions := map[string]subscriptions.Extension{}
		now := noon
		for i := range rapid.IntRange(1, 40).Draw(t, "operations") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 40*86_400).Draw(t, "later")) * time.Second)
			quantity := rapid.OneOf(rapid.Int64Range(-2, 5), rapid.SampledFrom([]int64{inventory.MaxQuantity, inventory.MaxQuantity + 1, math.MaxInt64, math.MinInt64}))
			op := inventory.Operation{ID: fmt.Sprint(i), At: now, Period: month, Zone: time.UTC, Quantity: quantity.Draw(t, "quantity"),
				Action: rapid.SampledFrom([]inventory.Action{"grant", "consume", "set", "revoke", "refund"}).Draw(t, "action")}
			if op.Action == inventory.ActionRefund {
				if len(grants) == 0 {
					continue
				}
				granted := rapid.SampledFrom(grants).Draw(t, "granted")
				op.Quantity, op.GrantID, op.Extension = granted.Quantity, granted.ID, extensions[granted.ID]
			}
			after, entry, refusal := inventory.Apply(h, op)
			if refusal != nil {
				require.Equal(t, h, after)
				require.Zero(t, entry)
				continue
			}
			sum += entry.Delta
			require.Equal(t, sum, after.Quantity)
			require.Equal(t, sum, entry.Balance)
			require.True(t, after.Quantity >= 0 && after.Quantity <= inventory.MaxQuantity)
			switch h.Kind {
			case "non_consumable", "non_renewing_subscription":
				require.LessOrEqual(t, after.Quantity, int64(1))
			default: // the plain arithmetic of what was not refused
				switch op.Action {
				case "grant":
					model += op.Quantity
				case "set":
					model = op.Quantity
				case "refund":
					model = max(model-op.Quantity, 0)
				default:
					model -= op.Quantity
				}
				require.Equal(t, model, after.Quantity)
			}
			require.Equal(t, h.Kind == "non_consumable" && after.Quantity == 1, after.GrantID != "")
			require.Equal(t, h.Kind == "non_renewing_subscription" && after.Quantity == 1, after.Subscription.Status(now) != subscriptions.None)
			if op.Action == inventory.ActionGrant {
				grants = append(grants, op)
			}
			if entry.Subscription != nil {
				ledger = append(ledger, *entry.Subscription)
				if e := entry.Subscription.Extended; e != nil {
					extensions[e.ID] = *e
				}
				if r := entry.Subscription.Refunded; r != nil {
					e := extensions[r.ExtensionID]
					e.Refunded = true
					extensions[r.ExtensionID] = e
				}
			}
			h = after
		}
		folded, err := subscriptions.Fold(ledger)
		require.NoError(t, err)
		require.Equal(t, h.Subscription, folded)
	})
}

func TestBatchIsRefusedNotCut(t *testing.T) {
	t.Parallel()
	for operations, code := range map[int]inventory.Code{-1: inventory.BatchEmpty, 0: inventory.BatchEmpty, 1: "", 50: "", 51: inventory.BatchTooLarge, 100_000: inventory.BatchTooLarge} {
		refusal := inventory.CheckBatch(operations)
		if code == "" {
			require.Nil(t, refusal, operations)
			continue
		}
		require.Equal(t, code, refusal.Code, operations)
	}
}

func TestCodesOfV2(t *testing.T) {
	t.Parallel()
	for code, want := range map[inventory.Code][2]int{
		inventory.NotOwned: {404, 4001}, inventory.NotEnoughCurrency: {422, 5006}, inventory.AlreadyOwned: {422, 1468}, inventory.NotAllowed: {422, 1411},
		inventory.QuantityOutOfRange: {422, 1102}, inventory.BalanceTooLarge: {422, 1102}, inventory.InvalidPeriod: {422, 1102}, inventory.PeriodTooLong: {422, 1102},
		inventory.BatchEmpty: {422, 1102}, inventory.BatchTooLarge: {422, 1102},
	} {
		status, errorCode := code.V2()
		require.Equal(t, want, [2]int{status, errorCode}, code)
	}
}
