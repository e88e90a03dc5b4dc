package subscriptions_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

var zoneNames = []string{"UTC", "Europe/Moscow", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe", "America/Sao_Paulo"}

func zone(t require.TestingT, name string) *time.Location {
	location, err := time.LoadLocation(name)
	require.NoError(t, err)
	return location
}

func TestPeriodEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from   string
		zone   string
		period subscriptions.Period
		want   string
	}{
		"minutes are exact":                      {"2026-03-08T01:59:00-05:00", "America/New_York", subscriptions.Period{Unit: "minute", Value: 2}, "2026-03-08T03:01:00-04:00"},
		"hours are exact":                        {"2026-03-07T12:00:00-05:00", "America/New_York", subscriptions.Period{Unit: "hour", Value: 24}, "2026-03-08T13:00:00-04:00"},
		"a day of 23 hours":                      {"2026-03-07T12:00:00-05:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 1}, "2026-03-08T12:00:00-04:00"},
		"a day of 25 hours":                      {"2026-10-31T12:00:00-04:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 1}, "2026-11-01T12:00:00-05:00"},
		"30 days over a change of clocks":        {"2026-10-15T18:30:00-04:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 30}, "2026-11-14T18:30:00-05:00"},
		"a time that is skipped is an hour late": {"2026-03-07T02:30:00-05:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 1}, "2026-03-08T03:30:00-04:00"},
		"of a time shown twice the first":        {"2026-10-31T01:30:00-04:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 1}, "2026-11-01T01:30:00-04:00"},
		"from the second of a time shown twice":  {"2026-11-01T01:30:00-05:00", "America/New_York", subscriptions.Period{Unit: "day", Value: 1}, "2026-11-02T01:30:00-05:00"},
		"half an hour of change":                 {"2026-10-03T02:15:00+10:30", "Australia/Lord_Howe", subscriptions.Period{Unit: "day", Value: 1}, "2026-10-04T02:45:00+11:00"},
		"midnight that is skipped":               {"2018-11-03T00:00:00-03:00", "America/Sao_Paulo", subscriptions.Period{Unit: "day", Value: 1}, "2018-11-04T01:00:00-02:00"},
		"a day that is skipped":                  {"2011-12-29T10:00:00-10:00", "Pacific/Apia", subscriptions.Period{Unit: "day", Value: 1}, "2011-12-31T10:00:00+14:00"},
		"two days over one that is skipped":      {"2011-12-29T10:00:00-10:00", "Pacific/Apia", subscriptions.Period{Unit: "day", Value: 2}, "2011-12-31T10:00:00+14:00"},
		"the offset changes for good":            {"2014-10-25T12:00:00+04:00", "Europe/Moscow", subscriptions.Period{Unit: "day", Value: 1}, "2014-10-26T12:00:00+03:00"},
		"a day without change":                   {"2026-03-29T23:59:59+05:30", "Asia/Kolkata", subscriptions.Period{Unit: "day", Value: 1}, "2026-03-30T23:59:59+05:30"},
		"a week":                                 {"2026-03-05T09:00:00-05:00", "America/New_York", subscriptions.Period{Unit: "week", Value: 1}, "2026-03-12T09:00:00-04:00"},
		"two weeks over the new year":            {"2026-12-24T00:00:00+03:00", "Europe/Moscow", subscriptions.Period{Unit: "week", Value: 2}, "2027-01-07T00:00:00+03:00"},
		"a month":                                {"2026-11-22T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 1}, "2026-12-22T12:00:00Z"},
		"31 January":                             {"2026-01-31T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 1}, "2026-02-28T12:00:00Z"},
		"31 January of a leap year":              {"2028-01-31T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 1}, "2028-02-29T12:00:00Z"},
		"31 January, two months at once":         {"2026-01-31T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 2}, "2026-03-31T12:00:00Z"},
		"31 August":                              {"2026-08-31T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 1}, "2026-09-30T12:00:00Z"},
		"28 February stays the 28th":             {"2026-02-28T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 1}, "2026-03-28T12:00:00Z"},
		"14 months":                              {"2026-12-31T12:00:00Z", "UTC", subscriptions.Period{Unit: "month", Value: 14}, "2028-02-29T12:00:00Z"},
		"the month of the zone, not of UTC":      {"2026-01-31T22:30:00Z", "Europe/Moscow", subscriptions.Period{Unit: "month", Value: 1}, "2026-03-01T01:30:00+03:00"},
		"the last day of the zone's month":       {"2026-02-01T04:30:00Z", "America/New_York", subscriptions.Period{Unit: "month", Value: 1}, "2026-02-28T23:30:00-05:00"},
		"a month over a change of clocks":        {"2026-03-01T08:00:00-05:00", "America/New_York", subscriptions.Period{Unit: "month", Value: 1}, "2026-04-01T08:00:00-04:00"},
		"a year":                                 {"2026-11-22T12:00:00Z", "UTC", subscriptions.Period{Unit: "year", Value: 1}, "2027-11-22T12:00:00Z"},
		"29 February and a year":                 {"2028-02-29T12:00:00Z", "UTC", subscriptions.Period{Unit: "year", Value: 1}, "2029-02-28T12:00:00Z"},
		"29 February and four years":             {"2028-02-29T12:00:00Z", "UTC", subscriptions.Period{Unit: "year", Value: 4}, "2032-02-29T12:00:00Z"},
		"no leap day in 2100":                    {"2096-02-29T12:00:00Z", "UTC", subscriptions.Period{Unit: "year", Value: 4}, "2100-02-28T12:00:00Z"},
		"100 years":                              {"2026-11-22T12:00:00Z", "UTC", subscriptions.Period{Unit: "year", Value: 100}, "2126-11-22T12:00:00Z"},
		"100 years of minutes":                   {"2026-11-22T12:00:00Z", "UTC", subscriptions.Period{Unit: "minute", Value: 52_560_000}, "2126-10-29T12:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, test.period.Validate())
			from, err := time.Parse(time.RFC3339, test.from)
			require.NoError(t, err)
			want, err := time.Parse(time.RFC3339, test.want)
			require.NoError(t, err)
			got := test.period.After(from, zone(t, test.zone))
			require.Equal(t, want.UTC(), got)
		})
	}
}

func TestPeriodIsValidated(t *testing.T) {
	t.Parallel()
	for unit, most := range map[subscriptions.Unit]int{"minute": 52_560_000, "hour": 876_000, "day": 36_500, "week": 5_214, "month": 1_200, "year": 100} {
		for value, want := range map[int]error{
			math.MinInt: subscriptions.ErrInvalidPeriod, -1: subscriptions.ErrInvalidPeriod, 0: subscriptions.ErrInvalidPeriod,
			1: nil, most: nil, most + 1: subscriptions.ErrTooLong, math.MaxInt: subscriptions.ErrTooLong,
		} {
			require.ErrorIs(t, subscriptions.Period{Unit: unit, Value: value}.Validate(), want, "%d %s", value, unit)
		}
	}
	for _, unit := range []subscriptions.Unit{"", "days", "Day", "second", "quarter"} {
		require.ErrorIs(t, subscriptions.Period{Unit: unit, Value: 1}.Validate(), subscriptions.ErrInvalidPeriod, unit)
	}
}

func TestPeriodsMultiply(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value    int
		quantity int64
		want     int
		err      error
	}{
		{1, 1, 1, nil}, {3, 4, 12, nil}, {1, 1200, 1200, nil}, {600, 2, 1200, nil}, {1200, 1, 1200, nil},
		{1, 1201, 0, subscriptions.ErrTooLong}, {600, 3, 0, subscriptions.ErrTooLong}, {601, 2, 0, subscriptions.ErrTooLong},
		{7, math.MaxInt64, 0, subscriptions.ErrTooLong}, {1201, 1, 0, subscriptions.ErrTooLong},
		{1, 0, 0, subscriptions.ErrInvalidQuantity}, {1, -1, 0, subscriptions.ErrInvalidQuantity}, {1, math.MinInt64, 0, subscriptions.ErrInvalidQuantity},
		{0, 1, 0, subscriptions.ErrInvalidPeriod},
	} {
		got, err := subscriptions.Period{Unit: subscriptions.Month, Value: test.value}.Times(test.quantity)
		require.ErrorIs(t, err, test.err, "%+v", test)
		require.Equal(t, test.want, got.Value, "%+v", test)
	}
}

func TestPeriodHasTheShapeOfTheCatalog(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(subscriptions.Period{Unit: subscriptions.Day, Value: 30})
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"day","value":30}`, string(text))
	var period subscriptions.Period
	require.NoError(t, json.Unmarshal(text, &period))
	require.Equal(t, subscriptions.Period{Unit: "day", Value: 30}, period)
}

func drawPeriod(t *rapid.T, most int) subscriptions.Period {
	return subscriptions.Period{
		Unit:  rapid.SampledFrom([]subscriptions.Unit{"minute", "hour", "day", "week", "month", "year"}).Draw(t, "unit"),
		Value: rapid.IntRange(1, most).Draw(t, "value"),
	}
}

// drawInstant of 1990 to 2050, often near a change of clocks, a leap day or the end of a month.
func drawInstant(t *rapid.T) time.Time {
	anchor := rapid.SampledFrom([]string{"2011-12-29T10:00:00Z", "2014-10-25T22:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z",
		"2026-01-31T12:00:00Z", "2028-02-29T00:00:00Z", "2024-02-28T23:59:59Z", "2018-11-04T03:00:00Z", ""}).Draw(t, "anchor")
	if anchor == "" {
		return time.Unix(rapid.Int64Range(631_152_000, 2_524_608_000).Draw(t, "seconds"), 0).UTC()
	}
	at, err := time.Parse(time.RFC3339, anchor)
	require.NoError(t, err)
	return at.Add(time.Duration(rapid.Int64Range(-200_000, 200_000).Draw(t, "near")) * time.Second)
}

// Every period has a length, keeps the clock's time unless it does not exist, and ends as the plain second
// implementation says.
func TestPeriodsEndLikeThePlainModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		location := zone(t, rapid.SampledFrom(zoneNames).Draw(t, "zone"))
		period, from := drawPeriod(t, 40), drawInstant(t)
		got := period.After(from, location)
		require.True(t, got.After(from), "%v from %s is %s", period, from, got)
		require.Equal(t, plainEnd(period, from, location), got, "%v from %s", period, from.In(location))
	})
}

// plainEnd counts days one by one on a calendar, and looks for the instant among all offsets that the zone
// has around it.
func plainEnd(p subscriptions.Period, from time.Time, location *time.Location) time.Time {
	switch p.Unit {
	case "minute":
		return time.Unix(from.Unix()+int64(p.Value)*60, 0).UTC()
	case "hour":
		return time.Unix(from.Unix()+int64(p.Value)*3600, 0).UTC()
	}
	local := from.In(location)
	year, month, day := local.Year(), int(local.Month()), local.Day()
	days := map[subscriptions.Unit]int{"day": p.Value, "week": 7 * p.Value}[p.Unit]
	for range days {
		if day++; day > daysIn(year, month) {
			day, month = 1, month+1
		}
		if month > 12 {
			month, year = 1, year+1
		}
	}
	months := map[subscriptions.Unit]int{"month": p.Value, "year": 12 * p.Value}[p.Unit]
	for range months {
		if month++; month > 12 {
			month, year = 1, year+1
		}
	}
	day = min(day, daysIn(year, month))
	wanted := time.Date(year, time.Month(month), day, local.Hour(), local.Minute(), local.Second(), 0, time.UTC)
	for hour := -30; hour <= 30; hour++ { // the first instant that shows it
		_, offset := wanted.Add(time.Duration(hour) * time.Hour).In(location).Zone()
		if at := wanted.Add(-time.Duration(offset) * time.Second); at.In(location).Format(time.DateTime) == wanted.Format(time.DateTime) {
			return at
		}
	}
	_, offset := wanted.Add(-30 * time.Hour).In(location).Zone()
	return wanted.Add(-time.Duration(offset) * time.Second)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}
