package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// ErrSecondAdminRequired: the admin who asked for an act can't approve it.
var ErrSecondAdminRequired = errors.New("another admin must approve")

// Acts that a second admin may have to approve.
const (
	ApproveAdjustment = "wallet.adjust"
	ApproveRefund     = "order.refund"
	ApproveDelivered  = "order.mark_delivered"
)

// Approval is an act above the limit: asked for by one admin and carried out when another approves.
type Approval struct {
	ProjectID      int32
	ApprovalID     string
	Action         string // ApproveAdjustment, ApproveRefund, ApproveDelivered
	Subject        string // the user or order
	AmountCoins    int64
	TransactionID  string // of an order that is marked as delivered
	Reason         string
	RequestedBy    string
	RequestedAt    time.Time
	Status         string // pending, approved, rejected
	DecidedBy      string
	DecidedAt      *time.Time
	DecisionReason string
}

// noted adds who approved to what the audit keeps of an act.
func (a *Approval) noted(detail map[string]any) map[string]any {
	if a != nil {
		detail["approval_id"], detail["approved_by"] = a.ApprovalID, a.DecidedBy
	}
	return detail
}

// An effect and its approval share the part of the id after the prefix, so each is found by the other.
func approvalID(effectID string) string { return "apr_" + effectID[strings.Index(effectID, "_")+1:] }

func (a Approval) effectID(prefix string) string {
	return prefix + strings.TrimPrefix(a.ApprovalID, "apr_")
}

// approvalOf finds the approval that an effect had to wait for; nil when it needed none.
func approvalOf(ctx context.Context, q *sqlc.Queries, projectID int32, effectID string) (*Approval, error) {
	row, err := q.GetApproval(ctx, sqlc.GetApprovalParams{ApprovalID: approvalID(effectID), ProjectID: projectID})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find approval: %w", err)
	}
	return new(approvalFrom(row)), nil
}

func askApproval(ctx context.Context, q *sqlc.Queries, a Approval, now time.Time) (*Approval, error) {
	row, err := q.InsertApproval(ctx, sqlc.InsertApprovalParams{
		ApprovalID:    a.ApprovalID,
		ProjectID:     a.ProjectID,
		Action:        a.Action,
		Subject:       a.Subject,
		AmountCoins:   a.AmountCoins,
		TransactionID: optional.Text(a.TransactionID),
		Reason:        a.Reason,
		RequestedBy:   a.RequestedBy,
		Now:           now,
	})
	if err != nil {
		return nil, fmt.Errorf("ask for approval: %w", err)
	}
	err = audit(ctx, q, a.ProjectID, a.RequestedBy, "approval.request", a.Subject, map[string]any{
		"approval_id": a.ApprovalID,
		"action":      a.Action,
		"amount":      a.AmountCoins,
		"reason":      a.Reason,
	}, now)
	return new(approvalFrom(row)), err
}

// Decision approves or rejects an act, by whom and why.
type Decision struct {
	ProjectID   int32
	ApprovalID  string
	Approve     bool
	Actor       string
	Reason      string // may be empty
	Idempotency *Idempotency
}

// DecideApproval carries out the act that waited, or rejects it, in one transaction: of several callers one does.
// The one who asked may reject, but approving fails with ErrSecondAdminRequired. It fails with ErrConflict when it
// was decided before, and as the act itself does; then it stays pending.
func (db *DB) DecideApproval(ctx context.Context, d Decision, now time.Time) (approval Approval, replayed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		resource := "decision/" + d.ApprovalID + "/" + xid.New().String()
		first, err := d.Idempotency.claim(ctx, q, d.ProjectID, resource, now)
		if err != nil {
			return err
		}
		row, err := q.LockApproval(ctx, sqlc.LockApprovalParams{ApprovalID: d.ApprovalID, ProjectID: d.ProjectID})
		if err != nil {
			return notFound(err)
		}
		approval = approvalFrom(row)
		if replayed = first != resource; replayed {
			return nil
		}
		approval, err = decide(ctx, q, approval, d, now)
		return err
	})
	return approval, replayed, orRefusal(err)
}

func decide(ctx context.Context, q *sqlc.Queries, approval Approval, d Decision, now time.Time) (Approval, error) {
	status, action := "rejected", "approval.reject"
	if d.Approve {
		status, action = "approved", "approval.approve"
	}
	switch {
	case d.Approve && approval.RequestedBy == d.Actor:
		return approval, ErrSecondAdminRequired
	case approval.Status != "pending":
		return approval, ErrConflict
	}
	if d.Approve {
		approval.DecidedBy = d.Actor
		if err := carryOut(ctx, q, approval, now); err != nil {
			return approval, err
		}
	}
	row, err := q.DecideApproval(ctx, sqlc.DecideApprovalParams{
		ApprovalID: approval.ApprovalID,
		Status:     status,
		Actor:      d.Actor,
		Reason:     optional.Text(d.Reason),
		Now:        now,
	})
	if err != nil {
		return approval, fmt.Errorf("decide approval: %w", err)
	}
	return approvalFrom(row), audit(ctx, q, d.ProjectID, d.Actor, action, approval.Subject,
		map[string]any{"approval_id": approval.ApprovalID, "reason": d.Reason}, now)
}

// carryOut does what was asked for, in the name of who asked.
func carryOut(ctx context.Context, q *sqlc.Queries, a Approval, now time.Time) error {
	var err error
	switch a.Action {
	case ApproveAdjustment:
		_, err = adjust(ctx, q, Adjustment{
			ProjectID:    a.ProjectID,
			AdjustmentID: a.effectID("adj_"),
			UserID:       a.Subject,
			Amount:       a.AmountCoins,
			Reason:       a.Reason,
			Actor:        a.RequestedBy,
			approval:     &a,
		}, now)
	case ApproveRefund:
		_, err = refund(ctx, q, Refund{ProjectID: a.ProjectID, RefundID: a.effectID("rfd_"), OrderID: a.Subject, AmountCoins: a.AmountCoins,
			Reason: a.Reason, Actor: a.RequestedBy, approval: &a}, now)
	case ApproveDelivered:
		_, err = resolve(ctx, q, Resolution{
			ProjectID:     a.ProjectID,
			ResolutionID:  a.effectID("res_"),
			OrderID:       a.Subject,
			Action:        store.ResolveMarkDelivered,
			TransactionID: a.TransactionID,
			Reason:        a.Reason,
			Actor:         a.RequestedBy,
			approval:      &a,
		}, now)
	default:
		err = fmt.Errorf("approval %s is for an unknown act: %s", a.ApprovalID, a.Action)
	}
	return err
}

// GetApproval reads one approval; ErrNotFound when there is none.
func (db *DB) GetApproval(ctx context.Context, projectID int32, id string) (Approval, error) {
	row, err := db.q.GetApproval(ctx, sqlc.GetApprovalParams{ApprovalID: id, ProjectID: projectID})
	if err != nil {
		return Approval{}, notFound(err)
	}
	return approvalFrom(row), nil
}

// Approvals lists what waited or waits for a second admin, newest first, before the given one (empty: from the
// newest); status may be empty.
func (db *DB) Approvals(ctx context.Context, projectID int32, status, before string, limit int) ([]Approval, error) {
	rows, err := db.q.ListApprovals(ctx, sqlc.ListApprovalsParams{
		ProjectID:    projectID,
		Status:       optional.Text(status),
		Before:       optional.Text(before),
		MaxApprovals: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	approvals := make([]Approval, len(rows))
	for i, row := range rows {
		approvals[i] = approvalFrom(row)
	}
	return approvals, nil
}

func approvalFrom(row sqlc.Approval) Approval {
	return Approval{
		ProjectID:      row.ProjectID,
		ApprovalID:     row.ApprovalID,
		Action:         row.Action,
		Subject:        row.Subject,
		AmountCoins:    row.AmountCoins,
		TransactionID:  text(row.TransactionID),
		Reason:         row.Reason,
		RequestedBy:    row.RequestedBy,
		RequestedAt:    row.RequestedAt,
		Status:         row.Status,
		DecidedBy:      text(row.DecidedBy),
		DecidedAt:      row.DecidedAt,
		DecisionReason: text(row.DecisionReason),
	}
}

// text of a column that may be null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
