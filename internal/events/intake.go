package events

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// ErrStopped: the intake takes no more events; another process does.
var ErrStopped = errors.New("the event intake has stopped")

const (
	// catalogRetries is how often a batch is counted again because tasks were edited meanwhile.
	catalogRetries = 3
	writeTimeout   = 10 * time.Second
)

// IntakeStore is the database as the intake needs it; *postgres.DB.
type IntakeStore interface {
	CountEvents(ctx context.Context, b postgres.EventBatch, now time.Time) (postgres.CountedEvents, error)
	Catalog(ctx context.Context, projectID int32, now time.Time) (revision int64, all []tasks.Task, err error)
}

// IntakeOptions of an Intake.
type IntakeOptions struct {
	Writers int                               // transactions at the same time
	Batch   int                               // events that one transaction takes, as a rule
	Queue   int                               // requests that may wait for each writer
	Tell    func([]postgres.TaskWindowChange) // starts or wakes workflows; must not block
	Clock   func() time.Time
}

// Intake counts the events of all doors of a process. Each writer has the events of its share of the users, so that no
// two wait for the same window, and takes what has come while it wrote the batch before as one batch: nothing waits for
// a timer, and the busier it is the larger the batches get. A full queue makes the doors wait, and so the senders.
type Intake struct {
	store   IntakeStore
	options IntakeOptions
	writers []chan job
	seed    maphash.Seed

	mu       sync.Mutex
	catalogs map[int32]catalog

	stopped chan struct{}
}

type catalog struct {
	revision int64
	tasks    *tasks.Catalog
}

// job is the part of one call that one writer has.
type job struct {
	projectID int32
	events    []tasks.Received
	done      chan<- result
	part      int
}

type result struct {
	part       int
	duplicates []bool
	err        error
}

// NewIntake makes an Intake; Run makes it work.
func NewIntake(store IntakeStore, options IntakeOptions) *Intake {
	intake := &Intake{store: store, options: options, seed: maphash.MakeSeed(), catalogs: map[int32]catalog{}, stopped: make(chan struct{})}
	for range options.Writers {
		intake.writers = append(intake.writers, make(chan job, options.Queue))
	}
	return intake
}

// Run writes batches until the context ends, then what was already taken in.
func (i *Intake) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, jobs := range i.writers {
		group.Go(func() { i.write(ctx, jobs) })
	}
	<-ctx.Done()
	close(i.stopped)
	group.Wait()
}

// Count is the Counter of a process. An error says nothing about what was committed: give all of them again.
func (i *Intake) Count(ctx context.Context, projectID int32, batch []tasks.Received) ([]tasks.Receipt, error) {
	parts := make([][]int, len(i.writers))
	for n, event := range batch {
		writer := maphash.String(i.seed, event.UserID) % uint64(len(i.writers))
		parts[writer] = append(parts[writer], n)
	}
	select {
	case <-i.stopped:
		return nil, ErrStopped
	default:
	}
	done := make(chan result, len(parts))
	waiting := 0
	for writer, part := range parts {
		if len(part) == 0 {
			continue
		}
		events := make([]tasks.Received, len(part))
		for k, n := range part {
			events[k] = batch[n]
		}
		select {
		case i.writers[writer] <- job{projectID: projectID, events: events, done: done, part: writer}:
			waiting++
		case <-i.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	receipts := make([]tasks.Receipt, len(batch))
	for range waiting {
		select {
		case r := <-done:
			if r.err != nil {
				return nil, r.err
			}
			for k, n := range parts[r.part] {
				receipts[n].Duplicate = r.duplicates[k]
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return receipts, nil
}

// Waiting counts the calls, or their parts, that no writer has taken yet.
func (i *Intake) Waiting() int {
	waiting := 0
	for _, jobs := range i.writers {
		waiting += len(jobs)
	}
	return waiting
}

func (i *Intake) write(ctx context.Context, jobs <-chan job) {
	for {
		select {
		case first := <-jobs:
			i.count(i.gather(first, jobs))
		case <-ctx.Done():
			i.drain(jobs)
			return
		}
	}
}

// drain writes what is queued when the process stops.
func (i *Intake) drain(jobs <-chan job) {
	for {
		select {
		case first := <-jobs:
			i.count(i.gather(first, jobs))
		default:
			return
		}
	}
}

// gather adds what has come meanwhile, up to a batch.
func (i *Intake) gather(first job, jobs <-chan job) []job {
	gathered, size := []job{first}, len(first.events)
	for size < i.options.Batch {
		select {
		case next := <-jobs:
			gathered, size = append(gathered, next), size+len(next.events)
		default:
			return gathered
		}
	}
	return gathered
}

// count writes jobs as one batch of each project. If the database refuses it each is tried by itself, so that
// one cannot fail another.
func (i *Intake) count(jobs []job) {
	byProject := map[int32][]job{}
	for _, j := range jobs {
		byProject[j.projectID] = append(byProject[j.projectID], j)
	}
	for projectID, jobs := range byProject {
		duplicates, err := i.countJobs(projectID, jobs)
		if err == nil || len(jobs) == 1 || postgres.Unavailable(err) {
			answer(jobs, duplicates, err)
			continue
		}
		for n := range jobs {
			duplicates, err := i.countJobs(projectID, jobs[n:n+1])
			answer(jobs[n:n+1], duplicates, err)
		}
	}
}

func (i *Intake) countJobs(projectID int32, jobs []job) (duplicates []bool, err error) {
	batch := postgres.EventBatch{ProjectID: projectID, Events: jobs[0].events}
	if len(jobs) > 1 {
		batch.Events = make([]tasks.Received, 0, i.options.Batch)
		for _, j := range jobs {
			batch.Events = append(batch.Events, j.events...)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout) // the callers may leave, what they sent stays
	defer cancel()
	var counted postgres.CountedEvents
	for range catalogRetries {
		known, err := i.catalog(ctx, projectID)
		if err != nil {
			return nil, err
		}
		batch.Catalog, batch.Revision = known.tasks, known.revision
		counted, err = i.store.CountEvents(ctx, batch, i.options.Clock())
		if errors.Is(err, postgres.ErrCatalogChanged) {
			i.forget(projectID, known.revision)
			continue
		}
		if postgres.Refused(err) {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if err != nil {
			return nil, err
		}
		i.options.Tell(counted.Tell)
		return counted.Duplicates, nil
	}
	return nil, fmt.Errorf("count events: %w, %d times in a row", postgres.ErrCatalogChanged, catalogRetries)
}

// answer gives each job its part.
func answer(jobs []job, duplicates []bool, err error) {
	for _, j := range jobs {
		if err != nil {
			j.done <- result{part: j.part, err: err}
			continue
		}
		j.done <- result{part: j.part, duplicates: duplicates[:len(j.events)]}
		duplicates = duplicates[len(j.events):]
	}
}

// catalog is the project's tasks as last read; CountEvents says when they are out of date.
func (i *Intake) catalog(ctx context.Context, projectID int32) (catalog, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known, ok := i.catalogs[projectID]; ok {
		return known, nil
	}
	revision, all, err := i.store.Catalog(ctx, projectID, i.options.Clock())
	if err != nil {
		return catalog{}, err
	}
	ready, err := tasks.NewCatalog(all)
	if err != nil {
		return catalog{}, fmt.Errorf("catalog of tasks: %w", err)
	}
	known := catalog{revision: revision, tasks: ready}
	i.catalogs[projectID] = known
	return known, nil
}

// forget drops the catalog unless another writer has read it anew.
func (i *Intake) forget(projectID int32, revision int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.catalogs[projectID].revision == revision {
		delete(i.catalogs, projectID)
	}
}
