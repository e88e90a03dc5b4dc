package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// taskCatalogs keep the tasks of each project in memory. They are read again when one of them was edited, by any process.
type taskCatalogs struct {
	db      *postgres.DB
	timeout time.Duration // of a read that several requests share

	mu        sync.Mutex
	byProject map[int32]*taskCatalog
	reads     singleflight.Group
}

// taskCatalog is what the tasks of a project are at a revision.
type taskCatalog struct {
	revision int64
	rules    *tasks.Catalog
	offered  []tasks.Task // the current versions of published tasks, by id
	required []int64      // by any of them
}

func newTaskCatalogs(db *postgres.DB, timeout time.Duration) *taskCatalogs {
	return &taskCatalogs{db: db, timeout: timeout, byProject: map[int32]*taskCatalog{}}
}

func (c *taskCatalogs) get(ctx context.Context, projectID int32, now time.Time) (*taskCatalog, error) {
	revision, err := c.db.TaskCatalogRevision(ctx, projectID)
	if err != nil {
		return nil, err
	}
	if known := c.known(projectID); known != nil && known.revision == revision {
		return known, nil
	}
	read, err, _ := c.reads.Do(fmt.Sprint(projectID, " ", revision), func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		return c.read(shared, projectID, now)
	})
	if err != nil {
		return nil, err
	}
	return read.(*taskCatalog), nil
}

func (c *taskCatalogs) known(projectID int32) *taskCatalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byProject[projectID]
}

func (c *taskCatalogs) read(ctx context.Context, projectID int32, now time.Time) (*taskCatalog, error) {
	revision, all, err := c.db.Catalog(ctx, projectID, now)
	if err != nil {
		return nil, err
	}
	catalog := &taskCatalog{revision: revision}
	if catalog.rules, err = tasks.NewCatalog(all); err != nil {
		return nil, fmt.Errorf("tasks of project %d: %w", projectID, err)
	}
	required := map[int64]bool{}
	for _, task := range all {
		if task.Status != tasks.Published {
			continue
		}
		catalog.offered = append(catalog.offered, task)
		for _, id := range task.Requires {
			required[id] = true
		}
	}
	catalog.required = slices.Sorted(maps.Keys(required))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byProject[projectID] = catalog
	return catalog, nil
}

// version of a task, of the catalog or as it was once.
func (h *handlers) version(ctx context.Context, projectID int32, catalog *taskCatalog, taskID, version int64) (tasks.Task, error) {
	if task, ok := catalog.rules.Task(taskID, version); ok {
		return task, nil
	}
	task, err := h.db.TaskVersion(ctx, projectID, taskID, version)
	if errors.Is(err, postgres.ErrNotFound) {
		return task, fmt.Errorf("task %d has no version %d", taskID, version)
	}
	return task, err
}
