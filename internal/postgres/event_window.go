package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/tasks"
)

// The statements of the hot path of counting find rows by their place (ctid), which sqlc does not know.

// lockEventWindows reads the windows that events of these users may count for, locked in one order. A locked
// row stays where it is until the transaction ends.
const lockEventWindows = `SELECT w.ctid, w.window_id, w.user_id, w.task_id, w.version, w.number, w.anchor, w.activated_at, w.ends_at, w.closes_at, w.time_zone, w.state,
    w.target::text, w.progress::text, w.seen, w.completed_at, w.changes
FROM unnest($1::text[]) AS u (user_id)
JOIN task_windows w ON w.project_id = $2 AND w.user_id = u.user_id AND w.live
ORDER BY w.window_id FOR NO KEY UPDATE OF w`

// countInWindows writes windows where they were locked. One that reaches its target is completed here, and
// its workflow is to be told. A window that is not there fails the transaction, by a division by zero.
const countInWindows = `WITH counted AS (
    UPDATE task_windows w SET progress = u.progress, seen = NULLIF(u.seen, '')::jsonb, updated_at = $1::timestamptz,
        state = CASE WHEN u.completed THEN 'completed' ELSE w.state END,
        completed_at = CASE WHEN u.completed THEN u.completed_at ELSE w.completed_at END,
        changes = w.changes + u.completed::integer,
        sweep_at = CASE WHEN u.completed THEN $1::timestamptz ELSE w.sweep_at END
    FROM (SELECT unnest($2::tid[]) AS place, unnest($3::text[]) AS window_id, unnest($4::text[])::numeric AS progress, unnest($5::text[]) AS seen,
            unnest($6::boolean[]) AS completed, unnest($7::timestamptz[]) AS completed_at) u
    WHERE w.ctid = u.place AND w.window_id = u.window_id
    RETURNING w.window_id)
SELECT 1 / (count(*) = cardinality($3::text[]))::integer FROM counted`

// windowPlace is what is needed to write a locked window.
type windowPlace struct {
	row     pgtype.TID
	changes int32 // before the batch
}

// readEventWindows reads the answer of lockEventWindows, without reflection. Decimals come and go as text, of
// which they are made faster than of PostgreSQL's binary form.
func readEventWindows(rows pgx.Rows, use func(tasks.Window, windowPlace) error) error {
	var window tasks.Window
	var at windowPlace
	var number int32
	var seen []byte
	var target, progress string
	into := []any{&at.row, &window.WindowID, &window.UserID, &window.TaskID, &window.Version, &number, &window.Anchor, &window.ActivatedAt, &window.EndsAt,
		&window.ClosesAt, &window.TimeZone, &window.State, &target, &progress, &seen, &window.CompletedAt, &at.changes}
	_, err := pgx.ForEachRow(rows, into, func() (err error) {
		window.Number, window.Seen = int(number), nil
		if window.Target, err = decimal.NewFromString(target); err != nil {
			return err
		}
		if window.Progress, err = decimal.NewFromString(progress); err != nil {
			return err
		}
		return errors.Join(readSeen(seen, &window), use(window, at))
	})
	return err
}

// countInWindowsArgs are in the order of the locks, though they are all held.
func countInWindowsArgs(windows []tasks.Window, locked map[string]windowPlace, now time.Time) ([]any, error) {
	n := len(windows)
	places, ids, progress, seen := make([]pgtype.TID, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	completed, completedAt := make([]bool, 0, n), make([]time.Time, 0, n)
	for _, window := range slices.SortedFunc(slices.Values(windows), func(a, b tasks.Window) int { return cmp.Compare(a.WindowID, b.WindowID) }) {
		text, err := seenColumn(window)
		if err != nil {
			return nil, fmt.Errorf("what window %s has seen: %w", window.WindowID, err)
		}
		places, ids, seen = append(places, locked[window.WindowID].row), append(ids, window.WindowID), append(seen, text)
		progress, completed = append(progress, window.Progress.String()), append(completed, window.State == tasks.Completed)
		completedAt = append(completedAt, completedColumn(window, now))
	}
	return []any{now, places, ids, progress, seen, completed, completedAt}, nil
}
