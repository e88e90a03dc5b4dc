package postgres_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// realMoney pays an order that was made outside of the sandbox.
func (c *counter) realMoney(orderID int64, id, money string) postgres.RecordedPayment {
	c.t.Helper()
	payment := c.payment(id, money)
	payment.Provider, payment.Sandbox = "acme", false
	recorded, err := c.RecordPayment(c.t.Context(), orderID, payment, c.now)
	require.NoError(c.t, err)
	return recorded
}

func (c *counter) returns(given *bool) []postgres.CheckoutReturn {
	c.t.Helper()
	returns, err := c.ListReturns(c.t.Context(), testkit.Project, postgres.ReturnFilter{Given: given, Limit: 10})
	require.NoError(c.t, err)
	return returns
}

func TestMoneyThatWasNotKeptGoesBackOnce(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	o := c.order(checkout.PaidItem, "gun_1", 3)
	o.Sandbox = false
	id := c.buy(o).OrderID
	require.Equal(t, checkout.Accepted, c.realMoney(id, "p1", "2.99").Outcome)
	require.Empty(t, c.returns(nil))
	second := c.realMoney(id, "p2", "2.99")
	require.Equal(t, checkout.Returned, second.Outcome)
	require.Equal(t, checkout.SecondPayment, c.realMoney(id, "p2", "2.99").Reason, "told again")
	require.Equal(t, checkout.Done, c.settle(id))
	part := c.refund(id, checkout.RefundLine{LineID: "1", Quantity: 1})
	rest := c.refund(id)

	owed := c.returns(new(false))
	require.Len(t, owed, 3)
	for i, want := range []struct{ provider, refund, amount string }{{"p1", rest.ID, "1.99"}, {"p1", part.ID, "1"}, {"p2", "", "2.99"}} {
		require.Equal(t, []any{want.provider, want.refund, want.amount, "USD", id}, []any{owed[i].ProviderID, owed[i].RefundID, owed[i].Amount.String(), owed[i].Currency, owed[i].OrderID})
	}
	testkit.RequireClean(t, c.DB)

	given := postgres.ReturnGiven{ReturnID: owed[0].ReturnID, ProjectID: new(testkit.Project), Reference: "tx-1", By: "admin"}
	for range 2 {
		back, err := c.GiveReturn(t.Context(), given, c.now)
		require.NoError(t, err)
		require.Equal(t, []any{"tx-1", "admin"}, []any{back.Reference, back.GivenBy})
	}
	given.Reference = "tx-2"
	_, err := c.GiveReturn(t.Context(), given, c.now)
	require.ErrorIs(t, err, postgres.ErrReturnGiven)
	given.ProjectID = new(testkit.Project + 1)
	_, err = c.GiveReturn(t.Context(), given, c.now)
	require.ErrorIs(t, err, postgres.ErrNotFound)
	_, err = c.GiveReturn(t.Context(), postgres.ReturnGiven{
		ReturnID:  owed[1].ReturnID,
		Provider:  new("another"),
		Reference: "x",
		By:        "another",
	}, c.now)
	require.ErrorIs(t, err, postgres.ErrNotFound, "the money is not that provider's")
	require.Len(t, c.returns(new(false)), 2)
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM audit_log WHERE action = 'checkout.return'"))
	testkit.RequireClean(t, c.DB)

	_, err = c.Pool().Exec(t.Context(), "DELETE FROM checkout_returns WHERE refund_id IS NULL")
	require.NoError(t, err)
	checks, err := c.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Hour}, c.now)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(checks, func(check postgres.Check) bool {
		return check.Rule == "money that was not kept goes back, once" && len(check.Broken) == 1
	}), "%v", checks)
}

func TestNothingGoesBackThatNeverMoved(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	id := c.paidOrder("gun_1", 3)
	require.Equal(t, checkout.Returned, c.pay(id, "p2", "2.99").Outcome)
	c.refund(id)
	require.Empty(t, c.returns(nil))
	testkit.RequireClean(t, c.DB)
}

// A provider and an admin say at the same time that the money went back, by different transactions: one of
// them is right.
func TestOneTransactionGivesAReturnBack(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	o := c.order(checkout.PaidItem, "gun_1", 1)
	o.Sandbox = false
	id := c.buy(o).OrderID
	require.Equal(t, checkout.Accepted, c.realMoney(id, "p1", "1").Outcome)
	c.refund(id)
	owed := c.returns(new(false))
	require.Len(t, owed, 1)
	var running sync.WaitGroup
	outcomes := make(chan error, 8)
	for i := range cap(outcomes) {
		running.Go(func() {
			_, err := c.GiveReturn(t.Context(), postgres.ReturnGiven{
				ReturnID:  owed[0].ReturnID,
				Reference: "tx-" + string(rune('a'+i)),
				By:        "x",
			}, time.Now())
			outcomes <- err
		})
	}
	running.Wait()
	close(outcomes)
	won := 0
	for err := range outcomes {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, postgres.ErrReturnGiven)
		}
	}
	require.Equal(t, 1, won)
}
