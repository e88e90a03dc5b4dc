package store

import (
	"fmt"
	"time"
)

// Limits bound how many pieces are sold (seed 000, "User Limits", "Sales Limits", "Priority Users"). Zero
// is no limit. A day, a week (from Monday) and a month are those of the product's time zone.
type Limits struct {
	PerUser          int64 `json:"per_user,omitempty"`
	PerUserPerDay    int64 `json:"per_user_per_day,omitempty"`
	PerUserPerWeek   int64 `json:"per_user_per_week,omitempty"`
	PerUserPerMonth  int64 `json:"per_user_per_month,omitempty"`
	PerDay           int64 `json:"per_day,omitempty"`
	PerWeek          int64 `json:"per_week,omitempty"`
	VIPReserve       int64 `json:"vip_reserve,omitempty"` // pieces that only VIP buyers may take
	GiveBackOnRefund bool  `json:"give_back_on_refund,omitempty"`
}

// CountsUsers says whether the purchases of a user must be counted.
func (l Limits) CountsUsers() bool {
	return l.PerUser+l.PerUserPerDay+l.PerUserPerWeek+l.PerUserPerMonth > 0
}

// CapsSales says whether the sales of a day or week must be counted.
func (l Limits) CapsSales() bool { return l.PerDay+l.PerWeek > 0 }

// Bought counts the pieces of one product that one user has bought; canceled orders do not count.
type Bought struct{ Ever, Day, Week, Month int64 }

// Sold counts the pieces of one product that were sold in the running day and week.
type Sold struct{ Day, Week int64 }

// Sales are the counters of a product: how many were sold in the day and week last counted. The dates are
// calendar dates, at midnight UTC.
type Sales struct {
	Day, Week     time.Time
	InDay, InWeek int64
}

// at reads the counters: those of another day or week than now's count as none.
func (s Sales) at(now time.Time, zone *time.Location) Sold {
	var sold Sold
	if s.Day.Equal(Date(DayOf(now, zone).Start)) {
		sold.Day = s.InDay
	}
	if s.Week.Equal(Date(WeekOf(now, zone).Start)) {
		sold.Week = s.InWeek
	}
	return sold
}

// Date is the calendar date of t in its own zone, at midnight UTC.
func Date(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// Period is a calendar day, week or month, whose start and end are those of a time zone.
type Period struct{ Start, End time.Time }

// DayOf is the calendar day around now in zone; 23 or 25 hours long when clocks change.
func DayOf(now time.Time, zone *time.Location) Period {
	y, m, d := now.In(zone).Date()
	return Period{time.Date(y, m, d, 0, 0, 0, 0, zone), time.Date(y, m, d+1, 0, 0, 0, 0, zone)}
}

// WeekOf is the calendar week around now in zone, from Monday.
func WeekOf(now time.Time, zone *time.Location) Period {
	y, m, d := now.In(zone).Date()
	d -= (int(now.In(zone).Weekday()) + 6) % 7
	return Period{time.Date(y, m, d, 0, 0, 0, 0, zone), time.Date(y, m, d+7, 0, 0, 0, 0, zone)}
}

// MonthOf is the calendar month around now in zone.
func MonthOf(now time.Time, zone *time.Location) Period {
	y, m, _ := now.In(zone).Date()
	return Period{time.Date(y, m, 1, 0, 0, 0, 0, zone), time.Date(y, m+1, 1, 0, 0, 0, 0, zone)}
}

// check tells whether so many pieces more are within the limits and, if not, from when they are.
func (l Limits) check(bought Bought, sold Sold, quantity int64, now time.Time, zone *time.Location) *Refusal {
	day, week, month := DayOf(now, zone).End, WeekOf(now, zone).End, MonthOf(now, zone).End
	for _, limit := range []struct {
		most, so int64
		code     Code
		per      string
		until    time.Time // zero: for good
	}{
		{l.PerUser, bought.Ever, PurchaseLimitReached, "per user", time.Time{}},
		{l.PerUserPerMonth, bought.Month, PurchaseLimitReached, "per user and month", month},
		{l.PerUserPerWeek, bought.Week, PurchaseLimitReached, "per user and week", week},
		{l.PerUserPerDay, bought.Day, PurchaseLimitReached, "per user and day", day},
		{l.PerWeek, sold.Week, SalesLimitReached, "a week", week},
		{l.PerDay, sold.Day, SalesLimitReached, "a day", day},
	} {
		if limit.most > 0 && limit.so+quantity > limit.most {
			return refuseUntil(limit.code, limit.until, fmt.Sprintf("%d pieces %s are sold, %d are taken", limit.most, limit.per, limit.so))
		}
	}
	return nil
}

func (l Limits) validate(check func(ok bool, field, message string)) {
	for field, n := range map[string]int64{
		"per_user":           l.PerUser,
		"per_user_per_day":   l.PerUserPerDay,
		"per_user_per_week":  l.PerUserPerWeek,
		"per_user_per_month": l.PerUserPerMonth,
		"per_day":            l.PerDay,
		"per_week":           l.PerWeek,
		"vip_reserve":        l.VIPReserve,
	} {
		check(n >= 0 && n <= maxPieces, "limits."+field, "from 0 (no limit) to 1,000,000,000 pieces")
	}
}
