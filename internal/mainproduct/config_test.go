package mainproduct_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := mainproduct.New(mainproduct.Config{BaseURL: "ftp://x", APIKey: "secret\nkey", InquiryPath: "/orders"})
	require.ErrorContains(t, err, "base URL")
	require.ErrorContains(t, err, "API key")
	require.ErrorContains(t, err, "inquiry path")
	require.NotContains(t, err.Error(), "secret")

	for _, base := range []string{"", "game.example", "https://", "https://u:p@game.example", "https://game.example?a=1", "https://game.example#a", "://"} {
		_, err := mainproduct.New(mainproduct.Config{BaseURL: base, APIKey: "k"})
		require.ErrorContains(t, err, "base URL", base)
	}
	for _, inquiry := range []string{"orders/{order_id}", "//x/{order_id}", "/../{order_id}", "/orders?id={order_id}"} {
		_, err := mainproduct.New(mainproduct.Config{BaseURL: "http://x", APIKey: "k", InquiryPath: inquiry})
		require.ErrorContains(t, err, "inquiry path", inquiry)
	}

	client, err := mainproduct.New(mainproduct.Config{BaseURL: "http://x", APIKey: "k"})
	require.NoError(t, err)
	require.False(t, client.HasInquiry())
	require.Equal(t, mainproduct.Unknown, client.Inquire(t.Context(), "order").Kind)
}

func TestValidateEndpoint(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"/api/v1/credits/increase", "/", "/a-b_c~d/%C3%A9", "/api/credit?tenant=1"} {
		require.NoError(t, mainproduct.ValidateEndpoint(good), good)
	}
	for _, bad := range []string{
		"", "api", "//evil.example/x", "/a//b", "https://evil.example/x", "@evil.example", ".evil.example", "/..", "/a/../b", "/%2e%2e/b",
		"/a%2f%2fb", `/\evil.example`, "/a b", "/a\n", "/a%0ab", "/a\x00", "/a%00", "/a#b", "/%zz", "/a\u202eb", "/" + strings.Repeat("a", 600),
	} {
		require.Error(t, mainproduct.ValidateEndpoint(bad), "%q", bad)
	}
}

// Whatever endpoint is accepted, the call stays on the configured host, port and path.
func TestEndpointStaysOnItsHost(t *testing.T) {
	t.Parallel()
	endpoints := rapid.StringOf(rapid.RuneFrom([]rune("/.:@?#%\\2eEfF[] ab\n\tà")))
	rapid.Check(t, func(t *rapid.T) {
		endpoint := "/" + endpoints.Draw(t, "endpoint")
		if mainproduct.ValidateEndpoint(endpoint) != nil {
			return
		}
		parsed, err := url.Parse("https://game.example:8443/base" + endpoint)
		require.NoError(t, err)
		require.Equal(t, "https", parsed.Scheme)
		require.Equal(t, "game.example:8443", parsed.Host)
		require.Nil(t, parsed.User)
		require.True(t, strings.HasPrefix(path.Clean(parsed.Path)+"/", "/base/"), parsed.Path)
	})
}
