package postgres_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

// counter is a project with a catalog where one buyer, with 100 coins, makes orders.
type counter struct {
	*postgres.DB
	t     testing.TB
	items []catalog.Item
	now   time.Time
}

// A season pass, a gun at half price, a skin that is owned once, gold, a bundle, a game key and a gift.
func newCounter(t testing.TB, change ...func(items map[string]*catalog.Item)) *counter {
	t.Helper()
	c := &counter{DB: testkit.Database(t), t: t, now: time.Now().UTC().Truncate(time.Microsecond)}
	testkit.AddUser(t, c.DB, buyer, 100)
	half := []catalog.Promotion{{ID: "half", Name: catalog.Text{"en": "half price"}, Discount: &catalog.Discount{Percent: new(amount("50"))}}}
	items := map[string]*catalog.Item{}
	for _, item := range []catalog.Item{
		itemNamed("gold", func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.Status, i.Prices = catalog.VirtualCurrency, "", catalog.Draft, nil
		}),
		itemNamed("gun_1", func(i *catalog.Item) { i.Promotions = half }),
		itemNamed("skin", func(i *catalog.Item) { i.VirtualItemType = catalog.NonConsumable }),
		itemNamed("pass", func(i *catalog.Item) {
			i.VirtualItemType, i.InventoryOptions.ExpirationPeriod = catalog.NonRenewingSubscription, &subscriptions.Period{
				Unit:  subscriptions.Day,
				Value: 30,
			}
			i.VirtualPrices = []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: 40, IsDefault: true}, {SKU: "gold", Amount: 150}}
		}),
		itemNamed("gold_100", func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.BundleType, i.Content = catalog.Bundle, "", catalog.CurrencyPackage, []catalog.Content{{SKU: "gold", Quantity: 100}}
		}),
		itemNamed("chest", func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.BundleType = catalog.Bundle, "", catalog.StandardBundle
			i.Content = []catalog.Content{{SKU: "gun_1", Quantity: 2}, {SKU: "pass", Quantity: 1}}
		}),
		itemNamed("gift", func(i *catalog.Item) { i.IsFree, i.Prices = true, nil }),
		itemNamed("game", func(i *catalog.Item) { i.Type, i.VirtualItemType, i.Prices = catalog.Unit, "", nil }),
		itemNamed("game_steam", func(i *catalog.Item) {
			i.Type, i.VirtualItemType, i.UnitSKU, i.DRM = catalog.GameKey, "", "game", "steam"
		}),
	} {
		items[item.SKU] = &item
	}
	for _, f := range change {
		f(items)
	}
	for _, sku := range []string{"gold", "gun_1", "skin", "pass", "gold_100", "chest", "gift", "game", "game_steam"} {
		item, _, err := c.CreateItem(t.Context(), itemToAdd(*items[sku]), c.now)
		require.NoError(t, err)
		c.items = append(c.items, item)
	}
	return c
}

const buyer = "12345"

func (c *counter) shopper(userID string) postgres.Shopper {
	return postgres.Shopper{ProjectID: testkit.Project, UserID: userID, Catalog: catalog.New(c.items, nil), CartTTL: time.Hour,
		View: catalog.View{Locale: "en", DefaultLocale: "en", Now: c.now}}
}

func (c *counter) order(form checkout.Form, sku string, quantity int64) postgres.NewCheckout {
	return postgres.NewCheckout{
		Shopper: c.shopper(buyer),
		Form:    form,
		CartID:  postgres.CurrentCart,
		Wanted:  []checkout.LineRequest{{SKU: sku, Quantity: quantity}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     time.Hour,
	}
}

func (c *counter) buy(o postgres.NewCheckout) postgres.CreatedCheckout {
	c.t.Helper()
	created, err := c.CreateCheckout(c.t.Context(), o)
	require.NoError(c.t, err)
	return created
}

func (c *counter) payment(id, money string) checkout.Payment {
	return checkout.Payment{Provider: "sandbox", ProviderID: id, Amount: amount(money), Currency: "USD", Sandbox: true}
}

func (c *counter) pay(orderID int64, id, money string) postgres.RecordedPayment {
	c.t.Helper()
	recorded, err := c.RecordPayment(c.t.Context(), orderID, c.payment(id, money), c.now)
	require.NoError(c.t, err)
	return recorded
}

func (c *counter) settle(orderID int64) checkout.OrderStatus {
	c.t.Helper()
	settled, err := c.SettleCheckout(c.t.Context(), orderID, c.now)
	require.NoError(c.t, err)
	return settled.Status
}

// paidOrder is an order of one item, paid and delivered.
func (c *counter) paidOrder(sku string, quantity int64) int64 {
	c.t.Helper()
	created := c.buy(c.order(checkout.PaidItem, sku, quantity))
	order := c.read(created.OrderID)
	require.Equal(c.t, checkout.Accepted, c.pay(created.OrderID, "p-"+created.Token, order.Price.Payable().String()).Outcome)
	require.Equal(c.t, checkout.Done, c.settle(created.OrderID))
	return created.OrderID
}

func (c *counter) read(orderID int64) postgres.CheckoutOrder {
	c.t.Helper()
	order, err := c.GetCheckoutWhole(c.t.Context(), testkit.Project, orderID)
	require.NoError(c.t, err)
	return order
}

func (c *counter) number(sql string) (n int64) {
	c.t.Helper()
	require.NoError(c.t, c.Pool().QueryRow(c.t.Context(), sql).Scan(&n))
	return n
}

func (c *counter) owns(sku string) int64 {
	return c.number("SELECT COALESCE(sum(quantity), 0)::bigint FROM inventory WHERE user_id = '" + buyer + "' AND sku = '" + sku + "'")
}

func (c *counter) refused(err error, code checkout.Code) {
	c.t.Helper()
	var refusal *checkout.Refusal
	require.ErrorAs(c.t, err, &refusal)
	require.Equal(c.t, code, refusal.Code, refusal.Error())
}

func (c *counter) refund(orderID int64, lines ...checkout.RefundLine) checkout.Refund {
	c.t.Helper()
	refund, _, err := c.RefundCheckout(c.t.Context(), postgres.CheckoutRefund{
		ProjectID: testkit.Project,
		OrderID:   orderID,
		Lines:     lines,
		Reason:    "goodwill",
		Actor:     "test",
	}, c.now)
	require.NoError(c.t, err)
	return refund
}

func TestCart(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	s := c.shopper(buyer)
	empty, err := c.ShowCart(t.Context(), s, "custom_id")
	require.NoError(t, err)
	require.Equal(t, []any{"custom_id", true, 0, (*catalog.Quote)(nil)}, []any{empty.CartID, empty.IsFree, len(empty.Items), empty.Price})

	filled, err := c.FillCart(t.Context(), s, "custom_id", []checkout.LineRequest{{SKU: "gun_1", Quantity: 123}, {SKU: "none", Quantity: 1}, {SKU: "game", Quantity: 1}})
	require.NoError(t, err)
	require.Equal(t, "122.385", filled.Price.Amount.String(), "seed 002's sum")
	require.Equal(t, "244.77", filled.Price.WithoutDiscount.String())
	require.Len(t, filled.Items, 1)
	require.Equal(t, []checkout.Code{checkout.ItemNotFound, checkout.ItemNotAllowed}, []checkout.Code{filled.Warnings[0].ErrorCode, filled.Warnings[1].ErrorCode})

	require.NoError(t, c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "pass", Quantity: 2}))
	require.NoError(t, c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "gun_1", Quantity: 0}))
	c.refused(c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "none", Quantity: 1}), checkout.ItemNotFound)
	c.refused(c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "game", Quantity: 1}), checkout.ItemNotAllowed)
	c.refused(c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "pass", Quantity: -1}), checkout.InvalidField)
	c.refused(c.DeleteCartItem(t.Context(), s, "custom_id", "gun_1"), checkout.ItemNotFound)
	shown, err := c.ShowCart(t.Context(), s, "custom_id")
	require.NoError(t, err)
	require.Len(t, shown.Items, 1)
	require.Empty(t, shown.Warnings)

	others, err := c.ShowCart(t.Context(), c.shopper("somebody"), "custom_id")
	require.NoError(t, err)
	require.Empty(t, others.Items, "a cart is its user's own")

	require.NoError(t, c.DeleteCartItem(t.Context(), s, "custom_id", "pass"))
	require.NoError(t, c.SetCartItem(t.Context(), s, "custom_id", checkout.LineRequest{SKU: "gun_1", Quantity: 1}))
	require.NoError(t, c.ClearCart(t.Context(), s, "custom_id"))
	shown, err = c.ShowCart(t.Context(), s, "custom_id")
	require.NoError(t, err)
	require.Empty(t, shown.Items)
}

func TestAbandonedCart(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "a", checkout.LineRequest{SKU: "gun_1", Quantity: 2}))
	c.now = c.now.Add(time.Hour)
	shown, err := c.ShowCart(t.Context(), c.shopper(buyer), "a")
	require.NoError(t, err)
	require.Empty(t, shown.Items, "as if it were empty, whether or not it was swept")
	_, err = c.CreateCheckout(t.Context(), func() postgres.NewCheckout {
		o := c.order(checkout.PaidCart, "", 0)
		o.CartID = "a"
		return o
	}())
	c.refused(err, checkout.InvalidCart)
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "a", checkout.LineRequest{SKU: "pass", Quantity: 1}))
	shown, err = c.ShowCart(t.Context(), c.shopper(buyer), "a")
	require.NoError(t, err)
	require.Len(t, shown.Items, 1, "it begins anew")

	for range 2 {
		_, err = c.DeleteAbandonedCarts(t.Context(), 100, c.now)
		require.NoError(t, err)
		require.EqualValues(t, 1, c.number("SELECT count(*) FROM carts"))
	}
	deleted, err := c.DeleteAbandonedCarts(t.Context(), 100, c.now.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, deleted)
}

// The cart is refused until its user has seen that it is free.
func TestOrderOfACartThatBecameFree(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	_, err := c.FillCart(t.Context(), c.shopper(buyer), postgres.CurrentCart, []checkout.LineRequest{{SKU: "skin", Quantity: 1}})
	require.NoError(t, err)
	for i, item := range c.items {
		if item.SKU == "skin" {
			c.items[i].IsFree, c.items[i].Prices = true, nil
		}
	}
	refused := func() checkout.Code {
		_, err := c.CreateCheckout(t.Context(), c.order(checkout.PaidCart, "", 0))
		var refusal *checkout.Refusal
		require.ErrorAs(t, err, &refusal)
		return refusal.Code
	}
	require.Equal(t, checkout.ItemBecameFree, refused())
	shown, err := c.ShowCart(t.Context(), c.shopper(buyer), postgres.CurrentCart)
	require.NoError(t, err)
	require.True(t, shown.IsFree)
	require.Equal(t, checkout.InvalidCart, refused())
	require.Equal(t, checkout.Done, c.buy(c.order(checkout.FreeCart, "", 0)).Status)
}

func TestOrderOfACart(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	s := c.shopper(buyer)
	_, err := c.FillCart(t.Context(), s, postgres.CurrentCart, []checkout.LineRequest{{SKU: "gun_1", Quantity: 123}, {SKU: "chest", Quantity: 2}, {SKU: "gold_100", Quantity: 3}})
	require.NoError(t, err)
	c.items[1].Promotions = nil // the price moves before the order
	created := c.buy(c.order(checkout.PaidCart, "", 0))
	require.Equal(t, checkout.New, created.Status)
	require.NotEmpty(t, created.Token)
	require.Len(t, created.PriceChanges, 1)
	require.Equal(t, []string{"gun_1", "0.995", "1.99"}, []string{created.PriceChanges[0].SKU, created.PriceChanges[0].Then.Amount.String(), created.PriceChanges[0].Now.Amount.String()})
	shown, err := c.ShowCart(t.Context(), s, postgres.CurrentCart)
	require.NoError(t, err)
	require.Empty(t, shown.Items, "the cart is cleared")

	order := c.read(created.OrderID)
	require.Equal(t, "254.72", order.Price.Amount.String(), "123 + 2 + 3 pieces of 1.99")
	require.Equal(t, c.now.Add(time.Hour), order.ExpiresAt)
	require.Equal(t, checkout.New, c.settle(created.OrderID))
	paid := c.pay(created.OrderID, "p1", "254.72")
	require.Equal(t, []any{checkout.Accepted, checkout.PaidInTime, checkout.Paid}, []any{paid.Outcome, paid.Reason, paid.Status})
	require.Equal(t, 2, paid.Change.Changes)
	again := c.pay(created.OrderID, "p1", "254.72")
	require.True(t, again.Known)
	require.Equal(t, paid.PaymentID, again.PaymentID)
	second := c.pay(created.OrderID, "p2", "254.72")
	require.Equal(t, []any{checkout.Returned, checkout.SecondPayment}, []any{second.Outcome, second.Reason})
	for range 3 {
		require.Equal(t, checkout.Done, c.settle(created.OrderID))
	}
	require.Equal(t, []int64{127, 1, 300}, []int64{c.owns("gun_1"), c.owns("pass"), c.owns("gold")})
	require.Equal(t, checkout.SecondPayment, c.pay(created.OrderID, "p3", "254.72").Reason, "also when it is done")
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM notifications WHERE kind = 'checkout_done'"))
	testkit.RequireClean(t, c.DB)
}

func TestOrderIsMadeOncePerKey(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	o := c.order(checkout.PaidItem, "gun_1", 1)
	o.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("a"))}
	first := c.buy(o)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			again, err := c.CreateCheckout(t.Context(), o)
			require.NoError(t, err)
			require.True(t, again.Replayed)
			require.Equal(t, []any{first.OrderID, first.Token, first.Status}, []any{again.OrderID, again.Token, again.Status})
		})
	}
	running.Wait()
	o.Idempotency = &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("b"))}
	_, err := c.CreateCheckout(t.Context(), o)
	require.ErrorIs(t, err, postgres.ErrIdempotencyKeyReused)
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM checkout_orders"))
}

func TestRefusedOrders(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), "gifts", checkout.LineRequest{SKU: "gift", Quantity: 1}))
	for name, test := range map[string]struct {
		form     checkout.Form
		sku      string
		quantity int64
		cart     string
		want     checkout.Code
	}{
		"no such item":              {checkout.PaidItem, "none", 1, "", checkout.ItemNotFound},
		"a free item for money":     {checkout.PaidItem, "gift", 1, "", checkout.InvalidItem},
		"a paid item for nothing":   {checkout.FreeItem, "gun_1", 1, "", checkout.InvalidItem},
		"a free item by the server": {checkout.ServerToken, "gift", 1, "", checkout.ItemNotAllowed},
		"quantity 0":                {checkout.PaidItem, "gun_1", 0, "", checkout.InvalidField},
		"a huge quantity":           {checkout.PaidItem, "gun_1", 1 << 40, "", checkout.InvalidField},
		"no keys":                   {checkout.PaidItem, "game_steam", 1, "", checkout.ItemUnavailable},
		"no cart":                   {checkout.PaidCart, "", 0, "none", checkout.InvalidCart},
		"a free cart for money":     {checkout.PaidCart, "", 0, "gifts", checkout.InvalidCart},
		"not for a virtual price":   {checkout.VirtualItem, "gun_1", 1, "", checkout.InvalidItem},
	} {
		o := c.order(test.form, test.sku, test.quantity)
		o.CartID, o.VirtualCurrency = test.cart, catalog.CoinsSKU
		_, err := c.CreateCheckout(t.Context(), o)
		require.Error(t, err, name)
		c.refused(err, test.want)
	}
	_, err := c.Pool().Exec(t.Context(), "UPDATE users SET status = 'blocked' WHERE user_id = $1", buyer)
	require.NoError(t, err)
	_, err = c.CreateCheckout(t.Context(), c.order(checkout.PaidItem, "gun_1", 1))
	var blocked *store.Refusal
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, store.UserBlocked, blocked.Code)
	require.Zero(t, c.number("SELECT count(*) FROM checkout_orders"))
	testkit.RequireClean(t, c.DB)
}

func TestFreeOrderIsDoneAtOnce(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) { items["gift"].Limits.PerUser = 1 })
	created := c.buy(c.order(checkout.FreeItem, "gift", 1))
	require.Equal(t, []any{checkout.Done, ""}, []any{created.Status, created.Token})
	require.EqualValues(t, 1, c.owns("gift"))
	require.Equal(t, checkout.Done, c.settle(created.OrderID))
	require.Equal(t, checkout.NothingDue, c.pay(created.OrderID, "p", "1").Reason)
	_, err := c.CreateCheckout(t.Context(), c.order(checkout.FreeItem, "gift", 1))
	c.refused(err, checkout.LimitReached)
	due, err := c.LeaseCheckouts(t.Context(), time.Minute, 10, c.now)
	require.NoError(t, err)
	require.Empty(t, due, "nothing is left for a workflow")
	testkit.RequireClean(t, c.DB)
}

func TestOrderForCoins(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	o := c.order(checkout.VirtualItem, "pass", 2)
	o.VirtualCurrency = catalog.CoinsSKU
	created := c.buy(o)
	require.Equal(t, checkout.Done, created.Status)
	testkit.RequireWallet(t, c.DB, buyer, 20, 0)
	_, err := c.CreateCheckout(t.Context(), o)
	c.refused(err, checkout.NotEnoughCurrency)
	testkit.RequireWallet(t, c.DB, buyer, 20, 0)
	testkit.RequireClean(t, c.DB)

	refund := c.refund(created.OrderID)
	require.True(t, refund.Whole)
	require.Equal(t, "80", refund.Amount.String())
	testkit.RequireWallet(t, c.DB, buyer, 100, 0)
	require.Equal(t, checkout.Canceled, c.read(created.OrderID).Status)
	testkit.RequireClean(t, c.DB)
}

func TestOrderForGold(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	o := c.order(checkout.VirtualItem, "pass", 1)
	o.VirtualCurrency = "gold"
	_, err := c.CreateCheckout(t.Context(), o)
	c.refused(err, checkout.NotEnoughCurrency)
	c.paidOrder("gold_100", 2)
	created := c.buy(o)
	require.EqualValues(t, 50, c.owns("gold"))
	require.Equal(t, "gold", c.read(created.OrderID).Virtual.SKU)
	_, err = c.CreateCheckout(t.Context(), o)
	c.refused(err, checkout.NotEnoughCurrency)
	c.refund(created.OrderID)
	require.EqualValues(t, 200, c.owns("gold"))
	testkit.RequireClean(t, c.DB)
}

func TestPaymentsThatDoNotFit(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	id := c.buy(c.order(checkout.PaidItem, "gun_1", 2)).OrderID // 1.99
	little := c.pay(id, "p1", "1.98")
	require.Equal(t, []any{checkout.Held, checkout.AmountDiffers, checkout.New}, []any{little.Outcome, little.Reason, little.Status})
	euros := c.payment("p2", "1.99")
	euros.Currency = "EUR"
	other, err := c.RecordPayment(t.Context(), id, euros, c.now)
	require.NoError(t, err)
	require.Equal(t, checkout.CurrencyDiffers, other.Reason)
	require.Equal(t, checkout.PaymentChanged, c.pay(id, "p1", "1.99").Reason, "the same payment told otherwise")
	elsewhere := c.buy(c.order(checkout.PaidItem, "gun_1", 2)).OrderID
	require.Equal(t, checkout.PaymentChanged, c.pay(elsewhere, "p1", "1.98").Reason, "the same payment told of another order")
	require.EqualValues(t, 3, c.number("SELECT count(*) FROM admin_alerts WHERE kind IN ('payment_held', 'payment_differs')"))

	review := postgres.PaymentReview{
		ProjectID: testkit.Project,
		PaymentID: little.PaymentID,
		Accept:    true,
		Actor:     "admin",
		Reason:    "a rounding error",
	}
	taken, err := c.ReviewPayment(t.Context(), review, c.now)
	require.NoError(t, err)
	require.Equal(t, []any{checkout.Accepted, checkout.ReviewAccepted, checkout.Paid}, []any{taken.Outcome, taken.Reason, taken.Status})
	_, err = c.ReviewPayment(t.Context(), review, c.now)
	c.refused(err, checkout.InvalidField)
	sent, err := c.ReviewPayment(t.Context(), postgres.PaymentReview{
		ProjectID: testkit.Project,
		PaymentID: other.PaymentID,
		Actor:     "admin",
		Reason:    "wrong",
	}, c.now)
	require.NoError(t, err)
	require.Equal(t, checkout.Returned, sent.Outcome)
	require.Equal(t, checkout.Done, c.settle(id))
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM admin_alerts WHERE resolved_at IS NULL"), "of the payment that was told otherwise")
	listed, err := c.ListPayments(t.Context(), testkit.Project, postgres.PaymentFilter{Outcome: "returned", Limit: 10})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, "admin", listed[0].DecidedBy)
	testkit.RequireClean(t, c.DB)
}

func TestOrderExpires(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) {
		items["gun_1"].Limits = catalog.Limits{PerItem: 3, PerUser: 2}
		items["gun_1"].Promotions[0].Limits.PerUser = 1
	})
	created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	_, err := c.CreateCheckout(t.Context(), c.order(checkout.PaidItem, "gun_1", 1))
	c.refused(err, checkout.LimitReached)
	testkit.RequireClean(t, c.DB)
	c.now = c.now.Add(time.Hour - time.Microsecond)
	require.Equal(t, checkout.New, c.settle(created.OrderID))
	c.now = c.now.Add(time.Microsecond)
	late := c.pay(created.OrderID, "p1", "1.99")
	require.Equal(t, []any{checkout.Returned, checkout.LatePayment, checkout.New}, []any{late.Outcome, late.Reason, late.Status}, "its timer has not fired yet")
	require.Equal(t, checkout.Expired, c.settle(created.OrderID))
	require.Equal(t, checkout.Expired, c.settle(created.OrderID))
	require.Zero(t, c.number("SELECT sum(reserved + sold) FROM item_sales"))
	require.Zero(t, c.number("SELECT sum(used) FROM item_usages"))
	again := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	require.Equal(t, "1.99", c.read(again.OrderID).Price.Amount.String(), "the promotion can be used again")
	testkit.RequireClean(t, c.DB)
}

func TestGameKeysOfOrders(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	_, _, err := c.AddGameKeys(t.Context(), testkit.Project, "game_steam", []string{"a", "b", "c"}, "test", c.now)
	require.NoError(t, err)
	keys := func() postgres.GameKeyCounts {
		counts, err := c.GameKeyCounts(t.Context(), testkit.Project, "game_steam")
		require.NoError(t, err)
		return counts
	}
	first := c.buy(c.order(checkout.PaidItem, "game_steam", 2))
	require.Equal(t, postgres.GameKeyCounts{Free: 1, Reserved: 2}, keys())
	_, err = c.CreateCheckout(t.Context(), c.order(checkout.PaidItem, "game_steam", 2))
	c.refused(err, checkout.TooManyKeys)
	_, err = c.CancelCheckout(t.Context(), testkit.Project, buyer, first.OrderID, c.now)
	require.NoError(t, err)
	require.Equal(t, postgres.GameKeyCounts{Free: 3}, keys())
	order := c.paidOrder("game_steam", 2)
	require.Equal(t, postgres.GameKeyCounts{Free: 1, Given: 2}, keys())
	told := func(orderID int64) []inventory.Key {
		order, err := c.GetCheckout(t.Context(), testkit.Project, orderID)
		require.NoError(t, err)
		return order.Keys
	}
	given := told(order)
	require.Len(t, given, 2)
	require.Equal(t, []string{"game_steam", "steam"}, []string{given[0].SKU, given[0].DRM})
	c.refund(order, checkout.RefundLine{LineID: "1", Quantity: 1})
	require.Equal(t, postgres.GameKeyCounts{Free: 1, Given: 1, Revoked: 1}, keys())
	left := told(order)
	require.Len(t, left, 1, "the other was taken back")
	require.Subset(t, given, left)
	require.Empty(t, told(first.OrderID), "they were reserved for it, never given")
	require.Empty(t, c.read(order).Keys, "admins are not told the codes")
	found, _, err := c.SearchCheckouts(t.Context(), testkit.Project, postgres.CheckoutSearch{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, order, found[0].OrderID)
	require.Empty(t, found[0].Keys, "nor is who searches")
	testkit.RequireClean(t, c.DB)
}

func TestCancelOfAnOrder(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	_, err := c.CancelCheckout(t.Context(), testkit.Project, "somebody", created.OrderID, c.now)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	change, err := c.CancelCheckout(t.Context(), testkit.Project, buyer, created.OrderID, c.now)
	require.NoError(t, err)
	require.Equal(t, checkout.Canceled, change.Status)
	change, err = c.CancelCheckout(t.Context(), testkit.Project, buyer, created.OrderID, c.now)
	require.NoError(t, err)
	require.Zero(t, change.OrderID, "nothing has changed")
	require.Equal(t, checkout.OrderWasCanceled, c.pay(created.OrderID, "p1", "1.99").Reason)
	_, err = c.CancelCheckout(t.Context(), testkit.Project, buyer, c.paidOrder("gun_1", 2), c.now)
	c.refused(err, checkout.InvalidField)
	testkit.RequireClean(t, c.DB)
}

func TestRefunds(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) {
		items["gun_1"].Limits = catalog.Limits{PerItem: 200, PerUser: 200}
	})
	id := c.paidOrder("gun_1", 123) // 122.385, so 122.39
	one := c.refund(id, checkout.RefundLine{LineID: "1", Quantity: 1})
	require.Equal(t, []any{"1", false}, []any{one.Amount.String(), one.Whole}, "0.995, rounded")
	require.EqualValues(t, 122, c.owns("gun_1"))
	require.EqualValues(t, 122, c.number("SELECT sold FROM item_sales"))
	_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
		ProjectID: testkit.Project,
		OrderID:   id,
		Lines:     []checkout.RefundLine{{LineID: "1", Quantity: 123}},
		Reason:    "x",
		Actor:     "x",
	}, c.now)
	c.refused(err, checkout.InvalidField)
	testkit.RequireClean(t, c.DB)

	again := postgres.CheckoutRefund{
		ProjectID:   testkit.Project,
		OrderID:     id,
		Reason:      "x",
		Actor:       "x",
		Idempotency: &postgres.Idempotency{Key: "k"},
	}
	rest, replayed, err := c.RefundCheckout(t.Context(), again, c.now)
	require.NoError(t, err)
	require.False(t, replayed)
	require.Equal(t, []any{"121.39", true}, []any{rest.Amount.String(), rest.Whole})
	same, replayed, err := c.RefundCheckout(t.Context(), again, c.now)
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, rest.ID, same.ID)
	order := c.read(id)
	require.Equal(t, []any{checkout.Canceled, "122.39"}, []any{order.Status, order.Refunded.String()})
	require.Zero(t, c.owns("gun_1"))
	require.Zero(t, c.number("SELECT sold + reserved FROM item_sales"))
	require.Equal(t, checkout.Canceled, c.settle(id))
	testkit.RequireClean(t, c.DB)
}

// What is refunded in part before it was delivered is delivered first; as a whole, it never is.
func TestRefundBeforeDelivery(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	for quantity, want := range map[int64]struct {
		status checkout.OrderStatus
		owns   int64
	}{1: {checkout.Done, 1}, 2: {checkout.Canceled, 1}} {
		created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
		before := c.owns("gun_1")
		c.pay(created.OrderID, "p-"+created.Token, "1.99")
		c.refund(created.OrderID, checkout.RefundLine{LineID: "1", Quantity: quantity})
		require.Equal(t, want.status, c.settle(created.OrderID))
		if want.status == checkout.Done {
			before++
		}
		require.Equal(t, before, c.owns("gun_1"))
	}
	testkit.RequireClean(t, c.DB)
}

func TestSubscriptionIsRefundedWhole(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	id := c.paidOrder("pass", 2)
	_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
		ProjectID: testkit.Project,
		OrderID:   id,
		Lines:     []checkout.RefundLine{{LineID: "1", Quantity: 1}},
		Reason:    "x",
		Actor:     "x",
	}, c.now)
	var refused *inventory.Refusal
	require.ErrorAs(t, err, &refused)
	require.Equal(t, inventory.NotAllowed, refused.Code)
	require.Zero(t, c.number("SELECT count(*) FROM checkout_refunds"))
	c.refund(id)
	testkit.RequireClean(t, c.DB)
}

// Two orders of what is owned once are both paid: the second can't be delivered, and its money goes back.
func TestOrderThatCanNotBeDelivered(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	first, second := c.buy(c.order(checkout.PaidItem, "skin", 1)).OrderID, c.buy(c.order(checkout.PaidItem, "skin", 1)).OrderID
	c.pay(first, "p1", "1.99")
	c.pay(second, "p2", "1.99")
	require.Equal(t, checkout.Done, c.settle(first))
	require.Equal(t, checkout.Canceled, c.settle(second))
	order := c.read(second)
	require.Equal(t, []any{"undeliverable", "1.99", true}, []any{order.Reason, order.Refunded.String(), order.Refunds[0].Whole})
	require.EqualValues(t, 1, c.owns("skin"))
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM admin_alerts WHERE kind = 'order_undeliverable'"))
	_, err := c.CreateCheckout(t.Context(), c.order(checkout.PaidItem, "skin", 1))
	c.refused(err, checkout.AlreadyOwned)
	testkit.RequireClean(t, c.DB)
}

// at runs all at once and returns what they answered.
func at(functions ...func() error) []error {
	errs := make([]error, len(functions))
	start := make(chan struct{})
	var running sync.WaitGroup
	for i, f := range functions {
		running.Go(func() {
			<-start
			errs[i] = f()
		})
	}
	close(start)
	running.Wait()
	return errs
}

func TestOrdersRaceForTheLastPieces(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) { items["gun_1"].Limits.PerItem = 5 })
	var orders []func() error
	for k := range 12 {
		user := "racer-" + string(rune('a'+k))
		testkit.AddUser(t, c.DB, user, 0)
		orders = append(orders, func() error {
			o := c.order(checkout.PaidItem, "gun_1", 1)
			o.Shopper = c.shopper(user)
			_, err := c.CreateCheckout(t.Context(), o)
			return err
		})
	}
	refused := 0
	for _, err := range at(orders...) {
		if err != nil {
			c.refused(err, checkout.ItemUnavailable)
			refused++
		}
	}
	require.Equal(t, 7, refused)
	testkit.RequireClean(t, c.DB)
}

func TestOneCartIsOrderedOnce(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	require.NoError(t, c.SetCartItem(t.Context(), c.shopper(buyer), postgres.CurrentCart, checkout.LineRequest{SKU: "gun_1", Quantity: 1}))
	order := func() error {
		_, err := c.CreateCheckout(t.Context(), c.order(checkout.PaidCart, "", 0))
		return err
	}
	refused := 0
	for _, err := range at(order, order, order, order) {
		if err != nil {
			c.refused(err, checkout.InvalidCart)
			refused++
		}
	}
	require.Equal(t, 3, refused)
}

// The cart changes while it is ordered: the order has it as it was before or after, never a mixture.
func TestCartChangesWhileItIsOrdered(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	for range 10 {
		_, err := c.FillCart(t.Context(), c.shopper(buyer), postgres.CurrentCart, []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}, {SKU: "pass", Quantity: 1}})
		require.NoError(t, err)
		var created postgres.CreatedCheckout
		errs := at(func() (err error) {
			created, err = c.CreateCheckout(t.Context(), c.order(checkout.PaidCart, "", 0))
			return err
		}, func() error {
			_, err := c.FillCart(t.Context(), c.shopper(buyer), postgres.CurrentCart, []checkout.LineRequest{{SKU: "gun_1", Quantity: 2}, {SKU: "pass", Quantity: 2}})
			return err
		})
		require.NoError(t, errors.Join(errs...))
		order := c.read(created.OrderID)
		require.Len(t, order.Lines, 2)
		require.Equal(t, order.Lines[0].Quantity, order.Lines[1].Quantity)
		shown, err := c.ShowCart(t.Context(), c.shopper(buyer), postgres.CurrentCart)
		require.NoError(t, err)
		require.Equal(t, order.Lines[0].Quantity == 1, len(shown.Items) == 2, "what was filled in after the order is there, what was before is gone")
		require.NoError(t, c.ClearCart(t.Context(), c.shopper(buyer), postgres.CurrentCart))
	}
}

func TestTwoPaymentsRace(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	for range 5 {
		created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
		outcomes := make([]postgres.RecordedPayment, 4)
		var payments []func() error
		for k := range outcomes {
			payments = append(payments, func() (err error) {
				outcomes[k], err = c.RecordPayment(t.Context(), created.OrderID, c.payment(created.Token+string(rune('a'+k/2)), "1.99"), c.now)
				return err
			})
		}
		require.NoError(t, errors.Join(at(payments...)...))
		accepted := map[int64]bool{}
		returned := map[int64]bool{}
		for _, o := range outcomes {
			if o.Outcome == checkout.Accepted {
				accepted[o.PaymentID] = true
			} else {
				require.Equal(t, checkout.SecondPayment, o.Reason)
				returned[o.PaymentID] = true
			}
		}
		require.Equal(t, []int{1, 1}, []int{len(accepted), len(returned)}, "each payment was told twice")
	}
	testkit.RequireClean(t, c.DB)
}

// A payment races a cancel or the expiry, and two deliveries race each other: one outcome each. In the end
// each side has won.
func TestPaymentRacesCancelAndExpiry(t *testing.T) {
	t.Parallel()
	c := newCounter(t, func(items map[string]*catalog.Item) { items["gun_1"].Limits.PerItem = 1000 })
	var paid int64
	for _, rival := range []checkout.OrderStatus{checkout.Canceled, checkout.Expired} {
		won := map[checkout.OrderStatus]int{}
		for round := 0; round < 10 || (round < 100 && len(won) < 2); round++ {
			won[c.racePayment(rival, won[checkout.Done]-won[rival])]++ // who leads starts later
		}
		require.Positive(t, won[checkout.Done], "payments against %s: %v", rival, won)
		require.Positive(t, won[rival], "payments against %s: %v", rival, won)
		paid += int64(won[checkout.Done])
	}
	require.EqualValues(t, 2*paid, c.owns("gun_1"))
	testkit.RequireClean(t, c.DB)
}

// racePayment has an order paid and ended at once, and tells what became of it. The payment has to read the
// order so many times before it starts; a negative handicap is its rival's.
func (c *counter) racePayment(rival checkout.OrderStatus, handicap int) checkout.OrderStatus {
	c.t.Helper()
	created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	settle := func(now time.Time) error {
		_, err := c.SettleCheckout(c.t.Context(), created.OrderID, now)
		return err
	}
	deliver := func() error { return settle(c.now) }
	late := func(reads int) (err error) {
		for range reads {
			_, readErr := c.GetCheckout(c.t.Context(), testkit.Project, created.OrderID)
			err = errors.Join(err, readErr)
		}
		return err
	}
	var payment postgres.RecordedPayment
	pay := func() (err error) {
		if err := late(handicap); err != nil {
			return err
		}
		payment, err = c.RecordPayment(c.t.Context(), created.OrderID, c.payment(created.Token, "1.99"), c.now)
		return err
	}
	end := func() error {
		if err := late(-handicap); err != nil {
			return err
		}
		if rival == checkout.Expired {
			return settle(c.now.Add(time.Hour))
		}
		_, err := c.CancelCheckout(c.t.Context(), testkit.Project, buyer, created.OrderID, c.now)
		var refusal *checkout.Refusal
		if errors.As(err, &refusal) {
			return nil // the payment came first
		}
		return err
	}
	require.NoError(c.t, errors.Join(at(pay, end, deliver, deliver)...))
	status := c.settle(created.OrderID)
	outcome := map[checkout.OrderStatus]checkout.Outcome{checkout.Done: checkout.Accepted, rival: checkout.Returned}
	require.Contains(c.t, outcome, status)
	require.Equal(c.t, outcome[status], payment.Outcome)
	return status
}

func TestRefundRacesDelivery(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	for range 10 {
		created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
		c.pay(created.OrderID, created.Token, "1.99")
		refund := func() error {
			_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
				ProjectID: testkit.Project,
				OrderID:   created.OrderID,
				Reason:    "x",
				Actor:     "x",
			}, c.now)
			var refusal *checkout.Refusal
			if errors.As(err, &refusal) {
				return nil // the other refund came first
			}
			return err
		}
		require.NoError(t, errors.Join(at(refund, refund, func() error {
			_, err := c.SettleCheckout(t.Context(), created.OrderID, c.now)
			return err
		})...))
		require.Equal(t, checkout.Canceled, c.settle(created.OrderID))
		require.Equal(t, "1.99", c.read(created.OrderID).Refunded.String())
	}
	require.Zero(t, c.owns("gun_1"))
	testkit.RequireClean(t, c.DB)
}

func TestSweepFindsWhatItsWorkflowDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	created := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	lease := func() []postgres.CheckoutChange {
		due, err := c.LeaseCheckouts(t.Context(), time.Minute, 10, c.now)
		require.NoError(t, err)
		return due
	}
	due := lease()
	require.Len(t, due, 1)
	require.Equal(t, []any{created.OrderID, checkout.New, 1}, []any{due[0].OrderID, due[0].Status, due[0].Changes})
	require.Empty(t, lease(), "leased")
	require.NoError(t, c.MarkCheckoutsTold(t.Context(), due, c.now))
	c.now = c.now.Add(time.Hour + 119*time.Second)
	require.Empty(t, lease())
	c.now = c.now.Add(time.Second)
	require.Len(t, lease(), 1, "its timer was lost")
	c.settle(created.OrderID)
	c.now = c.now.Add(24 * time.Hour)
	require.Empty(t, lease(), "it is over, and its workflow has ended it")

	created = c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	stale := lease()
	paid := c.pay(created.OrderID, "p1", "1.99")
	require.NoError(t, c.MarkCheckoutsTold(t.Context(), stale, c.now))
	due = lease()
	require.Len(t, due, 1, "what was told is not the latest")
	require.Equal(t, paid.Change.Changes, due[0].Changes)
}
