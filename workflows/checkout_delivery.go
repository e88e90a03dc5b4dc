package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
)

// deliverCheckout has the main product give its parts of an order, all at the same time, and writes down what
// became of each. A cancellation of the run does not reach it: what is paid for is still asked for.
func deliverCheckout(ctx workflow.Context, due []contract.CheckoutDelivery) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**paid**, waiting for %d answers of the main product", len(due)))
	all, errs := workflow.NewWaitGroup(ctx), make([]error, len(due))
	for i, delivery := range due {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			errs[i] = deliverLine(ctx, delivery)
		})
	}
	all.Wait(ctx)
	return errors.Join(errs...)
}

func deliverLine(ctx workflow.Context, delivery contract.CheckoutDelivery) error {
	outcome := askForLine(ctx, delivery)
	if outcome.Kind == contract.NotDue {
		return nil
	}
	recorded, err := recordDelivery(ctx, contract.RecordDeliveryInput{Delivery: delivery, Outcome: outcome})
	if isType(err, contract.ErrorTypeTransactionClash) { // the answer was another order's
		outcome = contract.Outcome{Kind: contract.Unknown, Error: "transaction_of_another_order", MaybeCredited: true}
		recorded, err = recordDelivery(ctx, contract.RecordDeliveryInput{Delivery: delivery, Outcome: outcome})
	}
	if err != nil || recorded.Delivery == checkout.DeliveryDelivered {
		return err
	}
	// Findable in Temporal UI. An order that is delivered never pays for this.
	return workflow.UpsertTypedSearchAttributes(ctx, searchState.ValueSet("delivery_"+string(recorded.Delivery)), searchReason.ValueSet(recorded.Code))
}

// askForLine asks until there is a final answer or all tries are used up, and then what became of them. What
// an earlier round may have been credited for is asked about first: a question is safer than a call.
func askForLine(ctx workflow.Context, delivery contract.CheckoutDelivery) contract.Outcome {
	if delivery.Suspected {
		if found, err := inquireDelivery(ctx, delivery); err == nil && found.Kind == contract.Credited {
			return found
		}
	}
	outcome, err := deliverToMainProduct(ctx, delivery)
	if err == nil {
		return outcome
	}
	outcome = outcomeOf(err)
	found, err := inquireDelivery(ctx, delivery)
	if err == nil && found.Kind == contract.Credited {
		return found
	}
	return outcome // neither a refusal nor "never received" tells of a call that is still on its way
}
