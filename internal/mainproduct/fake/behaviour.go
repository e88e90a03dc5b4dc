package fake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a way to misbehave.
type Kind string

const (
	Refuse        Kind = "refuse"         // answer success:false with Code, Message and RetryAllowed
	Hang          Kind = "hang"           // never answer, until the client gives up
	Delay         Kind = "delay"          // answer rightly, DelayMS late; the crediting takes place even when the client is gone
	ErrorStatus   Kind = "status"         // answer Status (500 when 0), not in JSON
	Drop          Kind = "drop"           // close the connection without an answer
	Twice         Kind = "twice"          // answer rightly, with two responses on the connection
	DoubleBody    Kind = "double_body"    // answer rightly, the JSON object twice in one body
	Garbage       Kind = "garbage"        // answer 200 with bytes that are no text
	Empty         Kind = "empty"          // answer 200 with nothing
	WrongContent  Kind = "wrong_content"  // answer 200 with an HTML page
	Truncated     Kind = "truncated"      // answer rightly, the JSON cut in the middle
	NotIdempotent Kind = "not_idempotent" // credit again on every repeat; goes together with any other kind
)

// Kinds lists every way to misbehave.
func Kinds() []Kind {
	return []Kind{Refuse, Hang, Delay, ErrorStatus, Drop, Twice, DoubleBody, Garbage, Empty, WrongContent, Truncated, NotIdempotent}
}

// The calls that a behaviour can be about.
const (
	OnCredit  = "credit"
	OnInquiry = "inquiry"
	OnReward  = "reward"
)

// maxMilliseconds is a day: longer times are mistakes, and very long ones overflow.
const maxMilliseconds = 24 * 60 * 60 * 1000

// Behaviour is one misbehaviour and the calls that it is for. Without conditions it is for all calls;
// every condition that is given must hold. Of several behaviours that fit a call, the first acts.
type Behaviour struct {
	Kind Kind `json:"kind"`
	// On is the call it is about: OnCredit, also when empty, OnInquiry or OnReward.
	On string `json:"on,omitempty"`

	// Fraction of the fitting calls, 0 to 1; nil is all of them.
	Fraction *float64 `json:"fraction,omitempty"`
	// Users are prefixes of user ids, Orders of order ids and of rewards' keys; one of them must fit. An
	// inquiry has no user.
	Users  []string `json:"users,omitempty"`
	Orders []string `json:"orders,omitempty"`
	// Calls is how many calls it still acts on; 0 is no limit. It counts down.
	Calls int `json:"calls,omitempty"`
	// DurationMS is how long it lasts from when it is set, in milliseconds; 0 is for ever.
	DurationMS int64 `json:"duration_ms,omitempty"`

	// CreditFirst makes the crediting happen before the misbehaviour. Otherwise it happens afterwards
	// (Delay) or never. Refuse never credits; Twice, DoubleBody and Truncated always do.
	CreditFirst bool `json:"credit_first,omitempty"`
	// DelayMS is for Delay, in milliseconds.
	DelayMS int64 `json:"delay_ms,omitempty"`
	// Status is the HTTP status of ErrorStatus and Refuse; 0 takes the usual one.
	Status int `json:"status,omitempty"`
	// Code, Message and RetryAllowed are for Refuse. An empty code is USER_NOT_FOUND.
	Code         string `json:"code,omitempty"`
	Message      string `json:"message,omitempty"`
	RetryAllowed bool   `json:"retry_allowed,omitempty"`

	// ID, ExpiresAt and Fired are told, not set: its number, its end, and how many calls it acted on.
	ID        int        `json:"id,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Fired     int        `json:"fired,omitempty"`
}

// Validate names every mistake of a behaviour.
func (b Behaviour) Validate() error {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	if !slices.Contains(Kinds(), b.Kind) {
		wrong("unknown kind %q", b.Kind)
	}
	if b.On != "" && b.On != OnCredit && b.On != OnInquiry && b.On != OnReward {
		wrong("on is %s, %s or %s", OnCredit, OnInquiry, OnReward)
	}
	if b.Fraction != nil && !(*b.Fraction >= 0 && *b.Fraction <= 1) {
		wrong("fraction is from 0 to 1")
	}
	if b.Calls < 0 {
		wrong("calls is not negative")
	}
	if b.DurationMS < 0 || b.DurationMS > maxMilliseconds || b.DelayMS < 0 || b.DelayMS > maxMilliseconds {
		wrong("duration_ms and delay_ms are from 0 to %d", maxMilliseconds)
	}
	if b.Status != 0 && (b.Status < 200 || b.Status > 599) {
		wrong("status is from 200 to 599")
	}
	return errors.Join(mistakes...)
}

func (b Behaviour) fits(on, userID, orderID string) bool {
	wanted := b.On
	if wanted == "" {
		wanted = OnCredit
	}
	return wanted == on && hasPrefix(userID, b.Users) && hasPrefix(orderID, b.Orders)
}

func hasPrefix(id string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(id, p) })
}

// refusal is what the behaviour makes of an order; nil unless it refuses.
func (b *Behaviour) refusal() *Refusal {
	if b == nil || b.Kind != Refuse {
		return nil
	}
	code, message := b.Code, b.Message
	if code == "" {
		code = CodeUserNotFound
	}
	if message == "" {
		message = defaultMessages[code]
	}
	return &Refusal{Code: code, Message: message, RetryAllowed: b.RetryAllowed}
}

// behaviours are the misbehaviours in force.
type behaviours struct {
	now    func() time.Time
	random func() float64 // 0 to below 1

	mu     sync.Mutex
	list   []*Behaviour
	lastID int
}

// set replaces all behaviours, or adds to them. Nothing changes when one is wrong.
func (s *behaviours) set(list []Behaviour, keep bool) error {
	for i, b := range list {
		if err := b.Validate(); err != nil {
			return fmt.Errorf("behaviour %d: %w", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !keep {
		s.list = nil
	}
	for _, b := range list {
		s.lastID++
		b.ID, b.Fired, b.ExpiresAt = s.lastID, 0, nil
		if b.DurationMS > 0 {
			end := s.now().Add(time.Duration(b.DurationMS) * time.Millisecond)
			b.ExpiresAt = &end
		}
		s.list = append(s.list, &b)
	}
	return nil
}

// all returns the behaviours in force.
func (s *behaviours) all() []Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetExpired()
	list := make([]Behaviour, 0, len(s.list))
	for _, b := range s.list {
		list = append(list, *b)
	}
	return list
}

// pick returns the behaviour that acts on a call, nil for none, and whether repeats credit again.
func (s *behaviours) pick(on, userID, orderID string) (acting *Behaviour, notIdempotent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return nil, false
	}
	s.forgetExpired()
	for _, b := range s.list {
		modifies := b.Kind == NotIdempotent
		taken := acting != nil
		if modifies {
			taken = notIdempotent
		}
		if taken || !b.fits(on, userID, orderID) || b.Fraction != nil && s.random() >= *b.Fraction {
			continue
		}
		b.Fired++
		if modifies {
			notIdempotent = true
		} else {
			picked := *b
			acting = &picked
		}
		if b.Calls > 0 {
			if b.Calls--; b.Calls == 0 {
				b.Calls = used
			}
		}
	}
	s.list = slices.DeleteFunc(s.list, func(b *Behaviour) bool { return b.Calls == used })
	return acting, notIdempotent
}

// used marks a behaviour that has acted on all of its calls, as 0 means no limit.
const used = -1

func (s *behaviours) forgetExpired() {
	now := s.now()
	s.list = slices.DeleteFunc(s.list, func(b *Behaviour) bool { return b.ExpiresAt != nil && !now.Before(*b.ExpiresAt) })
}
