package subscriptions_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

var (
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tenDays  = subscriptions.Period{Unit: subscriptions.Day, Value: 10}
	aMonth   = subscriptions.Period{Unit: subscriptions.Month, Value: 1}
	aDay     = 24 * time.Hour
	inTenDay = noon.Add(10 * aDay)
)

func extend(t *testing.T, s subscriptions.Subscription, id string, at time.Time) (subscriptions.Subscription, subscriptions.Extension) {
	t.Helper()
	s, e, err := s.Extend(id, tenDays, 1, at, time.UTC)
	require.NoError(t, err)
	require.EqualValues(t, 864_000, e.AddedSeconds)
	return s, e
}

func TestFirstPurchaseStartsNow(t *testing.T) {
	t.Parallel()
	var none subscriptions.Subscription
	require.Equal(t, subscriptions.None, none.Status(noon))
	s, e := extend(t, none, "a", noon)
	require.Equal(t, noon, *s.StartedAt)
	require.Equal(t, inTenDay, *s.ExpiresAt)
	require.Equal(t, subscriptions.Extension{ID: "a", Period: tenDays, Quantity: 1, At: noon, Stretch: "a", AddedSeconds: 864_000}, e)
	require.Nil(t, none.ExpiresAt)
}

func TestStatusIsDecidedByTheClock(t *testing.T) {
	t.Parallel()
	s, _ := extend(t, subscriptions.Subscription{}, "a", noon)
	for at, want := range map[time.Duration]subscriptions.Status{
		0: subscriptions.Active, 10*aDay - 1: subscriptions.Active, 10 * aDay: subscriptions.Expired, 10*aDay + 1: subscriptions.Expired, 9999 * aDay: subscriptions.Expired,
	} {
		require.Equal(t, want, s.Status(noon.Add(at)), at)
	}
}

func TestPurchaseExtendsOrStartsAnew(t *testing.T) {
	t.Parallel()
	first, _ := extend(t, subscriptions.Subscription{}, "a", noon)
	for name, test := range map[string]struct {
		at              time.Time
		started, expiry time.Time
		stretch         string
	}{
		"at once":                     {noon, noon, noon.Add(20 * aDay), "a"},
		"a second before the end":     {inTenDay.Add(-time.Second), noon, noon.Add(20 * aDay), "a"},
		"a nanosecond before the end": {inTenDay.Add(-1), noon, noon.Add(20 * aDay), "a"},
		"at the end":                  {inTenDay, inTenDay, noon.Add(20 * aDay), "b"},
		"in the second of the end":    {inTenDay.Add(999 * time.Millisecond), inTenDay, noon.Add(20 * aDay), "b"},
		"later":                       {noon.Add(50 * aDay), noon.Add(50 * aDay), noon.Add(60 * aDay), "b"},
		"clocks differ":               {noon.Add(-time.Hour), noon, noon.Add(20 * aDay), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, e := extend(t, first, "b", test.at)
			require.Equal(t, test.started, *s.StartedAt)
			require.Equal(t, test.expiry, *s.ExpiresAt)
			require.Equal(t, test.stretch, s.Stretch)
			require.Equal(t, test.stretch, e.Stretch)
			require.Equal(t, inTenDay, *first.ExpiresAt, "what it was is not touched")
		})
	}
}

func TestQuantityIsReckonedAtOnce(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 31, 8, 0, 0, 0, time.UTC)
	once, _, err := subscriptions.Subscription{}.Extend("a", aMonth, 3, at, time.UTC)
	require.NoError(t, err)
	require.Equal(t, time.Date(2027, 3, 31, 8, 0, 0, 0, time.UTC), *once.ExpiresAt)
	var thrice subscriptions.Subscription
	for i := range 3 {
		thrice, _, err = thrice.Extend(fmt.Sprint(i), aMonth, 1, at, time.UTC)
		require.NoError(t, err)
	}
	require.Equal(t, time.Date(2027, 3, 28, 8, 0, 0, 0, time.UTC), *thrice.ExpiresAt)
}

func TestExtensionRefusals(t *testing.T) {
	t.Parallel()
	century := subscriptions.Period{Unit: subscriptions.Year, Value: 100}
	full, _, err := subscriptions.Subscription{}.Extend("a", century, 1, noon, time.UTC)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		s        subscriptions.Subscription
		period   subscriptions.Period
		quantity int64
		at       time.Time
		err      error
	}{
		"no period":         {full, subscriptions.Period{}, 1, noon, subscriptions.ErrInvalidPeriod},
		"no quantity":       {full, tenDays, 0, noon, subscriptions.ErrInvalidQuantity},
		"too many":          {subscriptions.Subscription{}, tenDays, 3651, noon, subscriptions.ErrTooLong},
		"too long in all":   {full, subscriptions.Period{Unit: subscriptions.Minute, Value: 1}, 1, noon.Add(59 * time.Second), subscriptions.ErrTooLong},
		"just short enough": {full, subscriptions.Period{Unit: subscriptions.Minute, Value: 1}, 1, noon.Add(time.Minute), nil},
		"a century anew":    {full, century, 1, noon.AddDate(100, 0, 0), nil},
		"a leap day's":      {subscriptions.Subscription{}, century, 1, time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, e, err := test.s.Extend("b", test.period, test.quantity, test.at, time.UTC)
			require.ErrorIs(t, err, test.err)
			if test.err != nil {
				require.Equal(t, test.s, s)
				require.Zero(t, e)
			}
		})
	}
}

func TestRefundTakesItsOwnTime(t *testing.T) {
	t.Parallel()
	one, a := extend(t, subscriptions.Subscription{}, "a", noon)
	two, b := extend(t, one, "b", noon.Add(5*aDay))
	anew, c := extend(t, two, "c", noon.Add(30*aDay))
	revoked, revocation := two.Revoke(noon.Add(6 * aDay))
	require.Equal(t, &subscriptions.Revocation{At: noon.Add(6 * aDay)}, revocation)
	again, _ := extend(t, revoked, "d", noon.Add(6*aDay))
	for name, test := range map[string]struct {
		s     subscriptions.Subscription
		e     subscriptions.Extension
		at    time.Time
		taken time.Duration
	}{
		"the only one, at once":              {one, a, noon, 10 * aDay},
		"the only one, half used":            {one, a, noon.Add(4 * aDay), 6 * aDay},
		"the only one, in its last second":   {one, a, inTenDay.Add(-1), time.Second},
		"the only one, at its end":           {one, a, inTenDay, 0},
		"the only one, later":                {one, a, noon.Add(11 * aDay), 0},
		"the only one, clocks differ":        {one, a, noon.Add(-aDay), 10 * aDay},
		"the second, before it began":        {two, b, noon.Add(6 * aDay), 10 * aDay},
		"the second, half used":              {two, b, noon.Add(14 * aDay), 6 * aDay},
		"the first, the second pays":         {two, a, noon.Add(14 * aDay), 6 * aDay},
		"the first, unused":                  {two, a, noon.Add(5 * aDay), 10 * aDay},
		"of an earlier stretch":              {anew, a, noon.Add(31 * aDay), 0},
		"of the running stretch":             {anew, c, noon.Add(31 * aDay), 9 * aDay},
		"revoked since":                      {revoked, a, noon.Add(7 * aDay), 0},
		"revoked since and bought again":     {again, a, noon.Add(7 * aDay), 0},
		"revoked since, the second of two":   {again, b, noon.Add(7 * aDay), 0},
		"of another user, nothing was owned": {subscriptions.Subscription{}, a, noon, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, refund := test.s.Refund(test.e, test.at)
			require.Equal(t, &subscriptions.Refund{
				ExtensionID:  test.e.ID,
				At:           test.at.Truncate(time.Second),
				TakenSeconds: int64(test.taken / time.Second),
			}, refund)
			if test.taken == 0 {
				require.Equal(t, test.s, s)
				return
			}
			require.Equal(t, test.s.ExpiresAt.Add(-test.taken), *s.ExpiresAt)
			require.Equal(t, test.s.StartedAt, s.StartedAt)
			require.NotEqual(t, subscriptions.None, s.Status(test.at))
			test.e.Refunded = true
			repeated, refund := s.Refund(test.e, test.at)
			require.Nil(t, refund)
			require.Equal(t, s, repeated)
		})
	}
}

func TestRefundTakesWhatWasRecorded(t *testing.T) {
	t.Parallel()
	january := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	s, a, err := subscriptions.Subscription{}.Extend("a", aMonth, 1, january, time.UTC)
	require.NoError(t, err)
	s, b, err := s.Extend("b", aMonth, 1, january, time.UTC)
	require.NoError(t, err)
	require.EqualValues(t, 28*86_400, a.AddedSeconds)
	require.EqualValues(t, 28*86_400, b.AddedSeconds)
	s, c, err := s.Extend("c", aMonth, 1, january, time.UTC)
	require.NoError(t, err)
	require.EqualValues(t, 31*86_400, c.AddedSeconds)
	s, _ = s.Refund(a, january)
	require.Equal(t, january.Add(59*aDay), *s.ExpiresAt)
}

func TestBoughtAgainAfterARefundBeginsAnew(t *testing.T) {
	t.Parallel()
	s, a := extend(t, subscriptions.Subscription{}, "a", noon)
	at := noon.Add(3*aDay + 500*time.Millisecond)
	s, _ = s.Refund(a, at)
	require.Equal(t, subscriptions.Expired, s.Status(at))
	s, b := extend(t, s, "b", at)
	require.Equal(t, "b", b.Stretch)
	require.Equal(t, noon.Add(13*aDay), *s.ExpiresAt)
}

func TestRevokeTakesAll(t *testing.T) {
	t.Parallel()
	s, _ := extend(t, subscriptions.Subscription{}, "a", noon)
	for _, at := range []time.Time{noon, inTenDay, noon.Add(99 * aDay)} {
		revoked, revocation := s.Revoke(at.Add(time.Millisecond))
		require.Equal(t, subscriptions.Subscription{}, revoked)
		require.Equal(t, &subscriptions.Revocation{At: at}, revocation)
		require.Equal(t, subscriptions.None, revoked.Status(at))
		_, revocation = revoked.Revoke(at)
		require.Nil(t, revocation)
	}
}

func TestReminder(t *testing.T) {
	t.Parallel()
	s, _ := extend(t, subscriptions.Subscription{}, "a", noon)
	require.Equal(t, noon.Add(7*aDay), *s.ReminderAt(3 * aDay))
	require.Equal(t, noon.Add(time.Second), *s.ReminderAt(10*aDay - time.Second))
	for _, lead := range []time.Duration{-1, 0, 10 * aDay, 11 * aDay} {
		require.Nil(t, s.ReminderAt(lead), lead)
	}
	require.Nil(t, subscriptions.Subscription{}.ReminderAt(time.Hour))
}

func TestTimersOfOneInstantAreSpread(t *testing.T) {
	t.Parallel()
	seconds := map[time.Duration]int{}
	for i := range 30_000 {
		key := fmt.Sprintf("subscription/1/u-%d/pass", i)
		jitter := subscriptions.Jitter(key)
		require.Equal(t, jitter, subscriptions.Jitter(key))
		require.True(t, jitter >= 0 && jitter < 30*time.Second)
		seconds[jitter.Truncate(time.Second)]++
	}
	require.Len(t, seconds, 30)
	for second, n := range seconds {
		require.InDelta(t, 1000, n, 300, "%s", second)
	}
}
