package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBlockForRisk(t *testing.T) {
	t.Parallel()
	now := instant(t, "2026-11-22T12:00:00Z")
	risky := func(score int, ago time.Duration) RiskyOrder { return RiskyOrder{Score: score, At: now.Add(-ago)} }
	for name, test := range map[string]struct {
		limit  int
		orders []RiskyOrder
		block  bool
	}{
		"none":                  {3, nil, false},
		"two":                   {3, []RiskyOrder{risky(50, 0), risky(100, time.Hour)}, false},
		"three":                 {3, []RiskyOrder{risky(50, 0), risky(100, time.Hour), risky(60, 23*time.Hour)}, true},
		"one of them just low":  {3, []RiskyOrder{risky(50, 0), risky(49, time.Hour), risky(60, 2*time.Hour)}, false},
		"one of them a day ago": {3, []RiskyOrder{risky(50, 0), risky(50, time.Hour), risky(50, 24*time.Hour)}, false},
		"just within the day":   {3, []RiskyOrder{risky(50, 0), risky(50, time.Hour), risky(50, 24*time.Hour-1)}, true},
		"switched off":          {0, []RiskyOrder{risky(50, 0), risky(50, 0), risky(50, 0)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason, block := Policy{RiskyOrders: test.limit}.BlockForRisk(test.orders, now)
			require.Equal(t, test.block, block)
			require.Equal(t, test.block, reason != "")
		})
	}
}

func TestParseDeniedAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "203.0.113.0/24": "203.0.113.0/24", "10.0.0.0/8": "10.0.0.0/8", "2001:db8::/32": "2001:db8::/32",
		"2001:db8::1": "2001:db8::1/128", "2001::/16": "2001::/16", "::ffff:203.0.113.7": "203.0.113.7/32",
		"": "", "203.0.113.7/24": "", "10.0.0.0/7": "", "0.0.0.0/0": "", "::/0": "", "2001::/15": "", "fe80::1%eth0": "", "203.0.113.0/33": "",
		"203.0.113.0/024": "", "::ffff:203.0.113.0/120": "", "localhost": "",
	} {
		prefix, err := ParseDeniedAddresses(text)
		require.Equal(t, want == "", err != nil, text)
		if want != "" {
			require.Equal(t, want, prefix.String())
		}
	}
}
