package subscriptions

import (
	"errors"
	"fmt"
)

// Entry is one line of a subscription's ledger: exactly one of the three.
type Entry struct {
	Extended *Extension  `json:"extended,omitempty"`
	Refunded *Refund     `json:"refunded,omitempty"`
	Revoked  *Revocation `json:"revoked,omitempty"`
}

// ErrLedger: the entries are none that the rules can have written.
var ErrLedger = errors.New("impossible ledger of a subscription")

// Fold is what the ledger of one user and SKU, in the order of its sequence, adds up to. It believes the
// recorded seconds of each extension, so that neither another zone nor a new period changes the past, and
// recomputes everything else. It answers ErrLedger.
func Fold(entries []Entry) (Subscription, error) {
	var s Subscription
	extensions := map[string]Extension{}
	for i, entry := range entries {
		var ok bool
		switch {
		case entry.Extended != nil:
			s, ok = s.foldExtension(*entry.Extended, extensions)
		case entry.Refunded != nil:
			s, ok = s.foldRefund(*entry.Refunded, extensions)
		case entry.Revoked != nil:
			var revocation *Revocation
			s, revocation = s.Revoke(entry.Revoked.At)
			ok = revocation != nil
		}
		if !ok {
			return Subscription{}, fmt.Errorf("%w: entry %d", ErrLedger, i)
		}
	}
	return s, nil
}

func (s Subscription) foldExtension(e Extension, extensions map[string]Extension) (Subscription, bool) {
	stretch := e.ID
	if s.Status(e.At) == Active {
		stretch = s.Stretch
	}
	if _, repeated := extensions[e.ID]; repeated || e.Stretch != stretch || e.AddedSeconds < 1 {
		return s, false
	}
	extensions[e.ID] = e
	return s.extended(e), true
}

func (s Subscription) foldRefund(recorded Refund, extensions map[string]Extension) (Subscription, bool) {
	e, known := extensions[recorded.ExtensionID]
	s, refund := s.Refund(e, recorded.At)
	if !known || refund == nil || refund.TakenSeconds != recorded.TakenSeconds {
		return s, false
	}
	e.Refunded = true
	extensions[e.ID] = e
	return s, true
}
