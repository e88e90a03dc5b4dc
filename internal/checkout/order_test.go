package checkout_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Every pair: what is not named must not happen.
func TestMovesOfAnOrder(t *testing.T) {
	t.Parallel()
	all := []checkout.OrderStatus{checkout.New, checkout.Paid, checkout.Done, checkout.Canceled, checkout.Expired}
	allowed := [][2]checkout.OrderStatus{{"new", "paid"}, {"new", "canceled"}, {"new", "expired"}, {"paid", "done"}, {"paid", "canceled"}, {"done", "canceled"}}
	for _, from := range all {
		for _, to := range all {
			require.Equal(t, slices.Contains(allowed, [2]checkout.OrderStatus{from, to}), from.CanBecome(to), "%s -> %s", from, to)
		}
		require.Equal(t, from == checkout.Done || from == checkout.Canceled || from == checkout.Expired, from.Terminal(), from)
	}
}

func TestDecideOrder(t *testing.T) {
	t.Parallel()
	cartOf := func(skus ...string) (checkout.Cart, []checkout.Warning) {
		var wanted []checkout.LineRequest
		for _, sku := range skus {
			wanted = append(wanted, want(sku, 1))
		}
		return checkout.PriceCart(shop(), using(map[string]catalog.Usage{"skin": {Owned: true}}), wanted)
	}
	for _, test := range []struct {
		form checkout.Form
		skus []string
		code checkout.Code // 0: an order is made
	}{
		{checkout.PaidCart, []string{"gun_1"}, 0},
		{checkout.PaidCart, []string{"gun_1", "free"}, 0},
		{checkout.PaidCart, []string{"free"}, 1401},
		{checkout.PaidCart, nil, 1401},
		{checkout.PaidCart, []string{"gun_1", "gone"}, 1401},
		{checkout.PaidCart, []string{"gone"}, 1401},
		{checkout.PaidCart, []string{"gun_1", "over"}, 1455},
		{checkout.PaidCart, []string{"gun_1", "skin"}, 1468},
		{checkout.PaidCart, []string{"skin", "over"}, 1401},
		{checkout.FreeCart, []string{"free"}, 0},
		{checkout.FreeCart, []string{"free", "gun_1"}, 1401},
		{checkout.FreeCart, nil, 1401},
		{checkout.PaidItem, []string{"gun_1"}, 0},
		{checkout.PaidItem, []string{"free"}, 1411},
		{checkout.PaidItem, []string{"gone"}, 4001},
		{checkout.PaidItem, []string{"game"}, 1421},
		{checkout.FreeItem, []string{"free"}, 0},
		{checkout.FreeItem, []string{"gun_1"}, 1411},
		{checkout.ServerToken, []string{"gun_1"}, 0},
		{checkout.ServerToken, []string{"gun_1", "free"}, 1421},
		{checkout.ServerToken, nil, 1417},
	} {
		cart, warnings := cartOf(test.skus...)
		refusal := checkout.DecideOrder(test.form, cart, warnings, nil)
		if test.code == 0 {
			require.Nil(t, refusal, "%+v", test)
			continue
		}
		require.Equal(t, test.code, refusal.Code, "%+v", test)
		require.Len(t, refusal.Details, len(warnings), "%+v", test)
	}
	giving, warnings := cartOf("gives")
	require.Nil(t, checkout.DecideOrder(checkout.ServerToken, giving, warnings, nil), "a bonus is free and no obstacle")
}

// A cart that has become free is told apart from one that was free when it was shown.
func TestCartThatBecameFree(t *testing.T) {
	t.Parallel()
	priced := func(price *catalog.Quote) checkout.Cart {
		return checkout.Cart{
			Lines: []checkout.Line{{Item: catalog.Item{SKU: "gun_1"}, Quantity: 1, Unit: price}},
			Free:  price == nil || price.Amount.IsZero(),
		}
	}
	quote := func(amount string) *catalog.Quote {
		return &catalog.Quote{Amount: decimal.RequireFromString(amount), WithoutDiscount: decimal.NewFromInt(2), Currency: "USD"}
	}
	for name, test := range map[string]struct {
		then, now *catalog.Quote
		code      checkout.Code
	}{
		"its price was removed":  {quote("1.99"), nil, 1456},
		"it is discounted to 0":  {quote("1.99"), quote("0"), 1456},
		"free in another way":    {nil, quote("0"), 1401},
		"free as it was shown":   {quote("0"), quote("0"), 1401},
		"it costs another price": {quote("1.99"), quote("0.99"), 0},
	} {
		now := priced(test.now)
		refusal := checkout.DecideOrder(checkout.PaidCart, now, nil, checkout.PriceChanges(checkout.ShownOf(priced(test.then)), now))
		if test.code == 0 {
			require.Nil(t, refusal, name)
			continue
		}
		require.Equal(t, test.code, refusal.Code, name)
	}
}

func freeze(t *testing.T, c *catalog.Catalog, v catalog.View, wanted ...checkout.LineRequest) []checkout.OrderLine {
	t.Helper()
	cart, warnings := checkout.PriceCart(c, v, wanted)
	require.Empty(t, warnings)
	lines, refusal := checkout.Freeze(c, cart, v)
	require.Nil(t, refusal)
	return lines
}

func TestFrozenLines(t *testing.T) {
	t.Parallel()
	v := using(map[string]catalog.Usage{"key": {Keys: 5}})
	v.Locale = "de"
	lines := freeze(t, shop(), v, want("pass", 2), want("chest", 1), want("gives", 1), want("free", 3))
	month := &subscriptions.Period{Unit: subscriptions.Month, Value: 1}
	require.Len(t, lines, 7)
	require.Equal(t, checkout.OrderLine{
		LineID:          "1",
		SKU:             "pass",
		Name:            "pass-de",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.NonRenewingSubscription,
		Quantity:        2,
		Price:           &catalog.Quote{Amount: dec("9"), WithoutDiscount: dec("9"), Currency: "USD"},
		Period:          month,
	}, lines[0])
	require.Equal(t, []checkout.Part{
		{SKU: "pass", Name: "pass-de", Type: catalog.VirtualGood, VirtualItemType: catalog.NonRenewingSubscription, Quantity: 2, Period: month},
		{SKU: "pouch", Name: "Pouch", Type: catalog.Bundle, Quantity: 3, Content: []checkout.Part{{SKU: "gold", Name: "Gold", Type: catalog.VirtualCurrency, Quantity: 100}}},
		{SKU: "key", Name: "Key", Type: catalog.GameKey, Quantity: 1},
	}, lines[1].Content)
	require.Equal(t, []string{"gift"}, lines[2].Promotions)
	require.Equal(t, []bool{true, false}, []bool{lines[3].IsFree, lines[3].IsBonus})
	for _, line := range lines[4:] {
		require.True(t, line.IsFree && line.IsBonus && line.Price == nil && line.Promotions == nil, line.SKU)
	}

	text, err := json.Marshal(lines)
	require.NoError(t, err)
	var back []checkout.OrderLine
	require.NoError(t, json.Unmarshal(text, &back))
	again, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again))
	require.Equal(t, lines[1].Content, back[1].Content)
}

// What the order gives is what was frozen, each line apart.
func TestGrants(t *testing.T) {
	t.Parallel()
	lines := freeze(t, shop(), using(map[string]catalog.Usage{"key": {Keys: 5}}), want("pass", 1), want("chest", 2))
	grants, err := checkout.Grants(lines)
	require.NoError(t, err)
	month := subscriptions.Period{Unit: subscriptions.Month, Value: 1}
	require.Equal(t, []inventory.Grant{
		{ID: "1/pass", LineID: "1", SKU: "pass", Kind: inventory.NonRenewingSubscription, Quantity: 1, Period: month},
		{ID: "2/pass", LineID: "2", SKU: "pass", Kind: inventory.NonRenewingSubscription, Quantity: 4, Period: month},
		{ID: "2/gold", LineID: "2", SKU: "gold", Kind: inventory.VirtualCurrency, Quantity: 600},
		{ID: "2/key", LineID: "2", SKU: "key", Kind: inventory.GameKey, Quantity: 2},
	}, grants)
}

func TestAnOrderThatCannotBeDeliveredIsRefused(t *testing.T) {
	t.Parallel()
	circle := with(good("circle", "", usd("1")), func(i *catalog.Item) {
		i.Type, i.BundleType, i.Content = catalog.Bundle, catalog.StandardBundle, []catalog.Content{{SKU: "circle", Quantity: 1}}
	})
	c := shop(circle)
	_, warnings := checkout.PriceCart(c, view, []checkout.LineRequest{want("circle", 1)})
	require.Equal(t, checkout.ItemUnavailable, warnings[0].ErrorCode)
	_, refusal := checkout.Freeze(c, checkout.Cart{Lines: []checkout.Line{{Item: circle, Quantity: 1}}}, view)
	require.Equal(t, checkout.InvalidCart, refusal.Code)
}

// The seeds' order, whose sums the seeds' sample gets wrong.
func TestSeedsOrder(t *testing.T) {
	t.Parallel()
	cart, _ := checkout.PriceCart(shop(), view, []checkout.LineRequest{want("gun_1", 123)})
	lines, refusal := checkout.Freeze(shop(), cart, view)
	require.Nil(t, refusal)
	shown, err := json.Marshal(checkout.ShowOrder(checkout.Order{OrderID: 656, Status: checkout.New, Price: cart.Price, Lines: lines}))
	require.NoError(t, err)
	require.JSONEq(t, `{"order_id":656,"status":"new","content":{"is_free":false,"price":{"amount":"122.3850","amount_without_discount":"244.7700","currency":"USD"},
		"virtual_price":null,"items":[{"sku":"gun_1","quantity":123,"is_free":false,"is_bonus":false,
			"price":{"amount":"0.9950","amount_without_discount":"1.9900","currency":"USD"}}]}}`, string(shown))

	cart, refusal = checkout.PriceItemVirtual(shop(), view, want("pass", 2), "coins")
	require.Nil(t, refusal)
	lines, refusal = checkout.Freeze(shop(), cart, view)
	require.Nil(t, refusal)
	shown, err = json.Marshal(checkout.ShowOrder(checkout.Order{OrderID: 657, Status: checkout.Done, Virtual: cart.Virtual, Lines: lines}))
	require.NoError(t, err)
	require.JSONEq(t, `{"order_id":657,"status":"done","content":{"is_free":false,"price":null,"virtual_price":{"amount":"1800","amount_without_discount":"1800","currency":"coins"},
		"items":[{"sku":"pass","quantity":2,"is_free":false,"is_bonus":false,"price":null,"virtual_price":{"amount":"900","amount_without_discount":"900","currency":"coins"}}]}}`, string(shown))
}

// The table of codes that clients know.
func TestCodes(t *testing.T) {
	t.Parallel()
	for status, codes := range map[int][]checkout.Code{
		401: {1020, 1501, 1013},
		403: {0},
		404: {4001, 4403, 5008, 9001, 9802},
		422: {1102, 1401, 1417, 1411, 1421, 1424, 1459, 1455, 1456, 1468, 1000, 1460, 5002, 5006},
	} {
		for _, code := range codes {
			require.Equal(t, status, code.Status(), code)
		}
	}
	refusal := checkout.Refuse(checkout.InvalidField, "no", checkout.Detail{Property: "quantity", Message: "a number"})
	text, err := json.Marshal(refusal)
	require.NoError(t, err)
	require.JSONEq(t, `{"statusCode":422,"errorCode":1102,"errorMessage":"[0401-1102]: no","errorMessageExtended":[{"property":"quantity","message":"a number"}]}`, string(text))
	require.EqualError(t, fmt.Errorf("order: %w", refusal), "order: [0401-1102]: no")
	text, err = json.Marshal(checkout.Refuse(checkout.AuthorizationMissing, "no"))
	require.NoError(t, err)
	require.JSONEq(t, `{"statusCode":403,"errorCode":0,"errorMessage":"[0401-0000]: no"}`, string(text))
}
