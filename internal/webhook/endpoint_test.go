package webhook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/webhook"
)

func TestSecretsAndEvents(t *testing.T) {
	t.Parallel()
	for secret, ok := range map[string]bool{
		strings.Repeat("s", 16): true, strings.Repeat("s", 255): true, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz": true,
		strings.Repeat("s", 15): false, strings.Repeat("s", 256): false, "with a space in it!": false, "ключключключ": false, "whsec_short": false, "whsec_not?base64?not?base64?not": false,
		"tab\tin the middle of it": false,
	} {
		require.Equal(t, ok, webhook.CheckSecret(secret) == "", secret)
	}
	require.Empty(t, webhook.CheckEvents(webhook.Events))
	require.Empty(t, webhook.CheckEvents(webhook.DefaultEvents))
	for _, events := range [][]webhook.Event{nil, {"order_eaten"}, {webhook.OrderPaid, webhook.OrderPaid}, {webhook.Test}} {
		require.NotEmpty(t, webhook.CheckEvents(events), "%v", events)
	}
}
