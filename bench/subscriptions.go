package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const (
	serverKey   = "bench-server-key"
	seasonPass  = "season-pass" // of a month
	minutePass  = "minute-pass" // of a minute
	holder      = "hold-"       // of the user ids of those who have a subscription
	checkedUser = "check-"      // and of those who are asked for
	openPasses  = 30 * time.Minute
	probeEnds   = 2 * time.Second // from when it is made
	probeWait   = 2 * time.Minute
)

// subscriptionsResult is what open subscriptions take.
type subscriptionsResult struct {
	count     int
	bytes     map[string]float64 // of one, by database
	optional  float64            // of them, those of the indexes that trimVisibility drops
	perSecond float64            // granted, with their workflows started
	memory    float64            // of a quickpass serve that was just started with all of them open, MB
	fresh     float64            // and of one before there were any
	told      time.Duration      // a new end, when nothing was restarted
	serve     time.Duration      // from kill -9 of quickpass serve until a new end is told
	temporal  time.Duration      // and of Temporal
}

func (r subscriptionsResult) all() (sum float64) {
	for _, database := range sizedDatabases {
		sum += r.bytes[database]
	}
	return sum
}

// measureSubscriptions grants subscriptions over HTTP, each with its workflow, and looks at what they take
// and how soon everything works again after kill -9 with all of them open. Like the windows, it comes before
// others have left room in the tables.
func measureSubscriptions(ctx context.Context, o settings, st *stack, p *progress) (*subscriptionsResult, error) {
	p.say("subscriptions: granting %d", o.subscriptions)
	if err := st.preparePasses(ctx); err != nil {
		return nil, err
	}
	r := &subscriptionsResult{count: o.subscriptions, bytes: map[string]float64{}}
	var err error
	if r.fresh, _, err = st.memoryOfRestarted(ctx); err != nil {
		return nil, err
	}
	if err := st.weighPasses(ctx, r, p); err != nil {
		return nil, err
	}
	if r.memory, r.told, err = st.memoryOfRestarted(ctx); err != nil {
		return nil, err
	}
	for _, dying := range []struct {
		took *time.Duration
		part interface {
			Kill() error
			Restart(ctx context.Context) error
		}
	}{{&r.serve, st.serve}, {&r.temporal, st.temporal}} {
		*dying.took, err = st.tellProbe(ctx, func(ctx context.Context) error { return errors.Join(dying.part.Kill(), dying.part.Restart(ctx)) })
		if err != nil {
			return nil, err
		}
	}
	p.say("subscriptions: %.0f bytes each, %.0f granted a second, serve takes %.0f MB (%.0f before); told after %s, with a restart of serve %s, of Temporal %s",
		r.all(), r.perSecond, r.memory, r.fresh, r.told, r.serve, r.temporal)
	return r, nil
}

// memoryOfRestarted is what quickpass serve takes, in MB, when it was restarted and has told of one new end,
// and how long that took: what it did before is not to be seen in it.
func (st *stack) memoryOfRestarted(ctx context.Context) (memory float64, told time.Duration, err error) {
	if err = st.serve.Restart(ctx); err != nil {
		return 0, 0, err
	}
	told, err = st.tellProbe(ctx, func(context.Context) error { return nil })
	return residentMB(st.serve.PID()), told, err
}

// preparePasses writes the items and the key of the project's server, once.
func (st *stack) preparePasses(ctx context.Context) error {
	hash := sha256.Sum256([]byte(serverKey))
	if err := st.served.PutAPIKey(ctx, postgres.APIKey{
		KeyID:     "key_bench_server",
		ProjectID: project,
		Role:      "server",
	}, hash[:], time.Now()); err != nil {
		return err
	}
	for sku, unit := range map[string]subscriptions.Unit{seasonPass: subscriptions.Month, minutePass: subscriptions.Minute} {
		item := catalog.Item{
			SKU:              sku,
			Type:             catalog.VirtualGood,
			VirtualItemType:  catalog.NonRenewingSubscription,
			Status:           catalog.Published,
			Name:             catalog.Text{"en": sku},
			InventoryOptions: catalog.InventoryOptions{ExpirationPeriod: &subscriptions.Period{Unit: unit, Value: 1}},
		}
		definition, err := json.Marshal(item)
		if err != nil {
			return err
		}
		if _, err = st.served.Pool().Exec(ctx, `INSERT INTO catalog_items (project_id, sku, type, status, definition, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, now(), now()) ON CONFLICT DO NOTHING`, project, sku, string(item.Type), string(item.Status), definition); err != nil {
			return fmt.Errorf("add item: %w", err)
		}
	}
	return nil
}

func (st *stack) weighPasses(ctx context.Context, r *subscriptionsResult, p *progress) error {
	ahead := r.count/10 + 1 // so that the first page of each of many indexes is not charged to a few
	before, err := st.grantAndWeigh(ctx, 0, ahead, p)
	if err != nil {
		return err
	}
	begin := time.Now()
	after, err := st.grantAndWeigh(ctx, ahead, ahead+r.count, p)
	if err != nil {
		return err
	}
	r.perSecond = float64(r.count) / after.toldAt.Sub(begin).Seconds()
	for _, database := range sizedDatabases {
		r.bytes[database] = float64(after.bytes[database]-before.bytes[database]) / float64(r.count)
	}
	r.optional = float64(after.optional-before.optional) / float64(r.count)
	return nil
}

func (st *stack) grantAndWeigh(ctx context.Context, from, to int, p *progress) (w weight, err error) {
	ctx, cancel := context.WithTimeout(ctx, openPasses)
	defer cancel()
	if err := st.grantPasses(ctx, holder, from, to); err != nil {
		return w, err
	}
	p.say("subscriptions: %d are granted; their workflows are being started", to-from)
	if err := st.awaitPassesTold(ctx); err != nil {
		return w, err
	}
	return st.weighAll(ctx)
}

// awaitPassesTold waits until every subscription has its workflow.
func (st *stack) awaitPassesTold(ctx context.Context) error {
	for untold := 1; untold > 0; {
		if err := pause(ctx, streamLook); err != nil {
			return fmt.Errorf("%d subscriptions have no workflow yet: %w", untold, err)
		}
		if err := st.served.Pool().QueryRow(ctx, "SELECT count(*) FROM subscriptions WHERE told < changes").Scan(&untold); err != nil {
			return err
		}
	}
	return nil
}

// grantPasses gives users from..to a subscription of a month, as the project's server does: as many in a call
// as it takes.
func (st *stack) grantPasses(ctx context.Context, prefix string, from, to int) error {
	front := newStorefront(st.apiURL)
	var next atomic.Int64
	next.Store(int64(from))
	group, ctx := errgroup.WithContext(ctx)
	for range restCallers {
		group.Go(func() error {
			for {
				first := int(next.Add(inventory.MaxOperations)) - inventory.MaxOperations
				if first >= to {
					return nil
				}
				var grants []inventory.Request
				for n := first; n < min(first+inventory.MaxOperations, to); n++ {
					grants = append(grants, inventory.Request{
						User:  inventory.User{ID: fmt.Sprintf(prefix+playerForm, n)},
						Items: []inventory.RequestedItem{{SKU: seasonPass, Quantity: 1}},
					})
				}
				if err := front.grant(ctx, st.apiURL, grants); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

func basicAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:%s", project, serverKey))
}

func (s *storefront) grant(ctx context.Context, api string, grants []inventory.Request) error {
	body, err := json.Marshal(grants)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/api/v2/project/%d/inventory/reward", api, project), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", basicAuth())
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("grant: %s: %.300s: %w", response.Status, answer, err)
	}
	return nil
}

// tellProbe has one more subscription end in a moment and something happen first, and tells how long after
// that it took until its user was told, the moment until its end left out. The user is one whose timer has
// little jitter.
func (st *stack) tellProbe(ctx context.Context, happens func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	begin := time.Now()
	if err := happens(ctx); err != nil {
		return 0, err
	}
	user := promptUser(begin)
	_, _, err := st.served.ChangeInventory(ctx, postgres.InventoryCall{
		ProjectID: project,
		Action:    inventory.ActionGrant,
		Source:    postgres.SourceReward,
		Zone:      time.UTC,
		Requests:  []inventory.Request{{User: inventory.User{ID: user}, Items: []inventory.RequestedItem{{SKU: minutePass, Quantity: 1}}}},
	}, time.Now().Add(probeEnds-time.Minute))
	if err != nil {
		return 0, err
	}
	for {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, fmt.Errorf("the end of a subscription is not told: %w", err)
		}
		var told bool
		if err := st.served.Pool().QueryRow(ctx, "SELECT ended_at IS NOT NULL FROM subscriptions WHERE user_id = $1", user).Scan(&told); err != nil {
			return 0, err
		}
		if told {
			return (time.Since(begin) - probeEnds).Round(100 * time.Millisecond), nil
		}
	}
}

func promptUser(at time.Time) string {
	for n := at.UnixNano(); ; n++ {
		user := fmt.Sprintf("probe-%d", n)
		id := contract.SubscriptionWorkflowID(contract.SubscriptionInput{ProjectID: project, UserID: user, SKU: minutePass})
		if subscriptions.Jitter(id) < 500*time.Millisecond {
			return user
		}
	}
}
