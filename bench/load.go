package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// purchase is one purchase from its request to its end. It notes when it was accepted and when it was done.
type purchase func(ctx context.Context, note *notes) error

// notes collects when purchases were accepted and done.
type notes struct {
	mu       sync.Mutex
	accepted []sample
	done     []sample
	started  int
}

// sample is an end and how long it took to get there.
type sample struct {
	at   time.Time
	took time.Duration
}

func (n *notes) accept(since time.Time) { n.add(&n.accepted, since) }
func (n *notes) finish(since time.Time) { n.add(&n.done, since) }

func (n *notes) add(to *[]sample, since time.Time) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	*to = append(*to, sample{at: now, took: now.Sub(since)})
}

func (n *notes) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started++
}

// window is the measured part of a cell.
type window struct{ from, to time.Time }

// within sorts the times of what ended inside of the window.
func (w window) within(samples []sample) []time.Duration {
	var times []time.Duration
	for _, s := range samples {
		if !s.at.Before(w.from) && s.at.Before(w.to) {
			times = append(times, s.took)
		}
	}
	slices.Sort(times)
	return times
}

// closedLoop keeps callers busy until the end: each makes its next purchase when the one before is done. It
// returns when the last is.
func closedLoop(ctx context.Context, callers int, end time.Time, buy purchase, note *notes) error {
	group, ctx := errgroup.WithContext(ctx)
	for range callers {
		group.Go(func() error {
			for time.Now().Before(end) && ctx.Err() == nil {
				note.start()
				if err := buy(ctx, note); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// openLoop makes purchases at random instants (Poisson), whether those before are done or not, as many
// independent buyers would.
func openLoop(ctx context.Context, perSecond float64, end time.Time, buy purchase, note *notes) error {
	group, ctx := errgroup.WithContext(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := time.Now(); due.Before(end); due = due.Add(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second))) {
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), group.Wait())
		}
		note.start()
		group.Go(func() error { return buy(ctx, note) })
	}
	return group.Wait()
}

// pause waits, unless the run is given up.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
