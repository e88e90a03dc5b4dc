package tasks

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// Span is a period of time: from Start inclusive to End exclusive.
type Span struct {
	Start, End time.Time
}

// Zone of the rule.
func (r WindowRule) Zone() *time.Location { return store.Zone(r.TimeZone) }

// SpanAt is the period that contains a moment: of the calendar, or counted from the anchor. The periods of
// one task and anchor follow each other without gap or overlap, whatever the clocks do. A period begins when
// the clock first shows its beginning or, if a change of clocks skips that, at the change.
func (t Task) SpanAt(anchor, at time.Time) Span {
	zone := t.Window.Zone()
	if t.Window.Kind == Rolling {
		return rollingSpan(t.Window.Unit, zone, anchor, at)
	}
	day := dayOf(zone, t.Window.ResetHour, at)
	var first, next time.Time
	switch t.Window.Unit {
	case Month:
		first = day.AddDate(0, 0, 1-day.Day())
		next = first.AddDate(0, 1, 0)
	case Week:
		first = day.AddDate(0, 0, -(int(day.Weekday())+6)%7) // from Monday
		next = first.AddDate(0, 0, 7)
	default:
		first, next = day, day.AddDate(0, 0, 1)
	}
	reset := time.Duration(t.Window.ResetHour) * time.Hour
	return Span{firstShown(first.Add(reset), zone), firstShown(next.Add(reset), zone)}
}

// dayOf is the day that a moment belongs to when days begin at the reset hour: its date, as midnight UTC.
func dayOf(zone *time.Location, resetHour int, at time.Time) time.Time {
	reset := time.Duration(resetHour) * time.Hour
	y, m, d := at.In(zone).Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	for at.Before(firstShown(day.Add(reset), zone)) {
		day = day.AddDate(0, 0, -1)
	}
	for next := day.AddDate(0, 0, 1); !at.Before(firstShown(next.Add(reset), zone)); next = next.AddDate(0, 0, 1) {
		day = next
	}
	return day
}

// rollingSpan finds the k for which anchor + k units <= at < anchor + (k+1) units. Each is counted from the
// anchor itself, so that a month from the 31st ends on the last day of a short month and the next one on a
// 31st again.
func rollingSpan(unit Unit, zone *time.Location, anchor, at time.Time) Span {
	start := wallClock(anchor, zone)
	boundary := func(k int) time.Time {
		if k == 0 {
			return anchor
		}
		return firstShown(addUnits(start, unit, k), zone)
	}
	k := unitsBetween(start, wallClock(at, zone), unit)
	for at.Before(boundary(k)) {
		k--
	}
	for !at.Before(boundary(k + 1)) {
		k++
	}
	return Span{boundary(k).UTC(), boundary(k + 1).UTC()}
}

func unitsBetween(from, to time.Time, unit Unit) int {
	switch unit {
	case Month:
		return (to.Year()-from.Year())*12 + int(to.Month()) - int(from.Month())
	case Week:
		return int(to.Sub(from) / (7 * 24 * time.Hour))
	default:
		return int(to.Sub(from) / (24 * time.Hour))
	}
}

func addUnits(wall time.Time, unit Unit, k int) time.Time {
	switch unit {
	case Month:
		first := wall.AddDate(0, 0, 1-wall.Day()).AddDate(0, k, 0)
		last := first.AddDate(0, 1, -1).Day()
		return first.AddDate(0, 0, min(wall.Day(), last)-1)
	case Week:
		return wall.AddDate(0, 0, 7*k)
	default:
		return wall.AddDate(0, 0, k)
	}
}

// wallClock is what the clocks of a zone show at a moment, written as if it were UTC.
func wallClock(at time.Time, zone *time.Location) time.Time {
	_, offset := at.In(zone).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// firstShown is the first moment at which the clocks of a zone show this time or a later one: for an hour
// that they show twice the first, for one that they skip the moment of the change. It never goes back when
// the time goes on.
func firstShown(wall time.Time, zone *time.Location) time.Time {
	if zone == time.UTC {
		return wall
	}
	// No zone is further than a day from UTC, and no two changes of one zone are within two days of each other, so
	// that there is at most one change to look at.
	early := wall.Add(-24 * time.Hour).In(zone)
	_, before := early.Zone()
	at := wall.Add(-time.Duration(before) * time.Second)
	_, change := early.ZoneBounds()
	if change.IsZero() || at.Before(change) {
		return at
	}
	_, after := change.Zone()
	at = wall.Add(-time.Duration(after) * time.Second)
	if at.Before(change) {
		return change.UTC()
	}
	return at
}
