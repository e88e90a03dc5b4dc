package api

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
)

//go:embed payment_page.gohtml
var paymentPageSource string

var paymentPage = template.Must(template.New("payment").Parse(paymentPageSource))

const (
	paymentPagePath = "/sandbox/pay"
	maxPaymentForm  = 8 << 10
	// paymentPagePolicy allows our own style sheet and the form, and no script at all.
	paymentPagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// shownPayment is what the page shows.
type shownPayment struct {
	Token     string
	Order     ShownOrder
	Lines     []checkout.OrderLine
	Due       string
	ReturnURL string // empty: nowhere
	Card      string
	Message   string
	AsksCode  bool
	CanBePaid bool
}

// GetPaymentPage is the sandbox's page for an order, by its token.
func (h *handlers) GetPaymentPage(c echo.Context) error {
	return h.showPaymentPage(c, http.StatusOK, shownPayment{Token: c.QueryParam("token"), Card: payments.CardPays})
}

// redirectToPaymentPage leads from where existing clients open the page of a payment, under the name that
// they give its token.
func redirectToPaymentPage(parameter string) echo.HandlerFunc {
	return func(c echo.Context) error {
		return c.Redirect(http.StatusFound, paymentPagePath+"?"+url.Values{"token": {c.QueryParam(parameter)}}.Encode())
	}
}

// PostPaymentPage pays with the form of the page.
func (h *handlers) PostPaymentPage(c echo.Context) error {
	r := c.Request()
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxPaymentForm)
	if err := r.ParseForm(); err != nil {
		return fail(ProblemCodeInvalidRequest, "the form can't be read")
	}
	in := payments.TestCard{Token: r.PostForm.Get("token"), Card: r.PostForm.Get("card"), Code: r.PostForm.Get("code")}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	page := shownPayment{Token: in.Token, Card: in.Card, Message: "Paid. You can close this page."}
	_, err = h.paySandbox(r.Context(), payments.Message{Body: body})
	if errors.Is(err, payments.ErrNoSuchToken) {
		return err
	}
	if err == nil {
		return h.showPaymentPage(c, http.StatusOK, page)
	}
	f := failureOf(err)
	if f.code == ProblemCodeInternal {
		return err
	}
	page.Message, page.AsksCode = f.detail, f.code == ProblemCodePaymentCodeRequired
	return h.showPaymentPage(c, f.status(), page)
}

func (h *handlers) showPaymentPage(c echo.Context, status int, page shownPayment) error {
	hash := sha256.Sum256([]byte(page.Token))
	order, err := h.db.CheckoutOfToken(c.Request().Context(), hash[:])
	if err != nil {
		return orElse(err, failureOf(payments.ErrNoSuchToken))
	}
	page.fill(order, shownOrder(order, h.now()))
	header := c.Response().Header()
	header.Set("Content-Security-Policy", paymentPagePolicy)
	header.Set(echo.HeaderContentType, echo.MIMETextHTMLCharsetUTF8)
	c.Response().WriteHeader(status)
	return paymentPage.Execute(c.Response(), page)
}

func (p *shownPayment) fill(order postgres.CheckoutOrder, shown ShownOrder) {
	p.Order, p.Lines, p.ReturnURL, p.CanBePaid = shown, order.Lines, order.ReturnURL, shown.Status == checkout.New && order.Sandbox
	if shown.Payable != nil {
		p.Due = shown.Payable.Amount + " " + shown.Payable.Currency
	}
}
