package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
)

var errNoReturn = fail(ProblemCodeReturnNotFound, "nothing of this id is owed; GET /api/v1/admin/checkout-returns lists what is")

// AdminListCheckoutReturns lists money that goes back to who paid it.
func (h *handlers) AdminListCheckoutReturns(ctx context.Context, r AdminListCheckoutReturnsRequestObject) (AdminListCheckoutReturnsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	returns, err := h.db.ListReturns(ctx, callOf(ctx).key.ProjectID, postgres.ReturnFilter{
		Given:  r.Params.Given,
		Before: before,
		Limit:  limit + 1,
	})
	items, next := page(returns, limit, func(r postgres.CheckoutReturn) string { return strconv.FormatInt(r.ReturnID, 10) })
	return AdminListCheckoutReturns200JSONResponse{Items: each(items, returnBody), NextCursor: next}, err
}

func returnBody(r postgres.CheckoutReturn) CheckoutReturn {
	return CheckoutReturn{
		ReturnID:   r.ReturnID,
		OrderID:    r.OrderID,
		PaymentID:  r.PaymentID,
		RefundID:   optional.Text(r.RefundID),
		Provider:   r.Provider,
		ProviderID: r.ProviderID,
		Amount:     r.Amount,
		Currency:   r.Currency,
		CreatedAt:  r.CreatedAt.UTC(),
		Given:      r.GivenAt != nil,
		Reference:  optional.Text(r.Reference),
		GivenBy:    optional.Text(r.GivenBy),
		GivenAt:    utc(r.GivenAt),
	}
}

// AdminGiveCheckoutReturn writes down that an admin has given the money back.
func (h *handlers) AdminGiveCheckoutReturn(ctx context.Context, r AdminGiveCheckoutReturnRequestObject) (AdminGiveCheckoutReturnResponseObject, error) {
	key := callOf(ctx).key
	back, err := h.giveReturn(ctx, postgres.ReturnGiven{
		ReturnID:  r.ReturnID,
		ProjectID: &key.ProjectID,
		Reference: r.Body.Reference,
		By:        key.KeyID,
	})
	return AdminGiveCheckoutReturn200JSONResponse(returnBody(back)), err
}

// PostPaymentReturnsHook takes a provider's signed word that it has given money back.
func (h *handlers) PostPaymentReturnsHook(c echo.Context) error {
	if h.notifications == nil {
		return errWebhookDisabled
	}
	ctx := c.Request().Context()
	notice, err := h.notifications.ReadReturn(payments.Message{Header: c.Request().Header, Body: callOf(ctx).body, At: h.now()})
	if err != nil {
		return err
	}
	back, err := h.giveReturn(ctx, postgres.ReturnGiven{
		ReturnID:  notice.ReturnID,
		Provider:  &notice.Provider,
		Reference: notice.Reference,
		By:        "provider/" + notice.Provider,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, returnBody(back))
}

func (h *handlers) giveReturn(ctx context.Context, given postgres.ReturnGiven) (postgres.CheckoutReturn, error) {
	back, err := h.db.GiveReturn(ctx, given, h.now())
	if errors.Is(err, postgres.ErrReturnGiven) {
		err = fail(ProblemCodeReturnGiven, "it went back before, by another transaction; look at it before money moves twice")
	}
	return back, orElse(err, errNoReturn)
}
