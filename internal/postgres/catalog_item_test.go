package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestUsages(t *testing.T) {
	t.Parallel()
	db := testkit.Database(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	testkit.AddUser(t, db, "12345", 0)
	testkit.AddUser(t, db, "other", 0)
	for _, statement := range []string{
		`INSERT INTO catalog_items (project_id, sku, type, status, definition, created_at, updated_at) SELECT 1, sku, 'virtual_good', 'draft', definition::jsonb, now(), now()
		 FROM (VALUES ('plain', '{"limits": {"per_user": 5}}'), ('weekly', '{"limits": {"per_user": 5, "recurrent_schedule": {"per_user": {"interval_type": "weekly", "time_zone": "Europe/Moscow"}}}}'),
		              ('skin', '{}'), ('game_steam', '{}'), ('few', '{"limits": {"per_item": 10}}')) i(sku, definition)`,
		`INSERT INTO item_usages (project_id, user_id, sku, promotion, period_start, used) VALUES
		 (1, '12345', 'plain', '', '-infinity', 2), (1, '12345', 'plain', 'half', '-infinity', 1), (1, 'other', 'plain', '', '-infinity', 4), (1, '12345', 'plain', '', '2026-11-21', 3),
		 (1, '12345', 'weekly', '', '2026-11-15T21:00:00Z', 3), (1, '12345', 'weekly', '', '2026-11-08T21:00:00Z', 9), (1, '12345', 'weekly', '', '-infinity', 7)`,
		`INSERT INTO inventory (project_id, user_id, sku, kind, quantity, snapshot, updated_at) VALUES
		 (1, '12345', 'skin', 'non_consumable', 1, '{}', now()), (1, '12345', 'few', 'non_consumable', 0, '{}', now())`,
		`INSERT INTO game_keys (project_id, sku, code, state, order_id, user_id, updated_at) VALUES
		 (1, 'game_steam', 'a', 'free', NULL, NULL, now()), (1, 'game_steam', 'b', 'free', NULL, NULL, now()), (1, 'game_steam', 'c', 'given', 1, '12345', now())`,
		`INSERT INTO item_sales (project_id, sku, total, reserved, sold) VALUES (1, 'few', 10, 2, 3)`,
	} {
		testkit.Exec(t, db, statement)
	}
	skus := []string{"plain", "weekly", "skin", "game_steam", "few", "unknown"}
	none := map[string]int64{}

	of, err := db.Usages(t.Context(), testkit.Project, "12345", skus, now)
	require.NoError(t, err)
	require.Equal(t, map[string]catalog.Usage{
		"plain": {ByUser: 2, Promotions: map[string]int64{"half": 1}}, "weekly": {ByUser: 3, Promotions: none}, "skin": {Owned: true, Promotions: none},
		"game_steam": {Keys: 2, Promotions: none}, "few": {Reserved: 2, Sold: 3, Promotions: none}, "unknown": {Promotions: none},
	}, of)

	of, err = db.Usages(t.Context(), testkit.Project, "", skus, now)
	require.NoError(t, err)
	require.Equal(t, map[string]catalog.Usage{
		"plain": {Promotions: none}, "weekly": {Promotions: none}, "skin": {Promotions: none},
		"game_steam": {Keys: 2, Promotions: none}, "few": {Reserved: 2, Sold: 3, Promotions: none}, "unknown": {Promotions: none},
	}, of)

	of, err = db.Usages(t.Context(), testkit.Project, "12345", skus, now.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Zero(t, of["weekly"].ByUser, "a week begins on Monday, in the limit's zone")
	require.EqualValues(t, 2, of["plain"].ByUser)
}
