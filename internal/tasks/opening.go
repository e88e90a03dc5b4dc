package tasks

import (
	"slices"
	"time"
)

// offered: to be had at all, apart from the campaign's times.
func (t Task) offered() bool { return t.Status == Published && t.PublishedAt != nil }

// runs says whether the campaign is on.
func (t Task) runs(at time.Time) bool {
	return t.offered() && (t.StartsAt == nil || !at.Before(*t.StartsAt)) && (t.EndsAt == nil || at.Before(*t.EndsAt))
}

// Admits says whether a user may see the task.
func (t Task) Admits(user User) bool {
	if t.Audience.VIP && !user.VIP {
		return false
	}
	for name, value := range t.Audience.Attributes {
		if user.Attributes[name] != value {
			return false
		}
	}
	return len(t.Audience.UserIDs) == 0 || slices.Contains(t.Audience.UserIDs, user.UserID)
}

// Missing are the required tasks that a user has not completed.
func (t Task) Missing(user User) []int64 {
	var missing []int64
	for _, id := range t.Requires {
		if _, ok := user.CompletedAt[id]; !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// anchorOf is when an automatic task begins for a user who has completed what it requires.
func (t Task) anchorOf(user User) time.Time {
	anchor := latest(*t.PublishedAt, user.CreatedAt)
	if t.StartsAt != nil {
		anchor = latest(anchor, *t.StartsAt)
	}
	for _, id := range t.Requires {
		anchor = latest(anchor, user.CompletedAt[id])
	}
	return wholeSeconds(anchor)
}

// wholeSeconds, because senders cut off the fraction: what they say happened in the second of the activation counts.
func wholeSeconds(at time.Time) time.Time { return at.UTC().Truncate(time.Second) }

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// open makes the window that contains `at`, its instants frozen: the period, within the campaign and between
// the user's other windows of the task. The number is the next, and says nothing about time: events of an
// earlier period may come later.
func (t Task) open(userID string, anchor, at time.Time, others []*tracked) Window {
	span := t.SpanAt(anchor, at)
	start, end := latest(anchor, span.Start), span.End
	if t.EndsAt != nil {
		end = earliest(end, *t.EndsAt)
	}
	number := 0
	for _, other := range others {
		number = max(number, other.Number)
		switch {
		case other.State == Canceled:
		case !other.EndsAt.After(at):
			start = latest(start, other.EndsAt)
		case other.ActivatedAt.After(at):
			end = earliest(end, other.ActivatedAt)
		}
	}
	return Window{
		UserID: userID, TaskID: t.TaskID, Version: t.Version, Number: number + 1,
		Anchor: anchor, ActivatedAt: start.UTC(), EndsAt: end.UTC(), ClosesAt: end.UTC().Add(t.Window.grace()),
		TimeZone: orDefault(t.Window.TimeZone, "UTC"), State: Open, Target: t.Target,
	}
}

func (r WindowRule) grace() time.Duration { return time.Duration(r.GraceSeconds) * time.Second }

// Contains says whether something that happened then belongs to the window.
func (w Window) Contains(at time.Time) bool { return !at.Before(w.ActivatedAt) && at.Before(w.EndsAt) }
