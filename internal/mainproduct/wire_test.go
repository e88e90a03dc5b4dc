package mainproduct_test

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

// listen serves raw connections, each on a goroutine of its own, and closes each when handle returns.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// tlsServer has a certificate that nobody trusts.
func tlsServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// receive reads one whole request.
func receive(conn net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, _ = io.Copy(io.Discard, request.Body)
	}
}

func TestConnectionTrouble(t *testing.T) {
	t.Parallel()
	raw := func(answer string) func(net.Conn) {
		return func(conn net.Conn) {
			receive(conn)
			_, _ = io.WriteString(conn, answer)
		}
	}
	reset := func(conn net.Conn) {
		receive(conn)
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	for name, test := range map[string]struct {
		baseURL string
		reason  mainproduct.Reason
		maybe   bool
	}{
		"nobody listens":            {"http://" + closedAddress(t), mainproduct.ReasonConnectionFailed, false},
		"no such host":              {"http://nobody.invalid", mainproduct.ReasonConnectionFailed, false},
		"not our certificate":       {tlsServer(t), mainproduct.ReasonConnectionFailed, false},
		"no TLS at all":             {"https" + listen(t, raw("hello\r\n"))[4:], mainproduct.ReasonConnectionFailed, false},
		"dropped at once":           {listen(t, func(net.Conn) {}), mainproduct.ReasonConnectionLost, true},
		"dropped after the request": {listen(t, receive), mainproduct.ReasonConnectionLost, true},
		"reset after the request":   {listen(t, reset), mainproduct.ReasonConnectionLost, true},
		"dropped in the header":     {listen(t, raw("HTTP/1.1 200 OK\r\n")), mainproduct.ReasonConnectionLost, true},
		"dropped in the body":       {listen(t, raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"success\":")), mainproduct.ReasonConnectionLost, true},
		"dropped in a chunk":        {listen(t, raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"s")), mainproduct.ReasonConnectionLost, true},
		"not HTTP":                  {listen(t, raw("220 mail.example ESMTP\r\n")), mainproduct.ReasonUnintelligibleAnswer, true},
		"endless header":            {listen(t, endlessHeader), mainproduct.ReasonUnintelligibleAnswer, true},
		"another protocol":          {listen(t, switchProtocols), mainproduct.ReasonUnintelligibleAnswer, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := newClient(t, test.baseURL).Credit(t.Context(), order())
			require.Equal(t, mainproduct.Unknown, answer.Kind)
			require.Equal(t, test.reason, answer.Reason, answer.Detail)
			require.Equal(t, test.maybe, answer.MaybeCredited)
			require.NotEmpty(t, answer.Detail)
			require.NotContains(t, answer.Detail, "/api/v1")
		})
	}
}

func endlessHeader(conn net.Conn) {
	receive(conn)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
	for {
		if _, err := io.WriteString(conn, "X-More: and more, and more, and more, and more\r\n"); err != nil {
			return
		}
	}
}

func switchProtocols(conn net.Conn) {
	receive(conn)
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn) // until the client closes
}

// soon is a deadline that a test waits for in full: short, as nothing will ever come.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no answer":      "",
		"half a header":  "HTTP/1.1 200 OK\r\nConte",
		"half a body":    "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"success\":",
		"only continues": "HTTP/1.1 102 Processing\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			baseURL := listen(t, func(conn net.Conn) {
				receive(conn)
				_, _ = io.WriteString(conn, answer)
				_, _ = io.Copy(io.Discard, conn) // until the client closes
			})
			got := newClient(t, baseURL).Credit(soon(t), order())
			require.Equal(t, mainproduct.ReasonTimeout, got.Reason, got.Detail)
			require.True(t, got.MaybeCredited)
			require.GreaterOrEqual(t, got.Duration, 450*time.Millisecond)
		})
	}

	t.Run("the handshake hangs", func(t *testing.T) {
		t.Parallel()
		baseURL := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		got := newClient(t, "https"+baseURL[4:]).Credit(soon(t), order())
		require.Equal(t, mainproduct.ReasonTimeout, got.Reason, got.Detail)
		require.False(t, got.MaybeCredited)
	})
}

func TestCancelOnTheWay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	baseURL := listen(t, func(conn net.Conn) {
		receive(conn)
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	got := newClient(t, baseURL).Credit(ctx, order())
	require.Equal(t, mainproduct.ReasonCanceled, got.Reason)
	require.True(t, got.MaybeCredited)
}

// A transport that reports nothing about its connections proves nothing.
type silentTransport struct{}

func (silentTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
}

func TestUnknownTransportIsNotTrusted(t *testing.T) {
	t.Parallel()
	client, err := mainproduct.New(mainproduct.Config{
		BaseURL:    "http://x",
		APIKey:     key,
		HTTPClient: &http.Client{Transport: silentTransport{}},
	})
	require.NoError(t, err)
	answer := client.Credit(t.Context(), order())
	require.Equal(t, mainproduct.ReasonConnectionLost, answer.Reason)
	require.True(t, answer.MaybeCredited)
}

// A call is written to the wire once, however the connection ends: retries are the workflow's.
func TestCallIsNotRepeatedByTheTransport(t *testing.T) {
	t.Parallel()
	requests := make(chan struct{}, 10)
	baseURL := listen(t, func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		for i := range 2 {
			request, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			requests <- struct{}{}
			if i == 0 {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"success\":true,\"transaction_id\":\"tx_1\"}")
			}
		} // the second call, on a used connection, gets no answer
	})
	client := newClient(t, baseURL)
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order()).Kind)
	require.Equal(t, mainproduct.ReasonConnectionLost, client.Credit(t.Context(), order()).Reason)
	require.Len(t, requests, 2)
}
