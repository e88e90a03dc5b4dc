package activities

import (
	"context"
	"errors"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
)

// TaskWindow holds the steps of a window of a task.
type TaskWindow struct {
	DB      *postgres.DB
	Product *mainproduct.Client
}

// SettleWindow closes the window if its time is up, pays if it is completed, and says what is left to do.
func (a *TaskWindow) SettleWindow(ctx context.Context, in contract.TaskWindowInput) (contract.SettledWindow, error) {
	settled, err := a.DB.SettleWindow(ctx, in.WindowID, time.Now())
	return settled, classify(err)
}

// DeliverReward asks the main product for its part, once. Without a final answer it fails, and Temporal retries it. A
// reward that is not pending any more is not asked for.
func (a *TaskWindow) DeliverReward(ctx context.Context, in contract.RewardInput) (contract.RewardResult, error) {
	ctx, cancel := context.WithTimeout(ctx, contract.RewardTimeout)
	defer cancel()
	status, err := a.beginCall(ctx, in.RewardID)
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		return contract.RewardResult{}, classify(err)
	case err != nil:
		return contract.RewardResult{}, retryReward(contract.RewardResult{
			Status:  contract.RewardUndelivered,
			Code:    "not_sent",
			Message: "the database was away",
		})
	case status != contract.RewardPending:
		return contract.RewardResult{Status: status}, nil
	}
	answer := a.Product.Reward(ctx, mainproduct.RewardRequest{
		RewardID:   in.RewardID,
		UserID:     in.UserID,
		RewardType: in.RewardType,
		Amount:     in.Amount,
		TaskID:     in.TaskID,
	})
	switch answer.Kind {
	case mainproduct.Credited:
		return contract.RewardResult{
			Status:        contract.RewardDelivered,
			TransactionID: answer.TransactionID,
			NewBalance:    answer.NewBalance,
		}, nil
	case mainproduct.Refused:
		return contract.RewardResult{Status: contract.RewardRefused, Code: answer.Code, Message: answer.Message}, nil
	default:
		return contract.RewardResult{}, retryReward(contract.RewardResult{
			Status:  contract.RewardUndelivered,
			Code:    string(answer.Reason),
			Message: answer.Detail,
		})
	}
}

// beginCall writes down that a call is made before it is made. While the database is away nothing is sent.
func (a *TaskWindow) beginCall(ctx context.Context, rewardID string) (contract.RewardStatus, error) {
	for {
		status, err := a.DB.BeginRewardCall(ctx, rewardID)
		if err == nil || errors.Is(err, postgres.ErrNotFound) {
			return status, err
		}
		select {
		case <-time.After(beginCallPause):
		case <-ctx.Done():
			return "", err
		}
	}
}

// RecordReward writes down what became of the reward, and tells the user if it was delivered.
func (a *TaskWindow) RecordReward(ctx context.Context, in contract.RecordRewardInput) error {
	return classify(a.DB.RecordReward(ctx, in.RewardID, in.Result, time.Now()))
}
