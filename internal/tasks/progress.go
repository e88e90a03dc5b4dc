package tasks

import (
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// add counts one event in a window: how much the progress grew, false when the window has seen its value or day before.
// The progress stops at the target, and a completed window forgets what it has seen, so that the result is the same in
// whatever order the events came.
func (w *Window) add(mode Mode, found measure, at time.Time) (decimal.Decimal, bool) {
	before := w.Progress
	switch mode {
	case CountDistinct, CountStreak:
		place, seen := slices.BinarySearch(w.Seen, found.mark)
		if seen {
			return decimal.Decimal{}, false
		}
		w.Seen = slices.Insert(w.Seen, place, found.mark)
		w.Progress = decimal.NewFromInt(int64(len(w.Seen)))
		if mode == CountStreak {
			w.Progress = decimal.NewFromInt(longestRun(w.Seen))
		}
	default:
		w.Progress = w.Progress.Add(found.amount)
	}
	if w.Progress.GreaterThanOrEqual(w.Target) {
		w.Progress, w.Seen = w.Target, nil
		w.State, w.CompletedAt = Completed, &at
	}
	return w.Progress.Sub(before), true
}

// longestRun of days in a row, of sorted days.
func longestRun(days []string) int64 {
	var longest, run int64
	var previous time.Time
	for _, text := range days {
		day, err := time.Parse(time.DateOnly, text)
		if err == nil && day.Equal(previous.AddDate(0, 0, 1)) {
			run++
		} else {
			run = 1
		}
		longest, previous = max(longest, run), day
	}
	return longest
}
