package api

import (
	"context"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/postgres"
)

// AdminGetUser reads a user with the wallet.
func (h *handlers) AdminGetUser(ctx context.Context, r AdminGetUserRequestObject) (AdminGetUserResponseObject, error) {
	user, err := h.user(ctx, r.ID)
	return AdminGetUser200JSONResponse(adminUserBody(user)), err
}

// AdminAdjustWallet gives coins or takes them away (seed 000, "Manual balance adjustment capability").
func (h *handlers) AdminAdjustWallet(ctx context.Context, r AdminAdjustWalletRequestObject) (AdminAdjustWalletResponseObject, error) {
	if r.Body.Amount == 0 {
		return nil, invalid("amount", "must not be 0")
	}
	call := callOf(ctx)
	done, err := h.db.AdjustWallet(ctx, postgres.Adjustment{
		ProjectID:    call.key.ProjectID,
		AdjustmentID: "adj_" + xid.New().String(),
		UserID:       r.ID,
		Amount:       r.Body.Amount,
		Reason:       r.Body.Reason,
		Actor:        call.key.KeyID,
		Policy:       h.policy,
		Idempotency:  call.idempotency,
	}, h.now())
	if err != nil {
		return nil, orElse(err, errUserNotFound)
	}
	if done.Approval != nil {
		return AdminAdjustWallet202JSONResponse{Body: approvalBody(*done.Approval), Headers: AdminAdjustWallet202ResponseHeaders{
			Location: new(approvalPath(*done.Approval)), IdempotencyReplayed: flag(done.Replayed)}}, nil
	}
	return AdminAdjustWallet201JSONResponse{
		Body: Adjustment{
			AdjustmentID: done.AdjustmentID,
			UserID:       r.ID,
			Amount:       r.Body.Amount,
			Reason:       r.Body.Reason,
			Wallet:       walletBody(done.Wallet),
		},
		Headers: AdminAdjustWallet201ResponseHeaders{IdempotencyReplayed: flag(done.Replayed)},
	}, nil
}

// AdminBlockUser stops new purchases of an account (seed 000, "Suspicious account blocking").
func (h *handlers) AdminBlockUser(ctx context.Context, r AdminBlockUserRequestObject) (AdminBlockUserResponseObject, error) {
	user, err := h.setBlocked(ctx, r.ID, true, r.Body.Reason)
	return AdminBlockUser200JSONResponse(adminUserBody(user)), err
}

// AdminUnblockUser lets an account buy again.
func (h *handlers) AdminUnblockUser(ctx context.Context, r AdminUnblockUserRequestObject) (AdminUnblockUserResponseObject, error) {
	user, err := h.setBlocked(ctx, r.ID, false, r.Body.Reason)
	return AdminUnblockUser200JSONResponse(adminUserBody(user)), err
}

func (h *handlers) setBlocked(ctx context.Context, userID string, blocked bool, reason string) (postgres.User, error) {
	key := callOf(ctx).key
	user, err := h.db.SetBlocked(ctx, key.ProjectID, userID, blocked, key.KeyID, reason, h.now())
	return user, orElse(err, errUserNotFound)
}

// AdminFlagUser marks an account as suspicious: its purchases need a second verification.
func (h *handlers) AdminFlagUser(ctx context.Context, r AdminFlagUserRequestObject) (AdminFlagUserResponseObject, error) {
	user, err := h.setSuspicious(ctx, r.ID, true, r.Body.Reason)
	return AdminFlagUser200JSONResponse(adminUserBody(user)), err
}

// AdminUnflagUser takes the mark away.
func (h *handlers) AdminUnflagUser(ctx context.Context, r AdminUnflagUserRequestObject) (AdminUnflagUserResponseObject, error) {
	user, err := h.setSuspicious(ctx, r.ID, false, r.Body.Reason)
	return AdminUnflagUser200JSONResponse(adminUserBody(user)), err
}

func (h *handlers) setSuspicious(ctx context.Context, userID string, suspicious bool, reason string) (postgres.User, error) {
	key := callOf(ctx).key
	user, err := h.db.SetSuspicious(ctx, key.ProjectID, userID, suspicious, key.KeyID, reason, h.now())
	return user, orElse(err, errUserNotFound)
}

func adminUserBody(u postgres.User) AdminUser {
	user := userBody(u)
	return AdminUser{
		UserID:        user.UserID,
		Status:        user.Status,
		BlockedReason: user.BlockedReason,
		Vip:           user.Vip,
		VipUntil:      user.VipUntil,
		Suspicious:    u.Suspicious,
		Attributes:    user.Attributes,
		CreatedAt:     user.CreatedAt,
		UpdatedAt:     user.UpdatedAt,
		Wallet:        walletBody(u),
	}
}
