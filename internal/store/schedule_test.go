package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	require.NoError(t, err)
	return at
}

// Each row asks at one moment and says from when the product is sold: the same moment if it is, "" if never.
func TestSchedule(t *testing.T) {
	t.Parallel()
	from, until := instant(t, "2026-03-01T00:00:00Z"), instant(t, "2026-04-01T00:00:00Z")
	office := func(zone string) Schedule {
		return Schedule{TimeZone: zone, Weekly: []Hours{{"mon", "09:00", "18:00"}, {"fri", "00:00", "24:00"}}}
	}
	sunday := func(zone, from, to string) Schedule {
		return Schedule{TimeZone: zone, Weekly: []Hours{{"sun", from, to}}}
	}
	for name, test := range map[string]struct {
		schedule  Schedule
		at, opens string
	}{
		"always":                      {Schedule{}, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		"before the first second":     {Schedule{From: &from}, "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"},
		"the first second":            {Schedule{From: &from}, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		"the last second":             {Schedule{Until: &until}, "2026-03-31T23:59:59Z", "2026-03-31T23:59:59Z"},
		"after the last second":       {Schedule{Until: &until}, "2026-04-01T00:00:00Z", ""},
		"opens only after the end":    {Schedule{Until: &until, Weekly: []Hours{{"thu", "09:00", "10:00"}}}, "2026-03-27T00:00:00Z", ""},
		"Monday before nine":          {office("Europe/Moscow"), "2026-11-23T05:59:59Z", "2026-11-23T06:00:00Z"},
		"Monday at nine":              {office("Europe/Moscow"), "2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z"},
		"Monday, last second":         {office("Europe/Moscow"), "2026-11-23T14:59:59Z", "2026-11-23T14:59:59Z"},
		"Monday at six":               {office("Europe/Moscow"), "2026-11-23T15:00:00Z", "2026-11-26T21:00:00Z"},
		"Friday's last second":        {office("Asia/Kolkata"), "2026-11-27T18:29:59Z", "2026-11-27T18:29:59Z"},
		"Saturday":                    {office("Asia/Kolkata"), "2026-11-27T18:30:00Z", "2026-11-30T03:30:00Z"},
		"New York, hours skipped":     {sunday("America/New_York", "02:00", "03:00"), "2026-03-08T06:59:59Z", "2026-03-15T06:00:00Z"},
		"New York, around the gap":    {sunday("America/New_York", "01:00", "04:00"), "2026-03-08T07:30:00Z", "2026-03-08T07:30:00Z"},
		"New York, gap's end":         {sunday("America/New_York", "01:00", "04:00"), "2026-03-08T08:00:00Z", "2026-03-15T05:00:00Z"},
		"New York, hour repeated":     {sunday("America/New_York", "01:00", "02:00"), "2026-11-01T06:30:00Z", "2026-11-01T06:30:00Z"},
		"New York, after the repeat":  {sunday("America/New_York", "01:00", "02:00"), "2026-11-01T07:00:00Z", "2026-11-08T06:00:00Z"},
		"Apia skipped a whole Friday": {Schedule{TimeZone: "Pacific/Apia", Weekly: []Hours{{"fri", "09:00", "18:00"}}}, "2011-12-30T09:00:00Z", "2012-01-05T19:00:00Z"},
		"Moscow gave up summer time":  {sunday("Europe/Moscow", "09:00", "10:00"), "2014-10-26T05:59:59Z", "2014-10-26T06:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := instant(t, test.at)
			opens, ok := test.schedule.nextOpening(at, test.schedule.Zone())
			require.Equal(t, test.opens != "", ok)
			if ok {
				require.Equal(t, test.opens, opens.UTC().Format(time.RFC3339))
			}
			refusal := test.schedule.check(at)
			require.Equal(t, test.opens == test.at, refusal == nil)
			if refusal != nil {
				require.Equal(t, NotOnSaleNow, refusal.Code)
				require.Equal(t, ok, refusal.Until != nil)
			}
		})
	}
}

// Whatever the hours and the zone: what is said to be the next opening is open, and no earlier minute is.
func TestNextOpeningIsTheFirst(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Moscow", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"}
	rapid.Check(t, func(t *rapid.T) {
		clock := func(name string, low int) string {
			minute := rapid.IntRange(low, 24*60).Draw(t, name)
			return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC).Format("15:04")
		}
		start := clock("from", 0)
		if start == "00:00" {
			start = "00:01"
		}
		s := Schedule{
			TimeZone: rapid.SampledFrom(zones).Draw(t, "zone"),
			Weekly:   []Hours{{rapid.SampledFrom(weekdays).Draw(t, "day"), start, "24:00"}},
		}
		at := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "at"), 0)
		opens, ok := s.nextOpening(at, s.Zone())
		if !ok {
			t.Fatal("weekly hours always come again")
		}
		if s.check(opens) != nil {
			t.Fatalf("%s is said to be open", opens)
		}
		if !opens.Equal(at) && s.check(opens.Add(-time.Second)) == nil {
			t.Fatalf("it was open before %s", opens)
		}
	})
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		zone, at         string
		day, week, month string // starts
		dayEnd           string
		hours            float64
	}{
		"New York loses an hour": {"America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-02T05:00:00Z", "2026-03-01T05:00:00Z", "2026-03-09T04:00:00Z", 23},
		"New York gains an hour": {"America/New_York", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-10-26T04:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 25},
		"Kolkata, half an hour":  {"Asia/Kolkata", "2026-11-22T18:30:00Z", "2026-11-22T18:30:00Z", "2026-11-22T18:30:00Z", "2026-10-31T18:30:00Z", "2026-11-23T18:30:00Z", 24},
		"Kolkata, a second less": {"Asia/Kolkata", "2026-11-22T18:29:59Z", "2026-11-21T18:30:00Z", "2026-11-15T18:30:00Z", "2026-10-31T18:30:00Z", "2026-11-22T18:30:00Z", 24},
		"Moscow, leap day":       {"Europe/Moscow", "2028-02-29T20:59:59Z", "2028-02-28T21:00:00Z", "2028-02-27T21:00:00Z", "2028-01-31T21:00:00Z", "2028-02-29T21:00:00Z", 24},
		"Apia, across the date":  {"Pacific/Apia", "2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z", "2026-10-31T11:00:00Z", "2026-11-23T11:00:00Z", 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, at := Schedule{TimeZone: test.zone}.Zone(), instant(t, test.at)
			utc := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
			day := DayOf(at, zone)
			require.Equal(t, []string{test.day, test.week, test.month, test.dayEnd},
				[]string{utc(day.Start), utc(WeekOf(at, zone).Start), utc(MonthOf(at, zone).Start), utc(day.End)})
			require.InDelta(t, test.hours, day.End.Sub(day.Start).Hours(), 0)
		})
	}
}
