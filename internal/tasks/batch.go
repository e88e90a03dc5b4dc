package tasks

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// User is what the rules must know of the sender of an event.
type User struct {
	UserID     string
	CreatedAt  time.Time
	VIP        bool
	Attributes map[string]string
	// CompletedAt says when the user first completed each task that others require.
	CompletedAt map[int64]time.Time
}

// Batch is a batch of events that were never seen before, with all that decides about them.
type Batch struct {
	Now     time.Time
	Catalog *Catalog // with the version of every window that is given; a window of another is left alone
	Events  []Event
	Users   map[string]User     // those of the events that exist
	Windows map[string][]Window // by user: the latest of each task, and all that are not yet closed
	// NewWindowID names a window that is opened.
	NewWindowID func() string
}

// Outcome is what a batch changes.
type Outcome struct {
	Decisions [][]Decision // of each event of the batch; none when no task looked at it
	Opened    []Window     // new ones, as they are after the batch
	Changed   []Window     // existing ones, as they are after the batch
}

// CountBatch counts events for the tasks of their users. Which windows there are in the end, and their
// progress, does not depend on the order of the events or on how they are cut into batches, as long as all
// arrive before the windows close; with one exception: a task that can be done once, in whichever calendar
// period its first event falls into. In the batch itself nothing is changed.
func CountBatch(b Batch) Outcome {
	counting := counting{Batch: b, users: make(map[string]*userWindows, len(b.Users))}
	outcome := Outcome{Decisions: make([][]Decision, len(b.Events))}
	for i := range b.Events {
		outcome.Decisions[i] = counting.event(&b.Events[i])
	}
	for _, user := range counting.touched {
		for _, window := range user.windows {
			switch {
			case window.opened:
				outcome.Opened = append(outcome.Opened, window.Window)
			case window.changed:
				outcome.Changed = append(outcome.Changed, window.Window)
			}
		}
	}
	return outcome
}

type counting struct {
	Batch
	users   map[string]*userWindows
	touched []*userWindows // in the order of the events
}

type userWindows struct {
	User
	windows   []*tracked
	completed []*tracked // by the event at hand
}

// tracked is a window during a batch.
type tracked struct {
	Window
	opened, changed bool
}

var unknownUser = []Decision{{Code: UnknownUser}}

func (c *counting) event(e *Event) []Decision {
	user, known := c.Users[e.UserID]
	if !known {
		return unknownUser
	}
	kind := c.Catalog.byType[e.Type]
	if kind == nil {
		return nil
	}
	var decisions []Decision
	mine := c.windowsOf(user)
	for _, id := range kind.taskIDs {
		if decision, kept := c.task(e, kind, mine, id); kept {
			decisions = append(decisions, decision)
		}
	}
	mine.unlock()
	return decisions
}

func (c *counting) windowsOf(user User) *userWindows {
	mine := c.users[user.UserID]
	if mine == nil {
		mine = &userWindows{User: user}
		for _, window := range c.Windows[user.UserID] {
			mine.windows = append(mine.windows, &tracked{Window: window})
		}
		c.users[user.UserID] = mine
		c.touched = append(c.touched, mine)
	}
	return mine
}

// unlock lets the next tasks of chains begin with the events after the one that completed the last.
func (u *userWindows) unlock() {
	for _, window := range u.completed {
		if first, ok := u.CompletedAt[window.TaskID]; ok && !window.CompletedAt.Before(first) {
			continue
		}
		known := make(map[int64]time.Time, len(u.CompletedAt)+1) // the other is the caller's
		maps.Copy(known, u.CompletedAt)
		known[window.TaskID] = *window.CompletedAt
		u.CompletedAt = known
	}
	u.completed = u.completed[:0]
}

// of the task, into a buffer of the caller.
func (u *userWindows) of(taskID int64, into []*tracked) []*tracked {
	for _, window := range u.windows {
		if window.TaskID == taskID {
			into = append(into, window)
		}
	}
	return into
}

// task decides about one event for one task: false when the decision is not worth keeping, because Explain
// can tell it later and because else every event would carry one for every task that its user has nothing to
// do with.
func (c *counting) task(e *Event, kind *interest, mine *userWindows, id int64) (Decision, bool) {
	var buffer [8]*tracked
	windows := mine.of(id, buffer[:0])
	if window := containing(windows, e.OccurredAt); window != nil {
		rule := kind.versions[taskVersion{id, window.Version}]
		if rule == nil {
			return Decision{}, false // the window's version counts other events
		}
		return c.within(e, rule, mine, window), true
	}
	last := lastOf(windows)
	current := kind.current[id]
	if current == nil && (last == nil || kind.versions[taskVersion{id, last.Version}] == nil) {
		return Decision{}, false
	}
	if current == nil {
		code, values := last.outside(e)
		return last.decide(code, values), last.stillTold(code, c.Now)
	}
	opening, code, values := current.opening(e, mine.User, windows, last, c.Now)
	if code != Counted {
		decision := Decision{TaskID: id, Version: current.Version, Code: code, Values: values}
		return decision, last != nil && last.stillTold(code, c.Now)
	}
	found, code, values := current.match(e)
	if code != Counted {
		return Decision{TaskID: id, Version: current.Version, Code: code, Values: values}, true
	}
	opening.WindowID = c.NewWindowID()
	window := &tracked{Window: opening, opened: true}
	mine.windows = append(mine.windows, window)
	return c.count(e, current, mine, window, found), true
}

// containing prefers the window that was not canceled.
func containing(windows []*tracked, at time.Time) *tracked {
	var found *tracked
	for _, window := range windows {
		if window.Contains(at) && (found == nil || found.State == Canceled) {
			found = window
		}
	}
	return found
}

// lastOf is the window that ends last, of two for the same period the newer one.
func lastOf(windows []*tracked) *tracked {
	var last *tracked
	for _, window := range windows {
		if last == nil || cmp.Or(last.EndsAt.Compare(window.EndsAt), cmp.Compare(last.Number, window.Number)) < 0 {
			last = window
		}
	}
	return last
}

// within decides about an event that happened in the window.
func (c *counting) within(e *Event, r *rule, mine *userWindows, w *tracked) Decision {
	switch {
	case !c.Now.Before(w.ClosesAt) || w.State == Expired:
		return w.decide(Late, times("received_at", c.Now, "closes_at", w.ClosesAt))
	case w.State == Canceled:
		return w.decide(WindowCanceled, nil)
	case w.State == Completed:
		return w.decide(AlreadyCompleted, map[string]string{"progress": w.Progress.String(), "target": w.Target.String()})
	}
	found, code, values := r.match(e)
	if code != Counted {
		return w.decide(code, values)
	}
	return c.count(e, r, mine, w, found)
}

func (c *counting) count(e *Event, r *rule, mine *userWindows, w *tracked, found measure) Decision {
	if !w.changed && !w.opened {
		w.Seen = slices.Clone(w.Seen) // the caller's
	}
	added, counted := w.add(r.Count.Mode, found, earliest(e.OccurredAt, c.Now).UTC())
	if !counted {
		return w.decide(AlreadySeen, map[string]string{"value": found.mark})
	}
	w.changed = true
	if w.State == Completed {
		mine.completed = append(mine.completed, w)
	}
	decision := w.decide(Counted, nil) // the usual case is kept short: it is stored with each event
	decision.Added = &added
	return decision
}

func (w *tracked) decide(code Code, values map[string]string) Decision {
	return Decision{TaskID: w.TaskID, Version: w.Version, WindowID: w.WindowID, Code: code, Values: values}
}

// outside says why an event that happened outside of the window does not count.
func (w *tracked) outside(e *Event) (Code, map[string]string) {
	switch {
	case e.OccurredAt.Before(w.ActivatedAt):
		return BeforeActivation, times("occurred_at", e.OccurredAt, "activated_at", w.ActivatedAt)
	case w.State == Canceled:
		return WindowCanceled, nil
	default:
		return WindowClosed, times("occurred_at", e.OccurredAt, "ends_at", w.EndsAt)
	}
}

// stillTold: a user with a hundred tasks of the past would have a hundred decisions with each event.
func (w *tracked) stillTold(code Code, now time.Time) bool {
	return now.Before(w.ClosesAt) || code == BeforeActivation || code == Late
}

// opening is the window that the event would open if it counts: the next of a recurring task, or the first of
// an automatic one. Else why there is none.
func (r *rule) opening(e *Event, user User, windows []*tracked, last *tracked, now time.Time) (Window, Code, map[string]string) {
	anchor, code, values := r.openingAnchor(e, user, last)
	if code != Counted {
		return Window{}, code, values
	}
	if e.OccurredAt.Before(anchor) {
		return Window{}, BeforeActivation, times("occurred_at", e.OccurredAt, "activated_at", anchor)
	}
	window := r.open(user.UserID, anchor, e.OccurredAt, windows)
	if !r.Recurring && r.Window.Kind == Rolling && window.ActivatedAt.After(anchor) {
		return Window{}, WindowClosed, times("occurred_at", e.OccurredAt, "ends_at", r.SpanAt(anchor, anchor).End)
	}
	if !now.Before(window.ClosesAt) {
		return Window{}, Late, times("received_at", now, "closes_at", window.ClosesAt)
	}
	return window, Counted, nil
}

func (r *rule) openingAnchor(e *Event, user User, last *tracked) (time.Time, Code, map[string]string) {
	if last != nil && (last.State == Canceled || !r.Recurring) {
		code, values := last.outside(e)
		return time.Time{}, code, values
	}
	switch {
	case !r.runs(e.OccurredAt):
		return time.Time{}, NotRunning, nil
	case !r.Admits(user):
		return time.Time{}, NotInAudience, nil
	case last != nil:
		return last.Anchor, Counted, nil
	case len(r.Missing(user)) > 0:
		return time.Time{}, Locked, nil
	case r.Activation != Automatic:
		return time.Time{}, NotActivated, nil
	default:
		return r.anchorOf(user), Counted, nil
	}
}

// times of a decision, as pairs of name and moment.
func times(name string, at time.Time, other string, then time.Time) map[string]string {
	return map[string]string{name: at.UTC().Format(time.RFC3339Nano), other: then.UTC().Format(time.RFC3339Nano)}
}
