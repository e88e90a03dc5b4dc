package tasks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/tasks"
)

func TestClosingsOfOneInstantAreSpread(t *testing.T) {
	t.Parallel()
	seconds := map[time.Duration]int{}
	for i := range 30_000 {
		window := fmt.Sprintf("tw_%06d", i)
		jitter := tasks.CloseJitter(window)
		require.Equal(t, jitter, tasks.CloseJitter(window))
		require.True(t, jitter >= 0 && jitter < 30*time.Second)
		seconds[jitter.Truncate(time.Second)]++
	}
	require.Len(t, seconds, 30)
	for second, n := range seconds {
		require.InDelta(t, 1000, n, 300, "%s", second)
	}
}
