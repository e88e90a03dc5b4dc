package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
)

// sandboxOf is the provider that we serve.
func sandboxOf(db *postgres.DB) payments.Sandbox {
	return payments.Sandbox{Order: func(ctx context.Context, hash [sha256.Size]byte) (checkout.Order, error) {
		order, err := db.CheckoutOfToken(ctx, hash[:])
		if errors.Is(err, postgres.ErrNotFound) {
			err = payments.ErrNoSuchToken
		}
		return order.Order, err
	}}
}

// notificationsOf is the provider for whoever tells by signed webhook; nil when nobody does.
func notificationsOf(db *postgres.DB, verifier *events.WebhookVerifier) *payments.Notifications {
	if verifier == nil {
		return nil
	}
	return &payments.Notifications{
		Verify: func(header http.Header, body []byte, now time.Time) error {
			_, err := verifier.Verify(header, body, now)
			return err
		},
		IsSandbox: db.CheckoutIsSandbox,
		Reserved:  []string{payments.SandboxName, postgres.WalletProvider},
	}
}

// takePayment lets the provider read what arrived, has the payment decided upon and written down, and the
// order delivered if it is paid.
func (h *handlers) takePayment(ctx context.Context, provider payments.Provider, m payments.Message) (postgres.RecordedPayment, error) {
	m.At = h.now()
	claim, err := provider.Read(ctx, m)
	if err != nil {
		return postgres.RecordedPayment{}, err
	}
	recorded, err := h.db.RecordPayment(ctx, claim.OrderID, claim.Payment, m.At)
	if err == nil && recorded.Change != nil {
		h.checkoutChanged(*recorded.Change)
	}
	return recorded, err
}

func takenBody(p postgres.RecordedPayment) TakenPayment {
	body := TakenPayment{OrderID: p.OrderID, Status: p.Status, Outcome: p.Outcome, Reason: p.Reason}
	if p.PaymentID != 0 {
		body.PaymentID = &p.PaymentID
	}
	return body
}

// paySandbox tells who pays with a test card also of a payment that comes too late.
func (h *handlers) paySandbox(ctx context.Context, m payments.Message) (postgres.RecordedPayment, error) {
	recorded, err := h.takePayment(ctx, h.sandbox, m)
	if err == nil && recorded.Outcome != checkout.Accepted {
		err = fail(ProblemCodePaymentNotTaken, "nothing was paid: "+string(recorded.Reason))
	}
	return recorded, err
}

// PaySandbox is a payment by a test card, in a project in sandbox mode; no money moves.
func (h *handlers) PaySandbox(ctx context.Context, _ PaySandboxRequestObject) (PaySandboxResponseObject, error) {
	m := payments.Message{Body: callOf(ctx).body}
	if key := callOf(ctx).idempotency; key != nil {
		m.Key = key.Key
	}
	recorded, err := h.paySandbox(ctx, m)
	return PaySandbox200JSONResponse(takenBody(recorded)), err
}

var errWebhookDisabled = fail(ProblemCodeWebhookDisabled, "set QUICKPASS_PAYMENTS_WEBHOOK_SECRETS")

// PostPaymentsHook takes a signed notification of a payment from whoever charged the user.
func (h *handlers) PostPaymentsHook(c echo.Context) error {
	if h.notifications == nil {
		return errWebhookDisabled
	}
	ctx := c.Request().Context()
	recorded, err := h.takePayment(ctx, h.notifications, payments.Message{Header: c.Request().Header, Body: callOf(ctx).body})
	if err != nil {
		return orElse(err, fail(ProblemCodeOrderNotFound, "there is no such order; the payment was not taken"))
	}
	return c.JSON(http.StatusOK, takenBody(recorded))
}
