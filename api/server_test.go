package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

// run serves a shop as production does; stop ends it and returns Run's error.
func (s *shop) run(t *testing.T) (address string, stop context.CancelFunc, stopped <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.server.Run(ctx, listener) }()
	t.Cleanup(cancel)
	return listener.Addr().String(), cancel, done
}

func TestEndlessBody(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.ReadTimeout = 300 * time.Millisecond })
	address, _, _ := s.run(t)
	before := s.written()
	start := "POST /api/v1/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-storefront\r\nContent-Type: application/json\r\n"

	for name, test := range map[string]struct {
		request string
		endless bool
		status  int
	}{
		"slow":            {start + "Content-Length: 100\r\n\r\n{", false, 408},
		"slow chunks":     {start + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", false, 408},
		"endless chunks":  {start + "Transfer-Encoding: chunked\r\n\r\n", true, 413},
		"broken chunks":   {start + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", false, 400},
		"says it is huge": {start + "Content-Length: 99999999999\r\n\r\n" + strings.Repeat(" ", 70_000), false, 413},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = conn.Write([]byte(test.request))
			require.NoError(t, err)
			if test.endless {
				go func() {
					for {
						if _, err := fmt.Fprintf(conn, "1000\r\n%s\r\n", strings.Repeat(" ", 0x1000)); err != nil {
							return
						}
					}
				}()
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, response.StatusCode, "%s", text)
			require.True(t, response.Close)
		})
	}
	require.Equal(t, before, s.written())
}

// A wait outlives the time to receive a request.
func TestWaitIsLongerThanTheReadTimeout(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.ReadTimeout = 200 * time.Millisecond })
	address, _, _ := s.run(t)
	s.starter.do = func(in contract.PurchaseInput) { time.AfterFunc(600*time.Millisecond, func() { s.capture(in) }) }
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/api/v1/purchases", strings.NewReader(buy))
	require.NoError(t, err)
	for name, value := range map[string]string{"Authorization": "Bearer key-of-storefront", "Content-Type": "application/json", "Prefer": "wait=20"} {
		r.Header.Set(name, value)
	}
	require.Equal(t, 200, s.do(r).status)
}

func TestGracefulStop(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.DrainDelay = 2 * time.Second })
	address, stop, stopped := s.run(t)
	offered := make(chan contract.PurchaseInput, 1)
	s.starter.do = func(in contract.PurchaseInput) { offered <- in }
	send := func(method, path, body string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer key-of-storefront")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Prefer", "wait=60")
		return r
	}
	require.Equal(t, 200, s.do(send("GET", "/readyz", "")).status)
	waited := make(chan answer, 1)
	go func() { waited <- s.do(send("POST", "/api/v1/purchases", buy)) }()
	in := <-offered
	streamed := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(send("GET", "/api/v1/orders/"+in.OrderID+"/stream", ""))
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		streamed <- err
	}()

	stop()
	require.Eventually(t, func() bool { return s.do(send("GET", "/readyz", "")).status == 503 }, 1900*time.Millisecond, 5*time.Millisecond)
	require.Equal(t, 200, s.do(send("GET", "/healthz", "")).status)
	require.Equal(t, 202, (<-waited).status, "answered early, not cut off")
	require.NoError(t, <-streamed)
	require.NoError(t, <-stopped)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.JSONEq(t, `{"status":"ready","checks":{"postgres":"ok","temporal":"ok"}}`, string(s.call("", "GET", "/readyz", "").body))
	require.Equal(t, 200, s.call("", "HEAD", "/healthz", "").status)

	away := newShop(t, func(o *Options) { o.Temporal = &fakeTemporal{errors.New("secret address refused")} })
	a := away.call("", "GET", "/readyz", "")
	require.Equal(t, 503, a.status)
	require.JSONEq(t, `{"status":"not_ready","checks":{"postgres":"ok","temporal":"unreachable"}}`, string(a.body))
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Options{
		URL:              "postgres://u:p@127.0.0.1:1/none",
		MaxConnections:   2,
		StatementTimeout: time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	s := newShop(t, func(o *Options) { o.DB = db })
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(t, 503, a.status)
	require.Equal(t, "unavailable", a.code())
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.NotContains(t, string(a.body), "127.0.0.1")
	require.Contains(t, s.log.String(), "127.0.0.1", "the log has the reason")
	require.Contains(t, string(s.call("", "GET", "/readyz", "").body), `"postgres":"unreachable"`)
}

func TestDatabaseStuck(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) { o.RequestTimeout = 300 * time.Millisecond })
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/products", "").status)
	conn, err := pgx.Connect(t.Context(), s.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE users")
	require.NoError(t, err)
	a := s.call("storefront", "POST", "/api/v1/purchases", buy)
	require.Equal(t, 503, a.status)
	require.Equal(t, "unavailable", a.code())
	require.NoError(t, tx.Rollback(t.Context()))
	testkit.Eventually(t, "it recovers", func(context.Context) error {
		if a := s.call("storefront", "POST", "/api/v1/purchases", buy); a.status != 202 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}

func TestPanicIsInternal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.server.echo.GET("/panic", func(echo.Context) error { panic("secret") })
	a := s.call("", "GET", "/panic", "", header("X-Request-Id", "req-1"))
	require.Equal(t, 500, a.status)
	require.Equal(t, "internal", a.code())
	require.Equal(t, "req-1", a.header.Get("X-Request-Id"))
	require.NotContains(t, string(a.body), "secret")
	require.Contains(t, s.log.String(), "panic: secret")
	require.NotEqual(t, "bad id\"", s.call("", "GET", "/healthz", "", header("X-Request-Id", `bad id"`)).header.Get("X-Request-Id"))
}

func TestLogNamesTheKeyNotItsSecret(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.putKey("s3cr3t-value", "storefront")
	r := httptest.NewRequest("GET", "/api/v1/products", nil)
	r.Header.Set("Authorization", "Bearer s3cr3t-value")
	s.server.Handler().ServeHTTP(httptest.NewRecorder(), r)
	require.Contains(t, s.log.String(), `"route":"/api/v1/products"`)
	require.Contains(t, strings.ReplaceAll(s.log.String(), "id-s3cr3t-value", "id"), `"key_id":"id"`)
	require.NotContains(t, strings.ReplaceAll(s.log.String(), "id-s3cr3t-value", "id"), "s3cr3t")
}

func TestOpenPages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.Equal(t, spec, s.call("", "GET", "/openapi.yaml", "").body)
	page := string(s.call("", "GET", "/docs", "").body)
	for _, expected := range []string{"/api/v1/purchases", `id="insufficient_coins"`, "Idempotency-Key", "curl -X POST", `href="/docs.css"`, "dev-storefront"} {
		require.Contains(t, page, expected)
	}
	for _, forbidden := range []string{"<script", "http://cdn", `src="http`, `href="http`, "ZgotmplZ"} {
		require.NotContains(t, page, forbidden)
	}
	require.Contains(t, s.call("", "GET", "/docs.css", "").header.Get("Content-Type"), "text/css")
	s.call("storefront", "GET", "/api/v1/products", "")
	require.Contains(t, string(s.call("", "GET", "/metrics", "").body), `quickpass_http_request_duration_seconds_count{method="GET",route="/api/v1/products",status="2xx"} 1`)
}

func TestCatalogIsTheDocuments(t *testing.T) {
	t.Parallel()
	listed := testDoc().Components.Schemas["ProblemCode"].Value.Enum
	require.Len(t, problemKinds, len(listed))
	for _, code := range listed {
		require.NotZero(t, problemKinds[ProblemCode(code.(string))].status, code)
	}
}

// HEAD is a GET without its body, for whoever may make the GET. Streams have none.
func TestHead(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	for path, as := range map[string]with{
		"/api/v1/products":                  header("Authorization", "Bearer "+keyOf("storefront")),
		project + "/items/virtual_items":    byUser(t, "rich"),
		project + "/items/sku/gun_1":        byServer(),
		project + "/user/inventory/items":   byUser(t, "rich"),
		project + "/items/game/drm?limit=1": byServer(),
	} {
		get, head := s.call("", "GET", path, "", as), s.call("", "HEAD", path, "", as)
		require.Equal(t, []int{200, 200}, []int{get.status, head.status}, path)
		for _, name := range []string{"Content-Type", "ETag", "Cache-Control"} {
			require.Equal(t, get.header.Get(name), head.header.Get(name), "%s of %s", name, path)
		}
	}
	for path, status := range map[string]int{project + "/items/sku/none": 404, project + "/payment/cart": 405, project + "/order/1/stream": 405, "/api/v1/products": 401} {
		require.Equal(t, status, s.call("", "HEAD", path, "", byUser(t, "rich")).status, path)
	}
}

// Go's parser takes the latest of two anchors of one name; others refuse the document.
func TestAnchorsAreDefinedOnce(t *testing.T) {
	t.Parallel()
	defined := map[string]bool{}
	for _, anchor := range regexp.MustCompile(`(?m)(?:[:\-,\[{] |^ *)&(\w+)`).FindAllStringSubmatch(string(spec), -1) {
		require.False(t, defined[anchor[1]], anchor[1])
		defined[anchor[1]] = true
	}
	require.Greater(t, len(defined), 50)
}

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	_, err := New(Options{DB: testkit.Database(t)})
	require.ErrorContains(t, err, "needed")
}
