// Command bench measures purchases and event intake against the limits of this machine (the design's section "Speed
// and scale") and prints one table of figures, targets and verdicts; docs/bench.md keeps the last one.
//
// It starts a PostgreSQL, a Temporal, the fake main product and `quickpass serve` of its own. Time on a shared
// machine is worth little, so cells run interleaved, several times, and what is judged are ratios taken inside
// one repeat, and counters, which no neighbour can move.
//
// The exit code is 0 when every target is met, 1 when one is missed, 2 when the measurement itself failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the command line.
type settings struct {
	repeats         int
	cell            time.Duration
	callers         int
	memoryPurchases int
	slowRate        float64
	windows         int
	messages        int
	subscriptions   int
	phases          []string
	out             string
	profileDir      string
	trimVisibility  bool
}

// The phases of a run.
const (
	phaseWindows = "windows"
	phaseRates   = "rates"
	phaseSlow    = "slow"
	phaseMemory  = "memory"
	phaseEvents  = "events"
	phaseBurst   = "burst"

	phaseSubscriptions = "subscriptions"
	phaseEntitlements  = "entitlements"
)

// errMissed: the measurement went well and the figures did not.
var errMissed = errors.New("targets are missed")

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err = run(ctx, s)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	if errors.Is(err, errMissed) {
		os.Exit(1)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	var phases string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.repeats, "repeats", 5, "how often each cell runs; the table shows medians")
	flags.DurationVar(&s.cell, "cell", 4*time.Second, "how long a cell is measured, after a warm-up of half of that")
	flags.IntVar(&s.callers, "callers", 64, "purchases in flight in the cells of throughput")
	flags.IntVar(&s.memoryPurchases, "memory-purchases", 20_000, "purchases of a fresh quickpass serve whose memory is watched (the design says 50,000: 5 to 10 minutes)")
	flags.Float64Var(&s.slowRate, "slow-rate", 40, "purchases a second while the main product is slow")
	flags.IntVar(&s.windows, "windows", 2000, "windows of tasks that are opened to see what one takes on the disk")
	flags.IntVar(&s.messages, "messages", 1000, "messages of 100 events that wait in Kafka and RabbitMQ when a cell begins")
	flags.IntVar(&s.subscriptions, "subscriptions", 100_000, "subscriptions that are open at the same time (10 minutes for 100,000)")
	flags.StringVar(&phases, "phases", strings.Join(allPhases(), ","), "what to run, separated by commas")
	flags.StringVar(&s.out, "out", "docs/bench.md", "file of the report; empty writes none")
	flags.StringVar(&s.profileDir, "profile", "", "existing directory for CPU profiles of this program and, if it serves them, of quickpass")
	flags.BoolVar(&s.trimVisibility, "trim-visibility", false, "drop 69 of the 74 indexes of Temporal's visibility table, as an operator may choose to")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.phases = strings.Split(phases, ",")
	for _, phase := range s.phases {
		if !slices.Contains(allPhases(), phase) {
			return s, fmt.Errorf("unknown phase %q; there are %s", phase, strings.Join(allPhases(), ", "))
		}
	}
	if s.repeats < 1 || s.callers < 1 || s.cell < time.Second || s.memoryPurchases < 1000 || s.slowRate <= 0 || s.windows < 100 || s.messages < 100 || s.subscriptions < 1000 || flags.NArg() > 0 {
		return s, errors.New("at least one repeat, one caller, cells of 1s, 1000 purchases, a rate above zero, 100 windows, 100 messages and 1000 subscriptions; no other arguments")
	}
	return s, nil
}

func allPhases() []string {
	return []string{phaseWindows, phaseSubscriptions, phaseRates, phaseSlow, phaseMemory, phaseEvents, phaseBurst, phaseEntitlements}
}

func (s settings) has(phase string) bool { return slices.Contains(s.phases, phase) }

func run(ctx context.Context, s settings) (err error) {
	// As the servers do: the limit that everything is compared with must not be one of the garbage collector.
	debug.SetGCPercent(400)
	progress := newProgress(os.Stderr)
	stack, err := startStack(ctx, s, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.stop()) }()
	stopProfile, err := profileSelf(s.profileDir)
	if err != nil {
		return err
	}
	defer stopProfile()

	report := report{settings: s, machine: describeMachine(ctx, stack)}
	if s.has(phaseWindows) {
		if report.windows, err = measureWindows(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseSubscriptions) {
		if report.subscriptions, err = measureSubscriptions(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseRates) {
		if report.repeats, err = measureRates(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseMemory) {
		if report.memory, err = measureMemory(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseSlow) {
		if report.slow, err = measureSlow(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseEvents) {
		if report.events, err = measureEvents(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseBurst) {
		if report.burst, err = measureBurst(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if s.has(phaseEntitlements) {
		if report.entitlements, err = measureEntitlements(ctx, s, stack, progress); err != nil {
			return err
		}
	}
	if err := stack.verify(ctx); err != nil {
		return err
	}
	report.took = progress.elapsed()
	return report.publish(os.Stdout)
}

// profileSelf writes a CPU profile of this program until the returned function is called.
func profileSelf(dir string) (stop func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	file, err := os.Create(dir + "/bench.pprof")
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

// progress tells what is going on, with the time since the start.
type progress struct {
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) elapsed() time.Duration { return time.Since(p.start).Round(time.Second) }

func (p *progress) say(format string, args ...any) {
	fmt.Fprintf(p.out, "%6s  %s\n", p.elapsed(), fmt.Sprintf(format, args...))
}
