package events

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// webhookTolerance is how far the time in a webhook's signature may be from ours, either way.
const webhookTolerance = 5 * time.Minute

// What is wrong with a webhook. The codes are part of the HTTP API and never change.
var (
	ErrSignatureMissing  = &MessageError{"signature_missing", "the headers webhook-id, webhook-timestamp and webhook-signature are needed"}
	ErrSignatureInvalid  = &MessageError{"signature_invalid", "no signature in webhook-signature was made with a secret of this receiver over webhook-id, webhook-timestamp and this body"}
	ErrTimestampTooOld   = &MessageError{"timestamp_too_old", "webhook-timestamp is more than 5 minutes ago; sign the webhook when it is sent"}
	ErrTimestampInFuture = &MessageError{"timestamp_in_future", "webhook-timestamp is more than 5 minutes ahead; check the sender's clock"}
)

// WebhookVerifier checks webhooks that are signed as the Standard Webhooks specification says: HMAC-SHA256
// over the id, the time and the body. What passes once passes again within 5 minutes, with the same id: its
// events are duplicates.
type WebhookVerifier struct{ keys []*standardwebhooks.Webhook }

// NewWebhookVerifier takes the secrets, each whsec_ and base64. Several are valid at the same time, so that they can be
// changed without a gap.
func NewWebhookVerifier(secrets []string) (*WebhookVerifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a webhook secret is needed")
	}
	v := &WebhookVerifier{}
	for i, secret := range secrets {
		key, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d: %w", i+1, err) // never the secret itself
		}
		v.keys = append(v.keys, key)
	}
	return v, nil
}

// Verify returns the webhook's id, or one of the *MessageErrors above.
func (v *WebhookVerifier) Verify(header http.Header, body []byte, now time.Time) (id string, err error) {
	id = header.Get(standardwebhooks.HeaderWebhookID)
	sent := header.Get(standardwebhooks.HeaderWebhookTimestamp)
	if id == "" || sent == "" || header.Get(standardwebhooks.HeaderWebhookSignature) == "" {
		return "", ErrSignatureMissing
	}
	if !v.signed(header, body) {
		return "", ErrSignatureInvalid
	}
	seconds, err := strconv.ParseInt(sent, 10, 64)
	at := time.Unix(seconds, 0)
	switch {
	case err != nil:
		return "", ErrSignatureInvalid
	case at.Before(now.Add(-webhookTolerance)):
		return "", ErrTimestampTooOld
	case at.After(now.Add(webhookTolerance)):
		return "", ErrTimestampInFuture
	default:
		return id, nil
	}
}

// signed compares in constant time, with each key.
func (v *WebhookVerifier) signed(header http.Header, body []byte) bool {
	for _, key := range v.keys {
		if key.VerifyIgnoringTimestamp(body, header) == nil {
			return true
		}
	}
	return false
}

// WebhookTransport is the identity of a verified webhook.
func WebhookTransport(id string) []string { return []string{SourceWebhook, id} }
