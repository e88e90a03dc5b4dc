package send

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/outbound"
	"github.com/quickpass/quickpass/internal/webhook/fake"
)

const secret, oldSecret = "the-secret-of-the-test", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

func listen(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func listener(t *testing.T, list ...fake.Behaviour) (*fake.Listener, string) {
	t.Helper()
	l := fake.New(secret)
	l.Misbehave(list...)
	address := listen(t, l)
	t.Cleanup(l.Stop) // before the server waits for its calls
	return l, address
}

func TestWebhooksAreSigned(t *testing.T) {
	t.Parallel()
	for _, known := range []string{secret, oldSecret} {
		l := fake.New(known)
		answer := New(true).Send(t.Context(), listen(t, l), []string{secret, oldSecret}, "we_1", []byte(`{"notification_type":"order_paid"}`))
		require.Equal(t, []any{204, "", ""}, []any{answer.StatusCode, answer.Text, answer.Error})
		books := l.Books()
		require.Len(t, books, 1)
		require.Equal(t, []any{"we_1", "order_paid"}, []any{books[0].ID, books[0].Event})
		require.True(t, books[0].StandardOK)
		require.Equal(t, known == secret, books[0].LegacyOK, "the header has room for the current one only")
	}
	stranger := fake.New("the-secret-of-somebody-else")
	New(true).Send(t.Context(), listen(t, stranger), []string{secret}, "we_1", []byte(`{}`))
	require.False(t, stranger.Books()[0].StandardOK || stranger.Books()[0].LegacyOK)
}

func TestAnswersOfListeners(t *testing.T) {
	t.Parallel()
	_, address := listener(t, fake.Behaviour{
		Kind:       fake.Status,
		Status:     503,
		Body:       "later\x00, \xff please",
		RetryAfter: "120",
		Calls:      1,
	}, fake.Behaviour{Kind: fake.Status, Status: 422, Body: strings.Repeat("n", 5000), Calls: 1},
		fake.Behaviour{Kind: fake.Drop, Calls: 1})
	c := New(true)
	busy := c.Send(t.Context(), address, []string{secret}, "we_1", []byte(`{}`))
	require.Equal(t, []any{503, "later,  please", 2 * time.Minute}, []any{busy.StatusCode, busy.Text, busy.RetryAfter}, "PostgreSQL takes no zero bytes, and no half characters")
	refused := c.Send(t.Context(), address, []string{secret}, "we_1", []byte(`{}`))
	require.Equal(t, 422, refused.StatusCode)
	require.Len(t, refused.Text, maxAnswer)
	dropped := c.Send(t.Context(), address, []string{secret}, "we_1", []byte(`{}`))
	require.Zero(t, dropped.StatusCode)
	require.NotEmpty(t, dropped.Error)
	require.NotContains(t, dropped.Error, address, "paths hold secrets at times")
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	counted, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, counted[0].GetMetric(), 2, "failed and refused")
}

func TestListenerThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	_, address := listener(t, fake.Behaviour{Kind: fake.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	answer := New(true).Send(ctx, address, []string{secret}, "we_1", []byte(`{}`))
	require.Equal(t, []any{0, "no answer in time"}, []any{answer.StatusCode, answer.Error})
}

// A redirect leads where nobody has checked, so it is an answer like any other.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	inside := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	address := listen(t, http.RedirectHandler(inside, http.StatusTemporaryRedirect))
	answer := New(true).Send(t.Context(), address, []string{secret}, "we_1", []byte(`{}`))
	require.Equal(t, http.StatusTemporaryRedirect, answer.StatusCode)
	require.False(t, followed.Load())
}

func TestPrivateListenersAreNotCalled(t *testing.T) {
	t.Parallel()
	var called atomic.Bool
	address := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Store(true) }))
	answer := New(false).Send(t.Context(), address, []string{secret}, "we_1", []byte(`{}`))
	require.Contains(t, answer.Error, "must begin with https://")
	require.Equal(t, outbound.ErrNotPublic.Error(), errorText(&url.Error{Op: "Post", URL: address, Err: outbound.ErrNotPublic}))
	require.False(t, called.Load())
}
