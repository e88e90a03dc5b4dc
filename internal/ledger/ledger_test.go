package ledger_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/ledger"
)

const most = ledger.MaxCoins

func TestTotalAtTheEdges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		price, quantity, total int64
		ok                     bool
	}{
		"one piece":                     {100, 1, 100, true},
		"some":                          {100, 3, 300, true},
		"exactly the most, as a price":  {most, 1, most, true},
		"exactly the most, as pieces":   {1, most, most, true},
		"one beyond":                    {most + 1, 1, 0, false},
		"one piece beyond":              {most, 2, 0, false},
		"would overflow an int64":       {math.MaxInt64, math.MaxInt64, 0, false},
		"would overflow to a small one": {1 << 32, 1 << 32, 0, false},
		"no price":                      {0, 1, 0, false},
		"no pieces":                     {100, 0, 0, false},
		"negative price":                {-100, 1, 0, false},
		"negative pieces":               {100, -1, 0, false},
		"both negative":                 {-100, -1, 0, false},
		"the smallest int64":            {math.MinInt64, math.MinInt64, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			total, ok := ledger.Total(c.price, c.quantity)
			require.Equal(t, c.total, total)
			require.Equal(t, c.ok, ok)
		})
	}
}

// Whatever the numbers: the total is the exact product, or there is none.
func TestTotalNeverOverflows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		price, quantity := rapid.Int64().Draw(t, "price"), rapid.Int64().Draw(t, "quantity")
		exact := new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity))
		allowed := price > 0 && quantity > 0 && exact.Cmp(big.NewInt(most)) <= 0
		total, ok := ledger.Total(price, quantity)
		require.Equal(t, allowed, ok)
		if ok {
			require.Equal(t, exact.Int64(), total)
		} else {
			require.Zero(t, total)
		}
	})
}

// Random int64s hardly ever multiply to something small, so the accepted side gets its own property.
func TestTotalOfWhatAWalletCanHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		quantity := rapid.Int64Range(1, most).Draw(t, "quantity")
		price := rapid.Int64Range(1, most/quantity).Draw(t, "price")
		total, ok := ledger.Total(price, quantity)
		require.True(t, ok)
		require.Equal(t, price*quantity, total)
		_, ok = ledger.Total(most/quantity+1, quantity)
		require.False(t, ok, "one coin a piece more is beyond")
	})
}

func TestAdjustAtTheEdges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		available, amount int64
		debit, credit     ledger.Account
		coins             int64
		err               error
	}{
		"gives":                      {0, 5, ledger.Issuance, ledger.Available, 5, nil},
		"gives the most":             {0, most, ledger.Issuance, ledger.Available, most, nil},
		"fills the wallet":           {most - 1, 1, ledger.Issuance, ledger.Available, 1, nil},
		"overfills the wallet":       {most, 1, "", "", 0, ledger.ErrAmountOutOfRange},
		"takes":                      {5, -3, ledger.Available, ledger.Issuance, 3, nil},
		"takes all":                  {5, -5, ledger.Available, ledger.Issuance, 5, nil},
		"takes one too many":         {5, -6, "", "", 0, ledger.ErrInsufficientCoins},
		"takes from nothing":         {0, -1, "", "", 0, ledger.ErrInsufficientCoins},
		"nothing":                    {5, 0, "", "", 0, ledger.ErrAmountOutOfRange},
		"beyond the most":            {0, most + 1, "", "", 0, ledger.ErrAmountOutOfRange},
		"takes beyond the most":      {5, -most - 1, "", "", 0, ledger.ErrAmountOutOfRange},
		"the largest int64":          {5, math.MaxInt64, "", "", 0, ledger.ErrAmountOutOfRange},
		"the smallest int64":         {5, math.MinInt64, "", "", 0, ledger.ErrAmountOutOfRange},
		"takes all of a full wallet": {most, -most, ledger.Available, ledger.Issuance, most, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			debit, credit, coins, err := ledger.Adjust(c.available, c.amount)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.debit, debit)
			require.Equal(t, c.credit, credit)
			require.Equal(t, c.coins, coins)
		})
	}
}

// A row of adjustments never takes a wallet below zero or beyond the most, and each moves exactly what
// was asked for or nothing.
func TestAdjustKeepsTheWalletInBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		available := rapid.Int64Range(0, most).Draw(t, "available")
		amounts := rapid.SliceOf(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-most, most), rapid.Int64Range(-3, 3))).Draw(t, "amounts")
		for _, amount := range amounts {
			debit, credit, coins, err := ledger.Adjust(available, amount)
			if err != nil {
				require.Zero(t, coins)
				continue
			}
			require.Positive(t, coins)
			require.NotEqual(t, debit, credit)
			before := available
			switch ledger.Available {
			case debit:
				available -= coins
			case credit:
				available += coins
			}
			require.Equal(t, before+amount, available)
			require.True(t, 0 <= available && available <= most, "%d", available)
		}
	})
}

func TestReferenceOfEachAttemptIsItsOwn(t *testing.T) {
	t.Parallel()
	require.Equal(t, "qp_1", ledger.Reference("qp_1", 1))
	require.Equal(t, "qp_1", ledger.Reference("qp_1", 0))
	require.Equal(t, "qp_1#2", ledger.Reference("qp_1", 2))
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.StringMatching(`qp_[0-9a-v]{20}`)
		attempts := rapid.IntRange(1, 1000)
		a, b := ids.Draw(t, "a"), ids.Draw(t, "b")
		m, n := attempts.Draw(t, "m"), attempts.Draw(t, "n")
		require.Equal(t, a == b && m == n, ledger.Reference(a, m) == ledger.Reference(b, n))
	})
}
