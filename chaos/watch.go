package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
)

// watch checks every invariant each few seconds, and tells how it goes, until ctx ends. It is what `quickpass verify`
// runs, in process. The first broken rule ends the run.
func watch(ctx context.Context, s *stack, l *load, e *eventLoad, f *findings, c *counts) {
	begin := time.Now()
	for pause(ctx, 4*time.Second) {
		verified := "verify ok"
		if err := verify(ctx, s, f, verifyGrace); errors.Is(err, errBroken) {
			f.stop(err)
			return
		} else if err != nil {
			verified = "no verify (database away)"
		} else {
			c.add(verifyCount)
		}
		down := "all up"
		if names := s.down(); len(names) > 0 {
			down = "down: " + strings.Join(names, ", ")
		}
		fmt.Printf("  %4.0f s  accepted %d, refused %d, open %d; events %d; faults %d; %s; %s\n", time.Since(begin).Seconds(),
			l.accepted.Load(), l.refused.Load(), l.open.Load(), e.taken.Load(), c.total()-c.of(verifyCount), down, verified)
	}
}

const (
	verifyCount = "verify"
	// verifyGrace keeps the one rule about time out of the way while things are killed: the bound counts from
	// the end of the faults, and settle judges it.
	verifyGrace = time.Hour
)

var errBroken = errors.New("an invariant is broken")

func verify(ctx context.Context, s *stack, f *findings, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	checks, err := s.db.Verify(ctx, postgres.VerifyOptions{Grace: grace}, time.Now())
	if err != nil {
		return err
	}
	for _, check := range checks {
		for _, row := range check.Broken {
			f.add("verify: "+check.Rule, "%s", row)
			err = errBroken
		}
	}
	return err
}

// verifyProgram runs `quickpass verify` itself.
func verifyProgram(ctx context.Context, s *stack, f *findings, grace time.Duration) {
	command := exec.CommandContext(ctx, s.quickpass, "verify", "--grace", grace.String())
	command.Env = append(command.Environ(), s.env...)
	if output, err := command.CombinedOutput(); err != nil {
		f.add("`quickpass verify` exits with 0", "%v: %s", err, output)
	}
}

func openOrders(ctx context.Context, s *stack) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var open int
	err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM orders WHERE finished_at IS NULL").Scan(&open)
	return open, err
}

// settle waits until no order is open, and for each no longer than its own tries and the time to recover, from now on.
func settle(ctx context.Context, s *stack, f *findings, recovery time.Duration) error {
	begin := time.Now()
	for {
		rows, err := s.db.Pool().Query(ctx, `SELECT order_id, sku, updated_at::text, extract(epoch FROM interval '1 second' *
			(((delivery ->> 'timeout_seconds')::int + (delivery ->> 'retry_interval_seconds')::int) * ((delivery ->> 'retries')::int + 1)))::int
			FROM orders WHERE finished_at IS NULL ORDER BY order_id`)
		if err != nil {
			return err
		}
		open, late := 0, 0
		for rows.Next() {
			var id, sku, updated string
			var seconds int
			if err := rows.Scan(&id, &sku, &updated, &seconds); err != nil {
				return err
			}
			open++
			if bound := time.Duration(seconds)*time.Second + recovery; time.Since(begin) > bound {
				late++
				f.add("every order is final within its bound after the faults", "order %s (%s, last changed %s) is open after %s", id, sku, updated, bound)
			}
		}
		if err := rows.Err(); err != nil || open == 0 {
			return err
		}
		if late > 0 {
			return fmt.Errorf("%d orders are open beyond their bound, %d in all", late, open)
		}
		if waited := time.Since(begin); waited > 5*time.Second && int(waited.Seconds())%10 == 0 {
			fmt.Printf("  %d orders are open, %.0f s after the faults\n", open, waited.Seconds())
		}
		if !pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}
