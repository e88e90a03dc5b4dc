package tasks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/tasks"
)

// instant reads a time written with its offset.
func instant(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return at.UTC()
}

func window(kind tasks.Kind, unit tasks.Unit, zone string, resetHour int) tasks.Task {
	return tasks.Task{Window: tasks.WindowRule{Kind: kind, Unit: unit, TimeZone: zone, ResetHour: resetHour}}
}

func TestCalendarSpans(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		unit       tasks.Unit
		zone       string
		reset      int
		at         string
		start, end string
	}{
		"day in Moscow":                     {tasks.Day, "Europe/Moscow", 0, "2024-01-15T17:30:00+03:00", "2024-01-15T00:00:00+03:00", "2024-01-16T00:00:00+03:00"},
		"first moment of a day":             {tasks.Day, "Europe/Moscow", 0, "2024-01-15T00:00:00+03:00", "2024-01-15T00:00:00+03:00", "2024-01-16T00:00:00+03:00"},
		"last moment of a day":              {tasks.Day, "Europe/Moscow", 0, "2024-01-15T23:59:59.999999999+03:00", "2024-01-15T00:00:00+03:00", "2024-01-16T00:00:00+03:00"},
		"UTC where none is named":           {tasks.Day, "", 0, "2024-01-15T23:30:00Z", "2024-01-15T00:00:00Z", "2024-01-16T00:00:00Z"},
		"half an hour's zone":               {tasks.Day, "Asia/Kolkata", 0, "2024-01-15T18:31:00Z", "2024-01-16T00:00:00+05:30", "2024-01-17T00:00:00+05:30"},
		"before the reset hour":             {tasks.Day, "Asia/Kolkata", 6, "2024-01-15T05:59:59+05:30", "2024-01-14T06:00:00+05:30", "2024-01-15T06:00:00+05:30"},
		"at the reset hour":                 {tasks.Day, "Asia/Kolkata", 6, "2024-01-15T06:00:00+05:30", "2024-01-15T06:00:00+05:30", "2024-01-16T06:00:00+05:30"},
		"a day of 23 hours":                 {tasks.Day, "America/New_York", 0, "2024-03-10T12:00:00-04:00", "2024-03-10T00:00:00-05:00", "2024-03-11T00:00:00-04:00"},
		"a day of 25 hours":                 {tasks.Day, "America/New_York", 0, "2024-11-03T12:00:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00"},
		"a reset hour that is skipped":      {tasks.Day, "America/New_York", 2, "2024-03-10T03:00:00-04:00", "2024-03-10T03:00:00-04:00", "2024-03-11T02:00:00-04:00"},
		"before one that is skipped":        {tasks.Day, "America/New_York", 2, "2024-03-10T01:59:59-05:00", "2024-03-09T02:00:00-05:00", "2024-03-10T03:00:00-04:00"},
		"a reset hour that comes twice":     {tasks.Day, "America/New_York", 1, "2024-11-03T01:30:00-05:00", "2024-11-03T01:00:00-04:00", "2024-11-04T01:00:00-05:00"},
		"before one that comes twice":       {tasks.Day, "America/New_York", 1, "2024-11-03T00:59:59-04:00", "2024-11-02T01:00:00-04:00", "2024-11-03T01:00:00-04:00"},
		"before a day that does not exist":  {tasks.Day, "Pacific/Apia", 0, "2011-12-29T23:59:59-10:00", "2011-12-29T00:00:00-10:00", "2011-12-30T00:00:00-10:00"},
		"after a day that does not exist":   {tasks.Day, "Pacific/Apia", 0, "2011-12-31T00:00:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
		"its week":                          {tasks.Week, "Pacific/Apia", 0, "2011-12-31T12:00:00+14:00", "2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00"},
		"rest of it before the reset hour":  {tasks.Day, "Pacific/Apia", 6, "2011-12-31T05:00:00+14:00", "2011-12-31T00:00:00+14:00", "2011-12-31T06:00:00+14:00"},
		"midnight that is skipped":          {tasks.Day, "Africa/Cairo", 0, "2024-04-26T10:00:00+03:00", "2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00"},
		"leap day":                          {tasks.Day, "Europe/Moscow", 0, "2024-02-29T12:00:00+03:00", "2024-02-29T00:00:00+03:00", "2024-03-01T00:00:00+03:00"},
		"week from Monday":                  {tasks.Week, "Europe/Moscow", 0, "2024-01-21T23:59:59+03:00", "2024-01-15T00:00:00+03:00", "2024-01-22T00:00:00+03:00"},
		"Monday before the reset hour":      {tasks.Week, "Europe/Moscow", 4, "2024-01-22T03:59:59+03:00", "2024-01-15T04:00:00+03:00", "2024-01-22T04:00:00+03:00"},
		"week with a change of clocks":      {tasks.Week, "America/New_York", 0, "2024-03-10T12:00:00-04:00", "2024-03-04T00:00:00-05:00", "2024-03-11T00:00:00-04:00"},
		"week over the end of the year":     {tasks.Week, "Europe/Moscow", 0, "2025-01-01T00:00:00+03:00", "2024-12-30T00:00:00+03:00", "2025-01-06T00:00:00+03:00"},
		"month of 29 days":                  {tasks.Month, "Asia/Kolkata", 0, "2024-02-29T23:59:59+05:30", "2024-02-01T00:00:00+05:30", "2024-03-01T00:00:00+05:30"},
		"first of the month before a reset": {tasks.Month, "Asia/Kolkata", 6, "2024-03-01T05:00:00+05:30", "2024-02-01T06:00:00+05:30", "2024-03-01T06:00:00+05:30"},
		"December":                          {tasks.Month, "America/New_York", 0, "2024-12-31T23:59:59-05:00", "2024-12-01T00:00:00-05:00", "2025-01-01T00:00:00-05:00"},
		"month with a change of clocks":     {tasks.Month, "America/New_York", 0, "2024-03-15T00:00:00-04:00", "2024-03-01T00:00:00-05:00", "2024-04-01T00:00:00-04:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			span := window(tasks.Calendar, test.unit, test.zone, test.reset).SpanAt(time.Time{}, instant(test.at))
			require.Equal(t, instant(test.start), span.Start)
			require.Equal(t, instant(test.end), span.End)
		})
	}
}

func TestRollingSpans(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		unit       tasks.Unit
		zone       string
		anchor, at string
		start, end string
	}{
		"first day":                        {tasks.Day, "Europe/Moscow", "2024-01-15T17:30:05+03:00", "2024-01-15T17:30:05+03:00", "2024-01-15T17:30:05+03:00", "2024-01-16T17:30:05+03:00"},
		"last moment of it":                {tasks.Day, "Europe/Moscow", "2024-01-15T17:30:05+03:00", "2024-01-16T17:30:04+03:00", "2024-01-15T17:30:05+03:00", "2024-01-16T17:30:05+03:00"},
		"a day of 23 hours":                {tasks.Day, "America/New_York", "2024-03-09T12:00:00-05:00", "2024-03-10T12:00:00-04:00", "2024-03-10T12:00:00-04:00", "2024-03-11T12:00:00-04:00"},
		"an end that is skipped":           {tasks.Day, "America/New_York", "2024-03-09T02:30:00-05:00", "2024-03-09T03:00:00-05:00", "2024-03-09T02:30:00-05:00", "2024-03-10T03:00:00-04:00"},
		"and the day after it":             {tasks.Day, "America/New_York", "2024-03-09T02:30:00-05:00", "2024-03-10T03:00:00-04:00", "2024-03-10T03:00:00-04:00", "2024-03-11T02:30:00-04:00"},
		"an anchor in the hour come again": {tasks.Day, "America/New_York", "2024-11-03T01:30:00-05:00", "2024-11-03T01:30:00-05:00", "2024-11-03T01:30:00-05:00", "2024-11-04T01:30:00-05:00"},
		"an end in an hour that comes twice": {tasks.Day, "America/New_York", "2024-11-02T01:30:00-04:00", "2024-11-03T01:29:00-04:00", "2024-11-02T01:30:00-04:00",
			"2024-11-03T01:30:00-04:00"},
		"over a day that does not exist": {tasks.Day, "Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-29T23:00:00-10:00", "2011-12-29T12:00:00-10:00", "2011-12-30T00:00:00-10:00"},
		"week":                           {tasks.Week, "Asia/Kolkata", "2024-01-17T08:00:00+05:30", "2024-02-01T08:00:00+05:30", "2024-01-31T08:00:00+05:30", "2024-02-07T08:00:00+05:30"},
		"month from the 31st":            {tasks.Month, "Europe/Moscow", "2024-01-31T10:00:00+03:00", "2024-02-10T00:00:00+03:00", "2024-01-31T10:00:00+03:00", "2024-02-29T10:00:00+03:00"},
		"and the next":                   {tasks.Month, "Europe/Moscow", "2024-01-31T10:00:00+03:00", "2024-02-29T10:00:00+03:00", "2024-02-29T10:00:00+03:00", "2024-03-31T10:00:00+03:00"},
		"not in a leap year":             {tasks.Month, "Europe/Moscow", "2023-01-31T10:00:00+03:00", "2023-02-28T10:00:00+03:00", "2023-02-28T10:00:00+03:00", "2023-03-31T10:00:00+03:00"},
		"month from a leap day":          {tasks.Month, "Europe/Moscow", "2024-02-29T10:00:00+03:00", "2025-02-28T10:00:00+03:00", "2025-02-28T10:00:00+03:00", "2025-03-29T10:00:00+03:00"},
		"before the anchor":              {tasks.Month, "Europe/Moscow", "2024-03-31T10:00:00+03:00", "2024-03-01T00:00:00+03:00", "2024-02-29T10:00:00+03:00", "2024-03-31T10:00:00+03:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			span := window(tasks.Rolling, test.unit, test.zone, 0).SpanAt(instant(test.anchor), instant(test.at))
			require.Equal(t, instant(test.start), span.Start)
			require.Equal(t, instant(test.end), span.End)
		})
	}
}

var zoneNames = []string{"UTC", "Europe/Moscow", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo", "Australia/Lord_Howe", "America/St_Johns"}

func TestSpansTileTime(t *testing.T) {
	t.Parallel()
	from, to := instant("2010-01-01T00:00:00Z").Unix(), instant("2030-01-01T00:00:00Z").Unix()
	rapid.Check(t, func(t *rapid.T) {
		task := window(rapid.SampledFrom([]tasks.Kind{tasks.Calendar, tasks.Rolling}).Draw(t, "kind"),
			rapid.SampledFrom([]tasks.Unit{tasks.Day, tasks.Week, tasks.Month}).Draw(t, "unit"),
			rapid.SampledFrom(zoneNames).Draw(t, "zone"), rapid.IntRange(0, 23).Draw(t, "reset"))
		anchor := time.Unix(rapid.Int64Range(from, to).Draw(t, "anchor"), 0).UTC()
		at := time.Unix(rapid.Int64Range(from, to).Draw(t, "at"), 0).UTC()
		span := task.SpanAt(anchor, at)
		require.False(t, at.Before(span.Start))
		require.True(t, at.Before(span.End))
		require.Equal(t, span, task.SpanAt(anchor, span.Start))
		require.Equal(t, span, task.SpanAt(anchor, span.End.Add(-1)))
		require.Equal(t, span.End, task.SpanAt(anchor, span.End).Start)
		require.Equal(t, span.Start, task.SpanAt(anchor, span.Start.Add(-1)).End)
	})
}

func TestDaysOfAYear(t *testing.T) {
	t.Parallel()
	for zone, days := range map[string]map[int]int{
		"Europe/Moscow":    {2023: 365, 2024: 366, 2014: 365},
		"America/New_York": {2023: 365, 2024: 366},
		"Pacific/Apia":     {2011: 364, 2012: 366}, // 2011-12-30 did not exist
	} {
		for year, count := range days {
			location, err := time.LoadLocation(zone)
			require.NoError(t, err)
			task := window(tasks.Calendar, tasks.Day, zone, 0)
			at, end, spans := time.Date(year, 1, 1, 0, 0, 0, 0, location), time.Date(year+1, 1, 1, 0, 0, 0, 0, location), 0
			for at.Before(end) {
				at = task.SpanAt(time.Time{}, at).End
				spans++
			}
			require.True(t, at.Equal(end))
			require.Equal(t, count, spans, "%s %d", zone, year)
		}
	}
}
