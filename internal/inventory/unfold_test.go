package inventory_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

type catalog map[string]inventory.Item

func (c catalog) lookup(sku string) (inventory.Item, bool) {
	item, ok := c[sku]
	return item, ok
}

func bundle(content ...inventory.Content) inventory.Item {
	return inventory.Item{Kind: inventory.Bundle, Content: content}
}

var month = subscriptions.Period{Unit: subscriptions.Month, Value: 1}

func items() catalog {
	return catalog{
		"potion": {Kind: inventory.Consumable},
		"sword":  {Kind: inventory.NonConsumable},
		"gold":   {Kind: inventory.VirtualCurrency},
		"pass":   {Kind: inventory.NonRenewingSubscription, Period: month},
		"key":    {Kind: inventory.GameKey},
		"purse":  bundle(inventory.Content{SKU: "gold", Quantity: 100}),
		"starter": bundle(inventory.Content{
			SKU:      "sword",
			Quantity: 1,
		}, inventory.Content{SKU: "purse", Quantity: 3}, inventory.Content{SKU: "pass", Quantity: 1}),
		"big": bundle(inventory.Content{
			SKU:      "starter",
			Quantity: 2,
		}, inventory.Content{SKU: "gold", Quantity: 5}, inventory.Content{SKU: "potion", Quantity: 7},
			inventory.Content{SKU: "potion", Quantity: 1}, inventory.Content{SKU: "key", Quantity: 1}),
		"empty":      bundle(),
		"of empty":   bundle(inventory.Content{SKU: "empty", Quantity: 1}),
		"self":       bundle(inventory.Content{SKU: "potion", Quantity: 1}, inventory.Content{SKU: "self", Quantity: 1}),
		"ring a":     bundle(inventory.Content{SKU: "ring b", Quantity: 1}),
		"ring b":     bundle(inventory.Content{SKU: "ring c", Quantity: 1}),
		"ring c":     bundle(inventory.Content{SKU: "ring a", Quantity: 1}),
		"of unknown": bundle(inventory.Content{SKU: "nothing", Quantity: 1}),
		"of none":    bundle(inventory.Content{SKU: "gold", Quantity: 0}),
		"huge":       bundle(inventory.Content{SKU: "gold", Quantity: inventory.MaxQuantity}),
		"two huge":   bundle(inventory.Content{SKU: "huge", Quantity: 1}, inventory.Content{SKU: "gold", Quantity: 1}),
		"odd":        {Kind: "physical_good"},
		"no period":  {Kind: inventory.NonRenewingSubscription},
	}
}

func TestUnfold(t *testing.T) {
	t.Parallel()
	grants, err := inventory.Unfold([]inventory.Line{{ID: "41:1", SKU: "big", Quantity: 2}, {ID: "41:2", SKU: "gold", Quantity: 9}, {ID: "41:3", SKU: "pass", Quantity: 3}}, items().lookup)
	require.NoError(t, err)
	require.Equal(t, []inventory.Grant{
		{ID: "41:1/sword", LineID: "41:1", SKU: "sword", Kind: inventory.NonConsumable, Quantity: 4},
		{ID: "41:1/gold", LineID: "41:1", SKU: "gold", Kind: inventory.VirtualCurrency, Quantity: 1210},
		{ID: "41:1/pass", LineID: "41:1", SKU: "pass", Kind: inventory.NonRenewingSubscription, Quantity: 4, Period: month},
		{ID: "41:1/potion", LineID: "41:1", SKU: "potion", Kind: inventory.Consumable, Quantity: 16},
		{ID: "41:1/key", LineID: "41:1", SKU: "key", Kind: inventory.GameKey, Quantity: 2},
		{ID: "41:2/gold", LineID: "41:2", SKU: "gold", Kind: inventory.VirtualCurrency, Quantity: 9},
		{ID: "41:3/pass", LineID: "41:3", SKU: "pass", Kind: inventory.NonRenewingSubscription, Quantity: 3, Period: month},
	}, grants)
	none, err := inventory.Unfold(nil, items().lookup)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestUnfoldRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sku      string
		quantity int64
		err      error
	}{
		"most":                           {"gold", inventory.MaxQuantity, nil},
		"more than most":                 {"gold", inventory.MaxQuantity + 1, inventory.ErrQuantityOutOfRange},
		"most of a bundle":               {"purse", inventory.MaxQuantity / 100, nil},
		"more than most of a bundle":     {"purse", inventory.MaxQuantity/100 + 1, inventory.ErrQuantityOutOfRange},
		"overflow":                       {"purse", math.MaxInt64, inventory.ErrQuantityOutOfRange},
		"zero":                           {"gold", 0, inventory.ErrQuantityOutOfRange},
		"negative":                       {"purse", -1, inventory.ErrQuantityOutOfRange},
		"content of zero":                {"of none", 1, inventory.ErrQuantityOutOfRange},
		"the sum is too large":           {"two huge", 1, inventory.ErrQuantityOutOfRange},
		"unknown":                        {"nothing", 1, inventory.ErrUnknownItem},
		"unknown content":                {"of unknown", 1, inventory.ErrUnknownItem},
		"unknown kind":                   {"odd", 1, inventory.ErrUnknownKind},
		"empty bundle":                   {"empty", 1, inventory.ErrEmptyBundle},
		"bundle of an empty one":         {"of empty", 1, inventory.ErrEmptyBundle},
		"contains itself":                {"self", 1, inventory.ErrBundleContainsItself},
		"contains itself through others": {"ring b", 1, inventory.ErrBundleContainsItself},
		"subscription without period":    {"no period", 1, subscriptions.ErrInvalidPeriod},
		"100 years":                      {"pass", 1200, nil},
		"more than 100 years":            {"pass", 1201, subscriptions.ErrTooLong},
		"more than 100 years in bundles": {"starter", 1201, subscriptions.ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			grants, err := inventory.Unfold([]inventory.Line{{ID: "1", SKU: test.sku, Quantity: test.quantity}}, items().lookup)
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.err != nil, grants == nil)
		})
	}
	_, err := inventory.Unfold([]inventory.Line{{ID: "1", SKU: "gold", Quantity: 1}, {ID: "1", SKU: "potion", Quantity: 1}}, items().lookup)
	require.ErrorIs(t, err, inventory.ErrRepeatedLine)
}

// chain is bundles within each other, depth of them, around one potion.
func chain(depth int) catalog {
	c := catalog{"0": {Kind: inventory.Consumable}}
	for i := 1; i <= depth; i++ {
		c[fmt.Sprint(i)] = bundle(inventory.Content{SKU: fmt.Sprint(i - 1), Quantity: 2})
	}
	return c
}

func TestUnfoldIsBounded(t *testing.T) {
	t.Parallel()
	deepest := chain(inventory.MaxDepth + 1)
	grants, err := inventory.Unfold([]inventory.Line{{ID: "1", SKU: fmt.Sprint(inventory.MaxDepth), Quantity: 1}}, deepest.lookup)
	require.NoError(t, err)
	require.EqualValues(t, 1<<inventory.MaxDepth, grants[0].Quantity)
	_, err = inventory.Unfold([]inventory.Line{{ID: "1", SKU: fmt.Sprint(inventory.MaxDepth + 1), Quantity: 1}}, deepest.lookup)
	require.ErrorIs(t, err, inventory.ErrTooDeep)

	// Each holds the one below ten times: 10^7 potions in 7 bundles are too much to look at.
	wide := catalog{"0": {Kind: inventory.Consumable}}
	for i := 1; i <= 7; i++ {
		var content []inventory.Content
		for range 10 {
			content = append(content, inventory.Content{SKU: fmt.Sprint(i - 1), Quantity: 1})
		}
		wide[fmt.Sprint(i)] = bundle(content...)
	}
	_, err = inventory.Unfold([]inventory.Line{{ID: "1", SKU: "7", Quantity: 1}}, wide.lookup)
	require.ErrorIs(t, err, inventory.ErrTooManyGrants)
	grants, err = inventory.Unfold([]inventory.Line{{ID: "1", SKU: "3", Quantity: 1}}, wide.lookup)
	require.NoError(t, err)
	require.EqualValues(t, 1000, grants[0].Quantity)

	var lines []inventory.Line
	for i := range inventory.MaxGrants {
		lines = append(lines, inventory.Line{ID: fmt.Sprint(i), SKU: "0", Quantity: 1})
	}
	grants, err = inventory.Unfold(lines, wide.lookup)
	require.NoError(t, err)
	require.Len(t, grants, inventory.MaxGrants)
	_, err = inventory.Unfold(append(lines, inventory.Line{ID: "one more", SKU: "0", Quantity: 1}), wide.lookup)
	require.ErrorIs(t, err, inventory.ErrTooManyGrants)
}

// What is given is what the naive expansion, piece by piece, gives; ids are unique and the same on every
// attempt, also when the content of a bundle was put into another order.
func TestUnfoldGivesEachPieceOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := catalog{}
		leaves := rapid.IntRange(1, 4).Draw(t, "leaves")
		for i := range leaves {
			c[fmt.Sprint("leaf", i)] = inventory.Item{Kind: inventory.Consumable}
		}
		below := leaves
		skus := []string{"leaf0", "leaf1", "leaf2", "leaf3"}[:leaves]
		for i := range rapid.IntRange(0, 4).Draw(t, "bundles") {
			var content []inventory.Content
			for range rapid.IntRange(1, 3).Draw(t, "size") {
				content = append(content, inventory.Content{
					SKU:      skus[rapid.IntRange(0, below-1).Draw(t, "sku")],
					Quantity: rapid.Int64Range(1, 3).Draw(t, "quantity"),
				})
			}
			skus, below = append(skus, fmt.Sprint("bundle", i)), below+1
			c[skus[below-1]] = bundle(content...)
		}
		var lines []inventory.Line
		pieces := map[string]int64{} // by line and SKU
		var open func(line, sku string)
		open = func(line, sku string) {
			if c[sku].Kind != inventory.Bundle {
				pieces[line+"/"+sku]++
			}
			for _, position := range c[sku].Content {
				for range position.Quantity {
					open(line, position.SKU)
				}
			}
		}
		for i := range rapid.IntRange(1, 3).Draw(t, "lines") {
			line := inventory.Line{
				ID:       fmt.Sprint("line", i),
				SKU:      rapid.SampledFrom(skus).Draw(t, "bought"),
				Quantity: rapid.Int64Range(1, 3).Draw(t, "times"),
			}
			lines = append(lines, line)
			for range line.Quantity {
				open(line.ID, line.SKU)
			}
		}
		grants, err := inventory.Unfold(lines, c.lookup)
		require.NoError(t, err)
		given := map[string]int64{}
		for _, grant := range grants {
			require.NotContains(t, given, grant.ID)
			require.Equal(t, grant.LineID+"/"+grant.SKU, grant.ID)
			given[grant.ID] = grant.Quantity
		}
		require.Equal(t, pieces, given)

		for _, sku := range skus {
			item := c[sku]
			item.Content = append([]inventory.Content(nil), item.Content...)
			for i := range item.Content {
				j := rapid.IntRange(i, len(item.Content)-1).Draw(t, "swap")
				item.Content[i], item.Content[j] = item.Content[j], item.Content[i]
			}
			c[sku] = item
		}
		again, err := inventory.Unfold(lines, c.lookup)
		require.NoError(t, err)
		require.ElementsMatch(t, grants, again)
	})
}
