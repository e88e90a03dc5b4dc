package api

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

// AdminListRewards lists what completed tasks owe or have paid.
func (h *handlers) AdminListRewards(ctx context.Context, r AdminListRewardsRequestObject) (AdminListRewardsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	filter := postgres.RewardFilter{
		UserID: value(r.Params.UserID),
		TaskID: r.Params.TaskID,
		Before: value(r.Params.Cursor),
		Limit:  limit + 1,
	}
	if r.Params.Status != nil {
		filter.Statuses = []contract.RewardStatus{*r.Params.Status}
	}
	rewards, err := h.db.Rewards(ctx, callOf(ctx).key.ProjectID, filter)
	items, next := page(rewards, limit, func(r postgres.Reward) string { return r.RewardID })
	return AdminListRewards200JSONResponse{Items: each(items, rewardBody), NextCursor: next}, err
}

// AdminReplayReward tries a reward again that could not be given.
func (h *handlers) AdminReplayReward(ctx context.Context, r AdminReplayRewardRequestObject) (AdminReplayRewardResponseObject, error) {
	call := callOf(ctx)
	change, replayed, err := h.db.ReplayReward(ctx, postgres.RewardReplay{
		ProjectID: call.key.ProjectID, RewardID: r.ID, Actor: call.key.KeyID, Reason: r.Body.Reason, Idempotency: call.idempotency,
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, fail(ProblemCodeRewardNotReplayable, "only a reward that was refused, not delivered or above the budget can be tried again")
	}
	if err != nil {
		return nil, orElse(err, fail(ProblemCodeRewardNotFound, "no reward of this id; GET /api/v1/admin/rewards lists them"))
	}
	if !replayed {
		h.starter.OfferTaskWindows(change)
	}
	return AdminReplayReward202JSONResponse{
		Body:    RewardReplay{RewardID: r.ID, Status: RewardReplayStatusPending},
		Headers: AdminReplayReward202ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, nil
}

func rewardBody(r postgres.Reward) Reward {
	body := Reward{
		RewardID:      r.RewardID,
		WindowID:      r.WindowID,
		UserID:        r.UserID,
		TaskID:        r.TaskID,
		TaskName:      r.TaskName,
		RewardType:    optional.Text(r.RewardType),
		Amount:        r.Amount,
		Status:        r.Status,
		Calls:         r.Calls,
		TransactionID: optional.Text(r.TransactionID),
		NewBalance:    r.NewBalance,
		CreatedAt:     r.CreatedAt.UTC(),
		UpdatedAt:     r.UpdatedAt.UTC(),
	}
	body.Items = itemsOf(r.Items)
	if r.Coins != 0 {
		body.Coins = &r.Coins
	}
	if r.ReasonCode != "" {
		body.Reason = &RewardReason{Code: r.ReasonCode, Message: r.ReasonMessage}
	}
	return body
}

// itemsOf are the items of a reward, or null.
func itemsOf(stored json.RawMessage) *json.RawMessage {
	if stored == nil {
		return nil
	}
	return &stored
}
