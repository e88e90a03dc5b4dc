package api

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	leaseShare   = 100 * time.Millisecond // a lease is what a bucket fills in this time, at least one token
	leaseFor     = time.Second            // what of a lease is not spent by then is lost
	askEvery     = 50 * time.Millisecond  // a process asks a bucket that ran dry no more often
	askTimeout   = time.Second            // a database that needs longer counts as away
	askAgain     = time.Second            // after a failure each process limits on its own so long
	knownBuckets = 16384
)

// tokenSource is the bucket that all processes share.
type tokenSource interface {
	TakeTokens(ctx context.Context, b postgres.Bucket, want int) (postgres.Grant, error)
}

// limiter holds the requests of each key, or the purchases of each user, to so many a window, over all processes:
// a token bucket that holds one window's worth. A process takes tokens in leases with one short statement and spends
// them in memory.
//
// Over any time t all processes together let through at most count + count/window*t requests, plus the leases that
// were under way when t began (a tenth of a second's worth for each process). While the database is away each process
// holds to the limit on its own, from what the bucket last held: what is let in fails anyway if it needs the database.
type limiter struct {
	name   string // of the policy, as clients see it
	count  int
	window time.Duration
	policy string

	source  tokenSource
	logger  *slog.Logger
	clock   func() time.Time
	timeout time.Duration // askTimeout
	buckets *lru.Cache[string, *bucket]
	alone   atomic.Int64 // until when the database is not asked, in Unix nanoseconds
}

type bucket struct {
	mu       sync.Mutex
	lease    int // tokens to spend here
	leasedAt time.Time
	left     float64       // tokens in the shared bucket when it was last asked
	askAfter time.Time     // it ran dry
	own      *rate.Limiter // while the database is away
}

// verdict is one request's answer from a limiter.
type verdict struct {
	ok         bool
	remaining  int
	retryAfter time.Duration // when not ok
}

// newLimiter is nil when there is no limit.
func newLimiter(name string, count int, window time.Duration, source tokenSource, logger *slog.Logger) (*limiter, error) {
	if count <= 0 {
		return nil, nil
	}
	buckets, err := lru.New[string, *bucket](knownBuckets)
	if err != nil {
		return nil, err
	}
	return &limiter{name: name, count: count, window: window, policy: fmt.Sprintf(`"%s";q=%d;w=%d`, name, count, window/time.Second),
		source: source, logger: logger, clock: time.Now, timeout: askTimeout, buckets: buckets}, nil
}

func (l *limiter) perSecond() float64 { return float64(l.count) / l.window.Seconds() }

func (l *limiter) leaseSize() int {
	return max(1, int(math.Ceil(l.perSecond()*leaseShare.Seconds())))
}

// take spends one token of the bucket of that id. As a rule it does not wait for the database.
func (l *limiter) take(ctx context.Context, id string) verdict {
	b, found := l.buckets.Get(id)
	if !found {
		b = &bucket{}
		if earlier, ok, _ := l.buckets.PeekOrAdd(id, b); ok {
			b = earlier
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := l.clock()
	if b.lease == 0 || now.Sub(b.leasedAt) >= leaseFor {
		b.lease = 0
		switch {
		case now.UnixNano() < l.alone.Load():
			return l.takeAlone(b, now)
		case now.Before(b.askAfter):
			return verdict{retryAfter: b.askAfter.Sub(now)}
		}
		if err := l.ask(ctx, id, b, now); err != nil {
			l.alone.Store(now.Add(askAgain).UnixNano())
			l.logger.LogAttrs(ctx, slog.LevelWarn, "rate limits are not shared for a moment", slog.String("limit", l.name), slog.String("error", err.Error()))
			return l.takeAlone(b, now)
		}
		if b.lease == 0 {
			return verdict{retryAfter: b.askAfter.Sub(now)}
		}
	}
	b.lease--
	return verdict{ok: true, remaining: b.lease + int(b.left)}
}

// ask gets a lease; it may be smaller than wanted, or empty.
func (l *limiter) ask(ctx context.Context, id string, b *bucket, now time.Time) error {
	// The lease belongs to all requests of the bucket, whether or not this one's client stays.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	want := l.leaseSize()
	grant, err := l.source.TakeTokens(ctx, postgres.Bucket{ID: l.name + "/" + id, Rate: l.perSecond(), Burst: l.count}, want)
	if err != nil {
		return err
	}
	b.lease, b.left, b.leasedAt, b.own = grant.Tokens, grant.Left, now, nil
	if grant.Tokens < want {
		next := askEvery
		if grant.Tokens == 0 {
			next = max(next, time.Duration((1-grant.Left)/l.perSecond()*float64(time.Second)))
		}
		b.askAfter = now.Add(next)
	}
	return nil
}

// takeAlone limits without the database.
func (l *limiter) takeAlone(b *bucket, now time.Time) verdict {
	if b.own == nil {
		b.own = rate.NewLimiter(rate.Limit(l.perSecond()), l.count)
		if !b.leasedAt.IsZero() {
			b.own.ReserveN(b.leasedAt, l.count-int(b.left))
		}
	}
	reservation := b.own.ReserveN(now, 1)
	if wait := reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return verdict{retryAfter: wait}
	}
	return verdict{ok: true, remaining: int(b.own.TokensAt(now))}
}

// check takes a token and tells the client what is left (draft-ietf-httpapi-ratelimit-headers-10); a failure
// `rate_limited` when there is none. A nil limiter lets everything through.
func (l *limiter) check(ctx context.Context, id string, header http.Header) error {
	if l == nil {
		return nil
	}
	v := l.take(ctx, id)
	// How long until the whole quota is there again.
	full := math.Ceil(float64(l.count-v.remaining) / l.perSecond())
	header.Add("RateLimit-Policy", l.policy)
	header.Add("RateLimit", `"`+l.name+`";r=`+strconv.Itoa(v.remaining)+`;t=`+strconv.Itoa(int(full)))
	if v.ok {
		return nil
	}
	return &failure{
		code:       ProblemCodeRateLimited,
		retryAfter: v.retryAfter,
		detail:     fmt.Sprintf("at most %d requests in %d s for each %s; nothing was done, try again later", l.count, l.window/time.Second, l.name),
	}
}

// forgetIdleBuckets keeps the table of buckets as small as the number of those who call.
func (s *Server) forgetIdleBuckets(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.options.DB.ForgetIdleBuckets(ctx); err != nil && ctx.Err() == nil {
				s.options.Logger.LogAttrs(ctx, slog.LevelWarn, "idle rate limits stay for another minute", slog.String("error", err.Error()))
			}
		}
	}
}
