// Package outbound calls addresses that customers have written down. It calls servers on the internet only,
// follows nobody elsewhere, and reads no more than it must.
package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout is shorter than that of any server: a connection that the other side closes as we write
	// would cost a try, and a webhook's next one is minutes away.
	idleTimeout = 2 * time.Second
	maxHeader   = 16 << 10
)

// ErrNotPublic: a name leads to an address that is not called.
var ErrNotPublic = errors.New("the address is not on the internet")

// NewClient makes a client that fails with ErrNotPublic, and when more than maxAnswer bytes of a body are
// read. A redirect is an answer like any other: it leads where nobody has checked. With allowPrivate, which
// is for development, plain HTTP and any address go. Each call is bounded by its context.
func NewClient(allowPrivate bool, maxAnswer int64) *http.Client {
	return &http.Client{
		Transport:     &guarded{transport: newTransport(allowPrivate), allowPrivate: allowPrivate, maxAnswer: maxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport(allowPrivate bool) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if !allowPrivate {
		dialer.Control = onlyPublic
	}
	return &http.Transport{
		DialContext:            dialer.DialContext, // no proxy: it would resolve names where the guard can't see them
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a small answer could unfold to a large one
	}
}

// onlyPublic is asked with the address that a name has led to, for each connection and after the look-up: a
// name that changes its address between check and call gains nothing.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !PublicAddress(to.Addr()) {
		return ErrNotPublic
	}
	return nil
}

// guarded checks addresses and bounds answers.
type guarded struct {
	transport    *http.Transport
	allowPrivate bool
	maxAnswer    int64
}

// RoundTrip makes one call.
func (g *guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if mistake := CheckURL(request.URL.String(), g.allowPrivate); mistake != "" {
		return nil, fmt.Errorf("not called, the url: %s", mistake)
	}
	response, err := g.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, g.maxAnswer)
	return response, nil
}
