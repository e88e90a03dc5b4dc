package webhook

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultSchedule is the one that existing clients are used to: 19 more tries within 12 hours.
	DefaultSchedule = "2x5m,7x15m,10x60m"
	// LongestRetryAfter bounds what a listener can ask for by Retry-After.
	LongestRetryAfter = time.Hour

	maxTries = 100
	maxPause = 24 * time.Hour
)

// Schedule is the pauses between the tries of a delivery; there is one try more than pauses.
type Schedule []time.Duration

// ParseSchedule reads steps such as 2x5m: two tries, each after five minutes. No step is a schedule of one try.
func ParseSchedule(steps []string) (Schedule, error) {
	var s Schedule
	for _, step := range steps {
		count, pause, ok := strings.Cut(strings.TrimSpace(step), "x")
		n, err := strconv.Atoi(count)
		each, pauseErr := time.ParseDuration(pause)
		if !ok || err != nil || pauseErr != nil || n < 1 || each <= 0 || each > maxPause || len(s)+n > maxTries {
			return nil, fmt.Errorf("%q is no step of a schedule: write 2x5m for two tries, each after five minutes; at most %d tries and %s", step, maxTries, maxPause)
		}
		for range n {
			s = append(s, each)
		}
	}
	return s, nil
}

// Pause is how long to wait after so many tries, or longer if the listener has asked for it; false when none is left.
func (s Schedule) Pause(tries int, retryAfter time.Duration) (time.Duration, bool) {
	if tries < 1 || tries > len(s) {
		return 0, false
	}
	return max(s[tries-1], min(retryAfter, LongestRetryAfter)), true
}

// RetryAfter reads the header of that name, in seconds or as a date; 0 when it says nothing.
func RetryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", header) // IMF-fixdate; the two obsolete forms are nobody's any more
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// Spread is a part of a time by which deliveries that would be due together are kept apart, always the same for one.
func Spread(deliveryID string, most time.Duration) time.Duration {
	hash := fnv.New64a()
	hash.Write([]byte(deliveryID))
	return time.Duration(hash.Sum64() % uint64(most))
}

// Host is the part of an endpoint's address that may be shown and logged: paths hold secrets at times.
func Host(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
