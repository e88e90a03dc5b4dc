package main

import "fmt"

// figure is a line of the table.
type figure struct {
	name     string
	measured spread
	format   string // of a number, such as "%.2f"
	unit     string
	target   float64 // 0: none, the line informs only
	stretch  float64 // 0: none
	atLeast  bool    // else at most
	note     string  // beside the measured value
	zero     bool    // the target is none at all
	broken   bool    // missed for another reason than its number; the note says which
}

func (f figure) reaches(limit float64) bool {
	if f.atLeast {
		return f.measured.median >= limit
	}
	return f.measured.median <= limit
}

func (f figure) judged() bool { return f.target != 0 || f.zero }

func (f figure) met() bool { return !f.broken && (!f.judged() || f.reaches(f.target)) }

func (f figure) verdict() string {
	switch {
	case !f.judged():
		return ""
	case !f.met():
		return "**missed**"
	case f.stretch != 0 && f.reaches(f.stretch):
		return "stretch"
	default:
		return "yes"
	}
}

func (f figure) number(value float64) string { return fmt.Sprintf(f.format, value) + f.unit }

// targetText and stretchText say what is wanted.
func (f figure) targetText() string {
	if f.zero {
		return "none"
	}
	return f.limit(f.target)
}

func (f figure) stretchText() string { return f.limit(f.stretch) }

func (f figure) limit(value float64) string {
	switch {
	case value == 0:
		return ""
	case f.atLeast:
		return "≥ " + f.number(value)
	default:
		return "≤ " + f.number(value)
	}
}

func (f figure) measuredText() string {
	text := f.number(f.measured.median)
	if f.measured.lowest != f.measured.highest {
		text += fmt.Sprintf(" ("+f.format+" - "+f.format+")", f.measured.lowest, f.measured.highest)
	}
	if f.note != "" {
		text += ", " + f.note
	}
	return text
}

// over takes a figure from every repeat.
func over(repeats []repeat, of func(repeat) float64) spread {
	values := make([]float64, len(repeats))
	for i, r := range repeats {
		values[i] = of(r)
	}
	return spreadOf(values)
}

// The figures that are taken from one cell.
func rate(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return r.cells[cell].perSecond }
}

func accept(cell string, percent float64) func(repeat) float64 {
	return func(r repeat) float64 { return ms(percentile(r.cells[cell].accepted, percent)) }
}

func done(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return ms(percentile(r.cells[cell].done, 50)) }
}

func writeTx(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return r.cells[cell].cost.writeTx }
}

func walKB(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return r.cells[cell].cost.walKB }
}

func events(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return float64(r.events[cell]) }
}

func ratio(of, to func(repeat) float64) func(repeat) float64 {
	return func(r repeat) float64 { return of(r) / to(r) }
}

// lines makes figures of what was measured in every repeat.
func lines(repeats []repeat) func(name, format, unit string, of func(repeat) float64) figure {
	return func(name, format, unit string, of func(repeat) float64) figure {
		return figure{name: name, format: format, unit: unit, measured: over(repeats, of)}
	}
}

func atMost(f figure, target, stretch float64) figure {
	f.target, f.stretch = target, stretch
	return f
}

func atLeast(f figure, target, stretch float64) figure {
	f.target, f.stretch, f.atLeast = target, stretch, true
	return f
}

// rateFigures are the purchase lines of the report, each followed by what it is made of.
func rateFigures(repeats []repeat) []figure {
	line := lines(repeats)
	return []figure{
		atLeast(line("purchases/s: ours over HTTP / empty workflow", "%.2f", "", ratio(rate(oursBusy), rate(emptyBusy))), 0.65, 0.80),
		atLeast(line("purchases/s: ours over HTTP / naive", "%.1f", "", ratio(rate(oursBusy), rate(naiveBusy))), 5, 7),
		line("purchases/s: ours over HTTP", "%.0f", "", rate(oursBusy)),
		line("purchases/s: empty workflow (W0ec)", "%.0f", "", rate(emptyBusy)),
		line("purchases/s: naive, five regular activities", "%.0f", "", rate(naiveBusy)),
		line("purchases/s: plain Go (B1)", "%.0f", "", rate(plainBusy)),
		atMost(line("accept p50, 1 caller", "%.1f", " ms", accept(oursIdle, 50)), 3, 0),
		atMost(line("accept p50, 1 caller / plain Go in process", "%.1f", "", ratio(accept(oursIdle, 50), accept(plainIdle, 50))), 2.5, 1.5),
		line("accept p50, 1 caller / plain Go over HTTP", "%.1f", "", ratio(accept(oursIdle, 50), accept(plainHTTPIdle, 50))),
		line("accept p50, 1 caller: plain Go in process", "%.2f", " ms", accept(plainIdle, 50)),
		line("accept p50, 1 caller: plain Go over HTTP", "%.2f", " ms", accept(plainHTTPIdle, 50)),
		line("accept p50, all callers", "%.1f", " ms", accept(oursBusy, 50)),
		atMost(line("accept p50 at 70 % load", "%.1f", " ms", accept(oursLoaded, 50)), 5, 0),
		atMost(line("accept p99 at 70 % load", "%.0f", " ms", accept(oursLoaded, 99)), 50, 20),
		line("done p50 at 70 % load", "%.0f", " ms", done(oursLoaded)),
		atMost(line("done p50, 1 caller / empty workflow", "%.2f", "", ratio(done(oursIdleWait), done(emptyIdle))), 1.8, 1.4),
		line("done p50, 1 caller: ours, answer of Prefer: wait", "%.1f", " ms", done(oursIdleWait)),
		line("done p50, 1 caller: empty workflow", "%.1f", " ms", done(emptyIdle)),
		atMost(line("write transactions a purchase, whole cluster", "%.1f", "", writeTx(oursBusy)), 7.5, 6.5),
		line("write transactions: empty workflow", "%.1f", "", writeTx(emptyBusy)),
		line("write transactions: naive", "%.1f", "", writeTx(naiveBusy)),
		atMost(line("WAL a purchase", "%.1f", " KB", walKB(oursBusy)), 13, 10),
		line("WAL: empty workflow", "%.1f", " KB", walKB(emptyBusy)),
		line("WAL: plain Go", "%.1f", " KB", walKB(plainBusy)),
		line("history events a purchase", "%.0f", "", events(oursBusy)),
		line("history events: empty workflow", "%.0f", "", events(emptyBusy)),
	}
}

func memoryFigures(m *memoryResult) []figure {
	value := func(name string, mb float64) figure {
		return figure{name: name, format: "%.0f", unit: " MB", measured: spread{mb, mb, mb}}
	}
	end := value(fmt.Sprintf("memory of quickpass serve after %d purchases", m.purchases), m.end)
	end.target, end.stretch = 200, 120
	end.note = "flat"
	if !m.flat() {
		end.note, end.broken = "still growing", true
	}
	return []figure{
		end,
		value("memory: before the first", m.fresh),
		value("memory: first tenth", m.first),
		value("memory: middle", m.middle),
		value("memory: highest sample", m.highest),
	}
}

// slowFigures are what the design promises about a slow main product and what no neighbour on this machine can
// change: one call an order when nothing failed, and nobody left behind.
func slowFigures(results []slowResult) []figure {
	repeated, open, of := 0, 0, 0
	for _, r := range results {
		if r.path == pathOurs {
			repeated, open, of = repeated+r.repeated, open+r.notDone, of+r.notDone+len(r.done)
		}
	}
	none := func(name string, count int) figure {
		value := float64(count)
		return figure{name: name, format: "%.0f", measured: spread{value, value, value}, zero: true, note: fmt.Sprintf("of %d", of)}
	}
	return []figure{
		none("slow main product: others' orders it was called for again", repeated),
		none("slow main product: others' orders not done", open),
	}
}
