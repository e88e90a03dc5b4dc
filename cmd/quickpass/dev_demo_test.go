package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/catalog"
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
		require.NoError(t, seedDemo(t.Context(), c, "http://127.0.0.1:8090"))
		list, err := db.ListTasks(t.Context(), demoProject, postgres.TaskFilter{Limit: 10})
		require.NoError(t, err)
		require.Len(t, list, len(demoTasks()))
		for _, task := range list {
			require.Empty(t, task.Validate(), task.Name)
			require.EqualValues(t, 1, task.Version)
		}
	}
	projects, err := db.ListProjects(t.Context())
	require.NoError(t, err)
	require.Len(t, projects, 2)
	for _, project := range projects {
		_, items, groups, err := db.CatalogItems(t.Context(), project.ProjectID)
		require.NoError(t, err)
		requireDemoCatalog(t, items, groups)
	}
	testkit.RequireClean(t, db)
}

func requireDemoCatalog(t *testing.T, items []catalog.Item, groups []catalog.Group) {
	t.Helper()
	require.Len(t, items, len(demoItems()))
	require.Len(t, groups, len(demoGroups()))
	shop := catalog.New(items, groups)
	for _, item := range items {
		require.EqualValues(t, 1, item.Version)
	}
	for _, wanted := range demoItems() {
		require.Empty(t, wanted.Validate(shop.Item), wanted.SKU)
	}
	// The price of seeds 002 and 004.
	gun, _ := shop.Item("gun_1")
	quote, err := gun.QuoteOf(catalog.View{Now: time.Now()})
	require.NoError(t, err)
	shown, err := json.Marshal(quote)
	require.NoError(t, err)
	require.JSONEq(t, `{"amount": "0.9950", "amount_without_discount": "1.9900", "currency": "USD"}`, string(shown))
}
