package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// chaos makes processes fail and start again.
type chaos struct {
	stack    *stack
	findings *findings
	counts   *counts
	load     *load
	turn     sync.Mutex     // of the random faults, or of a combo
	acting   sync.WaitGroup // random faults that last beyond their turn
	bought   int            // combos' rounds of purchases
}

// How a process is made to fail.
const (
	crash     = "SIGKILL"
	terminate = "SIGTERM"
	freeze    = "SIGSTOP" // alive, but not to be heard: what it holds is neither done nor lost
)

// run acts until ctx ends and returns when everything is up again.
func (c *chaos) run(ctx context.Context, r *rand.Rand) {
	for round := 1; pause(ctx, between(r, time.Second, 5*time.Second)); round++ {
		if round%5 == 0 { // all is up for a while, so that work gets done and the next fault meets it half done
			c.acting.Wait()
			pause(ctx, between(r, 8*time.Second, 16*time.Second))
		}
		c.turn.Lock()
		c.round(ctx, r)
		c.turn.Unlock()
	}
	c.acting.Wait()
}

// round makes one process fail, or two.
func (c *chaos) round(ctx context.Context, r *rand.Rand) {
	victims := []*component{c.pick(r, nil)}
	if r.IntN(4) == 0 {
		victims = append(victims, c.pick(r, victims[0]))
		c.counts.add("two at once")
	}
	var group sync.WaitGroup
	for _, victim := range victims {
		kind, lasting := c.kindFor(victim, r), between(r, 100*time.Millisecond, 6*time.Second)
		if r.IntN(8) == 0 {
			lasting += 10 * time.Second // long enough for tries to run out
		}
		group.Go(func() { c.act(ctx, victim, kind, lasting) })
	}
	// Mostly one fault after the other; sometimes the next one comes while this one lasts.
	if r.IntN(3) == 0 {
		c.acting.Go(group.Wait)
		return
	}
	group.Wait()
}

func (c *chaos) pick(r *rand.Rand, besides *component) *component {
	for {
		if one := c.stack.components[r.IntN(len(c.stack.components))]; one != besides {
			return one
		}
	}
}

func (c *chaos) kindFor(victim *component, r *rand.Rand) string {
	switch n := r.IntN(100); {
	case n < 60:
		return crash
	case n < 85 || victim.own == nil:
		return terminate
	default:
		return freeze
	}
}

// act makes one process fail and starts it again, unless another fault has it already.
func (c *chaos) act(ctx context.Context, victim *component, kind string, down time.Duration) {
	if !victim.mu.TryLock() {
		return
	}
	defer victim.mu.Unlock()
	c.fail(ctx, victim, kind, down)
}

func (c *chaos) fail(ctx context.Context, victim *component, kind string, down time.Duration) {
	c.counts.add(kind + " " + victim.name)
	switch kind {
	case crash:
		if err := victim.kill(); err != nil {
			c.findings.add("everything can be killed", "%s: %v", victim.name, err)
		}
	case terminate:
		begin := time.Now()
		err := victim.term()
		c.counts.longest("stop "+victim.name, time.Since(begin))
		if err != nil && victim.ours {
			c.findings.add("SIGTERM ends in exit code 0 within the drain time", "%s after %s, down beside it: %v: %v",
				victim.name, time.Since(begin).Round(time.Second), c.stack.down(), err)
		}
	case freeze:
		victim.own.signal(syscall.SIGSTOP)
		pause(ctx, down)
		victim.own.signal(syscall.SIGCONT)
		return
	}
	pause(ctx, down)
	c.bringUp(victim)
}

// bringUp starts a process until it runs, as a supervisor would: what it needs may be down itself.
func (c *chaos) bringUp(victim *component) {
	ctx, cancel := context.WithTimeout(context.Background(), upTimeout)
	defer cancel()
	begin := time.Now()
	for {
		err := victim.start(ctx)
		if err == nil {
			c.counts.longest("start "+victim.name, time.Since(begin))
			return
		}
		if victim.ours {
			c.findings.add("QuickPass starts whatever is down", "%s, down beside it: %v: %v", victim.name, c.stack.down(), err)
		}
		c.counts.add("start failed " + victim.name)
		if !pause(ctx, 500*time.Millisecond) {
			c.findings.add("everything starts again", "%s does not within %s: %v", victim.name, upTimeout, err)
			return
		}
	}
}

// keep starts what ended by itself, until ctx ends. For QuickPass that is a finding; Temporal may give up while it
// has no database.
func (c *chaos) keep(ctx context.Context) {
	for pause(ctx, 200*time.Millisecond) {
		for _, one := range c.stack.components {
			if !one.mu.TryLock() {
				continue
			}
			select {
			case <-one.ended():
				c.counts.add("ended by itself " + one.name)
				if one.ours {
					c.findings.add("QuickPass never ends by itself", "%s, exit code %d, down beside it: %v", one.name, one.own.exitCode(), c.stack.down())
				}
				c.bringUp(one)
			default:
			}
			one.mu.Unlock()
		}
	}
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// counts are what happened how often, and how long it took at most.
type counts struct {
	mu    sync.Mutex
	times map[string]int
	most  map[string]time.Duration
}

func newCounts() *counts { return &counts{times: map[string]int{}, most: map[string]time.Duration{}} }

func (c *counts) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[what]++
}

func (c *counts) longest(what string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most[what] = max(c.most[what], d)
}

func (c *counts) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, times := range c.times {
		n += times
	}
	return n
}

// findings are the rules that were broken.
type findings struct {
	stop context.CancelCauseFunc // ends the run at once

	mu    sync.Mutex
	order []string
	rows  map[string][]string
	times map[string]int
	seen  map[string]bool
}

const maxRows = 20

func newFindings(stop context.CancelCauseFunc) *findings {
	return &findings{stop: stop, rows: map[string][]string{}, times: map[string]int{}, seen: map[string]bool{}}
}

// add notes that a rule is broken; the run goes on, and fails at its end.
func (f *findings) add(rule, format string, args ...any) {
	row := fmt.Sprintf(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[rule+": "+row] { // judged twice, before and after the replays
		return
	}
	f.seen[rule+": "+row] = true
	if f.times[rule] == 0 {
		f.order = append(f.order, rule)
		fmt.Printf("  BROKEN: %s: %s\n", rule, row)
	}
	f.times[rule]++
	if len(f.rows[rule]) < maxRows {
		f.rows[rule] = append(f.rows[rule], row)
	}
}

func (f *findings) broken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.order)
}

func (c *counts) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times[what]
}
