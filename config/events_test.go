package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKafkaUserGoesWithSASL(t *testing.T) {
	for name, kafka := range map[string]Kafka{
		"user without SASL":     {User: "quickpass"},
		"password without SASL": {Password: "secret"},
		"SASL without user":     {SASL: "plain"},
	} {
		kafka.Topic, kafka.Group, kafka.DeadLetterTopic = "t", "g", "d"
		mistakes := kafka.validate()
		require.Len(t, mistakes, 1, name)
		require.ErrorContains(t, mistakes[0], "QUICKPASS_KAFKA_USER must be", name)
		require.NotContains(t, mistakes[0].Error(), "secret")
	}
}

// What may arrive again must be recognized: the keys of events live as long as the events.
func TestEventsAreKeptLongerThanTheyMayBeOld(t *testing.T) {
	t.Setenv("QUICKPASS_EVENTS_RETENTION", "720h")
	_, err := Load("")
	require.ErrorContains(t, err, "QUICKPASS_EVENTS_RETENTION must be")
	t.Setenv("QUICKPASS_EVENTS_RETENTION", "721h")
	_, err = Load("")
	require.NoError(t, err)
}

func TestWebhookSecretIsNotRepeatedInTheMistake(t *testing.T) {
	const secret = "whsec_c2hvcnQ="
	t.Setenv("QUICKPASS_EVENTS_WEBHOOK_SECRETS", secret)
	_, err := Load("")
	require.ErrorContains(t, err, "QUICKPASS_EVENTS_WEBHOOK_SECRETS must be")
	require.NotContains(t, err.Error(), strings.TrimPrefix(secret, "whsec_"))
}
