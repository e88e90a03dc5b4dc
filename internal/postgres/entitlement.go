package postgres

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const (
	entitlementReads   = 2                     // at the same time; the questions that come meanwhile are asked together
	entitlementSlow    = 10 * time.Millisecond // from then on a read is not waited for: another begins beside it
	entitlementBatch   = 500                   // questions of one read
	entitlementTimeout = 5 * time.Second
)

// Entitlement says whether a user is entitled to an item.
type Entitlement struct {
	Status    subscriptions.Status // by the clock; of what is no subscription active when it is owned, else none
	ExpiresAt *time.Time           // of a subscription
	Quantity  int64
}

// Entitlements answers whether users are entitled to items. A question alone is one read by a primary key;
// those that come while others are read share the next read, so that many at once cost hardly more than a
// few. Every read begins after its questions were asked: nothing is remembered.
type Entitlements struct {
	db *DB

	mu      sync.Mutex
	waiting []*entitlementQuestion
	reading int
	began   time.Time // the last read
}

type entitlementQuestion struct {
	projectID   int32
	userID, sku string
	row         sqlc.CheckEntitlementsRow // the zero value: nothing is owned
	err         error
	done        chan struct{}
}

// NewEntitlements makes the checks of one process.
func NewEntitlements(db *DB) *Entitlements { return &Entitlements{db: db} }

// Check answers as of now. Who or what is not known has none.
func (e *Entitlements) Check(ctx context.Context, projectID int32, userID, sku string, now time.Time) (Entitlement, error) {
	if err := ctx.Err(); err != nil {
		return Entitlement{}, fmt.Errorf("check entitlement: %w", err)
	}
	q := &entitlementQuestion{projectID: projectID, userID: userID, sku: sku, done: make(chan struct{})}
	e.ask(ctx, q)
	select {
	case <-q.done:
	case <-ctx.Done():
		return Entitlement{}, fmt.Errorf("check entitlement: %w", ctx.Err())
	}
	if q.err != nil {
		return Entitlement{}, fmt.Errorf("check entitlement: %w", q.err)
	}
	return entitlementOf(q.row, now), nil
}

func entitlementOf(row sqlc.CheckEntitlementsRow, now time.Time) Entitlement {
	found := Entitlement{Status: subscriptions.None, Quantity: row.Quantity, ExpiresAt: row.ExpiresAt}
	switch {
	case inventory.Kind(row.Kind) == inventory.NonRenewingSubscription:
		found.Status = subscriptions.Subscription{ExpiresAt: row.ExpiresAt}.Status(now)
	case row.Quantity > 0:
		found.Status = subscriptions.Active
	}
	return found
}

func (e *Entitlements) ask(ctx context.Context, q *entitlementQuestion) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, q)
	if e.reading == 0 || e.reading < entitlementReads && time.Since(e.began) > entitlementSlow {
		e.reading++
		go e.read(context.WithoutCancel(ctx)) // the question of one caller must not end with another's
	}
}

// read goes on until nobody waits.
func (e *Entitlements) read(ctx context.Context) {
	for {
		runtime.Gosched() // let those ask who are about to
		batch := e.next()
		if len(batch) == 0 {
			return
		}
		err := e.readBatch(ctx, batch)
		for _, q := range batch {
			q.err = err
			close(q.done)
		}
	}
}

func (e *Entitlements) next() []*entitlementQuestion {
	e.mu.Lock()
	defer e.mu.Unlock()
	batch := e.waiting[:min(len(e.waiting), entitlementBatch)]
	e.waiting, e.began = e.waiting[len(batch):], time.Now()
	if len(batch) == 0 {
		e.waiting = nil
		e.reading--
	}
	return batch
}

func (e *Entitlements) readBatch(ctx context.Context, batch []*entitlementQuestion) error {
	ctx, cancel := context.WithTimeout(ctx, entitlementTimeout)
	defer cancel()
	params := sqlc.CheckEntitlementsParams{
		ProjectIds: make([]int32, len(batch)),
		UserIds:    make([]string, len(batch)),
		Skus:       make([]string, len(batch)),
	}
	for i, q := range batch {
		params.ProjectIds[i], params.UserIds[i], params.Skus[i] = q.projectID, q.userID, q.sku
	}
	rows, err := e.db.q.CheckEntitlements(ctx, params)
	for _, row := range rows {
		batch[row.Place-1].row = row
	}
	return err
}
