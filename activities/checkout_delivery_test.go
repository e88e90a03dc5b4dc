package activities_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// paidCredits is an order of 200 credits of the main product, paid and settled as far as that.
func paidCredits(t *testing.T, inquiry bool) (*shop, *activities.Checkout, contract.CheckoutDelivery) {
	t.Helper()
	s := &shop{t: t, db: testkit.Database(t), product: testkit.NewMainProduct(t)}
	testkit.AddUser(t, s.db, buyer, 0)
	item, _, err := s.db.CreateItem(t.Context(), postgres.NewItem{
		ProjectID: testkit.Project,
		Actor:     "test",
		Item: catalog.Item{
			SKU:             "credits",
			Type:            catalog.VirtualGood,
			VirtualItemType: catalog.Consumable,
			Status:          catalog.Published,
			Name:            catalog.Text{"en": "100 credits"},
			Prices:          []catalog.Price{{Amount: decimal.NewFromInt(1), Currency: "USD", IsDefault: true}},
			MainProduct: &catalog.MainProduct{
				Delivery:           store.DefaultDelivery(),
				InsteadOfInventory: true,
				Integration: store.Integration{
					ResourceType: catalog.DefaultResourceType,
					Endpoint:     store.DefaultEndpoint,
					Amount:       decimal.NewFromInt(100),
					Currency:     "credits",
				},
			},
		},
	}, time.Now())
	require.NoError(t, err)
	made, err := s.db.CreateCheckout(t.Context(), postgres.NewCheckout{
		Form:    checkout.PaidItem,
		Wanted:  []checkout.LineRequest{{SKU: "credits", Quantity: 2}},
		Sandbox: true,
		Zone:    time.UTC,
		TTL:     time.Hour,
		Shopper: postgres.Shopper{
			ProjectID: testkit.Project,
			UserID:    buyer,
			Catalog:   catalog.New([]catalog.Item{item}, nil),
			View:      catalog.View{Locale: "en", DefaultLocale: "en", Now: time.Now()},
		},
	})
	require.NoError(t, err)
	_, err = s.db.RecordPayment(t.Context(), made.OrderID, checkout.Payment{
		Provider:   "sandbox",
		ProviderID: "p1",
		Amount:     decimal.NewFromInt(2),
		Currency:   "USD",
		Sandbox:    true,
	}, time.Now())
	require.NoError(t, err)
	a := &activities.Checkout{DB: s.db, Product: s.product.Client(t, inquiry), OrderChanged: func(string) {}}
	settled, err := run[contract.SettledCheckout](t, a.SettleCheckout, contract.CheckoutInput{
		ProjectID: testkit.Project,
		OrderID:   made.OrderID,
		UserID:    buyer,
	})
	require.NoError(t, err)
	require.Len(t, settled.Deliveries, 1)
	return s, a, settled.Deliveries[0]
}

func (s *shop) lineDelivery(d contract.CheckoutDelivery) checkout.Delivery {
	s.t.Helper()
	order, err := s.db.GetCheckout(s.t.Context(), testkit.Project, d.OrderID)
	require.NoError(s.t, err)
	return order.Deliveries[d.Number-1]
}

func TestLineIsDeliveredAndRecorded(t *testing.T) {
	t.Parallel()
	s, a, in := paidCredits(t, false)
	outcome, err := run[contract.Outcome](t, a.Deliver, in)
	require.NoError(t, err)
	entry, _ := s.product.Books().Entry(in.MainProductOrderID())
	require.Equal(t, []string{buyer, "200", "credits", "100 credits", "quickpass_store"}, []string{entry.UserID, entry.Amount.String(), entry.Currency, entry.ProductName, entry.Source})
	require.Equal(t, []any{contract.Credited, entry.TransactionID}, []any{outcome.Kind, outcome.Credit.TransactionID})
	told := ""
	a.OrderChanged = func(id string) { told = id }
	recorded, err := run[contract.RecordedDelivery](t, a.RecordDelivery, contract.RecordDeliveryInput{Delivery: in, Outcome: outcome})
	require.NoError(t, err)
	require.Equal(t, contract.RecordedDelivery{Delivery: checkout.DeliveryDelivered, Order: checkout.Done}, recorded)
	require.Equal(t, contract.CheckoutWorkflowID(in.OrderID), told, "who waits for the order hears of it")
	outcome, err = run[contract.Outcome](t, a.Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.NotDue, outcome.Kind)
	s.product.RequireCalls(t, in.MainProductOrderID(), 1, 1)
	testkit.RequireClean(t, s.db)
}

func TestLineIsRefused(t *testing.T) {
	t.Parallel()
	s, a, in := paidCredits(t, false)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.Refuse, Code: "LIMIT_REACHED", Message: "Daily limit"})
	outcome, err := run[contract.Outcome](t, a.Deliver, in)
	require.NoError(t, err, "a refusal is not retried")
	require.Equal(t, []any{contract.Refused, "LIMIT_REACHED", "Daily limit"}, []any{outcome.Kind, outcome.Reason.ErrorCode, outcome.Reason.Message})
	recorded, err := run[contract.RecordedDelivery](t, a.RecordDelivery, contract.RecordDeliveryInput{Delivery: in, Outcome: outcome})
	require.NoError(t, err)
	require.Equal(t, contract.RecordedDelivery{
		Delivery: checkout.DeliveryRefused,
		Order:    checkout.Canceled,
		Code:     "LIMIT_REACHED",
	}, recorded)
	testkit.RequireClean(t, s.db)
}

// Without a final answer it fails, and is asked again under the same id: credited once, whatever happened before.
func TestLineWithoutAFinalAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		behaviour fake.Behaviour
		code      string
	}{
		"server error":         {fake.Behaviour{Kind: fake.ErrorStatus, Status: 503}, "server_error"},
		"dropped":              {fake.Behaviour{Kind: fake.Drop}, "connection_lost"},
		"credited and dropped": {fake.Behaviour{Kind: fake.Drop, CreditFirst: true}, "connection_lost"},
		"garbage":              {fake.Behaviour{Kind: fake.Garbage}, "unintelligible_answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a, in := paidCredits(t, true)
			s.product.Misbehave(t, test.behaviour)
			_, err := run[contract.Outcome](t, a.Deliver, in)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, err, &failed)
			var carried contract.Outcome
			require.NoError(t, failed.Details(&carried))
			require.Equal(t, []any{contract.Unknown, test.code}, []any{carried.Kind, carried.Error})
			require.Equal(t, []int{1, 1}, []int{s.lineDelivery(in).Calls, s.lineDelivery(in).Unsettled}, "it may have had an effect")
			s.product.Misbehave(t)
			outcome, err := run[contract.Outcome](t, a.Deliver, in)
			require.NoError(t, err)
			require.Equal(t, contract.Credited, outcome.Kind)
			s.product.RequireCalls(t, in.MainProductOrderID(), 2, 1)
			found, err := run[contract.Outcome](t, a.Inquire, in)
			require.NoError(t, err)
			require.Equal(t, outcome.Credit.TransactionID, found.Credit.TransactionID)
		})
	}
}

// Nothing was listening: the call can't have had an effect, and a refusal that follows is believed.
func TestLineThatNobodyTook(t *testing.T) {
	t.Parallel()
	s, a, in := paidCredits(t, false)
	nobody, err := mainproduct.New(mainproduct.Config{BaseURL: "http://127.0.0.1:1", APIKey: "key"})
	require.NoError(t, err)
	away := &activities.Checkout{DB: s.db, Product: nobody}
	_, err = run[contract.Outcome](t, away.Deliver, in)
	require.Error(t, err)
	require.Equal(t, []int{1, 0}, []int{s.lineDelivery(in).Calls, s.lineDelivery(in).Unsettled})
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.Refuse})
	outcome, err := run[contract.Outcome](t, a.Deliver, in)
	require.NoError(t, err)
	recorded, err := run[contract.RecordedDelivery](t, a.RecordDelivery, contract.RecordDeliveryInput{Delivery: in, Outcome: outcome})
	require.NoError(t, err)
	require.Equal(t, []any{checkout.DeliveryRefused, checkout.Canceled}, []any{recorded.Delivery, recorded.Order})
}

func TestInquiryWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	_, a, in := paidCredits(t, false)
	outcome, err := run[contract.Outcome](t, a.Inquire, in)
	require.NoError(t, err)
	require.Equal(t, contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}, outcome)
}
