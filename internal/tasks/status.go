package tasks

import (
	"time"

	"github.com/shopspring/decimal"
)

// UserStatus is where a user stands with a task, as the user is shown it (seed 001, "What the User Sees").
type UserStatus string

const (
	UserAvailable UserStatus = "available" // may be activated
	UserActive    UserStatus = "active"
	UserCompleted UserStatus = "completed"
	UserExpired   UserStatus = "expired"
	UserLocked    UserStatus = "locked" // a task that it requires is not completed
)

// UserTask is a user's progress in a task at a moment. The times are nil when there is no window, and the
// target is that of the window.
type UserTask struct {
	Status      UserStatus
	WindowID    string // "" when it has no row yet
	Progress    decimal.Decimal
	Target      decimal.Decimal
	ActivatedAt *time.Time
	EndsAt      *time.Time
	SecondsLeft int64   // of an active one, a begun second counted whole
	Missing     []int64 // of a locked one: the tasks to complete first
}

// StatusFor is what a user is shown of a task, false when the user does not see it. Last is the user's window
// of the task that ends last, nil if there is none. The window of a recurring or automatic task is shown from
// its beginning, though it gets its row with the first event that counts.
func (t Task) StatusFor(user User, last *Window, now time.Time) (UserTask, bool) {
	visible := t.runs(now) && t.Admits(user)
	canceled := last != nil && last.State == Canceled
	switch {
	case last != nil && !canceled && now.Before(last.EndsAt):
		return shown(*last, statusOf(*last, now), now), true
	case last != nil && !canceled && t.Recurring && visible:
		return shown(t.open(user.UserID, last.Anchor, now, []*tracked{{Window: *last}}), UserActive, now), true
	case last != nil && !canceled:
		return shown(*last, statusOf(*last, now), now), true
	case !visible:
		return UserTask{}, false
	case canceled && t.Activation == Automatic:
		return shown(*last, UserExpired, now), true
	}
	if missing := t.Missing(user); len(missing) > 0 {
		return UserTask{Status: UserLocked, Target: t.Target, Missing: missing}, true
	}
	if t.Activation == Automatic {
		return t.statusWithoutRow(user, now), true
	}
	return UserTask{Status: UserAvailable, Target: t.Target}, true
}

func (t Task) statusWithoutRow(user User, now time.Time) UserTask {
	anchor := t.anchorOf(user)
	at := now
	if once := !t.Recurring && t.Window.Kind == Rolling; once || now.Before(anchor) {
		at = anchor
	}
	window := t.open(user.UserID, anchor, at, nil)
	return shown(window, statusOf(window, now), now)
}

func statusOf(w Window, now time.Time) UserStatus {
	switch {
	case w.State == Completed:
		return UserCompleted
	case now.Before(w.EndsAt):
		return UserActive
	default:
		return UserExpired
	}
}

func shown(w Window, status UserStatus, now time.Time) UserTask {
	task := UserTask{
		Status:      status,
		WindowID:    w.WindowID,
		Progress:    w.Progress,
		Target:      w.Target,
		ActivatedAt: &w.ActivatedAt,
		EndsAt:      &w.EndsAt,
	}
	if status == UserActive {
		task.SecondsLeft = max(int64((w.EndsAt.Sub(now)+time.Second-1)/time.Second), 0)
	}
	return task
}
