package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

// ErrEndpointOff: the project's endpoint is switched off, or there is none.
var ErrEndpointOff = errors.New("the endpoint is switched off")

// WebhookDelivery is what a listener was, or is to be, told.
type WebhookDelivery struct {
	DeliveryID    string
	OrderID       int64
	UserID        string
	Sequence      int // of the order's
	Event         webhook.Event
	Status        webhook.Status
	Reason        string // why it is refused or dead
	Attempts      int
	Replays       int
	NextAttemptAt *time.Time // while it is pending
	Body          []byte
	CreatedAt     time.Time
	FinishedAt    *time.Time
}

// WebhookAttempt is one try of a delivery.
type WebhookAttempt struct {
	Attempt    int
	StartedAt  time.Time
	FinishedAt *time.Time // nil: under way, or its process was lost
	DurationMS *int64
	StatusCode *int32 // nil: there was no answer
	Answer     string // its first bytes
	Error      string
}

func webhookDeliveryOf(row sqlc.WebhookDelivery) WebhookDelivery {
	d := WebhookDelivery{
		DeliveryID: row.DeliveryID,
		OrderID:    row.OrderID,
		UserID:     row.UserID,
		Sequence:   int(row.Sequence),
		Event:      webhook.Event(row.Event),
		Status:     webhook.Status(row.Status),
		Reason:     orZero(row.Reason),
		Attempts:   int(row.Attempts),
		Replays:    int(row.Replays),
		Body:       []byte(row.Body),
		CreatedAt:  row.CreatedAt,
		FinishedAt: row.FinishedAt,
	}
	if d.Status == webhook.Pending {
		d.NextAttemptAt = &row.NextAttemptAt
	}
	return d
}

// WebhookFilter narrows a list of deliveries; empty fields do not.
type WebhookFilter struct {
	Status, Event string
	OrderID       *int64
	Before        string // cursor: those before this one; empty: from the newest
	Limit         int
}

// ListWebhooks lists a project's deliveries, newest first.
func (db *DB) ListWebhooks(ctx context.Context, projectID int32, f WebhookFilter) ([]WebhookDelivery, error) {
	rows, err := db.q.ListWebhookDeliveries(ctx, sqlc.ListWebhookDeliveriesParams{
		ProjectID:     projectID,
		Before:        f.Before,
		Status:        optional.Text(f.Status),
		Event:         optional.Text(f.Event),
		OrderID:       f.OrderID,
		MaxDeliveries: int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	deliveries := make([]WebhookDelivery, len(rows))
	for i, row := range rows {
		deliveries[i] = webhookDeliveryOf(row)
	}
	return deliveries, nil
}

// GetWebhook reads a delivery with its tries; ErrNotFound.
func (db *DB) GetWebhook(ctx context.Context, projectID int32, deliveryID string) (WebhookDelivery, []WebhookAttempt, error) {
	row, err := db.q.GetWebhookDelivery(ctx, sqlc.GetWebhookDeliveryParams{DeliveryID: deliveryID, ProjectID: projectID})
	if err != nil {
		return WebhookDelivery{}, nil, notFound(err)
	}
	tried, err := db.q.ListWebhookAttempts(ctx, deliveryID)
	if err != nil {
		return WebhookDelivery{}, nil, fmt.Errorf("attempts: %w", err)
	}
	attempts := make([]WebhookAttempt, len(tried))
	for i, a := range tried {
		attempts[i] = WebhookAttempt{
			Attempt:    int(a.Attempt),
			StartedAt:  a.StartedAt,
			FinishedAt: a.FinishedAt,
			DurationMS: a.DurationMs,
			StatusCode: a.StatusCode,
			Answer:     orZero(a.Answer),
			Error:      orZero(a.Error),
		}
	}
	return webhookDeliveryOf(row), attempts, nil
}

// ReplayWebhook has a delivery that is over sent again, from the beginning of the schedule. Of several
// callers one wins. It fails with ErrConflict when it is pending, with ErrEndpointOff and with ErrNotFound.
func (db *DB) ReplayWebhook(ctx context.Context, projectID int32, deliveryID, actor string, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		d, err := q.GetWebhookDelivery(ctx, sqlc.GetWebhookDeliveryParams{DeliveryID: deliveryID, ProjectID: projectID})
		if err != nil {
			return notFound(err)
		}
		endpoint, err := q.GetWebhookEndpoint(ctx, projectID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("endpoint: %w", err)
		}
		if !endpoint.IsEnabled {
			return ErrEndpointOff
		}
		replayed, err := q.ReplayWebhookDelivery(ctx, sqlc.ReplayWebhookDeliveryParams{
			DeliveryID: deliveryID,
			ProjectID:  projectID,
			Now:        now,
		})
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if replayed == 0 {
			return ErrConflict
		}
		if err := lockWebhookAlerts(ctx, q, projectID); err != nil {
			return err
		}
		for _, status := range []webhook.Status{webhook.Refused, webhook.Dead} {
			err := q.ResolveWebhookAlert(ctx, sqlc.ResolveWebhookAlertParams{
				ProjectID: projectID,
				Kind:      "webhook_" + string(status),
				Status:    string(status),
				Now:       now,
			})
			if err != nil {
				return fmt.Errorf("resolve alert: %w", err)
			}
		}
		return audit(ctx, q, projectID, actor, "webhook.replay", deliveryID, map[string]any{
			"order_id": d.OrderID,
			"event":    d.Event,
			"status":   d.Status,
		}, now)
	})
}
