package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/outbound"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/webhook"
)

var (
	errNoEndpoint        = fail(ProblemCodeWebhookEndpointNotFound, "the project has no endpoint; PUT /api/v1/admin/webhooks sets one up")
	errEndpointChanged   = fail(ProblemCodeVersionConflict, "read the endpoint again and repeat the edit with its new ETag")
	errNoWebhookDelivery = fail(ProblemCodeWebhookDeliveryNotFound, "no webhook of this id; GET /api/v1/admin/webhook-deliveries lists them")
)

// AdminGetWebhook reads where the project's server is told of its orders.
func (h *handlers) AdminGetWebhook(ctx context.Context, _ AdminGetWebhookRequestObject) (AdminGetWebhookResponseObject, error) {
	e, err := h.db.GetWebhookEndpoint(ctx, callOf(ctx).key.ProjectID)
	if err != nil {
		return nil, orElse(err, errNoEndpoint)
	}
	return AdminGetWebhook200JSONResponse{Body: endpointBody(e), Headers: AdminGetWebhook200ResponseHeaders{ETag: endpointETag(e)}}, nil
}

func endpointBody(e postgres.WebhookEndpoint) WebhookEndpoint {
	return WebhookEndpoint{
		URL:           e.URL,
		IsEnabled:     e.Enabled,
		Version:       e.Format,
		Events:        e.Events,
		PreviousUntil: utc(e.PreviousUntil),
		UpdatedAt:     e.UpdatedAt.UTC(),
	}
}

func endpointETag(e postgres.WebhookEndpoint) *string { return new(fmt.Sprintf(`"%d"`, e.Version)) }

// AdminPutWebhook replaces it.
func (h *handlers) AdminPutWebhook(ctx context.Context, r AdminPutWebhookRequestObject) (AdminPutWebhookResponseObject, error) {
	key := callOf(ctx).key
	edit := postgres.WebhookEdit{
		ProjectID:     key.ProjectID,
		URL:           r.Body.URL,
		Secret:        value(r.Body.Secret),
		PreviousUntil: r.Body.PreviousUntil,
		Enabled:       or(r.Body.IsEnabled, true),
		Format:        int(or(r.Body.Version, webhook.NewestFormat)),
		Events:        or(r.Body.Events, webhook.DefaultEvents),
		Actor:         key.KeyID,
	}
	if mistakes := h.mistakesOfEndpoint(edit); mistakes != nil {
		return nil, mistaken(mistakes)
	}
	if r.Params.IfMatch != nil {
		current, err := h.db.GetWebhookEndpoint(ctx, key.ProjectID)
		switch {
		case err != nil:
			return nil, orElse(err, errEndpointChanged)
		case !sameVersion(*r.Params.IfMatch, current.Version):
			return nil, errEndpointChanged
		}
		edit.Version = current.Version
	}
	e, err := h.db.PutWebhookEndpoint(ctx, edit, h.now())
	switch {
	case errors.Is(err, postgres.ErrConflict):
		return nil, errEndpointChanged
	case errors.Is(err, postgres.ErrSecretNeeded):
		return nil, invalid("secret", "is needed to set the endpoint up")
	case err != nil:
		return nil, err
	}
	return AdminPutWebhook200JSONResponse{Body: endpointBody(e), Headers: AdminPutWebhook200ResponseHeaders{ETag: endpointETag(e)}}, nil
}

// mistakesOfEndpoint is what openapi.yaml can't say.
func (h *handlers) mistakesOfEndpoint(e postgres.WebhookEdit) (mistakes []store.FieldError) {
	check := func(field, mistake string) {
		if mistake != "" {
			mistakes = append(mistakes, store.FieldError{Field: field, Message: mistake})
		}
	}
	check("url", outbound.CheckURL(e.URL, h.privateWebhooks))
	if e.Secret != "" {
		check("secret", webhook.CheckSecret(e.Secret))
	}
	check("events", webhook.CheckEvents(e.Events))
	if e.PreviousUntil != nil && e.PreviousUntil.After(h.now().Add(webhook.LongestOverlap)) {
		check("previous_until", "at most 30 days from now")
	}
	return mistakes
}

// testWait bounds how long an admin waits for a worker to take the test, beyond the listener's own time.
const testWait = 9 * time.Second

// AdminTestWebhook has a test sent, and says what the listener answered.
func (h *handlers) AdminTestWebhook(ctx context.Context, _ AdminTestWebhookRequestObject) (AdminTestWebhookResponseObject, error) {
	projectID := callOf(ctx).key.ProjectID
	if _, err := h.db.GetWebhookEndpoint(ctx, projectID); err != nil {
		return nil, orElse(err, errNoEndpoint)
	}
	ctx, cancel := context.WithTimeout(ctx, testWait)
	defer cancel()
	tested, err := h.starter.TestWebhook(ctx, projectID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fail(ProblemCodeUnavailable, "no worker could send the test; try again in a moment"), err)
	}
	body := WebhookTested{
		EventID:    tested.EventID,
		Status:     tested.Status,
		Answer:     optional.Text(tested.Answer),
		Error:      optional.Text(tested.Error),
		DurationMs: tested.DurationMS,
	}
	if tested.StatusCode != 0 {
		body.StatusCode = &tested.StatusCode
	}
	return AdminTestWebhook200JSONResponse(body), nil
}

// AdminListWebhookDeliveries lists what was told.
func (h *handlers) AdminListWebhookDeliveries(ctx context.Context, r AdminListWebhookDeliveriesRequestObject) (AdminListWebhookDeliveriesResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	list, err := h.db.ListWebhooks(ctx, callOf(ctx).key.ProjectID, postgres.WebhookFilter{
		Status:  string(value(r.Params.Status)),
		Event:   string(value(r.Params.Event)),
		OrderID: r.Params.OrderID,
		Before:  value(r.Params.Cursor),
		Limit:   limit + 1,
	})
	items, next := page(list, limit, func(d postgres.WebhookDelivery) string { return d.DeliveryID })
	return AdminListWebhookDeliveries200JSONResponse{Items: each(items, webhookBody), NextCursor: next}, err
}

func webhookBody(d postgres.WebhookDelivery) WebhookDelivery {
	return WebhookDelivery{
		DeliveryID:    d.DeliveryID,
		OrderID:       d.OrderID,
		UserID:        d.UserID,
		Event:         d.Event,
		Sequence:      d.Sequence,
		Status:        d.Status,
		Reason:        optional.Text(d.Reason),
		Attempts:      d.Attempts,
		Replays:       d.Replays,
		NextAttemptAt: utc(d.NextAttemptAt),
		CreatedAt:     d.CreatedAt.UTC(),
		FinishedAt:    utc(d.FinishedAt),
	}
}

// AdminGetWebhookDelivery reads a delivery with each try.
func (h *handlers) AdminGetWebhookDelivery(ctx context.Context, r AdminGetWebhookDeliveryRequestObject) (AdminGetWebhookDeliveryResponseObject, error) {
	d, attempts, err := h.db.GetWebhook(ctx, callOf(ctx).key.ProjectID, r.DeliveryID)
	if err != nil {
		return nil, orElse(err, errNoWebhookDelivery)
	}
	return AdminGetWebhookDelivery200JSONResponse{
		Delivery: webhookBody(d),
		Body:     json.RawMessage(d.Body),
		Tries:    each(attempts, attemptBody),
	}, nil
}

func attemptBody(a postgres.WebhookAttempt) WebhookAttempt {
	return WebhookAttempt{
		Attempt:    a.Attempt,
		StartedAt:  a.StartedAt.UTC(),
		FinishedAt: utc(a.FinishedAt),
		DurationMs: a.DurationMS,
		StatusCode: a.StatusCode,
		Answer:     optional.Text(a.Answer),
		Error:      optional.Text(a.Error),
	}
}

// AdminReplayWebhookDelivery has a delivery that is over sent again.
func (h *handlers) AdminReplayWebhookDelivery(ctx context.Context, r AdminReplayWebhookDeliveryRequestObject) (AdminReplayWebhookDeliveryResponseObject, error) {
	key := callOf(ctx).key
	err := h.db.ReplayWebhook(ctx, key.ProjectID, r.DeliveryID, key.KeyID, h.now())
	switch {
	case errors.Is(err, postgres.ErrConflict):
		return nil, fail(ProblemCodeWebhookNotReplayable, "it is pending, and will be sent when it is due")
	case errors.Is(err, postgres.ErrEndpointOff):
		return nil, fail(ProblemCodeWebhookNotReplayable, "the endpoint is switched off; switch it on first")
	case err != nil:
		return nil, orElse(err, errNoWebhookDelivery)
	}
	h.starter.OfferWebhooks()
	d, _, err := h.db.GetWebhook(ctx, key.ProjectID, r.DeliveryID)
	return AdminReplayWebhookDelivery202JSONResponse(webhookBody(d)), err
}
