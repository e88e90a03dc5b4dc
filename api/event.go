package api

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/tasks"
)

// EventIntake is what the API needs to take events in.
type EventIntake struct {
	Counter events.Counter
	Decoder events.Decoder
	// Webhook checks signed webhooks, whose events belong to WebhookProject; nil when none are set up.
	Webhook        *events.WebhookVerifier
	WebhookProject int32
}

// IntakeAnswer says what became of the events of a request.
type IntakeAnswer struct {
	Accepted   int               `json:"accepted"` // not known before
	Duplicates int               `json:"duplicates"`
	Rejected   []RejectedEvent   `json:"rejected"`
	Identified []IdentifiedEvent `json:"identified,omitempty"` // those without an event_id of their own
}

// IdentifiedEvent is an event to which its sender gave no event_id.
type IdentifiedEvent struct {
	Index        int            `json:"index"` // in the request, from 0
	EventID      string         `json:"event_id"`
	IdentifiedBy tasks.Identity `json:"identified_by"`
	Duplicate    bool           `json:"duplicate"`
}

// PostEvents takes in what users have done.
func (h *handlers) PostEvents(c echo.Context) error {
	ctx := c.Request().Context()
	call := callOf(ctx)
	message := events.Message{
		ProjectID:  call.key.ProjectID,
		Source:     events.SourceREST,
		CloudEvent: events.CloudEventOf(c.Request().Header.Get, "ce-"),
	}
	if call.idempotency != nil {
		replayed, err := h.db.ClaimForEvents(ctx, call.key.ProjectID, call.idempotency, h.now())
		if err != nil {
			return err
		}
		if replayed {
			c.Response().Header().Set("Idempotency-Replayed", "true")
		}
		message.Transport = []string{"idempotency-key", call.idempotency.Key}
	}
	return h.takeIn(c, message)
}

// PostEventsHook takes in events by signed webhook.
func (h *handlers) PostEventsHook(c echo.Context) error {
	if h.events.Webhook == nil {
		return fail(ProblemCodeWebhookDisabled, "set QUICKPASS_EVENTS_WEBHOOK_SECRETS, or use POST /api/v1/events")
	}
	id, err := h.events.Webhook.Verify(c.Request().Header, callOf(c.Request().Context()).body, h.now())
	if err != nil {
		return err
	}
	return h.takeIn(c, events.Message{
		ProjectID: h.events.WebhookProject,
		Source:    events.SourceWebhook,
		Transport: events.WebhookTransport(id),
	})
}

// takeIn has the events of a body counted and says what became of each.
func (h *handlers) takeIn(c echo.Context, message events.Message) error {
	ctx := c.Request().Context()
	message.ContentType, message.Body = callOf(ctx).media, callOf(ctx).body
	items, err := h.events.Decoder.Decode(message, h.now())
	if err != nil {
		return unreadable(err)
	}
	answer := IntakeAnswer{Rejected: []RejectedEvent{}}
	received, indices := make([]tasks.Received, 0, len(items)), make([]int, 0, len(items))
	for _, item := range items {
		if r := item.Rejection; r != nil {
			answer.Rejected = append(answer.Rejected, RejectedEvent{
				Index:   r.Index,
				EventID: optional.Text(r.EventID),
				Code:    r.Code,
				Message: r.Message,
			})
			continue
		}
		received, indices = append(received, item.Received), append(indices, item.Index)
	}
	if len(received) == 0 {
		f := fail(ProblemCodeEventsRejected, "see rejected for what is wrong with each")
		f.rejected = answer.Rejected
		return f
	}
	receipts, err := h.events.Counter.Count(ctx, message.ProjectID, received)
	if err != nil {
		return err
	}
	answer.tell(received, indices, receipts)
	return c.JSON(http.StatusAccepted, answer)
}

func (a *IntakeAnswer) tell(received []tasks.Received, indices []int, receipts []tasks.Receipt) {
	for i, receipt := range receipts {
		if receipt.Duplicate {
			a.Duplicates++
		} else {
			a.Accepted++
		}
		if event := received[i]; event.IdentifiedBy != tasks.ByEventID {
			a.Identified = append(a.Identified, IdentifiedEvent{
				Index:        indices[i],
				EventID:      event.ID,
				IdentifiedBy: event.IdentifiedBy,
				Duplicate:    receipt.Duplicate,
			})
		}
	}
}

// unreadable is a body in which there is no event to be found.
func unreadable(err error) error {
	var message *events.MessageError
	if !errors.As(err, &message) {
		return err
	}
	code := ProblemCodeInvalidRequest
	switch message.Code {
	case events.CodeTooManyEvents:
		code = ProblemCodeTooManyEvents
	case events.CodeBodyTooLarge:
		code = ProblemCodeBodyTooLarge
	case events.CodeUnsupportedMediaType:
		code = ProblemCodeUnsupportedMediaType
	}
	return fail(code, message.Message)
}

func serveEventProto(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(events.ProtoFile) // nobody is left to tell
}
