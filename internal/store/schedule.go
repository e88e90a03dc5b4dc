package store

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Schedule says when a product is sold (seed 000, "available 24/7 or on schedule"). Empty is always.
type Schedule struct {
	From   *time.Time `json:"from,omitempty"`   // inclusive
	Until  *time.Time `json:"until,omitempty"`  // exclusive
	Weekly []Hours    `json:"weekly,omitempty"` // none: all week
	// TimeZone is an IANA name, UTC if empty: of the weekly hours, and of "per day" in the limits.
	TimeZone string `json:"time_zone,omitempty"`
}

// zones keeps what time.LoadLocation reads from the zone files.
var zones sync.Map

// Zone is the time zone of this IANA name; UTC for none, and for one that does not exist, which validation
// has found out.
func Zone(name string) *time.Location {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	zones.Store(name, zone)
	return zone
}

// Zone is the schedule's time zone.
func (s Schedule) Zone() *time.Location { return Zone(s.TimeZone) }

// Hours of one weekday, in the product's time zone: from inclusive, to exclusive; "24:00" is the end of
// the day. Hours that a change of clocks skips do not exist that day, those it repeats last longer.
type Hours struct {
	Day  string `json:"day"`  // mon, tue, wed, thu, fri, sat, sun
	From string `json:"from"` // 15:04
	To   string `json:"to"`
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// check tells whether the product is sold now and, if not, from when it is.
func (s Schedule) check(now time.Time) *Refusal {
	zone := s.Zone()
	opens, ok := s.nextOpening(now, zone)
	switch {
	case ok && !opens.After(now):
		return nil
	case ok:
		return refuseUntil(NotOnSaleNow, opens, "it is sold again from "+opens.In(zone).Format(time.RFC3339))
	default:
		return refuse(NotOnSaleNow, "it is not sold any more")
	}
}

// nextOpening is now if the product is sold, else when it is next; false if never again.
func (s Schedule) nextOpening(now time.Time, zone *time.Location) (time.Time, bool) {
	at := now
	if s.From != nil && at.Before(*s.From) {
		at = *s.From
	}
	if len(s.Weekly) > 0 {
		var ok bool
		if at, ok = s.nextHours(at, zone); !ok {
			return time.Time{}, false
		}
	}
	return at, s.Until == nil || at.Before(*s.Until)
}

// nextHours looks through eight days: a weekday's hours that lie behind come again a week later. A change of
// clocks can swallow them once, so another week is looked at.
func (s Schedule) nextHours(from time.Time, zone *time.Location) (time.Time, bool) {
	for day := range 15 {
		var opens []time.Time
		y, m, d := from.In(zone).Date()
		date := time.Date(y, m, d+day, 12, 0, 0, 0, zone)
		for _, hours := range s.Weekly {
			if hours.Day != weekdays[date.Weekday()] {
				continue
			}
			start, end := hours.on(date, zone)
			switch {
			case !from.Before(start) && from.Before(end):
				return from, true
			case from.Before(start) && start.Before(end):
				opens = append(opens, start)
			}
		}
		if len(opens) > 0 {
			return slices.MinFunc(opens, time.Time.Compare), true
		}
	}
	return time.Time{}, false
}

func (h Hours) on(date time.Time, zone *time.Location) (start, end time.Time) {
	from, _ := minuteOfDay(h.From)
	to, _ := minuteOfDay(h.To)
	return wallClock(date, from, zone), wallClock(date, to, zone)
}

// wallClock is the moment at which clocks in zone show this minute of the day or, if a change of clocks skips it,
// the moment of that change.
func wallClock(date time.Time, minute int, zone *time.Location) time.Time {
	y, m, d := date.Date()
	at := time.Date(y, m, d, 0, minute, 0, 0, zone)
	shown := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
	wanted := time.Date(y, m, d, 0, minute, 0, 0, time.UTC)
	before, after := at.ZoneBounds()
	switch {
	case shown.Before(wanted):
		return after
	case shown.After(wanted):
		return before
	default:
		return at
	}
}

func minuteOfDay(clock string) (int, bool) {
	var hour, minute int
	if n, err := fmt.Sscanf(clock, "%02d:%02d", &hour, &minute); err != nil || n != 2 || fmt.Sprintf("%02d:%02d", hour, minute) != clock {
		return 0, false
	}
	total := hour*60 + minute
	return total, hour >= 0 && minute >= 0 && minute < 60 && total <= 24*60
}

func (s Schedule) validate(check func(ok bool, field, message string)) {
	check(s.From == nil || s.Until == nil || s.From.Before(*s.Until), "schedule.until", "after schedule.from")
	zone, err := time.LoadLocation(s.TimeZone)
	check(err == nil && zone != time.Local, "schedule.time_zone", "an IANA time zone, such as Europe/Moscow")
	check(len(s.Weekly) <= 50, "schedule.weekly", "at most 50 entries")
	for i, hours := range s.Weekly {
		field := fmt.Sprintf("schedule.weekly[%d]", i)
		from, fromOK := minuteOfDay(hours.From)
		to, toOK := minuteOfDay(hours.To)
		check(slices.Contains(weekdays, hours.Day), field+".day", "mon, tue, wed, thu, fri, sat or sun")
		check(fromOK && toOK && from < to, field, "from and to as hh:mm, from before to, at most 24:00")
	}
}
