package api

import (
	"context"
	"errors"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/webhook"
)

// hiddenSecret stands for a secret. A client that reads the settings, changes one and sends all of them back
// changes no secret.
const hiddenSecret = "********"

// V2GetWebhook reads where the project's server is told of its orders.
func (h *handlers) V2GetWebhook(ctx context.Context, r V2GetWebhookRequestObject) (V2GetWebhookResponseObject, error) {
	e, err := h.db.GetWebhookEndpoint(ctx, r.ProjectID)
	if errors.Is(err, postgres.ErrNotFound) {
		return V2GetWebhook200JSONResponse{Version: webhook.NewestFormat}, nil
	}
	return V2GetWebhook200JSONResponse{URL: e.URL, Secret: hiddenSecret, IsEnabled: e.Enabled, Version: V2WebhookVersion(e.Format)}, err
}

// V2PutWebhook replaces it, in the form that clients of /api/v2 send. The events stay.
func (h *handlers) V2PutWebhook(ctx context.Context, r V2PutWebhookRequestObject) (V2PutWebhookResponseObject, error) {
	edit := postgres.WebhookEdit{
		ProjectID: r.ProjectID,
		URL:       r.Body.URL,
		Secret:    value(r.Body.Secret),
		Enabled:   or(r.Body.IsEnabled, true),
		Format:    int(or(r.Body.Version, webhook.NewestFormat)),
		Events:    webhook.DefaultEvents,
		Actor:     callOf(ctx).key.KeyID,
	}
	if edit.Secret == hiddenSecret {
		edit.Secret = ""
	}
	current, err := h.db.GetWebhookEndpoint(ctx, r.ProjectID)
	switch {
	case err == nil:
		edit.Events = current.Events
	case !errors.Is(err, postgres.ErrNotFound):
		return nil, err
	}
	if mistakes := h.mistakesOfEndpoint(edit); mistakes != nil {
		return nil, refuseFields(mistakes)
	}
	if _, err = h.db.PutWebhookEndpoint(ctx, edit, h.now()); errors.Is(err, postgres.ErrSecretNeeded) {
		return nil, refuseFields([]store.FieldError{{Field: "secret", Message: "is needed to set the endpoint up"}})
	}
	return V2PutWebhook204Response{}, err
}

func refuseFields(mistakes []store.FieldError) error {
	details := each(mistakes, func(m store.FieldError) checkout.Detail {
		return checkout.Detail{Property: m.Field, Message: m.Message}
	})
	return checkout.Refuse(checkout.InvalidField, mistakes[0].Field+": "+mistakes[0].Message, details...)
}
