package activities_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// The main product's answer comes after support has ended the order: the order becomes suspected, and the workflow
// ends without an alarm. After a cancellation by anybody else that is a bug.
func TestCaptureAfterSupport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reason store.ReasonCode
		fails  bool
	}{
		"ended by support": {store.RefundedBySupport, false},
		"ended otherwise":  {store.MainProductRefused, true},
	} {
		t.Run(name, func(t *testing.T) {
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
			_, err = db.ReleaseOrder(ctx, contract.ReleaseInput{
				ProjectID: 1,
				OrderID:   "qp_1",
				Attempt:   1,
				Reason:    store.Reason{Code: test.reason},
			}, now)
			require.NoError(t, err)

			step := &activities.Purchase{DB: db, OrderChanged: func(string) {}}
			result, err := step.Capture(ctx, contract.CaptureInput{
				ProjectID: 1,
				OrderID:   "qp_1",
				Attempt:   1,
				Credit:    store.Credit{TransactionID: "tx_1"},
			})
			order, readErr := db.GetOrder(ctx, 1, "qp_1")
			require.NoError(t, readErr)
			require.Equal(t, store.Canceled, order.Status)
			require.Equal(t, !test.fails, order.Suspected)
			if test.fails {
				require.ErrorContains(t, err, "is canceled")
				return
			}
			require.NoError(t, err)
			require.Equal(t, store.Canceled, result.Status)
		})
	}
}
