package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quickpass/quickpass/internal/events/eventpb"
	"github.com/quickpass/quickpass/internal/tasks"
)

// betJSON is the seed's event, now, with what a test adds.
func betJSON(more string) string {
	return fmt.Sprintf(`{"user_id":"rich","event_type":"bet_placed","timestamp":%q,"amount":250.00,"currency":"RUB","game_type":"roulette","outcome":"win","bet_type":"red"%s}`,
		time.Now().UTC().Format(time.RFC3339), more)
}

func TestEventsInEveryForm(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	envelope := `{"specversion":"1.0","id":"ce-1","source":"/game","type":"bet","data":` + betJSON("") + `}`
	binary, err := proto.Marshal(&eventpb.EventBatch{Events: []*eventpb.Event{
		{EventId: "p1", UserId: "rich", EventType: "bet_placed", Timestamp: timestamppb.Now(), Amount: "250.00", Currency: "RUB"},
		{EventId: "p2", UserId: "rich", EventType: "bet_placed", Timestamp: timestamppb.Now(), Amount: "1"}}})
	require.NoError(t, err)
	for name, sent := range map[string]struct {
		contentType, body string
		accepted          int
		identified        tasks.Identity
	}{
		"object":        {"application/json", betJSON(`,"event_id":"o1"`), 1, ""},
		"array":         {"application/json; charset=utf-8", "[" + betJSON(`,"event_id":"a1"`) + "," + betJSON(`,"event_id":2`) + "]", 2, ""},
		"lines":         {"application/x-ndjson", betJSON(`,"event_id":"n1"`) + "\n\n" + betJSON(`,"event_id":"n2"`) + "\n", 2, ""},
		"protobuf":      {"application/x-protobuf", string(binary), 2, ""},
		"envelope":      {"application/cloudevents+json", envelope, 1, tasks.ByTransport},
		"envelopes":     {"application/cloudevents-batch+json", "[" + strings.Replace(envelope, "ce-1", "ce-2", 1) + "]", 1, tasks.ByTransport},
		"without an id": {"application/json", betJSON(`,"no":"id"`), 1, tasks.ByContent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, again := range []bool{false, true} {
				a := s.call("main_product", "POST", "/api/v1/events", sent.body, header("Content-Type", sent.contentType))
				require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
				answer := into[IntakeAnswer](t, a)
				if again {
					require.Equal(t, []int{0, sent.accepted}, []int{answer.Accepted, answer.Duplicates})
				} else {
					require.Equal(t, []int{sent.accepted, 0}, []int{answer.Accepted, answer.Duplicates})
				}
				require.Contains(t, string(a.body), `"rejected":[]`)
				if sent.identified == "" {
					require.Empty(t, answer.Identified)
					continue
				}
				require.Len(t, answer.Identified, 1)
				require.Equal(t, []any{sent.identified, again}, []any{answer.Identified[0].IdentifiedBy, answer.Identified[0].Duplicate})
				require.Equal(t, http.StatusOK, s.call("support", "GET", "/api/v1/events/"+answer.Identified[0].EventID+"/decisions", "").status)
			}
		})
	}
}

// Two equal bets without an id are two when the requests say so.
func TestIdempotencyKeyTellsEqualEventsApart(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	body := betJSON("")
	send := func(key, body string) answer {
		return s.call("main_product", "POST", "/api/v1/events", body, header("Idempotency-Key", key))
	}
	for _, key := range []string{"one", "two"} {
		a := send(key, body)
		require.Equal(t, 1, into[IntakeAnswer](t, a).Accepted)
		require.Empty(t, a.header.Get("Idempotency-Replayed"))
	}
	again := send("one", body)
	require.Equal(t, 1, into[IntakeAnswer](t, again).Duplicates)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	other := send("one", betJSON(`,"other":1`))
	require.Equal(t, "idempotency_key_reused", other.code())
}

func TestEventsThatAreWrong(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	at := func(at time.Time) string {
		return strings.ReplaceAll(betJSON(""), time.Now().UTC().Format("2006-01-02"), at.Format("2006-01-02"))
	}
	field := func(name, value string) string {
		var event map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(betJSON("")), &event))
		if event[name] = json.RawMessage(value); value == "" {
			delete(event, name)
		}
		body, err := json.Marshal(event)
		require.NoError(t, err)
		return string(body)
	}
	for name, wrong := range map[string]struct{ body, code string }{
		"no user":             {field("user_id", ""), "missing_field"},
		"no type":             {field("event_type", ""), "missing_field"},
		"no time":             {field("timestamp", ""), "missing_field"},
		"not a time":          {field("timestamp", `"yesterday"`), "timestamp_invalid"},
		"tomorrow":            {at(time.Now().UTC().AddDate(0, 0, 1)), "timestamp_in_future"},
		"years ago":           {field("timestamp", `"2024-01-15T14:30:00Z"`), "timestamp_too_old"},
		"an amount in words":  {field("amount", `"many"`), "amount_invalid"},
		"NaN":                 {field("amount", `"NaN"`), "amount_invalid"},
		"negative":            {field("amount", `-1`), "amount_invalid"},
		"a hundred digits":    {field("amount", strings.Repeat("9", 100)), "amount_invalid"},
		"a huge exponent":     {field("amount", `1e999999999`), "amount_invalid"},
		"a NUL":               {field("game_type", `"a\u0000b"`), "invalid_field"},
		"half a surrogate":    {field("game_type", `"\ud800"`), "invalid_json"},
		"a null":              {"[null]", "not_an_object"},
		"a number":            {"[7]", "not_an_object"},
		"a key that is twice": {`{"user_id":"rich","user_id":"poor","event_type":"x","timestamp":"2026-01-01T00:00:00Z"}`, "invalid_json"},
		"an id of 200":        {field("event_id", `"`+strings.Repeat("x", 200)+`"`), "invalid_field"},
		"an id like ours":     {field("event_id", `"evt_0123456789abcdef0123456789abcdef"`), "invalid_field"},
		"20 KiB":              {field("comment", `"`+strings.Repeat("x", 20<<10)+`"`), "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.written()
			a := s.call("main_product", "POST", "/api/v1/events", wrong.body)
			require.Equal(t, http.StatusUnprocessableEntity, a.status, "%s", a.body)
			require.Equal(t, "events_rejected", a.code())
			rejected := into[struct{ Rejected []RejectedEvent }](t, a).Rejected
			require.Len(t, rejected, 1)
			require.Equal(t, wrong.code, rejected[0].Code, rejected[0].Message)
			require.NotEmpty(t, rejected[0].Message)
			require.Equal(t, before, s.written())
		})
	}
	a := s.call("main_product", "POST", "/api/v1/events", "["+betJSON(`,"event_id":"good"`)+","+field("amount", "-5")+","+betJSON(`,"event_id":"fine"`)+"]")
	require.Equal(t, http.StatusAccepted, a.status)
	mixed := into[IntakeAnswer](t, a)
	require.Equal(t, []int{2, 1, 1}, []int{mixed.Accepted, len(mixed.Rejected), mixed.Rejected[0].Index}, "the others count; the answer names the bad one")

	for name, wrong := range map[string]struct {
		body, contentType string
		status            int
		code              string
	}{
		"no JSON":         {"{", "application/json", 400, "invalid_request"},
		"nothing":         {"", "application/json", 400, "invalid_request"},
		"an empty array":  {"[]", "application/json", 400, "invalid_request"},
		"random bytes":    {"\x9f\x01\xff\xfe", "application/x-protobuf", 422, "events_rejected"},
		"another type":    {"<bet/>", "application/xml", 415, "unsupported_media_type"},
		"10 MB":           {"[" + strings.Repeat(" ", 10<<20) + "]", "application/json", 413, "body_too_large"},
		"1,001 of them":   {"[" + strings.Repeat("1,", 1000) + "1]", "application/json", 422, "too_many_events"},
		"nested too deep": {strings.Repeat("[", 100_000), "application/json", 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.written()
			a := s.call("main_product", "POST", "/api/v1/events", wrong.body, header("Content-Type", wrong.contentType))
			require.Equal(t, []any{wrong.status, wrong.code}, []any{a.status, a.code()}, "%s", a.body)
			require.Equal(t, before, s.written())
		})
	}
}

// signed are the headers of a webhook as the Standard Webhooks library makes them.
func signed(t *testing.T, id string, at time.Time, body string) with {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(webhookSecret)
	require.NoError(t, err)
	signature, err := key.Sign(id, at, []byte(body))
	require.NoError(t, err)
	return func(r *http.Request) {
		r.Header.Set("webhook-id", id)
		r.Header.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
		r.Header.Set("webhook-signature", signature)
	}
}

func TestSignedWebhook(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	body, now := betJSON(""), time.Now()
	post := func(body string, changes ...with) answer {
		return s.call("", "POST", "/api/v1/hooks/events", body, changes...)
	}
	first := into[IntakeAnswer](t, post(body, signed(t, "msg_1", now, body)))
	require.Equal(t, []any{1, tasks.ByTransport}, []any{first.Accepted, first.Identified[0].IdentifiedBy})
	replayed := into[IntakeAnswer](t, post(body, signed(t, "msg_1", now, body)))
	require.Equal(t, []int{0, 1}, []int{replayed.Accepted, replayed.Duplicates}, "a replay counts nothing")
	equal := into[IntakeAnswer](t, post(body, signed(t, "msg_2", now, body)))
	require.Equal(t, 1, equal.Accepted, "an equal bet in a webhook of its own is another bet")

	before := s.written()
	for name, refused := range map[string]struct {
		answer answer
		code   string
	}{
		"none":         {post(body), "signature_missing"},
		"another body": {post(betJSON(`,"amount":1000000`), signed(t, "msg_3", now, body)), "signature_invalid"},
		"another id":   {post(body, signed(t, "msg_3", now, body), header("webhook-id", "msg_4")), "signature_invalid"},
		"nonsense":     {post(body, signed(t, "msg_3", now, body), header("webhook-signature", "v1,AAAA")), "signature_invalid"},
		"old":          {post(body, signed(t, "msg_3", now.Add(-time.Hour), body)), "timestamp_too_old"},
		"from ahead":   {post(body, signed(t, "msg_3", now.Add(time.Hour), body)), "timestamp_in_future"},
	} {
		require.Equal(t, []any{http.StatusUnauthorized, refused.code}, []any{refused.answer.status, refused.answer.code()}, name)
	}
	require.Equal(t, before, s.written())

	off := newShop(t, func(o *Options) { o.Events.Webhook = nil })
	require.Equal(t, "webhook_disabled", off.call("", "POST", "/api/v1/hooks/events", body, signed(t, "msg_1", now, body)).code())
}
