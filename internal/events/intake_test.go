package events_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// store is a database that keeps keys and can be told to fail.
type store struct {
	mu       sync.Mutex
	seen     map[[16]byte]bool
	batches  []int
	revision int64
	reads    int
	fail     func(b postgres.EventBatch) error
	entered  chan struct{} // receives when a batch begins
	gate     chan struct{} // a batch waits here, if it is there
}

func (m *store) CountEvents(_ context.Context, b postgres.EventBatch, _ time.Time) (postgres.CountedEvents, error) {
	if m.gate != nil {
		m.entered <- struct{}{}
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches = append(m.batches, len(b.Events))
	if b.Revision != m.revision {
		return postgres.CountedEvents{}, postgres.ErrCatalogChanged
	}
	if m.fail != nil {
		if err := m.fail(b); err != nil {
			return postgres.CountedEvents{}, err
		}
	}
	counted := postgres.CountedEvents{Duplicates: make([]bool, len(b.Events))}
	for i, event := range b.Events {
		counted.Duplicates[i] = m.seen[event.Key]
		m.seen[event.Key] = true
	}
	return counted, nil
}

func (m *store) Catalog(context.Context, int32, time.Time) (int64, []tasks.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return m.revision, nil, nil
}

func startIntake(t *testing.T, m *store, change ...func(*events.IntakeOptions)) *events.Intake {
	t.Helper()
	m.seen = map[[16]byte]bool{}
	options := events.IntakeOptions{Writers: 3, Batch: 100, Queue: 8, Clock: time.Now, Tell: func([]postgres.TaskWindowChange) {}}
	for _, f := range change {
		f(&options)
	}
	intake := events.NewIntake(m, options)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		intake.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return intake
}

func received(n int) tasks.Received {
	event := tasks.Received{ID: fmt.Sprint(n), Event: tasks.Event{UserID: fmt.Sprintf("user-%d", n%7), Type: "bet_placed"}}
	copy(event.Key[:], fmt.Sprintf("%16d", n))
	return event
}

func TestIntakeAnswersEachEvent(t *testing.T) {
	t.Parallel()
	intake := startIntake(t, &store{})
	var batch []tasks.Received
	for n := range 50 {
		batch = append(batch, received(n))
	}
	first, err := intake.Count(t.Context(), 1, batch[:30])
	require.NoError(t, err)
	require.Equal(t, make([]tasks.Receipt, 30), first)
	second, err := intake.Count(t.Context(), 1, batch)
	require.NoError(t, err)
	for n, receipt := range second {
		require.Equal(t, n < 30, receipt.Duplicate, "event %d", n)
	}
}

// sendWhileBusy sends the first event and, while its batch is being written, the others; then lets the store go on.
func sendWhileBusy(t *testing.T, intake *events.Intake, m *store, calls int) []error {
	t.Helper()
	var group sync.WaitGroup
	failures := make([]error, calls)
	send := func(n int) {
		group.Go(func() { _, failures[n] = intake.Count(t.Context(), 1, []tasks.Received{received(n)}) })
	}
	send(0)
	<-m.entered
	for n := 1; n < calls; n++ {
		send(n)
	}
	waiting := func() bool { return intake.Waiting() == calls-1 }
	assert.Eventually(t, waiting, 10*time.Second, time.Millisecond)
	close(m.gate)
	group.Wait()
	return failures
}

func busyStore() *store { return &store{gate: make(chan struct{}), entered: make(chan struct{}, 10)} }

func oneWriter(o *events.IntakeOptions) { o.Writers = 1 }

// What comes while a batch is written is one batch.
func TestIntakeGathersWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	m := busyStore()
	require.NoError(t, errors.Join(sendWhileBusy(t, startIntake(t, m, oneWriter), m, 6)...))
	require.Equal(t, []int{1, 5}, m.batches)
}

// An event that the database refuses fails its own call alone.
func TestIntakeIsolatesARefusedEvent(t *testing.T) {
	t.Parallel()
	m := busyStore()
	m.fail = func(b postgres.EventBatch) error {
		for _, event := range b.Events {
			if event.ID == "3" {
				return &pgconn.PgError{Code: "22P05"}
			}
		}
		return nil
	}
	for n, err := range sendWhileBusy(t, startIntake(t, m, oneWriter), m, 6) {
		if n == 3 {
			require.ErrorIs(t, err, events.ErrRefused)
		} else {
			require.NoError(t, err)
		}
	}
}

// While the database is away nobody is tried by itself: that would be the more work the more there is.
func TestIntakeWithoutDatabase(t *testing.T) {
	t.Parallel()
	away := &pgconn.PgError{Code: "57P01"}
	m := busyStore()
	m.fail = func(postgres.EventBatch) error { return away }
	for _, err := range sendWhileBusy(t, startIntake(t, m, oneWriter), m, 4) {
		require.ErrorIs(t, err, away)
	}
	require.Equal(t, []int{1, 3}, m.batches)
}

func TestIntakeReadsTheCatalogAgainWhenItChanged(t *testing.T) {
	t.Parallel()
	m := &store{}
	intake := startIntake(t, m)
	for n := range 3 {
		_, err := intake.Count(t.Context(), 1, []tasks.Received{received(n)})
		require.NoError(t, err)
	}
	require.Equal(t, 1, m.reads)
	m.mu.Lock()
	m.revision++
	m.mu.Unlock()
	_, err := intake.Count(t.Context(), 1, []tasks.Received{received(3)})
	require.NoError(t, err)
	require.Equal(t, 2, m.reads)
}

// A full queue makes the caller wait, for as long as the caller likes to.
func TestIntakePushesBack(t *testing.T) {
	t.Parallel()
	intake := events.NewIntake(&store{}, events.IntakeOptions{Writers: 1, Queue: 1, Clock: time.Now}) // nobody writes
	impatient, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	var group sync.WaitGroup
	failures := make([]error, 3)
	for n := range failures {
		group.Go(func() { _, failures[n] = intake.Count(impatient, 1, []tasks.Received{received(n)}) })
	}
	group.Wait()
	for _, err := range failures {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.Equal(t, 1, intake.Waiting(), "the others never got in")
}

// What was taken in is written although the process stops; what comes later is not taken.
func TestIntakeDrains(t *testing.T) {
	t.Parallel()
	m := busyStore()
	m.seen = map[[16]byte]bool{}
	intake := events.NewIntake(m, events.IntakeOptions{
		Writers: 1,
		Batch:   1,
		Queue:   8,
		Clock:   time.Now,
		Tell:    func([]postgres.TaskWindowChange) {},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		intake.Run(ctx)
	}()
	var group sync.WaitGroup
	failures := make([]error, 3)
	for n := range failures {
		group.Go(func() { _, failures[n] = intake.Count(t.Context(), 1, []tasks.Received{received(n)}) })
	}
	<-m.entered
	assert.Eventually(t, func() bool { return intake.Waiting() == 2 }, 10*time.Second, time.Millisecond)
	stop()
	close(m.gate)
	<-done
	group.Wait()
	require.NoError(t, errors.Join(failures...))
	_, err := intake.Count(t.Context(), 1, []tasks.Received{received(9)})
	require.ErrorIs(t, err, events.ErrStopped)
}
