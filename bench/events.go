package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// The cells of event intake. A batch, a request and a message of a broker have eventBatch events each.
const (
	bareInsert     = "bare insert"
	bareUpsert     = "bare UPSERT"
	bareUpsertMany = "bare UPSERT, many windows"
	restFew        = "REST"
	restMany       = "REST, many windows"
	restDuplicates = "REST, all duplicates"
	kafkaFew       = "Kafka"
	rabbitFew      = "RabbitMQ"
	signalFew      = "one signal per event"
)

const (
	eventBatch  = 100
	fewWindows  = 1_000
	manyWindows = 100_000
	bareWriters = 4
	restCallers = 8
)

// eventCell is one measurement of a repeat. Its result counts events; what is accepted is the answer to a batch.
type eventCell struct {
	name string
	run  func(context.Context) (result, error)
}

// intakes are all ways to count events.
type intakes struct {
	stack   *stack
	o       settings
	bare    *bareCounter
	front   *eventFront
	streams *streams
	signals *signalCounter
}

func openIntakes(ctx context.Context, o settings, st *stack, p *progress) (in *intakes, err error) {
	in = &intakes{stack: st, o: o, front: newEventFront(st.apiURL)}
	p.say("events: seeding %d users with an open window each", manyWindows)
	if err := st.seedPlayers(ctx); err != nil {
		return nil, err
	}
	if in.bare, err = newBareCounter(ctx, st.plain); err != nil {
		return nil, err
	}
	p.say("events: starting Kafka's stand-in and RabbitMQ")
	if in.streams, err = openStreams(ctx, st); err != nil {
		return nil, err
	}
	p.say("events: starting %d workflows that count signals", fewWindows)
	if in.signals, err = openSignals(ctx, st); err != nil {
		return nil, errors.Join(err, in.streams.close())
	}
	return in, nil
}

func (in *intakes) close() error {
	in.signals.worker.Stop()
	return in.streams.close()
}

// cells are those of one repeat, in their order.
func (in *intakes) cells() []eventCell {
	insert := func(ctx context.Context) (result, error) {
		return in.bareLoop(ctx, bareInsertStatement, fewWindows, false)
	}
	upsert := func(windows int) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) {
			return in.bareLoop(ctx, bareUpsertStatement, windows, true)
		}
	}
	rest := func(windows int) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) {
			return in.loop(ctx, restCallers, eventBatch, func(ctx context.Context, note *notes) error { return in.front.post(ctx, windows, note) })
		}
	}
	return []eventCell{
		{bareInsert, insert}, {bareUpsert, upsert(fewWindows)}, {restFew, rest(fewWindows)},
		{bareUpsertMany, upsert(manyWindows)}, {restMany, rest(manyWindows)},
		{restDuplicates, func(ctx context.Context) (result, error) {
			return in.loop(ctx, restCallers, eventBatch, in.front.postAgain)
		}},
		{kafkaFew, in.kafka}, {rabbitFew, in.rabbit},
		{signalFew, func(ctx context.Context) (result, error) { return in.loop(ctx, in.o.callers, 1, in.signals.send) }},
	}
}

func (in *intakes) bareLoop(ctx context.Context, statement string, windows int, counted bool) (result, error) {
	if err := in.bare.reset(ctx); err != nil {
		return result{}, err
	}
	r, err := in.loop(ctx, bareWriters, eventBatch, func(ctx context.Context, note *notes) error { return in.bare.write(ctx, statement, windows, note) })
	if err != nil || !counted {
		return r, err
	}
	return r, in.bare.verify(ctx)
}

// loop keeps callers busy with one batch after the other, and counts the batches that end within the window.
func (in *intakes) loop(ctx context.Context, callers, batch int, send purchase) (result, error) {
	before, err := in.stack.usage(ctx)
	if err != nil {
		return result{}, err
	}
	note := &notes{}
	from := time.Now().Add(in.o.cell / 2)
	w := window{from: from, to: from.Add(in.o.cell)}
	if err := closedLoop(ctx, callers, w.to, send, note); err != nil {
		return result{}, err
	}
	after, err := in.stack.usage(ctx)
	if err != nil {
		return result{}, err
	}
	r := result{accepted: w.within(note.accepted), cost: after.per(note.started*batch, before)}
	r.perSecond = float64(len(r.accepted)*batch) / in.o.cell.Seconds()
	return r, nil
}

func measureEvents(ctx context.Context, o settings, st *stack, p *progress) (repeats []repeat, err error) {
	intakes, err := openIntakes(ctx, o, st, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, intakes.close()) }()
	p.say("events: warming up")
	warm := *intakes
	warm.o.cell = time.Second
	for _, c := range warm.cells() {
		if c.name == kafkaFew || c.name == rabbitFew {
			continue // a process of its own each time, whose start is not measured
		}
		if _, err := c.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for n := range o.repeats {
		round := repeat{cells: map[string]result{}}
		for k, c := range intakes.cells() {
			r, err := intakes.measure(ctx, c, n == 0 && c.name == restFew, p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			round.cells[c.name] = r
			p.say("events %d of %d, repeat %d of %d: %-26s %8.0f/s  p50 %5.1f ms  p99 %6.1f ms", k+1, len(intakes.cells()), n+1, o.repeats,
				c.name, r.perSecond, ms(percentile(r.accepted, 50)), ms(percentile(r.accepted, 99)))
		}
		repeats = append(repeats, round)
	}
	return repeats, nil
}

// measure runs a cell, and leaves everything alone for a moment afterwards.
func (in *intakes) measure(ctx context.Context, c eventCell, profiled bool, p *progress) (r result, err error) {
	var group errgroup.Group
	if profiled {
		group.Go(func() error { profileServe(ctx, in.stack, in.o, "serve-events", p); return nil })
	}
	r, err = c.run(ctx)
	_ = group.Wait()
	if err == nil && r.perSecond == 0 {
		err = fmt.Errorf("nothing was counted within %s; longer cells (-cell) may help", in.o.cell)
	}
	return r, errors.Join(err, pause(ctx, settle))
}
