package events_test

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/events"
)

var (
	oldSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the secret that is going out of use"))
	newSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the secret that is coming into use!"))
	strange   = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the secret of somebody else, of whom"))
)

func signed(t *testing.T, secret, id string, at time.Time, body string) http.Header {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	signature, err := key.Sign(id, at, []byte(body))
	require.NoError(t, err)
	header := http.Header{}
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	header.Set("webhook-signature", signature)
	return header
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	verifier, err := events.NewWebhookVerifier([]string{oldSecret, newSecret})
	require.NoError(t, err)
	set := func(name, value string) http.Header {
		header := signed(t, newSecret, "msg_1", now, seedEvent)
		header.Set(name, value)
		return header
	}
	both := signed(t, newSecret, "msg_1", now, seedEvent)
	both.Set("webhook-signature", "v1a,xyz "+signed(t, strange, "msg_1", now, seedEvent).Get("webhook-signature")+" "+both.Get("webhook-signature"))
	for name, test := range map[string]struct {
		header http.Header
		want   error
	}{
		"new secret":                  {signed(t, newSecret, "msg_1", now, seedEvent), nil},
		"old secret":                  {signed(t, oldSecret, "msg_1", now, seedEvent), nil},
		"several signatures":          {both, nil},
		"5 minutes ago":               {signed(t, newSecret, "msg_1", now.Add(-5*time.Minute), seedEvent), nil},
		"5 minutes ahead":             {signed(t, newSecret, "msg_1", now.Add(5*time.Minute), seedEvent), nil},
		"more than 5 minutes ago":     {signed(t, newSecret, "msg_1", now.Add(-5*time.Minute-time.Second), seedEvent), events.ErrTimestampTooOld},
		"more than 5 minutes ahead":   {signed(t, newSecret, "msg_1", now.Add(5*time.Minute+time.Second), seedEvent), events.ErrTimestampInFuture},
		"another secret":              {signed(t, strange, "msg_1", now, seedEvent), events.ErrSignatureInvalid},
		"another body":                {signed(t, newSecret, "msg_1", now, seedEvent+" "), events.ErrSignatureInvalid},
		"another id":                  {set("webhook-id", "msg_2"), events.ErrSignatureInvalid},
		"another time":                {set("webhook-timestamp", strconv.FormatInt(now.Unix()+1, 10)), events.ErrSignatureInvalid},
		"no number for a time":        {set("webhook-timestamp", "today"), events.ErrSignatureInvalid},
		"signature of another kind":   {set("webhook-signature", "v2,AAAA"), events.ErrSignatureInvalid},
		"signature that is no base64": {set("webhook-signature", "v1,?"), events.ErrSignatureInvalid},
		"no id":                       {set("webhook-id", ""), events.ErrSignatureMissing},
		"no time":                     {set("webhook-timestamp", ""), events.ErrSignatureMissing},
		"no signature":                {set("webhook-signature", ""), events.ErrSignatureMissing},
		"nothing":                     {http.Header{}, events.ErrSignatureMissing},
	} {
		id, err := verifier.Verify(test.header, []byte(seedEvent), now)
		if test.want == nil {
			require.NoError(t, err, name)
			require.Equal(t, "msg_1", id, name)
			continue
		}
		require.ErrorIs(t, err, test.want, name)
		require.Empty(t, id, name)
	}
}

// A webhook that is replayed within the 5 minutes passes, and all of its events are duplicates.
func TestReplayedWebhookHasTheSameKeys(t *testing.T) {
	t.Parallel()
	verifier, err := events.NewWebhookVerifier([]string{newSecret})
	require.NoError(t, err)
	body := "[" + bet("") + "," + bet("") + "]"
	header := signed(t, newSecret, "msg_1", now, body)
	var keys [2][][16]byte
	for i := range keys {
		id, err := verifier.Verify(header, []byte(body), now.Add(time.Duration(i)*time.Minute))
		require.NoError(t, err)
		for _, item := range decode(t, with(message("", body), events.SourceWebhook, events.WebhookTransport(id)...)) {
			keys[i] = append(keys[i], item.Received.Key)
		}
	}
	require.Equal(t, keys[0], keys[1])
	require.NotEqual(t, keys[0][0], keys[0][1])
}

func TestWebhookSecretsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := events.NewWebhookVerifier(nil)
	require.Error(t, err)
	_, err = events.NewWebhookVerifier([]string{newSecret, "whsec_not?base64"})
	require.ErrorContains(t, err, "webhook secret 2")
	require.NotContains(t, err.Error(), "not?base64")
}
