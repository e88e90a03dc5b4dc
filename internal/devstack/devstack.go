// Package devstack starts and stops the real PostgreSQL, the real Temporal and the real RabbitMQ as child
// processes, for `quickpass dev`, the tests, the crash tests and the benchmarks.
//
// Nothing outlives the program that started it, also when that program is killed, and nothing that an earlier run left
// behind stops the next start. What is started listens on 127.0.0.1 only.
package devstack

import (
	"context"
	"time"
)

// pollInterval is how often a condition without a signal of its own is looked at.
const pollInterval = 20 * time.Millisecond

// poll calls done until it is true. It returns false when ctx ends first.
func poll(ctx context.Context, done func() bool) bool {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// report calls progress when there is one.
func report(progress func(string), message string) {
	if progress != nil {
		progress(message)
	}
}
