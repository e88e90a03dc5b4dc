package activities_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/xid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// shop is a database with "500 credits" and a buyer of 1,000 coins, and a fake main product.
type shop struct {
	t       *testing.T
	db      *postgres.DB
	product *testkit.MainProduct
	calls   *activities.Calls
	changed []string // orders that OrderChanged was told of
}

const buyer = "12345"

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, db: testkit.Database(t), product: testkit.NewMainProduct(t), calls: activities.NewCalls()}
	testkit.AddProduct(t, s.db, testkit.Credits500())
	testkit.AddUser(t, s.db, buyer, 1000)
	return s
}

func (s *shop) purchase() *activities.Purchase {
	return &activities.Purchase{DB: s.db, OrderChanged: func(orderID string) { s.changed = append(s.changed, orderID) }}
}

func (s *shop) delivery(inquiry bool) *activities.Delivery {
	return &activities.Delivery{Product: s.product.Client(s.t, inquiry), DB: s.db, Calls: s.calls, TaskQueue: "this-process"}
}

// input names a new order.
func (s *shop) input() contract.PurchaseInput {
	return contract.PurchaseInput{
		ProjectID: testkit.Project,
		OrderID:   "qp_" + xid.New().String(),
		UserID:    buyer,
		SKU:       "credits-500",
		Quantity:  1,
		Attempt:   1,
	}
}

// reserve makes an order and says what to deliver for it.
func (s *shop) reserve() contract.DeliveryInput {
	s.t.Helper()
	in := s.input()
	reservation, err := run[contract.Reservation](s.t, s.purchase().Reserve, in)
	require.NoError(s.t, err)
	require.Equal(s.t, store.Processing, reservation.Status)
	delivery := *reservation.Delivery
	return contract.DeliveryInput{ProjectID: in.ProjectID, OrderID: in.OrderID, UserID: in.UserID, Attempt: 1, Delivery: delivery}
}

func (s *shop) order(id string) store.Order {
	s.t.Helper()
	order, err := s.db.GetOrder(s.t.Context(), testkit.Project, id)
	require.NoError(s.t, err)
	return order
}

// run executes an activity as a worker would: through the data converter, with activity info in its context.
func run[Result any](t *testing.T, activity any, in any) (Result, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(2 * time.Minute)
	env.RegisterActivity(activity)
	var result Result
	value, err := env.ExecuteActivity(activity, in)
	if err == nil {
		require.NoError(t, value.Get(&result))
	}
	return result, err
}

// awayDatabase is one that nobody can reach.
func awayDatabase(t *testing.T) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{
		URL:              "postgres://nobody@127.0.0.1:1/nothing?connect_timeout=1",
		MaxConnections:   2,
		StatementTimeout: time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// errors.go is the only classifier of errors: no other file of the package decides what is retried.
func TestOnlyOneFileClassifiesErrors(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, path := range paths {
		if path == "errors.go" || filepath.Base(path) == "activities_test.go" {
			continue
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(content), "temporal."+"NewApplicationError", path)
		require.NotContains(t, string(content), "temporal."+"NewNonRetryableApplicationError", path)
	}
}

var credited = mainproduct.Answer{Kind: mainproduct.Credited, TransactionID: "tx_1"}
