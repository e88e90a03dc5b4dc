package fake

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/shopspring/decimal"
)

// Order is what one crediting call asked for (seed 000), or one call for a reward (seed 001): its order id is
// the key of idempotency, its currency the type of the reward.
type Order struct {
	OrderID     string          `json:"order_id"`
	UserID      string          `json:"user_id"`
	Amount      decimal.Decimal `json:"amount"` // in Currency; a string in JSON
	Currency    string          `json:"currency"`
	ProductName string          `json:"product_name,omitempty"`
	Source      string          `json:"source,omitempty"`
	Parameters  Parameters      `json:"parameters,omitempty"`
	TaskID      int64           `json:"task_id,omitempty"` // of a reward; 0 for orders
	Reason      string          `json:"reason,omitempty"`  // of a reward
}

func (o Order) equal(other Order) bool {
	sameAmount := o.Amount.Equal(other.Amount)
	o.Amount, other.Amount = decimal.Decimal{}, decimal.Decimal{}
	return sameAmount && o == other
}

// Refusal is why an order was not credited.
type Refusal struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	RetryAllowed bool   `json:"retry_allowed"`
}

// Entry is what the books know of one order.
type Entry struct {
	Order
	// Calls counts the crediting calls received for this order, whatever became of them.
	Calls int `json:"calls"`
	// Credited counts how often it was credited: 0 or 1, more only under the behaviour not_idempotent.
	Credited int `json:"credited"`
	// TransactionID is that of the last crediting, empty when there was none.
	TransactionID string `json:"transaction_id,omitempty"`
	// NewBalance is the user's balance right after the last crediting, in Currency.
	NewBalance decimal.Decimal `json:"new_balance"`
	// Refusal is why the order was refused, nil when it was not, or was credited afterwards.
	Refusal    *Refusal   `json:"refusal,omitempty"`
	FirstAt    time.Time  `json:"first_at"`
	LastAt     time.Time  `json:"last_at"`
	CreditedAt *time.Time `json:"credited_at,omitempty"`
}

// Totals sums the books up.
type Totals struct {
	Orders         int                        `json:"orders"`          // orders ever received
	CreditedOrders int                        `json:"credited_orders"` // orders credited at least once
	Calls          int                        `json:"calls"`           // crediting calls received
	Credits        int                        `json:"credits"`         // creditings; more than CreditedOrders means doubled ones
	Rewards        int                        `json:"rewards"`         // of Orders: rewards of tasks
	Amounts        map[string]decimal.Decimal `json:"amounts"`         // credited, by currency
}

// Balance is what a user owns in one currency.
type Balance struct {
	UserID   string          `json:"user_id"`
	Currency string          `json:"currency"`
	Balance  decimal.Decimal `json:"balance"`
}

type account struct{ userID, currency string }

// Books are the fake's accounts: every order and reward received, every crediting, every balance. They are an
// append-only file of JSON lines, and what is in memory is that file replayed. Safe for concurrent use.
type Books struct {
	journal *journal

	mu       sync.RWMutex
	entries  map[string]*Entry
	sequence []*Entry // in the order of their first call
	balances map[account]decimal.Decimal
	totals   Totals
}

// The operations of a line.
const (
	opCall   = "call"
	opCredit = "credit"
	opRefuse = "refuse"
)

// line is one line of the file.
type line struct {
	Op            string    `json:"op"`
	At            time.Time `json:"at"`
	OrderID       string    `json:"order_id"`
	Order         *Order    `json:"order,omitempty"` // opCall, the first of an order
	TransactionID string    `json:"transaction_id,omitempty"`
	Refusal       *Refusal  `json:"refusal,omitempty"`
}

// OpenBooks opens the books at path, or new ones. An empty path keeps them in memory only. A torn last
// line, left by a crash, is forgotten; its call was never answered. One process at a time may have
// them open.
func OpenBooks(path string, mode Sync) (*Books, error) {
	b := new(Books)
	b.clear()
	j, err := openJournal(path, mode, func(data []byte) error {
		var l line
		if err := json.Unmarshal(data, &l); err != nil {
			return err
		}
		return b.apply(l)
	})
	if err != nil {
		return nil, err
	}
	b.journal = j
	return b, nil
}

func (b *Books) clear() {
	b.entries = map[string]*Entry{}
	b.sequence = nil
	b.balances = map[account]decimal.Decimal{}
	b.totals = Totals{Amounts: map[string]decimal.Decimal{}}
}

// apply is the only function that changes what is in memory, live and at start alike.
func (b *Books) apply(l line) error {
	entry := b.entries[l.OrderID]
	if entry == nil {
		if l.Op != opCall || l.Order == nil {
			return fmt.Errorf("%q of order %q, which was never received", l.Op, l.OrderID)
		}
		entry = &Entry{Order: *l.Order, FirstAt: l.At}
		b.entries[l.OrderID] = entry
		b.sequence = append(b.sequence, entry)
		b.totals.Orders++
		if entry.TaskID != 0 {
			b.totals.Rewards++
		}
	}
	entry.LastAt = l.At
	switch l.Op {
	case opCall:
		entry.Calls++
		b.totals.Calls++
	case opCredit:
		key := account{entry.UserID, entry.Currency}
		b.balances[key] = b.balances[key].Add(entry.Amount)
		b.totals.Amounts[entry.Currency] = b.totals.Amounts[entry.Currency].Add(entry.Amount)
		b.totals.Credits++
		if entry.Credited == 0 {
			b.totals.CreditedOrders++
		}
		entry.Credited++
		entry.TransactionID, entry.NewBalance = l.TransactionID, b.balances[key]
		entry.CreditedAt, entry.Refusal = &l.At, nil
	case opRefuse:
		entry.Refusal = l.Refusal
	default:
		return fmt.Errorf("unknown operation %q", l.Op)
	}
	return nil
}

// record applies a line and appends it to the file. The caller holds the lock and waits for the
// returned number after it has let go.
func (b *Books) record(l line) (int64, error) {
	data, err := json.Marshal(l)
	if err != nil {
		return 0, fmt.Errorf("encode a line of the books: %w", err)
	}
	if err := b.apply(l); err != nil {
		return 0, err
	}
	return b.journal.append(data), nil
}

// receive counts a call. It reports a conflict when the order is known with another content.
func (b *Books) receive(order Order, at time.Time) (conflict bool, n int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := line{Op: opCall, At: at, OrderID: order.OrderID}
	if known := b.entries[order.OrderID]; known == nil {
		l.Order = &order
	} else {
		conflict = !known.equal(order)
	}
	n, err = b.record(l)
	return conflict, n, err
}

// settle decides a received order: it credits it, or refuses it when refusal is given. An order that
// was credited stays as it is, unless again asks for the mistake of crediting it once more. n is the
// line to wait for before the answer.
func (b *Books) settle(orderID string, refusal *Refusal, again bool, at time.Time) (entry Entry, n int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.entries[orderID]
	if known == nil {
		return Entry{}, 0, fmt.Errorf("order %q was never received", orderID) // a reset came in between
	}
	l := line{Op: opCredit, At: at, OrderID: orderID}
	switch {
	case known.Credited > 0 && (!again || refusal != nil):
		return *known, b.journal.last(), nil
	case refusal != nil:
		l.Op, l.Refusal = opRefuse, refusal
	default:
		l.TransactionID = "tx_" + rand.Text()
	}
	n, err = b.record(l)
	return *known, n, err
}

// Entry returns what the books know of an order.
func (b *Books) Entry(orderID string) (Entry, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if entry := b.entries[orderID]; entry != nil {
		return *entry, true
	}
	return Entry{}, false
}

// Entries returns up to limit orders from the offset-th on, in the order of their first call.
func (b *Books) Entries(offset, limit int) []Entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	from := min(max(offset, 0), len(b.sequence))
	to := from + min(max(limit, 0), len(b.sequence)-from)
	entries := make([]Entry, 0, to-from)
	for _, entry := range b.sequence[from:to] {
		entries = append(entries, *entry)
	}
	return entries
}

// Balance returns what a user owns in one currency, zero for anyone unknown.
func (b *Books) Balance(userID, currency string) decimal.Decimal {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.balances[account{userID, currency}]
}

// RecentBalances returns up to limit balances, those of the newest orders first.
func (b *Books) RecentBalances(limit int) []Balance {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var balances []Balance
	seen := map[account]bool{}
	for i := len(b.sequence) - 1; i >= 0 && len(balances) < limit && i >= len(b.sequence)-1000; i-- {
		key := account{b.sequence[i].UserID, b.sequence[i].Currency}
		if amount, ok := b.balances[key]; ok && !seen[key] {
			seen[key] = true
			balances = append(balances, Balance{key.userID, key.currency, amount})
		}
	}
	return balances
}

// Totals sums the books up.
func (b *Books) Totals() Totals {
	b.mu.RLock()
	defer b.mu.RUnlock()
	totals := b.totals
	totals.Amounts = maps.Clone(b.totals.Amounts)
	return totals
}

// Reset empties the books, in memory and on disk.
func (b *Books) Reset() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.journal.truncate(); err != nil {
		return err
	}
	b.clear()
	return nil
}

// Close writes what is pending and closes the file. Calls that come later fail.
func (b *Books) Close() error { return b.journal.close() }
