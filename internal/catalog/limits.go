package catalog

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// Limits bound how many pieces are sold; 0 is no limit.
type Limits struct {
	PerUser   int64             `json:"per_user,omitempty"`
	PerItem   int64             `json:"per_item,omitempty"` // to all users together
	Recurrent RecurrentSchedule `json:"recurrent_schedule,omitzero"`
}

// RecurrentSchedule says which limits begin anew, and when.
type RecurrentSchedule struct {
	PerUser *Recurrence `json:"per_user,omitempty"`
}

// Interval after which a limit begins anew.
type Interval string

const (
	Daily   Interval = "daily"
	Weekly  Interval = "weekly" // on Monday
	Monthly Interval = "monthly"
)

// Recurrence resets a limit at midnight of the zone.
type Recurrence struct {
	Interval Interval `json:"interval_type"`
	TimeZone string   `json:"time_zone,omitempty"` // IANA; UTC if empty
}

// PeriodAt is the day, week or month around now in which a user's purchases count.
func (r Recurrence) PeriodAt(now time.Time) store.Period {
	switch r.Interval {
	case Daily:
		return store.DayOf(now, store.Zone(r.TimeZone))
	case Weekly:
		return store.WeekOf(now, store.Zone(r.TimeZone))
	default:
		return store.MonthOf(now, store.Zone(r.TimeZone))
	}
}

// Usage is what the rules need to know of one item beside its definition. The zero value is that of an item that
// nobody has bought.
type Usage struct {
	ByUser     int64            // pieces that the user has bought since the limit last began, orders not yet paid among them
	Owned      bool             // the user has this non-consumable
	Promotions map[string]int64 // orders of the user that used a promotion, by its id
	Reserved   int64            // pieces in orders of all users that are not paid
	Sold       int64            // pieces in all users' orders that are
	Keys       int64            // free keys of a game key
}

// leftForUser is false when there is no limit.
func (l Limits) leftForUser(usage Usage) (int64, bool) {
	return max(l.PerUser-usage.ByUser, 0), l.PerUser > 0
}

// left is false when there is no limit.
func (l Limits) left(usage Usage) (int64, bool) {
	return max(l.PerItem-usage.Reserved-usage.Sold, 0), l.PerItem > 0
}
