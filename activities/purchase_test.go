package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestReserveHoldsCoinsAndStockOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.input()
	var first contract.Reservation
	for i := range 3 { // at least once means more than once
		reservation, err := run[contract.Reservation](t, s.purchase().Reserve, in)
		require.NoError(t, err)
		if i == 0 {
			first = reservation
		}
		require.Equal(t, first, reservation, "the same answer each time")
	}
	require.Equal(t, "500", first.Delivery.Amount.String())
	expected := testkit.Credits500().DeliveryOf(1)
	expected.Amount = first.Delivery.Amount // equal, but decimals differ inside
	require.Equal(t, contract.Reservation{Status: store.Processing, Attempt: 1, Delivery: &expected}, first)
	testkit.RequireWallet(t, s.db, buyer, 900, 100)
	testkit.RequireStock(t, s.db, "credits-500", 49)
	testkit.RequireClean(t, s.db)
}

// The API has usually been first.
func TestReserveFindsWhatTheAPIReserved(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.input()
	_, err := s.db.ReservePurchase(t.Context(), postgres.Purchase{
		ProjectID: in.ProjectID,
		OrderID:   in.OrderID,
		UserID:    in.UserID,
		SKU:       in.SKU,
		Quantity:  in.Quantity,
	}, time.Now())
	require.NoError(t, err)
	reservation, err := run[contract.Reservation](t, s.purchase().Reserve, in)
	require.NoError(t, err)
	require.Equal(t, store.Processing, reservation.Status)
	testkit.RequireWallet(t, s.db, buyer, 900, 100)
	testkit.RequireClean(t, s.db)
}

// A refusal is an answer, not a failure: nothing is retried and nothing is written.
func TestReserveRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	testkit.AddUser(t, s.db, "poor", 99)
	testkit.AddUser(t, s.db, "blocked", 1000)
	_, err := s.db.SetBlocked(t.Context(), testkit.Project, "blocked", true, "test", "fraud", time.Now())
	require.NoError(t, err)
	for code, change := range map[store.Code]func(*contract.PurchaseInput){
		store.UserNotFound:      func(in *contract.PurchaseInput) { in.UserID = "nobody" },
		store.ProductNotFound:   func(in *contract.PurchaseInput) { in.SKU = "nothing" },
		store.UserBlocked:       func(in *contract.PurchaseInput) { in.UserID = "blocked" },
		store.InsufficientCoins: func(in *contract.PurchaseInput) { in.UserID = "poor" },
		store.OutOfStock:        func(in *contract.PurchaseInput) { in.Quantity = 51 },
	} {
		in := s.input()
		change(&in)
		reservation, err := run[contract.Reservation](t, s.purchase().Reserve, in)
		require.NoError(t, err)
		require.NotNil(t, reservation.Refusal, "%s", code)
		require.Equal(t, code, reservation.Refusal.Code)
		require.Nil(t, reservation.Delivery)
		_, err = s.db.GetOrder(t.Context(), testkit.Project, in.OrderID)
		require.ErrorIs(t, err, postgres.ErrNotFound)
	}
	testkit.RequireStock(t, s.db, "credits-500", 50)
	testkit.RequireClean(t, s.db)
}

func TestCaptureSpendsOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	order := s.reserve().OrderID
	for range 3 {
		result, err := run[contract.PurchaseResult](t, s.purchase().Capture, contract.CaptureInput{
			ProjectID: testkit.Project,
			OrderID:   order,
			Attempt:   1,
			Credit:    store.Credit{TransactionID: "tx_456"},
			Calls:     1,
		})
		require.NoError(t, err)
		require.Equal(t, contract.PurchaseResult{Status: store.Completed}, result)
	}
	require.Equal(t, 1, s.order(order).Calls, "the call is counted once")
	require.Equal(t, []string{"reserved", "completed"}, testkit.Events(t, s.db, order))
	testkit.RequireWallet(t, s.db, buyer, 900, 0)
	testkit.RequireClean(t, s.db)
}

func TestReleaseGivesBackOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	order := s.reserve().OrderID
	reason := store.ReasonOfRefusal("USER_NOT_FOUND", "User not found", false)
	for range 3 {
		result, err := run[contract.PurchaseResult](t, s.purchase().Release, contract.ReleaseInput{
			ProjectID: testkit.Project,
			OrderID:   order,
			Attempt:   1,
			Reason:    reason,
			Calls:     1,
		})
		require.NoError(t, err)
		require.Equal(t, contract.PurchaseResult{Status: store.Canceled, Reason: &reason}, result)
	}
	require.Equal(t, []string{"reserved", "canceled"}, testkit.Events(t, s.db, order))
	testkit.RequireWallet(t, s.db, buyer, 1000, 0)
	testkit.RequireStock(t, s.db, "credits-500", 50)
	testkit.RequireClean(t, s.db)
}

func TestReleaseOfWhatWasNeverReserved(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	result, err := run[contract.PurchaseResult](t, s.purchase().Release, contract.ReleaseInput{
		ProjectID: testkit.Project,
		OrderID:   "qp_none",
		Attempt:   1,
		Reason:    store.Reason{Code: store.CanceledByOperator},
	})
	require.NoError(t, err)
	require.Equal(t, store.Canceled, result.Status)
	testkit.RequireClean(t, s.db)
}

// Those who wait for an order are woken after the commit, and only then.
func TestOrderChangedIsToldAfterTheCommit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	order := s.reserve().OrderID
	require.Empty(t, s.changed)
	var seen []store.OrderStatus
	purchase := &activities.Purchase{DB: s.db, OrderChanged: func(orderID string) { seen = append(seen, s.order(orderID).Status) }}
	_, err := run[contract.PurchaseResult](t, purchase.Capture, contract.CaptureInput{
		ProjectID: testkit.Project,
		OrderID:   order,
		Attempt:   1,
		Credit:    store.Credit{TransactionID: "tx"},
	})
	require.NoError(t, err)
	require.Equal(t, []store.OrderStatus{store.Completed}, seen)
}

// What can't be right whoever asks again is not retried; a database that is away is.
func TestWhatIsRetried(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	taken, canceled, other := s.reserve().OrderID, s.reserve().OrderID, s.reserve().OrderID
	capture := func(order, transaction string) error {
		_, err := run[contract.PurchaseResult](t, s.purchase().Capture, contract.CaptureInput{
			ProjectID: testkit.Project,
			OrderID:   order,
			Attempt:   1,
			Credit:    store.Credit{TransactionID: transaction},
		})
		return err
	}
	require.NoError(t, capture(taken, "tx_1"))
	_, err := run[contract.PurchaseResult](t, s.purchase().Release, contract.ReleaseInput{
		ProjectID: testkit.Project,
		OrderID:   canceled,
		Attempt:   1,
		Reason:    store.Reason{Code: store.CanceledByOperator},
	})
	require.NoError(t, err)

	requireType(t, capture(other, "tx_1"), contract.ErrorTypeTransactionClash, false)
	requireType(t, capture(canceled, "tx_2"), "Inconsistent", false)
	requireType(t, capture("qp_none", "tx_3"), "NotFound", false)
	testkit.RequireClean(t, s.db)

	away := &activities.Purchase{DB: awayDatabase(t), OrderChanged: func(string) {}}
	_, err = run[contract.PurchaseResult](t, away.Capture, contract.CaptureInput{
		OrderID: other,
		Attempt: 1,
		Credit:  store.Credit{TransactionID: "tx"},
	})
	requireRetryable(t, err)
	_, err = run[contract.PurchaseResult](t, away.Release, contract.ReleaseInput{OrderID: other, Attempt: 1})
	requireRetryable(t, err)
	_, err = run[contract.Reservation](t, away.Reserve, s.input())
	requireRetryable(t, err)
}

func requireRetryable(t *testing.T, err error) {
	t.Helper()
	var failed *temporal.ApplicationError
	require.ErrorAs(t, err, &failed)
	require.False(t, failed.NonRetryable(), "%v", err)
}

func requireType(t *testing.T, err error, errorType string, retryable bool) {
	t.Helper()
	var failed *temporal.ApplicationError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, errorType, failed.Type())
	require.Equal(t, retryable, !failed.NonRetryable(), "%v", err)
}
