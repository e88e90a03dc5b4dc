package tasks

import (
	"fmt"
	"maps"
	"slices"
)

// Catalog holds the tasks of a project, ready to be asked about events. It does not change and is safe for
// concurrent use.
type Catalog struct {
	rules    map[taskVersion]*rule
	byType   map[string]*interest
	required []int64
}

type taskVersion struct{ id, version int64 }

// interest is what there is to do for events of one type.
type interest struct {
	taskIDs  []int64         // sorted; also of tasks that only older windows count by
	current  map[int64]*rule // the ones that are offered
	offered  []Task          // the same, sorted by id
	versions map[taskVersion]*rule
}

// NewCatalog prepares tasks: the newest version of every published one, and each older version that an open
// window counts by. The newest version of a task is offered when it is published and has PublishedAt, so an
// older version of a task that is not offered any more must come without. An error is a condition that does
// not compile, which Validate would have refused.
func NewCatalog(tasks []Task) (*Catalog, error) {
	catalog := &Catalog{rules: make(map[taskVersion]*rule, len(tasks)), byType: map[string]*interest{}}
	newest := map[int64]int64{}
	for _, task := range tasks {
		newest[task.TaskID] = max(newest[task.TaskID], task.Version)
	}
	required := map[int64]bool{}
	for _, task := range tasks {
		rule, err := newRule(task)
		if err != nil {
			return nil, fmt.Errorf("task %d version %d: %w", task.TaskID, task.Version, err)
		}
		key := taskVersion{task.TaskID, task.Version}
		catalog.rules[key] = rule
		kind := catalog.interest(task.EventType)
		kind.versions[key] = rule
		kind.taskIDs = append(kind.taskIDs, task.TaskID)
		if task.Version == newest[task.TaskID] && task.offered() {
			kind.current[task.TaskID] = rule
			kind.offered = append(kind.offered, task)
			for _, id := range task.automaticallyRequired() {
				required[id] = true
			}
		}
	}
	for _, kind := range catalog.byType {
		slices.Sort(kind.taskIDs)
		kind.taskIDs = slices.Compact(kind.taskIDs)
		slices.SortFunc(kind.offered, func(a, b Task) int { return int(a.TaskID - b.TaskID) })
	}
	catalog.required = slices.Sorted(maps.Keys(required))
	return catalog, nil
}

func (t Task) automaticallyRequired() []int64 {
	if t.Activation != Automatic {
		return nil
	}
	return t.Requires
}

func (c *Catalog) interest(eventType string) *interest {
	kind := c.byType[eventType]
	if kind == nil {
		kind = &interest{current: map[int64]*rule{}, versions: map[taskVersion]*rule{}}
		c.byType[eventType] = kind
	}
	return kind
}

// Task of this id and version, false when the catalog has not heard of it.
func (c *Catalog) Task(id, version int64) (Task, bool) {
	rule := c.rules[taskVersion{id, version}]
	if rule == nil {
		return Task{}, false
	}
	return rule.Task, true
}

// Current are the tasks that are offered and count events of this type, by id.
func (c *Catalog) Current(eventType string) []Task {
	if kind := c.byType[eventType]; kind != nil {
		return kind.offered
	}
	return nil
}

// TaskIDs of all tasks that count events of this type, in any version: whose windows CountBatch must be given.
func (c *Catalog) TaskIDs(eventType string) []int64 {
	if kind := c.byType[eventType]; kind != nil {
		return kind.taskIDs
	}
	return nil
}

// RequiredTasks are those that offered automatic tasks require: whose completions CountBatch must be given.
func (c *Catalog) RequiredTasks() []int64 { return c.required }
