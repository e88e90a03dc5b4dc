// Package subscriptions holds the rules of subscriptions that end by themselves (seeds 002 and 004): how long
// a period is, and what purchases, grants, refunds and revocations make of the time that a user has. It does
// no I/O and has no clock.
//
// A user has one subscription of a SKU, whatever was bought of it. It is what its ledger adds up to: the
// entries Extension, Refund and Revocation, in the order of their sequence numbers. Instants are whole
// seconds, rounded down, because clients are told the expiry in Unix seconds. What a user is entitled to is
// decided by the clock alone, to the second, whether or not a timer has fired.
//
// A purchase and a server's grant follow the same arithmetic:
//
//   - Never owned, revoked or run out (at the expiry itself it has run out): a new stretch begins at the instant of the purchase.
//   - Active: the time is added at the current expiry, and belongs to the same stretch.
//   - n pieces are n periods reckoned at once from there: 3 months from 31 December end on 31 March. Three purchases of one month
//     end on 28 March, because the third starts at an expiry that February has cut.
//   - More than 100 years from the purchase on are refused, so ask before you take money.
//
// A refund takes the seconds that were recorded with its own extension:
//
//   - The subscription is active and the extension belongs to its stretch: the expiry moves back by these seconds, but not before the
//     instant of the refund. Extensions of a stretch are one sum: when the time of the first was used up and it is refunded, the time of
//     the second pays for what was used. Nothing is owed beyond that: what is bought next begins anew, in full.
//   - The subscription has run out, or the extension belongs to an earlier stretch: nothing is left of it, and nothing changes.
//   - The subscription was revoked since, whether or not it was bought again: nothing changes.
//   - The extension was refunded before: nothing changes, and there is nothing to record.
//   - A subscription whose every extension was refunded has run out; it is still in the inventory.
//
// A revocation takes the whole item, whatever is left, also one that has run out: afterwards it is as if it
// was never owned. One that is not owned can't be revoked, and there is nothing to record.
//
// Clocks of two processes may differ: entries count in the order of the ledger, each with its own instant. No
// order of instants makes an expiry earlier than the stretch's start.
package subscriptions

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// expirySpread is what the timers of subscriptions that end in one instant are spread over.
const expirySpread = 30 * time.Second

// Status of a subscription, in the words of the API.
type Status string

const (
	None    Status = "none" // never owned, or revoked
	Active  Status = "active"
	Expired Status = "expired"
)

// Subscription is what a user has of one SKU. The zero value is none.
type Subscription struct {
	// Stretch is the time without a gap that ends at ExpiresAt, named by the ID of the extension that began it.
	Stretch   string
	StartedAt *time.Time // of the stretch, inclusive
	ExpiresAt *time.Time // exclusive
}

// Extension is the ledger's entry of one purchase or grant. It is never changed.
type Extension struct {
	ID       string    `json:"id"` // of the order line or grant; unique
	Period   Period    `json:"period"`
	Quantity int64     `json:"quantity"` // of periods
	At       time.Time `json:"at"`
	Stretch  string    `json:"stretch"` // its own ID when it began one
	// AddedSeconds is what the periods came to. A refund takes this, whatever the zone or the period of the
	// SKU is by then.
	AddedSeconds int64 `json:"added_seconds"`
	Refunded     bool  `json:"-"` // the ledger has a Refund of it
}

// Refund is the ledger's entry of taking one extension back. An extension has at most one.
type Refund struct {
	ExtensionID  string    `json:"extension_id"`
	At           time.Time `json:"at"`
	TakenSeconds int64     `json:"taken_seconds"` // from 0, when nothing was left of it, to the extension's AddedSeconds
}

// Revocation is the ledger's entry of taking the whole subscription.
type Revocation struct {
	At time.Time `json:"at"`
}

// Status tells where the subscription stands, by the clock.
func (s Subscription) Status(now time.Time) Status {
	switch {
	case s.ExpiresAt == nil:
		return None
	case now.Before(*s.ExpiresAt):
		return Active
	default:
		return Expired
	}
}

// Extend adds so many periods, by an order line or grant of this ID, which must be new to the ledger. Days
// and longer are those of the zone. It answers ErrInvalidPeriod, ErrInvalidQuantity or ErrTooLong, and then
// nothing has changed.
func (s Subscription) Extend(id string, period Period, quantity int64, at time.Time, zone *time.Location) (Subscription, Extension, error) {
	total, err := period.Times(quantity)
	if err != nil {
		return s, Extension{}, err
	}
	at = wholeSecond(at)
	start, stretch := at, id
	if s.Status(at) == Active {
		start, stretch = *s.ExpiresAt, s.Stretch
	}
	end := total.After(start, zone)
	if end.After(Period{Year, longest[Year]}.After(at, zone)) {
		return s, Extension{}, ErrTooLong
	}
	e := Extension{ID: id, Period: period, Quantity: quantity, At: at, Stretch: stretch, AddedSeconds: end.Unix() - start.Unix()}
	return s.extended(e), e, nil
}

// extended does what was recorded.
func (s Subscription) extended(e Extension) Subscription {
	if e.Stretch == e.ID {
		s = Subscription{Stretch: e.ID, StartedAt: &e.At, ExpiresAt: &e.At}
	}
	expiry := s.ExpiresAt.Add(time.Duration(e.AddedSeconds) * time.Second)
	s.ExpiresAt = &expiry
	return s
}

// Refund takes back what is left of one extension. Nil when it was refunded before: there is nothing to record.
func (s Subscription) Refund(e Extension, at time.Time) (Subscription, *Refund) {
	if e.Refunded {
		return s, nil
	}
	at = wholeSecond(at)
	if e.Stretch != s.Stretch || s.Status(at) != Active {
		return s, &Refund{ExtensionID: e.ID, At: at}
	}
	expiry := s.ExpiresAt.Add(-time.Duration(e.AddedSeconds) * time.Second)
	if expiry.Before(at) {
		expiry = at
	}
	taken := s.ExpiresAt.Unix() - expiry.Unix()
	s.ExpiresAt = &expiry
	return s, &Refund{ExtensionID: e.ID, At: at, TakenSeconds: taken}
}

// Revoke takes the whole subscription. Nil when there is none: there is nothing to record.
func (s Subscription) Revoke(at time.Time) (Subscription, *Revocation) {
	if s.Status(at) == None {
		return s, nil
	}
	return Subscription{}, &Revocation{At: wholeSecond(at)}
}

// ReminderAt is when to tell the user that the subscription will end: lead before the expiry. Nil when lead
// is not positive, when there is no subscription, and when the whole stretch is no longer than lead: it would
// be told at the purchase.
func (s Subscription) ReminderAt(lead time.Duration) *time.Time {
	if s.ExpiresAt == nil || lead <= 0 {
		return nil
	}
	at := s.ExpiresAt.Add(-lead)
	if !at.After(*s.StartedAt) {
		return nil
	}
	return &at
}

// Jitter is how long after the expiry the timer of a subscription fires, by the name of its workflow.
func Jitter(key string) time.Duration { return store.Jitter(key, expirySpread) }

func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
