package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// User is a buyer with a wallet of coins.
type User struct {
	UserID        string
	Blocked       bool
	BlockedReason string
	VIP           bool       // for good
	VIPUntil      *time.Time // a bought VIP status; the past when it is over
	Suspicious    bool       // flagged by support: a purchase needs a second verification
	Attributes    json.RawMessage
	Available     int64 // coins
	Held          int64 // coins, for open orders
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// UserEdit changes a user; nil fields stay as they are.
type UserEdit struct {
	VIP        *bool
	Attributes json.RawMessage
}

// PutUser creates the user or changes it; created tells which.
func (db *DB) PutUser(ctx context.Context, projectID int32, userID string, edit UserEdit, now time.Time) (user User, created bool, err error) {
	row, err := db.q.UpsertUser(ctx, sqlc.UpsertUserParams{
		UserID:     userID,
		ProjectID:  projectID,
		Vip:        edit.VIP,
		Attributes: edit.Attributes,
		Now:        now,
	})
	if err != nil {
		return User{}, false, fmt.Errorf("put user: %w", err)
	}
	return userOf(sqlc.User{
		UserID:        row.UserID,
		Status:        row.Status,
		BlockedReason: row.BlockedReason,
		Vip:           row.Vip,
		VipUntil:      row.VipUntil,
		Attributes:    row.Attributes,
		Available:     row.Available,
		Held:          row.Held,
		CreatedAt:     row.CreatedAt,
		UpdatedAt:     row.UpdatedAt,
	}), row.Created, nil
}

// GetUser reads a user with the wallet; ErrNotFound when there is none.
func (db *DB) GetUser(ctx context.Context, userID string) (User, error) {
	row, err := db.q.GetUser(ctx, userID)
	if err != nil {
		return User{}, notFound(err)
	}
	return userOf(row), nil
}

// SetBlocked blocks or unblocks an account, with who and why.
func (db *DB) SetBlocked(ctx context.Context, projectID int32, userID string, blocked bool, actor, reason string, now time.Time) (user User, err error) {
	status, action, blockedReason := "active", "user.unblock", (*string)(nil)
	if blocked {
		status, action, blockedReason = "blocked", "user.block", &reason
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.SetUserStatus(ctx, sqlc.SetUserStatusParams{UserID: userID, Status: status, BlockedReason: blockedReason, Now: now})
		if err != nil {
			return notFound(err)
		}
		user = userOf(row)
		return audit(ctx, q, projectID, actor, action, userID, map[string]string{"reason": reason}, now)
	})
	return user, err
}

// Adjustment gives coins to a user or takes them away by hand.
type Adjustment struct {
	ProjectID    int32
	AdjustmentID string
	UserID       string
	Amount       int64 // coins; negative takes away, never below zero
	Reason       string
	Actor        string
	Policy       store.Policy // says whether a second admin is needed
	Idempotency  *Idempotency
	approval     *Approval // set while an approved adjustment is carried out
}

// Adjusted is an adjustment that was made, now or by an earlier request with the same key.
type Adjusted struct {
	AdjustmentID string
	Replayed     bool
	Wallet       User      // as it is now
	Approval     *Approval // set: it waits, or has waited, for a second admin
}

// AdjustWallet moves the coins, writes the ledger, the audit and tells the user, all or nothing. It fails
// with ledger.ErrInsufficientCoins, ledger.ErrAmountOutOfRange, ErrNotFound or ErrIdempotencyKeyReused. Above the
// policy's limit nothing moves: an approval is asked for.
func (db *DB) AdjustWallet(ctx context.Context, a Adjustment, now time.Time) (done Adjusted, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		id, err := a.Idempotency.claim(ctx, q, a.ProjectID, a.AdjustmentID, now)
		if err != nil {
			return err
		}
		done = Adjusted{AdjustmentID: id, Replayed: id != a.AdjustmentID}
		if done.Replayed {
			done.Approval, err = approvalOf(ctx, q, a.ProjectID, id)
		} else {
			done.Approval, err = adjust(ctx, q, a, now)
		}
		if err != nil {
			return err
		}
		row, err := q.GetUser(ctx, a.UserID)
		done.Wallet = userOf(row)
		return notFound(err)
	})
	return done, err
}

func adjust(ctx context.Context, q *sqlc.Queries, a Adjustment, now time.Time) (*Approval, error) {
	buyer, err := q.LockBuyer(ctx, sqlc.LockBuyerParams{UserID: a.UserID, Now: now})
	if err != nil {
		return nil, notFound(err)
	}
	debit, credit, coins, err := ledger.Adjust(buyer.Available, a.Amount)
	if err != nil {
		return nil, err
	}
	if a.approval == nil && a.Policy.NeedsApproval(a.Amount) {
		return askApproval(ctx, q, Approval{ProjectID: a.ProjectID, ApprovalID: approvalID(a.AdjustmentID), Action: ApproveAdjustment,
			Subject: a.UserID, AmountCoins: a.Amount, Reason: a.Reason, RequestedBy: a.Actor}, now)
	}
	if _, err := q.MoveAvailable(ctx, sqlc.MoveAvailableParams{UserID: a.UserID, Amount: a.Amount}); err != nil {
		return nil, fmt.Errorf("adjust wallet: %w", err)
	}
	err = q.InsertTransfer(ctx, sqlc.InsertTransferParams{
		ProjectID: a.ProjectID,
		UserID:    a.UserID,
		Debit:     string(debit),
		Credit:    string(credit),
		Amount:    coins,
		Kind:      string(ledger.Adjustment),
		Reference: a.AdjustmentID,
		Now:       now,
	})
	if err != nil {
		return nil, fmt.Errorf("adjust wallet: %w", err)
	}
	detail, err := json.Marshal(map[string]any{"amount": a.Amount, "reason": a.Reason})
	if err != nil {
		return nil, err
	}
	err = q.InsertNotification(ctx, sqlc.InsertNotificationParams{
		ProjectID: a.ProjectID,
		UserID:    a.UserID,
		Kind:      "wallet_adjusted",
		Detail:    detail,
		Now:       now,
	})
	if err != nil {
		return nil, fmt.Errorf("adjust wallet: %w", err)
	}
	return nil, audit(ctx, q, a.ProjectID, a.Actor, "wallet.adjust", a.UserID,
		a.approval.noted(map[string]any{"amount": a.Amount, "reason": a.Reason, "adjustment_id": a.AdjustmentID}), now)
}

// Notification is one entry of a user's in-app feed.
type Notification struct {
	ID        int64
	OrderID   string // empty when it is about no order
	Kind      string // purchase_completed, purchase_canceled, purchase_refunded, wallet_adjusted, perk_ended, task_completed, task_expired, task_canceled, task_available, reward_received
	Detail    json.RawMessage
	CreatedAt time.Time
}

// Notifications lists a user's feed, newest first, before the given entry (0: from the newest).
func (db *DB) Notifications(ctx context.Context, projectID int32, userID string, before int64, limit int) ([]Notification, error) {
	rows, err := db.q.ListNotifications(ctx, sqlc.ListNotificationsParams{
		UserID:           userID,
		ProjectID:        projectID,
		Before:           before,
		MaxNotifications: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	feed := make([]Notification, len(rows))
	for i, row := range rows {
		feed[i] = Notification{ID: row.NotificationID, Kind: row.Kind, Detail: row.Detail, CreatedAt: row.CreatedAt}
		if row.OrderID != nil {
			feed[i].OrderID = *row.OrderID
		}
	}
	return feed, nil
}

// APIKey is a caller's role in a project.
type APIKey struct {
	KeyID     string
	ProjectID int32
	Role      string
}

// FindAPIKey finds the key of this hash; ErrNotFound when there is none or it was revoked.
func (db *DB) FindAPIKey(ctx context.Context, hash []byte) (APIKey, error) {
	row, err := db.q.FindAPIKey(ctx, hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return APIKey{}, ErrNotFound
	}
	if err != nil {
		return APIKey{}, fmt.Errorf("find API key: %w", err)
	}
	return APIKey{KeyID: row.KeyID, ProjectID: row.ProjectID, Role: row.Role}, nil
}

// PutAPIKey stores a key by its hash.
func (db *DB) PutAPIKey(ctx context.Context, key APIKey, hash []byte, now time.Time) error {
	err := db.q.InsertAPIKey(ctx, sqlc.InsertAPIKeyParams{
		KeyID:     key.KeyID,
		ProjectID: key.ProjectID,
		Role:      key.Role,
		KeyHash:   hash,
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("put API key: %w", err)
	}
	return nil
}

func userOf(row sqlc.User) User {
	u := User{
		UserID:     row.UserID,
		Blocked:    row.Status == "blocked",
		VIP:        row.Vip,
		VIPUntil:   row.VipUntil,
		Suspicious: row.Suspicious,
		Attributes: row.Attributes,
		Available:  row.Available,
		Held:       row.Held,
		CreatedAt:  row.CreatedAt,
		UpdatedAt:  row.UpdatedAt,
	}
	if row.BlockedReason != nil {
		u.BlockedReason = *row.BlockedReason
	}
	return u
}
