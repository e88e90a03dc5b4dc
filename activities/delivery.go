package activities

import (
	"context"
	"time"

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
		return a.report(ctx, in, call, 0), nil
	case <-bound.C:
	case <-ctx.Done():
	}
	return contract.Outcome{Kind: contract.InFlight, Call: &contract.CallInFlight{TaskQueue: a.TaskQueue, Deadline: call.Deadline()}}, nil
}

// Deliver joins the call that this process has in flight for the order, or makes one. Without a final
// answer it fails, and Temporal retries it.
func (a *Delivery) Deliver(ctx context.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	call, err := a.callFor(ctx, in)
	if err != nil {
		return contract.Outcome{}, retryDelivery(contract.Outcome{Kind: contract.Unknown, Error: "not_sent"})
	}
	if call == nil {
		return contract.Outcome{Kind: contract.NotJoined}, nil
	}
	select {
	case <-call.Done():
	case <-ctx.Done():
		return contract.Outcome{}, retryDelivery(contract.Outcome{Kind: contract.Unknown, Error: "worker_stopped", MaybeCredited: true})
	}
	begun := 1
	if in.JoinOnly {
		begun = 0 // a first call is not written down before it is made
	}
	outcome := a.report(ctx, in, call, begun)
	if outcome.Kind == contract.Unknown && !in.JoinOnly {
		return contract.Outcome{}, retryDelivery(outcome)
	}
	return outcome, nil
}

// callFor finds the call to join, or makes one. That it is made is written down first, because this process may die
// with it. While the database is away nothing is sent.
func (a *Delivery) callFor(ctx context.Context, in contract.DeliveryInput) (*Call, error) {
	if in.JoinOnly {
		return a.Calls.Find(in.OrderID), nil
	}
	for {
		err := a.DB.BeginCall(ctx, in.OrderID, in.Attempt)
		if err == nil {
			return a.send(in), nil
		}
		select {
		case <-time.After(beginCallPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// beginCallPause is between two tries to write that a call is about to be made.
const beginCallPause = 500 * time.Millisecond

// Inquire asks what became of an order whose calls brought no final answer.
func (a *Delivery) Inquire(ctx context.Context, in contract.InquiryInput) (contract.Outcome, error) {
	if !a.Product.HasInquiry() {
		return contract.Outcome{Kind: contract.Unknown, Error: "no_inquiry_endpoint"}, nil
	}
	answer := a.Product.Inquire(ctx, in.OrderID)
	answer.MaybeCredited = false // a question credits nothing; what the calls may have done is noted already
	a.note(ctx, postgres.DeliveryNote{OrderID: in.OrderID, Attempt: in.Attempt, Event: "inquired"}, answer)
	outcome := outcomeOf(answer)
	if outcome.Kind == contract.Unknown {
		return contract.Outcome{}, retryDelivery(outcome)
	}
	return outcome, nil
}

// send starts the call, or finds it started: this process never has two for one order in flight.
func (a *Delivery) send(in contract.DeliveryInput) *Call {
	return a.Calls.Start(in.OrderID, in.Delivery.Timeout(), func(ctx context.Context) mainproduct.Answer {
		return a.Product.Credit(ctx, mainproduct.CreditRequest{
			Endpoint: in.Delivery.Endpoint, UserID: in.UserID, Amount: in.Delivery.Amount, Currency: in.Delivery.Currency,
			OrderID: in.OrderID, ProductName: in.Delivery.ProductName, Parameters: in.Delivery.Parameters,
		})
	})
}

// report takes the call's answer and writes it to the order's timeline unless it is credited: the capture
// that follows writes its own entry.
func (a *Delivery) report(ctx context.Context, in contract.DeliveryInput, call *Call, begun int) contract.Outcome {
	answer := a.Calls.Take(in.OrderID, call)
	note := postgres.DeliveryNote{OrderID: in.OrderID, Attempt: in.Attempt}
	if !answer.MaybeCredited {
		note.Settled = begun
	}
	switch {
	case answer.Kind == mainproduct.Unknown:
		note.Event, note.Calls = "delivery_failed", 1
		a.note(ctx, note, answer)
	case answer.Kind == mainproduct.Refused && begun > 0:
		note.Event = "delivery_refused" // the release counts the call
		a.note(ctx, note, answer)
	case answer.CreditedAmount != nil && !answer.CreditedAmount.Equal(in.Delivery.Amount):
		note.Event, note.Settled = "credited_another_amount", 0 // for support to settle
		a.note(ctx, note, answer)
	}
	return outcomeOf(answer)
}

// note must not turn an answer into a failure: the timeline is worth less than the answer.
func (a *Delivery) note(ctx context.Context, note postgres.DeliveryNote, answer mainproduct.Answer) {
	note.MaybeCredited, note.Detail = answer.MaybeCredited, answer
	if err := a.DB.NoteDelivery(ctx, note, time.Now()); err != nil {
		logger(ctx).Warn("the timeline misses an answer", "order_id", note.OrderID, "error", err)
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
