package subscriptions

import (
	"errors"
	"time"
)

// Unit of a period, as inventory_options.expiration_period names it.
type Unit string

const (
	Minute Unit = "minute"
	Hour   Unit = "hour"
	Day    Unit = "day"
	Week   Unit = "week"
	Month  Unit = "month"
	Year   Unit = "year"
)

// longest is 100 years in each unit, rounded down; years of 365 days for the units that are not parts of a
// calendar year.
var longest = map[Unit]int{Minute: 52_560_000, Hour: 876_000, Day: 36_500, Week: 5_214, Month: 1_200, Year: 100}

var (
	// ErrInvalidPeriod: the unit is unknown or the value is below 1.
	ErrInvalidPeriod = errors.New("a period is 1 or more of minute, hour, day, week, month or year")
	// ErrInvalidQuantity: fewer than one period is asked for.
	ErrInvalidQuantity = errors.New("the quantity is 1 or more")
	// ErrTooLong: more than 100 years, in one period, in one purchase or in all that is left.
	ErrTooLong = errors.New("a subscription lasts at most 100 years")
)

// Period is how long one piece of a subscription lasts (seed 002, the expiry that the project sets).
type Period struct {
	Unit  Unit `json:"type"`
	Value int  `json:"value"`
}

// Validate answers ErrInvalidPeriod or ErrTooLong.
func (p Period) Validate() error {
	most, known := longest[p.Unit]
	switch {
	case !known || p.Value < 1:
		return ErrInvalidPeriod
	case p.Value > most:
		return ErrTooLong
	default:
		return nil
	}
}

// Times is the length of so many periods, as one. It answers also ErrInvalidQuantity.
func (p Period) Times(quantity int64) (Period, error) {
	if err := p.Validate(); err != nil {
		return Period{}, err
	}
	switch {
	case quantity < 1:
		return Period{}, ErrInvalidQuantity
	case quantity > int64(longest[p.Unit]/p.Value):
		return Period{}, ErrTooLong
	default:
		return Period{p.Unit, p.Value * int(quantity)}, nil
	}
}

// After is the instant at which a valid period from t on ends, in UTC and always later than t. Minutes and
// hours are exact. Days, weeks, months and years keep the time that the clocks of the zone show; a month or
// year that has no such day, such as 30 or 29 February, ends on its last. Of a time that the clocks show
// twice the first is taken; one that they skip is reckoned with the offset before the change, and so the
// clocks show a later one (both as in RFC 5545, 3.3.5).
func (p Period) After(t time.Time, zone *time.Location) time.Time {
	wall := wallClock(t, zone)
	switch p.Unit {
	case Minute:
		return t.Add(time.Duration(p.Value) * time.Minute).UTC()
	case Hour:
		return t.Add(time.Duration(p.Value) * time.Hour).UTC()
	case Day:
		wall = wall.AddDate(0, 0, p.Value)
	case Week:
		wall = wall.AddDate(0, 0, 7*p.Value)
	case Month:
		wall = addMonths(wall, p.Value)
	default:
		wall = addMonths(wall, 12*p.Value)
	}
	return instantOf(wall, zone)
}

func addMonths(wall time.Time, months int) time.Time {
	first := wall.AddDate(0, 0, 1-wall.Day()).AddDate(0, months, 0)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(wall.Day(), last)-1)
}

// wallClock is what the clocks of a zone show at t, written as if it were UTC.
func wallClock(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// instantOf is the inverse of wallClock. No two changes of one zone are within two days of each other, so
// that there is at most one to look at.
func instantOf(wall time.Time, zone *time.Location) time.Time {
	early := wall.Add(-24 * time.Hour).In(zone) // no zone is a day from UTC
	_, before := early.Zone()
	at := wall.Add(-time.Duration(before) * time.Second)
	_, change := early.ZoneBounds()
	if change.IsZero() || at.Before(change) {
		return at
	}
	_, after := change.Zone()
	if later := wall.Add(-time.Duration(after) * time.Second); !later.Before(change) {
		return later
	}
	return at // skipped
}
