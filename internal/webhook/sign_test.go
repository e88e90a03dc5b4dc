package webhook_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/webhook"
)

// The vectors of docs/webhooks.md. They are computed here by the standard library alone, so that the page,
// our code and whoever follows the page agree.
func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/webhooks.md")
	require.NoError(t, err)
	const id, seconds = "we_d5k2v0b6t2ac73f9m2v0", 1795348800
	body := `{"notification_type":"order_paid","event_id":"we_d5k2v0b6t2ac73f9m2v0","order":{"id":41}}`
	for secret, key := range map[string]string{
		"example-webhook-secret":                 "example-webhook-secret",
		"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz": "012345678901234567890123",
	} {
		sum := sha1.Sum([]byte(body + secret))
		mac := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(mac, "%s.%d.%s", id, seconds, body)
		authorization, signature := "Signature "+hex.EncodeToString(sum[:]), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
		headers, err := webhook.Sign([]string{secret}, id, time.Unix(seconds, 0), []byte(body))
		require.NoError(t, err)
		require.Equal(t, map[string]string{"Authorization": authorization, "webhook-id": id, "webhook-timestamp": fmt.Sprint(seconds), "webhook-signature": signature}, headers)
		for _, value := range []string{body, secret, id, fmt.Sprint(seconds), authorization, signature} {
			require.Contains(t, string(page), value)
		}
	}
}

// While a secret is replaced, both sign; the header of existing clients has room for one, the new.
func TestTwoSecretsSign(t *testing.T) {
	t.Parallel()
	body, at := []byte(`{}`), time.Unix(1795348800, 0)
	both, err := webhook.Sign([]string{"the-new-secret-0001", "the-old-secret-0001"}, "we_1", at, body)
	require.NoError(t, err)
	var alone []string
	for _, secret := range []string{"the-new-secret-0001", "the-old-secret-0001"} {
		headers, err := webhook.Sign([]string{secret}, "we_1", at, body)
		require.NoError(t, err)
		alone = append(alone, headers["webhook-signature"])
		if secret == "the-new-secret-0001" {
			require.Equal(t, headers["Authorization"], both["Authorization"])
		}
	}
	require.Equal(t, strings.Join(alone, " "), both["webhook-signature"])

	_, err = webhook.Sign(nil, "we_1", at, body)
	require.Error(t, err)
	_, err = webhook.Sign([]string{"whsec_not?base64"}, "we_1", at, body)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "not?base64")
}
