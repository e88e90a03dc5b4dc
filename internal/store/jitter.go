package store

import (
	"hash/fnv"
	"time"
)

// Jitter is a delay below spread, a whole number of milliseconds, that differs from id to id and is always the same
// for one, so that ten thousand timers due in one instant are not ten thousand timers of one instant.
func Jitter(id string, spread time.Duration) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id)) // a hash takes everything
	return time.Duration(int64(hash.Sum32())%spread.Milliseconds()) * time.Millisecond
}
