package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Check is the result of one rule of `quickpass verify`.
type Check struct {
	Rule   string
	Broken []string // rows that break it, at most 20; empty when it holds
}

// VerifyOptions bound what counts as too late.
type VerifyOptions struct {
	// Grace is added to an order's own bound (its tries and pauses), for outages of ours.
	Grace time.Duration
}

// Verify checks every invariant on one snapshot of the database, without locks.
func (db *DB) Verify(ctx context.Context, o VerifyOptions, now time.Time) ([]Check, error) {
	var checks []Check
	err := pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// Compiling takes longer than it saves: the planner thinks that JSON arrays unfold to a hundred times
		// what they do.
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '10min'; SET LOCAL jit = off"); err != nil {
			return err
		}
		q := db.q.WithTx(tx)
		for _, rule := range []struct {
			name string
			rows func(context.Context) ([]string, error)
		}{
			{"wallets equal their transfers", q.VerifyTransfersBalanceWallets},
			{"held coins equal open orders", q.VerifyHeldEqualsOpenOrders},
			{"stock = initial + restocked - sold - reserved, as ordered", q.VerifyStockEqualsOrders},
			{"restocked equals the changes of stock", q.VerifyRestockedEqualsChanges},
			{"every order moved its coins once", q.VerifyOrdersMovedTheirCoins},
			{"every transfer belongs to an order or an adjustment", q.VerifyTransfersHaveOrders},
			{"every order is for a product", q.VerifyOrdersHaveProducts},
			{"every order ends within its bound", func(ctx context.Context) ([]string, error) {
				return q.VerifyOrdersEndInTime(ctx, now.Add(-o.Grace))
			}},
			{"every outcome was told once", q.VerifyOutcomesWereTold},
			{"refunds sum to what their orders say", q.VerifyRefundsSumUp},
			{"the audit log is one chain", q.VerifyAuditChain},
			{"bulk replays agree with the ledger", q.VerifyReplaysAgreeWithLedger},
			{"bulk replays report all their orders", q.VerifyReplaysReportTheirItems},
			{"every order of something for a time gave it once", q.VerifyPerksEqualOrders},
			{"users have what their orders gave, as long", q.VerifyEntitlementsEqualPerks},
			{"progress of tasks is what the events added", q.VerifyProgressEqualsEvents},
			{"every stored event has its key and is there once", q.VerifyEventsHaveKeys},
			{"every completed window was rewarded once, as promised", q.VerifyRewardsEqualCompletions},
			{"windows are settled when nothing of their reward is pending", q.VerifySettledMeansNothingPending},
			{"rewards moved their coins once", q.VerifyRewardsMovedTheirCoins},
			{"budgets of tasks equal what was paid", q.VerifyBudgetsEqualRewards},
			{"every window that is over is settled in time", func(ctx context.Context) ([]string, error) {
				return q.VerifyWindowsAreSettledInTime(ctx, now.Add(-o.Grace))
			}},
			{"sales of items are what the orders hold", q.VerifySalesEqualCheckouts},
			{"users' limits are used as the orders say", q.VerifyUsagesEqualCheckouts},
			{"every order that was delivered was paid once", q.VerifyCheckoutsArePaidOnce},
			{"refunds of orders sum up, to no more than was paid", q.VerifyCheckoutRefundsSumUp},
			{"money that was not kept goes back, once", q.VerifyReturnsAreOwed},
			{"every order that is done gave each line once", q.VerifyCheckoutsGaveTheirLines},
			{"what refunds of orders pay back was taken back", q.VerifyCheckoutsTookBackTheirLines},
			{"game keys belong to orders that may have them", q.VerifyGameKeysBelong},
			{"every order is delivered or expires in time", func(ctx context.Context) ([]string, error) {
				return q.VerifyCheckoutsEndInTime(ctx, now.Add(-o.Grace))
			}},
			{"every order that is done was delivered by the main product", q.VerifyCheckoutDeliveriesAreSettled},
			{"deliveries by the main product end in time", func(ctx context.Context) ([]string, error) {
				return q.VerifyCheckoutDeliveriesEndInTime(ctx, now.Add(-o.Grace))
			}},
			{"a transaction of the main product completes one thing", q.VerifyTransactionsAreOnce},
			{"what users own is what its entries sum to", q.VerifyHoldingsEqualEntries},
			{"subscriptions are what their ledgers add up to", q.VerifySubscriptionsEqualEntries},
			{"ends of subscriptions are told in time, once", func(ctx context.Context) ([]string, error) {
				return q.VerifySubscriptionEndsWereTold(ctx, now.Add(-o.Grace))
			}},
			{"webhooks tell of what their orders have been, in sequence", q.VerifyWebhooksFollowOrders},
			{"webhooks count as answered only if they were", q.VerifyWebhooksWereAnswered},
			{"webhooks are tried when they are due", func(ctx context.Context) ([]string, error) {
				return q.VerifyWebhooksAreTriedInTime(ctx, now.Add(-o.Grace))
			}},
		} {
			broken, err := rule.rows(ctx)
			if err != nil {
				return fmt.Errorf("verify that %s: %w", rule.name, err)
			}
			checks = append(checks, Check{Rule: rule.name, Broken: broken})
		}
		return nil
	})
	return checks, err
}
