package main

import (
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// scenario is a main product that is slow or hangs, and who is not to notice.
type scenario struct {
	name  string
	load  time.Duration
	rate  float64       // purchases a second; 0: the setting
	delay time.Duration // of every answer
	// hang is set so long after the load began; nil: nobody hangs.
	hang      *fake.Behaviour
	hangAfter time.Duration
	who       string
	// others picks the purchases that should not notice, by user and by the time since the load began.
	others func(user string, since time.Duration) bool
}

const (
	hangForAll = 20 * time.Second
	beforeHang = 4 * time.Second
)

func scenarios() []scenario {
	everybody := func(string, time.Duration) bool { return true }
	answersIn := func(delay, load time.Duration) scenario {
		return scenario{name: "answers in " + delay.String(), delay: delay, load: load, who: "all", others: everybody}
	}
	few := answersIn(20*time.Second, time.Second)
	few.name, few.rate = "answers in 20s, a few orders", 20
	return []scenario{
		answersIn(0, 8*time.Second),
		answersIn(100*time.Millisecond, 8*time.Second),
		answersIn(time.Second, 8*time.Second),
		answersIn(5*time.Second, 12*time.Second),
		{name: "hangs for a tenth of the users", load: 20 * time.Second, who: "the other users",
			hang:   &fake.Behaviour{Kind: fake.Hang, Users: []string{hangPrefix}},
			others: func(user string, _ time.Duration) bool { return !strings.HasPrefix(user, hangPrefix) }},
		{name: "hangs for all, for 20 s", load: beforeHang + hangForAll + 10*time.Second, who: "bought after the hang",
			hang:      &fake.Behaviour{Kind: fake.Hang, DurationMS: hangForAll.Milliseconds()},
			hangAfter: beforeHang,
			// A moment of grace, as the two programs have no common start.
			others: func(_ string, since time.Duration) bool { return since > beforeHang+hangForAll+200*time.Millisecond }},
		few,
	}
}

// behaviours are those at the start.
func (c scenario) behaviours() []fake.Behaviour {
	var all []fake.Behaviour
	if c.hang != nil && c.hangAfter == 0 {
		all = append(all, *c.hang)
	}
	if c.delay > 0 {
		all = append(all, fake.Behaviour{Kind: fake.Delay, DelayMS: c.delay.Milliseconds()})
	}
	return all
}

// countedFrom is when purchases done begin to count for the rate: one answer after the load began, or when the
// hang is over.
func (c scenario) countedFrom() time.Duration {
	if c.hangAfter > 0 {
		return c.hangAfter + hangForAll
	}
	return c.delay
}
