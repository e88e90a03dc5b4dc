package activities

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// This file alone decides what Temporal retries. The outermost error decides, so these functions are
// called last and what they return is not wrapped.

const (
	errorTypeInconsistent = "Inconsistent"
	errorTypeNotFound     = "NotFound"
)

// classify: a database that is away or busy is retried; a row that is not there will not appear, and a
// transaction id that is taken stays taken.
func classify(err error) error {
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		return temporal.NewNonRetryableApplicationError(err.Error(), errorTypeNotFound, err)
	case errors.Is(err, postgres.ErrTransactionClash):
		return temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrorTypeTransactionClash, err)
	default:
		return err
	}
}

// inconsistent stops the workflow as failed: two sides disagree, which is a bug and raises an alert.
func inconsistent(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), errorTypeInconsistent, nil)
}

// retryDelivery has the call to the main product retried, and carries the outcome to the workflow if it
// was the last.
func retryDelivery(outcome contract.Outcome) error { return noFinalAnswer(outcome.Error, outcome) }

// retryReward is retryDelivery for a reward.
func retryReward(result contract.RewardResult) error { return noFinalAnswer(result.Code, result) }

// noFinalAnswer is benign: the main product's troubles are not our errors.
func noFinalAnswer(code string, carried any) error {
	return temporal.NewApplicationErrorWithOptions("the main product gave no final answer: "+code, contract.ErrorTypeMainProduct,
		temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign, Details: []any{carried}})
}
