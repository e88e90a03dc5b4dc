package tasks

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// closeSpread is what the closings of one instant, such as midnight, are spread over.
const closeSpread = 30 * time.Second

// CloseJitter is how long after ClosesAt a window is closed in the database, by window. What counts, and what a user
// is shown, is decided by the instants alone.
func CloseJitter(windowID string) time.Duration { return store.Jitter(windowID, closeSpread) }
