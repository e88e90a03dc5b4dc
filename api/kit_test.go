package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/testkit"
)

// shop is a server over HTTP on a database of its own, with a buyer "rich" and "500 credits" for 100 coins.
type shop struct {
	t       testing.TB
	db      *postgres.DB
	url     string // of the database
	server  *Server
	http    *httptest.Server
	starter *fakeStarter
	watcher *Watcher
	log     *syncBuffer
}

type fakeTemporal struct{ err error }

func (f *fakeTemporal) Healthy(context.Context) error { return f.err }

// fakeStarter records what it is offered, and may do something with it.
type fakeStarter struct {
	mu        sync.Mutex
	offered   []contract.PurchaseInput
	confirmed []contract.PurchaseInput
	replays   []contract.ReplayInput
	windows   []postgres.TaskWindowChange
	checkouts []postgres.CheckoutChange
	webhooks  int // times that it was told of some
	tested    contract.WebhookTested
	testError error
	full      bool
	do        func(contract.PurchaseInput)
}

func (f *fakeStarter) Offer(in contract.PurchaseInput) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offered = append(f.offered, in)
	if f.do != nil {
		go f.do(in)
	}
}

func (f *fakeStarter) Confirmed(in contract.PurchaseInput) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirmed = append(f.confirmed, in)
}

func (f *fakeStarter) Replay(in contract.ReplayInput) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replays = append(f.replays, in)
}

func (f *fakeStarter) OfferTaskWindows(windows ...postgres.TaskWindowChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.windows = append(f.windows, windows...)
}

func (f *fakeStarter) OfferCheckout(order postgres.CheckoutChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checkouts = append(f.checkouts, order)
}

func (f *fakeStarter) OfferWebhooks() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.webhooks++
}

func (f *fakeStarter) TestWebhook(context.Context, int32) (contract.WebhookTested, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tested, f.testError
}

func (f *fakeStarter) told() []contract.ReplayInput {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]contract.ReplayInput{}, f.replays...)
}

func (f *fakeStarter) Accepting() (time.Duration, bool) { return 1500 * time.Millisecond, !f.full }

func (f *fakeStarter) seen() []contract.PurchaseInput {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]contract.PurchaseInput{}, f.offered...)
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var testRoles = []string{"storefront", "main_product", "distributor", "admin", "support"}

func keyOf(role string) string { return "key-of-" + role }

func newShop(t testing.TB, change ...func(*Options)) *shop {
	t.Helper()
	url := testkit.DatabaseURL(t)
	s := &shop{t: t, url: url, db: testkit.OpenDatabase(t, url), starter: &fakeStarter{}, log: &syncBuffer{}}
	s.watcher = NewWatcher(s.db)
	s.serve(change...)

	ctx, now := t.Context(), time.Now()
	for _, role := range testRoles {
		s.putKey(keyOf(role), role)
	}
	testkit.AddUser(s.t, s.db, "rich", 1_000_000)
	_, _, err := s.db.AddProduct(ctx, postgres.NewProduct{ProjectID: 1, Product: product("credits-500", 50), Actor: "test"}, now)
	require.NoError(t, err)
	return s
}

// serve makes the server of a shop.
func (s *shop) serve(change ...func(*Options)) {
	s.t.Helper()
	options := Options{
		DB:       s.db,
		Starter:  s.starter,
		Temporal: &fakeTemporal{},
		Logger:   slog.New(slog.NewJSONHandler(s.log, nil)),
		Watcher:  s.watcher,
		Events:   s.intake(),
	}
	for _, f := range change {
		f(&options)
	}
	var err error
	s.server, err = New(options)
	require.NoError(s.t, err)
	s.http = httptest.NewServer(s.server.Handler())
	s.t.Cleanup(s.http.Close)
}

// webhookSecret signs the webhooks of tests.
const webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// intake counts events as a process does.
func (s *shop) intake() EventIntake {
	s.t.Helper()
	intake := events.NewIntake(s.db, events.IntakeOptions{Writers: 2, Batch: 100, Queue: 16, Clock: time.Now,
		Tell: func(windows []postgres.TaskWindowChange) { s.starter.OfferTaskWindows(windows...) }})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		intake.Run(ctx)
	}()
	s.t.Cleanup(func() {
		stop()
		<-done
	})
	webhook, err := events.NewWebhookVerifier([]string{webhookSecret})
	require.NoError(s.t, err)
	return EventIntake{
		Counter:        intake,
		Webhook:        webhook,
		WebhookProject: 1,
		Decoder: events.Decoder{
			Limits:    tasks.EventLimits{MaxAge: 720 * time.Hour, MaxAhead: 5 * time.Minute},
			MaxBytes:  4 << 20,
			MaxEvents: 1000,
		},
	}
}

func (s *shop) putKey(key, role string) {
	hash := sha256.Sum256([]byte(key))
	require.NoError(s.t, s.db.PutAPIKey(s.t.Context(), postgres.APIKey{KeyID: "id-" + key, ProjectID: 1, Role: role}, hash[:], time.Now()))
}

// addItem puts an item into the catalog of /api/v2.
func (s *shop) addItem(item catalog.Item) {
	s.t.Helper()
	_, _, err := s.db.CreateItem(s.t.Context(), postgres.NewItem{ProjectID: 1, Item: item, Actor: "test"}, time.Now())
	require.NoError(s.t, err)
}

func product(sku string, stock int64) store.Product {
	p := testkit.Credits500()
	p.SKU, p.Stock.Initial = sku, stock
	return p
}

// capture completes an order as the workflow does, and wakes who waits for it.
func (s *shop) capture(in contract.PurchaseInput) {
	_, err := s.db.CaptureOrder(context.Background(), contract.CaptureInput{
		ProjectID: 1,
		OrderID:   in.OrderID,
		Attempt:   in.Attempt,
		Calls:     1,
		Credit:    store.Credit{TransactionID: "tx_" + in.OrderID, CreditedAmount: new(decimal.RequireFromString("500"))},
	}, time.Now())
	if err != nil && !errors.Is(err, context.Canceled) {
		panic(err)
	}
	s.watcher.Changed(in.OrderID)
}

func (s *shop) release(in contract.PurchaseInput, reason store.Reason) {
	_, err := s.db.ReleaseOrder(s.t.Context(), contract.ReleaseInput{
		ProjectID: 1,
		OrderID:   in.OrderID,
		Attempt:   in.Attempt,
		Reason:    reason,
		Calls:     1,
	}, time.Now())
	require.NoError(s.t, err)
	s.watcher.Changed(in.OrderID)
}

// written is a digest of everything that a call could have written.
func (s *shop) written() string {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	var digest string
	for _, table := range []string{"users", "products", "stock", "orders", "ledger_transfers", "order_timeline", "idempotency_keys", "notifications", "audit_log", "order_refunds", "approvals", "disputes", "dispute_notes", "denied_addresses", "stock_edits", "stock_changes", "replays", "replay_items",
		"tasks", "task_versions", "catalog_items", "catalog_groups", "catalog_revisions", "item_sales", "game_keys", "projects", "api_keys", "task_catalogs", "task_windows", "task_rewards", "task_budgets", "events", "event_keys",
		"checkout_orders", "checkout_deliveries", "checkout_refunds", "webhook_endpoints", "webhook_deliveries", "webhook_attempts"} {
		var part string
		require.NoError(s.t, conn.QueryRow(s.t.Context(), fmt.Sprintf("SELECT count(*) || md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), '')) FROM %s r", table)).Scan(&part))
		digest += table + part + "\n"
	}
	return digest
}

// answer is a response that fits openapi.yaml.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

func into[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

// Who calls /api/v2, in the tests.
const (
	jwtSecret  = "test-project-jwt-secret-0123456789"
	projectKey = "test-project-key"
)

// token of a project's user as its login makes one, with some claims changed.
func token(t testing.TB, userID string, changes ...func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": userID, "exp": time.Now().Add(time.Hour).Unix(), "project_id": 1}
	for _, change := range changes {
		change(claims)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(jwtSecret))
	require.NoError(t, err)
	return signed
}

// byUser calls as a user of the project, byServer as its server.
func byUser(t testing.TB, userID string) with {
	return header("Authorization", "Bearer "+token(t, userID))
}

func byServer() with {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("1:"+projectKey)))
}

// openV2 lets users and a server of project 1 call /api/v2.
func (s *shop) openV2() *shop {
	s.t.Helper()
	testkit.Exec(s.t, s.db, "UPDATE projects SET jwt_secret = '"+jwtSecret+"' WHERE project_id = 1")
	s.putKey(projectKey, "server")
	return s
}

type with func(*http.Request)

func header(name, value string) with { return func(r *http.Request) { r.Header.Set(name, value) } }

// call makes a request with the role's key; a body that is a string is sent as JSON.
func (s *shop) call(role, method, path, body string, changes ...with) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if role != "" {
		r.Header.Set("Authorization", "Bearer "+keyOf(role))
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range changes {
		change(r)
	}
	return s.do(r)
}

func (s *shop) do(r *http.Request) answer {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	a := answer{response.StatusCode, response.Header, body}
	conforms(s.t, r, a)
	return a
}

var testDoc = sync.OnceValue(func() *openapi3.T {
	doc, err := loadSpec()
	if err != nil {
		panic(err)
	}
	return doc
})

// conforms holds a response to openapi.yaml.
func conforms(t testing.TB, r *http.Request, a answer) {
	t.Helper()
	require.NotEmpty(t, a.header.Get("X-Request-Id"))
	require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	if r.Method == http.MethodHead {
		require.Empty(t, a.body)
		return
	}
	if a.status >= 400 && isV2(r.URL.Path) {
		refused := into[v2Error](t, a)
		require.Equal(t, a.status, refused.StatusCode)
		require.NotEmpty(t, refused.ErrorMessage)
		require.Equal(t, a.header.Get("X-Request-Id"), refused.TransactionID)
	} else if a.status >= 400 && r.URL.Path != "/readyz" {
		require.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
		p := into[Problem](t, a)
		require.Equal(t, a.status, p.Status)
		require.Equal(t, a.status, problemKinds[p.Code].status, "%s", p.Code)
		require.NotEmpty(t, p.Detail)
		require.Equal(t, a.header.Get("X-Request-Id"), *p.RequestID)
	}
	if a.header.Get("Content-Type") == "text/event-stream" {
		return
	}
	route := specRoute(r)
	if route == nil {
		return // no such call, or a page
	}
	if contentType := a.header.Get("Content-Type"); !strings.Contains(contentType, "json") && contentType != "" {
		return // pages
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 a.status, Header: a.header, Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(a.body)
	require.NoError(t, openapi3filter.ValidateResponse(context.Background(), input), "%s", a.body)
	if a.status < 300 {
		validated.Store(r.Method+" "+route.Path, true)
	}
}

var pathParameter = regexp.MustCompile(`\\\{[^}]+\\\}`)

func specRoute(r *http.Request) *routers.Route {
	doc := testDoc()
	for _, path := range doc.Paths.InMatchingOrder() {
		pattern := "^" + pathParameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]*") + "$"
		item := doc.Paths.Value(path)
		if operation := item.GetOperation(r.Method); operation != nil && regexp.MustCompile(pattern).MatchString(r.URL.EscapedPath()) {
			return &routers.Route{Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: operation}
		}
	}
	return nil
}
