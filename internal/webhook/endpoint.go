package webhook

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

const (
	// Formats of bodies: existing clients know them as version 1 and 2.
	OldestFormat = 1
	NewestFormat = 2

	// RotationOverlap is how long a secret goes on signing after it was replaced, unless another moment is
	// given, and LongestOverlap the longest that can be given.
	RotationOverlap = 24 * time.Hour
	LongestOverlap  = 30 * 24 * time.Hour

	minSecret        = 16
	maxSecret        = 255
	standardPrefix   = "whsec_" // and base64: the form of Standard Webhooks
	minStandardBytes = 24
	maxStandardBytes = 64
)

// CheckSecret says what is wrong with a secret; empty when nothing is.
func CheckSecret(secret string) string {
	if len(secret) < minSecret || len(secret) > maxSecret || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "16 to 255 characters of ASCII without spaces"
	}
	if encoded, standard := strings.CutPrefix(secret, standardPrefix); standard {
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(key) < minStandardBytes || len(key) > maxStandardBytes {
			return "whsec_ and the base64 of 24 to 64 bytes, or any other text"
		}
	}
	return ""
}

// CheckEvents says what is wrong with a choice of events; empty when nothing is.
func CheckEvents(events []Event) string {
	seen := map[Event]bool{}
	for _, event := range events {
		if !slices.Contains(Events, event) || seen[event] {
			return "each of order_paid, order_done, order_refunded, order_canceled, order_expired at most once"
		}
		seen[event] = true
	}
	if len(events) == 0 {
		return "at least one; switch the endpoint off to be told of nothing"
	}
	return ""
}
