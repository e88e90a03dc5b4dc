package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// RaiseStockAlerts opens an alert for every published product whose stock is at or below its minimum, and another
// for those at 0, unless there is one, and resolves those that are over (seed 000, "Admin notifications about
// need for restocking"). It returns how many it opened and resolved.
func (db *DB) RaiseStockAlerts(ctx context.Context, now time.Time) (opened, resolved int, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		over, err := q.ResolveStockAlerts(ctx, now)
		if err != nil {
			return fmt.Errorf("resolve stock alerts: %w", err)
		}
		fresh, err := q.OpenStockAlerts(ctx, now)
		if err != nil {
			return fmt.Errorf("open stock alerts: %w", err)
		}
		opened, resolved = len(fresh), len(over)
		return nil
	})
	return opened, resolved, err
}

// openAlert opens an alert, unless one of its kind and subject is open.
func openAlert(ctx context.Context, q *sqlc.Queries, projectID int32, kind, subject string, detail map[string]any, now time.Time) error {
	encoded, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	if err := q.OpenAlert(ctx, sqlc.OpenAlertParams{
		ProjectID: projectID,
		Kind:      kind,
		Subject:   subject,
		Detail:    encoded,
		Now:       now,
	}); err != nil {
		return fmt.Errorf("alert %s: %w", kind, err)
	}
	return nil
}

// Alert is what an admin must look at, open until it is resolved.
type Alert struct {
	ID         int64
	Kind       string // stock_low, stock_out, task_budget_spent
	Subject    string // the SKU for alerts about stock, the task's id for those about tasks
	Detail     json.RawMessage
	OpenedAt   time.Time
	ResolvedAt *time.Time // nil while it is open
}

// Alerts lists a project's alerts, newest first, before the given one (0: from the newest); open filters them
// unless nil.
func (db *DB) Alerts(ctx context.Context, projectID int32, open *bool, before int64, limit int) ([]Alert, error) {
	rows, err := db.q.ListAlerts(ctx, sqlc.ListAlertsParams{ProjectID: projectID, Open: open, Before: before, MaxAlerts: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	alerts := make([]Alert, len(rows))
	for i, row := range rows {
		alerts[i] = alertOf(row)
	}
	return alerts, nil
}

func alertOf(row sqlc.ListAlertsRow) Alert {
	return Alert{
		ID:         row.AlertID,
		Kind:       row.Kind,
		Subject:    row.Subject,
		Detail:     row.Detail,
		OpenedAt:   row.OpenedAt,
		ResolvedAt: row.ResolvedAt,
	}
}

// AlertResolution closes an alert by hand.
type AlertResolution struct {
	ProjectID int32
	AlertID   int64
	Reason    string // for the audit
	Actor     string
}

// ResolveAlert closes an alert, once: one that is resolved stays as it is. What is still wrong opens a new
// one. It fails with ErrNotFound.
func (db *DB) ResolveAlert(ctx context.Context, r AlertResolution, now time.Time) (alert Alert, err error) {
	now = now.UTC().Truncate(time.Microsecond)
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.LockAlert(ctx, sqlc.LockAlertParams{ProjectID: r.ProjectID, AlertID: r.AlertID})
		if err != nil {
			return notFound(err)
		}
		if alert = alertOf(sqlc.ListAlertsRow(row)); alert.ResolvedAt != nil {
			return nil
		}
		if err := q.ResolveAlert(ctx, sqlc.ResolveAlertParams{
			ProjectID: r.ProjectID,
			Kind:      alert.Kind,
			Subject:   alert.Subject,
			Now:       now,
		}); err != nil {
			return fmt.Errorf("resolve alert: %w", err)
		}
		alert.ResolvedAt = &now
		return audit(ctx, q, r.ProjectID, r.Actor, "alert.resolve", strconv.FormatInt(r.AlertID, 10), map[string]any{
			"kind":    alert.Kind,
			"subject": alert.Subject,
			"reason":  r.Reason,
		}, now)
	})
	return alert, err
}
