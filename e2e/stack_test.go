// Package e2e runs the real programs as processes, over real HTTP, on a real PostgreSQL and a real Temporal, and
// asks the books of the fake main product what has happened.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// TestMain lets more tests run at once than there are processors: they wait for retries and timeouts, not for work.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

const (
	apiKey      = "e2e-main-product-key"
	buyer       = "12345"
	inquiryPath = fake.InquiryPath
)

// stack is everything that one installation has: a database, a namespace, a main product and programs.
type stack struct {
	t       *testing.T
	dir     string
	db      *postgres.DB
	engine  testkit.Engine
	env     []string
	product *devstack.Process
	control string // base URL of the fake main product
	keys    map[string]string
}

func newStack(t *testing.T) *stack {
	t.Helper()
	return newStackOn(t, testkit.Temporal(t))
}

func newStackOn(t *testing.T, engine testkit.Engine) *stack {
	t.Helper()
	return newStackAt(t, testkit.DatabaseURL(t), engine)
}

// newStackAt is for servers of the test's own.
func newStackAt(t *testing.T, url string, engine testkit.Engine) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), db: testkit.OpenDatabase(t, url), engine: engine, keys: map[string]string{}}
	t.Cleanup(s.told)
	for _, role := range []string{"storefront", "main_product", "admin", "support"} {
		s.keys[role] = testkit.AddKey(t, s.db, role)
	}
	testkit.AddUser(t, s.db, buyer, 1000)
	address := freeAddress(t)
	s.control = "http://" + address
	s.product = s.start("the fake main product", "fakeproduct", nil, devstack.ProcessOptions{ReadyLine: "ready"},
		"-address", address, "-books", filepath.Join(s.dir, "books.jsonl"), "-sync", "never", "-api-key", apiKey)
	s.env = []string{
		"QUICKPASS_DATABASE_URL=" + url, "QUICKPASS_DATABASE_MAX_CONNECTIONS=6",
		"QUICKPASS_TEMPORAL_ADDRESS=" + engine.Address, "QUICKPASS_TEMPORAL_NAMESPACE=" + engine.Namespace,
		"QUICKPASS_MAIN_PRODUCT_URL=" + s.control, "QUICKPASS_MAIN_PRODUCT_API_KEY=" + apiKey, "QUICKPASS_LOG_LEVEL=warn",
		"QUICKPASS_STORE_PURCHASE_INTERVAL=0s", // a test buys more than once a minute
	}
	return s
}

// sell puts "500 credits" on sale with the seed's delivery settings, or changed ones.
func (s *stack) sell(stock int64, change ...func(*store.DeliverySettings)) {
	s.t.Helper()
	product := testkit.Credits500()
	product.Stock.Initial = stock
	for _, f := range change {
		f(&product.Delivery)
	}
	testkit.AddProduct(s.t, s.db, product)
}

// soon makes the three retries of the seed come a second apart.
func soon(d *store.DeliverySettings) { d.RetryIntervalSeconds = 1 }

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := devstack.FreePort()
	require.NoError(t, err)
	return "127.0.0.1:" + strconv.Itoa(port)
}

// start runs a program of bin/ until the end of the test. When the test fails, the end of its log is shown.
func (s *stack) start(name, program string, env []string, options devstack.ProcessOptions, args ...string) *devstack.Process {
	s.t.Helper()
	options.Name, options.Path, options.Args, options.Env, options.Dir = name, testkit.Program(s.t, program), args, env, s.dir
	options.LogFile = filepath.Join(s.dir, strings.ReplaceAll(name, " ", "-")+".log")
	options.StopTimeout = time.Minute
	process, err := devstack.StartProcess(s.t.Context(), options)
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		require.NoError(s.t, process.Kill())
		if s.t.Failed() {
			s.t.Logf("%s\n%s", name, tail(options.LogFile))
		}
	})
	return process
}

func tail(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-3000):])
}

// told shows the timelines of all orders when the test has failed.
func (s *stack) told() {
	if !s.t.Failed() {
		return
	}
	rows, err := s.db.Pool().Query(context.Background(), `SELECT format('%s %s %s attempt %s %s %s', to_char(at, 'HH24:MI:SS.MS'), order_id, status, t.attempt, event, detail)
		FROM order_timeline t JOIN orders o USING (order_id) ORDER BY order_id, entry_id LIMIT 100`)
	if err != nil {
		s.t.Log(err)
		return
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	s.t.Logf("timelines (%v)\n%s", err, strings.Join(lines, "\n"))
}

// node is a program that serves the API.
type node struct {
	*devstack.Process
	*stack
	url string
}

// serve starts `quickpass serve`, or another role that serves the API, and waits until it is ready.
func (s *stack) serve(role string, env ...string) *node {
	s.t.Helper()
	return s.serveUntil("/readyz", role, env...)
}

func (s *stack) serveUntil(path, role string, env ...string) *node {
	s.t.Helper()
	address := freeAddress(s.t)
	n := &node{stack: s, url: "http://" + address}
	env = slices.Concat(s.env, []string{"QUICKPASS_HTTP_ADDRESS=" + address}, env)
	n.Process = s.start(role+" "+address, "quickpass", env, devstack.ProcessOptions{Ready: answers(n.url + path)}, role)
	return n
}

// answers tells whether a GET of the URL is answered with 200.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error { return devstack.ExpectOK(ctx, url) }
}

func (s *stack) worker(name string) *devstack.Process {
	s.t.Helper()
	return s.start(name, "quickpass", s.env, devstack.ProcessOptions{}, "worker")
}

// run runs a command of quickpass to its end.
func (s *stack) run(env []string, args ...string) (output string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), testkit.Program(s.t, "quickpass"), args...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), s.dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// verify is `quickpass verify`: every test ends with it.
func (s *stack) verify() {
	s.t.Helper()
	output, code := s.run(s.env, "verify")
	require.Zero(s.t, code, output)
	require.Contains(s.t, output, "ok ")
	require.NotContains(s.t, output, "BROKEN")
}

// misbehave replaces what the fake main product does wrong.
func (s *stack) misbehave(list ...fake.Behaviour) {
	s.t.Helper()
	if list == nil {
		list = []fake.Behaviour{}
	}
	body, err := json.Marshal(list)
	require.NoError(s.t, err)
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.control+"/control/behaviours", bytes.NewReader(body))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(s.t, http.StatusOK, response.StatusCode)
}

// books is what the main product knows of an order; empty when it never arrived.
func (s *stack) books(orderID string) fake.Entry {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.control+"/control/books?order_id="+orderID, nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	var entry fake.Entry
	if response.StatusCode != http.StatusNotFound {
		require.NoError(s.t, json.NewDecoder(response.Body).Decode(&entry))
	}
	return entry
}

// rewards counts how often the main product gave this user rewards of tasks.
func (s *stack) rewards(userID string) (given int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.control+"/control/books", nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	var page fake.BooksPage
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&page))
	for _, entry := range page.Entries {
		if entry.UserID == userID && entry.TaskID != 0 {
			given += entry.Credited
		}
	}
	return given
}

// arrived waits until the main product has received the order so often.
func (s *stack) arrived(orderID string, calls int) {
	s.t.Helper()
	testkit.Eventually(s.t, "the call arrives", func(context.Context) error {
		if got := s.books(orderID).Calls; got < calls {
			return fmt.Errorf("%d of %d calls of %s", got, calls, orderID)
		}
		return nil
	})
}

// over waits until the order's workflow has ended, as Temporal sees it. The order is final a moment before.
func (s *stack) over(orderID string) {
	s.t.Helper()
	testkit.Eventually(s.t, "the run is over", func(ctx context.Context) error {
		run, err := s.engine.Client.DescribeWorkflowExecution(ctx, contract.PurchaseWorkflowID(orderID), "")
		if err == nil && run.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
			err = errors.New(run.GetWorkflowExecutionInfo().GetStatus().String())
		}
		return err
	})
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, v), "%s", a.body)
}

func (a answer) code(t *testing.T) string {
	t.Helper()
	var problem struct{ Code string }
	a.into(t, &problem)
	return problem.Code
}

// call makes a request with a role's key. Headers are pairs of name and value.
func (n *node) call(role, method, path string, body any, headers ...string) answer {
	n.t.Helper()
	a, err := n.try(role, method, path, body, headers...)
	require.NoError(n.t, err)
	return a
}

// try is call for a server that may be going away.
func (n *node) try(role, method, path string, body any, headers ...string) (answer, error) {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	request, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, bytes.NewReader(encoded))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Authorization", "Bearer "+n.keys[role])
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, content}, err
}

type object = map[string]any

// order is what a client sees of an order.
type order struct {
	OrderID        string  `json:"order_id"`
	Status         string  `json:"status"`
	Attempts       int     `json:"attempts"`
	Attempt        int     `json:"attempt"`
	Suspected      bool    `json:"suspected"`
	TransactionID  *string `json:"transaction_id"`
	CreditedAmount *string `json:"credited_amount"`
	Reason         *struct {
		Code      string  `json:"code"`
		ErrorCode *string `json:"error_code"`
	} `json:"reason"`
}

func (o order) reason() string {
	if o.Reason == nil {
		return ""
	}
	return o.Reason.Code
}

// buy makes a purchase that is accepted.
func (n *node) buy(userID string, headers ...string) (orderID string) {
	n.t.Helper()
	a := n.call("storefront", http.MethodPost, "/api/v1/purchases", object{"user_id": userID, "sku": "credits-500"}, headers...)
	require.Equal(n.t, http.StatusAccepted, a.status, "%s", a.body)
	var accepted struct {
		OrderID string `json:"order_id"`
	}
	a.into(n.t, &accepted)
	return accepted.OrderID
}

func (n *node) get(orderID string) order {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/orders/"+orderID, nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var o order
	a.into(n.t, &o)
	return o
}

// final waits until the order has its outcome.
func (n *node) final(orderID string) (o order) {
	n.t.Helper()
	testkit.Eventually(n.t, "order "+orderID+" is final", func(context.Context) error {
		if o = n.get(orderID); o.Status == "processing" {
			return errors.New("it is still processing")
		}
		return nil
	})
	return o
}

// completed waits for the outcome, and holds it to the main product's books: credited once.
func (n *node) completed(orderID string) order {
	n.t.Helper()
	o := n.final(orderID)
	require.Equal(n.t, "completed", o.Status, "%+v", o)
	entry := n.books(orderID)
	require.Equal(n.t, 1, entry.Credited)
	require.NotNil(n.t, o.TransactionID)
	require.Equal(n.t, entry.TransactionID, *o.TransactionID)
	require.Equal(n.t, "500", *o.CreditedAmount)
	return o
}

func (n *node) canceled(orderID, reason string) order {
	n.t.Helper()
	o := n.final(orderID)
	require.Equal(n.t, []string{"canceled", reason}, []string{o.Status, o.reason()})
	require.Nil(n.t, o.TransactionID)
	return o
}

func (n *node) replay(orderID string) {
	n.t.Helper()
	a := n.call("support", http.MethodPost, "/api/v1/admin/orders/"+orderID+"/replay", object{"reason": "the product is back"})
	require.Equal(n.t, http.StatusAccepted, a.status, "%s", a.body)
}

type entry struct {
	Event   string    `json:"event"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
}

func (n *node) timeline(orderID string) (entries []entry, events []string) {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/orders/"+orderID+"/timeline", nil)
	require.Equal(n.t, http.StatusOK, a.status, "%s", a.body)
	var body struct{ Items []entry }
	a.into(n.t, &body)
	for _, e := range body.Items {
		events = append(events, e.Event)
	}
	return body.Items, events
}

func (n *node) requireWallet(userID string, available, held int64) {
	n.t.Helper()
	a := n.call("storefront", http.MethodGet, "/api/v1/users/"+userID+"/wallet", nil)
	var wallet struct{ Available, Held int64 }
	a.into(n.t, &wallet)
	require.Equal(n.t, []int64{available, held}, []int64{wallet.Available, wallet.Held}, "coins of %s: %s", userID, a.body)
}

func (n *node) requireStock(available int64) {
	n.t.Helper()
	a := n.call("admin", http.MethodGet, "/api/v1/admin/products/credits-500", nil)
	var product struct {
		Stock struct{ Available int64 }
	}
	a.into(n.t, &product)
	require.Equal(n.t, available, product.Stock.Available, "%s", a.body)
}
