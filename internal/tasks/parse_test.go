package tasks_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/tasks"
)

const seedEvent = `{"user_id": "12345", "event_type": "bet_placed", "timestamp": "2024-01-15T14:30:00Z", "amount": 250.00,
	"currency": "RUB", "game_type": "roulette", "outcome": "win", "bet_type": "red"}`

var (
	parseNow    = time.Date(2024, 1, 15, 14, 31, 0, 0, time.UTC)
	parseLimits = tasks.EventLimits{MaxAge: 30 * 24 * time.Hour, MaxAhead: 5 * time.Minute}
)

func decode(t require.TestingT, text string) map[string]any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	require.NoError(t, decoder.Decode(&object))
	return object
}

func TestSeedsEventIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	event, problem := tasks.ParseEvent(decode(t, seedEvent), json.RawMessage(seedEvent), parseNow, parseLimits)
	require.Nil(t, problem)
	require.Equal(t, "12345", event.UserID)
	require.Equal(t, "bet_placed", event.Type)
	require.Equal(t, time.Date(2024, 1, 15, 14, 30, 0, 0, time.UTC), event.OccurredAt)
	require.Equal(t, "250", event.Amount.Decimal.String())
	require.Equal(t, "roulette", event.Fields["game_type"])
	require.JSONEq(t, seedEvent, string(event.Payload))
}

func TestParseEventAtTheEdges(t *testing.T) {
	t.Parallel()
	deep := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	many := func(fields int) string {
		names := make([]string, fields)
		for i := range names {
			names[i] = `"f` + strings.Repeat("x", i) + `":1`
		}
		return "{" + strings.Join(names, ",") + "}"
	}
	for name, test := range map[string]struct {
		field, value string // the value replaces the field's; "" takes the field away
		code         tasks.EventCode
		amount       string
		at           string
	}{
		"no user":                {field: "user_id", code: tasks.MissingField},
		"null user":              {field: "user_id", value: `null`, code: tasks.MissingField},
		"empty user":             {field: "user_id", value: `""`, code: tasks.InvalidField},
		"user of 64":             {field: "user_id", value: `"` + strings.Repeat("ж", 64) + `"`},
		"user of 65":             {field: "user_id", value: `"` + strings.Repeat("ж", 65) + `"`, code: tasks.InvalidField},
		"user as a number":       {field: "user_id", value: `12345`},
		"user as a fraction":     {field: "user_id", value: `1.5`, code: tasks.InvalidField},
		"user below zero":        {field: "user_id", value: `-1`, code: tasks.InvalidField},
		"user as an object":      {field: "user_id", value: `{}`, code: tasks.InvalidField},
		"no type":                {field: "event_type", code: tasks.MissingField},
		"type with a space":      {field: "event_type", value: `"bet placed"`, code: tasks.InvalidField},
		"type of CloudEvents":    {field: "event_type", value: `"com.example/bet-placed:v1"`},
		"type of 101":            {field: "event_type", value: `"` + strings.Repeat("a", 101) + `"`, code: tasks.InvalidField},
		"type as a number":       {field: "event_type", value: `7`, code: tasks.InvalidField},
		"no timestamp":           {field: "timestamp", code: tasks.MissingField},
		"timestamp without zone": {field: "timestamp", value: `"2024-01-15T14:30:00"`, code: tasks.TimestampInvalid},
		"timestamp in words":     {field: "timestamp", value: `"yesterday"`, code: tasks.TimestampInvalid},
		"timestamp as a flag":    {field: "timestamp", value: `true`, code: tasks.TimestampInvalid},
		"timestamp with offset":  {field: "timestamp", value: `"2024-01-15T17:30:00.123456789+03:00"`, at: "2024-01-15T14:30:00.123456Z"},
		"seconds":                {field: "timestamp", value: `1705329000`, at: "2024-01-15T14:30:00Z"},
		"milliseconds":           {field: "timestamp", value: `1705329000500`, at: "2024-01-15T14:30:00.5Z"},
		"seconds with fraction":  {field: "timestamp", value: `1705329000.5`, code: tasks.TimestampInvalid},
		"microseconds":           {field: "timestamp", value: `1705329000000000`, code: tasks.TimestampInvalid},
		"second zero":            {field: "timestamp", value: `0`, code: tasks.TimestampTooOld},
		"just not in the future": {field: "timestamp", value: `"2024-01-15T14:36:00Z"`},
		"in the future":          {field: "timestamp", value: `"2024-01-15T14:36:00.000001Z"`, code: tasks.TimestampInFuture},
		"far in the future":      {field: "timestamp", value: `"9999-12-31T23:59:59Z"`, code: tasks.TimestampInFuture},
		"just not too old":       {field: "timestamp", value: `"2023-12-16T14:31:00Z"`},
		"too old":                {field: "timestamp", value: `"2023-12-16T14:30:59Z"`, code: tasks.TimestampTooOld},
		"years old":              {field: "timestamp", value: `"0001-01-01T00:00:00Z"`, code: tasks.TimestampTooOld},
		"no amount":              {field: "amount"},
		"null amount":            {field: "amount", value: `null`},
		"zero":                   {field: "amount", value: `0`, amount: "0"},
		"amount as text":         {field: "amount", value: `"250.50"`, amount: "250.5"},
		"amount with exponent":   {field: "amount", value: `2.5e2`, amount: "250"},
		"8 decimals":             {field: "amount", value: `0.00000001`, amount: "0.00000001"},
		"9 decimals":             {field: "amount", value: `0.000000001`, code: tasks.AmountInvalid},
		"zeros behind the point": {field: "amount", value: `1.500000000000`, amount: "1.5"},
		"18 digits":              {field: "amount", value: `999999999999999999.99999999`, amount: "999999999999999999.99999999"},
		"19 digits":              {field: "amount", value: `1000000000000000000`, code: tasks.AmountInvalid},
		"100 digits":             {field: "amount", value: strings.Repeat("9", 100), code: tasks.AmountInvalid},
		"a giant exponent":       {field: "amount", value: `1e999999999`, code: tasks.AmountInvalid},
		"a tiny exponent":        {field: "amount", value: `1e-999999999`, code: tasks.AmountInvalid},
		"an exponent beyond int": {field: "amount", value: `1e99999999999999999999`, code: tasks.AmountInvalid},
		"negative":               {field: "amount", value: `-1`, code: tasks.AmountInvalid},
		"NaN":                    {field: "amount", value: `"NaN"`, code: tasks.AmountInvalid},
		"infinite":               {field: "amount", value: `"Infinity"`, code: tasks.AmountInvalid},
		"empty amount":           {field: "amount", value: `""`, code: tasks.AmountInvalid},
		"amount in words":        {field: "amount", value: `"a lot"`, code: tasks.AmountInvalid},
		"decimal comma":          {field: "amount", value: `"1,5"`, code: tasks.AmountInvalid},
		"amount as a list":       {field: "amount", value: `[1]`, code: tasks.AmountInvalid},
		"hexadecimal":            {field: "amount", value: `"0x10"`, code: tasks.AmountInvalid},
		"no currency":            {field: "currency"},
		"currency as a number":   {field: "currency", value: `643`, code: tasks.InvalidField},
		"NUL in a text":          {field: "note", value: `"a\u0000b"`, code: tasks.InvalidField},
		"NUL in a name":          {field: "note", value: `{"a\u0000": 1}`, code: tasks.InvalidField},
		"half a surrogate pair":  {field: "note", value: `["\ud800"]`, code: tasks.InvalidField},
		"emoji":                  {field: "note", value: `"\ud83c\udfb0"`},
		"8 levels":               {field: "note", value: deep(7)},
		"9 levels":               {field: "note", value: deep(8), code: tasks.TooDeep},
		"9 levels of arrays":     {field: "note", value: strings.Repeat("[", 8) + strings.Repeat("]", 8), code: tasks.TooDeep},
		"64 fields":              {field: "note", value: many(55)},
		"65 fields":              {field: "note", value: many(56), code: tasks.TooManyFields},
		"16 KiB and more":        {field: "note", value: `"` + strings.Repeat("x", 16<<10) + `"`, code: tasks.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := decode(t, seedEvent)
			delete(object, test.field)
			if test.value != "" {
				object[test.field] = decode(t, `{"value":`+test.value+`}`)["value"]
			}
			payload, err := json.Marshal(object)
			require.NoError(t, err)
			event, problem := tasks.ParseEvent(object, payload, parseNow, parseLimits)
			if test.code != "" {
				require.NotNil(t, problem)
				require.Equal(t, test.code, problem.Code)
				require.NotEmpty(t, problem.Message)
				return
			}
			require.Nil(t, problem)
			if test.amount != "" {
				require.Equal(t, test.amount, event.Amount.Decimal.String())
			}
			if test.at != "" {
				require.Equal(t, test.at, event.OccurredAt.Format(time.RFC3339Nano))
			}
			if test.field == "amount" {
				require.Equal(t, test.amount != "", event.Amount.Valid)
			}
		})
	}
}

func TestBytesThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	payload := strings.Replace(seedEvent, "roulette", "rou\xffette", 1)
	_, problem := tasks.ParseEvent(decode(t, payload), json.RawMessage(payload), parseNow, parseLimits)
	require.Equal(t, tasks.InvalidField, problem.Code)
}

func TestAnyAmountIsKeptExactlyOrRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,3})?|[0-9eE.+-]{0,12}`).Draw(t, "amount")
		object := decode(t, seedEvent)
		object["amount"] = text
		event, problem := tasks.ParseEvent(object, nil, parseNow, parseLimits)
		if problem != nil {
			require.Equal(t, tasks.AmountInvalid, problem.Code)
			return
		}
		require.False(t, event.Amount.Decimal.IsNegative())
		require.GreaterOrEqual(t, event.Amount.Decimal.Exponent(), int32(-8))
		require.LessOrEqual(t, len(event.Amount.Decimal.Truncate(0).String()), 18)
	})
}
