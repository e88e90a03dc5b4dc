package api

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
)

// ListUserSubscriptions shows a user's subscriptions to the storefront and to support (seed 002).
func (h *handlers) ListUserSubscriptions(ctx context.Context, r ListUserSubscriptionsRequestObject) (ListUserSubscriptionsResponseObject, error) {
	projectID, now := callOf(ctx).key.ProjectID, h.now()
	if _, err := h.user(ctx, r.ID); err != nil {
		return nil, err
	}
	project, err := h.db.GetProject(ctx, projectID)
	if err != nil {
		return nil, err
	}
	all, err := h.db.TimeLimited(ctx, projectID, r.ID)
	if err != nil {
		return nil, err
	}
	items := []UserSubscription{}
	for _, o := range all {
		if o.Time.ExpiresAt != nil {
			items = append(items, subscriptionBody(o, project.DefaultLocale, now))
		}
	}
	return ListUserSubscriptions200JSONResponse{Items: items}, nil
}

func subscriptionBody(o postgres.OwnedSubscription, locale string, now time.Time) UserSubscription {
	left := max(o.Time.ExpiresAt.Sub(now), 0)
	return UserSubscription{
		Sku:         o.Item.SKU,
		Name:        o.Item.Name.In(locale, locale),
		Status:      o.Time.Status(now),
		StartedAt:   o.Time.StartedAt.UTC(),
		ExpiresAt:   o.Time.ExpiresAt.UTC(),
		SecondsLeft: int64((left + time.Second - 1) / time.Second),
	}
}
