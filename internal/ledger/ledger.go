// Package ledger holds the rules of coins: the accounts, the kinds of transfer between them and how
// a transfer is named. Coins are whole numbers; there are no fractions of a coin.
//
// A user has two accounts, available and held, which are never below zero. A purchase moves coins
// from available to held (reserve), then from held to revenue (capture) or back (release). A refund moves
// them from revenue back to available. A task's reward is issued.
package ledger

import (
	"errors"
	"strconv"
)

// MaxCoins bounds every amount, so that a sum of many stays far from overflowing an int64.
const MaxCoins int64 = 1_000_000_000_000

// Account names one side of a transfer. A transfer belongs to one user, so available and held are
// that user's; revenue and issuance are the system's.
type Account string

const (
	Available Account = "available"
	Held      Account = "held"
	Revenue   Account = "revenue"
	Issuance  Account = "issuance"
)

// Kind says why coins moved. A reference has at most one transfer of each kind: the database
// refuses the second, which is what makes every step safe to repeat.
type Kind string

const (
	Reserve    Kind = "reserve"
	Capture    Kind = "capture"
	Release    Kind = "release"
	Adjustment Kind = "adjustment"
	Refund     Kind = "refund" // of a completed order, whole or in part; each has a reference of its own
	Reward     Kind = "reward" // of a completed task; the reference is the reward's id
)

// ErrInsufficientCoins: the account would fall below zero.
var ErrInsufficientCoins = errors.New("insufficient coins")

// ErrAmountOutOfRange: the amount is zero or beyond MaxCoins.
var ErrAmountOutOfRange = errors.New("amount out of range")

// Reference names an order's transfers. Each replay of a canceled order moves coins anew and so
// has a reference of its own; the order id, which the main product sees, stays the same.
func Reference(orderID string, attempt int) string {
	if attempt <= 1 {
		return orderID
	}
	return orderID + "#" + strconv.Itoa(attempt)
}

// Total is price times quantity in coins; false when it is beyond MaxCoins.
func Total(price, quantity int64) (int64, bool) {
	if price <= 0 || quantity <= 0 || price > MaxCoins/quantity {
		return 0, false
	}
	return price * quantity, true
}

// Adjust says between which accounts a manual adjustment (seed 000, "Manual balance adjustment")
// moves how many coins: a positive amount gives, a negative one takes away, never below zero.
func Adjust(available, amount int64) (debit, credit Account, coins int64, err error) {
	switch {
	case amount == 0 || amount > MaxCoins || amount < -MaxCoins || available > MaxCoins-amount:
		return "", "", 0, ErrAmountOutOfRange
	case amount > 0:
		return Issuance, Available, amount, nil
	case available+amount < 0:
		return "", "", 0, ErrInsufficientCoins
	default:
		return Available, Issuance, -amount, nil
	}
}
