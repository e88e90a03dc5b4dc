package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// HistoryEntry is one thing that is known of a user or an order.
type HistoryEntry struct {
	At      time.Time
	Source  string // timeline, transfer, notification, audit, dispute
	ID      int64  // within its source
	OrderID string // empty when it is about no order
	Event   string // the kind of transfer or notification, the audited action, the new state of a dispute
	Actor   string // empty when it was nobody of support
	Detail  json.RawMessage
}

// HistoryFilter names whose history, and which page of it. One of OrderID and UserID is set.
type HistoryFilter struct {
	OrderID, UserID string
	Before          *HistoryEntry // cursor: At, Source and ID of the last entry seen; nil: from the newest
	Limit           int
}

// History merges the timeline, transfers, notifications, audit and disputes of an order, or of all of a user's
// orders and the user's wallet, newest first.
func (db *DB) History(ctx context.Context, projectID int32, f HistoryFilter) ([]HistoryEntry, error) {
	params := sqlc.ListHistoryParams{
		ProjectID:  projectID,
		OrderID:    optional.Text(f.OrderID),
		UserID:     optional.Text(f.UserID),
		MaxEntries: int32(f.Limit),
	}
	if f.Before != nil {
		params.BeforeAt, params.BeforeSource, params.BeforeID = &f.Before.At, f.Before.Source, f.Before.ID
	}
	rows, err := db.q.ListHistory(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	entries := make([]HistoryEntry, len(rows))
	for i, row := range rows {
		entries[i] = HistoryEntry(row)
	}
	return entries, nil
}

// AuditEntry is one act of an admin, or of a rule that acted in one's place.
type AuditEntry struct {
	AuditID int64
	Actor   string // the id of an API key, or rule:<name>
	Action  string
	Subject string
	Detail  json.RawMessage
	Hash    []byte // covers the entry before
	At      time.Time
}

// AuditFilter narrows the audit log; empty fields do not.
type AuditFilter struct {
	Actor, Action, Subject string
	From, Until            *time.Time // from inclusive, until exclusive
	Before                 int64      // cursor: entries older than this one; 0: from the newest
	Limit                  int
}

// Audit lists a project's audit log, newest first.
func (db *DB) Audit(ctx context.Context, projectID int32, f AuditFilter) ([]AuditEntry, error) {
	rows, err := db.q.ListAudit(ctx, sqlc.ListAuditParams{
		ProjectID:  projectID,
		Actor:      optional.Text(f.Actor),
		Action:     optional.Text(f.Action),
		Subject:    optional.Text(f.Subject),
		Since:      f.From,
		Until:      f.Until,
		Before:     f.Before,
		MaxEntries: int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	entries := make([]AuditEntry, len(rows))
	for i, row := range rows {
		entries[i] = AuditEntry{
			AuditID: row.AuditID,
			Actor:   row.Actor,
			Action:  row.Action,
			Subject: row.Subject,
			Detail:  row.Detail,
			Hash:    row.Hash,
			At:      row.At,
		}
	}
	return entries, nil
}
