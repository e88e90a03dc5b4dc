package mainproduct

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

func TestGuardStopsASurplusAnswer(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	conn := newGuardedConn(ours)
	reader := bufio.NewReader(conn)
	go func() {
		_, _ = io.ReadFull(theirs, make([]byte, 4))
		_, _ = io.WriteString(theirs, "one\r\nbody\r\none\r\nbody\r\n")
	}()

	conn.begin()
	_, err := conn.Write([]byte("call"))
	require.NoError(t, err)
	for _, want := range []string{"one\r\n", "body\r\n"} {
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}

	conn.begin()
	n, err := conn.Write([]byte("call"))
	require.ErrorIs(t, err, errSurplusAnswer)
	require.Zero(t, n)
	_, err = reader.ReadString('\n')
	require.ErrorIs(t, err, errSurplusAnswer)
}

func TestGuardStopsAnAnswerBeforeTheCall(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	conn := newGuardedConn(ours)
	go func() { _, _ = io.WriteString(theirs, "too early\r\n") }()
	_, err := conn.Read(make([]byte, 100))
	require.ErrorIs(t, err, errSurplusAnswer)
}

// Over TLS, with many callers on reused connections, a server that always answers twice gives nobody the
// answer to another order.
func TestGuardOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			ID string `json:"order_id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&order)
		body := fmt.Sprintf(`{"success":true,"transaction_id":%q}`, order.ID)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		_, _ = io.WriteString(conn, answer+answer)
	}))
	t.Cleanup(server.Close)

	transport := newTransport()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport.DialTLSContext = guardTLS(new(net.Dialer), &tls.Config{RootCAs: roots})
	client, err := New(Config{BaseURL: server.URL, APIKey: "key", HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)

	var callers sync.WaitGroup
	var credited, confused atomic.Int64
	for caller := range 8 {
		callers.Go(func() {
			for i := range 25 {
				id := fmt.Sprintf("o-%d-%d", caller, i)
				request := CreditRequest{UserID: "u", Amount: decimal.NewFromInt(1), Currency: "c", OrderID: id}
				answer := client.Credit(t.Context(), request)
				if answer.Kind == Credited {
					credited.Add(1)
					if answer.TransactionID != id {
						confused.Add(1)
					}
				}
			}
		})
	}
	callers.Wait()
	require.Zero(t, confused.Load())
	require.Positive(t, credited.Load())
}
