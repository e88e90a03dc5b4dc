package activities

import (
	"context"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

// unclaimedFor is how long an answer that nobody has taken is kept for a join that comes late.
const unclaimedFor = time.Minute

// Calls are the calls to the main product that this process has in flight. A call outlives the activity
// that started it, so that a slow answer is joined instead of asked for twice.
type Calls struct {
	mu      sync.Mutex
	byKey   map[string]*Call
	running sync.WaitGroup
}

// Call is one call to the main product.
type Call struct {
	done     chan struct{}
	deadline time.Time
	answer   mainproduct.Answer // readable once done is closed
}

// Done is closed when the answer is there.
func (c *Call) Done() <-chan struct{} { return c.done }

// Deadline is when the call gives up.
func (c *Call) Deadline() time.Time { return c.deadline }

// failed tells whether the call is over without a final answer.
func (c *Call) failed() bool {
	select {
	case <-c.done:
		return c.answer.Kind == mainproduct.Unknown
	default:
		return false
	}
}

// NewCalls makes an empty set.
func NewCalls() *Calls { return &Calls{byKey: map[string]*Call{}} }

// Start makes the call in a goroutine of its own, or returns the one that is there under this key:
// in flight, or with an answer that nobody has taken yet and that makes another call needless.
func (c *Calls) Start(key string, timeout time.Duration, do func(context.Context) mainproduct.Answer) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.byKey[key]; call != nil && !call.failed() {
		return call
	}
	call := &Call{done: make(chan struct{}), deadline: time.Now().Add(timeout)}
	c.byKey[key] = call
	c.running.Go(func() {
		ctx, cancel := context.WithDeadline(context.Background(), call.deadline)
		defer cancel()
		call.answer = do(ctx)
		close(call.done)
		time.AfterFunc(unclaimedFor, func() { c.forget(key, call) })
	})
	return call
}

// Find returns the call under this key, or nil.
func (c *Calls) Find(key string) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[key]
}

// Take returns the answer of a call that is done and forgets the call: the next one is a new try.
func (c *Calls) Take(key string, call *Call) mainproduct.Answer {
	c.forget(key, call)
	return call.answer
}

// Wait returns when no call is in flight or the context ends; a process that stops in good order waits.
func (c *Calls) Wait(ctx context.Context) {
	idle := make(chan struct{})
	go func() {
		c.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

func (c *Calls) forget(key string, call *Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] == call {
		delete(c.byKey, key)
	}
}
