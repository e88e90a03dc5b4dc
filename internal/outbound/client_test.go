package outbound

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func listen(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, through http.RoundTripper, address string) (status int, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: through, CheckRedirect: NewClient(true, 0).CheckRedirect}).Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.ReadAll(response.Body)
	return response.StatusCode, err
}

// The guard is asked about the address that is dialed, whatever name has led there.
func TestPrivateAddressesAreNotDialed(t *testing.T) {
	t.Parallel()
	var called atomic.Bool
	address := listen(t, func(http.ResponseWriter, *http.Request) { called.Store(true) })
	for _, url := range []string{address, strings.Replace(address, "127.0.0.1", "localhost", 1), strings.Replace(address, "127.0.0.1", "[::ffff:127.0.0.1]", 1)} {
		_, err := get(t, newTransport(false), url)
		require.ErrorIs(t, err, ErrNotPublic, url)
	}
	_, err := get(t, NewClient(false, 1).Transport, address)
	require.ErrorContains(t, err, "must begin with https://")
	require.False(t, called.Load())

	_, err = get(t, NewClient(true, 1).Transport, address)
	require.NoError(t, err, "the test would see a call")
	require.True(t, called.Load())
}

// A redirect leads where nobody has checked, so it is an answer like any other.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	inside := listen(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	address := listen(t, http.RedirectHandler(inside, http.StatusTemporaryRedirect).ServeHTTP)
	status, err := get(t, NewClient(true, 1<<10).Transport, address)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.False(t, followed.Load())
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	address := listen(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "123") })
	for most, fits := range map[int64]bool{2: false, 3: true} {
		_, err := get(t, NewClient(true, most).Transport, address)
		var tooLong *http.MaxBytesError
		require.Equal(t, fits, !errors.As(err, &tooLong), "%d: %v", most, err)
	}
}

// A proxy would resolve names behind the guard's back.
func TestNoProxyIsAsked(t *testing.T) {
	t.Parallel()
	require.Nil(t, newTransport(false).Proxy)
}
