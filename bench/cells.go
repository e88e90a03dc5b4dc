package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"
)

// cell is one measurement of a repeat.
type cell struct {
	name    string
	callers int     // closed loop
	load    float64 // open loop instead, at this share of the rate that ours has just reached
	length  time.Duration
	warmUp  time.Duration
	buy     purchase
	// done counts the purchases done within a window; nil takes the callers' word.
	done func(context.Context, window) (int, error)
}

// result is what a cell measured.
type result struct {
	perSecond      float64
	accepted, done []time.Duration // sorted; within the window
	cost           cost            // per purchase, over the whole cell with warm-up and end
}

// The cells.
const (
	emptyBusy     = "empty workflow"
	oursBusy      = "ours over HTTP"
	plainBusy     = "plain Go"
	naiveBusy     = "naive workflow"
	emptyIdle     = "empty workflow, 1 caller"
	oursIdle      = "ours over HTTP, 1 caller"
	oursIdleWait  = "ours over HTTP, 1 caller that waits"
	plainIdle     = "plain Go, 1 caller"
	plainHTTPIdle = "plain Go over HTTP, 1 caller"
	oursLoaded    = "ours over HTTP at 70 %"
)

// settle is how long after a cell its last transactions are counted, and Temporal left alone.
const settle = time.Second

// shops are all ways to buy.
type shops struct {
	stack      *stack
	empty      *emptyShop
	naive      *naiveShop
	plain      *plainShop
	plainHTTP  *plainServer
	front      *storefront
	plainFront *storefront
	watch      *doneWatch
	workers    []worker.Worker
}

func openShops(st *stack) (*shops, error) {
	s := &shops{stack: st,
		empty: &emptyShop{engine: st.engine, ends: newEnds()},
		naive: &naiveShop{engine: st.engine, db: st.plain, product: st.calls},
		plain: &plainShop{db: st.plain, product: st.calls},
		front: newStorefront(st.apiURL),
	}
	var err error
	if s.plainHTTP, err = startPlainServer(s.plain); err != nil {
		return nil, err
	}
	s.plainFront = newStorefront(s.plainHTTP.url)
	for _, w := range []worker.Worker{s.empty.worker(), s.naive.worker()} {
		if err := w.Start(); err != nil {
			return nil, errors.Join(fmt.Errorf("start worker: %w", err), s.close())
		}
		s.workers = append(s.workers, w)
	}
	return s, nil
}

func (s *shops) close() error {
	for _, w := range s.workers {
		w.Stop()
	}
	return s.plainHTTP.server.Close()
}

// cells are those of one repeat, in their order.
func (s *shops) cells(o settings) []cell {
	busy := func(name string, buy purchase) cell {
		return cell{name: name, callers: o.callers, length: o.cell, warmUp: o.cell / 2, buy: buy}
	}
	idle := func(name string, buy purchase) cell {
		return cell{name: name, callers: 1, length: o.cell / 2, warmUp: o.cell / 8, buy: buy}
	}
	ours := busy(oursBusy, s.buyOurs)
	ours.done = s.completedOrders
	loaded := cell{name: oursLoaded, load: 0.7, length: 2 * o.cell, warmUp: o.cell / 2, buy: s.buyOurs}
	return []cell{
		busy(emptyBusy, s.empty.buy), ours, busy(plainBusy, s.plain.buy), busy(naiveBusy, s.naive.buy),
		idle(emptyIdle, s.empty.buy), idle(plainIdle, s.plain.buy), idle(oursIdle, s.buyOurs),
		idle(oursIdleWait, s.buyOursAndWait), idle(plainHTTPIdle, s.buyPlainHTTP),
		loaded,
	}
}

// buyOurs posts and does not wait for more than the answer. The next purchase of the same caller comes when this
// one is done, so that at most as many are in flight as there are callers, as in the other cells; a loop that
// posts again as soon as it is accepted would only measure how fast orders can pile up (ten times as fast).
func (s *shops) buyOurs(ctx context.Context, note *notes) error {
	begin := time.Now()
	id, err := s.front.buy(ctx, anyUser(), false)
	if err != nil {
		return err
	}
	note.accept(begin)
	if err := s.watch.wait(ctx, id); err != nil {
		return err
	}
	note.finish(begin)
	return nil
}

// buyOursAndWait has the API hold the answer until the order is final: done, as a storefront sees it. Throughput
// is not measured this way, because each held answer costs reads that a purchase does not need.
func (s *shops) buyOursAndWait(ctx context.Context, note *notes) error {
	begin := time.Now()
	if _, err := s.front.buy(ctx, anyUser(), true); err != nil {
		return err
	}
	note.finish(begin)
	return nil
}

func (s *shops) buyPlainHTTP(ctx context.Context, note *notes) error {
	begin := time.Now()
	id, err := s.plainFront.buy(ctx, anyUser(), false)
	if err != nil {
		return err
	}
	note.accept(begin)
	if err := s.plainHTTP.wait(ctx, id); err != nil {
		return err
	}
	note.finish(begin)
	return nil
}

// completedOrders counts by the database, which has the last word on what is done.
func (s *shops) completedOrders(ctx context.Context, w window) (count int, err error) {
	err = s.stack.served.Pool().QueryRow(ctx, "SELECT count(*) FROM orders WHERE status = 'completed' AND finished_at >= $1 AND finished_at < $2", w.from, w.to).Scan(&count)
	return count, err
}

// measure runs a cell. The loop runs through: what is done within the window counts, whenever it began, and
// what begins in the window and ends after it does not. A loop that was measured from its start to its last
// purchase would be charged for both ends, the more the slower a single purchase is.
func (s *shops) measure(ctx context.Context, c cell, openRate float64) (result, error) {
	before, err := s.stack.usage(ctx)
	if err != nil {
		return result{}, err
	}
	every := 25 * time.Millisecond // of some 400 that a purchase takes then
	if c.callers == 1 {
		every = 5 * time.Millisecond
	}
	s.watch = newDoneWatch(s.stack.served, every)
	note := &notes{}
	begin := time.Now()
	w := window{from: begin.Add(c.warmUp), to: begin.Add(c.warmUp + c.length)}

	group, groupCtx := errgroup.WithContext(ctx)
	watchCtx, stopWatch := context.WithCancel(groupCtx)
	group.Go(func() error { return s.watch.run(watchCtx) })
	group.Go(func() error {
		defer stopWatch()
		if c.callers > 0 {
			return closedLoop(groupCtx, c.callers, w.to, c.buy, note)
		}
		return openLoop(groupCtx, openRate, w.to, c.buy, note)
	})
	if err := group.Wait(); err != nil {
		return result{}, fmt.Errorf("%s: %w", c.name, err)
	}
	if err := pause(ctx, settle); err != nil {
		return result{}, err
	}
	after, err := s.stack.usage(ctx)
	if err != nil {
		return result{}, err
	}
	r := result{accepted: w.within(note.accepted), done: w.within(note.done), cost: after.per(note.started, before)}
	count := len(r.done)
	if c.done != nil {
		if count, err = c.done(ctx, w); err != nil {
			return result{}, err
		}
	}
	r.perSecond = float64(count) / c.length.Seconds()
	return r, nil
}
