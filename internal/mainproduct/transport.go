package mainproduct

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// newTransport is made for many calls at once to one host, each bounded by its context alone: the
// timeout is a setting of the product that is sold.
func newTransport() *http.Transport {
	// HTTP/1.1 only: over HTTP/2 all calls share one connection, and losing it makes all of them Unknown.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment, // a connection through a proxy to https is not guarded
		DialContext:         guardDial(dialer),
		DialTLSContext:      guardTLS(dialer, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}),
		Protocols:           &protocols,
		MaxIdleConns:        0, // no limit besides the next one
		MaxIdleConnsPerHost: 512,
		MaxConnsPerHost:     0,
		// Shorter than the usual keep-alive of servers and load balancers (60 s), so that it is us who
		// close an idle connection. A call written to one that the other side closes meanwhile is Unknown.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// progress is how far a request certainly came. The hooks may run on other goroutines and late.
type progress struct {
	wantedConn atomic.Bool // the transport began to look for a connection
	gotConn    atomic.Bool // it has one, TLS included: from here on bytes may have left
	answered   atomic.Bool // the first byte of an answer came
}

func traceProgress(ctx context.Context) (context.Context, *progress) {
	p := new(progress)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			p.wantedConn.Store(true)
			// A second round means that the transport knows that nothing was written in the first: it
			// repeats a POST in no other case (net/http, persistConn.shouldRetryRequest).
			p.gotConn.Store(false)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			p.gotConn.Store(true)
			if conn, ok := info.Conn.(*guardedConn); ok {
				conn.begin()
			}
		},
		GotFirstResponseByte: func() { p.answered.Store(true) },
	}), p
}

// failure classifies an exchange that brought no answer. The request certainly did not take effect
// only when a connection was looked for and never found; a transport that reports nothing proves nothing.
func (p *progress) failure(ctx context.Context, err error) Answer {
	notSent := p.wantedConn.Load() && !p.gotConn.Load()
	reason := reasonOf(ctx, err, !notSent)
	if reason == ReasonConnectionLost && p.answered.Load() && !isConnectionError(err) {
		// Something answered, but not in HTTP.
		reason = ReasonUnintelligibleAnswer
	}
	return unknown(reason, innermost(err), !notSent)
}

// reasonOf names why a call broke off; sent is whether the request may have left.
func reasonOf(ctx context.Context, err error, sent bool) Reason {
	var netErr net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ReasonCanceled
	case ctx.Err() != nil, errors.As(err, &netErr) && netErr.Timeout():
		return ReasonTimeout
	case sent:
		return ReasonConnectionLost
	default:
		return ReasonConnectionFailed
	}
}

func isConnectionError(err error) bool {
	var netErr *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
}

// innermost is the text of an error without the URL that net/http puts around it.
func innermost(err error) string {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	return err.Error()
}

func validateBaseURL(base string) error {
	parsed, err := url.Parse(base)
	switch {
	case err != nil, parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Hostname() == "":
		return errors.New("base URL must be http(s)://host[:port][/path]")
	case parsed.User != nil:
		return errors.New("base URL must not contain credentials")
	case strings.ContainsAny(base, "?#"):
		return errors.New("base URL must not contain a query or a fragment")
	}
	return nil
}

func validateInquiryPath(path string) error {
	if !strings.Contains(path, inquiryPlaceholder) {
		return errors.New("inquiry path must contain " + inquiryPlaceholder)
	}
	if strings.Contains(path, "?") {
		return errors.New("inquiry path must not contain a query: the order id is escaped for a path")
	}
	if err := ValidateEndpoint(strings.ReplaceAll(path, inquiryPlaceholder, "order")); err != nil {
		return errors.New("inquiry path: " + err.Error())
	}
	return nil
}

func isPlainKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != ""
}
