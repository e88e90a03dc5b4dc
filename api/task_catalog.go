package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/tasks"
)

// taskCatalog is what the tasks of a project are at a revision.
type taskCatalog struct {
	rules    *tasks.Catalog
	offered  []tasks.Task // the current versions of published tasks, by id
	required []int64      // by any of them
}

func newTaskCatalogs(db *postgres.DB, timeout time.Duration, now func() time.Time) *byRevision[taskCatalog] {
	return &byRevision[taskCatalog]{
		timeout:  timeout,
		revision: db.TaskCatalogRevision,
		read: func(ctx context.Context, projectID int32) (int64, *taskCatalog, error) {
			revision, all, err := db.Catalog(ctx, projectID, now())
			if err != nil {
				return 0, nil, err
			}
			catalog, err := taskCatalogOf(all)
			if err != nil {
				return 0, nil, fmt.Errorf("tasks of project %d: %w", projectID, err)
			}
			return revision, catalog, nil
		},
	}
}

func taskCatalogOf(all []tasks.Task) (*taskCatalog, error) {
	rules, err := tasks.NewCatalog(all)
	if err != nil {
		return nil, err
	}
	catalog := &taskCatalog{rules: rules}
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
