package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const (
	burstTask     = 3 // whose windows are completed by one event
	burstUser     = "burst-"
	burstSKU      = "credits-burst" // retried a second apart
	burstInterval = time.Second
	burstRate     = 20.0 // purchases a second: far below what the machine can do
	burstLoad     = 15 * time.Second
	burstFails    = 0.3 // of the calls to the main product
	burstEvents   = 1000
)

// burstResult is how purchases fared beside many windows that were completed in one moment, and without.
type burstResult struct {
	windows      int
	settled      time.Duration // until the last was rewarded
	quiet, burst burstLoadResult
}

// burstLoadResult says how long purchases took, beside the pauses between the calls to the main product.
type burstLoadResult struct{ first, retried []time.Duration }

// measureBurst sells while nothing else happens, and while so many windows are completed at once.
func measureBurst(ctx context.Context, o settings, st *stack, p *progress) (*burstResult, error) {
	p.say("burst: opening %d windows", o.windows)
	if err := st.prepareBurst(ctx, o.windows); err != nil {
		return nil, err
	}
	share := burstFails
	if err := st.product.behave(ctx, fake.Behaviour{Kind: fake.ErrorStatus, Status: 503, On: fake.OnCredit, Fraction: &share}); err != nil {
		return nil, err
	}
	b := &burstResult{windows: o.windows}
	var err error
	if b.quiet, err = st.sellBeside(ctx, func(context.Context) error { return nil }); err != nil {
		return nil, err
	}
	if b.burst, err = st.sellBeside(ctx, func(ctx context.Context) (err error) { b.settled, err = st.completeWindows(ctx, o.windows); return err }); err != nil {
		return nil, err
	}
	for name, r := range map[string]burstLoadResult{"quiet": b.quiet, "burst": b.burst} {
		p.say("burst: %s: first call p50 %.0f ms, p99 %.0f ms; retried p50 %.0f ms, p99 %.0f ms, at most %.0f ms (%d)", name, ms(percentile(r.first, 50)), ms(percentile(r.first, 99)),
			ms(percentile(r.retried, 50)), ms(percentile(r.retried, 99)), ms(percentile(r.retried, 100)), len(r.retried))
	}
	p.say("burst: %d windows were rewarded within %.1f s", b.windows, b.settled.Seconds())
	return b, st.product.behave(ctx)
}

func (st *stack) prepareBurst(ctx context.Context, windows int) error {
	if err := st.seedUsers(ctx, burstUser, windows); err != nil {
		return err
	}
	product := benchProduct(burstSKU)
	product.Delivery.RetryIntervalSeconds = int(burstInterval.Seconds())
	if _, _, err := st.served.AddProduct(ctx, postgres.NewProduct{
		ProjectID: project,
		Actor:     "bench",
		Product:   product,
	}, time.Now()); err != nil {
		return err
	}
	if err := st.activate(ctx, burstUser, burstTask, 0, windows); err != nil {
		return err
	}
	return st.awaitTold(ctx, burstTask)
}

// sellBeside sells at random instants, starts the other work a third on, and waits for the end of both.
func (st *stack) sellBeside(ctx context.Context, other func(context.Context) error) (burstLoadResult, error) {
	var mu sync.Mutex
	var orders []string
	front := newStorefront(st.apiURL)
	beside := make(chan error, 1)
	time.AfterFunc(burstLoad/3, func() { beside <- other(ctx) })
	err := openLoop(ctx, burstRate, time.Now().Add(burstLoad), func(ctx context.Context, _ *notes) error {
		id, err := front.buySKU(ctx, anyUser(), burstSKU, false)
		mu.Lock()
		defer mu.Unlock()
		orders = append(orders, id)
		return err
	}, &notes{})
	if err == nil {
		err = drain(ctx, st.served, orders)
	}
	if besideErr := <-beside; err == nil {
		err = besideErr
	}
	if err != nil {
		return burstLoadResult{}, err
	}
	return st.takenBeside(ctx, orders)
}

// takenBeside reads how long orders took from their rows. The pauses between the calls are left out, so that
// what remains is waiting.
func (st *stack) takenBeside(ctx context.Context, orders []string) (r burstLoadResult, err error) {
	rows, err := st.served.Pool().Query(ctx, "SELECT finished_at - created_at, delivery_calls FROM orders WHERE order_id = ANY ($1) AND finished_at IS NOT NULL", orders)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	open := len(orders)
	for rows.Next() {
		var took time.Duration
		var calls int
		if err := rows.Scan(&took, &calls); err != nil {
			return r, err
		}
		open--
		if calls <= 1 {
			r.first = append(r.first, took)
			continue
		}
		r.retried = append(r.retried, took-time.Duration(calls-1)*burstInterval)
	}
	slices.Sort(r.first)
	slices.Sort(r.retried)
	if err := rows.Err(); err != nil || open == 0 {
		return r, err
	}
	return r, fmt.Errorf("%d orders are not done after %s", open, drainTimeout)
}

// completeWindows sends the one event of each window, and waits until every one is rewarded.
func (st *stack) completeWindows(ctx context.Context, windows int) (time.Duration, error) {
	front, begin := newEventFront(st.apiURL), time.Now()
	for from := 0; from < windows; from += burstEvents {
		var events []map[string]any
		for n := from; n < min(from+burstEvents, windows); n++ {
			events = append(events, map[string]any{
				"event_id":   rand.Text(),
				"user_id":    fmt.Sprintf(burstUser+playerForm, n),
				"event_type": "level_up",
				"amount":     "100",
				"timestamp":  time.Now().UTC().Format(time.RFC3339),
			})
		}
		body, err := json.Marshal(events)
		if err != nil {
			return 0, err
		}
		if err := front.send(ctx, bytes.TrimSpace(body), len(events), 0, &notes{}); err != nil {
			return 0, err
		}
	}
	for left := 1; left > 0; {
		if err := pause(ctx, streamLook); err != nil {
			return 0, err
		}
		if err := st.served.Pool().QueryRow(ctx, "SELECT count(*) FROM task_windows WHERE task_id = $1 AND settled_at IS NULL", burstTask).Scan(&left); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func burstFigures(b *burstResult) []figure {
	value := func(name string, v time.Duration) figure {
		return figure{name: name, format: "%.0f", unit: " ms", measured: spreadOf([]float64{ms(v)})}
	}
	figures := []figure{{name: fmt.Sprintf("%d windows completed in one moment: rewarded within", b.windows), format: "%.1f", unit: " s", measured: spreadOf([]float64{b.settled.Seconds()})}}
	for _, load := range []struct {
		name string
		burstLoadResult
	}{{"without them", b.quiet}, {"beside them", b.burst}} {
		figures = append(figures, value("purchases done at the first call, p99, "+load.name, percentile(load.first, 99)),
			value("purchases retried, beside the pauses, p50, "+load.name, percentile(load.retried, 50)),
			value("purchases retried, beside the pauses, p99, "+load.name, percentile(load.retried, 99)))
	}
	return figures
}

// benchProduct is what every product here is.
func benchProduct(sku string) store.Product {
	return store.Product{
		SKU: sku, Name: "100 credits", Kind: "credits", PriceCoins: 20, Status: store.Published,
		Stock: store.StockSettings{Initial: pieces, HideAtZero: true},
		Integration: store.Integration{ResourceType: "external_currency", Endpoint: store.DefaultEndpoint,
			Amount: creditAmount, Currency: "credits"},
		Delivery: store.DefaultDelivery(),
	}
}
