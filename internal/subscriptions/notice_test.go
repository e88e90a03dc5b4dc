package subscriptions_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

func TestNotice(t *testing.T) {
	t.Parallel()
	const lead = 24 * time.Hour
	s, _ := extend(t, subscriptions.Subscription{}, "a", noon) // of ten days
	expiry := *s.ExpiresAt
	remindAt, other := expiry.Add(-lead), expiry.Add(time.Hour)
	for name, test := range map[string]struct {
		s    subscriptions.Subscription
		lead time.Duration
		told subscriptions.Told
		now  time.Time
		want subscriptions.Notice
	}{
		"none":                       {subscriptions.Subscription{}, lead, subscriptions.Told{}, noon, subscriptions.Notice{}},
		"new":                        {s, lead, subscriptions.Told{}, noon, subscriptions.Notice{Until: &remindAt}},
		"before the reminder":        {s, lead, subscriptions.Told{}, remindAt.Add(-1), subscriptions.Notice{Until: &remindAt}},
		"at the reminder":            {s, lead, subscriptions.Told{}, remindAt, subscriptions.Notice{Remind: true, Until: &expiry}},
		"the reminder is late":       {s, lead, subscriptions.Told{}, expiry.Add(-1), subscriptions.Notice{Remind: true, Until: &expiry}},
		"reminded":                   {s, lead, subscriptions.Told{Reminded: &expiry}, remindAt, subscriptions.Notice{Until: &expiry}},
		"reminded of another":        {s, lead, subscriptions.Told{Reminded: &other}, remindAt, subscriptions.Notice{Remind: true, Until: &expiry}},
		"no reminder is wanted":      {s, 0, subscriptions.Told{}, noon, subscriptions.Notice{Until: &expiry}},
		"too short for a reminder":   {s, 240 * time.Hour, subscriptions.Told{}, noon, subscriptions.Notice{Until: &expiry}},
		"at the end":                 {s, lead, subscriptions.Told{Reminded: &expiry}, expiry, subscriptions.Notice{End: true}},
		"the reminder is too late":   {s, lead, subscriptions.Told{}, expiry, subscriptions.Notice{End: true}},
		"the end was told":           {s, lead, subscriptions.Told{Ended: &expiry}, other, subscriptions.Notice{}},
		"the end of another":         {s, lead, subscriptions.Told{Ended: &other}, other, subscriptions.Notice{End: true}},
		"extended after it was told": {s, lead, subscriptions.Told{Reminded: &noon, Ended: &noon}, noon, subscriptions.Notice{Until: &remindAt}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, test.s.Notice(test.lead, test.told, test.now))
		})
	}
}
