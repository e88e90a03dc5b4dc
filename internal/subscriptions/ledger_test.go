package subscriptions_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

// happened is what the naive model keeps: all that was asked for, with nothing computed.
type happened struct {
	what     string // extend, refund, revoke
	id       string // of the extension
	period   subscriptions.Period
	quantity int
	at       time.Time
	zone     *time.Location
}

// plainExpiry recomputes everything from the beginning: nil when nothing is owned.
func plainExpiry(history []happened) *time.Time {
	var expiry *time.Time
	added := map[string]time.Duration{} // by the extensions of the running stretch that were not refunded
	asked := map[string]bool{}          // refunds
	for _, h := range history {
		active := expiry != nil && h.at.Before(*expiry)
		switch h.what {
		case "extend":
			start := h.at
			if active {
				start = *expiry
			} else {
				clear(added)
			}
			end := plainEnd(subscriptions.Period{Unit: h.period.Unit, Value: h.period.Value * h.quantity}, start, h.zone)
			added[h.id] = end.Sub(start)
			expiry = &end
		case "refund":
			if length, running := added[h.id]; running && active && !asked[h.id] {
				end := expiry.Add(-length)
				if end.Before(h.at) {
					end = h.at
				}
				expiry = &end
			}
			asked[h.id] = true
		case "revoke":
			expiry = nil
			clear(added)
		}
	}
	return expiry
}

// Any interleaving of purchases, grants, refunds (also repeated ones), revocations and clock jumps, in either
// direction.
func TestAnyHistoryAgreesWithThePlainModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := drawInstant(t)
		var s subscriptions.Subscription
		var extensions []subscriptions.Extension
		var ledger []subscriptions.Entry
		var history []happened
		refunded := map[string]bool{}
		record := func(h happened, entry subscriptions.Entry) {
			history, ledger = append(history, h), append(ledger, entry)
		}
		jump := func(t *rapid.T) {
			switch rapid.IntRange(0, 4).Draw(t, "jump") {
			case 0: // to the end, or right before or after it
				if s.ExpiresAt != nil {
					now = s.ExpiresAt.Add(time.Duration(rapid.Int64Range(-1, 1).Draw(t, "edge")) * time.Second)
				}
			case 1:
				now = now.Add(time.Duration(rapid.Int64Range(-100, 100).Draw(t, "skew")) * time.Second)
			case 2:
				now = now.Add(time.Duration(rapid.Int64Range(0, 100*86_400).Draw(t, "seconds")) * time.Second)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"extend": func(t *rapid.T) {
				jump(t)
				h := happened{
					what:     "extend",
					id:       fmt.Sprint(len(extensions)),
					period:   drawPeriod(t, 3),
					quantity: rapid.IntRange(1, 3).Draw(t, "quantity"),
					at:       now,
					zone:     zone(t, rapid.SampledFrom(zoneNames).Draw(t, "zone")),
				}
				before := s
				after, e, err := s.Extend(h.id, h.period, int64(h.quantity), now, h.zone)
				if err != nil {
					require.ErrorIs(t, err, subscriptions.ErrTooLong)
					require.True(t, before.ExpiresAt.After(now.AddDate(90, 0, 0)))
					return
				}
				s, extensions = after, append(extensions, e)
				record(h, subscriptions.Entry{Extended: &e})
				require.Equal(t, subscriptions.Active, s.Status(now))
			},
			"refund": func(t *rapid.T) {
				if len(extensions) == 0 {
					return
				}
				jump(t)
				e := rapid.SampledFrom(extensions).Draw(t, "extension")
				e.Refunded = refunded[e.ID]
				before := s
				after, refund := s.Refund(e, now)
				require.Equal(t, e.Refunded, refund == nil)
				s, refunded[e.ID] = after, true
				if refund == nil {
					history = append(history, happened{what: "refund", id: e.ID, at: now})
					require.Equal(t, before, s)
					return
				}
				record(happened{what: "refund", id: e.ID, at: now}, subscriptions.Entry{Refunded: refund})
				require.True(t, refund.TakenSeconds >= 0 && refund.TakenSeconds <= e.AddedSeconds)
				if refund.TakenSeconds > 0 {
					require.False(t, s.ExpiresAt.Before(now))
				}
			},
			"revoke": func(t *rapid.T) {
				jump(t)
				after, revocation := s.Revoke(now)
				require.Equal(t, s.Status(now) == subscriptions.None, revocation == nil)
				s = after
				if revocation != nil {
					record(happened{what: "revoke", at: now}, subscriptions.Entry{Revoked: revocation})
				}
				require.Equal(t, subscriptions.None, s.Status(now))
			},
			"": func(t *rapid.T) {
				require.Equal(t, plainExpiry(history), s.ExpiresAt)
				require.Equal(t, s.ExpiresAt == nil, s.StartedAt == nil)
				if s.ExpiresAt != nil {
					require.False(t, s.ExpiresAt.Before(*s.StartedAt))
				}
				folded, err := subscriptions.Fold(ledger)
				require.NoError(t, err)
				require.Equal(t, s, folded)
			},
		})
	})
}

// A refund in the same instant undoes an extension to the second, whatever was there before.
func TestRefundUndoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at, location := drawInstant(t), zone(t, rapid.SampledFrom(zoneNames).Draw(t, "zone"))
		before, _, err := subscriptions.Subscription{}.Extend("a", drawPeriod(t, 10), 1, at, location)
		require.NoError(t, err)
		at = at.Add(time.Duration(rapid.Int64Range(0, before.ExpiresAt.Unix()-at.Unix()-1).Draw(t, "later")) * time.Second)
		after, e, err := before.Extend("b", drawPeriod(t, 10), rapid.Int64Range(1, 5).Draw(t, "quantity"), at, location)
		require.NoError(t, err)
		undone, refund := after.Refund(e, at)
		require.Equal(t, before, undone)
		require.Equal(t, e.AddedSeconds, refund.TakenSeconds)
	})
}

func TestFoldRefusesWhatTheRulesCannotHaveWritten(t *testing.T) {
	t.Parallel()
	_, a := extend(t, subscriptions.Subscription{}, "a", noon)
	b := a
	b.ID = "b" // joins the stretch of a
	extended := func(e subscriptions.Extension) subscriptions.Entry { return subscriptions.Entry{Extended: &e} }
	refund := func(id string, taken int64) subscriptions.Entry {
		return subscriptions.Entry{Refunded: &subscriptions.Refund{ExtensionID: id, At: noon, TakenSeconds: taken}}
	}
	revoked := subscriptions.Entry{Revoked: &subscriptions.Revocation{At: noon}}
	anew, nothing := b, a
	anew.Stretch, nothing.AddedSeconds = "b", 0
	for name, test := range map[string]struct {
		entries []subscriptions.Entry
		wrong   int // index; -1: none
	}{
		"nothing":                     {nil, -1},
		"two":                         {[]subscriptions.Entry{extended(a), extended(b)}, -1},
		"refund and revocation":       {[]subscriptions.Entry{extended(a), extended(b), refund("b", 864_000), revoked, refund("a", 0)}, -1},
		"empty":                       {[]subscriptions.Entry{{}}, 0},
		"extended twice":              {[]subscriptions.Entry{extended(a), extended(a)}, 1},
		"anew while active":           {[]subscriptions.Entry{extended(a), extended(anew)}, 1},
		"extended though not owned":   {[]subscriptions.Entry{extended(b)}, 0},
		"no time added":               {[]subscriptions.Entry{extended(nothing)}, 0},
		"refunded twice":              {[]subscriptions.Entry{extended(a), extended(b), refund("a", 864_000), refund("a", 864_000)}, 3},
		"refund of the unknown":       {[]subscriptions.Entry{extended(a), refund("b", 0)}, 1},
		"refund took too much":        {[]subscriptions.Entry{extended(a), refund("a", 864_001)}, 1},
		"revoked though not owned":    {[]subscriptions.Entry{revoked}, 0},
		"revoked twice":               {[]subscriptions.Entry{extended(a), revoked, revoked}, 2},
		"extended after a revocation": {[]subscriptions.Entry{extended(a), revoked, extended(b)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := subscriptions.Fold(test.entries)
			if test.wrong < 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, subscriptions.ErrLedger)
			require.ErrorContains(t, err, fmt.Sprintf("entry %d", test.wrong))
		})
	}
}

func TestEntriesSurviveJSON(t *testing.T) {
	t.Parallel()
	s, a := extend(t, subscriptions.Subscription{}, "a", noon)
	_, refund := s.Refund(a, noon)
	entries := []subscriptions.Entry{{Extended: &a}, {Refunded: refund}, {Revoked: &subscriptions.Revocation{At: noon}}}
	text, err := json.Marshal(entries)
	require.NoError(t, err)
	var got []subscriptions.Entry
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, entries, got)
}
