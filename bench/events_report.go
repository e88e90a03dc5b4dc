package main

import (
	"bytes"
	"fmt"
)

func walBytes(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return r.cells[cell].cost.walKB * 1024 }
}

// writeTxBatch is the write transactions of so many events as a batch has.
func writeTxBatch(cell string) func(repeat) float64 {
	return func(r repeat) float64 { return r.cells[cell].cost.writeTx * eventBatch }
}

// eventFigures are the lines of the report on events, each followed by what it is made of.
func eventFigures(repeats []repeat) []figure {
	line := lines(repeats)
	perSecond := func(name, cell string) figure { return line("events/s: "+name, "%.0f", "", rate(cell)) }
	return []figure{
		atLeast(line("events/s: REST / bare batched UPSERT, 1,000 windows", "%.2f", "", ratio(rate(restFew), rate(bareUpsert))), 0.4, 0.7),
		atLeast(line("events/s: REST / bare batched UPSERT, 100,000 windows", "%.2f", "", ratio(rate(restMany), rate(bareUpsertMany))), 0.4, 0.7),
		atLeast(line("events/s: REST / one signal per event", "%.0f", "", ratio(rate(restFew), rate(signalFew))), 60, 100),
		perSecond("REST, 1,000 windows", restFew),
		perSecond("REST, 100,000 windows", restMany),
		perSecond("REST, all duplicates", restDuplicates),
		perSecond("Kafka, 1,000 windows", kafkaFew),
		perSecond("RabbitMQ, 1,000 windows", rabbitFew),
		perSecond("bare batched UPSERT, 1,000 windows", bareUpsert),
		perSecond("bare batched UPSERT, 100,000 windows", bareUpsertMany),
		perSecond("bare batched insert, nothing counted", bareInsert),
		perSecond("one signal per event, 1,000 workflows", signalFew),
		line("POST of a batch p50, 1,000 windows", "%.1f", " ms", accept(restFew, 50)),
		line("POST of a batch p99, 1,000 windows", "%.1f", " ms", accept(restFew, 99)),
		line("POST of a batch p50, 100,000 windows", "%.1f", " ms", accept(restMany, 50)),
		line("POST of a batch p99, 100,000 windows", "%.1f", " ms", accept(restMany, 99)),
		line("write transactions per 100 events: REST", "%.2f", "", writeTxBatch(restFew)),
		line("write transactions per 100 events: Kafka", "%.2f", "", writeTxBatch(kafkaFew)),
		line("write transactions per 100 events: bare UPSERT", "%.2f", "", writeTxBatch(bareUpsert)),
		line("write transactions per 100 events: signals", "%.0f", "", writeTxBatch(signalFew)),
		line("WAL an event: REST, 1,000 windows", "%.0f", " bytes", walBytes(restFew)),
		line("WAL an event: REST, 100,000 windows", "%.0f", " bytes", walBytes(restMany)),
		line("WAL an event: REST, a duplicate", "%.0f", " bytes", walBytes(restDuplicates)),
		line("WAL an event: bare UPSERT, 1,000 windows", "%.0f", " bytes", walBytes(bareUpsert)),
		line("WAL an event: signal", "%.0f", " bytes", walBytes(signalFew)),
	}
}

// windowFigures say what an open window takes on the disk, its workflow and its activation's idempotency key included.
func windowFigures(w *windowsResult) []figure {
	value := func(name, unit string, v float64) figure {
		return figure{name: name, format: "%.1f", unit: unit, measured: spread{v, v, v}}
	}
	figures := []figure{atMost(value("database bytes an open window", " KB", w.all()/1024), 6.5, 4.5)}
	figures[0].note = fmt.Sprintf("over %d", w.windows)
	for _, database := range sizedDatabases {
		figures = append(figures, value("of which in the database "+database, " KB", w.bytes[database]/1024))
	}
	if w.optional > 0 { // else they were dropped
		figures = append(figures, value("without the indexes that -trim-visibility drops", " KB", (w.all()-w.optional)/1024))
	}
	each := figure{format: "%.0f"}
	each.name, each.measured = "open windows per gigabyte", spreadOf([]float64{(1 << 30) / w.all()})
	figures = append(figures, each)
	each.name, each.measured = "windows opened a second, each with its workflow", spreadOf([]float64{w.perSecond})
	return append(figures, each)
}

func (r report) writeEvents(out *bytes.Buffer, figures []figure) {
	if len(figures) == 0 {
		return
	}
	fmt.Fprintln(out)
	writeFigures(out, "Events and windows", figures)
	if len(r.events) == 0 {
		return
	}
	fmt.Fprintf(out, `
A batch, a POST and a message of a broker have %d events; %d callers post. Each event is new unless it says otherwise, counts for the one open window of its
user, and is stored with its decision. "Bare" is this program and one statement a batch into the same server: the same rows and a counter, no users, tasks or
windows, %d writers with users of their own. "One signal per event" is a workflow for each window, which stores no event, with %d events in flight. Kafka is a
stand-in that speaks its protocol in this program; %d messages wait there and in RabbitMQ when a fresh `+"`quickpass ingest`"+` starts, and the middle four fifths are timed.

`, eventBatch, restCallers, bareWriters, r.settings.callers, r.settings.messages)
	rows := [][]string{append(append([]string{"CPU µs an event"}, eventCPUParts()...), "all")}
	for _, cell := range []string{restFew, restMany, restDuplicates, kafkaFew, rabbitFew, bareUpsert, bareUpsertMany, signalFew} {
		row, all := []string{cell}, 0.0
		for _, part := range eventCPUParts() {
			median := 1000 * over(r.events, func(r repeat) float64 { return r.cells[cell].cost.cpuMS[part] }).median
			row, all = append(row, fmt.Sprintf("%.1f", median)), all+median
		}
		rows = append(rows, append(row, fmt.Sprintf("%.1f", all)))
	}
	writeTable(out, rows)
}
