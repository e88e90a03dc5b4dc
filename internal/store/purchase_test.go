package store_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/store"
)

func TestDecidePurchaseAtTheEdges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		coins, stock, price, quantity int64
		code                          store.Code // empty: allowed
	}{
		"enough of all":                {100, 1, 100, 1, ""},
		"one coin short":               {99, 1, 100, 1, store.InsufficientCoins},
		"no coins":                     {0, 1, 100, 1, store.InsufficientCoins},
		"sold out":                     {100, 0, 100, 1, store.OutOfStock},
		"the last pieces":              {300, 3, 100, 3, ""},
		"one piece more than there is": {400, 3, 100, 4, store.OutOfStock},
		"the largest order":            {ledger.MaxCoins, 1_000_000_000, 1000, 1_000_000_000, ""},
		"one coin beyond the largest":  {ledger.MaxCoins, 1_000_000_000, 1001, 1_000_000_000, store.TotalTooLarge},
		"a total that would overflow":  {ledger.MaxCoins, 1_000_000_000, ledger.MaxCoins, 1_000_000_000, store.TotalTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			product := credits500()
			product.PriceCoins = c.price
			decision, refusal := store.DecidePurchase(&store.Buyer{
				UserID:    "12345",
				Available: c.coins,
			}, &store.Offer{Product: product, Available: c.stock}, store.Request{Quantity: c.quantity}, store.Policy{})
			if c.code != "" {
				require.NotNil(t, refusal)
				require.Equal(t, c.code, refusal.Code)
				require.NotEmpty(t, refusal.Message, "the buyer is told what to do")
				require.Zero(t, decision)
				return
			}
			require.Nil(t, refusal)
			require.Equal(t, c.price*c.quantity, decision.PriceCoins)
			require.Equal(t, product.DeliveryOf(c.quantity), decision.Delivery)
		})
	}
}

// When several rules are broken, the first of this order is told: who asks, what is asked for, may they,
// is it there, can it be paid.
func TestDecidePurchaseOrderOfRefusals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
		noUser, noProduct, draft, blocked := flag("no user"), flag("no product"), flag("draft"), flag("blocked")
		soldOut, tooLarge, poor := flag("sold out"), flag("too large"), flag("poor")

		const quantity = 2
		buyer := &store.Buyer{UserID: "12345", Blocked: blocked, Available: ledger.MaxCoins}
		offer := &store.Offer{Product: credits500(), Available: quantity}
		if draft {
			offer.Product.Status = store.Draft
		}
		if soldOut {
			offer.Available--
		}
		if tooLarge {
			offer.Product.PriceCoins = ledger.MaxCoins
		}
		if poor {
			buyer.Available = quantity*credits500().PriceCoins - 1
		}
		if noUser {
			buyer = nil
		}
		if noProduct {
			offer = nil
		}

		expected := store.Code("")
		for _, rule := range []struct {
			broken bool
			code   store.Code
		}{
			{noUser, store.UserNotFound}, {noProduct || draft, store.ProductNotFound}, {blocked, store.UserBlocked},
			{soldOut, store.OutOfStock}, {tooLarge, store.TotalTooLarge}, {poor, store.InsufficientCoins},
		} {
			if rule.broken {
				expected = rule.code
				break
			}
		}
		decision, refusal := store.DecidePurchase(buyer, offer, store.Request{Quantity: quantity}, store.Policy{})
		if expected == "" {
			require.Nil(t, refusal)
			require.Equal(t, quantity*credits500().PriceCoins, decision.PriceCoins)
			return
		}
		require.NotNil(t, refusal)
		require.Equal(t, expected, refusal.Code)
	})
}

// What is allowed never costs more than the buyer has, nor more pieces than there are.
func TestDecidePurchaseNeverOversells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		product := credits500()
		product.PriceCoins = rapid.Int64Range(1, 1000).Draw(t, "price")
		coins, stock := rapid.Int64Range(0, 10_000).Draw(t, "coins"), rapid.Int64Range(0, 20).Draw(t, "stock")
		quantity := rapid.Int64Range(-3, 25).Draw(t, "quantity")
		decision, refusal := store.DecidePurchase(&store.Buyer{Available: coins}, &store.Offer{
			Product:   product,
			Available: stock,
		}, store.Request{Quantity: quantity}, store.Policy{})
		if refusal == nil {
			require.Positive(t, quantity)
			require.LessOrEqual(t, quantity, stock)
			require.Positive(t, decision.PriceCoins)
			require.LessOrEqual(t, decision.PriceCoins, coins)
			require.True(t, decision.Delivery.Amount.Equal(product.Integration.Amount.Mul(decimal.NewFromInt(quantity))))
		} else {
			require.True(t, quantity <= 0 || quantity > stock || product.PriceCoins*quantity > coins, "refused for a reason: %s", refusal)
		}
	})
}

func TestDecideReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		buyer store.Buyer
		stock int64
		code  store.Code
	}{
		"allowed":                   {store.Buyer{Available: 100}, 2, ""},
		"one coin short":            {store.Buyer{Available: 99}, 2, store.InsufficientCoins},
		"one piece short":           {store.Buyer{Available: 100}, 1, store.OutOfStock},
		"blocked":                   {store.Buyer{Available: 100, Blocked: true}, 2, store.UserBlocked},
		"blocked before all":        {store.Buyer{Available: 0, Blocked: true}, 0, store.UserBlocked},
		"sold out before the coins": {store.Buyer{Available: 0}, 0, store.OutOfStock},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusal := store.DecideReplay(c.buyer, c.stock, 2, 100)
			if c.code == "" {
				require.Nil(t, refusal)
				return
			}
			require.NotNil(t, refusal)
			require.Equal(t, c.code, refusal.Code)
			require.Contains(t, refusal.Error(), string(c.code))
		})
	}
}

// Seed 000, "Error Handling": an unknown user is critical, missing funds of the product are partial.
func TestReasonOfRefusal(t *testing.T) {
	t.Parallel()
	critical := store.ReasonOfRefusal("USER_NOT_FOUND", "User not found", false)
	require.Equal(t, store.MainProductRefused, critical.Code)
	require.Equal(t, "USER_NOT_FOUND", critical.ErrorCode)
	require.False(t, critical.RetryAllowed)
	require.Contains(t, critical.Message, "the coins are back")

	partial := store.ReasonOfRefusal("INSUFFICIENT_FUNDS", "Insufficient funds", true)
	require.Equal(t, store.MainProductInsufficientFunds, partial.Code)
	require.Equal(t, "INSUFFICIENT_FUNDS", partial.ErrorCode)
	require.True(t, partial.RetryAllowed)
	require.Contains(t, partial.Message, "the coins are back")
}

func TestOnlyOpenOrdersChangeOnTheirOwn(t *testing.T) {
	t.Parallel()
	for status, final := range map[store.OrderStatus]bool{store.Processing: false, store.AwaitingConfirmation: false, store.Completed: true, store.Canceled: true, store.Refunded: true} {
		require.Equal(t, final, status.Final(), status)
	}
}
