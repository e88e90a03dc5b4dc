package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/shopspring/decimal"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
	"github.com/quickpass/quickpass/internal/testkit"
)

const project = "/api/v2/project/1"

// checkoutShop is a shop whose project sells the gun of seed 002 at half price, a pass, gold and a gift. Its
// notifications of payments are signed with webhookSecret.
func checkoutShop(t *testing.T, change ...func(*Options)) *shop {
	t.Helper()
	webhook, err := events.NewWebhookVerifier([]string{webhookSecret})
	require.NoError(t, err)
	s := newShop(t, append([]func(*Options){func(o *Options) { o.Payments = webhook }}, change...)...).openV2()
	price := []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}, {Amount: decimal.RequireFromString("2.50"), Currency: "EUR"}}
	for _, item := range []catalog.Item{
		{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft},
		{SKU: "gun_1", Type: catalog.VirtualGood, VirtualItemType: catalog.Consumable, Prices: price,
			Promotions: []catalog.Promotion{{ID: "half", Name: catalog.Text{"en": "half price"}, Discount: &catalog.Discount{Percent: new(decimal.NewFromInt(50))}}}},
		{SKU: "pass", Type: catalog.VirtualGood, VirtualItemType: catalog.NonRenewingSubscription, Prices: price,
			VirtualPrices:    []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: 40, IsDefault: true}, {SKU: "gold", Amount: 5}},
			InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &subscriptions.Period{Unit: subscriptions.Day, Value: 30}}},
		{SKU: "gift", Type: catalog.VirtualGood, VirtualItemType: catalog.Consumable, IsFree: true},
	} {
		item.Name = catalog.Text{"en": "A " + item.SKU, "de": "Ein " + item.SKU}
		if item.Status == "" {
			item.Status = catalog.Published
		}
		s.addItem(item)
	}
	return s
}

// v2 calls as a user; the answer must have the status.
func (s *shop) v2(status int, method, path, body string, changes ...with) answer {
	s.t.Helper()
	a := s.call("", method, path, body, append([]with{byUser(s.t, "rich")}, changes...)...)
	require.Equal(s.t, status, a.status, "%s %s: %s", method, path, a.body)
	return a
}

func (s *shop) refusedV2(status, code int, method, path, body string, changes ...with) {
	s.t.Helper()
	a := s.v2(status, method, path, body, changes...)
	require.Equal(s.t, code, into[v2Error](s.t, a).ErrorCode, "%s", a.body)
}

// deliver does what the workflow of an order does.
func (s *shop) deliver(orderID int64) {
	s.t.Helper()
	_, err := s.db.SettleCheckout(s.t.Context(), orderID, time.Now())
	require.NoError(s.t, err)
	s.watcher.Changed(fmt.Sprint("checkout/", orderID))
}

// payAndDeliver does it beside a test that waits for it.
func (s *shop) payAndDeliver(orderID int64) error {
	order, err := s.db.GetCheckout(s.t.Context(), testkit.Project, orderID)
	if err != nil {
		return err
	}
	payment := checkout.Payment{
		Provider:   payments.SandboxName,
		ProviderID: fmt.Sprint("of ", orderID),
		Amount:     order.Price.Payable(),
		Currency:   order.Price.Currency,
		Sandbox:    true,
	}
	if _, err := s.db.RecordPayment(s.t.Context(), orderID, payment, time.Now()); err != nil {
		return err
	}
	_, err = s.db.SettleCheckout(s.t.Context(), orderID, time.Now())
	s.watcher.Changed(contract.CheckoutWorkflowID(orderID))
	return err
}

func (s *shop) status(orderID int64) checkout.OrderStatus {
	s.t.Helper()
	return into[ShownOrder](s.t, s.v2(200, "GET", fmt.Sprint(project, "/order/", orderID), "")).Status
}

func (s *shop) checkout(path, body string, changes ...with) MadeOrder {
	s.t.Helper()
	return into[MadeOrder](s.t, s.v2(200, "POST", project+path, body, changes...))
}

func (s *shop) card(token, card, code string, changes ...with) answer {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "card": card, "code": code})
	require.NoError(s.t, err)
	return s.call("", "POST", "/api/v1/sandbox/payments", string(body), changes...)
}

// The calls of seed 002, one after the other; sums are right where the seed's sample is not.
func TestSeedsCartAndOrder(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	empty := s.v2(200, "GET", project+"/cart/custom_id?locale=en&currency=USD", "")
	require.JSONEq(t, `{"cart_id": "custom_id", "is_free": true, "items": [], "price": null, "promotions": []}`, string(empty.body))
	s.v2(204, "PUT", project+"/cart/custom_id/item/gun_1", `{"quantity": 123}`)
	made := s.checkout("/payment/cart/custom_id", `{"currency": "USD", "locale": "en", "sandbox": false}`)
	require.NotZero(t, made.OrderID)
	require.Len(t, *made.Token, 32)
	require.NotNil(t, made.ExpiresAt)
	require.Equal(t, &Charge{Amount: "122.39", Currency: "USD"}, made.Payable)

	read := s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "")
	require.JSONEq(t, fmt.Sprintf(`{"order_id": %d, "status": "new", "expires_at": %q, "payable": {"amount": "122.39", "currency": "USD"}, "content": {"is_free": false, "virtual_price": null,
		"price": {"amount": "122.3850", "amount_without_discount": "244.7700", "currency": "USD"},
		"items": [{"sku": "gun_1", "quantity": 123, "is_free": false, "is_bonus": false, "price": {"amount": "0.9950", "amount_without_discount": "1.9900", "currency": "USD"}}]}}`,
		made.OrderID, made.ExpiresAt.Format(time.RFC3339Nano)), string(read.body))
	paid := into[TakenPayment](t, s.card(*made.Token, payments.CardPays, ""))
	require.Equal(t, []any{checkout.Paid, checkout.Accepted}, []any{paid.Status, paid.Outcome})
	s.deliver(made.OrderID)
	require.Equal(t, checkout.Done, s.status(made.OrderID))
	require.Len(t, s.starter.checkouts, 2, "made, and paid")
}

func TestCartOverHTTP(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	filled := into[Cart](t, s.v2(200, "PUT", project+"/cart/fill", `{"items": [{"sku": "gun_1", "quantity": 2}, {"sku": "none", "quantity": 1}]}`))
	require.Equal(t, postgres.CurrentCart, filled.CartID)
	require.Equal(t, []checkout.Warning{{SKU: "none", Quantity: 1, ErrorCode: checkout.ItemNotFound, ErrorMessage: "[0401-4001]: there is no item none"}}, filled.Warnings)
	s.v2(204, "PUT", project+"/cart/item/pass", `{"quantity": 1}`)
	shown := into[Cart](t, s.v2(200, "GET", project+"/cart?currency=EUR&locale=de", ""))
	require.Equal(t, []string{"5", "EUR", "Ein gun_1"}, []string{shown.Price.Amount.String(), shown.Price.Currency, shown.Items[0].Name}, "2 at half of 2.50, and one at 2.50")
	s.v2(204, "DELETE", project+"/cart/item/pass", "")
	s.refusedV2(404, 4001, "DELETE", project+"/cart/item/pass", "")
	s.refusedV2(404, 4001, "PUT", project+"/cart/item/none", `{"quantity": 1}`)
	huge := s.v2(422, "PUT", project+"/cart/item/gun_1", `{"quantity": 99999999999}`)
	require.Contains(t, string(huge.body), "at most 1000000")
	s.v2(204, "PUT", project+"/cart/item/gun_1", `{"quantity": 0}`)
	require.Empty(t, into[Cart](t, s.v2(200, "GET", project+"/cart", "")).Items)
	s.v2(204, "PUT", project+"/cart/custom_id/item/gun_1", `{"quantity": 1}`)
	s.v2(204, "PUT", project+"/cart/custom_id/clear", "")
	s.v2(204, "PUT", project+"/cart/clear", "")
	require.Empty(t, into[Cart](t, s.v2(200, "GET", project+"/cart/custom_id", "")).Items)
}

// A cart that has an id and the current one are filled, changed and ordered alike.
func TestCartsByIDAndCurrent(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	for _, cart := range []string{"/cart", "/cart/mine"} {
		filled := into[Cart](t, s.v2(200, "PUT", project+cart+"/fill", `{"items": [{"sku": "gun_1", "quantity": 2}, {"sku": "pass", "quantity": 1}]}`))
		require.Len(t, filled.Items, 2)
		s.v2(204, "DELETE", project+cart+"/item/pass", "")
		require.NotNil(t, s.checkout("/payment"+cart, "").Token)
		s.v2(204, "PUT", project+cart+"/item/gift", `{"quantity": 1}`)
		free := s.checkout("/free"+cart, "")
		require.Nil(t, free.Token)
		require.Nil(t, free.Payable)
		require.Equal(t, checkout.Done, s.status(free.OrderID))
		require.Empty(t, into[Cart](t, s.v2(200, "GET", project+cart, "")).Items, "what is ordered is not in the cart any more")
	}
}

func TestServerFillsACart(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	const fill, body = "/api/v2/admin/project/1/cart/fill", `{"currency": "EUR", "country": "DE", "items": [{"sku": "gun_1", "quantity": 2}]}`
	for _, named := range []with{header("x-user-id", "newcomer"), header("x-user-for", token(t, "newcomer"))} {
		cart := into[Cart](t, s.v2(200, "PUT", fill, body, byServer(), named))
		require.Equal(t, "EUR", cart.Price.Currency)
	}
	shown := into[Cart](t, s.v2(200, "GET", project+"/cart", "", byUser(t, "newcomer")))
	require.Equal(t, []string{"2.5", "EUR"}, []string{shown.Price.Amount.String(), shown.Price.Currency}, "as the server has asked for")
	s.v2(200, "PUT", "/api/v2/admin/project/1/cart/mine/fill", body, byServer(), header("x-user-id", "newcomer"))
	s.refusedV2(422, 1102, "PUT", fill, body, byServer())
	s.refusedV2(401, 1013, "PUT", fill, body, byServer(), header("x-user-for", "nonsense"))
	s.refusedV2(401, 1013, "PUT", fill, body, header("x-user-id", "newcomer"))
}

func TestBadInputOfCartsAndOrders(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.v2(204, "PUT", project+"/cart/gifts/item/gift", `{"quantity": 1}`)
	other := s.checkout("/payment/item/gun_1", "", byUser(t, "somebody"))
	for _, test := range []struct {
		status, code int
		method, path string
		body         string
	}{
		{422, 1102, "PUT", "/cart/item/gun_1", `{"quantity": -1}`},
		{422, 1102, "PUT", "/cart/item/gun_1", `{"quantity": 1.5}`},
		{422, 1102, "PUT", "/cart/item/gun_1", `{"quantity": 99999999999999999999}`},
		{422, 1102, "PUT", "/cart/item/gun_1", `{"quantity": "1"}`},
		{422, 1102, "PUT", "/cart/item/gun_1", `{}`},
		{422, 1102, "PUT", "/cart/fill", `{"items": []}`},
		{422, 1102, "PUT", "/cart/fill", `{"items": [{"sku": "gun_1"}]}`},
		{422, 1102, "PUT", "/cart/fill", `[]`},
		{422, 1102, "PUT", "/cart/fill", `{"items"`},
		{422, 1102, "GET", "/cart?currency=XXX", ""},
		{422, 1401, "POST", "/payment/cart", ""},
		{422, 1401, "POST", "/payment/cart/gifts", "{}"},
		{422, 1401, "POST", "/free/cart", "{}"},
		{404, 4001, "POST", "/payment/item/none", "{}"},
		{404, 9802, "POST", "/payment/item/gun_1", `{"promo_code": "SAVE"}`},
		{422, 1102, "POST", "/payment/item/gun_1", `{"quantity": 0}`},
		{422, 1102, "POST", "/payment/item/gun_1", `{"currency": "usd"}`},
		{422, 1455, "POST", "/payment/item/gun_1", `{"currency": "JPY"}`},
		{422, 1411, "POST", "/payment/item/gift", "{}"},
		{422, 1411, "POST", "/free/item/gun_1", "{}"},
		{422, 1411, "POST", "/payment/item/gun_1/virtual/coins", "{}"},
		{422, 5006, "POST", "/payment/item/pass/virtual/gold", "{}"},
		{422, 1459, "POST", "/payment/item/pass/virtual/coins", `{"quantity": 1000000}`},
		{404, 9001, "GET", "/order/999999", ""},
		{422, 1102, "GET", "/order/abc", ""},
		{404, 9001, "GET", fmt.Sprint("/order/", other.OrderID), ""},
		{404, 9001, "GET", fmt.Sprint("/order/", other.OrderID, "/stream"), ""},
		{404, 9001, "POST", fmt.Sprint("/order/", other.OrderID, "/cancel"), ""},
	} {
		t.Run(test.method+" "+test.path+" "+test.body, func(t *testing.T) {
			s.refusedV2(test.status, test.code, test.method, project+test.path, test.body)
		})
	}
	mine := s.checkout("/payment/item/gun_1", "")
	s.refusedV2(404, 9001, "GET", fmt.Sprint(project, "/order/", mine.OrderID), "", header("Authorization", "Bearer "+*other.Token))
	s.refusedV2(403, 0, "GET", project+"/cart", "", func(r *http.Request) { r.Header.Del("Authorization") })
}

func TestOrdersAreMadeOncePerKeyAndUser(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	key := header("Idempotency-Key", "k-1")
	first := s.v2(200, "POST", project+"/payment/item/gun_1", "{}", key)
	again := s.v2(200, "POST", project+"/payment/item/gun_1", "{}", key)
	require.Equal(t, string(first.body), string(again.body))
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	s.refusedV2(422, 1102, "POST", project+"/payment/item/gun_1", `{"quantity": 2}`, key)
	somebody := s.checkout("/payment/item/gun_1", "{}", key, byUser(t, "somebody"))
	require.NotEqual(t, into[MadeOrder](t, first).OrderID, somebody.OrderID, "the key of another user")
}

func TestFreeAndVirtualOrders(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	free := s.checkout("/free/item/gift", "")
	require.Nil(t, free.Token)
	require.Equal(t, checkout.Done, s.status(free.OrderID))
	s.v2(204, "PUT", project+"/cart/item/gift", `{"quantity": 2}`)
	require.Equal(t, checkout.Done, s.status(s.checkout("/free/cart", "").OrderID))
	pass := s.checkout("/payment/item/pass/virtual/coins?platform=xsolla", "")
	shown := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", pass.OrderID), ""))
	require.Equal(t, &checkout.ShownVirtualPrice{Amount: "40", AmountWithoutDiscount: "40", Currency: "coins"}, shown.Content.VirtualPrice)
	require.Nil(t, shown.Content.Price)
	require.Nil(t, shown.Payable)
	require.Equal(t, int64(1_000_000-40), into[Wallet](t, s.call("storefront", "GET", "/api/v1/users/rich/wallet", "")).Available)
	items := s.v2(200, "GET", project+"/user/time_limited_items", "")
	require.Contains(t, string(items.body), `"status":"active"`)
}

func TestServerToken(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	const path = "/api/v3/project/1/admin/payment/token"
	made := into[MadeOrder](t, s.v2(201, "POST", path, `{"user": {"id": {"value": "newcomer"}, "country": {"value": "DE", "allow_modify": false}, "email": {"value": "a@example.com"}},
		"purchase": {"items": [{"sku": "gun_1", "quantity": 2}, {"sku": "pass", "quantity": 1}]}, "settings": {"currency": "EUR", "language": "de", "external_id": "x-1", "ui": {"theme": "dark"}},
		"custom_parameters": {"level": 7}}`, byServer()))
	byToken := header("Authorization", "Bearer "+*made.Token)
	shown := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "", byToken))
	require.Equal(t, "EUR", shown.Content.Price.Currency)
	s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "", byServer())
	user := `{"user": {"id": {"value": "newcomer"}}, "purchase": {"items": `
	s.refusedV2(422, 1417, "POST", path, user+`[]}}`, byServer())
	s.refusedV2(422, 1421, "POST", path, user+`[{"sku": "gift", "quantity": 1}]}}`, byServer())
	s.refusedV2(422, 1102, "POST", path, `{"purchase": {"items": []}}`, byServer())
	s.refusedV2(401, 1013, "POST", path, user+`[]}}`)
	s.refusedV2(401, 1020, "POST", path, user+`[]}}`, header("Authorization", "Basic MTp3cm9uZw=="))

	const search = "/api/v3/project/1/admin/order/search"
	s.checkout("/free/item/gift", "")
	found := into[FoundOrders](t, s.v2(200, "POST", search, `{"limit": 1}`, byServer()))
	require.Equal(t, []any{1, int64(2), true}, []any{len(found.Orders), found.TotalItemsCount, found.HasMore})
	require.True(t, found.Orders[0].IsFree)
	found = into[FoundOrders](t, s.v2(200, "POST", search, `{"offset": 1}`, byServer()))
	require.False(t, found.HasMore)
	require.Equal(t, []any{"newcomer", "DE", FoundOrderMode("sandbox"), "EUR"}, []any{found.Orders[0].User.ID, *found.Orders[0].User.Country, found.Orders[0].Mode, found.Orders[0].Price.Currency})
	found = into[FoundOrders](t, s.v2(200, "POST", search, `{"created_date_until": "2020-01-01T00:00:00Z"}`, byServer()))
	require.Empty(t, found.Orders)
	s.refusedV2(422, 1102, "POST", search, `{"limit": 11}`, byServer())
}

func TestSandboxCards(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", "")
	for _, test := range []struct {
		token, card, code string
		status            int
		problem           string
	}{
		{*made.Token, payments.CardDeclined, "", 402, "card_declined"},
		{*made.Token, payments.CardWithCode, "", 402, "payment_code_required"},
		{*made.Token, payments.CardWithCode, "9999", 402, "payment_code_required"},
		{*made.Token, payments.CardTimesOut, "", 504, "payment_timeout"},
		{*made.Token, "4242424242424242", "", 400, "invalid_request"},
		{*made.Token, "card", "", 400, "invalid_request"},
		{"nobody's", payments.CardPays, "", 404, "order_not_found"},
		{"", payments.CardPays, "", 404, "order_not_found"},
	} {
		a := s.card(test.token, test.card, test.code)
		require.Equal(t, []any{test.status, test.problem}, []any{a.status, a.code()}, "%+v", test)
		require.Equal(t, checkout.New, s.status(made.OrderID))
	}
	key := header("Idempotency-Key", "k")
	require.Equal(t, 200, s.card(*made.Token, payments.CardWithCode, payments.SandboxCode, key).status)
	require.Equal(t, 200, s.card(*made.Token, payments.CardWithCode, payments.SandboxCode, key).status, "the same payment again")
	twice := s.card(*made.Token, payments.CardPays, "")
	require.Equal(t, []any{409, "payment_not_taken"}, []any{twice.status, twice.code()})
	listed := into[CheckoutPaymentPage](t, s.call("support", "GET", "/api/v1/admin/checkout-payments", "")).Items
	require.Len(t, listed, 2)
	require.Equal(t, []any{checkout.Returned, checkout.SecondPayment}, []any{listed[0].Outcome, listed[0].Reason})

	require.NoError(t, s.exec("UPDATE projects SET sandbox = false"))
	strict := checkoutShop(t)
	require.NoError(t, strict.exec("UPDATE projects SET sandbox = false"))
	strict.refusedV2(422, 1102, "POST", project+"/payment/item/gun_1", `{"sandbox": true}`)
	real := strict.checkout("/payment/item/gun_1", "")
	a := strict.card(*real.Token, payments.CardPays, "")
	require.Equal(t, []any{409, "sandbox_off"}, []any{a.status, a.code()})
}

func (s *shop) exec(sql string) error {
	_, err := s.db.Pool().Exec(s.t.Context(), sql)
	return err
}

// notify sends a signed notification of a payment.
func (s *shop) notify(id, body string) answer {
	s.t.Helper()
	return s.signed("/api/v1/hooks/payments", id, body)
}

func (s *shop) signed(path, id, body string) answer {
	s.t.Helper()
	webhook, err := standardwebhooks.NewWebhook(webhookSecret)
	require.NoError(s.t, err)
	now := time.Now()
	signature, err := webhook.Sign(id, now, []byte(body))
	require.NoError(s.t, err)
	return s.call("", "POST", path, body, header("webhook-id", id), header("webhook-timestamp", fmt.Sprint(now.Unix())), header("webhook-signature", signature))
}

func TestPaymentNotifications(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", `{"quantity": 2}`)
	body := func(amount string) string {
		return fmt.Sprintf(`{"order_id": %d, "provider": "acme", "provider_id": "pay_1", "amount": %s, "currency": "USD"}`, made.OrderID, amount)
	}
	require.Equal(t, "signature_missing", s.call("", "POST", "/api/v1/hooks/payments", body("1.99")).code())
	for range 2 {
		a := s.notify("m1", body("1.99"))
		require.Equal(t, 200, a.status, "%s", a.body)
		require.Equal(t, checkout.Accepted, into[TakenPayment](t, a).Outcome)
	}
	changed := into[TakenPayment](t, s.notify("m2", body("2.99")))
	require.Equal(t, []any{checkout.Held, checkout.PaymentChanged, true}, []any{changed.Outcome, changed.Reason, changed.PaymentID == nil})
	require.Equal(t, "order_not_found", s.notify("m3", `{"order_id": 999, "provider_id": "x", "amount": "1", "currency": "USD"}`).code())
	for _, wrong := range []string{`{}`, `{"order_id": 1, "provider_id": "x", "amount": "1e9", "currency": "USD"}`, fmt.Sprintf(`{"order_id": %d, "provider_id": "x", "amount": "0", "currency": "USD"}`, made.OrderID),
		fmt.Sprintf(`{"order_id": %d, "provider_id": "x", "amount": "1", "currency": "ZZZ"}`, made.OrderID), fmt.Sprintf(`{"order_id": %d, "provider": "sandbox", "provider_id": "x", "amount": "1", "currency": "USD"}`, made.OrderID)} {
		a := s.notify("m4", wrong)
		require.Equal(t, []any{400, "invalid_request"}, []any{a.status, a.code()}, wrong)
	}
	off := newShop(t)
	require.Equal(t, "webhook_disabled", off.notify("m1", body("1.99")).code())
}

func TestHeldPaymentIsDecided(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", `{"quantity": 2}`)
	held := into[TakenPayment](t, s.notify("m1", fmt.Sprintf(`{"order_id": %d, "provider_id": "pay_1", "amount": "1.98", "currency": "USD"}`, made.OrderID)))
	require.Equal(t, []any{checkout.Held, checkout.AmountDiffers, checkout.New}, []any{held.Outcome, held.Reason, held.Status})
	path := fmt.Sprint("/api/v1/admin/checkout-payments/", *held.PaymentID, "/decide")
	require.Equal(t, 403, s.call("support", "POST", path, `{"accept": true, "reason": "x"}`).status)
	taken := into[TakenPayment](t, s.call("admin", "POST", path, `{"accept": true, "reason": "a cent"}`))
	require.Equal(t, []any{checkout.Accepted, checkout.Paid}, []any{taken.Outcome, taken.Status})
	require.Equal(t, "payment_not_decidable", s.call("admin", "POST", path, `{"accept": false, "reason": "x"}`).code())
	require.Equal(t, "payment_not_found", s.call("admin", "POST", "/api/v1/admin/checkout-payments/999/decide", `{"accept": false, "reason": "x"}`).code())
}

// Every field that clients of the search know is there, null where nothing is known; a search without a body
// asks for all.
func TestSearchHasTheFieldsThatClientsKnow(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	s.checkout("/payment/item/gun_1", `{"country": "DE"}`)
	a := s.v2(200, "POST", "/api/v3/project/1/admin/order/search", "", byServer())
	require.JSONEq(t, string(a.body), string(s.v2(200, "POST", "/api/v3/project/1/admin/order/search", "{}", byServer()).body))
	var found struct{ Orders []map[string]any }
	require.NoError(t, json.Unmarshal(a.body, &found))
	require.Len(t, found.Orders, 1)
	require.Equal(t, map[string]any{"id": "rich", "country": "DE", "email": nil, "region_id": nil}, found.Orders[0]["user"])
	item := found.Orders[0]["items"].([]any)[0].(map[string]any)
	listed := into[catalog.ShownItem](t, s.v2(200, "GET", project+"/items/virtual_items/sku/gun_1", ""))
	require.EqualValues(t, listed.ItemID, item["item_id"])
	for _, field := range []string{"region_id", "tax_category"} {
		require.Contains(t, item, field)
		require.Nil(t, item[field])
	}
}

// What is charged is told with the order, in what the currency has coins for.
func TestOrdersTellWhatIsCharged(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	cents := catalog.Item{
		SKU:             "cents",
		Type:            catalog.VirtualGood,
		VirtualItemType: catalog.Consumable,
		Status:          catalog.Published,
		Name:            catalog.Text{"en": "Cents"},
		Prices: []catalog.Price{{Amount: decimal.RequireFromString("0.995"), Currency: "USD", IsDefault: true}, {Amount: decimal.RequireFromString("155.5633"), Currency: "KWD"},
			{Amount: decimal.RequireFromString("155.56"), Currency: "JPY"}, {Amount: decimal.RequireFromString("0.01"), Currency: "KRW"}},
	}
	s.addItem(cents)
	for currency, charged := range map[string]string{"USD": "2.99", "KWD": "466.690", "JPY": "467", "KRW": "1"} {
		quantity := 3
		if currency == "KRW" {
			quantity = 1 // the smallest price
		}
		key := header("Idempotency-Key", currency)
		body := fmt.Sprintf(`{"currency": %q, "quantity": %d}`, currency, quantity)
		made := s.checkout("/payment/item/cents", body, key)
		require.Equal(t, &Charge{Amount: charged, Currency: currency}, made.Payable)
		require.Equal(t, made, s.checkout("/payment/item/cents", body, key), "told again")
		s.card(*made.Token, payments.CardPays, "")
		s.deliver(made.OrderID)
		shown := into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), ""))
		require.Equal(t, made.Payable, shown.Payable, "also when it is done")
		paid := into[CheckoutOrderDetail](t, s.call("support", "GET", fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID), "")).Payments[0]
		require.True(t, decimal.RequireFromString(charged).Equal(paid.Amount), "%s", paid.Amount)
	}
}

func TestRefundOverHTTP(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", `{"quantity": 3}`)
	path := fmt.Sprint("/api/v1/admin/checkout-orders/", made.OrderID)
	require.Equal(t, "order_not_refundable", s.call("admin", "POST", path+"/refund", `{"reason": "x"}`).code(), "not paid")
	s.card(*made.Token, payments.CardPays, "")
	s.deliver(made.OrderID)
	part := into[CheckoutRefund](t, s.call("admin", "POST", path+"/refund", `{"reason": "one was broken", "lines": [{"line_id": "1", "quantity": 1}]}`))
	require.Equal(t, []any{"1", false}, []any{part.Amount.String(), part.Whole})
	require.Equal(t, "1", into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "")).Refunded)
	wrong := s.call("admin", "POST", path+"/refund", `{"reason": "x", "lines": [{"line_id": "1", "quantity": 3}]}`)
	require.Equal(t, "order_not_refundable", wrong.code())
	require.Contains(t, string(wrong.body), "lines[0]")
	key := header("Idempotency-Key", "k")
	rest := s.call("admin", "POST", path+"/refund", `{"reason": "all of it"}`, key)
	require.Equal(t, "1.99", into[CheckoutRefund](t, rest).Amount.String(), "2.985 was charged as 2.99")
	again := s.call("admin", "POST", path+"/refund", `{"reason": "all of it"}`, key)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, string(rest.body), string(again.body))
	require.Equal(t, checkout.Canceled, s.status(made.OrderID))
	detail := into[CheckoutOrderDetail](t, s.call("support", "GET", path, ""))
	require.Equal(t, []int{1, 1, 2}, []int{len(detail.Lines), len(detail.Payments), len(detail.Refunds)})
	require.Equal(t, []string{"refunded", "all of it"}, []string{*detail.Order.Reason, detail.Refunds[1].Reason}, "the admin's words are not for the buyer")
	require.Equal(t, "order_not_found", s.call("admin", "POST", "/api/v1/admin/checkout-orders/999/refund", `{"reason": "x"}`).code())
	require.Equal(t, "order_not_found", s.call("admin", "GET", "/api/v1/admin/checkout-orders/999", "").code())

	s.checkout("/free/item/gift", "")
	first := into[CheckoutOrderPage](t, s.call("admin", "GET", "/api/v1/admin/checkout-orders?limit=1", ""))
	require.True(t, first.Items[0].IsFree)
	second := into[CheckoutOrderPage](t, s.call("admin", "GET", "/api/v1/admin/checkout-orders?limit=1&cursor="+*first.NextCursor, ""))
	require.Equal(t, made.OrderID, second.Items[0].OrderID)
	require.Nil(t, second.NextCursor)
	require.Len(t, into[CheckoutOrderPage](t, s.call("admin", "GET", "/api/v1/admin/checkout-orders?status=canceled&user_id=rich", "")).Items, 1)
}

func TestCancelOverHTTP(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", "")
	path := fmt.Sprint(project, "/order/", made.OrderID, "/cancel")
	for range 2 {
		canceled := into[ShownOrder](t, s.v2(200, "POST", path, ""))
		require.Equal(t, []any{checkout.Canceled, "canceled_by_user"}, []any{canceled.Status, canceled.Reason})
	}
	require.Equal(t, "payment_not_taken", s.card(*made.Token, payments.CardPays, "").code())
	paid := s.checkout("/payment/item/gun_1", "")
	s.card(*paid.Token, payments.CardPays, "")
	s.refusedV2(422, 1102, "POST", fmt.Sprint(project, "/order/", paid.OrderID, "/cancel"), "")
}

// An order whose time is up is told as expired, whether or not its timer has fired.
func TestExpiryIsTheClocks(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := checkoutShop(t, func(o *Options) { o.Clock = func() time.Time { return now } })
	made := s.checkout("/payment/item/gun_1", "")
	now = made.ExpiresAt.Add(-time.Second)
	lasting := byUserUntil(t, now.Add(time.Hour))
	read := func() checkout.OrderStatus {
		return into[ShownOrder](t, s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "", lasting)).Status
	}
	require.Equal(t, checkout.New, read())
	now = *made.ExpiresAt
	require.Equal(t, checkout.Expired, read())
	require.Equal(t, "payment_not_taken", s.card(*made.Token, payments.CardPays, "").code())
}

func TestWaitForAnOrder(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", "")
	path := fmt.Sprint(project, "/order/", made.OrderID)
	short := s.v2(200, "GET", path, "", header("Prefer", "wait=0"))
	require.Equal(t, "wait=0", short.header.Get("Preference-Applied"))
	require.Equal(t, checkout.New, into[ShownOrder](t, short).Status)
	var paying errgroup.Group
	paying.Go(func() error { return s.payAndDeliver(made.OrderID) })
	require.Equal(t, checkout.Done, into[ShownOrder](t, s.v2(200, "GET", path, "", header("Prefer", "wait=60"))).Status)
	require.NoError(t, paying.Wait())
}

func TestStreamOfAnOrder(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", "")
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+fmt.Sprint(project, "/order/", made.OrderID, "/stream"), nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+*made.Token)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	var seen []checkout.OrderStatus
	var last string
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var order ShownOrder
		require.NoError(t, json.Unmarshal([]byte(data), &order))
		seen, last = append(seen, order.Status), data
		switch order.Status {
		case checkout.New:
			s.card(*made.Token, payments.CardPays, "")
		case checkout.Paid:
			s.deliver(made.OrderID)
		}
	}
	require.NoError(t, lines.Err())
	require.Equal(t, []checkout.OrderStatus{checkout.New, checkout.Paid, checkout.Done}, seen)
	require.JSONEq(t, string(s.v2(200, "GET", fmt.Sprint(project, "/order/", made.OrderID), "").body), last, "all ways of following an order agree")
}

func TestPaymentPage(t *testing.T) {
	t.Parallel()
	s := checkoutShop(t)
	made := s.checkout("/payment/item/gun_1", "")
	page := func(query string, form url.Values) (int, string) {
		method, body := "GET", strings.NewReader(form.Encode())
		if form != nil {
			method = "POST"
		}
		r, err := http.NewRequestWithContext(t.Context(), method, s.http.URL+"/sandbox/pay"+query, body)
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		answered, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		if response.Header.Get("Content-Type") == "text/html; charset=UTF-8" {
			require.Equal(t, paymentPagePolicy, response.Header.Get("Content-Security-Policy"))
		}
		return response.StatusCode, string(answered)
	}
	status, body := page("?token="+*made.Token, nil)
	require.Equal(t, 200, status)
	require.Contains(t, body, "A gun_1")
	require.Contains(t, body, "1.00 USD", "0.995, as it can be charged")
	require.NotContains(t, body, "<script")
	require.NotContains(t, body, "Back to the shop")
	back := s.checkout("/payment/item/gun_1", `{"settings": {"return_url": "https://shop.example.com/thanks?a=1&b=2"}}`)
	_, body = page("?token="+*back.Token, nil)
	require.Contains(t, body, `<a href="https://shop.example.com/thanks?a=1&amp;b=2">Back to the shop</a>`)
	s.refusedV2(422, 1102, "POST", project+"/payment/item/gun_1", `{"settings": {"return_url": "javascript:alert(1)"}}`)
	pay := func(card, code string) (int, string) {
		return page("", url.Values{"token": {*made.Token}, "card": {card}, "code": {code}})
	}
	status, body = pay("4000 0000 0000 0002", "")
	require.Equal(t, 402, status)
	require.Contains(t, body, "declined")
	status, body = pay(payments.CardWithCode, "")
	require.Equal(t, 402, status)
	require.Contains(t, body, `name="code"`)
	status, body = pay(payments.CardWithCode, payments.SandboxCode)
	require.Equal(t, 200, status)
	require.Contains(t, body, "Paid.")
	require.NotContains(t, body, "<form")
	require.Equal(t, checkout.Paid, s.status(made.OrderID))
	status, _ = page("?token="+url.QueryEscape(`"><script>`), nil)
	require.Equal(t, 404, status)
	status, _ = page("", url.Values{"token": {strings.Repeat("x", 10_000)}})
	require.Equal(t, 400, status)
	require.NotContains(t, s.log.String(), *made.Token, "no secrets in the log")
}

func byUserUntil(t *testing.T, until time.Time) with {
	return header("Authorization", "Bearer "+token(t, "rich", func(claims jwt.MapClaims) { claims["exp"] = until.Unix() }))
}
