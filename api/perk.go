package api

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// ListPerks tells what a user has bought for a time (seed 000, "Game Advantages", "Statuses and Privileges").
func (h *handlers) ListPerks(ctx context.Context, r ListPerksRequestObject) (ListPerksResponseObject, error) {
	limit, now := limitOf(r.Params.Limit), h.now()
	filter := postgres.PerkFilter{Before: value(r.Params.Cursor), Limit: limit + 1}
	if value(r.Params.Active) {
		filter.ActiveAt = &now
	}
	perks, err := h.db.Perks(ctx, callOf(ctx).key.ProjectID, r.ID, filter)
	if err == nil && len(perks) == 0 {
		_, err = h.user(ctx, r.ID)
	}
	items, next := page(perks, limit, func(p store.Perk) string { return p.OrderID })
	return ListPerks200JSONResponse{Items: each(items, func(p store.Perk) Perk { return perkBody(p, now) }), NextCursor: next}, err
}

func perkBody(p store.Perk, now time.Time) Perk {
	return Perk{
		OrderID:     p.OrderID,
		Sku:         p.SKU,
		Kind:        p.Kind,
		Status:      p.StatusAt(now),
		StartsAt:    p.StartsAt.UTC(),
		ExpiresAt:   p.ExpiresAt.UTC(),
		SecondsLeft: p.SecondsLeft(now),
	}
}
