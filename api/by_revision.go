package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// byRevision keeps something of each project in memory. It is read again when the project's revision has
// changed, by any process; requests that need it at the same moment share one read.
type byRevision[T any] struct {
	revision func(ctx context.Context, projectID int32) (int64, error)
	read     func(ctx context.Context, projectID int32) (revision int64, value *T, err error)
	timeout  time.Duration // of a read

	mu    sync.Mutex
	known map[int32]revised[T]
	reads singleflight.Group
}

type revised[T any] struct {
	revision int64
	value    *T
}

func (c *byRevision[T]) get(ctx context.Context, projectID int32) (*T, error) {
	revision, err := c.revision(ctx, projectID)
	if err != nil {
		return nil, err
	}
	if known := c.last(projectID); known.value != nil && known.revision == revision {
		return known.value, nil
	}
	value, err, _ := c.reads.Do(fmt.Sprint(projectID, " ", revision), func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		return c.refresh(shared, projectID)
	})
	if err != nil {
		return nil, err
	}
	return value.(*T), nil
}

func (c *byRevision[T]) last(projectID int32) revised[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[projectID]
}

func (c *byRevision[T]) refresh(ctx context.Context, projectID int32) (*T, error) {
	revision, value, err := c.read(ctx, projectID)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[int32]revised[T]{}
	}
	c.known[projectID] = revised[T]{revision, value}
	return value, nil
}
