package checkout_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
)

func TestLinesOfACart(t *testing.T) {
	t.Parallel()
	lines, refusal := checkout.Fill(nil, []checkout.LineRequest{want("a", 1), want("b", 2), want("a", 3)})
	require.Nil(t, refusal)
	require.Equal(t, []checkout.LineRequest{want("a", 3), want("b", 2)}, lines)
	filled, refusal := checkout.Fill(lines, []checkout.LineRequest{want("b", 5), want("c", 1)})
	require.Nil(t, refusal)
	require.Equal(t, []checkout.LineRequest{want("a", 3), want("b", 5), want("c", 1)}, filled)
	require.Equal(t, []checkout.LineRequest{want("a", 3), want("b", 2)}, lines, "the lines given are not touched")

	set, refusal := checkout.Set(filled, "a", 0)
	require.Nil(t, refusal)
	require.Equal(t, []checkout.LineRequest{want("b", 5), want("c", 1)}, set)
	set, refusal = checkout.Set(set, "a", 0)
	require.Nil(t, refusal)
	require.Len(t, set, 2)
	set, refusal = checkout.Delete(set, "b")
	require.Nil(t, refusal)
	require.Equal(t, []checkout.LineRequest{want("c", 1)}, set)
	_, refusal = checkout.Delete(set, "b")
	require.Equal(t, checkout.ItemNotFound, refusal.Code)
	_, refusal = checkout.Fill(set, nil)
	require.Equal(t, checkout.InvalidField, refusal.Code)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	require.Equal(t, []checkout.LineRequest{{SKU: "a", Quantity: 5}, {SKU: "b", Quantity: 1}},
		checkout.Merge([]checkout.LineRequest{{SKU: "a", Quantity: 2}, {SKU: "b", Quantity: 1}, {SKU: "a", Quantity: 3}}))
	require.Empty(t, checkout.Merge(nil))
}

func TestBoundsOfACart(t *testing.T) {
	t.Parallel()
	for quantity, ok := range map[int64]bool{-1: false, 0: true, 1: true, 1_000_000: true, 1_000_001: false, 9_223_372_036_854_775_807: false, -9_223_372_036_854_775_808: false} {
		_, refusal := checkout.Set(nil, "a", quantity)
		if ok {
			require.Nil(t, refusal, quantity)
			continue
		}
		require.Equal(t, checkout.InvalidField, refusal.Code, quantity)
		require.Equal(t, "quantity", refusal.Details[0].Property)
	}
	var lines []checkout.LineRequest
	for i := range checkout.MaxLines {
		var refusal *checkout.Refusal
		lines, refusal = checkout.Set(lines, fmt.Sprint(i), 1)
		require.Nil(t, refusal)
	}
	_, refusal := checkout.Set(lines, "one more", 1)
	require.Equal(t, checkout.TooManyItems, refusal.Code)
	lines, refusal = checkout.Set(lines, "7", 2)
	require.Nil(t, refusal, "a line that is there")
	_, refusal = checkout.Fill(lines, []checkout.LineRequest{want("0", 0), want("one more", 1)})
	require.Nil(t, refusal, "in place of another")
}

// The seeds' cart of 123 guns, whose sums the seeds' sample gets wrong.
func TestSeedsCart(t *testing.T) {
	t.Parallel()
	cart, warnings := checkout.PriceCart(shop(), view, []checkout.LineRequest{want("gun_1", 123)})
	require.Empty(t, warnings)
	shown := checkout.ShowCart(shop(), view, "custom_id", cart, nil)
	total, err := json.Marshal(shown.Price)
	require.NoError(t, err)
	require.JSONEq(t, `{"amount":"122.3850","amount_without_discount":"244.7700","currency":"USD"}`, string(total))
	unit, err := json.Marshal(shown.Items[0].Price)
	require.NoError(t, err)
	require.JSONEq(t, `{"amount":"0.9950","amount_without_discount":"1.9900","currency":"USD"}`, string(unit))
	require.Equal(t, int64(123), shown.Items[0].Quantity)

	empty, err := json.Marshal(checkout.ShowCart(shop(), view, "custom_id", checkout.Cart{Free: true}, nil))
	require.NoError(t, err)
	require.JSONEq(t, `{"cart_id":"custom_id","is_free":true,"items":[],"price":null,"promotions":[]}`, string(empty))
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wanted   checkout.LineRequest
		usage    catalog.Usage
		currency string
		code     checkout.Code // 0: accepted
	}{
		"accepted":                   {wanted: want("gun_1", 1)},
		"free":                       {wanted: want("free", 1)},
		"unknown":                    {wanted: want("gone", 1), code: 4001},
		"draft":                      {wanted: want("draft", 1), code: 4001},
		"game":                       {wanted: want("game", 1), code: 1421},
		"not in its period":          {wanted: want("over", 1), code: 1455},
		"no price in the currency":   {wanted: want("gun_1", 1), currency: "GBP", code: 1455},
		"owned":                      {wanted: want("skin", 1), usage: catalog.Usage{Owned: true}, code: 1468},
		"two of what is owned once":  {wanted: want("skin", 2), code: 1468},
		"within the limit":           {wanted: want("three", 1), usage: catalog.Usage{ByUser: 2}},
		"beyond the limit":           {wanted: want("three", 2), usage: catalog.Usage{ByUser: 2}, code: 1000},
		"beyond the limit for today": {wanted: want("daily", 2), usage: catalog.Usage{ByUser: 2}, code: 1460},
		"sold out":                   {wanted: want("ten", 1), usage: catalog.Usage{Sold: 10}, code: 1455},
		"not so many left":           {wanted: want("ten", 2), usage: catalog.Usage{Sold: 4, Reserved: 5}, code: 1459},
		"no keys":                    {wanted: want("key", 1), code: 1455},
		"not so many keys":           {wanted: want("key", 2), usage: catalog.Usage{Keys: 1}, code: 1424},
		"keys":                       {wanted: want("key", 2), usage: catalog.Usage{Keys: 2}},
		"longer than can be given":   {wanted: want("pass", 1201), code: 1459},
		"the largest total":          {wanted: want("dear", 1000)},
		"a total that is too large":  {wanted: want("dear", 1001), code: 1459},
		"quantity 0":                 {wanted: want("gun_1", 0), code: 1102},
		"a negative quantity":        {wanted: want("gun_1", -1), code: 1102},
		"a huge quantity":            {wanted: want("gun_1", 9_223_372_036_854_775_807), code: 1102},
		"too large a bonus":          {wanted: want("hoard", 1_000_000), code: 1459},
	} {
		hoard := with(good("hoard", catalog.Consumable, usd("0.01")), func(i *catalog.Item) {
			i.Promotions = []catalog.Promotion{{ID: "x", Bonus: []catalog.Content{{SKU: "gold", Quantity: 1001}}}}
		})
		looking := using(map[string]catalog.Usage{test.wanted.SKU: test.usage})
		looking.Currency = test.currency
		cart, warnings := checkout.PriceCart(shop(hoard), looking, []checkout.LineRequest{test.wanted})
		if test.code == 0 {
			require.Empty(t, warnings, name)
			require.Len(t, cart.Lines, 1, name)
			continue
		}
		require.Empty(t, cart.Lines, name)
		require.Len(t, warnings, 1, name)
		require.Equal(t, test.wanted, checkout.LineRequest{SKU: warnings[0].SKU, Quantity: warnings[0].Quantity}, name)
		require.Equal(t, test.code, warnings[0].ErrorCode, name)
		require.Contains(t, warnings[0].ErrorMessage, fmt.Sprintf("[0401-%d]: ", test.code), name)
	}
}

// Lines are not judged one by one: together they must not take more than there is.
func TestLinesShareWhatThereIs(t *testing.T) {
	t.Parallel()
	cart, warnings := checkout.PriceCart(shop(), using(map[string]catalog.Usage{"key": {Keys: 2}}), []checkout.LineRequest{want("chest", 1), want("key", 2)})
	require.Len(t, cart.Lines, 1)
	require.Equal(t, checkout.TooManyKeys, warnings[0].ErrorCode)
	set := with(good("set", "", usd("9")), func(i *catalog.Item) {
		i.Type, i.BundleType, i.Content = catalog.Bundle, catalog.StandardBundle, []catalog.Content{{SKU: "skin", Quantity: 1}}
	})
	_, warnings = checkout.PriceCart(shop(set), view, []checkout.LineRequest{want("set", 1), want("skin", 1)})
	require.Equal(t, checkout.AlreadyOwned, warnings[0].ErrorCode)
	_, warnings = checkout.PriceCart(shop(), view, []checkout.LineRequest{want("dear", 999), want("gun_1", 1)})
	require.Empty(t, warnings)
	_, warnings = checkout.PriceCart(shop(), view, []checkout.LineRequest{want("dear", 1000), want("gun_1", 1)})
	require.Equal(t, checkout.TooManyItems, warnings[0].ErrorCode)
}

func TestACartHasOneCurrency(t *testing.T) {
	t.Parallel()
	cart, warnings := checkout.PriceCart(shop(), view, []checkout.LineRequest{want("free", 1), want("euro", 2), want("gun_1", 1)})
	require.Equal(t, "EUR", cart.Price.Currency)
	require.Len(t, cart.Lines, 2)
	require.Equal(t, "gun_1", warnings[0].SKU)
	require.Equal(t, checkout.ItemUnavailable, warnings[0].ErrorCode)
}

func TestFreeCarts(t *testing.T) {
	t.Parallel()
	whole := with(good("gift", catalog.Consumable, usd("3")), func(i *catalog.Item) { i.Promotions = percentOff("100") })
	for name, wanted := range map[string][]checkout.LineRequest{"empty": nil, "free": {want("free", 2)}, "a full discount": {want("gift", 2), want("free", 1)}} {
		cart, warnings := checkout.PriceCart(shop(whole), view, wanted)
		require.Empty(t, warnings, name)
		require.True(t, cart.Free, name)
		require.Nil(t, cart.Price, name)
		for _, line := range cart.Lines {
			require.True(t, line.IsFree(), name)
		}
	}
	cart, _ := checkout.PriceCart(shop(whole), view, []checkout.LineRequest{want("gift", 2), want("gun_1", 1)})
	require.False(t, cart.Free)
	require.Equal(t, "0.995", cart.Price.Amount.String())
	require.Equal(t, "7.99", cart.Price.WithoutDiscount.String())
}

func TestBonusLines(t *testing.T) {
	t.Parallel()
	bonuses := func(view catalog.View, wanted ...checkout.LineRequest) map[string]int64 {
		cart, warnings := checkout.PriceCart(shop(), view, wanted)
		require.Empty(t, warnings)
		found := map[string]int64{}
		for _, line := range cart.Lines {
			if line.IsBonus {
				require.True(t, line.IsFree())
				require.Nil(t, line.Unit)
				found[line.Item.SKU] = line.Quantity
			}
		}
		return found
	}
	gives := want("gives", 3)
	require.Equal(t, map[string]int64{"gold": 30, "skin": 1, "key": 3}, bonuses(using(map[string]catalog.Usage{"key": {Keys: 3}}), gives))
	require.Equal(t, map[string]int64{"gold": 30, "skin": 1}, bonuses(using(map[string]catalog.Usage{"key": {Keys: 2}}), gives), "no keys left")
	require.Equal(t, map[string]int64{"gold": 30}, bonuses(using(map[string]catalog.Usage{"skin": {Owned: true}}), gives), "owned")
	require.Equal(t, map[string]int64{"gold": 30}, bonuses(view, gives, want("skin", 1)), "bought in the same cart")
	require.Empty(t, bonuses(using(map[string]catalog.Usage{"gives": {Promotions: map[string]int64{"gift": 1}}}), gives), "used up")
}

// The sum of the lines is the total, in both forms and to the last decimal.
func TestTotals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var items []catalog.Item
		var wanted []checkout.LineRequest
		for i := range rapid.IntRange(0, 8).Draw(t, "lines") {
			sku := fmt.Sprint("item", i)
			price := dec("1").Mul(dec(rapid.StringMatching(`[1-9][0-9]{0,9}`).Draw(t, "price"))).Shift(-4)
			item := good(sku, catalog.Consumable, []catalog.Price{{Amount: price, Currency: "USD", IsDefault: true}})
			if rapid.Bool().Draw(t, "discounted") {
				item.Promotions = percentOff(rapid.SampledFrom([]string{"0.01", "33.33", "50", "99.99", "100"}).Draw(t, "percent"))
			}
			items = append(items, item)
			wanted = append(wanted, want(sku, rapid.Int64Range(1, 1_000_000).Draw(t, "quantity")))
		}
		cart, _ := checkout.PriceCart(shop(items...), view, wanted)
		amount, without := dec("0"), dec("0")
		for _, line := range cart.Lines {
			if line.Unit.Amount.IsNegative() || line.Unit.Amount.GreaterThan(line.Unit.WithoutDiscount) {
				t.Fatalf("%v", line.Unit)
			}
			quantity := dec(fmt.Sprint(line.Quantity))
			amount, without = amount.Add(line.Unit.Amount.Mul(quantity)), without.Add(line.Unit.WithoutDiscount.Mul(quantity))
		}
		switch {
		case amount.IsZero() != (cart.Price == nil) || cart.Free != (cart.Price == nil):
			t.Fatalf("%v, and the lines come to %s", cart, amount)
		case cart.Price != nil && (!cart.Price.Amount.Equal(amount) || !cart.Price.WithoutDiscount.Equal(without) || without.GreaterThan(catalog.MaxAmount)):
			t.Fatalf("%v, and the lines come to %s and %s", cart.Price, amount, without)
		}
	})
}

func TestPriceInAVirtualCurrency(t *testing.T) {
	t.Parallel()
	cart, refusal := checkout.PriceItemVirtual(shop(), view, want("pass", 3), "coins")
	require.Nil(t, refusal)
	require.Equal(t, &catalog.VirtualQuote{SKU: "coins", Amount: 2700, WithoutDiscount: 2700}, cart.Virtual)
	require.Nil(t, cart.Price)
	require.False(t, cart.Free)
	require.Nil(t, checkout.DecideOrder(checkout.VirtualItem, cart, nil, nil))
	for name, test := range map[string]struct {
		wanted   checkout.LineRequest
		currency string
		code     checkout.Code
	}{
		"unknown":              {want("gone", 1), "coins", 4001},
		"not for this":         {want("pass", 1), "gold", 1411},
		"free":                 {want("free", 1), "coins", 1411},
		"too much":             {want("dear", 2), "coins", 1459},
		"quantity 0":           {want("pass", 0), "coins", 1102},
		"too large a quantity": {want("pass", 1_000_001), "coins", 1102},
	} {
		_, refusal := checkout.PriceItemVirtual(shop(), view, test.wanted, test.currency)
		require.Equal(t, test.code, refusal.Code, name)
	}
}

func TestPriceChanges(t *testing.T) {
	t.Parallel()
	priced := func(items ...catalog.Item) checkout.Cart {
		cart, warnings := checkout.PriceCart(shop(items...), view, []checkout.LineRequest{want("gun_1", 2), want("pass", 1), want("gives", 1), want("free", 1)})
		require.Empty(t, warnings)
		return cart
	}
	then := checkout.ShownOf(priced())
	require.Empty(t, checkout.PriceChanges(then, priced()))
	changes := checkout.PriceChanges(then, priced(
		good("gun_1", catalog.Consumable, usd("1.99")), // the discount is over
		good("pass", catalog.Consumable, usd("9.00")),  // the same in other figures
		good("gives", catalog.Consumable, nil), good("free", catalog.Consumable, usd("1"))))
	require.Len(t, changes, 3)
	require.Equal(t, []string{"gun_1", "gives", "free"}, []string{changes[0].SKU, changes[1].SKU, changes[2].SKU})
	require.Equal(t, []string{"0.995", "1.99"}, []string{changes[0].Then.Amount.String(), changes[0].Now.Amount.String()})
	require.Nil(t, changes[1].Now)
	require.Nil(t, changes[2].Then)
	delete(then, "gun_1")
	require.Empty(t, checkout.PriceChanges(then, priced(good("gun_1", catalog.Consumable, usd("7")))), "never shown with a price")
}

// Whatever is priced anew: a line is listed if and only if it costs another amount.
func TestEveryPriceChangeIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (checkout.Cart, map[string]string) {
			var items []catalog.Item
			var wanted []checkout.LineRequest
			prices := map[string]string{}
			for _, sku := range []string{"a", "b", "c"} {
				if rapid.Bool().Draw(t, name+" has "+sku) {
					prices[sku] = rapid.SampledFrom([]string{"1.00", "2.00", "1.0001"}).Draw(t, name+" "+sku)
					items, wanted = append(items, good(sku, catalog.Consumable, usd(prices[sku]))), append(wanted, want(sku, 1))
				}
			}
			cart, _ := checkout.PriceCart(shop(items...), view, wanted)
			return cart, prices
		}
		then, thenPrices := draw("then")
		now, nowPrices := draw("now")
		changed := map[string]bool{}
		for _, change := range checkout.PriceChanges(checkout.ShownOf(then), now) {
			changed[change.SKU] = true
		}
		for _, sku := range []string{"a", "b", "c"} {
			before, had := thenPrices[sku]
			after, has := nowPrices[sku]
			if changed[sku] != (had && has && before != after) {
				t.Fatalf("%s: %q, then %q: %v", sku, before, after, changed)
			}
		}
	})
}
