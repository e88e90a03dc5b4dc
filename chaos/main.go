// Command chaos proves that QuickPass neither loses nor doubles anything: purchases, events of tasks and
// orders of carts come in while every process is killed and started again and the main product misbehaves;
// then the books decide. `make chaos` runs it; docs/reliability.md is its report. It exits with 1 when a rule
// was broken, and then keeps its directory with all logs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

type options struct {
	duration  time.Duration
	purchases int
	callers   int
	rate      float64
	open      int
	seed      uint64
	quick     bool
	inquiry   bool
	outage    time.Duration
	recovery  time.Duration
	report    string
	keep      bool
}

func (o options) command() string {
	return fmt.Sprintf("go run ./chaos -seed %d -duration %s -purchases %d -callers %d -rate %g -open %d -inquiry=%v -outage %s -recovery %s",
		o.seed, o.duration, o.purchases, o.callers, o.rate, o.open, o.inquiry, o.outage, o.recovery)
}

func parse() options {
	var o options
	flag.DurationVar(&o.duration, "duration", 5*time.Minute, "how long faults last, at least")
	flag.IntVar(&o.purchases, "purchases", 2000, "how many purchases must be accepted before the faults end, at least")
	flag.IntVar(&o.callers, "callers", 32, "buyers at the same time")
	flag.Float64Var(&o.rate, "rate", 0, "purchases a second of all callers together; 0 is as fast as they can")
	flag.IntVar(&o.open, "open", 300, "callers hold back while so many orders are open; 0 never, which on a small machine measures overload more than faults")
	flag.Uint64Var(&o.seed, "seed", 0, "of all random choices; 0 takes a new one. Times differ from run to run all the same")
	flag.BoolVar(&o.quick, "quick", false, "a smoke test of 45 s: fewer faults, no report")
	flag.BoolVar(&o.inquiry, "inquiry", false, "the main product has an inquiry endpoint and QuickPass asks it")
	flag.DurationVar(&o.outage, "outage", 0, "after the other faults PostgreSQL is away for so long")
	flag.DurationVar(&o.recovery, "recovery", 3*time.Minute, "how much longer than its own tries an order may take after the faults")
	flag.StringVar(&o.report, "report", "docs/reliability.md", "where the report of a run without a broken rule goes; empty: nowhere")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory of data and logs in any case")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "chaos buys and sends events while everything is killed in turn, then compares the books.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
	}
	if o.quick {
		o.duration, o.purchases, o.report = 15*time.Second, 100, ""
		if o.rate == 0 {
			o.rate = 50
		}
	}
	return o
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dir, err := os.MkdirTemp("", "quickpass-chaos-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's own user has to enter it
		return err
	}
	defer func() {
		if err == nil && !o.keep {
			err = os.RemoveAll(dir)
			return
		}
		fmt.Println("data and logs are kept in", dir)
	}()
	fmt.Printf("chaos: %s\nstarting\n", o.command())
	s, err := startStack(ctx, dir, o.inquiry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	r := &result{options: o, begin: time.Now(), counts: newCounts(), findings: newFindings(cancel), postgres: postgresVersion(ctx, s)}
	r.load, r.events, r.tills = newLoad(s, r.findings), newEventLoad(s, r.findings), newCheckoutLoad(s, r.findings)
	failed := r.run(ctx, s)
	r.ended = time.Now()
	text := r.markdown()
	fmt.Println("\n" + text)
	if r.findings.broken() > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d rules were broken", r.findings.broken()))
	}
	if failed != nil {
		return errors.Join(failed, os.WriteFile(filepath.Join(dir, "report.md"), []byte(text), 0o644))
	}
	if o.report != "" {
		return os.WriteFile(o.report, []byte(text), 0o644)
	}
	return nil
}

// run is the whole of it: faults under load, an end, the verdict, the replays.
func (r *result) run(ctx context.Context, s *stack) error {
	r.underFaults(ctx, s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fmt.Println("the faults are over; waiting until no order is open")
	if err := settle(ctx, s, r.findings, r.options.recovery); err != nil {
		return err
	}
	if err := settleTasks(ctx, s, r.findings, r.options.recovery); err != nil {
		return err
	}
	if err := settleCheckouts(ctx, s, r.findings, r.options.recovery); err != nil {
		return err
	}
	var err error
	if r.decided, err = decideSuspected(ctx, s, r.findings, r.options.recovery); err != nil {
		return err
	}
	if r.checkouts, err = readCheckoutTruth(ctx, s, r.tills.all); err != nil {
		return err
	}
	r.checkouts.judge(r.findings)
	if r.tasks, err = readTaskTruth(ctx, s, r.events); err != nil {
		return err
	}
	r.tasks.judge(r.findings, r.events.batches)
	if r.truth, err = readTruth(ctx, s, r.load.intents, earned(r.tasks.sent)); err != nil {
		return err
	}
	r.truth.judge(r.findings)
	verifyProgram(ctx, s, r.findings, r.options.recovery)
	fmt.Println("replaying what could not be delivered")
	if r.replays, err = replay(ctx, s, r.truth, r.findings); err != nil {
		return err
	}
	if r.giftReplays, err = replayGifts(ctx, s, r.events, r.tasks, r.findings); err != nil {
		return err
	}
	verifyProgram(ctx, s, r.findings, r.options.recovery)
	r.workflows, err = judgeWorkflows(ctx, s, r.findings)
	return err
}

// underFaults buys, orders and sends events while everything fails, and returns when all is well again and
// all have their answers.
func (r *result) underFaults(ctx context.Context, s *stack) {
	faulty, calm := context.WithCancel(ctx)
	defer calm()
	watched, unwatch := context.WithCancel(ctx)
	defer unwatch()
	c := &chaos{stack: s, findings: r.findings, counts: r.counts, load: r.load}

	var background, faults sync.WaitGroup
	background.Go(func() { watch(watched, s, r.load, r.events, r.findings, r.counts) })
	background.Go(func() { c.keep(watched) })
	faults.Go(func() { c.run(faulty, rand.New(rand.NewPCG(r.options.seed, 1<<32))) })
	faults.Go(func() { c.runCombos(faulty, r.options.duration) })
	faults.Go(func() { misbehave(faulty, s, r.counts, rand.New(rand.NewPCG(r.options.seed, 2<<32))) })

	buying, enough := context.WithCancel(ctx)
	answered, giveUp := context.WithCancel(ctx)
	defer giveUp()
	buyers := make(chan struct{})
	go func() {
		defer close(buyers)
		var group sync.WaitGroup
		group.Go(func() { r.events.run(buying, answered, r.options.seed) })
		group.Go(func() { r.tills.run(buying, answered, r.options.seed) })
		r.load.run(buying, answered, r.options)
		group.Wait()
	}()
	for time.Since(r.begin) < r.options.duration || int(r.load.accepted.Load()) < r.options.purchases {
		if !pause(ctx, 100*time.Millisecond) {
			break
		}
	}
	calm()
	faults.Wait() // everything is up again
	if r.options.outage > 0 && ctx.Err() == nil {
		fmt.Println("PostgreSQL is away for", r.options.outage)
		c.act(ctx, s.components[0], crash, r.options.outage)
	}
	enough()
	for ctx.Err() == nil && setMoods(ctx, s, nil) != nil {
		pause(ctx, 100*time.Millisecond)
	}
	r.faultsEnd = time.Now()
	select {
	case <-buyers:
	case <-time.After(2 * time.Minute): // judged as intents and batches without an answer
		giveUp()
		<-buyers
	}
	unwatch()
	background.Wait()
}
