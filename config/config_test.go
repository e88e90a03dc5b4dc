package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/config"
)

// A test of settings owns the process's environment and working directory, so these tests don't run in
// parallel with each other.

// clean leaves nothing of the developer's own settings.
func clean(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "QUICKPASS_") {
			t.Setenv(name, value) // so that it is put back
			require.NoError(t, os.Unsetenv(name))
		}
	}
	t.Chdir(t.TempDir())
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func completeFile(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("testdata/complete.yaml")
	require.NoError(t, err)
	return path
}

var complete = config.Config{
	HTTP: config.HTTP{
		Address:      "0.0.0.0:9090",
		DrainDelay:   3 * time.Second,
		DrainTimeout: time.Minute,
		PprofAddress: "127.0.0.1:6060",
		CORSOrigins:  []string{"https://shop.example"},
		RatePerKey:   41,
		RatePerUser:  42,
		MaxInFlight:  43,
		MaxWaiting:   44,
		DatabaseWait: 45 * time.Second,
	},
	Ops: config.Ops{Address: "127.0.0.1:8081"},
	Database: config.Database{
		URL:              "postgres://quickpass:secret@db.example:5432/quickpass",
		MaxConnections:   20,
		StatementTimeout: 5 * time.Second,
	},
	Temporal: config.Temporal{Address: "temporal.example:7233", Namespace: "quickpass", Compress: true},
	MainProduct: config.MainProduct{
		URL:         "https://game.example/quickpass",
		APIKey:      "a-key",
		InquiryPath: "/api/v1/credits/orders/{order_id}",
		RewardPath:  "/api/v2/bonuses",
	},
	Worker: config.Worker{WorkflowSlots: 10, DeliverySlots: 20, QuietSlots: 25, CachedRuns: 30},
	Outbox: config.Outbox{Workers: 4, Queue: 5, Backlog: 6, Open: 7},
	Store: config.Store{
		PurchaseInterval: 51 * time.Second,
		LargePurchase:    52,
		ConfirmWithin:    53 * time.Second,
		SharedDevice:     54,
		RiskyOrders:      55,
		ApprovalLimit:    56,
	},
	Events: config.Events{
		Project:        81,
		MaxAge:         82 * time.Hour,
		MaxAhead:       83 * time.Minute,
		MaxBodyBytes:   8400,
		MaxEvents:      85,
		Retention:      86 * time.Hour,
		Writers:        8,
		WebhookSecrets: []string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"},
	},
	Kafka: config.Kafka{
		Brokers:         []string{"kafka-1:9092", "kafka-2:9092"},
		Topic:           "bets",
		Group:           "quickpass-bets",
		DeadLetterTopic: "bets.dead",
		TLS:             true,
		SASL:            "scram-sha-512",
		User:            "quickpass",
		Password:        "a-password",
	},
	Payments: config.Payments{WebhookSecrets: []string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI0"}},
	Webhooks: config.Webhooks{AllowPrivate: true, RetrySchedule: []string{"2x1s", "1x1m"}, Slots: 21},
	AMQP:     config.AMQP{URL: "amqp://quickpass:secret@rabbit.example:5672/", Queue: "bets", Prefetch: 87},
	Log:      config.Log{Level: "debug", Format: "text"},
	Dev: config.Dev{
		Dir:             "/var/lib/quickpass",
		PostgresPort:    15433,
		TemporalPort:    17233,
		TemporalUIPort:  18233,
		MainProductPort: 18090,
	},
}

func TestCompleteFile(t *testing.T) {
	path := completeFile(t)
	clean(t)
	c, err := config.Load(path)
	require.NoError(t, err)
	require.Equal(t, complete, c)
}

// A setting that is added must be added to complete.yaml, with a value that is not its default; otherwise the
// test above would not notice that the file's value never arrives.
func TestCompleteFileDiffersFromTheDefaultsInEverySetting(t *testing.T) {
	clean(t)
	defaults, err := config.Load("")
	require.NoError(t, err)
	want, got := reflect.ValueOf(complete), reflect.ValueOf(defaults)
	for i := range want.NumField() {
		section := want.Type().Field(i)
		for j := range want.Field(i).NumField() {
			setting := section.Type.Field(j)
			require.NotEmpty(t, setting.Tag.Get("mapstructure"), "%s.%s has no name in a file", section.Name, setting.Name)
			require.NotEqual(t, got.Field(i).Field(j).Interface(), want.Field(i).Field(j).Interface(), "%s.%s", section.Name, setting.Name)
		}
	}
}

// The addresses that clients and scripts rely on, and the sizes of docs/decisions.md.
func TestDefaults(t *testing.T) {
	clean(t)
	c, err := config.Load("")
	require.NoError(t, err)
	require.Equal(t, config.Config{
		HTTP: config.HTTP{
			Address:      "127.0.0.1:8080",
			DrainDelay:   0,
			DrainTimeout: 40 * time.Second,
			CORSOrigins:  []string{"*"},
			MaxInFlight:  1000,
			MaxWaiting:   1000,
			DatabaseWait: 2 * time.Second,
		},
		Database:    config.Database{MaxConnections: 16, StatementTimeout: 10 * time.Second},
		Temporal:    config.Temporal{Address: "127.0.0.1:7233", Namespace: "default"},
		MainProduct: config.MainProduct{RewardPath: "/api/v1/rewards"},
		Worker:      config.Worker{WorkflowSlots: 2000, DeliverySlots: 4000, QuietSlots: 8, CachedRuns: 4000},
		Outbox:      config.Outbox{Workers: 16, Queue: 1024, Backlog: 10_000, Open: 20_000},
		Store: config.Store{
			PurchaseInterval: time.Minute,
			LargePurchase:    10_000,
			ConfirmWithin:    10 * time.Minute,
			SharedDevice:     3,
			RiskyOrders:      3,
			ApprovalLimit:    100_000,
		},
		Events: config.Events{
			Project:        1,
			MaxAge:         720 * time.Hour,
			MaxAhead:       5 * time.Minute,
			MaxBodyBytes:   4 << 20,
			MaxEvents:      1000,
			Retention:      2160 * time.Hour,
			Writers:        2,
			WebhookSecrets: []string{},
		},
		Kafka: config.Kafka{
			Brokers:         []string{},
			Topic:           "quickpass.events",
			Group:           "quickpass",
			DeadLetterTopic: "quickpass.events.dead",
		},
		Payments: config.Payments{WebhookSecrets: []string{}},
		Webhooks: config.Webhooks{RetrySchedule: []string{"2x5m", "7x15m", "10x60m"}, Slots: 200},
		AMQP:     config.AMQP{Queue: "quickpass.events", Prefetch: 1000},
		Log:      config.Log{Level: "info", Format: "json"},
		Dev:      config.Dev{Dir: ".quickpass", PostgresPort: 5433, TemporalPort: 7233, TemporalUIPort: 8233, MainProductPort: 8090},
	}, c)
}

// Every setting has its variable, and a variable wins over the file.
func TestEnvironmentWinsOverTheFile(t *testing.T) {
	path := completeFile(t)
	clean(t)
	for name, value := range map[string]string{
		"QUICKPASS_HTTP_ADDRESS": "127.0.0.1:1", "QUICKPASS_HTTP_DRAIN_DELAY": "1s", "QUICKPASS_HTTP_DRAIN_TIMEOUT": "2s",
		"QUICKPASS_DATABASE_URL": "postgresql://other/x", "QUICKPASS_DATABASE_MAX_CONNECTIONS": "3", "QUICKPASS_DATABASE_STATEMENT_TIMEOUT": "4s",
		"QUICKPASS_TEMPORAL_ADDRESS": "[::1]:5", "QUICKPASS_TEMPORAL_NAMESPACE": "other", "QUICKPASS_TEMPORAL_COMPRESS": "false",
		"QUICKPASS_MAIN_PRODUCT_URL": "http://other", "QUICKPASS_MAIN_PRODUCT_API_KEY": "other", "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH": "/other/{order_id}",
		"QUICKPASS_MAIN_PRODUCT_REWARD_PATH": "/other",
		"QUICKPASS_WORKER_WORKFLOW_SLOTS":    "6", "QUICKPASS_WORKER_DELIVERY_SLOTS": "7", "QUICKPASS_WORKER_QUIET_SLOTS": "5", "QUICKPASS_WORKER_CACHED_RUNS": "0",
		"QUICKPASS_OUTBOX_WORKERS": "8", "QUICKPASS_OUTBOX_QUEUE": "9", "QUICKPASS_OUTBOX_BACKLOG": "10", "QUICKPASS_OUTBOX_OPEN": "11",
		"QUICKPASS_HTTP_PPROF_ADDRESS": "127.0.0.1:2", "QUICKPASS_HTTP_CORS_ORIGINS": "https://a.example,http://b.example:3000", "QUICKPASS_HTTP_RATE_PER_KEY": "61", "QUICKPASS_HTTP_RATE_PER_USER": "62", "QUICKPASS_HTTP_MAX_IN_FLIGHT": "63",
		"QUICKPASS_HTTP_MAX_WAITING": "64", "QUICKPASS_HTTP_DATABASE_WAIT": "65s", "QUICKPASS_OPS_ADDRESS": "127.0.0.1:3",
		"QUICKPASS_STORE_PURCHASE_INTERVAL": "71s", "QUICKPASS_STORE_LARGE_PURCHASE": "72", "QUICKPASS_STORE_CONFIRM_WITHIN": "73s", "QUICKPASS_STORE_SHARED_DEVICE": "74",
		"QUICKPASS_STORE_RISKY_ORDERS": "75", "QUICKPASS_STORE_APPROVAL_LIMIT": "76",
		"QUICKPASS_EVENTS_PROJECT": "91", "QUICKPASS_EVENTS_MAX_AGE": "92h", "QUICKPASS_EVENTS_MAX_AHEAD": "0s", "QUICKPASS_EVENTS_MAX_BODY_BYTES": "9400", "QUICKPASS_EVENTS_MAX_EVENTS": "95",
		"QUICKPASS_EVENTS_RETENTION": "96h", "QUICKPASS_EVENTS_WRITERS": "9", "QUICKPASS_EVENTS_WEBHOOK_SECRETS": "whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNk,whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
		"QUICKPASS_KAFKA_BROKERS": "a:1,b:2,c:3", "QUICKPASS_KAFKA_TOPIC": "t", "QUICKPASS_KAFKA_GROUP": "g", "QUICKPASS_KAFKA_DEAD_LETTER_TOPIC": "d", "QUICKPASS_KAFKA_TLS": "false",
		"QUICKPASS_KAFKA_SASL": "plain", "QUICKPASS_KAFKA_USER": "other", "QUICKPASS_KAFKA_PASSWORD": "other",
		"QUICKPASS_PAYMENTS_WEBHOOK_SECRETS": "whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNj",
		"QUICKPASS_WEBHOOKS_ALLOW_PRIVATE":   "false", "QUICKPASS_WEBHOOKS_RETRY_SCHEDULE": "1x5s,3x2h", "QUICKPASS_WEBHOOKS_SLOTS": "22",
		"QUICKPASS_AMQP_URL": "amqps://other", "QUICKPASS_AMQP_QUEUE": "q", "QUICKPASS_AMQP_PREFETCH": "97",
		"QUICKPASS_LOG_LEVEL": "warn", "QUICKPASS_LOG_FORMAT": "json",
		"QUICKPASS_DEV_DIR": "other", "QUICKPASS_DEV_POSTGRES_PORT": "11", "QUICKPASS_DEV_TEMPORAL_PORT": "12", "QUICKPASS_DEV_TEMPORAL_UI_PORT": "13", "QUICKPASS_DEV_MAIN_PRODUCT_PORT": "14",
	} {
		t.Setenv(name, value)
	}
	c, err := config.Load(path)
	require.NoError(t, err)
	require.Equal(t, config.Config{
		HTTP: config.HTTP{
			Address:      "127.0.0.1:1",
			DrainDelay:   time.Second,
			DrainTimeout: 2 * time.Second,
			PprofAddress: "127.0.0.1:2",
			CORSOrigins:  []string{"https://a.example", "http://b.example:3000"},
			RatePerKey:   61,
			RatePerUser:  62,
			MaxInFlight:  63,
			MaxWaiting:   64,
			DatabaseWait: 65 * time.Second,
		},
		Ops:         config.Ops{Address: "127.0.0.1:3"},
		Database:    config.Database{URL: "postgresql://other/x", MaxConnections: 3, StatementTimeout: 4 * time.Second},
		Temporal:    config.Temporal{Address: "[::1]:5", Namespace: "other"},
		MainProduct: config.MainProduct{URL: "http://other", APIKey: "other", InquiryPath: "/other/{order_id}", RewardPath: "/other"},
		Worker:      config.Worker{WorkflowSlots: 6, DeliverySlots: 7, QuietSlots: 5},
		Outbox:      config.Outbox{Workers: 8, Queue: 9, Backlog: 10, Open: 11},
		Store: config.Store{
			PurchaseInterval: 71 * time.Second,
			LargePurchase:    72,
			ConfirmWithin:    73 * time.Second,
			SharedDevice:     74,
			RiskyOrders:      75,
			ApprovalLimit:    76,
		},
		Events: config.Events{Project: 91, MaxAge: 92 * time.Hour, MaxBodyBytes: 9400, MaxEvents: 95, Retention: 96 * time.Hour, Writers: 9,
			WebhookSecrets: []string{"whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNk", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}},
		Kafka: config.Kafka{
			Brokers:         []string{"a:1", "b:2", "c:3"},
			Topic:           "t",
			Group:           "g",
			DeadLetterTopic: "d",
			SASL:            "plain",
			User:            "other",
			Password:        "other",
		},
		Payments: config.Payments{WebhookSecrets: []string{"whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNj"}},
		Webhooks: config.Webhooks{RetrySchedule: []string{"1x5s", "3x2h"}, Slots: 22},
		AMQP:     config.AMQP{URL: "amqps://other", Queue: "q", Prefetch: 97},
		Log:      config.Log{Level: "warn", Format: "json"},
		Dev:      config.Dev{Dir: "other", PostgresPort: 11, TemporalPort: 12, TemporalUIPort: 13, MainProductPort: 14},
	}, c)
}

func TestFileInTheWorkingDirectoryIsRead(t *testing.T) {
	clean(t)
	require.NoError(t, os.WriteFile("quickpass.yaml", []byte("log: {level: warn}"), 0o600))
	c, err := config.Load("")
	require.NoError(t, err)
	require.Equal(t, "warn", c.Log.Level)
}

// everyMistake has each setting wrong, by the variable that the error must name.
var everyMistake = map[string]string{
	"QUICKPASS_HTTP_ADDRESS": "8080", "QUICKPASS_HTTP_DRAIN_DELAY": "9h", "QUICKPASS_HTTP_DRAIN_TIMEOUT": "-1s",
	"QUICKPASS_DATABASE_URL": "mysql://x", "QUICKPASS_DATABASE_MAX_CONNECTIONS": "1", "QUICKPASS_DATABASE_STATEMENT_TIMEOUT": "0s",
	"QUICKPASS_TEMPORAL_ADDRESS": "nowhere",
	"QUICKPASS_MAIN_PRODUCT_URL": "ftp://x", "QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH": "/without/placeholder", "QUICKPASS_MAIN_PRODUCT_REWARD_PATH": "rewards",
	"QUICKPASS_WORKER_WORKFLOW_SLOTS": "1", "QUICKPASS_WORKER_DELIVERY_SLOTS": "0", "QUICKPASS_WORKER_QUIET_SLOTS": "1", "QUICKPASS_WORKER_CACHED_RUNS": "-1",
	"QUICKPASS_OUTBOX_WORKERS": "0", "QUICKPASS_OUTBOX_QUEUE": "0", "QUICKPASS_OUTBOX_BACKLOG": "0", "QUICKPASS_OUTBOX_OPEN": "0",
	"QUICKPASS_HTTP_PPROF_ADDRESS": "6060", "QUICKPASS_HTTP_CORS_ORIGINS": "https://shop.example/", "QUICKPASS_HTTP_RATE_PER_KEY": "-1", "QUICKPASS_HTTP_RATE_PER_USER": "-1", "QUICKPASS_HTTP_MAX_IN_FLIGHT": "0",
	"QUICKPASS_HTTP_MAX_WAITING": "0", "QUICKPASS_HTTP_DATABASE_WAIT": "0s", "QUICKPASS_OPS_ADDRESS": "8081",
	"QUICKPASS_STORE_PURCHASE_INTERVAL": "-1s", "QUICKPASS_STORE_LARGE_PURCHASE": "-1", "QUICKPASS_STORE_CONFIRM_WITHIN": "-1s", "QUICKPASS_STORE_SHARED_DEVICE": "-1",
	"QUICKPASS_STORE_RISKY_ORDERS": "-1", "QUICKPASS_STORE_APPROVAL_LIMIT": "-1",
	"QUICKPASS_EVENTS_PROJECT": "0", "QUICKPASS_EVENTS_MAX_AGE": "0s", "QUICKPASS_EVENTS_MAX_AHEAD": "-1s", "QUICKPASS_EVENTS_MAX_BODY_BYTES": "1", "QUICKPASS_EVENTS_MAX_EVENTS": "0",
	"QUICKPASS_EVENTS_RETENTION": "-1h", "QUICKPASS_EVENTS_WRITERS": "0", "QUICKPASS_EVENTS_WEBHOOK_SECRETS": "secret",
	"QUICKPASS_PAYMENTS_WEBHOOK_SECRETS": "secret",
	"QUICKPASS_WEBHOOKS_RETRY_SCHEDULE":  "5m", "QUICKPASS_WEBHOOKS_SLOTS": "0",
	"QUICKPASS_KAFKA_BROKERS": "kafka:9092, kafka", "QUICKPASS_KAFKA_DEAD_LETTER_TOPIC": "quickpass.events", "QUICKPASS_KAFKA_SASL": "kerberos",
	"QUICKPASS_AMQP_URL": "http://x", "QUICKPASS_AMQP_PREFETCH": "0",
	"QUICKPASS_LOG_LEVEL": "loud", "QUICKPASS_LOG_FORMAT": "xml",
	"QUICKPASS_DEV_POSTGRES_PORT": "0", "QUICKPASS_DEV_TEMPORAL_PORT": "65536", "QUICKPASS_DEV_TEMPORAL_UI_PORT": "-1", "QUICKPASS_DEV_MAIN_PRODUCT_PORT": "70000",
}

func TestEveryMistakeIsListedAtOnce(t *testing.T) {
	clean(t)
	for name, value := range everyMistake {
		t.Setenv(name, value)
	}
	_, err := config.Load(file(t, "temporal: {namespace: ''}\ndev: {dir: ''}"))
	require.Error(t, err)
	for name := range everyMistake {
		require.ErrorContains(t, err, name+" must be ")
	}
	require.ErrorContains(t, err, "QUICKPASS_TEMPORAL_NAMESPACE must be ")
	require.ErrorContains(t, err, "QUICKPASS_DEV_DIR must be ")
	require.Len(t, strings.Split(err.Error(), "\n"), len(everyMistake)+2, "each once, and nothing that is right")
}

func TestEachMistakeAlone(t *testing.T) {
	for name, value := range everyMistake {
		t.Run(name, func(t *testing.T) {
			clean(t)
			t.Setenv(name, value)
			_, err := config.Load("")
			require.ErrorContains(t, err, name+" must be ")
		})
	}
}

// A value of the wrong type is a mistake like any other: named by its variable, and listed with the others.
func TestWrongTypesAreListedWithTheOthers(t *testing.T) {
	clean(t)
	t.Setenv("QUICKPASS_OUTBOX_WORKERS", "many")
	t.Setenv("QUICKPASS_HTTP_DRAIN_TIMEOUT", "soon")
	t.Setenv("QUICKPASS_LOG_LEVEL", "loud")
	_, err := config.Load("")
	for _, name := range []string{"QUICKPASS_OUTBOX_WORKERS", "QUICKPASS_HTTP_DRAIN_TIMEOUT", "QUICKPASS_LOG_LEVEL"} {
		require.ErrorContains(t, err, name)
	}
}

// A number without a unit would be nanoseconds.
func TestDurationWithoutAUnitIsRefused(t *testing.T) {
	clean(t)
	_, err := config.Load(file(t, "database: {statement_timeout: 10}"))
	require.ErrorContains(t, err, "statement_timeout")
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ content, names string }{
		"unknown key":     {"http: {addresses: 127.0.0.1:8080}", "addresses"},
		"unknown section": {"https: {address: 127.0.0.1:8080}", "https"},
		"no YAML":         {"http: [", "settings file"},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			_, err := config.Load(file(t, c.content))
			require.ErrorContains(t, err, c.names)
		})
	}
	t.Run("missing", func(t *testing.T) {
		clean(t)
		_, err := config.Load("nowhere.yaml")
		require.ErrorContains(t, err, "nowhere.yaml")
	})
}

// A mistake never repeats a secret.
func TestMistakesHideSecrets(t *testing.T) {
	clean(t)
	t.Setenv("QUICKPASS_DATABASE_URL", "mysql://quickpass:hunter2@db/x")
	t.Setenv("QUICKPASS_MAIN_PRODUCT_API_KEY", "hunter2")
	t.Setenv("QUICKPASS_LOG_LEVEL", "loud")
	_, err := config.Load("")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}
