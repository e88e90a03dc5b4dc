package activities_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/activities"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

func TestFirstDeliveryCredits(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.reserve()
	outcome, err := run[contract.Outcome](t, s.delivery(false).DeliverFirst, in)
	require.NoError(t, err)
	require.Equal(t, contract.Credited, outcome.Kind)
	entry, found := s.product.Books().Entry(in.OrderID)
	require.True(t, found)
	require.Equal(t, entry.TransactionID, outcome.Credit.TransactionID)
	require.Equal(t, "500", outcome.Credit.CreditedAmount.String())
	require.Equal(t, "500", outcome.Credit.NewBalance.String())
	require.Equal(t, []string{buyer, "credits", "500 credits", "quickpass_store", "500"},
		[]string{entry.UserID, entry.Currency, entry.ProductName, entry.Source, entry.Amount.String()}, "what the seed sends")
	s.product.RequireCalls(t, in.OrderID, 1, 1)
	require.Equal(t, []string{"reserved"}, testkit.Events(t, s.db, in.OrderID), "capture will tell")
	require.Zero(t, s.order(in.OrderID).Calls, "capture will count")
}

// A slow answer is joined: the product sees one call, and the second step gets the first one's answer. The
// product takes longer than the bound of the first delivery, for real.
func TestSlowAnswerIsJoined(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.Delay, DelayMS: contract.FirstDeliveryBound.Milliseconds() + 1500})
	in, delivery := s.reserve(), s.delivery(false)
	outcome, err := run[contract.Outcome](t, delivery.DeliverFirst, in)
	require.NoError(t, err)
	require.Equal(t, contract.InFlight, outcome.Kind)
	require.Equal(t, "this-process", outcome.Call.TaskQueue)
	require.True(t, s.calls.Find(in.OrderID).Deadline().Equal(outcome.Call.Deadline))
	s.product.RequireCalls(t, in.OrderID, 1, 0)

	again, err := run[contract.Outcome](t, delivery.DeliverFirst, in) // its workflow task was lost and is done again
	require.NoError(t, err)
	require.Equal(t, contract.Credited, again.Kind)
	s.product.RequireCalls(t, in.OrderID, 1, 1)
}

// The join alone, without the wait: the call is in flight when it is joined.
func TestJoinGetsTheAnswerOfTheCallInFlight(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.Delay, DelayMS: 300})
	in, delivery := s.reserve(), s.delivery(false)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	outcome, err := delivery.DeliverFirst(stopped, in) // does not wait
	require.NoError(t, err)
	require.Equal(t, contract.InFlight, outcome.Kind)

	in.JoinOnly = true
	outcome, err = run[contract.Outcome](t, delivery.Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.Credited, outcome.Kind)
	s.product.RequireCalls(t, in.OrderID, 1, 1)

	outcome, err = run[contract.Outcome](t, delivery.Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.NotJoined, outcome.Kind, "it has been taken")
	s.product.RequireCalls(t, in.OrderID, 1, 1)
}

func TestJoinOfAnotherProcessSendsNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.reserve()
	in.JoinOnly = true
	outcome, err := run[contract.Outcome](t, s.delivery(false).Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.Outcome{Kind: contract.NotJoined}, outcome)
	s.product.RequireCalls(t, in.OrderID, 0, 0)
}

// A join that ends without a final answer is an outcome, not an error: it must not be tried again.
func TestJoinedCallThatFails(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.ErrorStatus, Status: 503})
	in, delivery := s.reserve(), s.delivery(false)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err := delivery.DeliverFirst(stopped, in)
	require.NoError(t, err)
	in.JoinOnly = true
	outcome, err := run[contract.Outcome](t, delivery.Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.Unknown, outcome.Kind)
	require.Equal(t, "server_error", outcome.Error)
	s.product.RequireCalls(t, in.OrderID, 1, 0)
	require.Equal(t, []string{"reserved", "delivery_failed"}, testkit.Events(t, s.db, in.OrderID))
}

// What brings no final answer is in the timeline, counted, and makes a suspect if it may have credited.
func TestUnknownIsNotedAndCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behaviour fake.Behaviour
		error     string
	}{
		"500":              {fake.Behaviour{Kind: fake.ErrorStatus}, "server_error"},
		"drop":             {fake.Behaviour{Kind: fake.Drop}, "connection_lost"},
		"credit then drop": {fake.Behaviour{Kind: fake.Drop, CreditFirst: true}, "connection_lost"},
		"garbage":          {fake.Behaviour{Kind: fake.Garbage}, "unintelligible_answer"},
		"empty":            {fake.Behaviour{Kind: fake.Empty}, "unintelligible_answer"},
		"a page":           {fake.Behaviour{Kind: fake.WrongContent}, "unintelligible_answer"},
		"double body":      {fake.Behaviour{Kind: fake.DoubleBody}, "unintelligible_answer"},
		"truncated":        {fake.Behaviour{Kind: fake.Truncated}, "unintelligible_answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.product.Misbehave(t, c.behaviour)
			in := s.reserve()
			outcome, err := run[contract.Outcome](t, s.delivery(false).DeliverFirst, in)
			require.NoError(t, err)
			require.Equal(t, contract.Outcome{Kind: contract.Unknown, Error: c.error, MaybeCredited: true}, outcome)

			_, err = run[contract.Outcome](t, s.delivery(false).Deliver, in)
			requireType(t, err, contract.ErrorTypeMainProduct, true)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, err, &failed)
			var carried contract.Outcome
			require.NoError(t, failed.Details(&carried))
			require.Equal(t, outcome, carried, "the workflow learns what the last try brought")

			order := s.order(in.OrderID)
			require.Equal(t, 2, order.Calls)
			require.True(t, order.Suspected)
			require.Equal(t, store.Processing, order.Status)
			require.Equal(t, []string{"reserved", "delivery_failed", "delivery_failed"}, testkit.Events(t, s.db, in.OrderID))
			testkit.RequireClean(t, s.db)
		})
	}
}

// A product that nobody could connect to has certainly not credited.
func TestCallThatNeverArrivedMakesNoSuspect(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.reserve()
	client := (&testkit.MainProduct{URL: "http://127.0.0.1:1"}).Client(t, false)
	delivery := &activities.Delivery{Product: client, DB: s.db, Calls: s.calls}
	outcome, err := run[contract.Outcome](t, delivery.DeliverFirst, in)
	require.NoError(t, err)
	require.Equal(t, contract.Outcome{Kind: contract.Unknown, Error: "connection_failed"}, outcome)
	order := s.order(in.OrderID)
	require.Equal(t, 1, order.Calls)
	require.False(t, order.Suspected)
}

// Nor does the question that could not be asked either: all that is known is that no call arrived.
func TestFailedInquiryMakesNoSuspect(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	in := s.reserve()
	client := (&testkit.MainProduct{URL: "http://127.0.0.1:1"}).Client(t, true)
	delivery := &activities.Delivery{Product: client, DB: s.db, Calls: s.calls}
	_, err := run[contract.Outcome](t, delivery.DeliverFirst, in)
	require.NoError(t, err)
	_, err = run[contract.Outcome](t, delivery.Inquire, contract.InquiryInput{ProjectID: testkit.Project, OrderID: in.OrderID, Attempt: 1})
	requireType(t, err, contract.ErrorTypeMainProduct, true)
	require.False(t, s.order(in.OrderID).Suspected)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for code, reason := range map[string]store.ReasonCode{
		fake.CodeUserNotFound:      store.MainProductRefused,
		"ACCOUNT_CLOSED":           store.MainProductRefused,
		fake.CodeInsufficientFunds: store.MainProductInsufficientFunds,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.product.Misbehave(t, fake.Behaviour{Kind: fake.Refuse, Code: code, Message: "no", RetryAllowed: true})
			for _, first := range []bool{true, false} {
				in, delivery := s.reserve(), s.delivery(false)
				activity := delivery.Deliver
				if first {
					activity = delivery.DeliverFirst
				}
				outcome, err := run[contract.Outcome](t, activity, in)
				require.NoError(t, err, "a refusal is final and not retried")
				require.Equal(t, contract.Refused, outcome.Kind)
				require.Equal(t, reason, outcome.Reason.Code)
				require.Equal(t, code, outcome.Reason.ErrorCode)
				require.True(t, outcome.Reason.RetryAllowed)
				events := []string{"reserved"} // the release will tell
				if !first {
					events = append(events, "delivery_refused") // what was begun in writing is settled in writing
				}
				require.Equal(t, events, testkit.Events(t, s.db, in.OrderID))
			}
		})
	}
}

// The product credited another amount than was asked for: the purchase goes on, and support can see it.
func TestAnotherCreditedAmountIsNoted(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stingy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"success": true, "transaction_id": "tx_456", "credited_amount": 400}`))
	}))
	t.Cleanup(stingy.Close)
	delivery := s.delivery(false)
	delivery.Product = (&testkit.MainProduct{URL: stingy.URL}).Client(t, false)
	in := s.reserve()
	outcome, err := run[contract.Outcome](t, delivery.DeliverFirst, in)
	require.NoError(t, err)
	require.Equal(t, contract.Credited, outcome.Kind)
	require.Equal(t, "400", outcome.Credit.CreditedAmount.String())
	require.Equal(t, []string{"reserved", "credited_another_amount"}, testkit.Events(t, s.db, in.OrderID))
	require.Zero(t, s.order(in.OrderID).Calls, "capture will count")
	require.False(t, s.order(in.OrderID).Suspected)
}

func TestInquiry(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ask := func(in contract.DeliveryInput, possible bool) (contract.Outcome, error) {
		return run[contract.Outcome](t, s.delivery(possible).Inquire, contract.InquiryInput{
			ProjectID: testkit.Project,
			OrderID:   in.OrderID,
			Attempt:   1,
		})
	}
	never := s.reserve()
	outcome, err := ask(never, true)
	require.NoError(t, err)
	require.Equal(t, contract.NotFound, outcome.Kind)
	require.Equal(t, []string{"reserved", "inquired"}, testkit.Events(t, s.db, never.OrderID))
	require.Zero(t, s.order(never.OrderID).Calls, "a question is no call")

	s.product.Misbehave(t, fake.Behaviour{Kind: fake.Drop, CreditFirst: true})
	lost := s.reserve()
	_, err = run[contract.Outcome](t, s.delivery(true).DeliverFirst, lost)
	require.NoError(t, err)
	outcome, err = ask(lost, true)
	require.NoError(t, err)
	require.Equal(t, contract.Credited, outcome.Kind)
	require.NotEmpty(t, outcome.Credit.TransactionID)

	outcome, err = ask(lost, false)
	require.NoError(t, err)
	require.Equal(t, contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}, outcome)

	s.product.Misbehave(t, fake.Behaviour{Kind: fake.ErrorStatus, On: fake.OnInquiry})
	_, err = ask(lost, true)
	requireType(t, err, contract.ErrorTypeMainProduct, true)
	s.product.RequireCalls(t, lost.OrderID, 1, 1)
}

// The answer is worth more than its line in the timeline.
func TestAnswerSurvivesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.ErrorStatus})
	in, delivery := s.reserve(), s.delivery(false)
	delivery.DB = awayDatabase(t)
	outcome, err := run[contract.Outcome](t, delivery.DeliverFirst, in)
	require.NoError(t, err)
	require.Equal(t, contract.Unknown, outcome.Kind)
	require.Equal(t, "server_error", outcome.Error)
}

// The first call ended without an answer and nobody joined it (the join came too late). A retry must be a new
// call: taking the old failure for its own would cost the order one of the seed's three retries.
func TestRetryAfterAnUnclaimedFailureIsACall(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product.Misbehave(t, fake.Behaviour{Kind: fake.ErrorStatus, Calls: 1})
	in, delivery := s.reserve(), s.delivery(false)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err := delivery.DeliverFirst(stopped, in)
	require.NoError(t, err)
	<-s.calls.Find(in.OrderID).Done()

	outcome, err := run[contract.Outcome](t, delivery.Deliver, in)
	require.NoError(t, err)
	require.Equal(t, contract.Credited, outcome.Kind)
	s.product.RequireCalls(t, in.OrderID, 2, 1)
}
