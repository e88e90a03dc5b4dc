package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

// AdminOrderHistory reads all that is known of an order (seed 000, "Complete operation history for investigation").
func (h *handlers) AdminOrderHistory(ctx context.Context, r AdminOrderHistoryRequestObject) (AdminOrderHistoryResponseObject, error) {
	page, err := h.history(ctx, postgres.HistoryFilter{OrderID: r.ID}, r.Params.Cursor, limitOf(r.Params.Limit))
	if err == nil && len(page.Items) == 0 {
		_, err = h.order(ctx, r.ID)
	}
	return AdminOrderHistory200JSONResponse(page), err
}

// AdminUserHistory reads all that is known of a user.
func (h *handlers) AdminUserHistory(ctx context.Context, r AdminUserHistoryRequestObject) (AdminUserHistoryResponseObject, error) {
	page, err := h.history(ctx, postgres.HistoryFilter{UserID: r.ID}, r.Params.Cursor, limitOf(r.Params.Limit))
	if err == nil && len(page.Items) == 0 {
		_, err = h.user(ctx, r.ID)
	}
	return AdminUserHistory200JSONResponse(page), err
}

func (h *handlers) history(ctx context.Context, filter postgres.HistoryFilter, cursor *string, limit int) (HistoryPage, error) {
	var err error
	if filter.Before, err = historyCursor(cursor); err != nil {
		return HistoryPage{}, err
	}
	filter.Limit = limit + 1
	entries, err := h.db.History(ctx, callOf(ctx).key.ProjectID, filter)
	items, next := page(entries, limit, func(e postgres.HistoryEntry) string {
		return fmt.Sprintf("%d.%s.%d", e.At.UnixMicro(), e.Source, e.ID)
	})
	return HistoryPage{Items: each(items, historyBody), NextCursor: next}, err
}

// historyCursor reads what history wrote; openapi.yaml has checked its form.
func historyCursor(cursor *string) (*postgres.HistoryEntry, error) {
	if cursor == nil {
		return nil, nil
	}
	parts := strings.Split(*cursor, ".")
	micros, err := strconv.ParseInt(parts[0], 10, 64)
	id, idErr := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	// PostgreSQL's time ends later than this, but no entry is of the year 9999.
	if at := time.UnixMicro(micros).UTC(); err == nil && idErr == nil && len(parts) == 3 && at.Year() <= 9999 {
		return &postgres.HistoryEntry{At: at, Source: parts[1], ID: id}, nil
	}
	return nil, invalid("cursor", "must be the next_cursor of the page before")
}

func historyBody(e postgres.HistoryEntry) HistoryEntry {
	body := HistoryEntry{
		At:      e.At.UTC(),
		Source:  e.Source,
		ID:      e.ID,
		OrderID: optional.Text(e.OrderID),
		Event:   e.Event,
		Actor:   optional.Text(e.Actor),
	}
	if detail := object(e.Detail); detail != nil {
		body.Detail = &detail
	}
	return body
}

// AdminListAudit reads the audit log.
func (h *handlers) AdminListAudit(ctx context.Context, r AdminListAuditRequestObject) (AdminListAuditResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := strconv.ParseInt(or(r.Params.Cursor, "0"), 10, 64)
	if err != nil {
		return nil, invalid("cursor", "must be the next_cursor of the page before")
	}
	entries, err := h.db.Audit(ctx, callOf(ctx).key.ProjectID, postgres.AuditFilter{
		Actor:   value(r.Params.Actor),
		Action:  value(r.Params.Action),
		Subject: value(r.Params.Subject),
		From:    r.Params.From,
		Until:   r.Params.To,
		Before:  before,
		Limit:   limit + 1,
	})
	items, next := page(entries, limit, func(e postgres.AuditEntry) string { return strconv.FormatInt(e.AuditID, 10) })
	return AdminListAudit200JSONResponse{Items: each(items, auditBody), NextCursor: next}, err
}

func auditBody(e postgres.AuditEntry) AuditEntry {
	body := AuditEntry{
		ID:      e.AuditID,
		At:      e.At.UTC(),
		Actor:   e.Actor,
		Action:  e.Action,
		Subject: e.Subject,
		Hash:    hex.EncodeToString(e.Hash),
	}
	if detail := object(e.Detail); detail != nil {
		body.Detail = &detail
	}
	return body
}
