package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	opener          = "open-" // of the user ids of those who open windows
	openTimeout     = 10 * time.Minute
	visibilityDelay = 5 * time.Second // until Temporal's visibility and its queues have settled
)

// windowsResult is what open windows take on the disk, in bytes each.
type windowsResult struct {
	windows   int
	bytes     map[string]float64 // by database
	optional  float64            // of them, those of the indexes that trimVisibility drops
	perSecond float64            // opened, with their workflows started
}

// sizedDatabases are all of the cluster that grow with a window.
var sizedDatabases = []string{servedDatabase, "temporal", "temporal_visibility"}

func (w windowsResult) all() (sum float64) {
	for _, database := range sizedDatabases {
		sum += w.bytes[database]
	}
	return sum
}

// measureWindows opens windows by the API, each with its workflow, and sees by how much the databases grow.
// It must come first: rows that others have left would make room without growth. What Temporal wrote for a
// moment only is vacuumed away.
func measureWindows(ctx context.Context, o settings, st *stack, p *progress) (*windowsResult, error) {
	p.say("windows: opening %d", o.windows)
	// Some go ahead, so that the first page of each of Temporal's many indexes is not charged to a few windows.
	ahead := o.windows/10 + 1
	if err := st.seedUsers(ctx, opener, ahead+o.windows); err != nil {
		return nil, err
	}
	before, err := st.openAndWeigh(ctx, 0, ahead)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	after, err := st.openAndWeigh(ctx, ahead, ahead+o.windows)
	if err != nil {
		return nil, err
	}
	w := &windowsResult{
		windows:   o.windows,
		bytes:     map[string]float64{},
		perSecond: float64(o.windows) / (after.toldAt.Sub(begin)).Seconds(),
	}
	for _, database := range sizedDatabases {
		w.bytes[database] = float64(after.bytes[database]-before.bytes[database]) / float64(o.windows)
	}
	w.optional = float64(after.optional-before.optional) / float64(o.windows)
	p.say("windows: %.0f bytes each; %.0f opened a second", w.all(), w.perSecond)
	return w, nil
}

// weight is how large the databases are.
type weight struct {
	bytes    map[string]int64
	optional int64     // of indexes of Temporal's visibility that an operator may drop
	toldAt   time.Time // when the last workflow had been started
}

// openAndWeigh opens the windows of users from..to and waits for their workflows.
func (st *stack) openAndWeigh(ctx context.Context, from, to int) (w weight, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := st.activate(ctx, opener, idleTask, from, to); err != nil {
		return w, err
	}
	if err := st.awaitTold(ctx, idleTask); err != nil {
		return w, err
	}
	return st.weighAll(ctx)
}

// awaitTold waits until every window of a task has its workflow.
func (st *stack) awaitTold(ctx context.Context, task int) error {
	for untold := 1; untold > 0; {
		if err := pause(ctx, streamLook); err != nil {
			return fmt.Errorf("%d windows have no workflow yet: %w", untold, err)
		}
		if err := st.served.Pool().QueryRow(ctx, "SELECT count(*) FROM task_windows WHERE task_id = $1 AND told < changes", task).Scan(&untold); err != nil {
			return err
		}
	}
	return nil
}

// weighAll weighs all databases, once Temporal has written what it writes late.
func (st *stack) weighAll(ctx context.Context) (w weight, err error) {
	w = weight{bytes: map[string]int64{}, toldAt: time.Now()}
	if err := pause(ctx, visibilityDelay); err != nil {
		return w, err
	}
	for _, database := range sizedDatabases {
		if err := st.weigh(ctx, database, &w); err != nil {
			return w, err
		}
	}
	return w, nil
}

// weigh adds a database, vacuumed.
func (st *stack) weigh(ctx context.Context, database string, w *weight) error {
	db, err := postgres.Open(ctx, postgres.Options{URL: st.databaseURL(database), MaxConnections: 1, StatementTimeout: stopTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err = db.Pool().Exec(ctx, "VACUUM"); err != nil {
		return fmt.Errorf("vacuum %s: %w", database, err)
	}
	var bytes, optional int64
	err = db.Pool().QueryRow(ctx, `SELECT pg_database_size(current_database()), COALESCE(sum(pg_relation_size(format('%I', i.indexname)::regclass)), 0)::bigint
		FROM pg_indexes i WHERE `+optionalIndexes).Scan(&bytes, &optional)
	w.bytes[database] = bytes
	w.optional += optional
	return err
}

func (st *stack) activate(ctx context.Context, prefix string, task, from, to int) error {
	front := newStorefront(st.apiURL)
	var next atomic.Int64
	next.Store(int64(from))
	group, ctx := errgroup.WithContext(ctx)
	for range restCallers {
		group.Go(func() error {
			for {
				n := int(next.Add(1) - 1)
				if n >= to {
					return nil
				}
				if err := front.activate(ctx, st.apiURL, fmt.Sprintf(prefix+playerForm, n), task); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// activate begins a user's window.
func (s *storefront) activate(ctx context.Context, api, user string, task int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/api/v1/users/%s/tasks/%d/activate", api, user, task), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+apiKey)
	request.Header.Set("Idempotency-Key", rand.Text())
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return errors.New("activate: " + response.Status)
	}
	return nil
}
