package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/testkit"
)

const (
	stormPasses = 10_000
	stormPass   = "storm-pass" // of one minute a piece
	stormBegins = time.Minute  // from now, time enough to grant most of them
	stormLasts  = 55 * time.Second
	checkPause  = 10 * time.Millisecond // of each who asks: it is not their number that is tested
)

// Ten thousand subscriptions end within one minute. Whatever is killed meanwhile, and whether their timers
// have fired or not, each check answers by the clock, and in the end every user has been told once.
//
// It is not parallel: it takes all that the machine has.
func TestTenThousandSubscriptionsEndInOneMinute(t *testing.T) {
	pg, temporal := ownServers(t)
	s := newStackAt(t, pg.URL(), testkit.Engine{Address: temporal.Address(), Namespace: "default"})
	s.keys["server"] = testkit.AddKey(t, s.db, "server")
	testkit.StorePass(t, s.db, stormPass)
	testkit.Exec(t, s.db, "UPDATE projects SET reminder_seconds = 0")
	serve := s.serve("serve", "QUICKPASS_DATABASE_MAX_CONNECTIONS=16")
	api, worker := s.serve("api"), s.worker("worker")

	s.givePasses()
	ends := s.passEnds()
	require.Len(t, ends, stormPasses)
	first, last := ends[0].at, ends[len(ends)-1].at
	require.Less(t, last.Sub(first), time.Minute, "they end within one minute")

	var checks passChecks
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var checking errgroup.Group
	for i, n := range []*node{serve, api, serve, api} {
		checking.Go(func() error { return checks.run(ctx, n, ends, mathrand.New(mathrand.NewPCG(7, uint64(i)))) })
	}
	victims := []struct {
		name string
		victim
	}{{"serve", serve}, {"Temporal", temporal}, {"PostgreSQL", pg}, {"worker", worker}, {"api", api}}
	for i, dying := range victims {
		s.toldOfPasses((i + 1) * stormPasses / (len(victims) + 2))
		require.NoError(t, dying.Kill(), dying.name)
		require.NoError(t, dying.Restart(t.Context()), dying.name)
	}
	s.toldOfPasses(stormPasses)
	stop()
	require.NoError(t, checking.Wait())
	t.Logf("%d subscriptions ended within %s; %d checks answered, %d of them within a second of an end, %d not, while something was down",
		stormPasses, last.Sub(first), checks.answered.Load(), checks.close.Load(), checks.failed.Load())
	require.Positive(t, checks.close.Load(), "some are asked for at the boundary")
	require.Positive(t, checks.failed.Load(), "something was down")
	s.requireToldOnce(ends)
	s.verify()
}

// passEnd is when a user's subscription ends.
type passEnd struct {
	user string
	at   time.Time
}

// givePasses grants every user a subscription, as many in a call as it takes. When they end does not depend
// on how long that takes: each is granted as of some instant of the minute before.
func (s *stack) givePasses() {
	s.t.Helper()
	const pieces = 2
	firstGrant := time.Now().Add(stormBegins - pieces*time.Minute)
	var group errgroup.Group
	group.SetLimit(4)
	for from := 0; from < stormPasses; from += inventory.MaxOperations {
		group.Go(func() error {
			requests := make([]inventory.Request, inventory.MaxOperations)
			for i := range requests {
				requests[i] = inventory.Request{
					User:  inventory.User{ID: fmt.Sprintf("storm-%05d", from+i)},
					Items: []inventory.RequestedItem{{SKU: stormPass, Quantity: pieces}},
				}
			}
			_, _, err := s.db.ChangeInventory(s.t.Context(), postgres.InventoryCall{
				ProjectID: testkit.Project,
				Action:    inventory.ActionGrant,
				Source:    postgres.SourceReward,
				Zone:      time.UTC,
				Requests:  requests,
			},
				firstGrant.Add(stormLasts*time.Duration(from)/stormPasses))
			return err
		})
	}
	require.NoError(s.t, group.Wait())
}

func (s *stack) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("1:"+s.keys["server"]))
}

// passEnds are the ends of all subscriptions, in their order.
func (s *stack) passEnds() []passEnd {
	s.t.Helper()
	rows, err := s.db.Pool().Query(s.t.Context(), "SELECT user_id, expires_at FROM subscriptions WHERE sku = $1 ORDER BY expires_at", stormPass)
	require.NoError(s.t, err)
	ends, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e passEnd, err error) { return e, row.Scan(&e.user, &e.at) })
	require.NoError(s.t, err)
	return ends
}

// toldOfPasses waits until so many users have been told of the end.
func (s *stack) toldOfPasses(wanted int) {
	s.t.Helper()
	testkit.Within(s.t, 5*time.Minute, fmt.Sprintf("%d users are told", wanted), func(ctx context.Context) error {
		var told int
		err := s.db.Pool().QueryRow(ctx, "SELECT count(*) FROM subscriptions WHERE ended_at = expires_at").Scan(&told)
		if err == nil && told < wanted {
			err = fmt.Errorf("%d are", told)
		}
		return err
	})
}

// passChecks counts what was asked while subscriptions ended.
type passChecks struct{ answered, close, failed atomic.Int64 }

// run asks until ctx ends, half the time for somebody whose subscription ends about now. An answer that is
// not what the clock says is an error; no answer, while something is down, is none.
func (c *passChecks) run(ctx context.Context, n *node, ends []passEnd, random *mathrand.Rand) error {
	tick := time.NewTicker(checkPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := c.check(n, pick(ends, random)); err != nil {
			return err
		}
	}
}

func pick(ends []passEnd, random *mathrand.Rand) passEnd {
	if random.IntN(2) == 0 {
		return ends[random.IntN(len(ends))]
	}
	now, _ := slices.BinarySearchFunc(ends, time.Now(), func(e passEnd, now time.Time) int { return e.at.Compare(now) })
	return ends[min(max(now+random.IntN(20)-10, 0), len(ends)-1)]
}

// check asks for one. The server's clock is ours, and it looked at it during the call.
func (c *passChecks) check(n *node, e passEnd) error {
	begin := time.Now()
	a, err := n.try("server", http.MethodGet, "/api/v2/project/1/entitlements/"+e.user+"/"+stormPass, nil, "Authorization", n.basic())
	end := time.Now()
	if err != nil || a.status == http.StatusServiceUnavailable {
		c.failed.Add(1)
		return nil
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%d: %s", a.status, a.body)
	}
	var got struct {
		Active    bool       `json:"active"`
		Status    string     `json:"status"`
		ExpiresAt *time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		return fmt.Errorf("%s: %w", a.body, err)
	}
	c.answered.Add(1)
	if e.at.Sub(begin).Abs() < time.Second {
		c.close.Add(1)
	}
	mayBeActive, mayBeOver := begin.Before(e.at), !end.Before(e.at)
	switch {
	case got.ExpiresAt == nil || !got.ExpiresAt.Equal(e.at),
		got.Active != (got.Status == "active") || !got.Active && got.Status != "expired",
		got.Active && !mayBeActive, !got.Active && !mayBeOver:
		return fmt.Errorf("asked from %s to %s about an end at %s: %s", begin.UTC(), end.UTC(), e.at.UTC(), a.body)
	}
	return nil
}

// requireToldOnce: every user has one notification, of the expiry that the subscription had. It prints how
// late they came.
func (s *stack) requireToldOnce(ends []passEnd) {
	s.t.Helper()
	rows, err := s.db.Pool().Query(s.t.Context(), "SELECT user_id, created_at, (detail ->> 'expires_at')::timestamptz FROM notifications WHERE kind = 'subscription_expired'")
	require.NoError(s.t, err)
	expired, lags := map[string]time.Time{}, []time.Duration{}
	var user string
	var told, expiry time.Time
	_, err = pgx.ForEachRow(rows, []any{&user, &told, &expiry}, func() error {
		if _, twice := expired[user]; twice {
			return errors.New("told twice: " + user)
		}
		expired[user], lags = expiry, append(lags, told.Sub(expiry))
		return nil
	})
	require.NoError(s.t, err)
	require.Len(s.t, expired, len(ends))
	for _, e := range ends {
		require.True(s.t, e.at.Equal(expired[e.user]), e.user)
	}
	slices.Sort(lags)
	require.GreaterOrEqual(s.t, lags[0], time.Duration(0), "nobody is told before the end")
	at := func(percent int) time.Duration { return lags[(len(lags)-1)*percent/100].Round(100 * time.Millisecond) }
	s.t.Logf("told after the end, with up to 30 s of jitter and everything killed once: p50 %s, p99 %s, at most %s", at(50), at(99), at(100))
}
