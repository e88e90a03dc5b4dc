package config

import (
	"encoding/base64"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/viper"
)

// Events is the intake of what users do in the main product (seed 001), through whichever door.
type Events struct {
	Project        int           `mapstructure:"project"`         // that events from Kafka, RabbitMQ and webhooks belong to
	MaxAge         time.Duration `mapstructure:"max_age"`         // older events are refused
	MaxAhead       time.Duration `mapstructure:"max_ahead"`       // by how much a sender's clock may be fast
	MaxBodyBytes   int           `mapstructure:"max_body_bytes"`  // of one request or message
	MaxEvents      int           `mapstructure:"max_events"`      // of one request or message
	Retention      time.Duration `mapstructure:"retention"`       // how long events are kept, and second deliveries recognized
	Writers        int           `mapstructure:"writers"`         // batches that this process counts at the same time
	WebhookSecrets []string      `mapstructure:"webhook_secrets"` // whsec_ and base64; several while they are changed; none: no webhooks
}

func (*Events) defaults(v *viper.Viper) {
	v.SetDefault("events.project", 1)
	v.SetDefault("events.max_age", "720h")
	v.SetDefault("events.max_ahead", "5m")
	v.SetDefault("events.max_body_bytes", 4<<20)
	v.SetDefault("events.max_events", 1000)
	v.SetDefault("events.retention", "2160h")
	v.SetDefault("events.writers", 2)
	v.SetDefault("events.webhook_secrets", []string{})
}

func (e *Events) validate() []error {
	var m mistakes
	m.between(e.Project, 1, 1<<31-1, "QUICKPASS_EVENTS_PROJECT")
	m.positive(e.MaxAge, "QUICKPASS_EVENTS_MAX_AGE")
	m.check(e.MaxAhead >= 0 && e.MaxAhead <= 24*time.Hour, "QUICKPASS_EVENTS_MAX_AHEAD", "a duration from 0s to 24h")
	m.between(e.MaxBodyBytes, 1024, 64<<20, "QUICKPASS_EVENTS_MAX_BODY_BYTES")
	m.between(e.MaxEvents, 1, 10_000, "QUICKPASS_EVENTS_MAX_EVENTS")
	m.check(e.Retention >= e.MaxAge+e.MaxAhead, "QUICKPASS_EVENTS_RETENTION",
		"at least QUICKPASS_EVENTS_MAX_AGE and _MAX_AHEAD together: what may arrive again must be recognized")
	m.between(e.Writers, 1, 64, "QUICKPASS_EVENTS_WRITERS")
	m.check(!slices.ContainsFunc(e.WebhookSecrets, wrongSecret), "QUICKPASS_EVENTS_WEBHOOK_SECRETS",
		"a list of secrets, separated by commas, each whsec_ and the base64 of 24 to 64 bytes")
	return m
}

func wrongSecret(secret string) bool {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	return !ok || err != nil || len(key) < 24 || len(key) > 64
}

// Kafka is where events are consumed from, if it has brokers.
type Kafka struct {
	Brokers         []string `mapstructure:"brokers"` // QUICKPASS_KAFKA_BROKERS, separated by commas; none: Kafka is not used
	Topic           string   `mapstructure:"topic"`
	Group           string   `mapstructure:"group"` // of consumers; all processes are one group
	DeadLetterTopic string   `mapstructure:"dead_letter_topic"`
	TLS             bool     `mapstructure:"tls"`
	SASL            string   `mapstructure:"sasl"` // plain, scram-sha-256, scram-sha-512; empty: none
	User            string   `mapstructure:"user"`
	Password        string   `mapstructure:"password"`
}

func (*Kafka) defaults(v *viper.Viper) {
	v.SetDefault("kafka.brokers", []string{})
	v.SetDefault("kafka.topic", "quickpass.events")
	v.SetDefault("kafka.group", "quickpass")
	v.SetDefault("kafka.dead_letter_topic", "quickpass.events.dead")
	v.SetDefault("kafka.tls", false)
	v.SetDefault("kafka.sasl", "")
	v.SetDefault("kafka.user", "")
	v.SetDefault("kafka.password", "")
}

func (k *Kafka) validate() []error {
	var m mistakes
	m.check(!slices.ContainsFunc(k.Brokers, wrongAddress), "QUICKPASS_KAFKA_BROKERS", "host:port, several separated by commas, such as kafka-1:9092,kafka-2:9092")
	m.check(k.Topic != "", "QUICKPASS_KAFKA_TOPIC", "the name of a topic")
	m.check(k.Group != "", "QUICKPASS_KAFKA_GROUP", "the name of a consumer group")
	m.check(k.DeadLetterTopic != "" && k.DeadLetterTopic != k.Topic, "QUICKPASS_KAFKA_DEAD_LETTER_TOPIC", "the name of a topic, other than QUICKPASS_KAFKA_TOPIC")
	known := slices.Contains([]string{"", "plain", "scram-sha-256", "scram-sha-512"}, k.SASL)
	m.check(known, "QUICKPASS_KAFKA_SASL", "plain, scram-sha-256 or scram-sha-512, or empty for none")
	m.check(!known || (k.SASL == "") == (k.User == "" && k.Password == ""), "QUICKPASS_KAFKA_USER", "set with QUICKPASS_KAFKA_PASSWORD exactly when QUICKPASS_KAFKA_SASL is")
	return m
}

func wrongAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err != nil || host == "" || port == "" || strings.TrimSpace(address) != address
}

// AMQP is the RabbitMQ where events are consumed from, if it has a URL.
type AMQP struct {
	URL      string `mapstructure:"url"`      // QUICKPASS_AMQP_URL; empty: RabbitMQ is not used
	Queue    string `mapstructure:"queue"`    // its dead letters are in the queue of this name and ".dead"
	Prefetch int    `mapstructure:"prefetch"` // messages that may be unacknowledged
}

func (*AMQP) defaults(v *viper.Viper) {
	v.SetDefault("amqp.url", "")
	v.SetDefault("amqp.queue", "quickpass.events")
	v.SetDefault("amqp.prefetch", 1000)
}

func (a *AMQP) validate() []error {
	var m mistakes
	parsed, err := url.Parse(a.URL)
	m.check(a.URL == "" || (err == nil && (parsed.Scheme == "amqp" || parsed.Scheme == "amqps") && parsed.Host != ""),
		"QUICKPASS_AMQP_URL", "like amqp://user:password@host:5672/")
	m.check(a.Queue != "" && len(a.Queue) <= 250, "QUICKPASS_AMQP_QUEUE", "the name of a queue, at most 250 bytes")
	m.between(a.Prefetch, 1, 65535, "QUICKPASS_AMQP_PREFETCH")
	return m
}
