package api

import (
	"context"
	"errors"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

var errApprovalNotFound = fail(ProblemCodeApprovalNotFound, "no approval of this id; GET /api/v1/admin/approvals lists them")

// AdminListApprovals lists what waits, or has waited, for a second admin.
func (h *handlers) AdminListApprovals(ctx context.Context, r AdminListApprovalsRequestObject) (AdminListApprovalsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	approvals, err := h.db.Approvals(ctx, callOf(ctx).key.ProjectID, string(value(r.Params.Status)), value(r.Params.Cursor), limit+1)
	items, next := page(approvals, limit, func(a postgres.Approval) string { return a.ApprovalID })
	return AdminListApprovals200JSONResponse{Items: each(items, approvalBody), NextCursor: next}, err
}

// AdminGetApproval reads one.
func (h *handlers) AdminGetApproval(ctx context.Context, r AdminGetApprovalRequestObject) (AdminGetApprovalResponseObject, error) {
	approval, err := h.db.GetApproval(ctx, callOf(ctx).key.ProjectID, r.ID)
	return AdminGetApproval200JSONResponse(approvalBody(approval)), orElse(err, errApprovalNotFound)
}

// AdminApprove carries an act out, for another admin than the one who asked.
func (h *handlers) AdminApprove(ctx context.Context, r AdminApproveRequestObject) (AdminApproveResponseObject, error) {
	approval, replayed, err := h.decide(ctx, r.ID, true, r.Body)
	return AdminApprove200JSONResponse{
		Body:    approvalBody(approval),
		Headers: AdminApprove200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, err
}

// AdminReject drops an act.
func (h *handlers) AdminReject(ctx context.Context, r AdminRejectRequestObject) (AdminRejectResponseObject, error) {
	approval, replayed, err := h.decide(ctx, r.ID, false, r.Body)
	return AdminReject200JSONResponse{
		Body:    approvalBody(approval),
		Headers: AdminReject200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, err
}

func (h *handlers) decide(ctx context.Context, id string, approve bool, body *DecisionInput) (postgres.Approval, bool, error) {
	call := callOf(ctx)
	decision := postgres.Decision{
		ProjectID:   call.key.ProjectID,
		ApprovalID:  id,
		Approve:     approve,
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}
	if body != nil {
		decision.Reason = value(body.Reason)
	}
	approval, replayed, err := h.db.DecideApproval(ctx, decision, h.now())
	switch {
	case errors.Is(err, postgres.ErrConflict):
		return approval, replayed, fail(ProblemCodeApprovalDecided, "it was "+approval.Status+" by "+approval.DecidedBy)
	case err != nil:
		return approval, replayed, orElse(err, errApprovalNotFound)
	case approve && approval.Action != postgres.ApproveAdjustment:
		h.watcher.Changed(approval.Subject)
	}
	return approval, replayed, nil
}

func approvalPath(a postgres.Approval) string { return "/api/v1/admin/approvals/" + a.ApprovalID }

func approvalBody(a postgres.Approval) Approval {
	return Approval{
		ApprovalID:     a.ApprovalID,
		Status:         ApprovalStatus(a.Status),
		Action:         ApprovalAction(a.Action),
		Subject:        a.Subject,
		AmountCoins:    a.AmountCoins,
		TransactionID:  optional.Text(a.TransactionID),
		Reason:         a.Reason,
		RequestedBy:    a.RequestedBy,
		RequestedAt:    a.RequestedAt.UTC(),
		DecidedBy:      optional.Text(a.DecidedBy),
		DecidedAt:      utc(a.DecidedAt),
		DecisionReason: optional.Text(a.DecisionReason),
	}
}
