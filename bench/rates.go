package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/quickpass/quickpass/internal/devstack"
)

// repeat is one round through all cells.
type repeat struct {
	cells  map[string]result
	events map[string]int // history events of a completed workflow, of ours and of the empty one
}

func measureRates(ctx context.Context, o settings, st *stack, p *progress) (repeats []repeat, err error) {
	shops, err := openShops(st)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, shops.close()) }()
	cells := shops.cells(o)
	if err := warmUp(ctx, shops, cells, p); err != nil {
		return nil, err
	}
	for n := range o.repeats {
		round := repeat{cells: map[string]result{}}
		for k, c := range cells {
			if n == 0 && c.name == oursBusy {
				go profileServe(ctx, st, o, "serve", p)
			}
			r, err := shops.measure(ctx, c, c.load*round.cells[oursBusy].perSecond)
			if err != nil {
				return nil, err
			}
			if r.perSecond == 0 {
				return nil, fmt.Errorf("%s: nothing was done within %s; longer cells (-cell) may help", c.name, c.length)
			}
			round.cells[c.name] = r
			p.say("cell %2d of %d, repeat %d of %d: %-36s %7.1f/s  accept p50 %6.1f ms  done p50 %7.1f ms", k+1, len(cells), n+1, o.repeats,
				c.name, r.perSecond, ms(percentile(r.accepted, 50)), ms(percentile(r.done, 50)))
		}
		if round.events, err = shops.countEvents(ctx); err != nil {
			return nil, err
		}
		repeats = append(repeats, round)
	}
	return repeats, nil
}

// warmUp runs every way of buying once for a moment: connections, caches, prepared statements, task queues.
func warmUp(ctx context.Context, s *shops, cells []cell, p *progress) error {
	p.say("warming up")
	for _, c := range cells {
		c.length, c.warmUp = time.Second, time.Second
		if _, err := s.measure(ctx, c, 20); err != nil {
			return err
		}
	}
	return nil
}

// countEvents looks at the newest workflows of both kinds.
func (s *shops) countEvents(ctx context.Context) (map[string]int, error) {
	var order string
	err := s.stack.served.Pool().QueryRow(ctx, "SELECT max(order_id) FROM orders WHERE status = 'completed'").Scan(&order)
	if err != nil {
		return nil, err
	}
	ours, err := s.stack.historyEvents(ctx, "purchase/"+order)
	if err != nil {
		return nil, err
	}
	note := &notes{}
	id, err := s.empty.start(ctx, note)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, settle); err != nil { // its end reaches the history a little later than us
		return nil, err
	}
	empty, err := s.stack.historyEvents(ctx, id)
	return map[string]int{oursBusy: ours, emptyBusy: empty}, err
}

// profileServe fetches a CPU profile of `quickpass serve` during a busy cell, if it serves any.
func profileServe(ctx context.Context, st *stack, o settings, name string, p *progress) {
	if o.profileDir == "" {
		return
	}
	err := fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", st.pprofURL, int(o.cell.Seconds())), o.profileDir+"/"+name+".pprof")
	if err != nil {
		p.say("no CPU profile of quickpass serve: %v", err)
	}
}

func fetch(ctx context.Context, address, path string) (err error) {
	answer, err := devstack.Get(ctx, address)
	if err != nil {
		return err
	}
	defer answer.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = file.ReadFrom(answer)
	return err
}
