package events_test

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/tasks"
)

// with gives a message the identity of its transport.
func with(m events.Message, source string, transport ...string) events.Message {
	m.Source, m.Transport = source, transport
	return m
}

func TestSameEventIDIsTheSameEventThroughEveryDoor(t *testing.T) {
	t.Parallel()
	body := bet(`"event_id":"bet-1"`)
	want := events.KeyOf(project, "bet-1")
	for name, m := range map[string]events.Message{
		"rest":        message("", body),
		"webhook":     with(message("", body), events.SourceWebhook, events.WebhookTransport("msg_1")...),
		"kafka":       with(message("", body), events.SourceKafka, "kafka", "t", "0", "17", "1"),
		"rabbitmq":    with(message("", body), events.SourceRabbitMQ, "rabbitmq", "", "m1"),
		"cloudevents": message("application/cloudevents+json", envelope("1", `,"data":`+body)),
		"protobuf":    message("application/x-protobuf", marshal(t, protoEvent(t, nil))),
	} {
		received := decodeOne(t, m)
		require.Equal(t, "bet-1", received.ID, name)
		require.Equal(t, tasks.ByEventID, received.IdentifiedBy, name)
		require.Equal(t, want, received.Key, name)
	}
}

func TestNumberAndTextAreTheSameEventID(t *testing.T) {
	t.Parallel()
	number := decodeOne(t, message("", bet(`"event_id":123456789012345678901234567890`)))
	text := decodeOne(t, message("", bet(`"event_id":"123456789012345678901234567890"`)))
	require.Equal(t, number.Key, text.Key)
	require.Equal(t, "123456789012345678901234567890", number.ID)
}

func TestIdentitiesAreKeptApart(t *testing.T) {
	t.Parallel()
	body := bet("")
	seen := map[[16]byte]string{}
	add := func(name string, m events.Message) tasks.Received {
		received := decodeOne(t, m)
		require.NotContains(t, seen, received.Key, name)
		seen[received.Key] = name
		require.Equal(t, received.Key, events.KeyOf(m.ProjectID, received.ID), "%s is found by the id that was answered", name)
		return received
	}
	add("content", message("", body))
	add("other content", message("", bet(`"round":1`)))
	add("event id", message("", bet(`"event_id":"a"`)))
	add("webhook", with(message("", body), events.SourceWebhook, "webhook", "a"))
	add("rabbitmq", with(message("", body), events.SourceRabbitMQ, "rabbitmq", "", "a"))
	add("rabbitmq of another application", with(message("", body), events.SourceRabbitMQ, "rabbitmq", "app", "a"))
	add("parts that look alike", with(message("", body), events.SourceRabbitMQ, "rabbitmq", "ap", "pa"))
	add("kafka", with(message("", body), events.SourceKafka, "kafka", "t", "0", "1", "1"))
	add("kafka, later", with(message("", body), events.SourceKafka, "kafka", "t", "0", "2", "1"))
	add("kafka, topic made anew", with(message("", body), events.SourceKafka, "kafka", "t", "0", "1", "2"))
	cloud := message("", body)
	cloud.CloudEvent = &events.CloudEvent{SpecVersion: "1.0", ID: "a", Source: "s"}
	require.Equal(t, tasks.ByTransport, add("cloudevents", cloud).IdentifiedBy)
	other := message("", bet(`"event_id":"a"`))
	other.ProjectID = 2
	add("another project", other)
	other = message("", body)
	other.ProjectID = 2
	add("content in another project", other)
}

func TestCloudEventInBinaryModeIsTheOneInStructuredMode(t *testing.T) {
	t.Parallel()
	headers := map[string]string{"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/game"}
	m := with(message("application/json", seedEvent), events.SourceKafka, "kafka", "t", "0", "1", "1")
	m.CloudEvent = events.CloudEventOf(func(name string) string { return headers[name] }, "ce_")
	structured := decodeOne(t, message("application/cloudevents+json", envelope("1", `,"data":`+seedEvent)))
	require.Equal(t, structured.Key, decodeOne(t, m).Key)
	require.Nil(t, events.CloudEventOf(func(string) string { return "" }, "ce_"))
}

func TestEventsOfOneMessageDiffer(t *testing.T) {
	t.Parallel()
	items := decode(t, with(message("", "["+bet("")+","+bet("")+"]"), events.SourceWebhook, "webhook", "a"))
	require.NotEqual(t, items[0].Received.Key, items[1].Received.Key, "two equal bets in one signed message are two")
	items = decode(t, message("", "["+bet("")+","+bet("")+"]"))
	require.Equal(t, items[0].Received.Key, items[1].Received.Key, "without any identity they are taken for one")
	require.Equal(t, tasks.ByContent, items[1].Received.IdentifiedBy)
}

// A fingerprint does not depend on how the same content is written, and differs for another content.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	key := func(fields string) [16]byte { return decodeOne(t, message("", bet(fields))).Key }
	same := [][2]string{
		{`"a":1,"b":[1,{"c":null}]`, ` "b" : [ 1 , {"c":null} ] , "a":1 `},
		{`"amount":250.00`, `"amount":250`}, {`"amount":250`, `"amount":2.5E+2`}, {`"x":0.001`, `"x":1e-3`}, {`"x":0`, `"x":-0.00`}, {`"x":"\u0041"`, `"x":"A"`},
	}
	for _, pair := range same {
		require.Equal(t, key(pair[0]), key(pair[1]), pair)
	}
	other := []string{`"a":1`, `"a":"1"`, `"a":true`, `"a":null`, `"a":[1]`, `"a":{"b":1}`, `"a":[[1]]`, `"a":10`, `"a":0.1`, `"a":-1`, `"b":1`, `"a":12345678901234567890`, `"a":12345678901234567891`,
		`"a":1e9999999999`, `"a":1e9999999998`, `"a":[1,2]`, `"a":[2,1]`, `"a":["1,2"]`, `"a":{"b":1,"c":2}`, `"a":{"b":{"c":2}}`}
	seen := map[[16]byte]string{}
	for _, fields := range other {
		require.Empty(t, seen[key(fields)], fields)
		seen[key(fields)] = fields
	}
}

func TestFingerprintOfEqualNumbers(t *testing.T) {
	t.Parallel()
	key := func(t *rapid.T, number string) string {
		received := decodeOne(t, message("", bet(`"x":`+number)))
		return hex.EncodeToString(received.Key[:])
	}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?`)
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if rapid.Bool().Draw(t, "scaled") {
			b = a + "e0"
			if strings.ContainsAny(a, ".eE") {
				b = a
			} else if strings.Trim(a, "-0") != "" {
				b = a + "00e-2"
			}
		}
		x, ok := new(big.Rat).SetString(a)
		require.True(t, ok)
		y, ok := new(big.Rat).SetString(b)
		require.True(t, ok)
		require.Equal(t, x.Cmp(y) == 0, key(t, a) == key(t, b), "%s and %s", a, b)
		require.True(t, json.Valid([]byte(a)))
	})
}
