package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// memory is a counter that keeps the events in memory.
type memory struct {
	mu         sync.Mutex
	counted    []string // the notes of the events, each once
	seen       map[[16]byte]bool
	duplicates int
	calls      int
	down       atomic.Bool   // every call fails
	refuse     string        // the note of an event that is never taken
	entered    chan struct{} // gets a value when a call begins, if it is set
	hold       chan struct{} // if it is set, a call goes on when it is closed
}

func (m *memory) Count(ctx context.Context, projectID int32, batch []tasks.Received) ([]tasks.Receipt, error) {
	if m.entered != nil {
		m.entered <- struct{}{}
	}
	if m.hold != nil {
		select {
		case <-m.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.down.Load() {
		return nil, errors.New("the database is down")
	}
	if projectID != project {
		return nil, fmt.Errorf("project %d", projectID)
	}
	if m.refuse != "" && slices.ContainsFunc(batch, func(e tasks.Received) bool { return e.Fields["note"] == m.refuse }) {
		return nil, fmt.Errorf("%w: a value that the database cannot keep", events.ErrRefused)
	}
	receipts := make([]tasks.Receipt, len(batch))
	for i, event := range batch {
		receipts[i].Duplicate = m.seen[event.Key]
		if receipts[i].Duplicate {
			m.duplicates++
			continue
		}
		if m.seen == nil {
			m.seen = map[[16]byte]bool{}
		}
		m.seen[event.Key] = true
		m.counted = append(m.counted, fmt.Sprint(event.Fields["note"]))
	}
	return receipts, nil
}

// notes are those of the events that were counted, sorted.
func (m *memory) notes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.counted))
}

func (m *memory) statistics() (counted, duplicates, calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.counted), m.duplicates, m.calls
}

// noted is an event of this moment with a note.
func noted(note string) string {
	return fmt.Sprintf(`{"user_id":"u1","event_type":"bet_placed","timestamp":%q,"note":%q}`, time.Now().UTC().Format(time.RFC3339), note)
}

func consumerOptions(t *testing.T, counter events.Counter) events.ConsumerOptions {
	return events.ConsumerOptions{ProjectID: project, Decoder: decoder, Counter: counter, Logger: testkit.Logger(t)}
}

// start starts a consumer. The test's end stops it, if nothing has before.
func start(t *testing.T, run func(context.Context)) (cancel func(), ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return cancel, done
}

// running starts a consumer and returns what stops it and waits for its end.
func running(t *testing.T, run func(context.Context)) (stop func()) {
	t.Helper()
	cancel, ended := start(t, run)
	return func() {
		cancel()
		<-ended
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	testkit.Eventually(t, what, func(context.Context) error {
		if holds() {
			return nil
		}
		return errors.New("not yet")
	})
}

// waitFor returns when so many events are counted.
func (m *memory) waitFor(t *testing.T, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d events are counted", n), func(context.Context) error {
		if counted, _, _ := m.statistics(); counted != n {
			return fmt.Errorf("%d are counted", counted)
		}
		return nil
	})
}

// several writes n events with the notes prefix-0 and so on, and returns the notes, sorted.
func several(prefix string, n int) (bodies, notes []string) {
	for i := range n {
		notes = append(notes, fmt.Sprintf("%s-%d", prefix, i))
		bodies = append(bodies, noted(notes[i]))
	}
	slices.Sort(notes)
	return bodies, notes
}
