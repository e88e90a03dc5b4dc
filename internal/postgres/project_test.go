package postgres_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestCreateProject(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	chosen, err := db.CreateProject(t.Context(), 44056, "a game", "test", time.Now())
	require.NoError(t, err)
	require.EqualValues(t, 44056, chosen)
	_, err = db.CreateProject(t.Context(), 44056, "another", "test", time.Now())
	require.ErrorIs(t, err, postgres.ErrConflict)
	next, err := db.CreateProject(t.Context(), 0, "another", "test", time.Now())
	require.NoError(t, err)
	require.EqualValues(t, 44057, next)
	project, err := db.GetProject(t.Context(), next)
	require.NoError(t, err)
	require.Equal(t, []any{"another", "", true}, []any{project.Name, project.JWTSecret, project.Sandbox}, "nobody's token is taken before somebody says whose")
	testkit.RequireClean(t, db)
}

// Two that ask for the next id at once: each gets its own, or is told that it was taken.
func TestProjectsAreCreatedAtOnce(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	var running sync.WaitGroup
	ids := make(chan int32, 8)
	for range cap(ids) {
		running.Go(func() {
			id, err := db.CreateProject(t.Context(), 0, "a game", "test", time.Now())
			if err != nil {
				require.ErrorIs(t, err, postgres.ErrConflict)
				return
			}
			ids <- id
		})
	}
	running.Wait()
	close(ids)
	seen := map[int32]bool{}
	for id := range ids {
		require.False(t, seen[id])
		seen[id] = true
	}
	require.NotEmpty(t, seen)
}
