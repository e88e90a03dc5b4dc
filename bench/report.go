package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// report is everything that a run found.
type report struct {
	settings settings
	machine  machine
	repeats  []repeat
	memory   *memoryResult
	slow     []slowResult
	windows  *windowsResult
	events   []repeat
	burst    *burstResult

	subscriptions *subscriptionsResult
	entitlements  []repeat
	took          time.Duration
}

// publish prints the report, writes its file, and fails with errMissed when a target is missed.
func (r report) publish(out io.Writer) error {
	var figures []figure
	if len(r.repeats) > 0 {
		figures = append(figures, rateFigures(r.repeats)...)
	}
	if r.memory != nil {
		figures = append(figures, memoryFigures(r.memory)...)
	}
	if len(r.slow) > 0 {
		figures = append(figures, slowFigures(r.slow)...)
	}
	var ofEvents []figure
	if len(r.events) > 0 {
		ofEvents = append(ofEvents, eventFigures(r.events)...)
	}
	if r.windows != nil {
		ofEvents = append(ofEvents, windowFigures(r.windows)...)
	}
	if r.burst != nil {
		ofEvents = append(ofEvents, burstFigures(r.burst)...)
	}
	var ofSubscriptions []figure
	if len(r.entitlements) > 0 {
		ofSubscriptions = append(ofSubscriptions, entitlementFigures(r.entitlements)...)
	}
	if r.subscriptions != nil {
		ofSubscriptions = append(ofSubscriptions, subscriptionFigures(r.subscriptions)...)
	}
	var body bytes.Buffer
	writeFigures(&body, "Purchases", figures)
	r.writeCPU(&body)
	r.writeSlow(&body)
	r.writeEvents(&body, ofEvents)
	r.writeSubscriptions(&body, ofSubscriptions)
	figures = append(append(figures, ofEvents...), ofSubscriptions...)
	var missed []string
	for _, f := range figures {
		if !f.met() {
			missed = append(missed, fmt.Sprintf("%s: %s, wanted %s", f.name, f.measuredText(), f.targetText()))
		}
	}
	writeMissed(&body, missed)

	fmt.Fprintln(out)
	if _, err := out.Write(body.Bytes()); err != nil {
		return err
	}
	if r.settings.out != "" {
		page := append([]byte(r.head()), body.Bytes()...)
		if err := os.MkdirAll(filepath.Dir(r.settings.out), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(r.settings.out, page, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if len(missed) > 0 {
		return errMissed
	}
	return nil
}

func (r report) head() string {
	return fmt.Sprintf(`# Benchmark

Written by `+"`make bench`"+`; do not edit. How each figure is taken is in the comments of the code in [bench/](../bench).

%s
Every figure is the median of %d interleaved repeats (lowest - highest); ratios are taken inside one repeat. Absolute rates move
with the machine and its neighbours by a third and more: judge by the ratios and the counters. A cell is measured for %s after a warm-up
of %s, with %d purchases in flight unless it says otherwise. PostgreSQL is durable (fsync and synchronous commit on), without a checkpoint during
the run; counters are of the whole cluster, Temporal's databases included. "KB" are 1,024 bytes.

`, r.machine.text(r.settings, r.took), max(len(r.repeats), 1), r.settings.cell, r.settings.cell/2, r.settings.callers)
}

func writeFigures(out *bytes.Buffer, heading string, figures []figure) {
	if len(figures) == 0 {
		return
	}
	rows := [][]string{{"figure", "measured", "target", "stretch", "met?"}}
	for _, f := range figures {
		rows = append(rows, []string{f.name, f.measuredText(), f.targetText(), f.stretchText(), f.verdict()})
	}
	fmt.Fprintf(out, "## %s\n\n", heading)
	writeTable(out, rows)
}

// writeCPU tells where the time of a purchase goes.
func (r report) writeCPU(out *bytes.Buffer) {
	if len(r.repeats) == 0 {
		return
	}
	rows := [][]string{append(append([]string{"CPU ms a purchase"}, cpuParts()...), "all")}
	for _, cell := range []string{oursBusy, emptyBusy, naiveBusy, plainBusy} {
		row, all := []string{cell}, 0.0
		for _, part := range cpuParts() {
			median := over(r.repeats, func(r repeat) float64 { return r.cells[cell].cost.cpuMS[part] }).median
			row, all = append(row, fmt.Sprintf("%.2f", median)), all+median
		}
		rows = append(rows, append(row, fmt.Sprintf("%.2f", all)))
	}
	fmt.Fprint(out, "\n## Where the CPU time goes\n\nBench is this program: the callers, and for all but ours also the worker.\n\n")
	writeTable(out, rows)
}

func (r report) writeSlow(out *bytes.Buffer) {
	if len(r.slow) == 0 {
		return
	}
	fmt.Fprintf(out, `
## A slow or hanging main product

Purchases come at %.0f a second at random instants. "Others" are those who have no reason to notice. Each scenario runs twice: with QuickPass as it is,
and with the same purchase whose every delivery is a regular activity. Done is from the row of the order: reserved to completed. Calls are counted by the main
product's books. Write transactions are of all purchases of the scenario, also of those that hang.

`, r.settings.slowRate)
	rows := [][]string{{"main product", "others", "delivery", "done p50 / p99 ms", "done/s of offered", "not done", "calls an order", "called again", "write tx", "history"}}
	for _, s := range r.slow {
		rows = append(rows, []string{s.scenario, s.who, s.path,
			fmt.Sprintf("%.0f / %.0f", ms(percentile(s.done, 50)), ms(percentile(s.done, 99))), fmt.Sprintf("%.1f of %.1f", s.perSecond, s.offered),
			fmt.Sprint(s.notDone), s.calls, fmt.Sprint(s.repeated), fmt.Sprintf("%.1f", s.writeTx), fmt.Sprint(s.events)})
	}
	writeTable(out, rows)
}

func writeMissed(out *bytes.Buffer, missed []string) {
	if len(missed) == 0 {
		fmt.Fprint(out, "\nEvery target that was measured is met.\n")
		return
	}
	fmt.Fprint(out, "\nMissed:\n\n")
	for _, line := range missed {
		fmt.Fprintf(out, "- %s\n", line)
	}
}

// writeTable aligns a Markdown table, so that it reads well in a terminal too.
func writeTable(out *bytes.Buffer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(out, "| %s%s ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(out, "|")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprint(out, "|", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(out, "|")
		}
	}
}
