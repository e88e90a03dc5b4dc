package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// AdminListStock lists the stock of all products (seed 000, "Administrative Stock Management").
func (h *handlers) AdminListStock(ctx context.Context, r AdminListStockRequestObject) (AdminListStockResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	levels, err := h.db.ListStock(ctx, callOf(ctx).key.ProjectID, value(r.Params.Cursor), limit+1)
	items, next := page(levels, limit, func(l postgres.StockLevel) string { return l.SKU })
	return AdminListStock200JSONResponse{Items: each(items, stockLevelBody), NextCursor: next}, err
}

// AdminEditStock sets or adds stock of many products at once (seed 000, "Manual Replenishment", "Bulk Management").
func (h *handlers) AdminEditStock(ctx context.Context, r AdminEditStockRequestObject) (AdminEditStockResponseObject, error) {
	call := callOf(ctx)
	edits := each(r.Body.Items, func(i StockEditItem) store.StockEdit { return store.StockEdit{SKU: i.Sku, Set: i.Set, Add: i.Add} })
	if mistakes := store.ValidateStockEdits(edits); mistakes != nil {
		return nil, mistaken(mistakes)
	}
	mode := or(r.Body.Mode, StockEditInputModeAllOrNothing)
	done, err := h.db.EditStock(ctx, postgres.StockEdit{
		ProjectID: call.key.ProjectID, EditID: "stk_" + xid.New().String(), Mode: store.EditMode(mode), Items: edits,
		Actor: call.key.KeyID, Reason: r.Body.Reason, Idempotency: call.idempotency,
	}, h.now())
	var refused *store.RefusedEditError
	if errors.As(err, &refused) {
		return nil, editRefused(refused)
	}
	if err != nil {
		return nil, err
	}
	body := StockEdit{EditID: done.EditID, Mode: StockEditMode(mode), Items: each(done.Results, stockEditRow)}
	for _, row := range body.Items {
		switch row.Result {
		case Changed:
			body.Changed++
		case Unchanged:
			body.Unchanged++
		case Refused:
			body.Refused++
		}
	}
	return AdminEditStock200JSONResponse{
		Body:    body,
		Headers: AdminEditStock200ResponseHeaders{IdempotencyReplayed: flag(done.Replayed)},
	}, nil
}

// editRefused names every wrong row.
func editRefused(refused *store.RefusedEditError) *failure {
	f := fail(ProblemCodeStockEditRefused, "nothing was changed; "+refused.Error())
	for i, result := range refused.Results {
		if result.Mistake != nil {
			f.fields = append(f.fields, FieldProblem{fmt.Sprintf("items[%d].%s", i, result.Mistake.Field), result.Mistake.Message})
		}
	}
	return f
}

func stockEditRow(result store.EditResult) StockEditRow {
	row := StockEditRow{Sku: result.SKU, Result: Unchanged, Before: result.Before, After: result.After}
	switch {
	case result.Mistake != nil:
		row.Result, row.Code, row.Message = Refused, new(string(result.Mistake.Code)), &result.Mistake.Message
	case result.Changed():
		row.Result = Changed
	}
	return row
}

// AdminGetStockHistory lists who changed a product's stock, why, before and after (seed 000, "Change History").
func (h *handlers) AdminGetStockHistory(ctx context.Context, r AdminGetStockHistoryRequestObject) (AdminGetStockHistoryResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	changes, err := h.db.StockHistory(ctx, callOf(ctx).key.ProjectID, r.Sku, before, limit+1)
	if err != nil {
		return nil, orElse(err, errNoSuchProduct)
	}
	items, next := page(changes, limit, func(c postgres.StockChange) string { return strconv.FormatInt(c.ID, 10) })
	return AdminGetStockHistory200JSONResponse{Items: each(items, stockChangeBody), NextCursor: next}, nil
}

// defaultForecastDays is the window of a forecast unless given.
const defaultForecastDays = 30

// AdminGetStockForecast tells when a product runs out and how much stock it should have (seed 000, "Stock Analytics").
func (h *handlers) AdminGetStockForecast(ctx context.Context, r AdminGetStockForecastRequestObject) (AdminGetStockForecastResponseObject, error) {
	now := h.now()
	window := time.Duration(or(r.Params.Days, defaultForecastDays)) * 24 * time.Hour
	c, err := h.db.Consumption(ctx, callOf(ctx).key.ProjectID, r.Sku, window, now)
	if err != nil {
		return nil, orElse(err, errNoSuchProduct)
	}
	f := store.ForecastStock(c, now)
	return AdminGetStockForecast200JSONResponse{
		Sku:              r.Sku,
		Available:        c.Available,
		Minimum:          c.Minimum,
		Sold:             c.Sold,
		WindowStart:      f.WindowStart.UTC(),
		WindowDays:       f.WindowDays,
		RatePerDay:       f.RatePerDay,
		DaysOfCover:      f.DaysOfCover,
		RunsOutAt:        utc(f.RunsOutAt),
		TargetDays:       f.TargetDays,
		SafetyFactor:     f.SafetyFactor,
		RecommendedStock: f.RecommendedStock,
		RecommendedAdd:   f.RecommendedAdd,
	}, nil
}

// AdminListAlerts lists what needs an admin (seed 000, "Admin notifications about need for restocking").
func (h *handlers) AdminListAlerts(ctx context.Context, r AdminListAlertsRequestObject) (AdminListAlertsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	alerts, err := h.db.Alerts(ctx, callOf(ctx).key.ProjectID, r.Params.Open, before, limit+1)
	items, next := page(alerts, limit, func(a postgres.Alert) string { return strconv.FormatInt(a.ID, 10) })
	return AdminListAlerts200JSONResponse{Items: each(items, alertBody), NextCursor: next}, err
}

// AdminResolveAlert closes an alert by hand.
func (h *handlers) AdminResolveAlert(ctx context.Context, r AdminResolveAlertRequestObject) (AdminResolveAlertResponseObject, error) {
	key := callOf(ctx).key
	alert, err := h.db.ResolveAlert(ctx, postgres.AlertResolution{
		ProjectID: key.ProjectID,
		AlertID:   r.AlertID,
		Reason:    r.Body.Reason,
		Actor:     key.KeyID,
	}, h.now())
	if err != nil {
		return nil, orElse(err, fail(ProblemCodeAlertNotFound, "no alert of this id; GET /api/v1/admin/alerts lists them"))
	}
	return AdminResolveAlert200JSONResponse(alertBody(alert)), nil
}

func stockLevelBody(l postgres.StockLevel) StockLevel {
	return StockLevel{
		Sku: l.SKU, Name: l.Name, ProductStatus: ProductStatus(l.Status), Initial: l.Settings.Initial, Restocked: l.Restocked,
		Available: l.Available, Reserved: l.Reserved, Sold: l.Sold, Minimum: l.Settings.Minimum, HideAtZero: l.Settings.HideAtZero,
		Status: StockStatus(l.Settings.StatusOf(l.Available)), Replenishment: replenishmentBody(l.Settings.Replenishment),
	}
}

func stockChangeBody(c postgres.StockChange) StockChange {
	return StockChange{
		ID:     c.ID,
		Kind:   c.Kind,
		Actor:  c.Actor,
		Reason: c.Reason,
		Before: c.Before,
		After:  c.After,
		EditID: optional.Text(c.EditID),
		At:     c.At.UTC(),
	}
}

func alertBody(a postgres.Alert) Alert {
	return Alert{ID: a.ID, Kind: a.Kind, Subject: a.Subject, Detail: a.Detail, OpenedAt: a.OpenedAt.UTC(), ResolvedAt: utc(a.ResolvedAt)}
}

// replenishmentBody is null when a product is not restocked by itself.
func replenishmentBody(r store.Replenishment) *Replenishment {
	if !r.On() {
		return nil
	}
	return &r
}
