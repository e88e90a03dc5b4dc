// Package workflows holds the deterministic orchestration: what happens next, and after what. Side
// effects are activities; the rules they apply are in internal/.
package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

var (
	searchState  = temporal.NewSearchAttributeKeyKeyword(contract.SearchState)
	searchReason = temporal.NewSearchAttributeKeyKeyword(contract.SearchReason)
)

// Purchase sells one order (seed 000, "Purchase Processing Flow"): reserve, deliver, capture; or give
// everything back. Whatever crashes, the buyer ends with either the credits or the coins.
//
// A refusal, by our rules or by the main product, completes the workflow with a result. A failed
// workflow is a bug.
func Purchase(ctx workflow.Context, in contract.PurchaseInput) (contract.PurchaseResult, error) {
	p := &purchase{in: in}
	if err := p.setup(ctx); err != nil {
		return contract.PurchaseResult{}, err
	}
	return p.run(ctx)
}

// firstTaskEvents are in the history while the first workflow task runs: started, scheduled, started. Later, this
// task may be a repetition.
const firstTaskEvents = 3

type purchase struct {
	in            contract.PurchaseInput
	progress      contract.PurchaseProgress
	maybeCredited bool // some call of this run may have credited
	visible       bool // the search attributes have told of trouble
}

func (p *purchase) setup(ctx workflow.Context) error {
	p.note(ctx, "reserving", "", "")
	return workflow.SetQueryHandler(ctx, contract.PurchaseProgressQuery, func() (contract.PurchaseProgress, error) {
		return p.progress, nil
	})
}

func (p *purchase) run(ctx workflow.Context) (contract.PurchaseResult, error) {
	reservation, err := reserve(ctx, p.in)
	if err != nil { // only a cancellation: the step itself never gives up
		return p.cancel(ctx, operatorCanceled, 0)
	}
	if reservation.Refusal != nil {
		return contract.PurchaseResult{Status: store.Canceled, Refusal: reservation.Refusal}, nil
	}
	if reservation.Attempt == p.in.Attempt && reservation.Status == store.AwaitingConfirmation {
		reservation, err = p.awaitConfirmation(ctx, reservation)
		if err != nil {
			return p.cancel(ctx, operatorCanceled, 0)
		}
	}
	if reservation.Attempt != p.in.Attempt || reservation.Status != store.Processing {
		return contract.PurchaseResult{Status: reservation.Status, Reason: reservation.Reason}, nil // over already, or a later attempt's
	}

	if reservation.Suspected { // an earlier attempt may have been credited: a question is safer than a call
		outcome, err := inquire(ctx, p.inquiry())
		if err == nil && outcome.Kind == contract.Credited {
			return p.complete(ctx, *outcome.Credit, 0)
		}
	}
	outcome, err := p.deliver(ctx, reservation)
	switch {
	case err != nil:
		return p.cancel(ctx, operatorCanceled, 0)
	case outcome.Kind == contract.Credited:
		return p.complete(ctx, *outcome.Credit, 1)
	case outcome.Kind == contract.Refused:
		return p.cancel(ctx, *outcome.Reason, 1)
	}

	// Nobody knows. Ask, if the product can be asked; otherwise the seed gives the coins back.
	outcome, err = inquire(ctx, p.inquiry())
	switch {
	case err == nil && outcome.Kind == contract.Credited:
		return p.complete(ctx, *outcome.Credit, 0)
	case err == nil && outcome.Kind == contract.Refused:
		return p.cancel(ctx, *outcome.Reason, 0)
	case err == nil && outcome.Kind == contract.NotFound:
		return p.cancel(ctx, neverArrived, 0) // a call may still be on its way: what is suspected stays so
	default:
		return p.cancel(ctx, unreachable, 0)
	}
}

// awaitConfirmation waits until the buyer has confirmed in the database, of which a signal tells, or the
// deadline has passed: then everything is given back. It returns the reservation as it is after that.
func (p *purchase) awaitConfirmation(ctx workflow.Context, reservation contract.Reservation) (contract.Reservation, error) {
	p.note(ctx, "awaiting_confirmation", "the buyer's confirmation until "+reservation.ConfirmBy.Format(time.RFC3339), "")
	timerCtx, stopTimer := workflow.WithCancel(ctx)
	woken := workflow.NewSelector(ctx).
		AddReceive(workflow.GetSignalChannel(ctx, contract.PurchaseConfirmedSignal), func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) }).
		AddFuture(workflow.NewTimer(timerCtx, reservation.ConfirmBy.Sub(workflow.Now(ctx))), func(workflow.Future) {})
	woken.Select(ctx)
	stopTimer()
	if ctx.Err() != nil {
		return reservation, ctx.Err()
	}
	// The database decides: a confirmation whose signal was lost still counts, one that came too late does not.
	current, err := reserve(ctx, p.in)
	if err != nil || current.Status != store.AwaitingConfirmation {
		return current, err
	}
	result, err := release(ctx, contract.ReleaseInput{ProjectID: p.in.ProjectID, OrderID: p.in.OrderID, Attempt: p.in.Attempt,
		Reason: notConfirmed, Expected: store.AwaitingConfirmation})
	if err != nil {
		return current, err
	}
	current.Status, current.Reason = result.Status, result.Reason
	if result.Status == store.Processing { // confirmed in the last moment
		return current, nil
	}
	p.visible = true
	return current, p.ended(ctx, result)
}

// deliver asks the main product until it has a final answer or all tries are used up.
func (p *purchase) deliver(ctx workflow.Context, reservation contract.Reservation) (contract.Outcome, error) {
	in := contract.DeliveryInput{
		ProjectID: p.in.ProjectID,
		OrderID:   p.in.OrderID,
		UserID:    p.in.UserID,
		Attempt:   p.in.Attempt,
		Delivery:  *reservation.Delivery,
	}
	p.note(ctx, "delivering", "the main product's answer", "")
	outcome, err := p.firstTry(ctx, in)
	if err != nil || outcome.Kind != contract.Unknown || in.Delivery.Retries == 0 {
		return outcome, err
	}
	if err := p.trouble(ctx, outcome.Error); err != nil {
		return outcome, err
	}
	p.note(ctx, "retrying", "the main product", outcome.Error)
	if err := workflow.Sleep(ctx, in.Delivery.RetryInterval()); err != nil {
		return outcome, err
	}
	outcome, err = deliverAgain(ctx, in)
	return p.unknownUnlessCanceled(ctx, outcome, err)
}

// firstTry waits for the first call: inside the workflow task while that is cheap, then as a join of
// the call that the process still has in flight. If that process is gone, so is the call; its
// deadline is waited out, because nobody can be sure.
func (p *purchase) firstTry(ctx workflow.Context, in contract.DeliveryInput) (contract.Outcome, error) {
	if workflow.GetInfo(ctx).GetCurrentHistoryLength() > firstTaskEvents {
		p.maybeCredited = true // the first call may have been made already, by a process that died before it could say so
	}
	outcome, err := deliverFirst(ctx, in)
	if err == nil && outcome.Kind == contract.InFlight {
		call := *outcome.Call
		p.note(ctx, "delivering", "a slow answer of the main product", "")
		outcome, err = joinDelivery(ctx, in, call)
		if err != nil || outcome.Kind == contract.NotJoined {
			if err := workflow.Sleep(ctx, call.Deadline.Sub(workflow.Now(ctx))); err != nil {
				return outcome, err
			}
		}
	}
	return p.unknownUnlessCanceled(ctx, outcome, err)
}

// unknownUnlessCanceled turns a delivery that brought no answer into the outcome unknown.
func (p *purchase) unknownUnlessCanceled(ctx workflow.Context, outcome contract.Outcome, err error) (contract.Outcome, error) {
	if ctx.Err() != nil {
		p.maybeCredited = true
		return outcome, ctx.Err()
	}
	if err != nil {
		outcome = outcomeOf(err)
	}
	if outcome.Kind == contract.NotJoined {
		outcome = contract.Outcome{Kind: contract.Unknown, Error: "process_lost", MaybeCredited: true}
	}
	p.maybeCredited = p.maybeCredited || outcome.MaybeCredited
	return outcome, nil
}

// outcomeOf reads the outcome that a failed delivery carries; a timeout by Temporal carries none.
func outcomeOf(err error) contract.Outcome {
	var failed *temporal.ApplicationError
	var carried contract.Outcome
	if isType(err, contract.ErrorTypeMainProduct) && errors.As(err, &failed) && failed.Details(&carried) == nil {
		return carried
	}
	return contract.Outcome{Kind: contract.Unknown, Error: "no_report", MaybeCredited: true}
}

func isType(err error, errorType string) bool {
	var failed *temporal.ApplicationError
	return errors.As(err, &failed) && failed.Type() == errorType
}

func (p *purchase) complete(ctx workflow.Context, credit store.Credit, calls int) (contract.PurchaseResult, error) {
	p.note(ctx, "capturing", "", "")
	ctx, _ = workflow.NewDisconnectedContext(ctx) // credited: a cancellation comes too late
	result, err := capture(ctx, contract.CaptureInput{
		ProjectID: p.in.ProjectID,
		OrderID:   p.in.OrderID,
		Attempt:   p.in.Attempt,
		Credit:    credit,
		Calls:     calls,
	})
	if isType(err, contract.ErrorTypeTransactionClash) { // the answer was another order's
		p.maybeCredited = true
		return p.cancel(ctx, unreachable, calls)
	}
	if err != nil {
		return result, err
	}
	return result, p.ended(ctx, result)
}

// cancel is the compensation. It never gives up, runs on a context that a cancellation does not
// reach, and changes nothing if nothing was reserved.
func (p *purchase) cancel(ctx workflow.Context, reason store.Reason, calls int) (contract.PurchaseResult, error) {
	p.note(ctx, "giving_back", "", string(reason.Code))
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	result, err := release(ctx, contract.ReleaseInput{ProjectID: p.in.ProjectID, OrderID: p.in.OrderID, Attempt: p.in.Attempt,
		Reason: reason, Calls: calls, MaybeCredited: p.maybeCredited})
	if err != nil {
		return result, err
	}
	p.visible = true
	return result, p.ended(ctx, result)
}

var (
	unreachable = store.Reason{Code: store.MainProductUnreachable, RetryAllowed: true,
		Message: "the main product could not be reached; the coins are back, please try again later"}
	neverArrived = store.Reason{Code: store.MainProductUnreachable, RetryAllowed: true,
		Message: "the order never reached the main product; the coins are back, please try again later"}
	notConfirmed = store.Reason{Code: store.NotConfirmed, RetryAllowed: true,
		Message: "the purchase was not confirmed in time; the coins are back"}
	operatorCanceled = store.Reason{Code: store.CanceledByOperator, RetryAllowed: true,
		Message: "the order was canceled by an operator; the coins are back"}
)

func (p *purchase) inquiry() contract.InquiryInput {
	return contract.InquiryInput{ProjectID: p.in.ProjectID, OrderID: p.in.OrderID, Attempt: p.in.Attempt}
}

// note is what the progress query and Temporal UI show.
func (p *purchase) note(ctx workflow.Context, step, waitingFor, lastError string) {
	p.progress = contract.PurchaseProgress{Step: step, WaitingFor: waitingFor, LastError: lastError, Since: workflow.Now(ctx)}
	details := "**" + step + "** since " + p.progress.Since.Format(time.RFC3339)
	if waitingFor != "" {
		details += ", waiting for " + waitingFor
	}
	if lastError != "" {
		details += " (" + lastError + ")"
	}
	workflow.SetCurrentDetails(ctx, details)
}

// trouble makes the order findable in Temporal UI. A purchase that goes well never pays for this.
func (p *purchase) trouble(ctx workflow.Context, reason string) error {
	p.visible = true
	return workflow.UpsertTypedSearchAttributes(ctx, searchState.ValueSet("retrying"), searchReason.ValueSet(reason))
}

func (p *purchase) ended(ctx workflow.Context, result contract.PurchaseResult) error {
	for confirmed := workflow.GetSignalChannel(ctx, contract.PurchaseConfirmedSignal); confirmed.ReceiveAsync(nil); {
		continue // told more than once: the sweep repeats what may have been lost
	}
	p.note(ctx, string(result.Status), "", "")
	if !p.visible {
		return nil
	}
	reason := searchReason.ValueUnset()
	if result.Reason != nil {
		reason = searchReason.ValueSet(string(result.Reason.Code))
	}
	return workflow.UpsertTypedSearchAttributes(ctx, searchState.ValueSet(string(result.Status)), reason)
}
