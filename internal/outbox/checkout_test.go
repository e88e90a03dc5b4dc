package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// till is a board where the buyer orders a gun, for as long as an order can be paid.
type till struct{ *board }

func newTill(t *testing.T) *till {
	t.Helper()
	return &till{newBoard(t, testkit.Temporal(t))}
}

func (b *till) order(ttl time.Duration) postgres.CreatedCheckout {
	b.t.Helper()
	gun := catalog.Item{
		SKU:             "gun_1",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Basic Blaster"},
		Prices:          []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}},
	}
	made, err := b.db.CreateCheckout(b.t.Context(), postgres.NewCheckout{
		Form:    checkout.PaidItem,
		Wanted:  []checkout.LineRequest{{SKU: "gun_1", Quantity: 1}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     ttl,
		Shopper: postgres.Shopper{
			ProjectID: testkit.Project,
			UserID:    buyer,
			Catalog:   catalog.New([]catalog.Item{gun}, nil),
			View:      catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()},
		},
	})
	require.NoError(b.t, err)
	return made
}

func (b *till) pay(orderID int64) postgres.CheckoutChange {
	b.t.Helper()
	recorded, err := b.db.RecordPayment(b.t.Context(), orderID, sandboxPayment("p1"), time.Now())
	require.NoError(b.t, err)
	return *recorded.Change
}

func sandboxPayment(id string) checkout.Payment {
	return checkout.Payment{Provider: "sandbox", ProviderID: id, Amount: decimal.RequireFromString("1.99"), Currency: "USD", Sandbox: true}
}

func (b *till) requireStatus(orderID int64, want checkout.OrderStatus) {
	b.t.Helper()
	testkit.Eventually(b.t, string(want), func(ctx context.Context) error {
		order, err := b.db.GetCheckout(ctx, testkit.Project, orderID)
		if err == nil && order.Status != want {
			err = errors.New(string(order.Status))
		}
		return err
	})
}

func (b *till) delay(orderID int64) (time.Duration, error) {
	event, err := b.engine.Client.GetWorkflowHistory(b.t.Context(), contract.CheckoutWorkflowID(orderID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	return event.GetWorkflowExecutionStartedEventAttributes().GetFirstWorkflowTaskBackoff().AsDuration(), err
}

// An unpaid order costs nothing until it expires; a payment ends the delay, and it is delivered.
func TestOrderIsDeliveredWhenItIsPaid(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	box := b.outbox()
	b.work()
	run(t, box)
	made := b.order(10 * time.Hour)
	box.OfferCheckout(made.Change)
	testkit.Within(t, time.Minute, "its workflow is started", func(context.Context) error {
		delay, err := b.delay(made.OrderID)
		if err == nil {
			require.InDelta(t, 10*time.Hour, delay, float64(time.Minute))
		}
		return err
	})
	b.requireStatus(made.OrderID, checkout.New)
	box.OfferCheckout(b.pay(made.OrderID))
	b.requireStatus(made.OrderID, checkout.Done)
	testkit.RequireClean(t, b.db)
}

// Paid before anybody was told that it was made: its workflow is started once, without a delay.
func TestOrderThatIsPaidAtOnceIsNotDelayed(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	box := b.outbox()
	b.work()
	made := b.order(10 * time.Hour)
	box.OfferCheckout(made.Change)
	box.OfferCheckout(b.pay(made.OrderID))
	run(t, box)
	b.requireStatus(made.OrderID, checkout.Done)
	delay, err := b.delay(made.OrderID)
	require.NoError(t, err)
	require.Zero(t, delay)
	testkit.Eventually(t, "both changes are told of", func(ctx context.Context) error {
		var waiting int
		if err := b.db.Pool().QueryRow(ctx, "SELECT count(*) FROM checkout_orders WHERE told < changes").Scan(&waiting); err != nil || waiting == 0 {
			return err
		}
		return errors.New("not yet")
	})
	testkit.RequireClean(t, b.db)
}

func TestOrderExpiresByItsWorkflow(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	box := b.outbox()
	b.work()
	run(t, box)
	made := b.order(2 * time.Second)
	box.OfferCheckout(made.Change)
	b.requireStatus(made.OrderID, checkout.Expired)
	testkit.RequireClean(t, b.db)
}

// Nobody was offered the order: the process died after the commit. The sweep starts it, once.
func TestSweepStartsOrders(t *testing.T) {
	t.Parallel()
	b := newTill(t)
	box := b.outbox()
	made := b.order(time.Hour)
	_, err := b.delay(made.OrderID)
	var notFound *serviceerror.NotFound
	require.ErrorAs(t, err, &notFound)
	require.NoError(t, box.SweepCheckouts(t.Context(), time.Now()))
	_, err = b.delay(made.OrderID)
	require.NoError(t, err)
	due, err := b.db.LeaseCheckouts(t.Context(), time.Minute, 10, time.Now())
	require.NoError(t, err)
	require.Empty(t, due, "it was told")

	b.pay(made.OrderID)
	b.work()
	require.NoError(t, box.SweepCheckouts(t.Context(), time.Now()))
	b.requireStatus(made.OrderID, checkout.Done)
	testkit.RequireClean(t, b.db)
}
