package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// result is what a run came to.
type result struct {
	options     options
	begin       time.Time
	faultsEnd   time.Time
	ended       time.Time
	truth       truth
	replays     replays
	tasks       taskTruth
	giftReplays giftReplays
	checkouts   checkoutTruth
	decided     int // deliveries of orders that an admin has had made again
	workflows   int64
	counts      *counts
	findings    *findings
	load        *load
	events      *eventLoad
	tills       *checkoutLoad
	postgres    string // version
}

// markdown is the report.
func (r *result) markdown() string {
	var b strings.Builder
	verdict := "Every rule held."
	if n := r.findings.broken(); n > 0 {
		verdict = fmt.Sprintf("**FAILED: %d rules were broken.**", n)
	}
	fmt.Fprintf(&b, intro, verdict, r.options.command(), r.begin.UTC().Format("2006-01-02"), r.versions())
	r.writeFindings(&b)
	b.WriteString("\n| what | figure |\n| --- | --- |\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	b.WriteString("\n| fault | times | longest |\n| --- | ---: | ---: |\n")
	for _, name := range slices.Sorted(maps.Keys(r.counts.times)) {
		if name != verifyCount {
			fmt.Fprintf(&b, "| %s | %d | |\n", name, r.counts.times[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.counts.most)) {
		fmt.Fprintf(&b, "| to %s | | %.1f s |\n", name, r.counts.most[name].Seconds())
	}
	return b.String()
}

const intro = `# Reliability

%s This page is written by ` + "`make chaos`" + `.

PostgreSQL (fsync on), Temporal, a fake main product and QuickPass, as one ` + "`quickpass serve`, one `api` and one `worker`" + `, run as processes of
their own. Callers buy without a pause, each wish under its own Idempotency-Key; a caller without a definite answer repeats the request, under the
same key, at another API process. The main product sends batches of events for six tasks in the same way, and users order
carts and items, which they pay, pay twice at once, cancel, cancel while they pay, or forget. Meanwhile processes are killed (SIGKILL), asked to stop (SIGTERM, which must end with exit code 0 within the drain time) or
frozen (SIGSTOP), and the main product misbehaves. Every few seconds all invariants are checked in the database. At the end what the buyers were told,
what QuickPass wrote and the main product's own books must agree, progress must be a fold over the events that were sent and rewards equal completions;
every order of a cart has one
outcome, users own what they have paid for, to the piece and the second; and every order and reward that the product did not take is replayed.

    %s

Run on %s with %s.
`

func (r *result) writeFindings(b *strings.Builder) {
	for _, rule := range r.findings.order {
		fmt.Fprintf(b, "\n**Broken: %s** (%d times)\n\n", rule, r.findings.times[rule])
		for _, row := range r.findings.rows[rule] {
			fmt.Fprintf(b, "- %s\n", strings.TrimSpace(row))
		}
	}
}

func (r *result) rows() [][2]string {
	l, t := r.load, r.truth
	took := make([]time.Duration, 0, len(t.intents))
	tries := 0
	for _, i := range t.intents {
		tries = max(tries, i.tries)
		if i.orderID != "" {
			took = append(took, i.took)
		}
	}
	slices.Sort(took)
	flagged, credited := t.suspected()
	rows := [][2]string{
		{"faults lasted", r.faultsEnd.Sub(r.begin).Round(time.Second).String()},
		{"callers", fmt.Sprint(r.options.callers)},
		{"purchases accepted, refused", fmt.Sprintf("%d, %d", l.accepted.Load(), l.refused.Load())},
		{"requests repeated for want of an answer", fmt.Sprintf("%d (%s); at most %d tries for one purchase", l.retries.Load(), sums(l.unanswered), tries)},
		{"accepted, from the first request to the answer with all repeats, p50 and p99", fmt.Sprintf("%s and %s", quantile(took, 0.5), quantile(took, 0.99))},
		{"orders by outcome", sums(t.outcomes())},
		{"calls to the main product for one order", sums(t.calls())},
		{"orders flagged as suspected", fmt.Sprint(flagged)},
		{"coins returned though credited, flagged as suspected", fmt.Sprint(credited)},
		{"coins returned though credited, not flagged (must be 0)", fmt.Sprint(r.findings.times["a canceled order that was credited is flagged"])},
		{"last order final after the faults ended", r.lastFinal().Round(100 * time.Millisecond).String()},
		{"verified while faults lasted", fmt.Sprintf("%d times without a broken rule", r.counts.times[verifyCount])},
		{"workflows", fmt.Sprint(r.workflows)},
		{"replayed afterwards", fmt.Sprintf("%d: %d completed with one crediting (%d of them credited before, none twice), %d refused as unknown users, %d without the coins any more", r.replays.asked, r.replays.completed, r.replays.creditedBefore, r.replays.refused, r.replays.short)},
		{"events taken, delivered again on purpose, requests repeated for want of an answer", fmt.Sprintf("%d, %d, %d", r.events.taken.Load(), r.events.again.Load(), r.events.retries.Load())},
		{"windows of tasks, completed", fmt.Sprintf("%d, %d", len(r.tasks.windows), r.tasks.completed())},
		{"the main product's part of their rewards", sums(r.tasks.statuses())},
		{"rewards replayed afterwards", fmt.Sprintf("%d: %d given once (%d given before, none twice), %d refused as unknown users", r.giftReplays.asked, r.giftReplays.delivered, r.giftReplays.givenBefore, r.giftReplays.refused)},
		{"orders of carts and items by outcome", sums(r.checkouts.outcomes())},
		{"payments and cancellations of them that users were told of, requests repeated for want of an answer", fmt.Sprintf("%d, %d, %d", r.tills.payments.Load(), r.tills.cancels.Load(), r.tills.retries.Load())},
		{"the main product's part of them; suspected, and then delivered again by an admin", fmt.Sprintf("%s; %d", sums(r.checkouts.parts()), r.decided)},
		{"payments that were not taken", sums(r.checkouts.refusals)},
		{"the whole run took", r.ended.Sub(r.begin).Round(time.Second).String()},
	}
	return rows
}

func (t truth) outcomes() map[string]int {
	n := map[string]int{}
	for _, o := range t.orders {
		n[strings.TrimSpace(o.Status+" "+o.Reason)]++
	}
	return n
}

// calls counts orders by how often the main product was called for them, as its books have it.
func (t truth) calls() map[string]int {
	n := map[string]int{}
	for id := range t.orders {
		n[fmt.Sprintf("%d calls", t.books[id].Calls)]++
	}
	return n
}

func (r *result) lastFinal() time.Duration {
	var last time.Duration
	for _, o := range r.truth.orders {
		if o.Finished != nil {
			last = max(last, o.Finished.Sub(r.faultsEnd))
		}
	}
	return last
}

func (r *result) versions() string {
	list := []string{runtime.Version(), "PostgreSQL " + r.postgres}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "go.temporal.io/sdk" || module.Path == "github.com/jackc/pgx/v5" {
				list = append(list, module.Path+" "+module.Version)
			}
		}
	}
	return strings.Join(list, ", ") + fmt.Sprintf(", %d CPUs", runtime.NumCPU())
}

func postgresVersion(ctx context.Context, s *stack) string {
	var version string
	if s.db.Pool().QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version) != nil {
		return "(unknown)"
	}
	return version
}

func sums(n map[string]int) string {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(n[b]-n[a], strings.Compare(a, b)) }) {
		parts = append(parts, fmt.Sprintf("%s: %d", name, n[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func quantile(sorted []time.Duration, q float64) string {
	if len(sorted) == 0 {
		return "-"
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(100 * time.Microsecond).String()
}
