package events_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/events"
	"github.com/quickpass/quickpass/internal/events/eventpb"
	"github.com/quickpass/quickpass/internal/tasks"
)

const project int32 = 1

var (
	decoder = events.Decoder{
		Limits:    tasks.EventLimits{MaxAge: 720 * time.Hour, MaxAhead: 5 * time.Minute},
		MaxBytes:  1 << 20,
		MaxEvents: 1000,
	}
	now = time.Date(2024, 1, 15, 14, 31, 0, 0, time.UTC)
)

// seedEvent is that of seed 001, to the letter.
const seedEvent = `{
"user_id": "12345",
"event_type": "bet_placed",
"timestamp": "2024-01-15T14:30:00Z",
"amount": 250.00,
"currency": "RUB",
"game_type": "roulette",
"outcome": "win",
"bet_type": "red"
}`

func message(contentType, body string) events.Message {
	return events.Message{ProjectID: project, Source: events.SourceREST, ContentType: contentType, Body: []byte(body)}
}

func decode(t require.TestingT, m events.Message) []events.Item {
	items, err := decoder.Decode(m, now)
	require.NoError(t, err)
	for i, item := range items {
		require.Equal(t, i, item.Index)
		if item.Rejection != nil {
			require.Equal(t, i, item.Rejection.Index)
		}
	}
	return items
}

func decodeOne(t require.TestingT, m events.Message) tasks.Received {
	items := decode(t, m)
	require.Len(t, items, 1)
	require.Nil(t, items[0].Rejection)
	return items[0].Received
}

// codes lists what became of each event: its rejection's code, or "".
func codes(items []events.Item) []string {
	all := make([]string, len(items))
	for i, item := range items {
		if item.Rejection != nil {
			all[i] = item.Rejection.Code
		}
	}
	return all
}

// bet is a valid event with more fields.
func bet(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"user_id":"u1","event_type":"bet_placed","timestamp":"2024-01-15T14:30:00Z"` + more + `}`
}

func TestSeedsEventIsTakenToTheLetter(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"", "application/json", "application/json; charset=UTF-8", "application/x-ndjson"} {
		body := seedEvent
		if contentType == "application/x-ndjson" {
			body = strings.ReplaceAll(seedEvent, "\n", "") + "\n"
		}
		received := decodeOne(t, message(contentType, body))
		require.Equal(t, "12345", received.UserID)
		require.Equal(t, "bet_placed", received.Type)
		require.Equal(t, "250", received.Amount.Decimal.String())
		require.Equal(t, json.Number("250.00"), received.Fields["amount"])
		require.Equal(t, "red", received.Fields["bet_type"])
		require.JSONEq(t, seedEvent, string(received.Payload))
		require.Equal(t, tasks.ByContent, received.IdentifiedBy)
		require.Equal(t, "rest", received.Source)
	}
}

func TestFormsOfJSON(t *testing.T) {
	t.Parallel()
	one, other := bet(`"event_id":"1"`), bet(`"event_id":"2"`)
	for name, m := range map[string]events.Message{
		"array":               message("application/json", " [ "+one+" , "+other+" ] "),
		"lines":               message("application/x-ndjson", one+"\r\n\n  \n"+other),
		"lines, called JSON":  message("application/json", one+"\n"+other+"\n"),
		"array, no type":      message("", "["+one+","+other+"]"),
		"lines, other name":   message("application/jsonl", one+"\n"+other),
		"array, as plaintext": message("text/plain; charset=utf-8", "["+one+","+other+"]"),
	} {
		items := decode(t, m)
		require.Equal(t, []string{"", ""}, codes(items), name)
		require.Equal(t, "1", items[0].Received.ID, name)
		require.Equal(t, "2", items[1].Received.ID, name)
		require.JSONEq(t, one, string(items[0].Received.Payload), name)
		require.JSONEq(t, other, string(items[1].Received.Payload), name)
	}
}

func TestMessagesOfWhichNothingCanBeRead(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(strings.Repeat(bet("")+",", 1001), ",")
	for name, test := range map[string]struct {
		m    events.Message
		code string
	}{
		"nothing":              {message("application/json", ""), events.CodeEmpty},
		"blank lines":          {message("application/x-ndjson", " \n\n"), events.CodeEmpty},
		"empty array":          {message("application/json", "[]"), events.CodeEmpty},
		"empty protobuf":       {message("application/x-protobuf", ""), events.CodeEmpty},
		"a number":             {message("application/json", "5"), events.CodeInvalidJSON},
		"NaN":                  {message("application/json", "NaN"), events.CodeInvalidJSON},
		"HTML":                 {message("application/json", "<html>"), events.CodeInvalidJSON},
		"random bytes":         {message("application/json", "\x00\xff\x13\x37"), events.CodeInvalidJSON},
		"broken off object":    {message("application/json", bet("")[:30]), events.CodeInvalidJSON},
		"broken off array":     {message("application/json", "["+bet("")), events.CodeInvalidJSON},
		"array goes on":        {message("application/json", "["+bet("")+"]"+bet("")), events.CodeInvalidJSON},
		"NaN in an array":      {message("application/json", "["+bet(`"amount":NaN`)+"]"), events.CodeInvalidJSON},
		"random protobuf":      {message("application/protobuf", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), events.CodeInvalidProtobuf},
		"batch and more":       {message("application/protobuf", "\x0a\x00\x12\x01a"), events.CodeInvalidProtobuf},
		"broken off protobuf":  {message("application/protobuf", "\x0a\x05ab"), events.CodeInvalidProtobuf},
		"too large":            {message("application/json", strings.Repeat(" ", decoder.MaxBytes+1)), events.CodeBodyTooLarge},
		"too many in an array": {message("application/json", "["+many+"]"), events.CodeTooManyEvents},
		"too many lines":       {message("application/x-ndjson", strings.ReplaceAll(many, "},", "}\n")), events.CodeTooManyEvents},
		"too many in protobuf": {message("application/x-protobuf", strings.Repeat("\x0a\x00", 1001)), events.CodeTooManyEvents},
		"XML":                  {message("application/xml", "<a/>"), events.CodeUnsupportedMediaType},
		"a form":               {message("application/x-www-form-urlencoded", "a=b"), events.CodeUnsupportedMediaType},
		"UTF-16":               {message("application/json; charset=utf-16", "{}"), events.CodeUnsupportedMediaType},
		"broken content type":  {message(";;", "{}"), events.CodeUnsupportedMediaType},
		"CloudEvent of 0.3":    {events.Message{Body: []byte(bet("")), CloudEvent: &events.CloudEvent{SpecVersion: "0.3", ID: "1", Source: "s"}}, events.CodeInvalidCloudEvent},
		"CloudEvent, no id":    {events.Message{Body: []byte(bet("")), CloudEvent: &events.CloudEvent{SpecVersion: "1.0", Source: "s"}}, events.CodeInvalidCloudEvent},
	} {
		items, err := decoder.Decode(test.m, now)
		require.Empty(t, items, name)
		var problem *events.MessageError
		require.ErrorAs(t, err, &problem, name)
		require.Equal(t, test.code, problem.Code, name)
		require.NotEmpty(t, problem.Message, name)
		require.NotContains(t, err.Error(), "jsontext", name)
	}
	require.Len(t, decode(t, message("", "["+many[len(bet(""))+1:]+"]")), 1000, "the most is taken")
}

// Every kind of bad event, in the middle of an array: the others count, and the answer names the bad one.
var badEvents = map[string]struct{ event, code string }{
	"a number":                   {`5`, events.CodeNotAnObject},
	"null":                       {`null`, events.CodeNotAnObject},
	"an array":                   {`[{}]`, events.CodeNotAnObject},
	"no user":                    {`{"event_type":"bet","timestamp":"2024-01-15T14:30:00Z"}`, "missing_field"},
	"no type":                    {`{"user_id":"u1","timestamp":"2024-01-15T14:30:00Z"}`, "missing_field"},
	"no timestamp":               {`{"user_id":"u1","event_type":"bet"}`, "missing_field"},
	"timestamp without a zone":   {`{"user_id":"u1","event_type":"bet","timestamp":"2024-01-15T14:30:00"}`, "timestamp_invalid"},
	"timestamp in the future":    {`{"user_id":"u1","event_type":"bet","timestamp":"2024-01-15T14:36:01Z"}`, "timestamp_in_future"},
	"timestamp of the far past":  {`{"user_id":"u1","event_type":"bet","timestamp":"1999-01-15T14:30:00Z"}`, "timestamp_too_old"},
	"absurd timestamp":           {`{"user_id":"u1","event_type":"bet","timestamp":1e400}`, "timestamp_invalid"},
	"amount is NaN":              {bet(`"amount":"NaN"`), "amount_invalid"},
	"amount is infinite":         {bet(`"amount":"Infinity"`), "amount_invalid"},
	"amount is words":            {bet(`"amount":"a lot"`), "amount_invalid"},
	"amount is negative":         {bet(`"amount":-0.01`), "amount_invalid"},
	"amount of 100 digits":       {bet(`"amount":1` + strings.Repeat("0", 99)), "amount_invalid"},
	"amount of 100 digits, text": {bet(`"amount":"` + strings.Repeat("9", 100) + `"`), "amount_invalid"},
	"amount with an exponent":    {bet(`"amount":1e999999999`), "amount_invalid"},
	"currency is a number":       {bet(`"currency":643`), "invalid_field"},
	"the same name twice":        {bet(`"amount":1,"amount":1000`), events.CodeInvalidJSON},
	"invalid UTF-8":              {bet(`"note":"` + "\xff\xfe" + `"`), events.CodeInvalidJSON},
	"half a surrogate":           {bet(`"note":"\ud800"`), events.CodeInvalidJSON},
	"NUL":                        {bet(`"note":"a\u0000b"`), "invalid_field"},
	"event_id is empty":          {bet(`"event_id":""`), "invalid_field"},
	"event_id is an object":      {bet(`"event_id":{}`), "invalid_field"},
	"event_id has a fraction":    {bet(`"event_id":1.5`), "invalid_field"},
	"event_id is too long":       {bet(`"event_id":"` + strings.Repeat("ы", 129) + `"`), "invalid_field"},
	"event_id like one of ours":  {bet(`"event_id":"evt_0123456789abcdef0123456789abcdef"`), "invalid_field"},
	"70 fields":                  {bet(manyFields(70)), "too_many_fields"},
	"20 levels":                  {bet(`"deep":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)), "too_deep"},
	"5000 levels":                {bet(`"deep":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), "too_deep"},
	"17 KiB":                     {bet(`"note":"` + strings.Repeat("x", 17<<10) + `"`), "too_large"},
	"100 KiB":                    {bet(`"note":"` + strings.Repeat("x", 100<<10) + `"`), "too_large"},
}

func manyFields(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	return strings.Join(names, ",")
}

func TestOneBadEventDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	for name, bad := range badEvents {
		for _, m := range []events.Message{
			message("application/json", "["+bet("")+","+bad.event+","+bet("")+"]"),
			message("application/x-ndjson", bet("")+"\n"+bad.event+"\n"+bet("")),
		} {
			items := decode(t, m)
			require.Equal(t, []string{"", bad.code, ""}, codes(items), name)
			require.NotEmpty(t, items[1].Rejection.Message, name)
			require.NotContains(t, items[1].Rejection.Message, "jsontext", name)
			require.Equal(t, bad.event, string(items[1].Rejection.Raw), name)
		}
	}
}

// In lines even what is no JSON spoils nothing but itself.
func TestLineOfRubbishIsRejectedAlone(t *testing.T) {
	t.Parallel()
	for _, rubbish := range []string{"<html>", `{"user_id":`, "\xff\x00", bet("") + bet(""), "NaN", `{"amount":NaN}`} {
		items := decode(t, message("application/x-ndjson", bet("")+"\n"+rubbish+"\n"+bet("")))
		require.Equal(t, []string{"", events.CodeInvalidJSON, ""}, codes(items), rubbish)
	}
}

func TestRejectionNamesTheEvent(t *testing.T) {
	t.Parallel()
	items := decode(t, message("", bet(`"event_id":"bet-7","amount":-1`)))
	require.Equal(t, "bet-7", items[0].Rejection.EventID)
	answer, err := json.Marshal(items[0].Rejection)
	require.NoError(t, err)
	require.JSONEq(t, `{"index":0,"event_id":"bet-7","code":"amount_invalid","message":`+string(quote(t, items[0].Rejection.Message))+`}`, string(answer))
}

func quote(t *testing.T, text string) []byte {
	quoted, err := json.Marshal(text)
	require.NoError(t, err)
	return quoted
}

func protoEvent(t require.TestingT, change func(*eventpb.Event)) *eventpb.Event {
	fields, err := structpb.NewStruct(map[string]any{"game_type": "roulette", "spins": 3, "odds": 1.5, "live": true, "tags": []any{"a", nil}, "table": map[string]any{"id": 7}})
	require.NoError(t, err)
	event := &eventpb.Event{
		UserId:    "u1",
		EventType: "bet_placed",
		Timestamp: timestamppb.New(now.Add(-time.Minute)),
		Amount:    "250.00",
		Currency:  "RUB",
		EventId:   "bet-1",
		Fields:    fields,
	}
	if change != nil {
		change(event)
	}
	return event
}

func marshal(t require.TestingT, m proto.Message) string {
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	return string(raw)
}

func TestProtobufSaysTheSameAsJSON(t *testing.T) {
	t.Parallel()
	want := decodeOne(t, message("", bet(`"amount":"250.00","currency":"RUB","event_id":"bet-1","game_type":"roulette","spins":3,"odds":1.5,"live":true,"tags":["a",null],"table":{"id":7}`)))
	want.Payload = nil
	for name, body := range map[string]string{
		"one event":        marshal(t, protoEvent(t, nil)),
		"a batch with one": marshal(t, &eventpb.EventBatch{Events: []*eventpb.Event{protoEvent(t, nil)}}),
	} {
		got := decodeOne(t, message("application/x-protobuf", body))
		payload := decodeOne(t, message("", string(got.Payload))) // the stored form reads the same
		got.Payload, payload.Payload = nil, nil
		require.Equal(t, want, got, name)
		require.Equal(t, want, payload, name)
	}
}

func TestBadProtobufEventDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	good := marshal(t, protoEvent(t, nil))
	for name, bad := range map[string]struct{ event, code string }{
		"no user":           {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.UserId = "" })), "missing_field"},
		"no timestamp":      {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Timestamp = nil })), "missing_field"},
		"absurd timestamp":  {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Timestamp.Seconds = math.MaxInt64 })), "timestamp_invalid"},
		"amount in words":   {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Amount = "NaN" })), "amount_invalid"},
		"NaN":               {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Fields.Fields["odds"] = structpb.NewNumberValue(math.NaN()) })), "invalid_field"},
		"a name twice":      {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Fields.Fields["user_id"] = structpb.NewStringValue("u2") })), "invalid_field"},
		"invalid UTF-8":     {"\x12\x02\xff\xfe", events.CodeInvalidProtobuf},
		"random bytes":      {"\x99\x13\x37\xff", events.CodeInvalidProtobuf},
		"nothing":           {"", "missing_field"},
		"too many levels":   {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Fields.Fields["deep"] = deepValue(50) })), "too_deep"},
		"too large":         {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.Fields.Fields["note"] = structpb.NewStringValue(strings.Repeat("x", 17<<10)) })), "too_large"},
		"event_id too long": {marshal(t, protoEvent(t, func(e *eventpb.Event) { e.EventId = strings.Repeat("x", 129) })), "invalid_field"},
	} {
		var batch []byte
		for _, event := range []string{good, bad.event, good} {
			batch = protowire.AppendBytes(protowire.AppendTag(batch, 1, protowire.BytesType), []byte(event))
		}
		items := decode(t, message("application/protobuf", string(batch)))
		require.Equal(t, []string{"", bad.code, ""}, codes(items), name)
		require.Equal(t, bad.event, string(items[1].Rejection.Raw), name)
		require.Equal(t, "application/x-protobuf", items[1].Rejection.ContentType, name)
	}
}

func deepValue(levels int) *structpb.Value {
	value := structpb.NewNumberValue(1)
	for range levels {
		value = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{value}})
	}
	return value
}

func TestPublishedProtoFileIsTheOneThatIsUsed(t *testing.T) {
	t.Parallel()
	require.Contains(t, string(events.ProtoFile), "package quickpass.v1;")
	fields := (&eventpb.Event{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		require.Contains(t, string(events.ProtoFile), fmt.Sprintf(" %s = %d;", fields.Get(i).Name(), fields.Get(i).Number()))
	}
	require.Nil(t, fields.ByNumber(1), "the number by which a batch is told from an event")
}

func envelope(id, more string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/game","type":"bet"%s}`, id, more)
}

func TestCloudEventsInStructuredMode(t *testing.T) {
	t.Parallel()
	const single, batch = "application/cloudevents+json", "application/cloudevents-batch+json"
	first := decodeOne(t, message(single, envelope("1", `,"data":`+seedEvent)))
	require.Equal(t, tasks.ByTransport, first.IdentifiedBy)
	require.Equal(t, "12345", first.UserID)
	require.JSONEq(t, seedEvent, string(first.Payload))

	encoded := base64.StdEncoding.EncodeToString([]byte(seedEvent))
	items := decode(t, message(batch+"; charset=utf-8", "["+strings.Join([]string{
		envelope("1", `,"datacontenttype":"application/json","data":`+seedEvent),
		envelope("1", `,"data_base64":"`+encoded+`"`),
		envelope("2", `,"data":`+seedEvent),
		envelope("3", `,"data":`+bet(`"event_id":"x"`)),
		envelope("4", `,"datacontenttype":"application/protobuf","data_base64":"`+base64.StdEncoding.EncodeToString([]byte(marshal(t, protoEvent(t, nil))))+`"`),
	}, ",")+"]"))
	require.Equal(t, []string{"", "", "", "", ""}, codes(items))
	require.Equal(t, tasks.ByEventID, items[3].Received.IdentifiedBy, "the sender's own id wins")
	require.Equal(t, "bet-1", items[4].Received.ID)
	require.NotEqual(t, items[0].Received.Key, items[2].Received.Key)
	require.Equal(t, first.Key, items[0].Received.Key, "id and source decide, wherever the event stands")
	require.Equal(t, first.Key, items[1].Received.Key)
}

func TestBadCloudEvents(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct{ event, code string }{
		"no id":         {`{"specversion":"1.0","source":"/game","data":` + seedEvent + `}`, events.CodeInvalidCloudEvent},
		"id a number":   {`{"specversion":"1.0","id":5,"source":"/game","data":` + seedEvent + `}`, events.CodeInvalidCloudEvent},
		"version 0.3":   {`{"specversion":"0.3","id":"5","source":"/game","data":` + seedEvent + `}`, events.CodeInvalidCloudEvent},
		"no envelope":   {seedEvent, events.CodeInvalidCloudEvent},
		"id twice":      {`{"id":"1","id":"2"}`, events.CodeInvalidCloudEvent},
		"data is text":  {envelope("1", `,"data":"text"`), events.CodeNotAnObject},
		"data is XML":   {envelope("1", `,"datacontenttype":"text/xml","data":"<a/>"`), events.CodeInvalidCloudEvent},
		"no data":       {envelope("1", ""), events.CodeInvalidCloudEvent},
		"broken base64": {envelope("1", `,"data_base64":"?"`), events.CodeInvalidCloudEvent},
		"bad event":     {envelope("1", `,"data":`+bet(`"amount":-1`)), "amount_invalid"},
		"a number":      {"5", events.CodeNotAnObject},
	} {
		items := decode(t, message("application/cloudevents-batch+json", "["+envelope("0", `,"data":`+seedEvent)+","+bad.event+"]"))
		require.Equal(t, []string{"", bad.code}, codes(items), name)
		require.Equal(t, "application/cloudevents+json", items[1].Rejection.ContentType, name)
	}
}

// Whatever comes in, decoding ends with events, rejections or a typed error.
func TestDecodeTakesAnything(t *testing.T) {
	t.Parallel()
	types := []string{"", "application/json", "application/x-ndjson", "application/x-protobuf", "application/cloudevents+json"}
	pieces := []string{seedEvent, bet(""), "[", "]", ",", "{", "}", "\n", `"`, `\u0000`, "\x0a\x04", "\xff", "null", "1e9"}
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "pieces"), "") + string(rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "bytes"))
		items, err := decoder.Decode(message(rapid.SampledFrom(types).Draw(t, "type"), body), now)
		if err != nil {
			var problem *events.MessageError
			require.True(t, errors.As(err, &problem))
			require.Empty(t, items)
			return
		}
		require.NotEmpty(t, items)
		for _, item := range items {
			require.True(t, (item.Rejection == nil) == (item.Received.ID != ""))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	lines := make([]string, 100)
	batch := &eventpb.EventBatch{}
	for i := range lines {
		lines[i] = strings.Replace(seedEvent, "{", fmt.Sprintf(`{"event_id":"bet-%d",`, i), 1)
		batch.Events = append(batch.Events, protoEvent(b, func(e *eventpb.Event) { e.EventId = fmt.Sprint(i) }))
	}
	for name, m := range map[string]events.Message{
		"json":     message("application/json", "["+strings.Join(lines, ",")+"]"),
		"content":  message("application/json", "["+strings.TrimSuffix(strings.Repeat(seedEvent+",", 100), ",")+"]"),
		"protobuf": message("application/x-protobuf", marshal(b, batch)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				items, err := decoder.Decode(m, now)
				if err != nil || items[99].Rejection != nil {
					b.Fatal(err, items[99].Rejection)
				}
			}
			b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
