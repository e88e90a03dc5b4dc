package mainproduct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/shopspring/decimal"
)

// DefaultRewardPath is the path of the call that gives a reward unless it is configured.
const DefaultRewardPath = "/api/v1/rewards"

// rewardReason is what the main product's books say of every reward (seed 001).
const rewardReason = "Task completion reward"

// RewardRequest is the main product's part of the reward of one completed task (seed 001).
type RewardRequest struct {
	// RewardID is the same on every retry and replay. It goes into the header Idempotency-Key, as the seed's body
	// has no field for it. Printable ASCII without spaces. Required.
	RewardID string
	// UserID is the user as the main product knows them. Required.
	UserID string
	// RewardType is the main product's name of what is given, such as "bonus_coins". Required.
	RewardType string
	// Amount is how much of it. Greater than zero.
	Amount decimal.Decimal
	// TaskID is QuickPass's number of the task.
	TaskID int64
}

// wireReward is the body of the call, field by field as in seed 001.
type wireReward struct {
	UserID     string      `json:"user_id"`
	RewardType string      `json:"reward_type"`
	Amount     json.Number `json:"amount"`
	TaskID     int64       `json:"task_id"`
	Reason     string      `json:"reason"`
}

// Reward asks the main product to give the reward, once, and waits until the context ends, whose deadline is the only
// time limit. The answers are those of Credit. Retries are the caller's, with the same RewardID.
func (c *Client) Reward(ctx context.Context, request RewardRequest) Answer {
	body, err := request.encode()
	if err != nil {
		return unknown(ReasonInvalidRequest, err.Error(), false)
	}
	return c.call(ctx, message{method: http.MethodPost, path: c.rewardPath, body: body, idempotencyKey: request.RewardID})
}

// encode checks the request and writes its body. An error never contains the values.
func (r RewardRequest) encode() ([]byte, error) {
	if !isPlainKey(r.RewardID) {
		return nil, errors.New("reward_id must be printable ASCII without spaces, and not empty")
	}
	for name, value := range map[string]string{"user_id": r.UserID, "reward_type": r.RewardType} {
		if strings.TrimSpace(value) == "" || !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s is empty, or not UTF-8", name)
		}
	}
	if !r.Amount.IsPositive() || !boundedExponent(r.Amount) {
		return nil, errors.New("amount is not a positive number of a sensible size")
	}
	data, err := json.Marshal(wireReward{
		UserID:     r.UserID,
		RewardType: r.RewardType,
		Amount:     json.Number(r.Amount.String()),
		TaskID:     r.TaskID,
		Reason:     rewardReason,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the reward: %w", err)
	}
	return data, nil
}
