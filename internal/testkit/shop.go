package testkit

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Project is the one that the helpers of this package work in.
const Project int32 = 1

// Credits500 is the product of seed 000: 500 credits for 100 coins, 50 pieces.
func Credits500() store.Product {
	return store.Product{
		SKU:        "credits-500",
		Name:       "500 credits",
		Kind:       "credits",
		PriceCoins: 100,
		Status:     store.Published,
		Stock:      store.StockSettings{Initial: 50, Minimum: 10},
		Integration: store.Integration{
			ResourceType: "external_currency",
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(500),
			Currency:     "credits",
		},
		Delivery: store.DefaultDelivery(),
	}
}

// AddProduct puts a product on sale.
func AddProduct(t testing.TB, db *postgres.DB, p store.Product) {
	t.Helper()
	_, _, err := db.AddProduct(t.Context(), postgres.NewProduct{ProjectID: Project, Product: p, Actor: "test"}, time.Now())
	require.NoError(t, err)
}

// beforeAnyTest is before the clock of every test: automatic tasks count nothing from before their user was known.
var beforeAnyTest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// AddUser makes a user with coins.
func AddUser(t testing.TB, db *postgres.DB, id string, coins int64) {
	t.Helper()
	_, _, err := db.PutUser(t.Context(), Project, id, postgres.UserEdit{}, beforeAnyTest)
	require.NoError(t, err)
	if coins > 0 {
		_, err = db.AdjustWallet(t.Context(), postgres.Adjustment{
			ProjectID:    Project,
			AdjustmentID: "test_" + id,
			UserID:       id,
			Amount:       coins,
			Reason:       "test",
			Actor:        "test",
		}, time.Now())
		require.NoError(t, err)
	}
}

// AddKey makes an API key of a role; the key is the role's name with "test-" before it.
func AddKey(t testing.TB, db *postgres.DB, role string) (key string) {
	t.Helper()
	key = "test-" + role
	hash := sha256.Sum256([]byte(key))
	require.NoError(t, db.PutAPIKey(t.Context(), postgres.APIKey{KeyID: key, ProjectID: Project, Role: role}, hash[:], time.Now()))
	return key
}

// RequireClean runs the rules of `quickpass verify`.
func RequireClean(t testing.TB, db *postgres.DB) {
	t.Helper()
	RequireCleanAt(t, db, time.Now())
}

// RequireCleanAt is RequireClean for tests with a clock of their own: what is over by it needs no worker yet.
func RequireCleanAt(t testing.TB, db *postgres.DB, now time.Time) {
	t.Helper()
	checks, err := db.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Hour}, now)
	require.NoError(t, err)
	require.NotEmpty(t, checks)
	for _, check := range checks {
		require.Empty(t, check.Broken, check.Rule)
	}
}

// RequireWallet compares a user's coins.
func RequireWallet(t testing.TB, db *postgres.DB, userID string, available, held int64) {
	t.Helper()
	user, err := db.GetUser(t.Context(), userID)
	require.NoError(t, err)
	require.Equal(t, []int64{available, held}, []int64{user.Available, user.Held}, "available and held coins of %s", userID)
}

// RequireStock compares the pieces that are left.
func RequireStock(t testing.TB, db *postgres.DB, sku string, available int64) {
	t.Helper()
	offer, err := db.GetProduct(t.Context(), Project, sku)
	require.NoError(t, err)
	require.Equal(t, available, offer.Available, "pieces of %s", sku)
}

// Events lists what the timeline of an order says, oldest first.
func Events(t testing.TB, db *postgres.DB, orderID string) []string {
	t.Helper()
	entries, err := db.Timeline(t.Context(), Project, orderID, 0)
	require.NoError(t, err)
	events := make([]string, len(entries))
	for i, entry := range entries {
		events[i] = entry.Event
	}
	return events
}
