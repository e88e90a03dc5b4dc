package webhook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/webhook"
)

// The schedule that existing clients are used to: 20 tries within 12 hours.
func TestDefaultSchedule(t *testing.T) {
	t.Parallel()
	s, err := webhook.ParseSchedule(strings.Split(webhook.DefaultSchedule, ","))
	require.NoError(t, err)
	require.Len(t, s, 19)
	var sum time.Duration
	for tries := 1; tries <= 19; tries++ {
		want := time.Hour
		if tries <= 9 {
			want = 15 * time.Minute
		}
		if tries <= 2 {
			want = 5 * time.Minute
		}
		pause, left := s.Pause(tries, 0)
		require.True(t, left)
		require.Equal(t, want, pause, "after %d tries", tries)
		sum += pause
	}
	require.Equal(t, 715*time.Minute, sum)
	_, left := s.Pause(20, time.Minute)
	require.False(t, left, "whatever the listener asks for")
	_, left = s.Pause(0, 0)
	require.False(t, left)
}

func TestRetryAfterIsHonouredWithinBounds(t *testing.T) {
	t.Parallel()
	s := webhook.Schedule{5 * time.Minute}
	for asked, want := range map[time.Duration]time.Duration{0: 5 * time.Minute, time.Second: 5 * time.Minute, 10 * time.Minute: 10 * time.Minute, 240 * time.Hour: time.Hour} {
		pause, _ := s.Pause(1, asked)
		require.Equal(t, want, pause, asked)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "0": 0, "": 0, "-5": 0, "soon": 0, "99999999999999": 0, "Sun, 22 Nov 2026 12:01:30 GMT": 90 * time.Second, "Sun, 22 Nov 2026 11:00:00 GMT": 0,
	} {
		require.Equal(t, want, webhook.RetryAfter(header, now), header)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for _, id := range []string{"we_1", "we_2", "we_3", "we_4"} {
		spread := webhook.Spread(id, time.Minute)
		require.Equal(t, spread, webhook.Spread(id, time.Minute))
		require.True(t, spread >= 0 && spread < time.Minute)
		seen[spread] = true
	}
	require.Len(t, seen, 4)
}

func TestWrongSchedules(t *testing.T) {
	t.Parallel()
	for _, steps := range []string{"5m", "x5m", "2x", "0x5m", "-1x5m", "2x0s", "2x-1s", "2x25h", "101x1s", "60x1s,41x1s", "2x5", "2x5m,"} {
		_, err := webhook.ParseSchedule(strings.Split(steps, ","))
		require.Error(t, err, steps)
	}
	s, err := webhook.ParseSchedule(nil)
	require.NoError(t, err)
	_, left := s.Pause(1, 0)
	require.False(t, left, "one try only")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for status, codes := range map[webhook.Status][]int{
		webhook.Delivered: {200, 201, 202, 204, 299},
		webhook.Refused:   {400, 401, 402, 403, 404, 409, 415, 422},
		webhook.Pending:   {0, 101, 300, 301, 302, 307, 308, 405, 406, 408, 410, 418, 421, 423, 425, 429, 500, 501, 502, 503, 504, 599, 999},
	} {
		for _, code := range codes {
			require.Equal(t, status, webhook.Judge(code), "%d", code)
		}
	}
}

func TestEventOfMoves(t *testing.T) {
	t.Parallel()
	for _, move := range []struct {
		before, after checkout.OrderStatus
		event         webhook.Event
	}{
		{checkout.New, checkout.Paid, webhook.OrderPaid}, {checkout.Paid, checkout.Done, webhook.OrderDone}, {checkout.New, checkout.Expired, webhook.OrderExpired},
		{checkout.New, checkout.Canceled, webhook.OrderCanceled}, {checkout.Paid, checkout.Canceled, webhook.OrderCanceled}, {checkout.Done, checkout.Canceled, webhook.OrderCanceled},
		{checkout.Done, checkout.Done, webhook.OrderRefunded},
	} {
		event, told := webhook.EventOf(move.before, move.after)
		require.True(t, told)
		require.Equal(t, move.event, event)
	}
	_, told := webhook.EventOf(checkout.Paid, checkout.New)
	require.False(t, told)
}
