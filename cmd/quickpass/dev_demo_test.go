package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestDemoDataIsWrittenOnce(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t)
	db := testkit.OpenDatabase(t, url)
	var c config.Config
	c.Database.URL, c.Database.StatementTimeout = url, time.Minute
	for range 2 {
		require.NoError(t, seedDemo(t.Context(), c))
		list, err := db.ListTasks(t.Context(), demoProject, postgres.TaskFilter{Limit: 10})
		require.NoError(t, err)
		require.Len(t, list, len(demoTasks()))
		for _, task := range list {
			require.Empty(t, task.Validate(), task.Name)
			require.EqualValues(t, 1, task.Version)
		}
	}
	testkit.RequireClean(t, db)
}
