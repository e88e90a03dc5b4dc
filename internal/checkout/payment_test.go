package checkout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
)

// open is an order of 123 guns for 122.385 USD that expires in an hour.
func open(payments ...checkout.PaymentRecord) checkout.Order {
	return checkout.Order{
		OrderID:   1,
		Status:    checkout.New,
		Price:     &catalog.Quote{Amount: dec("122.385"), WithoutDiscount: dec("244.77"), Currency: "USD"},
		ExpiresAt: now.Add(time.Hour),
		Payments:  payments,
	}
}

func is(o checkout.Order, status checkout.OrderStatus) checkout.Order {
	o.Status = status
	return o
}

func pays(id, amount, currency string) checkout.Payment {
	return checkout.Payment{Provider: "sandbox", ProviderID: id, Amount: dec(amount), Currency: currency}
}

func recorded(p checkout.Payment, outcome checkout.Outcome, reason checkout.Reason) checkout.PaymentRecord {
	return checkout.PaymentRecord{Payment: p, Decision: checkout.Decision{Outcome: outcome, Reason: reason}, At: now}
}

func TestDecidePayment(t *testing.T) {
	t.Parallel()
	right := pays("p1", "122.39", "USD")
	accepted := recorded(right, checkout.Accepted, checkout.PaidInTime)
	held := recorded(pays("p0", "1", "USD"), checkout.Held, checkout.AmountDiffers)
	sandbox := right
	sandbox.Sandbox = true
	elsewhere := right
	elsewhere.Provider = "bank"
	sandboxOrder := open()
	sandboxOrder.Sandbox = true
	free := checkout.Order{Status: checkout.Done}
	for name, test := range map[string]struct {
		order   checkout.Order
		payment checkout.Payment
		at      time.Time
		outcome checkout.Outcome
		reason  checkout.Reason
		known   bool
	}{
		"in minor units":                        {open(), right, now, checkout.Accepted, checkout.PaidInTime, false},
		"the exact total":                       {open(), pays("p1", "122.3850", "USD"), now, checkout.Accepted, checkout.PaidInTime, false},
		"a cent less":                           {open(), pays("p1", "122.38", "USD"), now, checkout.Held, checkout.AmountDiffers, false},
		"a cent more":                           {open(), pays("p1", "122.40", "USD"), now, checkout.Held, checkout.AmountDiffers, false},
		"another currency":                      {open(), pays("p1", "122.39", "EUR"), now, checkout.Held, checkout.CurrencyDiffers, false},
		"play money":                            {open(), sandbox, now, checkout.Held, checkout.ModeDiffers, false},
		"money for a sandbox order":             {sandboxOrder, right, now, checkout.Held, checkout.ModeDiffers, false},
		"play money for a sandbox order":        {sandboxOrder, sandbox, now, checkout.Accepted, checkout.PaidInTime, false},
		"the last instant":                      {open(), right, now.Add(time.Hour - 1), checkout.Accepted, checkout.PaidInTime, false},
		"the instant it expires, timer or not":  {open(), right, now.Add(time.Hour), checkout.Returned, checkout.LatePayment, false},
		"expired":                               {is(open(), checkout.Expired), right, now.Add(2 * time.Hour), checkout.Returned, checkout.LatePayment, false},
		"expired, and wrong":                    {is(open(), checkout.Expired), pays("p1", "1", "EUR"), now, checkout.Returned, checkout.LatePayment, false},
		"canceled":                              {is(open(), checkout.Canceled), right, now, checkout.Returned, checkout.OrderWasCanceled, false},
		"the same again":                        {is(open(accepted), checkout.Paid), right, now, checkout.Accepted, checkout.PaidInTime, true},
		"the same again, in other figures":      {is(open(accepted), checkout.Paid), pays("p1", "122.390", "USD"), now, checkout.Accepted, checkout.PaidInTime, true},
		"the same again when it was delivered":  {is(open(accepted), checkout.Done), right, now, checkout.Accepted, checkout.PaidInTime, true},
		"the same again after the whole refund": {is(open(accepted), checkout.Canceled), right, now.Add(2 * time.Hour), checkout.Accepted, checkout.PaidInTime, true},
		"the same again with another amount":    {is(open(accepted), checkout.Paid), pays("p1", "122.38", "USD"), now, checkout.Held, checkout.PaymentChanged, false},
		"a held one again":                      {open(held), held.Payment, now, checkout.Held, checkout.AmountDiffers, true},
		"a second one":                          {is(open(accepted), checkout.Paid), pays("p2", "122.39", "USD"), now, checkout.Returned, checkout.SecondPayment, false},
		"a second one, and wrong":               {is(open(accepted), checkout.Done), pays("p2", "1", "EUR"), now, checkout.Returned, checkout.SecondPayment, false},
		"the same id at another provider":       {is(open(accepted), checkout.Paid), elsewhere, now, checkout.Returned, checkout.SecondPayment, false},
		"a second one after the whole refund":   {is(open(accepted), checkout.Canceled), pays("p2", "122.39", "USD"), now, checkout.Returned, checkout.SecondPayment, false},
		"the right one after a held one":        {open(held), right, now, checkout.Accepted, checkout.PaidInTime, false},
		"for what costs nothing":                {free, right, now, checkout.Returned, checkout.NothingDue, false},
	} {
		require.Equal(t, checkout.Decision{
			Outcome: test.outcome,
			Reason:  test.reason,
			Known:   test.known,
		}, checkout.DecidePayment(test.order, test.payment, test.at), name)
	}
}

// Whatever arrives, in whatever order, told however often: each payment has one end, at most one pays, and
// only the right one in time.
func TestEveryPaymentHasOneEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		order, at := open(), now
		ends := map[string]checkout.Decision{}
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "later")))
			if next := rapid.SampledFrom([]checkout.OrderStatus{"", "", checkout.Canceled, checkout.Expired, checkout.Done}).Draw(t, "move"); order.Status.CanBecome(next) {
				order.Status = next
			}
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "payment")
			payment := map[string]checkout.Payment{"a": pays("a", "122.39", "USD"), "b": pays("b", "122.385", "USD"), "c": pays("c", "5", "USD")}[id]
			decision := checkout.DecidePayment(order, payment, at)
			if before, known := ends[id]; known {
				before.Known = true
				if decision != before {
					t.Fatalf("%s: %v, then %v", id, before, decision)
				}
				continue
			}
			if decision.Known || decision.Reason == "" {
				t.Fatalf("%v", decision)
			}
			if decision.Outcome == checkout.Accepted {
				if order.Status != checkout.New || !at.Before(order.ExpiresAt) || id == "c" {
					t.Fatalf("%s paid an order that is %s at %s", id, order.Status, at)
				}
				order.Status = checkout.Paid
			}
			ends[id] = decision
			order.Payments = append(order.Payments, checkout.PaymentRecord{Payment: payment, Decision: decision, At: at})
		}
		paid := 0
		for _, end := range ends {
			if end.Outcome == checkout.Accepted {
				paid++
			}
		}
		if paid > 1 {
			t.Fatalf("%d payments of one order", paid)
		}
	})
}

func TestReviewOfAHeldPayment(t *testing.T) {
	t.Parallel()
	short := recorded(pays("p0", "100", "USD"), checkout.Held, checkout.AmountDiffers)
	euros := recorded(pays("p0", "100", "EUR"), checkout.Held, checkout.CurrencyDiffers)
	toy := short
	toy.Payment.Sandbox = true
	accepted := recorded(pays("p1", "122.39", "USD"), checkout.Accepted, checkout.PaidInTime)
	for name, test := range map[string]struct {
		order  checkout.Order
		held   checkout.PaymentRecord
		accept bool
		at     time.Time
		want   checkout.Decision // zero: refused
	}{
		"taken":                      {open(short), short, true, now, checkout.Decision{Outcome: checkout.Accepted, Reason: checkout.ReviewAccepted}},
		"sent back":                  {open(short), short, false, now, checkout.Decision{Outcome: checkout.Returned, Reason: checkout.ReviewRefused}},
		"taken too late":             {open(short), short, true, now.Add(time.Hour), checkout.Decision{Outcome: checkout.Returned, Reason: checkout.LatePayment}},
		"taken when another paid":    {is(open(short, accepted), checkout.Paid), short, true, now, checkout.Decision{Outcome: checkout.Returned, Reason: checkout.SecondPayment}},
		"taken in another currency":  {open(euros), euros, true, now, checkout.Decision{}},
		"sent back, whatever it was": {open(euros), euros, false, now, checkout.Decision{Outcome: checkout.Returned, Reason: checkout.ReviewRefused}},
		"play money":                 {open(toy), toy, true, now, checkout.Decision{}},
		"decided already":            {is(open(accepted), checkout.Paid), accepted, false, now, checkout.Decision{}},
	} {
		decision, refusal := checkout.DecideReview(test.order, test.held, test.accept, test.at)
		require.Equal(t, test.want, decision, name)
		require.Equal(t, test.want == (checkout.Decision{}), refusal != nil, name)
	}
}

func TestPaymentsAreValidated(t *testing.T) {
	t.Parallel()
	for amount, ok := range map[string]bool{"0.01": true, "122.3850": true, "0": false, "-1": false, "0.00001": false, "1000000000000": true, "1000000000001": false, "1e10000": false} {
		require.Equal(t, ok, len(pays("p", amount, "USD").Validate()) == 0, amount)
	}
	var properties []string
	for _, detail := range (checkout.Payment{ProviderID: strings.Repeat("x", 256), Currency: "usd"}).Validate() {
		properties = append(properties, detail.Property)
	}
	require.Equal(t, []string{"provider", "provider_id", "currency"}, properties)
}
