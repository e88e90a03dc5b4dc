package events

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/tasks"
)

const (
	countBatch   = 500              // events that are given to the counter at once
	countAtOnce  = 2                // such batches at the same time
	countTimeout = 30 * time.Second // of one try; a stop waits as long for the one that runs
	firstDelay   = 100 * time.Millisecond
	longestDelay = 10 * time.Second
	closeTimeout = 5 * time.Second
)

// ConsumerOptions are what the consumers of brokers have in common.
type ConsumerOptions struct {
	ProjectID int32 // that the broker's events belong to
	Decoder   Decoder
	Counter   Counter
	Logger    *slog.Logger
}

// deadLetter is an event, or a message of which nothing could be read, that can't be counted.
type deadLetter struct {
	message     int    // its index among those that were processed
	whole       bool   // the message is kept as it was sent, with its headers
	index       int    // of the event in the message
	body        []byte // of the event alone
	contentType string
	code        string
	reason      string
}

// process has the events of the messages counted, and returns what can't be. While the counter fails it waits
// and tries again; it gives up only when ctx ends, and then nothing may be acknowledged.
func (o ConsumerOptions) process(ctx context.Context, messages []Message) ([]deadLetter, error) {
	events, origins, dead := o.decode(messages)
	var mu sync.Mutex
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(countAtOnce)
	for from := 0; from < len(events); from += countBatch {
		to := min(from+countBatch, len(events))
		group.Go(func() error {
			return o.count(groupCtx, events[from:to], func(i int, err error) {
				mu.Lock()
				defer mu.Unlock()
				origin := origins[from+i]
				origin.body, origin.contentType = events[from+i].Payload, formJSON.contentType()
				origin.code, origin.reason = CodeNotStorable, err.Error()
				dead = append(dead, origin)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(dead) > 0 {
		o.Logger.Warn("events that cannot be counted go to the dead letters", "events", len(dead), "first_code", dead[0].code, "first_reason", dead[0].reason)
	}
	return dead, nil
}

// decode returns the events, where each of them comes from, and what is none.
func (o ConsumerOptions) decode(messages []Message) (events []tasks.Received, origins, dead []deadLetter) {
	now := time.Now()
	for i, message := range messages {
		message.ProjectID = o.ProjectID
		items, err := o.Decoder.Decode(message, now)
		var problem *MessageError
		if errors.As(err, &problem) {
			dead = append(dead, deadLetter{message: i, whole: true, code: problem.Code, reason: problem.Message})
		}
		for _, item := range items {
			// An event that stood alone is kept as it was sent. One of several must not take the message's
			// identity with it: given again, it would be taken for another event of the message.
			origin := deadLetter{message: i, whole: len(items) == 1, index: item.Index}
			if r := item.Rejection; r != nil {
				origin.body, origin.contentType, origin.code, origin.reason = r.Raw, r.ContentType, r.Code, r.Message
				dead = append(dead, origin)
				continue
			}
			events, origins = append(events, item.Received), append(origins, origin)
		}
	}
	return events, origins, dead
}

// count gives a batch to the counter until it takes it. A batch with an event that is refused is halved until
// that event is alone.
func (o ConsumerOptions) count(ctx context.Context, batch []tasks.Received, refuse func(i int, err error)) error {
	var refused error
	err := retry(ctx, o.Logger, "counting events", func() error {
		tryCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), countTimeout)
		defer cancel()
		_, err := o.Counter.Count(tryCtx, o.ProjectID, batch)
		if errors.Is(err, ErrRefused) {
			refused = err
			return nil
		}
		return err
	})
	switch {
	case err != nil || refused == nil:
		return err
	case len(batch) == 1:
		refuse(0, refused)
		return nil
	}
	half := len(batch) / 2
	if err := o.count(ctx, batch[:half], refuse); err != nil {
		return err
	}
	return o.count(ctx, batch[half:], func(i int, err error) { refuse(half+i, err) })
}

// retry tries until it succeeds or ctx ends, and waits longer each time.
func retry(ctx context.Context, logger *slog.Logger, what string, do func() error) error {
	for delay := firstDelay; ; delay = min(2*delay, longestDelay) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			logger.Warn(what+" failed and is tried again", "error", err, "in", delay)
		}
		if !pause(ctx, delay) {
			return ctx.Err()
		}
	}
}

// pause waits for about so long, so that many don't come back at once. It returns false when ctx ends first.
func pause(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay/2 + rand.N(delay)) //nolint:gosec // jitter, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Headers of dead letters, in Kafka and in RabbitMQ.
const (
	headerReason  = "quickpass-reason" // the code
	headerMessage = "quickpass-message"
	headerOrigin  = "quickpass-origin"
	headerIndex   = "quickpass-index"     // of the event in its message
	headerCut     = "quickpass-truncated" // the body was too large for the dead letters
	headerContent = "content-type"
)
