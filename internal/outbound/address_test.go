package outbound

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a name may lead to: servers on the internet, and nothing that is only reachable from where we are.
func TestPublicAddress(t *testing.T) {
	t.Parallel()
	for address, public := range map[string]bool{
		"8.8.8.8": true, "93.184.216.34": true, "100.63.255.255": true, "100.128.0.0": true, "172.15.255.255": true, "172.32.0.0": true, "198.17.255.255": true, "223.255.255.255": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001::1": true, "2001:4860:4860::8888": true,
		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "10.255.255.255": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.0.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false, "198.18.0.1": false,
		"198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "100::1": false,
		"fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false, "2001::1": false, "2001:db8::1": false, "2002:7f00:1::": false,
		"3fff::1": false, "2606:4700::1%eth0": false,
	} {
		require.Equal(t, public, PublicAddress(netip.MustParseAddr(address)), address)
	}
	require.False(t, PublicAddress(netip.Addr{}))
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for address, message := range map[string]string{
		"https://game.example/quickpass": "", "https://game.example:8443/a?b=c": "", "https://93.184.216.34/": "", "https://[2606:4700:4700::1111]/": "",
		"http://game.example": "https://", "ftp://game.example": "https://", "HTTPS://game.example": "",
		"": "URL", "game.example": "URL", "https://": "URL", "https://:443/": "URL", "https:game.example": "URL", "https://%zz": "URL", "https://game.example/\x7f": "URL",
		"https://user:password@game.example": "user", "https://game.example/#top": "fragment", "https://" + strings.Repeat("a", 2048): "2048",
		"https://localhost": "internet", "https://LOCALHOST.": "internet", "https://app.localhost/": "internet", "https://metadata.google.internal/": "internet", "https://printer.local": "internet",
		"https://127.0.0.1/": "internet", "https://[::1]/": "internet", "https://[::ffff:10.0.0.1]/": "internet", "https://169.254.169.254/latest": "internet", "https://10.1.2.3:8443": "internet",
	} {
		mistake := CheckURL(address, false)
		if message == "" {
			require.Empty(t, mistake, address)
		} else {
			require.Contains(t, mistake, message, address)
		}
	}
	for _, address := range []string{"http://127.0.0.1:9999/hook", "http://localhost:1", "https://10.0.0.1"} {
		require.Empty(t, CheckURL(address, true), address)
	}
	require.NotEmpty(t, CheckURL("ftp://127.0.0.1", true))
}
