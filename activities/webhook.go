package activities

import (
	"context"
	"errors"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/webhook"
	"github.com/quickpass/quickpass/internal/webhook/send"
)

// Webhook holds the steps that tell a project's listener of its orders.
type Webhook struct {
	DB       *postgres.DB
	Client   *send.Client
	Schedule webhook.Schedule
}

// AttemptWebhook tries a delivery if it is due, and says what is left to do. The try is written down before
// the call and after it: after a crash in between the listener is called again, which is why the event's id
// is the same at each try.
func (a *Webhook) AttemptWebhook(ctx context.Context, in contract.WebhookInput) (contract.WebhookStanding, error) {
	call, standing, err := a.DB.BeginWebhook(ctx, in.DeliveryID, contract.WebhookTimeout, time.Now())
	if err != nil || call == nil {
		return standing, classify(err)
	}
	answer := a.send(ctx, contract.WebhookTimeout, call.URL, call.Secrets, call.DeliveryID, call.Body)
	report := postgres.WebhookReport{
		DeliveryID: call.DeliveryID,
		Attempt:    call.Attempt,
		StatusCode: answer.StatusCode,
		Answer:     answer.Text,
		Error:      answer.Error,
		RetryAfter: answer.RetryAfter,
		Took:       answer.Took,
	}
	standing, err = a.DB.FinishWebhook(context.WithoutCancel(ctx), report, a.Schedule, time.Now())
	if err == nil && standing.Status != webhook.Delivered {
		logger(ctx).Warn("webhook not taken", "delivery_id", call.DeliveryID, "order_id", call.OrderID, "event", call.Event, "attempt", call.Attempt, "status", standing.Status,
			"status_code", answer.StatusCode, "error", answer.Error, "host", webhook.Host(call.URL))
	}
	return standing, classify(err)
}

func (a *Webhook) send(ctx context.Context, timeout time.Duration, url string, secrets []string, id string, body []byte) send.Answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.Client.Send(ctx, url, secrets, id, body)
}

// TestWebhook sends a test to a project's endpoint, and says what it answered.
func (a *Webhook) TestWebhook(ctx context.Context, in contract.WebhookTestInput) (contract.WebhookTested, error) {
	endpoint, err := a.DB.GetWebhookEndpoint(ctx, in.ProjectID)
	if errors.Is(err, postgres.ErrNotFound) {
		return contract.WebhookTested{EventID: in.EventID, Status: webhook.Dead, Error: "the project has no endpoint"}, nil
	}
	if err != nil {
		return contract.WebhookTested{}, classify(err)
	}
	now := time.Now()
	body, err := webhook.TestBody(in.ProjectID, in.EventID, now)
	if err != nil {
		return contract.WebhookTested{}, err
	}
	answer := a.send(ctx, contract.WebhookTestTimeout, endpoint.URL, endpoint.Secrets(now), in.EventID, body)
	return contract.WebhookTested{
		EventID:    in.EventID,
		Status:     webhook.Judge(answer.StatusCode),
		StatusCode: answer.StatusCode,
		Answer:     answer.Text,
		Error:      answer.Error,
		DurationMS: answer.Took.Milliseconds(),
	}, nil
}
