package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
)

// drainTimeout bounds the wait for the end of the last order of a scenario; what is open then is reported.
const drainTimeout = 90 * time.Second

// slowResult is how the others fared while the main product was slow.
type slowResult struct {
	scenario, who, path string
	offered, perSecond  float64 // of the others
	done                []time.Duration
	notDone             int // of the others, when the wait for them was given up
	writeTx             float64
	calls               string // per order of the others, by the main product's books
	repeated            int    // orders of the others with more than one call
	events              int    // history events of one of the others
}

// The two ways of delivering that are compared.
const (
	pathOurs    = "ours"
	pathRegular = "every delivery a regular activity"
)

// seller is one of them.
type seller struct {
	path       string
	db         *postgres.DB
	buy        func(ctx context.Context, user string) (orderID string, err error)
	workflowID func(orderID string) string
}

func measureSlow(ctx context.Context, o settings, st *stack, p *progress) (results []slowResult, err error) {
	regular, err := openRegularShop(st)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, regular.close()) }()
	front := newStorefront(st.apiURL)
	sellers := []seller{
		{path: pathOurs, db: st.served, workflowID: func(id string) string { return "purchase/" + id },
			buy: func(ctx context.Context, user string) (string, error) { return front.buy(ctx, user, false) }},
		{path: pathRegular, db: st.plain, workflowID: regularID, buy: regular.buy},
	}
	for _, c := range scenarios() {
		if c.rate == 0 {
			c.rate = o.slowRate
		}
		for _, s := range sellers {
			r, err := measureScenario(ctx, st, c, s)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", c.name, s.path, err)
			}
			results = append(results, r)
			p.say("slow product: %s, %s: done p50 %.0f ms, p99 %.0f ms, %.1f of %.1f/s, %d not done, calls %s", c.name, s.path,
				ms(percentile(r.done, 50)), ms(percentile(r.done, 99)), r.perSecond, r.offered, r.notDone, r.calls)
		}
	}
	return results, nil
}

func measureScenario(ctx context.Context, st *stack, c scenario, s seller) (slowResult, error) {
	if err := st.product.behave(ctx, c.behaviours()...); err != nil {
		return slowResult{}, err
	}
	known, err := st.product.orders(ctx)
	if err != nil {
		return slowResult{}, err
	}
	before, err := st.usage(ctx)
	if err != nil {
		return slowResult{}, err
	}
	begin := time.Now()
	orders, err := sell(ctx, st, c, s, begin)
	if err != nil {
		return slowResult{}, err
	}
	if c.hang != nil { // those that still hang must not hang on into the next scenario
		if err := st.product.recover(ctx); err != nil {
			return slowResult{}, err
		}
	}
	if err := drain(ctx, s.db, orders); err != nil {
		return slowResult{}, err
	}
	if err := errors.Join(pause(ctx, settle), st.product.behave(ctx)); err != nil {
		return slowResult{}, err
	}
	after, err := st.usage(ctx)
	if err != nil {
		return slowResult{}, err
	}
	calls, err := st.product.callsSince(ctx, known)
	if err != nil {
		return slowResult{}, err
	}
	r := slowResult{scenario: c.name, who: c.who, path: s.path, writeTx: after.per(len(orders), before).writeTx}
	return r, r.judge(ctx, st, c, s, begin, orders, calls)
}

// sell makes purchases at random instants until the load is over, and tells their orders.
func sell(ctx context.Context, st *stack, c scenario, s seller, begin time.Time) ([]string, error) {
	var mu sync.Mutex
	var orders []string
	group, groupCtx := errgroup.WithContext(ctx)
	if c.hangAfter > 0 {
		group.Go(func() error {
			if err := pause(groupCtx, c.hangAfter); err != nil {
				return err
			}
			return st.product.behave(groupCtx, []fake.Behaviour{*c.hang}...)
		})
	}
	group.Go(func() error {
		return openLoop(groupCtx, c.rate, begin.Add(c.load), func(ctx context.Context, _ *notes) error {
			id, err := s.buy(ctx, anyUser())
			mu.Lock()
			defer mu.Unlock()
			orders = append(orders, id)
			return err
		}, &notes{})
	})
	err := group.Wait()
	return orders, err
}

// drain waits until all orders are final, or for so long that a table may say so.
func drain(ctx context.Context, db *postgres.DB, orders []string) error {
	deadline := time.Now().Add(drainTimeout)
	for time.Now().Before(deadline) {
		final, err := db.FinalOrders(ctx, orders)
		if err != nil || len(final) == len(orders) {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// judge looks at the others' orders: when they were reserved and completed, by their rows, and how often the
// main product was called for them, by its books.
func (r *slowResult) judge(ctx context.Context, st *stack, c scenario, s seller, begin time.Time, orders []string, calls map[string]int) error {
	rows, err := s.db.Pool().Query(ctx, "SELECT order_id, user_id, created_at, finished_at, status FROM orders WHERE order_id = ANY ($1)", orders)
	if err != nil {
		return err
	}
	defer rows.Close()
	counted := window{from: begin.Add(c.countedFrom()), to: begin.Add(c.load + c.delay)}
	completed, others, one := 0, 0, ""
	fewest, most := 0, 0
	for rows.Next() {
		var id, user, status string
		var created time.Time
		var finished *time.Time
		if err := rows.Scan(&id, &user, &created, &finished, &status); err != nil {
			return err
		}
		if !c.others(user, created.Sub(begin)) {
			continue
		}
		others++
		if status != "completed" {
			r.notDone++
			continue
		}
		one = id
		r.done = append(r.done, finished.Sub(created))
		if !finished.Before(counted.from) && finished.Before(counted.to) {
			completed++
		}
		if fewest == 0 || calls[id] < fewest {
			fewest = calls[id]
		}
		most = max(most, calls[id])
		if calls[id] > 1 {
			r.repeated++
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	slices.Sort(r.done)
	r.perSecond = float64(completed) / counted.to.Sub(counted.from).Seconds()
	r.offered = float64(others) / (c.load + c.delay - c.countedFrom()).Seconds()
	if r.calls = fmt.Sprint(fewest); most > fewest {
		r.calls = fmt.Sprintf("%d to %d", fewest, most)
	}
	if one == "" {
		return nil
	}
	r.events, err = st.historyEvents(ctx, s.workflowID(one))
	return err
}
