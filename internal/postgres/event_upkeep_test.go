package postgres_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

const day = 24 * time.Hour

// partitionsOf are those of stored events, with how many each holds.
func partitionsOf(t *testing.T, db *postgres.DB) map[string]int {
	t.Helper()
	rows, err := db.Pool().Query(t.Context(), "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'events'::regclass")
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	held := map[string]int{}
	for _, name := range names {
		var n int
		require.NoError(t, db.Pool().QueryRow(t.Context(), "SELECT count(*) FROM "+name).Scan(&n))
		held[name] = n
	}
	return held
}

func TestEventPartitions(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	var group sync.WaitGroup
	failures := make([]error, 4)
	for i := range failures {
		group.Go(func() { _, _, failures[i] = db.KeepEventPartitions(t.Context(), 2, taskClock.Add(-day), taskClock) })
	}
	group.Wait()
	require.NoError(t, errors.Join(failures...))
	require.Equal(t, map[string]int{"events_default": 0, "events_20261122": 0, "events_20261123": 0, "events_20261124": 0}, partitionsOf(t, db))

	count(t, db, taskClock, bet("1", taskClock))
	count(t, db, taskClock.Add(day), bet("2", taskClock.Add(day)))
	count(t, db, taskClock.Add(5*day), bet("ahead", taskClock.Add(5*day)))
	require.Equal(t, map[string]int{"events_default": 1, "events_20261122": 1, "events_20261123": 1, "events_20261124": 0}, partitionsOf(t, db))

	// The 22nd is dropped as soon as its last moment is past keeping, and not a moment before; the 27th stays
	// where its first event went.
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	_, dropped, err := db.KeepEventPartitions(t.Context(), 5, midnight.Add(-time.Nanosecond), taskClock.Add(5*day))
	require.NoError(t, err)
	require.Zero(t, dropped)
	_, dropped, err = db.KeepEventPartitions(t.Context(), 5, midnight, taskClock.Add(5*day))
	require.NoError(t, err)
	require.Equal(t, 1, dropped)
	held := partitionsOf(t, db)
	require.NotContains(t, held, "events_20261122")
	require.NotContains(t, held, "events_20261127")
	require.Contains(t, held, "events_20261128")
	require.Equal(t, 1, held["events_default"])

	_, _, err = db.KeepEventPartitions(t.Context(), 0, taskClock.Add(6*day), taskClock.Add(6*day))
	require.NoError(t, err)
	require.Zero(t, partitionsOf(t, db)["events_default"], "what strayed is forgotten too")
}

func TestEventKeysAreForgotten(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	count(t, db, taskClock, bet("old", taskClock))
	count(t, db, taskClock.Add(time.Minute), bet("new", taskClock))
	forgotten, more, err := db.ForgetEventKeys(t.Context(), taskClock.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, []any{int64(1), false}, []any{forgotten, more})
	duplicates := count(t, db, taskClock.Add(time.Hour), bet("old", taskClock), bet("new", taskClock)).Duplicates
	require.True(t, slices.Equal([]bool{false, true}, duplicates))
}
