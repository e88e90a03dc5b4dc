package mainproduct

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

var errSurplusAnswer = errors.New("the connection holds an answer that nobody asked for")

// guardedConn keeps a surplus answer away from the next call on the same connection.
//
// A main product that answers twice leaves its second answer on a connection that net/http already
// lends to the next call, and net/http may take it for that call's answer: one order would be credited
// on the word about another. Documented answers do not name their order, so it has to be stopped here:
// what was received before a call is written cannot be the answer to it. (What arrives afterwards can
// be told apart by nobody; HTTP/1.1 has no numbers.)
//
// Data is handed on line by line, so that of a surplus answer at least a part is still here, and not in
// net/http's buffer, when the next call begins. A broken connection fails the call before anything is
// written, and net/http then takes another one.
type guardedConn struct {
	net.Conn

	mu      sync.Mutex
	buffer  []byte
	unread  []byte // the part of buffer not handed on yet
	written bool   // something was written since begin
	broken  bool
}

func newGuardedConn(conn net.Conn) *guardedConn {
	return &guardedConn{Conn: conn, buffer: make([]byte, 4<<10)}
}

// begin tells that a call got the connection and will be written next.
func (c *guardedConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = false
	c.broken = c.broken || len(c.unread) > 0
}

func (c *guardedConn) Write(data []byte) (int, error) {
	c.mu.Lock()
	broken := c.broken
	c.written = true
	c.mu.Unlock()
	if broken {
		return 0, errSurplusAnswer
	}
	return c.Conn.Write(data)
}

// Read is called by one goroutine, net/http's loop of this connection.
func (c *guardedConn) Read(data []byte) (int, error) {
	if n, err := c.handOn(data); n > 0 || err != nil {
		return n, err
	}
	n, err := c.Conn.Read(c.buffer)
	if n > 0 {
		c.mu.Lock()
		c.unread = c.buffer[:n]
		c.broken = c.broken || !c.written
		c.mu.Unlock()
		return c.handOn(data) // an error, if any, comes again with the next read
	}
	return 0, err
}

// handOn copies the next line of what is unread, or what there is of it.
func (c *guardedConn) handOn(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return 0, errSurplusAnswer
	}
	line := c.unread
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end+1]
	}
	n := copy(data, line)
	c.unread = c.unread[n:]
	return n, nil
}

// guardDial and guardTLS open guarded connections. The guard sits above TLS, where answers are plain.
func guardDial(dialer *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newGuardedConn(conn), nil
	}
}

func guardTLS(dialer *net.Dialer, config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	secure := &tls.Dialer{NetDialer: dialer, Config: config}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := secure.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newGuardedConn(conn), nil
	}
}
