package postgres_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// told has the main product give something for a piece of an item.
func told(sku, credits string, instead bool) func(map[string]*catalog.Item) {
	return func(items map[string]*catalog.Item) {
		items[sku].MainProduct = &catalog.MainProduct{
			Delivery:           store.DefaultDelivery(),
			InsteadOfInventory: instead,
			Integration: store.Integration{
				ResourceType: catalog.DefaultResourceType,
				Endpoint:     store.DefaultEndpoint,
				Amount:       amount(credits),
				Currency:     "credits",
			},
		}
	}
}

// settleDue looks at an order that waits for the main product, and says what is to be asked for.
func (c *counter) settleDue(orderID int64) []contract.CheckoutDelivery {
	c.t.Helper()
	settled, err := c.SettleCheckout(c.t.Context(), orderID, c.now)
	require.NoError(c.t, err)
	require.Equal(c.t, checkout.Paid, settled.Status)
	return settled.Deliveries
}

// orderAndPay makes an order of these items, pays it, and settles it as far as the main product's part.
func (c *counter) orderAndPay(wanted ...checkout.LineRequest) (int64, []contract.CheckoutDelivery) {
	c.t.Helper()
	_, err := c.FillCart(c.t.Context(), c.shopper(buyer), postgres.CurrentCart, wanted)
	require.NoError(c.t, err)
	created := c.buy(c.order(checkout.PaidCart, "", 0))
	require.Equal(c.t, checkout.Accepted, c.pay(created.OrderID, "p-"+created.Token, c.read(created.OrderID).Price.Payable().String()).Outcome)
	return created.OrderID, c.settleDue(created.OrderID)
}

func (c *counter) begin(d contract.CheckoutDelivery) postgres.CheckoutCall {
	c.t.Helper()
	call, err := c.BeginCheckoutDelivery(c.t.Context(), d, c.now)
	require.NoError(c.t, err)
	return call
}

func (c *counter) record(d contract.CheckoutDelivery, outcome contract.Outcome) contract.RecordedDelivery {
	c.t.Helper()
	recorded, err := c.RecordDelivery(c.t.Context(), contract.RecordDeliveryInput{Delivery: d, Outcome: outcome}, c.now)
	require.NoError(c.t, err)
	return recorded
}

func creditedAs(transactionID string) contract.Outcome {
	return contract.Outcome{Kind: contract.Credited, Credit: &store.Credit{TransactionID: transactionID}}
}

var (
	refusedOutcome = contract.Outcome{
		Kind:   contract.Refused,
		Reason: &store.Reason{Code: store.MainProductRefused, ErrorCode: "LIMIT_REACHED", Message: "Daily limit"},
	}
	timedOut = contract.Outcome{Kind: contract.Unknown, Error: "timeout", MaybeCredited: true}
)

func (c *counter) decide(orderID int64, number int, decision checkout.DeliveryDecision, transactionID string) (postgres.DecidedDelivery, error) {
	return c.DecideDelivery(c.t.Context(), postgres.DeliveryDecision{
		ProjectID:     testkit.Project,
		OrderID:       orderID,
		Number:        number,
		Decision:      decision,
		TransactionID: transactionID,
		Reason:        "looked it up",
		Actor:         "admin",
	}, c.now)
}

// activePasses counts subscriptions that have not ended by the test's clock.
func (c *counter) activePasses() int64 {
	return c.number("SELECT count(*) FROM subscriptions WHERE expires_at > '" + c.now.Format(time.RFC3339Nano) + "'")
}

func (c *counter) suspectedAlerts() int64 {
	return c.number("SELECT count(*) FROM admin_alerts WHERE kind = 'checkout_delivery_suspected' AND resolved_at IS NULL")
}

// Local goods are there when the order was first looked at; it is done when the main product's part was delivered, too.
func TestOrderWithAPartOfTheMainProduct(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false), told("gold", "0.5", true), func(items map[string]*catalog.Item) { items["pass"].VirtualPrices = nil })
	id, due := c.orderAndPay(checkout.LineRequest{
		SKU:      "gun_1",
		Quantity: 3,
	}, checkout.LineRequest{SKU: "skin", Quantity: 1}, checkout.LineRequest{SKU: "gold_100", Quantity: 2})
	require.Len(t, due, 2)
	require.Equal(t, []string{"300 credits", "100 credits"}, []string{due[0].Summary, due[1].Summary}, "quantities multiplied, also of what a bundle contains")
	require.Equal(t, []int64{3, 1, 0}, []int64{c.owns("gun_1"), c.owns("skin"), c.owns("gold")}, "gold is the main product's alone")
	testkit.RequireClean(t, c.DB)
	require.Equal(t, due, c.settleDue(id), "repeated, it changes nothing")

	call := c.begin(due[0])
	require.True(t, call.Due)
	require.Equal(t, []string{"300", "credits", store.DefaultEndpoint, "Basic Blaster"}, []string{call.Ask.Amount.String(), call.Ask.Currency, call.Ask.Endpoint, call.Ask.ProductName})
	require.Equal(t, contract.RecordedDelivery{
		Delivery: checkout.DeliveryDelivered,
		Order:    checkout.Paid,
	}, c.record(due[0], creditedAs("tx_1")))
	require.False(t, c.begin(due[0]).Due, "what was delivered is never called again")
	require.Equal(t, due[1:], c.settleDue(id))
	require.Zero(t, c.number("SELECT count(*) FROM notifications WHERE kind = 'checkout_done'"))
	require.True(t, c.begin(due[1]).Due)
	for range 2 {
		require.Equal(t, contract.RecordedDelivery{
			Delivery: checkout.DeliveryDelivered,
			Order:    checkout.Done,
		}, c.record(due[1], creditedAs("tx_2")))
	}
	require.Equal(t, checkout.Done, c.settle(id))
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM notifications WHERE kind = 'checkout_done'"))
	testkit.RequireClean(t, c.DB)

	refund := c.refund(id, checkout.RefundLine{LineID: "1", Quantity: 1})
	require.Len(t, refund.NotTakenBack, 1)
	kept := refund.NotTakenBack[0]
	require.Equal(t, []string{"1", "gun_1", "100", "credits"}, []string{kept.LineID, kept.SKU, kept.Amount.String(), kept.Currency}, "of one of three pieces")
	require.EqualValues(t, 2, c.owns("gun_1"))
	testkit.RequireClean(t, c.DB)
}

// What costs no money is given as far as it is local; the rest is a workflow's.
func TestFreeOrderWithAPartOfTheMainProduct(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gift", "5", false))
	created := c.buy(c.order(checkout.FreeItem, "gift", 2))
	require.Equal(t, []any{checkout.Paid, created.OrderID, checkout.Paid}, []any{created.Status, created.Change.OrderID, created.Change.Status})
	require.EqualValues(t, 2, c.owns("gift"))
	due := c.settleDue(created.OrderID)
	require.EqualValues(t, 2, c.owns("gift"), "not given twice")
	testkit.RequireClean(t, c.DB)
	c.begin(due[0])
	require.Equal(t, checkout.Canceled, c.record(due[0], refusedOutcome).Order, "nothing is left of it")
	require.Zero(t, c.owns("gift"))
	testkit.RequireClean(t, c.DB)
}

func TestOrderForCoinsThatTheMainProductRefuses(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("pass", "5", false))
	o := c.order(checkout.VirtualItem, "pass", 2)
	o.VirtualCurrency = catalog.CoinsSKU
	created := c.buy(o)
	testkit.RequireWallet(t, c.DB, buyer, 20, 0)
	due := c.settleDue(created.OrderID)
	c.begin(due[0])
	require.Equal(t, contract.RecordedDelivery{
		Delivery: checkout.DeliveryRefused,
		Order:    checkout.Canceled,
		Code:     "LIMIT_REACHED",
	}, c.record(due[0], refusedOutcome))
	testkit.RequireWallet(t, c.DB, buyer, 100, 0)
	require.Zero(t, c.number("SELECT count(*) FROM admin_alerts"), "coins are back already")
	require.Zero(t, c.activePasses(), "its time is taken back")
	order := c.read(created.OrderID)
	require.Equal(t, []any{"refused_by_main_product", "80"}, []any{order.Reason, order.Refunded.String()})
	testkit.RequireClean(t, c.DB)
}

// A line that is refused is paid back; the order is done with the rest.
func TestLineThatTheMainProductRefuses(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false), told("pass", "7", false), func(items map[string]*catalog.Item) { items["gun_1"].Limits.PerItem = 10 })
	id, due := c.orderAndPay(checkout.LineRequest{
		SKU:      "gun_1",
		Quantity: 2,
	}, checkout.LineRequest{SKU: "pass", Quantity: 1}, checkout.LineRequest{SKU: "skin", Quantity: 1})
	c.begin(due[0])
	require.Equal(t, checkout.Paid, c.record(due[0], refusedOutcome).Order, "it waits until nothing is under way")
	require.Empty(t, c.read(id).Refunds)
	c.begin(due[1])
	require.Equal(t, checkout.Done, c.record(due[1], creditedAs("tx_1")).Order)
	order := c.read(id)
	require.Equal(t, []any{"1.99", false}, []any{order.Refunds[0].Amount.String(), order.Refunds[0].Whole}, "two at half price")
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM admin_alerts WHERE kind = 'checkout_delivery_refused' AND detail ->> 'amount' = '1.99'"), "the money is to be given back")
	require.Equal(t, []int64{0, 1, 1, 0}, []int64{c.owns("gun_1"), c.owns("pass"), c.owns("skin"), c.number("SELECT sold FROM item_sales")})
	testkit.RequireClean(t, c.DB)
}

// Nobody knows: nothing is paid back, an admin is told, and no sweep starts a run for it.
func TestSuspectedDelivery(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	id, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	require.Equal(t, contract.RecordedDelivery{
		Delivery: checkout.DeliverySuspected,
		Order:    checkout.Paid,
		Code:     "timeout",
	}, c.record(due[0], timedOut))
	order := c.read(id)
	require.Equal(t, []any{checkout.Paid, "delivery_suspected", 1}, []any{order.Status, order.Reason, order.Deliveries[0].Unsettled})
	require.Empty(t, c.settleDue(id), "until somebody decides")
	require.EqualValues(t, 1, c.suspectedAlerts())
	listed, err := c.ListCheckouts(t.Context(), testkit.Project, postgres.CheckoutFilter{Delivery: checkout.DeliverySuspected, Limit: 5})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	lease := func() []postgres.CheckoutChange {
		due, err := c.LeaseCheckouts(t.Context(), time.Minute, 10, c.now)
		require.NoError(t, err)
		return due
	}
	c.now = c.now.Add(time.Minute)
	require.NoError(t, c.MarkCheckoutsTold(t.Context(), lease(), c.now))
	c.now = c.now.Add(48 * time.Hour)
	require.Empty(t, lease())
	testkit.RequireClean(t, c.DB)

	again, err := c.decide(id, 1, checkout.DeliverAgain, "")
	require.NoError(t, err)
	require.Equal(t, []any{checkout.DeliveryPending, 2, checkout.Paid}, []any{again.Delivery.Status, again.Delivery.Round, again.Status})
	require.Equal(t, lease()[0].Changes, again.Change.Changes)
	require.Zero(t, c.suspectedAlerts())
	require.Empty(t, c.read(id).Reason)
	c.record(due[0], timedOut) // the note of the first round comes again
	second := c.settleDue(id)
	require.Equal(t, []any{2, true, due[0].MainProductOrderID()}, []any{second[0].Round, second[0].Suspected, second[0].MainProductOrderID()})
	require.False(t, c.begin(due[0]).Due, "a call of the first round")
	require.True(t, c.begin(second[0]).Due)
	require.Equal(t, checkout.DeliverySuspected, c.record(second[0], refusedOutcome).Delivery, "a call of the first round may still have an effect")
	require.EqualValues(t, 1, c.suspectedAlerts())

	marked, err := c.decide(id, 1, checkout.MarkDelivered, "tx_9")
	require.NoError(t, err)
	require.Equal(t, []any{checkout.Done, "tx_9"}, []any{marked.Status, marked.Delivery.Credit.TransactionID})
	require.Nil(t, marked.Change)
	_, err = c.decide(id, 1, checkout.RefundUndecided, "")
	c.refused(err, checkout.InvalidField)
	require.EqualValues(t, 2, c.number("SELECT count(*) FROM audit_log WHERE action = 'checkout.delivery'"))
	testkit.RequireClean(t, c.DB)
}

// A call that certainly had no effect leaves nothing to suspect.
func TestRefusalAfterCallsWithoutEffect(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	id, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	require.NoError(t, c.SettleCheckoutCall(t.Context(), due[0], c.now))
	c.begin(due[0])
	require.Equal(t, checkout.DeliveryRefused, c.record(due[0], refusedOutcome).Delivery)
	require.Equal(t, 2, c.read(id).Deliveries[0].Calls)
	require.Equal(t, checkout.Canceled, c.read(id).Status)
	testkit.RequireClean(t, c.DB)
}

// Of a bundle the main product has given a part: what the rest is worth, an admin says.
func TestBundleThatIsGivenInPart(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false), told("pass", "7", false))
	id, due := c.orderAndPay(checkout.LineRequest{SKU: "chest", Quantity: 2}, checkout.LineRequest{SKU: "skin", Quantity: 1})
	require.Equal(t, []string{"400 credits", "14 credits"}, []string{due[0].Summary, due[1].Summary})
	c.begin(due[0])
	c.begin(due[1])
	c.record(due[0], refusedOutcome)
	c.record(due[1], creditedAs("tx_1"))
	order := c.read(id)
	require.Equal(t, []any{checkout.Paid, checkout.DeliverySuspected, checkout.DeliveryDelivered}, []any{order.Status, order.Deliveries[0].Status, order.Deliveries[1].Status})
	require.EqualValues(t, 1, c.suspectedAlerts())
	done, err := c.decide(id, 1, checkout.RefundUndecided, "")
	require.NoError(t, err)
	require.Equal(t, []any{checkout.Done, checkout.DeliveryRefunded}, []any{done.Status, done.Delivery.Status})
	order = c.read(id)
	require.Equal(t, []checkout.RefundLine{{LineID: "1", Quantity: 2}}, order.Refunds[0].Lines)
	require.Equal(t, []int64{0, 0, 1}, []int64{c.owns("gun_1"), c.activePasses(), c.owns("skin")})
	testkit.RequireClean(t, c.DB)
}

func TestRefundOfAnOrderThatIsBeingDelivered(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	refund := func(id int64, lines ...checkout.RefundLine) error {
		_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
			ProjectID: testkit.Project,
			OrderID:   id,
			Lines:     lines,
			Reason:    "x",
			Actor:     "x",
		}, c.now)
		return err
	}
	one := checkout.RefundLine{LineID: "1", Quantity: 1}
	unbegun, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	require.ErrorIs(t, refund(unbegun, one), postgres.ErrBeingDelivered)
	require.NoError(t, refund(unbegun))
	require.False(t, c.begin(due[0]).Due, "it never will be called")
	require.Equal(t, checkout.Canceled, c.settle(unbegun))
	require.Zero(t, c.owns("gun_1"))

	begun, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	require.ErrorIs(t, refund(begun), postgres.ErrBeingDelivered)
	c.record(due[0], timedOut)
	c.refused(refund(begun, one), checkout.InvalidField)
	require.NoError(t, refund(begun), "an admin's word")
	require.Equal(t, checkout.DeliveryRefunded, c.read(begun).Deliveries[0].Status)
	require.Zero(t, c.suspectedAlerts())

	unsettled := c.buy(c.order(checkout.PaidItem, "gun_1", 2))
	c.pay(unsettled.OrderID, "p9", "1.99")
	require.NoError(t, refund(unsettled.OrderID), "before anything was given")
	require.Equal(t, checkout.Canceled, c.settle(unsettled.OrderID))
	testkit.RequireClean(t, c.DB)
}

func TestTransactionOfAnotherDelivery(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false), told("pass", "7", false))
	id, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2}, checkout.LineRequest{SKU: "pass", Quantity: 1})
	c.begin(due[0])
	c.begin(due[1])
	c.record(due[0], creditedAs("tx_1"))
	_, err := c.RecordDelivery(t.Context(), contract.RecordDeliveryInput{Delivery: due[1], Outcome: creditedAs("tx_1")}, c.now)
	require.ErrorIs(t, err, postgres.ErrTransactionClash)
	c.record(due[1], contract.Outcome{Kind: contract.Unknown, Error: "transaction_of_another_order"})
	_, err = c.decide(id, 2, checkout.MarkDelivered, "tx_1")
	require.ErrorIs(t, err, postgres.ErrTransactionClash)
	_, err = c.decide(id, 3, checkout.MarkDelivered, "tx_1")
	require.ErrorIs(t, err, postgres.ErrNotFound)
	done, err := c.decide(id, 2, checkout.MarkDelivered, "")
	require.NoError(t, err)
	require.Equal(t, checkout.Done, done.Status)
	testkit.RequireClean(t, c.DB)
}

// The shop's purchases and the deliveries of orders are called with ids of one main product.
func TestTransactionOfAPurchase(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	testkit.AddProduct(t, c.DB, testkit.Credits500())
	_, err := c.ReservePurchase(t.Context(), postgres.Purchase{
		ProjectID: testkit.Project,
		OrderID:   "qp_1",
		UserID:    buyer,
		SKU:       "credits-500",
		Quantity:  1,
	}, c.now)
	require.NoError(t, err)
	_, err = c.CaptureOrder(t.Context(), contract.CaptureInput{
		ProjectID: testkit.Project,
		OrderID:   "qp_1",
		Attempt:   1,
		Calls:     1,
		Credit:    store.Credit{TransactionID: "tx_1"},
	}, c.now)
	require.NoError(t, err)
	_, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	_, err = c.RecordDelivery(t.Context(), contract.RecordDeliveryInput{Delivery: due[0], Outcome: creditedAs("tx_1")}, c.now)
	require.ErrorIs(t, err, postgres.ErrTransactionClash)
	require.Equal(t, checkout.Done, c.record(due[0], creditedAs("tx_2")).Order)
	testkit.RequireClean(t, c.DB)
}

// A credit of another amount counts; an admin is told.
func TestDeliveryOfAnotherAmount(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	_, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	outcome := creditedAs("tx_1")
	outcome.Credit.CreditedAmount = new(amount("150"))
	require.Equal(t, checkout.Done, c.record(due[0], outcome).Order)
	require.EqualValues(t, 1, c.number("SELECT count(*) FROM admin_alerts WHERE kind = 'checkout_delivery_differs' AND resolved_at IS NULL"))
	testkit.RequireClean(t, c.DB)
}

// A worker that stopped between the payment and the goods, or between the goods and the calls, is made up for
// by any later look.
func TestDeliveryGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false), told("skin", "7", false))
	id, first := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2}, checkout.LineRequest{SKU: "skin", Quantity: 1})
	c.begin(first[0])
	c.record(first[0], creditedAs("tx_1"))
	c.begin(first[1]) // and its worker dies
	c.now = c.now.Add(10 * time.Minute)
	due, err := c.LeaseCheckouts(t.Context(), time.Minute, 10, c.now)
	require.NoError(t, err)
	require.Len(t, due, 1, "the sweep starts a run for what is pending")
	left := c.settleDue(id)
	require.Len(t, left, 1)
	require.Equal(t, []any{2, 1, true}, []any{left[0].Number, left[0].Round, left[0].Suspected}, "what was delivered is left alone")
	require.True(t, c.begin(left[0]).Due)
	require.Equal(t, checkout.Done, c.record(left[0], creditedAs("tx_2")).Order)
	require.Equal(t, []int64{2, 1}, []int64{c.owns("gun_1"), c.owns("skin")})
	testkit.RequireClean(t, c.DB)
}

func TestDecisionIsMadeOncePerKey(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	id, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
	c.begin(due[0])
	c.record(due[0], timedOut)
	in := postgres.DeliveryDecision{
		ProjectID:   testkit.Project,
		OrderID:     id,
		Number:      1,
		Decision:    checkout.DeliverAgain,
		Reason:      "x",
		Actor:       "admin",
		Idempotency: &postgres.Idempotency{Key: "k", RequestHash: sha256.Sum256([]byte("a"))},
	}
	for k := range 2 {
		done, err := c.DecideDelivery(t.Context(), in, c.now)
		require.NoError(t, err)
		require.Equal(t, []any{k == 1, 2}, []any{done.Replayed, done.Delivery.Round})
	}
}

// Two decisions race, and a refund races the first call: one of each wins.
func TestDecisionsAndRefundsRace(t *testing.T) {
	t.Parallel()
	c := newCounter(t, told("gun_1", "100", false))
	for range 5 {
		id, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
		var call postgres.CheckoutCall
		errs := at(func() (err error) {
			call, err = c.BeginCheckoutDelivery(t.Context(), due[0], c.now)
			return err
		}, func() error {
			_, _, err := c.RefundCheckout(t.Context(), postgres.CheckoutRefund{
				ProjectID: testkit.Project,
				OrderID:   id,
				Reason:    "x",
				Actor:     "x",
			}, c.now)
			return err
		})
		require.NoError(t, errs[0])
		require.Equal(t, call.Due, errors.Is(errs[1], postgres.ErrBeingDelivered), "%v", errs[1])
		if !call.Due {
			require.NoError(t, errs[1])
			continue
		}
		c.record(due[0], timedOut)
		decide := func(decision checkout.DeliveryDecision) func() error {
			return func() error {
				_, err := c.decide(id, 1, decision, "")
				return err
			}
		}
		won := 0
		for _, err := range at(decide(checkout.RefundUndecided), decide(checkout.MarkDelivered), decide(checkout.DeliverAgain), func() error {
			_, err := c.SettleCheckout(t.Context(), id, c.now)
			return errors.Join(err, errSettled)
		}) {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, errSettled):
				c.refused(err, checkout.InvalidField)
			}
		}
		require.Equal(t, 1, won)
	}
	testkit.RequireClean(t, c.DB)
}

var errSettled = errors.New("no decision")

// An order can't be done while a delivery is open, whoever says so; and verify finds what does not fit.
func TestVerifyFindsDamagedDeliveries(t *testing.T) {
	t.Parallel()
	for damage, rule := range map[string]string{
		`UPDATE checkout_orders SET open_deliveries = 2 WHERE open_deliveries = 1`:                                                      "every order that is done was delivered by the main product",
		`DELETE FROM checkout_deliveries WHERE status = 'delivered'`:                                                                    "every order that is done was delivered by the main product",
		`UPDATE checkout_deliveries SET status = 'refunded', transaction_id = NULL WHERE status = 'delivered'`:                          "every order that is done was delivered by the main product",
		`UPDATE checkout_deliveries SET round_at = round_at - interval '1 hour' WHERE status = 'pending'`:                               "deliveries by the main product end in time",
		`DROP INDEX checkout_deliveries_transaction_once; UPDATE checkout_deliveries SET status = 'delivered', transaction_id = 'tx_1'`: "a transaction of the main product completes one thing",
		`UPDATE checkout_orders SET given_at = NULL WHERE status = 'paid'`:                                                              "every order that is done gave each line once",
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			c := newCounter(t, told("gun_1", "100", false))
			_, due := c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
			c.begin(due[0])
			c.record(due[0], creditedAs("tx_1"))
			c.orderAndPay(checkout.LineRequest{SKU: "gun_1", Quantity: 2})
			testkit.RequireClean(t, c.DB)
			testkit.Exec(t, c.DB, damage)
			checks, err := c.Verify(t.Context(), postgres.VerifyOptions{Grace: time.Minute}, c.now)
			require.NoError(t, err)
			var broken []string
			for _, check := range checks {
				if len(check.Broken) > 0 {
					broken = append(broken, check.Rule)
				}
			}
			require.Contains(t, broken, rule)
			require.ErrorContains(t, testkit.TryExec(t, c.DB, "UPDATE checkout_orders SET status = 'done', open_deliveries = 1, finished_at = now()"), "checkout_orders_done_is_delivered")
		})
	}
}
