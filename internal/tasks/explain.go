package tasks

import (
	"cmp"
	"slices"
	"time"
)

// Explain completes what was stored about an event, for the answer to "why did it count or not": for each
// task of its type that is offered now and has no stored decision it tells why nothing was counted. User is
// nil when QuickPass does not know the sender; the windows are the user's, of those tasks. What is told from
// memory is as true as the task still is what it was.
func (c *Catalog) Explain(e Event, user *User, windows []Window, stored []Decision, receivedAt time.Time) []Decision {
	if slices.ContainsFunc(stored, func(d Decision) bool { return d.Code == UnknownUser }) {
		return stored
	}
	if user == nil {
		return []Decision{{Code: UnknownUser}}
	}
	kind := c.byType[e.Type]
	if kind == nil {
		return stored
	}
	decisions := slices.Clone(stored)
	counting := counting{Batch: Batch{Now: receivedAt, Catalog: c, NewWindowID: func() string { return "" }}}
	for id, rule := range kind.current {
		if slices.ContainsFunc(stored, func(d Decision) bool { return d.TaskID == id }) {
			continue
		}
		mine := &userWindows{User: user.asOf(receivedAt)}
		for _, window := range windows {
			if window.TaskID == id && !window.Anchor.After(receivedAt) {
				mine.windows = append(mine.windows, &tracked{Window: window})
			}
		}
		decision, _ := counting.task(&e, kind, mine, id)
		if decision.Code == Counted || decision.Code == AlreadySeen || rule.PublishedAt.After(receivedAt) {
			decision = Decision{TaskID: id, Version: rule.Version, Code: NotRunning} // else it would have been counted then
		}
		if decision.Code != "" {
			decisions = append(decisions, decision)
		}
	}
	slices.SortStableFunc(decisions, func(a, b Decision) int { return cmp.Compare(a.TaskID, b.TaskID) })
	return decisions
}

// asOf forgets the tasks that the user completed later.
func (u User) asOf(at time.Time) User {
	completed := make(map[int64]time.Time, len(u.CompletedAt))
	for id, then := range u.CompletedAt {
		if !then.After(at) {
			completed[id] = then
		}
	}
	u.CompletedAt = completed
	return u
}
