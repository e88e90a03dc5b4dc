package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPerkLastsToTheInstant(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	perk := Perk{StartsAt: start, ExpiresAt: start.Add(time.Hour)}
	for _, test := range []struct {
		at     time.Duration
		status PerkStatus
		left   int64
	}{
		{-24 * time.Hour, PerkUpcoming, 3600},
		{-1, PerkUpcoming, 3600},
		{0, PerkActive, 3600},
		{1, PerkActive, 3600},
		{time.Second, PerkActive, 3599},
		{time.Hour - 1, PerkActive, 1},
		{time.Hour, PerkEnded, 0},
		{time.Hour + 1, PerkEnded, 0},
		{24 * time.Hour, PerkEnded, 0},
	} {
		require.Equal(t, test.status, perk.StatusAt(start.Add(test.at)), "%s", test.at)
		require.Equal(t, test.left, perk.SecondsLeft(start.Add(test.at)), "%s", test.at)
	}
}

func TestPerkJitterSpreadsTheEndsOfOneInstant(t *testing.T) {
	t.Parallel()
	seconds := map[time.Duration]int{}
	for i := range 30_000 {
		order := fmt.Sprintf("qp_%06d", i)
		jitter := PerkJitter(order)
		require.Equal(t, jitter, PerkJitter(order))
		require.True(t, jitter >= 0 && jitter < 30*time.Second)
		seconds[jitter.Truncate(time.Second)]++
	}
	require.Len(t, seconds, 30)
	for second, n := range seconds {
		require.InDelta(t, 1000, n, 300, "%s", second)
	}
}

func valid() Product {
	return Product{
		SKU:         "x",
		Name:        "x",
		Kind:        "credits",
		PriceCoins:  1,
		Status:      Published,
		Integration: Integration{ResourceType: "r", Endpoint: DefaultEndpoint, Amount: decimal.NewFromInt(1), Currency: "c"},
		Delivery:    DefaultDelivery(),
	}
}

func fieldsOf(p Product) []string {
	var fields []string
	for _, mistake := range p.Validate() {
		fields = append(fields, mistake.Field)
	}
	return fields
}

func TestValidity(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind    string
		seconds int64
		ok      bool
	}{
		{KindCredits, 0, true}, {KindCredits, 60, false}, {KindCrystals, 60, false}, {KindBonusPoints, 60, false},
		{KindMultiplier, 0, false}, {KindMultiplier, 59, false}, {KindMultiplier, 60, true}, {KindMultiplier, -60, false},
		{KindVIPStatus, 0, false}, {KindVIPStatus, 315_360_000, true}, {KindVIPStatus, 315_360_001, false},
		{KindIncreasedLimits, 0, true}, {KindIncreasedLimits, 3600, true}, {KindExclusiveAccess, 0, true}, {KindExclusiveAccess, 3600, true},
		{KindFreeSpins, 0, true}, {KindFreeBets, 3600, true}, {KindCashback, 3600, true},
		{"loot_box", 0, true}, {"loot_box", 3600, true}, {"loot_box", 1, false},
	} {
		p := valid()
		p.Kind, p.ValiditySeconds = test.kind, test.seconds
		if test.ok {
			require.Empty(t, fieldsOf(p), "%s %d", test.kind, test.seconds)
		} else {
			require.Contains(t, fieldsOf(p), "validity_seconds", "%s %d", test.kind, test.seconds)
		}
	}
}

func TestDeliveryFreezesPerkAndParameters(t *testing.T) {
	t.Parallel()
	p := valid()
	require.Nil(t, p.DeliveryOf(3).Perk)
	p.Kind, p.ValiditySeconds, p.Integration.Parameters = KindMultiplier, 3600, json.RawMessage(`{"factor":2}`)
	delivery := p.DeliveryOf(3)
	require.Equal(t, &PerkGrant{Kind: "multiplier", Seconds: 10_800}, delivery.Perk)
	require.JSONEq(t, `{"factor":2}`, string(delivery.Parameters))
}

func TestParameters(t *testing.T) {
	t.Parallel()
	deep := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	many := func(n int) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat("1,", n-1), ",") + `]}`
	}
	for in, want := range map[string]string{
		"":                                     "",
		"{}":                                   "",
		" { } ":                                "",
		`{ "b" : 1, "a" : [true, null, "x"] }`: `{"a":[true,null,"x"],"b":1}`,
		`{"n":1e2,"m":1.50,"k":-0.0}`:          `{"k":0,"m":1.5,"n":100}`,
		deep(4):                                deep(4),
		deep(5):                                "refused",
		many(64):                               many(64),
		many(65):                               "refused",
		`{"a":"` + strings.Repeat("x", 4088) + `"}`: `{"a":"` + strings.Repeat("x", 4088) + `"}`,
		`{"a":"` + strings.Repeat("x", 4089) + `"}`: "refused",
		strings.Repeat(" ", 20_000) + `{"a":1}`:     "refused",
		"null":                                      "refused", "[]": "refused", `"x"`: "refused", "1": "refused", "{": "refused", `{"a":1} {}`: "refused", `{"a":1e400}`: "refused",
	} {
		got, err := CanonicalParameters(json.RawMessage(in))
		p := valid()
		p.Integration.Parameters = json.RawMessage(in)
		if want == "refused" {
			require.Error(t, err, "%.60s", in)
			require.Equal(t, []string{"integration.parameters"}, fieldsOf(p), "%.60s", in)
			continue
		}
		require.NoError(t, err, "%.60s", in)
		require.Empty(t, fieldsOf(p), "%.60s", in)
		require.Equal(t, want, string(got))
		again, err := CanonicalParameters(got)
		require.NoError(t, err)
		require.Equal(t, want, string(again))
	}
}

// Whatever the order of the keys and the way numbers are written: one form.
func TestParametersHaveOneForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-1_000_000, 1_000_000).Draw(t, "n")
		s := rapid.StringN(0, 20, 100).Draw(t, "s")
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		one, err := CanonicalParameters(fmt.Appendf(nil, `{"n":%d.0,"s":%s}`, n, text))
		if err != nil {
			t.Fatal(err)
		}
		two, err := CanonicalParameters(fmt.Appendf(nil, `{ "s" : %s, "n" : %de0 }`, text, n))
		if err != nil || string(one) != string(two) {
			t.Fatalf("%s %s %v", one, two, err)
		}
	})
}
