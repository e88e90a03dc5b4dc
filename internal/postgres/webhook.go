package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

const (
	// webhookAlert is the subject of alerts: one a project, however many deliveries fail.
	webhookAlert = "webhooks"
	// webhookBehind is how long after the try of an earlier delivery a later one looks again by itself.
	// Usually it is woken.
	webhookBehind = time.Minute
	// webhookReport is how long a try may take to report after its call is over.
	webhookReport = 5 * time.Second

	// A project whose listener has kept slowCalls waiting for longer than slowAfter is not called more at the
	// moment: it would take the slots of all others. What is due waits for crowdedPause, and as much again as
	// crowdedSpread at most.
	slowCalls     = 20
	slowAfter     = 5 * time.Second
	crowdedPause  = time.Minute
	crowdedSpread = 4 * time.Minute

	reasonExhausted   = "retries_exhausted"
	reasonRefused     = "refused"
	reasonEndpointOff = "endpoint_off"
)

// tellByWebhook writes down what the project's listener is to be told of an order: in the transaction of the
// change, so that neither is there without the other. The order's row is locked, or nobody else sees it yet.
func tellByWebhook(ctx context.Context, q *sqlc.Queries, row sqlc.CheckoutOrder, refund *checkout.Refund, now time.Time, events ...webhook.Event) error {
	found, err := q.GetWebhookEndpoint(ctx, row.ProjectID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("endpoint: %w", err)
	}
	endpoint := endpointOf(found)
	for _, event := range events {
		if !endpoint.Enabled || !slices.Contains(endpoint.Events, event) {
			continue
		}
		if err := writeDelivery(ctx, q, endpoint, row, refund, now, event); err != nil {
			return fmt.Errorf("webhook %s of order %d: %w", event, row.OrderID, err)
		}
	}
	return nil
}

func writeDelivery(ctx context.Context, q *sqlc.Queries, endpoint WebhookEndpoint, row sqlc.CheckoutOrder, refund *checkout.Refund, now time.Time, event webhook.Event) error {
	sequence, err := q.NextWebhookSequence(ctx, row.OrderID)
	if err != nil {
		return err
	}
	notice := webhook.Notice{
		EventID:   "we_" + xid.New().String(),
		Event:     event,
		Sequence:  int(sequence),
		At:        now,
		Format:    endpoint.Format,
		ProjectID: row.ProjectID,
		Reason:    orZero(row.Reason),
		UserID:    row.UserID,
		Country:   orZero(row.Country),
		Custom:    row.CustomParameters,
		External:  orZero(row.ExternalID),
		Refunded:  row.Refunded,
		Refund:    refund,
	}
	if notice.Order, err = orderOfCheckout(row); err != nil {
		return err
	}
	payment, err := q.FindAcceptedPayment(ctx, row.OrderID)
	if err == nil {
		notice.Payment = new(paymentRecord(payment).Payment)
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("payment: %w", err)
	}
	body, err := notice.Body()
	if err != nil {
		return err
	}
	reference := ""
	if event == webhook.OrderRefunded && refund != nil {
		reference = refund.ID
	}
	return q.InsertWebhookDelivery(ctx, sqlc.InsertWebhookDeliveryParams{
		DeliveryID: notice.EventID,
		ProjectID:  row.ProjectID,
		OrderID:    row.OrderID,
		UserID:     row.UserID,
		Sequence:   sequence,
		Event:      string(event),
		Reference:  reference,
		Body:       string(body),
		Now:        now,
	})
}

// WebhookCall is a try that is to be made.
type WebhookCall struct {
	DeliveryID string
	OrderID    int64
	Event      webhook.Event
	Attempt    int // of all
	URL        string
	Secrets    []string
	Body       []byte
}

// BeginWebhook decides about a try, and writes down that it is made. Without a call, the standing says why
// not: the delivery is over, or there is something to wait for. It fails with ErrNotFound.
func (db *DB) BeginWebhook(ctx context.Context, deliveryID string, timeout time.Duration, now time.Time) (call *WebhookCall, standing contract.WebhookStanding, err error) {
	now = now.UTC().Truncate(time.Microsecond)
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		d, err := q.LockWebhookDelivery(ctx, deliveryID)
		if err != nil {
			return notFound(err)
		}
		standing = contract.WebhookStanding{Status: webhook.Status(d.Status)}
		if standing.Status.Over() {
			return nil
		}
		if standing.Until, err = webhookWaits(ctx, q, d, now); err != nil || standing.Until != nil {
			return err
		}
		if standing.Until, err = listenerIsSlow(ctx, q, d, timeout, now); err != nil || standing.Until != nil {
			return err
		}
		endpoint, err := q.GetWebhookEndpoint(ctx, d.ProjectID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("endpoint: %w", err)
		}
		if !endpoint.IsEnabled {
			standing.Status = webhook.Dead
			return endDelivery(ctx, q, d, webhook.Dead, reasonEndpointOff, now)
		}
		attempt, err := q.BeginWebhookAttempt(ctx, sqlc.BeginWebhookAttemptParams{
			DeliveryID:    deliveryID,
			InFlightUntil: now.Add(timeout + webhookReport),
			Now:           now,
		})
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		call = &WebhookCall{
			DeliveryID: deliveryID,
			OrderID:    d.OrderID,
			Event:      webhook.Event(d.Event),
			Attempt:    int(attempt),
			URL:        endpoint.Url,
			Secrets:    endpointOf(endpoint).Secrets(now),
			Body:       []byte(d.Body),
		}
		return q.InsertWebhookAttempt(ctx, sqlc.InsertWebhookAttemptParams{DeliveryID: deliveryID, Attempt: attempt, Now: now})
	})
	if err != nil {
		return nil, contract.WebhookStanding{}, fmt.Errorf("webhook %s: %w", deliveryID, err)
	}
	return call, standing, nil
}

// webhookWaits is until when a pending delivery waits: for an earlier one of its order, for a try under way,
// or for its time.
func webhookWaits(ctx context.Context, q *sqlc.Queries, d sqlc.WebhookDelivery, now time.Time) (*time.Time, error) {
	earlier, err := q.FindEarlierWebhook(ctx, sqlc.FindEarlierWebhookParams{OrderID: d.OrderID, Sequence: d.Sequence})
	if err != nil {
		return nil, fmt.Errorf("earlier delivery: %w", err)
	}
	switch {
	case len(earlier) > 0:
		until := later(earlier[0], now).Add(webhookBehind)
		return &until, q.PostponeWebhookSweep(ctx, sqlc.PostponeWebhookSweepParams{DeliveryID: d.DeliveryID, Until: until})
	case d.InFlightUntil != nil && d.InFlightUntil.After(now):
		return d.InFlightUntil, nil
	case d.NextAttemptAt.After(now):
		return &d.NextAttemptAt, nil
	default:
		return nil, nil
	}
}

// listenerIsSlow puts a try off when the project's listener keeps too many others waiting.
func listenerIsSlow(ctx context.Context, q *sqlc.Queries, d sqlc.WebhookDelivery, timeout time.Duration, now time.Time) (*time.Time, error) {
	slow, err := q.CountSlowWebhooks(ctx, sqlc.CountSlowWebhooksParams{
		ProjectID: d.ProjectID,
		Now:       now,
		EndsBy:    now.Add(timeout + webhookReport - slowAfter),
	})
	if err != nil {
		return nil, fmt.Errorf("slow calls: %w", err)
	}
	if slow < slowCalls {
		return nil, nil
	}
	until := now.Add(crowdedPause + webhook.Spread(d.DeliveryID, crowdedSpread))
	return &until, q.SettleWebhookDelivery(ctx, sqlc.SettleWebhookDeliveryParams{
		DeliveryID:    d.DeliveryID,
		Status:        string(webhook.Pending),
		NextAttemptAt: until,
		Now:           now,
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// WebhookReport is what became of a try.
type WebhookReport struct {
	DeliveryID string
	Attempt    int
	StatusCode int    // 0: there was no answer
	Answer     string // its first bytes
	Error      string
	RetryAfter time.Duration // that the listener asked for
	Took       time.Duration
}

// FinishWebhook writes down what became of a try, and decides what comes next. A report that comes late,
// after another try was begun, only counts if it ends the delivery. It fails with ErrNotFound.
func (db *DB) FinishWebhook(ctx context.Context, r WebhookReport, schedule webhook.Schedule, now time.Time) (standing contract.WebhookStanding, err error) {
	now = now.UTC().Truncate(time.Microsecond)
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		d, err := q.LockWebhookDelivery(ctx, r.DeliveryID)
		if err != nil {
			return notFound(err)
		}
		if err := writeAttempt(ctx, q, r, now); err != nil {
			return err
		}
		standing, err = settleDelivery(ctx, q, d, r, schedule, now)
		return err
	})
	if err != nil {
		return contract.WebhookStanding{}, fmt.Errorf("webhook %s: %w", r.DeliveryID, err)
	}
	return standing, nil
}

func writeAttempt(ctx context.Context, q *sqlc.Queries, r WebhookReport, now time.Time) error {
	params := sqlc.FinishWebhookAttemptParams{
		DeliveryID: r.DeliveryID,
		Attempt:    int32(r.Attempt),
		Now:        &now,
		DurationMs: new(r.Took.Milliseconds()),
		Answer:     optional.Text(r.Answer),
		Error:      optional.Text(r.Error),
	}
	if r.StatusCode != 0 {
		params.StatusCode = new(int32(r.StatusCode))
	}
	if _, err := q.FinishWebhookAttempt(ctx, params); err != nil {
		return fmt.Errorf("write attempt: %w", err)
	}
	return nil
}

func settleDelivery(ctx context.Context, q *sqlc.Queries, d sqlc.WebhookDelivery, r WebhookReport, schedule webhook.Schedule, now time.Time) (contract.WebhookStanding, error) {
	outcome, current := webhook.Judge(r.StatusCode), webhook.Status(d.Status)
	pause, left := schedule.Pause(int(d.Tries), r.RetryAfter)
	switch {
	case current.Over():
		return contract.WebhookStanding{Status: current}, nil
	case outcome == webhook.Delivered:
		return contract.WebhookStanding{Status: outcome}, endDelivery(ctx, q, d, outcome, "", now)
	case outcome == webhook.Refused:
		return contract.WebhookStanding{Status: outcome}, loseDelivery(ctx, q, d, outcome, reasonRefused, r, now)
	case r.Attempt != int(d.Attempts):
		return contract.WebhookStanding{Status: webhook.Pending, Until: orNow(d.InFlightUntil, now)}, nil
	case !left:
		return contract.WebhookStanding{Status: webhook.Dead}, loseDelivery(ctx, q, d, webhook.Dead, reasonExhausted, r, now)
	}
	next := now.Add(pause)
	err := q.SettleWebhookDelivery(ctx, sqlc.SettleWebhookDeliveryParams{
		DeliveryID:    d.DeliveryID,
		Status:        string(webhook.Pending),
		NextAttemptAt: next,
		Now:           now,
	})
	return contract.WebhookStanding{Status: webhook.Pending, Until: &next}, err
}

// orNow is a bound, or now when it is over or unset.
func orNow(bound *time.Time, now time.Time) *time.Time {
	if bound == nil || bound.Before(now) {
		return &now
	}
	return bound
}

// loseDelivery ends a delivery that the listener has not taken, and alerts admins.
func loseDelivery(ctx context.Context, q *sqlc.Queries, d sqlc.WebhookDelivery, status webhook.Status, reason string, r WebhookReport, now time.Time) error {
	if err := endDelivery(ctx, q, d, status, reason, now); err != nil {
		return err
	}
	if err := lockWebhookAlerts(ctx, q, d.ProjectID); err != nil {
		return err
	}
	return openAlert(ctx, q, d.ProjectID, "webhook_"+string(status), webhookAlert,
		map[string]any{
			"delivery_id": d.DeliveryID,
			"order_id":    d.OrderID,
			"event":       d.Event,
			"attempts":    d.Attempts,
			"status_code": r.StatusCode,
			"error":       r.Error,
		}, now)
}

// lockWebhookAlerts keeps whoever resolves the project's alerts apart from whoever adds to what they are
// about: a replay looks for what is dead, and must not miss what is just dying.
func lockWebhookAlerts(ctx context.Context, q *sqlc.Queries, projectID int32) error {
	if _, err := q.LockWebhookEndpoint(ctx, projectID); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("lock endpoint: %w", err)
	}
	return nil
}

// endDelivery ends a delivery, and wakes the next of its order.
func endDelivery(ctx context.Context, q *sqlc.Queries, d sqlc.WebhookDelivery, status webhook.Status, reason string, now time.Time) error {
	err := q.SettleWebhookDelivery(ctx, sqlc.SettleWebhookDeliveryParams{
		DeliveryID:    d.DeliveryID,
		Status:        string(status),
		Reason:        optional.Text(reason),
		NextAttemptAt: d.NextAttemptAt,
		Now:           now,
	})
	if err != nil {
		return fmt.Errorf("end: %w", err)
	}
	if err := q.WakeNextWebhookDelivery(ctx, sqlc.WakeNextWebhookDeliveryParams{
		OrderID:  d.OrderID,
		Sequence: d.Sequence,
		Now:      now,
	}); err != nil {
		return fmt.Errorf("wake the next: %w", err)
	}
	return nil
}

// WebhookChange is a delivery of which its workflow is to know.
type WebhookChange struct {
	Input   contract.WebhookInput
	Changes int // so many there have been
}

// LeaseWebhooks hands out deliveries whose workflow may not know how they are, or may not run. A lease, not a
// claim: what MarkWebhooksTold does not confirm is found again.
func (db *DB) LeaseWebhooks(ctx context.Context, lease time.Duration, limit int, now time.Time) ([]WebhookChange, error) {
	rows, err := db.q.LeaseWebhookDeliveries(ctx, sqlc.LeaseWebhookDeliveriesParams{
		Now:           now,
		LeaseUntil:    now.Add(lease),
		MaxDeliveries: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("lease webhooks: %w", err)
	}
	leased := make([]WebhookChange, len(rows))
	for i, row := range rows {
		leased[i] = WebhookChange{
			Changes: int(row.Changes),
			Input: contract.WebhookInput{
				ProjectID:  row.ProjectID,
				DeliveryID: row.DeliveryID,
				OrderID:    row.OrderID,
				UserID:     row.UserID,
				Event:      webhook.Event(row.Event),
			},
		}
	}
	return leased, nil
}

// MarkWebhooksTold notes that the workflows of these deliveries know of so many changes.
func (db *DB) MarkWebhooksTold(ctx context.Context, told []WebhookChange, now time.Time) error {
	params := sqlc.MarkWebhookDeliveriesToldParams{Now: now, DeliveryIds: make([]string, len(told)), Changes: make([]int32, len(told))}
	for i, one := range told {
		params.DeliveryIds[i], params.Changes[i] = one.Input.DeliveryID, int32(one.Changes)
	}
	if err := db.q.MarkWebhookDeliveriesTold(ctx, params); err != nil {
		return fmt.Errorf("mark webhooks: %w", err)
	}
	return nil
}
