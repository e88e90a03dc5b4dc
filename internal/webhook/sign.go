package webhook

import (
	"crypto/sha1" //nolint:gosec // the signature that existing clients check; the one of Standard Webhooks goes along
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Names of the headers of a webhook.
const (
	HeaderAuthorization = "Authorization"
	HeaderID            = standardwebhooks.HeaderWebhookID
	HeaderTimestamp     = standardwebhooks.HeaderWebhookTimestamp
	HeaderSignature     = standardwebhooks.HeaderWebhookSignature
)

// Sign makes the headers of a body for one try. The first secret is the current one and signs in both ways;
// the others, which are going out of use, sign in that of Standard Webhooks, whose header holds several
// signatures.
func Sign(secrets []string, id string, at time.Time, body []byte) (map[string]string, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret to sign with")
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := standardKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err) // never the secret itself
		}
		if signatures[i], err = key.Sign(id, at, body); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	return map[string]string{
		HeaderAuthorization: "Signature " + LegacySignature(secrets[0], body), HeaderID: id,
		HeaderTimestamp: strconv.FormatInt(at.Unix(), 10), HeaderSignature: strings.Join(signatures, " "),
	}, nil
}

// LegacySignature is the SHA-1 of the body and the secret behind it, in hex: no HMAC, no time, which is why
// the other one exists.
func LegacySignature(secret string, body []byte) string {
	hash := sha1.New() //nolint:gosec // see above
	hash.Write(body)
	hash.Write([]byte(secret))
	return hex.EncodeToString(hash.Sum(nil))
}

// standardKey is the base64 behind whsec_, or the text of a secret as it is.
func standardKey(secret string) (*standardwebhooks.Webhook, error) {
	if strings.HasPrefix(secret, standardPrefix) {
		return standardwebhooks.NewWebhook(secret)
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}
