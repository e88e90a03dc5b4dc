package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shopspring/decimal"
	"golang.org/x/sync/errgroup"

	"github.com/quickpass/quickpass/internal/postgres"
)

const (
	project     = 1
	users       = 10_000
	products    = 1_000
	coins       = 1_000_000_000 // of each user
	pieces      = 1_000_000_000 // of each product
	apiKey      = "bench-storefront-key"
	hangPrefix  = "hang-" // a tenth of the users; the main product can be told to hang for them
	otherPrefix = "user-"
)

// creditAmount is what every product of the seed credits.
var creditAmount = decimal.NewFromInt(100)

// userID names the n-th user, from 0.
func userID(n int) string {
	if n%10 == 0 {
		return fmt.Sprintf("%s%05d", hangPrefix, n)
	}
	return fmt.Sprintf("%s%05d", otherPrefix, n)
}

func sku(n int) string { return fmt.Sprintf("credits-%04d", n) }

func anyUser() string { return userID(rand.IntN(users)) }
func anySKU() string  { return sku(rand.IntN(products)) }

// seed fills the databases by the functions that the product itself uses.
func (st *stack) seed(ctx context.Context) error {
	return st.openDatabases(ctx, func(db *postgres.DB) error {
		now := time.Now()
		hash := sha256.Sum256([]byte(apiKey))
		key := postgres.APIKey{KeyID: "key_bench", ProjectID: project, Role: "storefront"}
		if err := db.PutAPIKey(ctx, key, hash[:], now); err != nil {
			return err
		}
		if err := seedTasks(ctx, db, now); err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(poolSize)
		for n := range products {
			group.Go(func() error { return seedProduct(ctx, db, n, now) })
		}
		for n := range users {
			group.Go(func() error { return seedUser(ctx, db, n, now) })
		}
		return group.Wait()
	})
}

func seedProduct(ctx context.Context, db *postgres.DB, n int, now time.Time) error {
	_, _, err := db.AddProduct(ctx, postgres.NewProduct{ProjectID: project, Actor: "bench", Product: benchProduct(sku(n))}, now)
	return err
}

func seedUser(ctx context.Context, db *postgres.DB, n int, now time.Time) error {
	if _, _, err := db.PutUser(ctx, project, userID(n), postgres.UserEdit{}, now); err != nil {
		return err
	}
	_, err := db.AdjustWallet(ctx, postgres.Adjustment{ProjectID: project, AdjustmentID: "bench_" + userID(n), UserID: userID(n),
		Amount: coins, Reason: "bench", Actor: "bench"}, now)
	return err
}

// verify holds the invariants of `quickpass verify` against both databases: a benchmark of wrong results would
// be worth nothing.
func (st *stack) verify(ctx context.Context) error {
	var broken []error
	for name, db := range map[string]*postgres.DB{"served": st.served, "plain": st.plain} {
		checks, err := db.Verify(ctx, postgres.VerifyOptions{}, time.Now())
		if err != nil {
			return err
		}
		for _, check := range checks {
			if len(check.Broken) > 0 {
				broken = append(broken, fmt.Errorf("%s database: it does not hold that %s: %v", name, check.Rule, check.Broken))
			}
		}
	}
	return errors.Join(broken...)
}
