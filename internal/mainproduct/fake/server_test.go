package fake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

const key = "test-main-product-key"

// start serves a fake main product with these books, or new ones in memory, and returns it with a
// client and its address.
func start(t testing.TB, config fake.Config, books *fake.Books) (*fake.Server, *mainproduct.Client, string) {
	t.Helper()
	if books == nil {
		var err error
		books, err = fake.OpenBooks("", "")
		require.NoError(t, err)
	}
	config.APIKey = key
	server, err := fake.New(config, books)
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		server.Close()
		listener.CloseClientConnections()
		listener.Close()
	})
	client, err := mainproduct.New(mainproduct.Config{BaseURL: listener.URL, APIKey: key, InquiryPath: fake.InquiryPath})
	require.NoError(t, err)
	return server, client, listener.URL
}

func order(id string) mainproduct.CreditRequest {
	return mainproduct.CreditRequest{
		UserID: "u1", Amount: decimal.NewFromInt(500), Currency: "credits", OrderID: id, ProductName: "500 credits",
	}
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// Parameters are in the books, and other ones are another order.
func TestParametersAreAPartOfTheOrder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "books")
	books, err := fake.OpenBooks(path, "")
	require.NoError(t, err)
	_, client, _ := start(t, fake.Config{}, books)
	credit := func(id, parameters string) mainproduct.Answer {
		request := order(id)
		request.Parameters = json.RawMessage(parameters)
		return client.Credit(t.Context(), request)
	}
	require.Equal(t, mainproduct.Credited, credit("o1", `{"factor":2,"days":[1,{"b":1,"a":2}]}`).Kind)
	require.Equal(t, mainproduct.Credited, credit("o1", `{"days": [1, {"a":2, "b":1}], "factor": 2}`).Kind, "the same, written in another way")
	require.Equal(t, fake.CodeOrderIDConflict, credit("o1", `{"factor":3,"days":[1,{"b":1,"a":2}]}`).Code)
	require.Equal(t, fake.CodeOrderIDConflict, credit("o1", ``).Code)
	require.Equal(t, mainproduct.Credited, credit("o2", ``).Kind)
	require.Equal(t, fake.CodeOrderIDConflict, credit("o2", `{"factor":2}`).Code)
	for _, wrong := range []string{`null`, `[]`, `"x"`, `7`} {
		require.Equal(t, fake.CodeInvalidRequest, credit("o3", wrong).Code)
	}
	require.NoError(t, books.Close())
	books, err = fake.OpenBooks(path, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, books.Close()) })
	entry, _ := books.Entry("o1")
	require.JSONEq(t, `{"factor":2,"days":[1,{"a":2,"b":1}]}`, string(entry.Parameters))
	require.Equal(t, 1, entry.Credited)
}

func TestCreditAndInquire(t *testing.T) {
	t.Parallel()
	server, client, _ := start(t, fake.Config{UnknownUsers: []string{"nobody"}, CreditPaths: []string{"/api/v2/give"}}, nil)

	require.Equal(t, mainproduct.ReasonEndpointNotFound, client.Credit(t.Context(), order("o1")).Reason)
	require.Equal(t, mainproduct.NotFound, client.Inquire(t.Context(), "o1").Kind)

	request := order("o/1 ?")
	request.Endpoint = "/api/v2/give"
	first := client.Credit(t.Context(), request)
	require.Equal(t, mainproduct.Credited, first.Kind, "%+v", first)
	require.Equal(t, "500", first.CreditedAmount.String())
	require.Equal(t, first.TransactionID, client.Credit(t.Context(), request).TransactionID)
	inquired := client.Inquire(t.Context(), request.OrderID)
	require.Equal(t, mainproduct.Credited, inquired.Kind)
	require.Equal(t, first.TransactionID, inquired.TransactionID)

	request.Amount = decimal.NewFromInt(501)
	conflict := client.Credit(t.Context(), request)
	require.Equal(t, mainproduct.Refused, conflict.Kind)
	require.Equal(t, fake.CodeOrderIDConflict, conflict.Code)
	require.Equal(t, mainproduct.Credited, client.Inquire(t.Context(), request.OrderID).Kind)

	for i, user := range []string{"ghost7", "nobody"} {
		request := order(fmt.Sprintf("ghost-%d", i))
		request.Endpoint, request.UserID = "/api/v2/give", user
		answer := client.Credit(t.Context(), request)
		require.Equal(t, mainproduct.Refused, answer.Kind)
		require.Equal(t, fake.CodeUserNotFound, answer.Code)
		require.Equal(t, "User not found", answer.Message)
		require.False(t, answer.RetryAllowed)
		require.Equal(t, http.StatusNotFound, answer.HTTPStatus)
		require.Equal(t, mainproduct.Refused, client.Inquire(t.Context(), request.OrderID).Kind)
	}
	require.Equal(t, "500", server.Books().Balance("u1", "credits").String())
	require.Equal(t, 1, server.Books().Totals().Credits)
}

func TestKnownUsers(t *testing.T) {
	t.Parallel()
	_, client, _ := start(t, fake.Config{KnownUsers: []string{"u2"}}, nil)
	require.Equal(t, mainproduct.Refused, client.Credit(t.Context(), order("o1")).Kind)
	request := order("o2")
	request.UserID = "u2"
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), request).Kind)
}

func TestWrongKeyAndWrongBodies(t *testing.T) {
	t.Parallel()
	server, _, url := start(t, fake.Config{}, nil)
	stranger, err := mainproduct.New(mainproduct.Config{BaseURL: url, APIKey: "another-key", InquiryPath: fake.InquiryPath})
	require.NoError(t, err)
	require.Equal(t, mainproduct.ReasonUnauthorized, stranger.Credit(t.Context(), order("o1")).Reason)
	require.Equal(t, mainproduct.ReasonUnauthorized, stranger.Inquire(t.Context(), "o1").Reason)

	for _, body := range []string{
		"", "{}", "[]", `{"user_id":"u","order_id":"o","currency":"c","amount":"5"}`, `{"user_id":"u","order_id":"o","currency":"c","amount":0}`,
		`{"user_id":"u","order_id":"o","currency":"c","amount":-5}`, `{"user_id":"u","order_id":"o","currency":"c","amount":1e999999}`,
		`{"user_id":7,"order_id":"o","currency":"c","amount":5}`, `{"order_id":"o","currency":"c","amount":5}`, strings.Repeat(" ", 70<<10),
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+fake.CreditPath, strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+key)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusBadRequest, response.StatusCode, body)
		require.Contains(t, string(answer), fake.CodeInvalidRequest)
	}
	require.Zero(t, server.Books().Totals().Calls)
}

func TestMisbehaviours(t *testing.T) {
	t.Parallel()
	garbage := mainproduct.ReasonUnintelligibleAnswer
	for name, test := range map[string]struct {
		behaviour fake.Behaviour
		kind      mainproduct.Kind
		reason    mainproduct.Reason
		credited  int
	}{
		"refuse":               {fake.Behaviour{Kind: fake.Refuse, Code: fake.CodeInsufficientFunds}, mainproduct.Refused, "", 0},
		"hang":                 {fake.Behaviour{Kind: fake.Hang}, mainproduct.Unknown, mainproduct.ReasonTimeout, 0},
		"credit, then hang":    {fake.Behaviour{Kind: fake.Hang, CreditFirst: true}, mainproduct.Unknown, mainproduct.ReasonTimeout, 1},
		"delay":                {fake.Behaviour{Kind: fake.Delay, DelayMS: 1}, mainproduct.Credited, "", 1},
		"credit, then delay":   {fake.Behaviour{Kind: fake.Delay, DelayMS: 1, CreditFirst: true}, mainproduct.Credited, "", 1},
		"500":                  {fake.Behaviour{Kind: fake.ErrorStatus}, mainproduct.Unknown, mainproduct.ReasonServerError, 0},
		"credit, then 503":     {fake.Behaviour{Kind: fake.ErrorStatus, Status: 503, CreditFirst: true}, mainproduct.Unknown, mainproduct.ReasonServerError, 1},
		"429":                  {fake.Behaviour{Kind: fake.ErrorStatus, Status: 429}, mainproduct.Unknown, mainproduct.ReasonTooManyRequests, 0},
		"drop":                 {fake.Behaviour{Kind: fake.Drop}, mainproduct.Unknown, mainproduct.ReasonConnectionLost, 0},
		"credit, then drop":    {fake.Behaviour{Kind: fake.Drop, CreditFirst: true}, mainproduct.Unknown, mainproduct.ReasonConnectionLost, 1},
		"twice":                {fake.Behaviour{Kind: fake.Twice}, mainproduct.Credited, "", 1},
		"double body":          {fake.Behaviour{Kind: fake.DoubleBody}, mainproduct.Unknown, garbage, 1},
		"garbage":              {fake.Behaviour{Kind: fake.Garbage}, mainproduct.Unknown, garbage, 0},
		"credit, then garbage": {fake.Behaviour{Kind: fake.Garbage, CreditFirst: true}, mainproduct.Unknown, garbage, 1},
		"empty":                {fake.Behaviour{Kind: fake.Empty}, mainproduct.Unknown, garbage, 0},
		"wrong content":        {fake.Behaviour{Kind: fake.WrongContent}, mainproduct.Unknown, garbage, 0},
		"truncated":            {fake.Behaviour{Kind: fake.Truncated}, mainproduct.Unknown, garbage, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client, _ := start(t, fake.Config{}, nil)
			require.NoError(t, server.SetBehaviours(test.behaviour))
			ctx := t.Context()
			if test.reason == mainproduct.ReasonTimeout {
				ctx = soon(t)
			}
			answer := client.Credit(ctx, order("o1"))
			require.Equal(t, test.kind, answer.Kind, "%+v", answer)
			require.Equal(t, test.reason, answer.Reason, answer.Detail)
			entry, found := server.Books().Entry("o1")
			require.True(t, found)
			require.Equal(t, 1, entry.Calls)
			require.Equal(t, test.credited, entry.Credited)
			if answer.Kind == mainproduct.Unknown && entry.Credited > 0 {
				require.True(t, answer.MaybeCredited)
			}

			// It behaves again: the retry comes to the truth, and nothing is credited twice.
			require.NoError(t, server.SetBehaviours())
			require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order("o1")).Kind)
			entry, _ = server.Books().Entry("o1")
			require.Equal(t, 1, entry.Credited)
			require.Equal(t, 2, entry.Calls)
		})
	}
}

// A late main product credits although the client has long gone.
func TestDelayCreditsWithoutTheClient(t *testing.T) {
	t.Parallel()
	server, client, _ := start(t, fake.Config{}, nil)
	require.NoError(t, server.SetBehaviours(fake.Behaviour{Kind: fake.Delay, DelayMS: 2000}))
	require.Equal(t, mainproduct.ReasonTimeout, client.Credit(soon(t), order("o1")).Reason)
	require.Equal(t, mainproduct.NotFound, client.Inquire(t.Context(), "o1").Kind)
	require.Eventually(t, func() bool {
		entry, _ := server.Books().Entry("o1")
		return entry.Credited == 1
	}, 10*time.Second, 5*time.Millisecond)
}

// An answer that comes twice on a connection must never be taken for the answer to another order.
func TestAnsweringTwiceConfusesNoOrders(t *testing.T) {
	t.Parallel()
	server, client, _ := start(t, fake.Config{}, nil)
	require.NoError(t, server.SetBehaviours(fake.Behaviour{Kind: fake.Twice}))
	var callers sync.WaitGroup
	var confused atomic.Int64
	for caller := range 32 {
		callers.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("o-%d-%d", caller, i)
				answer := client.Credit(t.Context(), order(id))
				entry, _ := server.Books().Entry(id)
				if answer.Kind == mainproduct.Credited && answer.TransactionID != entry.TransactionID {
					confused.Add(1)
				}
			}
		})
	}
	callers.Wait()
	require.Zero(t, confused.Load())
}

func benchmarkCredit(b *testing.B, mode fake.Sync) {
	books, err := fake.OpenBooks(filepath.Join(b.TempDir(), "books.jsonl"), mode)
	require.NoError(b, err)
	defer books.Close()
	server, err := fake.New(fake.Config{APIKey: key}, books)
	require.NoError(b, err)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Appendf(nil, `{"user_id":"u1","amount":5,"currency":"c","order_id":"o%d","product_name":"p","source":"s"}`, n.Add(1))
			request := httptest.NewRequest(http.MethodPost, fake.CreditPath, bytes.NewReader(body))
			request.Header.Set("Authorization", "Bearer "+key)
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, request)
			if recorder.Code != http.StatusOK {
				b.Fatal(recorder.Body.String())
			}
		}
	})
}
