package fraud_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/fraud"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestGuardBlocks(t *testing.T) {
	t.Parallel()
	ctx, db, now := t.Context(), testkit.Database(t), time.Now()
	_, _, err := db.PutUser(ctx, 1, "buyer", postgres.UserEdit{}, now)
	require.NoError(t, err)
	_, err = db.AdjustWallet(ctx, postgres.Adjustment{
		ProjectID:    1,
		AdjustmentID: "adj_1",
		UserID:       "buyer",
		Amount:       100,
		Reason:       "test",
		Actor:        "test",
	}, now)
	require.NoError(t, err)
	_, err = db.SetSuspicious(ctx, 1, "buyer", true, "test", "test", now)
	require.NoError(t, err)
	_, _, err = db.AddProduct(ctx, postgres.NewProduct{
		ProjectID: 1,
		Actor:     "test",
		Product: store.Product{
			SKU:         "x",
			Name:        "x",
			PriceCoins:  100,
			Status:      store.Published,
			Stock:       store.StockSettings{Initial: 1},
			Integration: store.Integration{Amount: decimal.NewFromInt(1)},
			Delivery:    store.DefaultDelivery(),
		},
	}, now)
	require.NoError(t, err)
	_, err = db.ReservePurchase(ctx, postgres.Purchase{ProjectID: 1, OrderID: "qp_1", UserID: "buyer", SKU: "x", Quantity: 1}, now)
	require.NoError(t, err)

	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fraud.Guard{
			DB:     db,
			Policy: store.Policy{RiskyOrders: 1},
			Logger: slog.New(slog.DiscardHandler),
			Every:  10 * time.Millisecond,
		}.Run(running)
	}()
	require.Eventually(t, func() bool {
		user, err := db.GetUser(ctx, "buyer")
		return err == nil && user.Blocked
	}, 20*time.Second, 20*time.Millisecond)
	stop()
	<-ended
	fraud.Guard{}.Run(ctx) // switched off: returns at once
}
