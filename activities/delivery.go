package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Delivery asks the main product for what was bought.
type Delivery struct {
	Product   *mainproduct.Client
	DB        *postgres.DB
	Calls     *Calls
	TaskQueue string // of this process alone: where its calls in flight can be joined
}

// DeliverFirst makes the first call. It waits for the answer only as long as that is cheap; the call
// goes on in this process, and Deliver joins it.
func (a *Delivery) DeliverFirst(ctx context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	call := a.send(in)
	bound := time.NewTimer(contract.FirstDeliveryBound)
	defer bound.Stop()
	select {
	case <-call.Done():
		return a.report(ctx, in, call), nil
	case <-bound.C:
	case <-ctx.Done():
	}
	return contract.Outcome{Kind: contract.InFlight, Call: &contract.CallInFlight{TaskQueue: a.TaskQueue, Deadline: call.Deadline()}}, nil
}

// Deliver joins the call that this process has in flight for the order, or makes one. Without a final
// answer it fails, and Temporal retries it.
func (a *Delivery) Deliver(ctx context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	call := a.Calls.Find(callKey(in))
	if call == nil {
		if in.JoinOnly {
			return contract.Outcome{Kind: contract.NotJoined}, nil
		}
		call = a.send(in)
	}
	select {
	case <-call.Done():
	case <-ctx.Done():
		return contract.Outcome{}, retryDelivery(contract.Outcome{Kind: contract.Unknown, Error: "worker_stopped", MaybeCredited: true})
	}
	outcome := a.report(ctx, in, call)
	if outcome.Kind == contract.Unknown && !in.JoinOnly {
		return contract.Outcome{}, retryDelivery(outcome)
	}
	return outcome, nil
}

// Inquire asks what became of an order whose calls brought no final answer.
func (a *Delivery) Inquire(ctx context.Context, in contract.InquiryInput) (contract.Outcome, error) {
	if !a.Product.HasInquiry() {
		return contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}, nil
	}
	answer := a.Product.Inquire(ctx, in.OrderID)
	a.note(ctx, in.OrderID, in.Attempt, "inquired", 0, answer)
	outcome := outcomeOf(answer)
	if outcome.Kind == contract.Unknown {
		return contract.Outcome{}, retryDelivery(outcome)
	}
	return outcome, nil
}

// send starts the call, or finds it started: this process never has two for one order in flight.
func (a *Delivery) send(in contract.DeliveryInput) *Call {
	return a.Calls.Start(callKey(in), in.Delivery.Timeout(), func(ctx context.Context) mainproduct.Answer {
		return a.Product.Credit(ctx, mainproduct.CreditRequest{
			Endpoint: in.Delivery.Endpoint, UserID: in.UserID, Amount: in.Delivery.Amount, Currency: in.Delivery.Currency,
			OrderID: in.OrderID, ProductName: in.Delivery.ProductName, Parameters: in.Delivery.Parameters,
		})
	})
}

// report takes the call's answer and writes it to the order's timeline unless it is final: the step
// that follows a final answer writes its own.
func (a *Delivery) report(ctx context.Context, in contract.DeliveryInput, call *Call) contract.Outcome {
	answer := a.Calls.Take(callKey(in), call)
	outcome := outcomeOf(answer)
	switch {
	case outcome.Kind == contract.Unknown:
		a.note(ctx, in.OrderID, in.Attempt, "delivery_failed", 1, answer)
	case answer.CreditedAmount != nil && !answer.CreditedAmount.Equal(in.Delivery.Amount):
		a.note(ctx, in.OrderID, in.Attempt, "credited_another_amount", 0, answer) // for support to settle
	}
	return outcome
}

// note must not turn an answer into a failure: the timeline is worth less than the answer.
func (a *Delivery) note(ctx context.Context, orderID string, attempt int, event string, calls int, answer mainproduct.Answer) {
	err := a.DB.NoteDelivery(ctx, postgres.DeliveryNote{OrderID: orderID, Attempt: attempt, Event: event, Calls: calls,
		MaybeCredited: answer.MaybeCredited, Detail: answer}, time.Now())
	if err != nil {
		activity.GetLogger(ctx).Warn("the timeline misses an answer", "order_id", orderID, "error", err)
	}
}

func outcomeOf(answer mainproduct.Answer) contract.Outcome {
	switch answer.Kind {
	case mainproduct.Credited:
		return contract.Outcome{Kind: contract.Credited, Credit: &store.Credit{
			TransactionID: answer.TransactionID, CreditedAmount: answer.CreditedAmount, NewBalance: answer.NewBalance}}
	case mainproduct.Refused:
		reason := store.ReasonOfRefusal(answer.Code, answer.Message, answer.RetryAllowed)
		return contract.Outcome{Kind: contract.Refused, Reason: &reason}
	case mainproduct.NotFound:
		return contract.Outcome{Kind: contract.NotFound}
	default:
		return contract.Outcome{Kind: contract.Unknown, Error: string(answer.Reason), MaybeCredited: answer.MaybeCredited}
	}
}

func callKey(in contract.DeliveryInput) string { return in.OrderID }
