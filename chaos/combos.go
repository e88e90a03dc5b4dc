package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// combos are sequences that chance brings about too rarely. Each comes once in a run that is long enough, at a moment
// when nothing else fails, with purchases of its own.
var combos = []struct {
	name string
	run  func(*chaos, context.Context)
}{
	// A crediting that nobody of ours has seen, and no way to ask again: the orders must be flagged.
	{"credits, every worker dies, then the main product is away", func(c *chaos, ctx context.Context) {
		c.mood(ctx, fake.Behaviour{Kind: fake.Hang, CreditFirst: true})
		c.buy(ctx, 10)
		pause(ctx, time.Second)
		c.together(ctx, down{"serve", crash, 0}, down{"worker", crash, 0}, down{"fake", crash, 25 * time.Second})
	}},
	// The first call is still under way at the main product when the second is refused: the orders must be flagged.
	{"is slow, refuses the repeat, then credits", func(c *chaos, ctx context.Context) {
		c.mood(ctx, fake.Behaviour{Kind: fake.Delay, DelayMS: 6500})
		c.buy(ctx, 10)
		pause(ctx, 3*time.Second)
		c.mood(ctx, fake.Behaviour{Kind: fake.Refuse, Code: "LIMIT_REACHED", Message: "Daily limit reached"})
		pause(ctx, 4*time.Second)
	}},
	// All tries time out, an inquiry finds nothing yet, the crediting comes afterwards: the orders must be flagged.
	{"credits 25 s late", func(c *chaos, ctx context.Context) {
		c.mood(ctx, fake.Behaviour{Kind: fake.Delay, DelayMS: 25_000})
		c.buy(ctx, 10)
		pause(ctx, 20*time.Second)
	}},
	// Orders wait to be started and nobody can start them: the API must stop in time all the same.
	{"Temporal away for 55 s, SIGTERM to the API meanwhile", func(c *chaos, ctx context.Context) {
		var group sync.WaitGroup
		group.Go(func() { c.together(ctx, down{"temporal", crash, 55 * time.Second}) })
		if pause(ctx, time.Second) {
			c.buy(ctx, 400)
			c.together(ctx, down{"api", terminate, time.Second})
		}
		group.Wait()
	}},
}

// down is one process made to fail, and for how long.
type down struct {
	name, kind string
	lasting    time.Duration
}

// runCombos spreads them over the run. A run under two minutes has none.
func (c *chaos) runCombos(ctx context.Context, lasting time.Duration) {
	if lasting < 2*time.Minute {
		return
	}
	for _, combo := range combos {
		if !pause(ctx, lasting/time.Duration(4*len(combos))) {
			return
		}
		c.turn.Lock()
		c.acting.Wait()
		c.stack.moods.Lock()
		c.mood(ctx)
		if c.delivers(ctx) {
			c.counts.add("together: " + combo.name)
			combo.run(c, ctx)
		} else if ctx.Err() == nil {
			c.findings.add("purchases are delivered within two minutes when all is well", "not before: %s", combo.name)
		}
		c.mood(context.WithoutCancel(ctx))
		c.stack.moods.Unlock()
		c.turn.Unlock()
	}
}

// delivers waits until a new purchase is delivered at once: what earlier faults held up is done with.
func (c *chaos) delivers(ctx context.Context) bool {
	for begin := time.Now(); time.Since(begin) < 2*time.Minute && ctx.Err() == nil; {
		probe := c.buy(ctx, 1)[0].orderID
		for range 20 {
			var status string
			err := c.stack.db.Pool().QueryRow(ctx, "SELECT status FROM orders WHERE order_id = $1", probe).Scan(&status)
			if err == nil && status == "completed" {
				return true
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	return false
}

// buy makes so many purchases at once and returns when each has its answer.
func (c *chaos) buy(ctx context.Context, count int) []*intent {
	c.bought++
	wishes := make([]*intent, count)
	var group sync.WaitGroup
	for n := range wishes {
		wishes[n] = &intent{
			key:      fmt.Sprintf("chaos-combo-%d-%d", c.bought, n),
			user:     fmt.Sprintf("buyer-%d", n%buyers),
			sku:      shop[0].sku,
			quantity: 1,
		}
		c.load.note(wishes[n])
		group.Go(func() {
			c.load.pursue(context.WithoutCancel(ctx), wishes[n], rand.New(rand.NewPCG(uint64(c.bought), uint64(n))))
		})
	}
	group.Wait()
	return wishes
}

// mood makes the main product misbehave in this way and no other; none makes it well. Who calls holds stack.moods.
func (c *chaos) mood(ctx context.Context, list ...fake.Behaviour) {
	for ctx.Err() == nil && setMoods(ctx, c.stack, list) != nil {
		pause(ctx, 100*time.Millisecond)
	}
}

// together makes processes fail at the same time.
func (c *chaos) together(ctx context.Context, all ...down) {
	var group sync.WaitGroup
	for _, one := range all {
		for _, victim := range c.stack.components {
			if victim.name == one.name {
				group.Go(func() {
					victim.mu.Lock()
					defer victim.mu.Unlock()
					c.fail(ctx, victim, one.kind, one.lasting)
				})
			}
		}
	}
	group.Wait()
}
