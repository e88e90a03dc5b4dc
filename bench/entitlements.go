package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// The cells of entitlement checks.
const (
	checkCell     = "entitlement checks"
	nothingCell   = "empty handler, same Echo stack"
	bareCell      = "empty handler, Echo alone"
	checkIdleCell = "entitlement checks, 1 caller"

	checkedUsers = 10_000
)

// checker asks over HTTP, as a game server does on every action.
type checker struct {
	http *http.Client
	auth string
}

func newChecker() *checker {
	return &checker{
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Minute}},
		auth: basicAuth(),
	}
}

// get wants an answer with these words in it.
func (c *checker) get(ctx context.Context, address, want string, note *notes) error {
	begin := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", c.auth)
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), want) {
		return fmt.Errorf("check: %s: %.300s (%w)", response.Status, answer, err)
	}
	note.accept(begin)
	return nil
}

// measureEntitlements asks whether users are entitled, and compares with what the same server does for
// nothing. The cells are interleaved.
func measureEntitlements(ctx context.Context, o settings, st *stack, p *progress) (repeats []repeat, err error) {
	p.say("entitlements: granting %d subscriptions", checkedUsers)
	if err := errors.Join(st.preparePasses(ctx), st.grantPasses(ctx, checkedUser, 0, checkedUsers)); err != nil {
		return nil, err
	}
	if err := st.awaitPassesTold(ctx); err != nil {
		return nil, err
	}
	bare, stop, err := startBareEcho()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	loops, front := &intakes{stack: st, o: o}, newChecker()
	addresses := make([]string, checkedUsers)
	for n := range addresses {
		addresses[n] = fmt.Sprintf("%s/api/v2/project/%d/entitlements/"+checkedUser+playerForm+"/%s", st.apiURL, project, n, seasonPass)
	}
	check := func(ctx context.Context, note *notes) error {
		return front.get(ctx, addresses[rand.IntN(checkedUsers)], `"active":true`, note)
	}
	cells := []eventCell{
		{checkCell, func(ctx context.Context) (result, error) { return loops.loop(ctx, o.callers, 1, check) }},
		{nothingCell, func(ctx context.Context) (result, error) {
			return loops.loop(ctx, o.callers, 1, func(ctx context.Context, note *notes) error {
				return front.get(ctx, st.apiURL+"/healthz", "alive", note)
			})
		}},
		{bareCell, func(ctx context.Context) (result, error) {
			return loops.loop(ctx, o.callers, 1, func(ctx context.Context, note *notes) error { return front.get(ctx, bare, "ok", note) })
		}},
		{checkIdleCell, func(ctx context.Context) (result, error) { return loops.loop(ctx, 1, 1, check) }},
	}
	for n := range o.repeats {
		round := repeat{cells: map[string]result{}}
		for _, c := range cells {
			if n == 0 && c.name == checkCell {
				go profileServe(ctx, st, o, "serve-entitlements", p)
			}
			r, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			round.cells[c.name] = r
			p.say("entitlements, repeat %d of %d: %-32s %8.0f/s  p50 %5.2f ms  p99 %6.2f ms", n+1, o.repeats, c.name, r.perSecond, ms(percentile(r.accepted, 50)), ms(percentile(r.accepted, 99)))
		}
		repeats = append(repeats, round)
	}
	return repeats, nil
}

// startBareEcho serves one empty handler in this program: what Echo and HTTP cost without anything of ours.
func startBareEcho() (address string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	e := echo.New()
	e.GET("/", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]string{"status": "ok"}) })
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }() // ends with stop
	return "http://" + listener.Addr().String() + "/", server.Close, nil
}

func entitlementFigures(repeats []repeat) []figure {
	line := lines(repeats)
	return []figure{
		atLeast(line("entitlement checks/s over HTTP / an empty handler", "%.2f", "", ratio(rate(checkCell), rate(nothingCell))), 0.5, 0.8),
		line("CPU of an empty handler / of an entitlement check, callers and database included", "%.2f", "",
			ratio(cpuMicros(nothingCell, checkCPUParts()...), cpuMicros(checkCell, checkCPUParts()...))),
		line("entitlement checks/s over HTTP / an empty handler of Echo alone", "%.2f", "", ratio(rate(checkCell), rate(bareCell))),
		line("entitlement checks/s over HTTP", "%.0f", "", rate(checkCell)),
		line("empty handler/s: GET /healthz of the same server", "%.0f", "", rate(nothingCell)),
		line("empty handler/s: Echo alone, in this program", "%.0f", "", rate(bareCell)),
		line("entitlement check p50", "%.2f", " ms", accept(checkCell, 50)),
		line("entitlement check p99", "%.2f", " ms", accept(checkCell, 99)),
		line("empty handler p50", "%.2f", " ms", accept(nothingCell, 50)),
		line("empty handler p99", "%.2f", " ms", accept(nothingCell, 99)),
		line("entitlement check p50, 1 caller", "%.2f", " ms", accept(checkIdleCell, 50)),
		line("entitlement check p99, 1 caller", "%.2f", " ms", accept(checkIdleCell, 99)),
	}
}

// subscriptionFigures say what an open subscription takes, its workflow included, and how soon everything works again.
func subscriptionFigures(r *subscriptionsResult) []figure {
	value := func(name, format, unit string, v float64) figure {
		return figure{name: name, format: format, unit: unit, measured: spreadOf([]float64{v})}
	}
	figures := []figure{atMost(value("database bytes an open subscription", "%.1f", " KB", r.all()/1024), 6.5, 4.5)}
	figures[0].note = fmt.Sprintf("over %d", r.count)
	for _, database := range sizedDatabases {
		figures = append(figures, value("of which in the database "+database, "%.1f", " KB", r.bytes[database]/1024))
	}
	if r.optional > 0 { // else they were dropped
		figures = append(figures, value("without the indexes that -trim-visibility drops", "%.1f", " KB", (r.all()-r.optional)/1024))
	}
	return append(figures,
		value("open subscriptions per gigabyte", "%.0f", "", (1<<30)/r.all()),
		value("subscriptions granted a second, each with its workflow", "%.0f", "", r.perSecond),
		value(fmt.Sprintf("memory of a restarted quickpass serve with %d open", r.count), "%.0f", " MB", r.memory),
		value("memory of a restarted quickpass serve before the first", "%.0f", " MB", r.fresh),
		value("a new end is told after", "%.1f", " s", r.told.Seconds()),
		value("a new end is told after kill -9 of quickpass serve", "%.1f", " s", r.serve.Seconds()),
		value("a new end is told after kill -9 of Temporal", "%.1f", " s", r.temporal.Seconds()))
}

func (r report) writeSubscriptions(out *bytes.Buffer, figures []figure) {
	if len(figures) == 0 {
		return
	}
	fmt.Fprintln(out)
	writeFigures(out, "Subscriptions and entitlements", figures)
	fmt.Fprintf(out, `
A check is GET /api/v2/project/1/entitlements/{user}/{sku} with the server's key, of any of %d users with a subscription; %d callers, or one. An empty handler is GET /healthz of the
same `+"`quickpass serve`"+`, by the same callers. A new end is one more subscription that ends two seconds after it was granted, which are left out; the sweep that starts its workflow looks every five.

`, checkedUsers, r.settings.callers)
	if len(r.entitlements) == 0 {
		return
	}
	rows := [][]string{append(append([]string{"CPU µs a request"}, checkCPUParts()...), "all")}
	for _, cell := range []string{checkCell, nothingCell, bareCell, checkIdleCell} {
		row := []string{cell}
		for _, part := range checkCPUParts() {
			row = append(row, fmt.Sprintf("%.1f", over(r.entitlements, cpuMicros(cell, part)).median))
		}
		rows = append(rows, append(row, fmt.Sprintf("%.1f", over(r.entitlements, cpuMicros(cell, checkCPUParts()...)).median)))
	}
	writeTable(out, rows)
}

// checkCPUParts are those that have to do with a check; bench is the callers, and Echo alone.
func checkCPUParts() []string { return []string{cpuBench, cpuServe, cpuOurTables} }

// cpuMicros is the CPU time of a request in these parts.
func cpuMicros(cell string, parts ...string) func(repeat) float64 {
	return func(r repeat) (sum float64) {
		for _, part := range parts {
			sum += 1000 * r.cells[cell].cost.cpuMS[part]
		}
		return sum
	}
}
