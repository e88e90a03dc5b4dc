package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/rs/xid"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Two providers take payments for orders: the sandbox, which is ours and where no money moves, and whoever tells of payments
// by signed webhook. What either says goes through takePayment.
const (
	sandboxProvider  = "sandbox"
	externalProvider = "external" // of a notification that names none
)

// takePayment has a payment decided upon and written down, and the order delivered if it is paid.
func (h *handlers) takePayment(ctx context.Context, orderID int64, p checkout.Payment) (postgres.RecordedPayment, error) {
	recorded, err := h.db.RecordPayment(ctx, orderID, p, h.now())
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

// Cards of the sandbox.
const (
	cardPays     = "4111111111111111"
	cardDeclined = "4000000000000002"
	cardWithCode = "4000000000003220" // asks for sandboxCode
	cardTimesOut = "4000000000000119"
	sandboxCode  = "1234"
)

var (
	errNoSuchToken  = fail(ProblemCodeOrderNotFound, "nobody has this token")
	errSandboxOff   = fail(ProblemCodeSandboxOff, "the order is to be paid with money, not with a test card")
	errCardDeclined = fail(ProblemCodeCardDeclined, "the card was declined; pay with another one")
	errCodeNeeded   = fail(ProblemCodePaymentCodeRequired, "the card asks for a code; send it again with the code")
	errCodeWrong    = fail(ProblemCodePaymentCodeRequired, "the code is wrong; send it again with the right one")
	errCardTimeout  = fail(ProblemCodePaymentTimeout, "the provider did not answer; nothing was paid")
	errUnknownCard  = invalid("card", "is none of the test cards")
)

// sandboxAnswer is what the provider says to a card.
func sandboxAnswer(card, code string) error {
	switch {
	case card == cardPays, card == cardWithCode && code == sandboxCode:
		return nil
	case card == cardWithCode && code == "":
		return errCodeNeeded
	case card == cardWithCode:
		return errCodeWrong
	case card == cardDeclined:
		return errCardDeclined
	case card == cardTimesOut:
		return errCardTimeout
	default:
		return errUnknownCard
	}
}

// sandboxOrder is the order that a token pays for.
func (h *handlers) sandboxOrder(ctx context.Context, token string) (postgres.CheckoutOrder, error) {
	hash := sha256.Sum256([]byte(token))
	order, err := h.db.CheckoutOfToken(ctx, hash[:])
	if errors.Is(err, postgres.ErrNotFound) {
		return order, errNoSuchToken
	}
	return order, err
}

// paySandbox pays what is due with a test card. The id names the payment: the same again is the same payment.
func (h *handlers) paySandbox(ctx context.Context, in SandboxPayment, id string) (postgres.RecordedPayment, error) {
	order, err := h.sandboxOrder(ctx, in.Token)
	switch {
	case err != nil:
		return postgres.RecordedPayment{}, err
	case !order.Sandbox:
		return postgres.RecordedPayment{}, errSandboxOff
	}
	if err := sandboxAnswer(in.Card, value(in.Code)); err != nil {
		return postgres.RecordedPayment{}, err
	}
	recorded, err := h.takePayment(ctx, order.OrderID, checkout.Payment{Provider: sandboxProvider, ProviderID: id, Amount: order.Price.Payable(), Currency: order.Price.Currency, Sandbox: true})
	if err == nil && recorded.Outcome != checkout.Accepted {
		err = fail(ProblemCodePaymentNotTaken, "nothing was paid: "+string(recorded.Reason))
	}
	return recorded, err
}

// PaySandbox is a payment by a test card (DESIGN.md, section 7).
func (h *handlers) PaySandbox(ctx context.Context, r PaySandboxRequestObject) (PaySandboxResponseObject, error) {
	id := "sb_" + xid.New().String()
	if key := callOf(ctx).idempotency; key != nil {
		own := sha256.Sum256([]byte(r.Body.Token + "\n" + key.Key))
		id = "sb_" + hex.EncodeToString(own[:16])
	}
	recorded, err := h.paySandbox(ctx, *r.Body, id)
	return PaySandbox200JSONResponse(takenBody(recorded)), err
}

// PaymentNotification is what the signed webhook says.
type PaymentNotification struct {
	OrderID    int64           `json:"order_id"`
	Provider   *string         `json:"provider"`
	ProviderID string          `json:"provider_id"`
	Amount     decimal.Decimal `json:"amount"`
	Currency   string          `json:"currency"`
	Sandbox    *bool           `json:"sandbox"` // nil: as the order's mode
}

// PostPaymentsHook takes a signed notification of a payment from whoever charged the user.
func (h *handlers) PostPaymentsHook(c echo.Context) error {
	if h.payments == nil {
		return fail(ProblemCodeWebhookDisabled, "set QUICKPASS_PAYMENTS_WEBHOOK_SECRETS")
	}
	ctx := c.Request().Context()
	_, err := h.payments.Verify(c.Request().Header, callOf(ctx).body, h.now())
	var refused *events.MessageError
	if errors.As(err, &refused) {
		return fail(ProblemCode(refused.Code), refused.Message)
	}
	if err != nil {
		return err
	}
	var in PaymentNotification
	if err := json.Unmarshal(callOf(ctx).body, &in); err != nil {
		return fail(ProblemCodeInvalidRequest, "the body does not fit the call")
	}
	recorded, err := h.paymentTold(ctx, in)
	if err != nil {
		return orElse(err, fail(ProblemCodeOrderNotFound, "there is no such order; the payment was not taken"))
	}
	return c.JSON(http.StatusOK, takenBody(recorded))
}

func (h *handlers) paymentTold(ctx context.Context, in PaymentNotification) (postgres.RecordedPayment, error) {
	sandbox, err := h.db.CheckoutIsSandbox(ctx, in.OrderID)
	if err != nil {
		return postgres.RecordedPayment{}, err
	}
	payment := checkout.Payment{Provider: or(in.Provider, externalProvider), ProviderID: in.ProviderID, Amount: in.Amount, Currency: in.Currency, Sandbox: or(in.Sandbox, sandbox)}
	mistakes := payment.Validate()
	if payment.Provider == sandboxProvider || payment.Provider == postgres.WalletProvider {
		mistakes = append(mistakes, checkout.Detail{Property: "provider", Message: "is one of ours"})
	}
	if len(mistakes) > 0 {
		f := invalid(mistakes[0].Property, mistakes[0].Message)
		f.fields = each(mistakes, func(d checkout.Detail) FieldProblem { return FieldProblem{d.Property, d.Message} })
		return postgres.RecordedPayment{}, f
	}
	return h.takePayment(ctx, in.OrderID, payment)
}
