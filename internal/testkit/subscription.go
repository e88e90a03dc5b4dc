package testkit

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// StorePass puts a subscription of one minute a piece into the catalog.
func StorePass(t testing.TB, db *postgres.DB, sku string) {
	t.Helper()
	item := catalog.Item{
		SKU:              sku,
		Type:             catalog.VirtualGood,
		VirtualItemType:  catalog.NonRenewingSubscription,
		Status:           catalog.Published,
		Name:             catalog.Text{"en": "Pass " + sku},
		InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &subscriptions.Period{Unit: subscriptions.Minute, Value: 1}},
	}
	definition, err := json.Marshal(item)
	require.NoError(t, err)
	_, err = db.Pool().Exec(t.Context(), `INSERT INTO catalog_items (project_id, sku, type, status, definition, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, now(), now())`,
		Project, item.SKU, string(item.Type), string(item.Status), definition)
	require.NoError(t, err)
}

// GivePass extends a user's subscription by so many minutes, as the project's server does, as of that instant.
func GivePass(t testing.TB, db *postgres.DB, userID, sku string, minutes int64, at time.Time) {
	t.Helper()
	changePass(t, db, inventory.ActionGrant, postgres.SourceReward, userID, sku, minutes, at)
}

// RevokePass takes a user's subscription, as the project's server does.
func RevokePass(t testing.TB, db *postgres.DB, userID, sku string, at time.Time) {
	t.Helper()
	changePass(t, db, inventory.ActionRevoke, postgres.SourceServer, userID, sku, 1, at)
}

func changePass(t testing.TB, db *postgres.DB, action inventory.Action, source, userID, sku string, quantity int64, at time.Time) {
	t.Helper()
	_, _, err := db.ChangeInventory(t.Context(), postgres.InventoryCall{
		ProjectID: Project,
		Action:    action,
		Source:    source,
		Zone:      time.UTC,
		Requests:  []inventory.Request{{User: inventory.User{ID: userID}, Items: []inventory.RequestedItem{{SKU: sku, Quantity: quantity}}}},
	}, at)
	require.NoError(t, err)
}

// Notices counts what a user was told of subscriptions, by kind.
func Notices(t testing.TB, db *postgres.DB, userID string) (ending, expired int) {
	t.Helper()
	require.NoError(t, db.Pool().QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE kind = 'subscription_ending'), count(*) FILTER (WHERE kind = 'subscription_expired')
		FROM notifications WHERE user_id = $1`, userID).Scan(&ending, &expired))
	return ending, expired
}
