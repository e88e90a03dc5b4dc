package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// memoryResult is how much memory a fresh `quickpass serve` takes while it sells, in MB.
type memoryResult struct {
	purchases          int
	fresh              float64 // before the first purchase
	first, middle, end float64 // medians of the first, the middle and the last tenth
	highest            float64
	perSecond          float64 // purchases
}

const sampleEvery = 200 * time.Millisecond

// growthAllowed is how much the last tenth may be above the middle one and still be called flat: the garbage
// collector alone moves the figure by some percent.
const growthAllowed = 1.10

func (m memoryResult) flat() bool { return m.end <= m.middle*growthAllowed }

// measureMemory sells until the number of purchases is reached, with the same callers in flight all the time.
func measureMemory(ctx context.Context, o settings, st *stack, p *progress) (*memoryResult, error) {
	p.say("memory: %d purchases by a fresh quickpass serve", o.memoryPurchases)
	if err := st.serve.Restart(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	m := &memoryResult{purchases: o.memoryPurchases, fresh: residentMB(st.serve.PID())}
	watch := newDoneWatch(st.served, 25*time.Millisecond)
	front := newStorefront(st.apiURL)
	sold := &counter{limit: o.memoryPurchases}
	samples := make([]float64, o.memoryPurchases+1) // by how many purchases had been made; 0: no sample

	begin := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	sideCtx, stopSide := context.WithCancel(groupCtx)
	group.Go(func() error { return watch.run(sideCtx) })
	group.Go(func() error { return sampleMemory(sideCtx, st, sold, samples, p) })
	group.Go(func() error {
		defer stopSide()
		callers, callCtx := errgroup.WithContext(groupCtx)
		for range o.callers {
			callers.Go(func() error {
				for sold.next() {
					id, err := front.buy(callCtx, anyUser(), false)
					if err != nil {
						return err
					}
					if err := watch.wait(callCtx, id); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return callers.Wait()
	})
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	m.perSecond = float64(m.purchases) / time.Since(begin).Seconds()
	m.first, m.middle, m.end = medianBetween(samples, 0, 0.1), medianBetween(samples, 0.45, 0.55), medianBetween(samples, 0.9, 1)
	for _, mb := range samples {
		m.highest = max(m.highest, mb)
	}
	return m, nil
}

// counter hands out purchases up to a limit.
type counter struct {
	mu    sync.Mutex
	count int
	limit int
}

func (c *counter) next() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == c.limit {
		return false
	}
	c.count++
	return true
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func sampleMemory(ctx context.Context, st *stack, sold *counter, samples []float64, p *progress) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	told := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		count := sold.value()
		samples[count] = residentMB(st.serve.PID())
		if tenth := count * 10 / sold.limit; tenth > told {
			told = tenth
			p.say("memory: %6d purchases, %4.0f MB", count, samples[count])
		}
	}
}

// medianBetween is the median of the samples in a part of the way.
func medianBetween(samples []float64, from, to float64) float64 {
	last := float64(len(samples) - 1)
	var taken []float64
	for _, mb := range samples[int(from*last) : int(to*last)+1] {
		if mb > 0 {
			taken = append(taken, mb)
		}
	}
	if len(taken) == 0 {
		return 0
	}
	return spreadOf(taken).median
}
