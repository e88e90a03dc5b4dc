package tasks

import (
	"time"

	"github.com/shopspring/decimal"
)

// State of a window as it is stored. What a user is shown is decided by time as well.
type State string

const (
	Open      State = "open"
	Completed State = "completed"
	Expired   State = "expired"
	Canceled  State = "canceled"
)

// Window is one user's time for one task, with the instants frozen when it was opened.
type Window struct {
	WindowID    string
	UserID      string
	TaskID      int64
	Version     int64     // of the task that it counts by
	Number      int       // in the order of opening: the user's first window of the task is 1
	Anchor      time.Time // when the user's first window was activated, in whole seconds
	ActivatedAt time.Time // events from here on count, inclusive
	EndsAt      time.Time // to here, exclusive
	ClosesAt    time.Time // until when they may arrive: EndsAt and the grace
	TimeZone    string
	State       State
	Target      decimal.Decimal
	Progress    decimal.Decimal // from 0 to Target; at Target the window is completed
	Seen        []string        // what distinct and streak have counted: values, or days as 2006-01-02; sorted; none when completed
	CompletedAt *time.Time      // when the event happened that reached the target
}
