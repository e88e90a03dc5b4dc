package mainproduct_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

const key = "key/that-nobody-may-see"

func newClient(t *testing.T, baseURL string) *mainproduct.Client {
	t.Helper()
	// A transport of its own, so that no test sees the connections of another.
	client, err := mainproduct.New(mainproduct.Config{
		BaseURL: baseURL, APIKey: key, InquiryPath: "/api/v1/credits/orders/{order_id}",
	})
	require.NoError(t, err)
	return client
}

func order() mainproduct.CreditRequest {
	return mainproduct.CreditRequest{
		UserID: "12345", Amount: decimal.NewFromInt(500), Currency: "credits",
		OrderID: "qp_order_789", ProductName: "500 credits",
	}
}

// serve answers every call with one status and body.
func serve(t *testing.T, status int, body string) *mainproduct.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL)
}

func TestCreditSendsTheSeedsRequest(t *testing.T) {
	t.Parallel()
	var method, path, body string
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		method, path, header, body = r.Method, r.URL.Path, r.Header, string(raw)
		_, _ = io.WriteString(w, `{"success":true,"transaction_id":"tx_456","new_balance":2500,"credited_amount":500}`)
	}))
	t.Cleanup(server.Close)

	answer := newClient(t, server.URL+"/").Credit(t.Context(), order())

	require.Equal(t, mainproduct.Credited, answer.Kind)
	require.Equal(t, "tx_456", answer.TransactionID)
	require.Equal(t, "2500", answer.NewBalance.String())
	require.Equal(t, "500", answer.CreditedAmount.String())
	require.Equal(t, http.StatusOK, answer.HTTPStatus)
	require.Positive(t, answer.Duration)
	require.Equal(t, http.MethodPost, method)
	require.Equal(t, "/api/v1/credits/increase", path)
	require.Equal(t, "Bearer "+key, header.Get("Authorization"))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	require.Equal(t, `{"user_id":"12345","amount":500,"currency":"credits","order_id":"qp_order_789",`+
		`"product_name":"500 credits","source":"quickpass_store"}`, body)
}

func TestAmountIsWrittenExactly(t *testing.T) {
	t.Parallel()
	for _, amount := range []string{"0.1", "12345678901234567890.123456789", "1e20", "500.00"} {
		var sent struct{ Amount json.Number }
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_ = json.NewDecoder(r.Body).Decode(&sent)
		}))
		t.Cleanup(server.Close)
		request := order()
		request.Amount = decimal.RequireFromString(amount)
		newClient(t, server.URL).Credit(t.Context(), request)
		require.True(t, decimal.RequireFromString(sent.Amount.String()).Equal(request.Amount), amount)
	}
}

func TestCreditAnswers(t *testing.T) {
	t.Parallel()
	const (
		ok      = `{"success":true,"transaction_id":"tx_1"}`
		refused = `{"success":false,"error_code":"USER_NOT_FOUND","error_message":"User not found","retry_allowed":false}`
	)
	credited := func(id string) mainproduct.Answer {
		return mainproduct.Answer{Kind: mainproduct.Credited, TransactionID: id}
	}
	refusal := func(code string) mainproduct.Answer {
		return mainproduct.Answer{Kind: mainproduct.Refused, Code: code}
	}
	unknown := func(reason mainproduct.Reason, maybe bool) mainproduct.Answer {
		return mainproduct.Answer{Kind: mainproduct.Unknown, Reason: reason, MaybeCredited: maybe}
	}
	garbage := unknown(mainproduct.ReasonUnintelligibleAnswer, true)

	for name, test := range map[string]struct {
		status int
		body   string
		want   mainproduct.Answer
	}{
		"credited":                            {200, ok, credited("tx_1")},
		"credited, created":                   {201, ok, credited("tx_1")},
		"unknown fields are fine":             {200, `{"success":true,"transaction_id":"tx_1","more":{"a":[1]}}`, credited("tx_1")},
		"nulls are absent":                    {200, `{"success":true,"transaction_id":"tx_1","new_balance":null,"error_code":null}`, credited("tx_1")},
		"amounts as strings":                  {200, `{"success":true,"transaction_id":"tx_1","credited_amount":"500.00"}`, credited("tx_1")},
		"refused on 200":                      {200, refused, refusal("USER_NOT_FOUND")},
		"refused on 404":                      {404, refused, refusal("USER_NOT_FOUND")},
		"refused on 401":                      {401, refused, refusal("USER_NOT_FOUND")},
		"refused on 422":                      {422, `{"success":false,"error_code":"INSUFFICIENT_FUNDS"}`, refusal("INSUFFICIENT_FUNDS")},
		"refusal on 500":                      {500, refused, unknown(mainproduct.ReasonServerError, true)},
		"success on 500":                      {500, ok, unknown(mainproduct.ReasonServerError, true)},
		"503":                                 {503, "", unknown(mainproduct.ReasonServerError, true)},
		"long page on 502":                    {502, strings.Repeat("<p>", 40<<10), unknown(mainproduct.ReasonServerError, true)},
		"refusal on 408":                      {408, refused, unknown(mainproduct.ReasonTimeout, true)},
		"refusal on 425":                      {425, refused, unknown(mainproduct.ReasonTooEarly, true)},
		"refusal on 429":                      {429, refused, unknown(mainproduct.ReasonTooManyRequests, false)},
		"401":                                 {401, "unauthorized", unknown(mainproduct.ReasonUnauthorized, false)},
		"403":                                 {403, `{}`, unknown(mainproduct.ReasonUnauthorized, false)},
		"404":                                 {404, "404 page not found", unknown(mainproduct.ReasonEndpointNotFound, false)},
		"404 that claims success":             {404, ok, garbage},
		"400":                                 {400, "bad request", garbage},
		"300":                                 {300, "", unknown(mainproduct.ReasonRedirect, true)},
		"204":                                 {204, "", garbage},
		"empty":                               {200, "", garbage},
		"HTML":                                {200, "<!doctype html><h1>ok</h1>", garbage},
		"an array":                            {200, "[" + ok + "]", garbage},
		"null":                                {200, "null", garbage},
		"cut off":                             {200, ok[:len(ok)-4], garbage},
		"twice":                               {200, ok + ok, garbage},
		"a name twice":                        {200, `{"success":false,"error_code":"X","success":true,"transaction_id":"tx_1"}`, garbage},
		"names in other case":                 {200, `{"SUCCESS":true,"TRANSACTION_ID":"tx_1"}`, garbage},
		"success without transaction":         {200, `{"success":true}`, garbage},
		"success with blank transaction":      {200, `{"success":true,"transaction_id":"  "}`, garbage},
		"refusal without code":                {200, `{"success":false,"error_message":"no"}`, garbage},
		"refusal with invisible code":         {200, `{"success":false,"error_code":"\u0000\u200b"}`, garbage},
		"success as string":                   {200, `{"success":"true","transaction_id":"tx_1"}`, garbage},
		"transaction as number":               {200, `{"success":true,"transaction_id":1}`, garbage},
		"retry_allowed as string":             {200, `{"success":false,"error_code":"X","retry_allowed":"no"}`, garbage},
		"transaction with NUL":                {200, `{"success":true,"transaction_id":"tx\u0000"}`, garbage},
		"long transaction":                    {200, `{"success":true,"transaction_id":"` + strings.Repeat("x", 201) + `"}`, garbage},
		"balance NaN":                         {200, `{"success":true,"transaction_id":"tx_1","new_balance":"NaN"}`, garbage},
		"balance negative":                    {200, `{"success":true,"transaction_id":"tx_1","new_balance":-1}`, garbage},
		"balance hexadecimal":                 {200, `{"success":true,"transaction_id":"tx_1","new_balance":"0x10"}`, garbage},
		"balance in text":                     {200, `{"success":true,"transaction_id":"tx_1","new_balance":"1 000"}`, garbage},
		"balance that would fill memory":      {200, `{"success":true,"transaction_id":"tx_1","new_balance":1e2000000000}`, garbage},
		"balance that would fill memory too":  {200, `{"success":true,"transaction_id":"tx_1","new_balance":1e-9999999}`, garbage},
		"body over 64 KiB":                    {200, ok + strings.Repeat(" ", 64<<10), garbage},
		"body of 64 KiB":                      {200, ok + strings.Repeat(" ", 64<<10-len(ok)), credited("tx_1")},
		"a refusal over 64 KiB":               {200, refused + strings.Repeat(" ", 64<<10), garbage},
		"deep nesting in an unknown field":    {200, `{"success":true,"transaction_id":"tx_1","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, garbage},
		"text in UTF-16":                      {200, "\xff\xfe{\x00}\x00", garbage},
		"404 of the API, but of another type": {404, `{"success":"no"}`, unknown(mainproduct.ReasonEndpointNotFound, false)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := serve(t, test.status, test.body).Credit(t.Context(), order())
			require.Equal(t, test.want.Kind, got.Kind, "%+v", got)
			require.Equal(t, test.want.TransactionID, got.TransactionID)
			require.Equal(t, test.want.Code, got.Code)
			require.Equal(t, test.want.Reason, got.Reason, got.Detail)
			require.Equal(t, test.want.MaybeCredited, got.MaybeCredited)
			require.Equal(t, test.status, got.HTTPStatus)
			require.LessOrEqual(t, len([]rune(got.Detail)), 200)
		})
	}
}

func TestHugeNumbersAreExact(t *testing.T) {
	t.Parallel()
	const huge = "123456789012345678901234567890.000000001"
	answer := serve(t, 200, `{"success":true,"transaction_id":"t","new_balance":`+huge+`,"credited_amount":"`+huge+`"}`).
		Credit(t.Context(), order())
	require.Equal(t, huge, answer.NewBalance.String())
	require.Equal(t, huge, answer.CreditedAmount.String())
}

func TestRefusalIsCleaned(t *testing.T) {
	t.Parallel()
	message := `\u0000first\r\nsecond\u001b[31m\u202e` + strings.Repeat("ж", 300)
	answer := serve(t, 400, `{"success":false,"error_code":" A\nB ","error_message":"`+message+`","retry_allowed":true}`).
		Credit(t.Context(), order())
	require.Equal(t, mainproduct.Refused, answer.Kind)
	require.Equal(t, "A B", answer.Code)
	require.True(t, answer.RetryAllowed)
	require.True(t, strings.HasPrefix(answer.Message, "first  second[31mжж"), answer.Message)
	require.Len(t, []rune(answer.Message), 200)
}

func TestKeyIsNeverInAnAnswer(t *testing.T) {
	t.Parallel()
	escaped := strings.ReplaceAll(key, "/", `\/`)
	for name, client := range map[string]*mainproduct.Client{
		"message":             serve(t, 400, `{"success":false,"error_code":"X","error_message":"bad `+escaped+`"}`),
		"code":                serve(t, 400, `{"success":false,"error_code":"`+key+`"}`),
		"across the limit":    serve(t, 400, `{"success":false,"error_code":"X","error_message":"`+strings.Repeat("x", 190)+key+`"}`),
		"between controls":    serve(t, 400, `{"success":false,"error_code":"X","error_message":"key/that\u0000-nobody-may-see"}`),
		"garbage":             serve(t, 200, "you sent Bearer "+key),
		"JSON of a server":    serve(t, 500, `{"sent":"Bearer `+escaped+`"}`),
		"nobody listens":      newClient(t, "http://"+closedAddress(t)),
		"no such host":        newClient(t, "http://nobody.invalid"),
		"not our certificate": newClient(t, tlsServer(t)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := client.Credit(t.Context(), order())
			text, err := json.Marshal(answer)
			require.NoError(t, err)
			require.NotEqual(t, mainproduct.Credited, answer.Kind)
			for _, part := range []string{"key/that", `key\/that`, "nobody-may"} {
				require.NotContains(t, string(text), part)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("the key was carried to another server")
		}))
		t.Cleanup(elsewhere.Close)
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		t.Cleanup(server.Close)
		// A client that would follow redirects changes nothing.
		client, err := mainproduct.New(mainproduct.Config{BaseURL: server.URL, APIKey: key, HTTPClient: new(http.Client)})
		require.NoError(t, err)

		answer := client.Credit(t.Context(), order())
		require.Equal(t, mainproduct.Unknown, answer.Kind)
		require.Equal(t, mainproduct.ReasonRedirect, answer.Reason)
		require.True(t, answer.MaybeCredited)
	}
}

func TestInvalidRequestIsNeverSent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	t.Cleanup(server.Close)
	for name, spoil := range map[string]func(*mainproduct.CreditRequest){
		"no user":         func(r *mainproduct.CreditRequest) { r.UserID = " " },
		"no order":        func(r *mainproduct.CreditRequest) { r.OrderID = "" },
		"no currency":     func(r *mainproduct.CreditRequest) { r.Currency = "" },
		"not UTF-8":       func(r *mainproduct.CreditRequest) { r.UserID = "\xff" },
		"nothing":         func(r *mainproduct.CreditRequest) { r.Amount = decimal.Zero },
		"less":            func(r *mainproduct.CreditRequest) { r.Amount = decimal.NewFromInt(-1) },
		"endless digits":  func(r *mainproduct.CreditRequest) { r.Amount = decimal.New(1, 1<<30) },
		"a foreign host":  func(r *mainproduct.CreditRequest) { r.Endpoint = "https://evil.example/" },
		"a foreign host2": func(r *mainproduct.CreditRequest) { r.Endpoint = "@evil.example/" },
	} {
		request := order()
		spoil(&request)
		answer := newClient(t, server.URL).Credit(t.Context(), request)
		require.Equal(t, mainproduct.ReasonInvalidRequest, answer.Reason, name)
		require.False(t, answer.MaybeCredited, name)
	}
}

func TestContextThatEndedSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	answer := serve(t, 200, "").Credit(ctx, order())
	require.Equal(t, mainproduct.ReasonCanceled, answer.Reason)
	require.False(t, answer.MaybeCredited)

	ctx, cancel = context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	require.Equal(t, mainproduct.ReasonTimeout, serve(t, 200, "").Credit(ctx, order()).Reason)
}
