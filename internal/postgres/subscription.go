package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// SettleSubscription tells the user what is due, once for each expiry, and says when to look again. What the
// user is entitled to does not depend on it. Repeating it changes nothing. It fails with ErrNotFound.
func (db *DB) SettleSubscription(ctx context.Context, in contract.SubscriptionInput, now time.Time) (settled contract.SettledSubscription, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.LockSubscription(ctx, sqlc.LockSubscriptionParams{ProjectID: in.ProjectID, UserID: in.UserID, Sku: in.SKU})
		if err != nil {
			return notFound(err)
		}
		notice := noticeOf(row, now)
		settled = contract.SettledSubscription{Status: subscriptionOf(row.Subscription).Status(now), Until: notice.Until}
		switch {
		case notice.Remind:
			return remind(ctx, q, row, now)
		case notice.End:
			return tellEnd(ctx, q, row, now)
		default:
			return nil
		}
	})
	if err != nil {
		return contract.SettledSubscription{}, fmt.Errorf("settle subscription %s: %w", contract.SubscriptionWorkflowID(in), err)
	}
	return settled, nil
}

// SettleOverdueSubscriptions tells users of ends that were so long ago, up to a limit in one transaction, and
// counts them. It does what their workflows would do, for when too many end at once or the workflows' server
// is away.
func (db *DB) SettleOverdueSubscriptions(ctx context.Context, overdue time.Duration, limit int, now time.Time) (told int, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		told = 0
		rows, err := q.LockOverdueSubscriptions(ctx, sqlc.LockOverdueSubscriptionsParams{
			Overdue:          now.Add(-overdue),
			MaxSubscriptions: int32(limit),
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !noticeOf(sqlc.LockSubscriptionRow(row), now).End {
				continue // extended while we waited
			}
			if err := tellEnd(ctx, q, sqlc.LockSubscriptionRow(row), now); err != nil {
				return fmt.Errorf("%s of %s: %w", row.Subscription.Sku, row.Subscription.UserID, err)
			}
			told++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("settle overdue subscriptions: %w", err)
	}
	return told, nil
}

func noticeOf(row sqlc.LockSubscriptionRow, now time.Time) subscriptions.Notice {
	told := subscriptions.Told{Reminded: row.Subscription.RemindedAt, Ended: row.Subscription.EndedAt}
	return subscriptionOf(row.Subscription).Notice(time.Duration(row.ReminderSeconds)*time.Second, told, now)
}

func remind(ctx context.Context, q *sqlc.Queries, row sqlc.LockSubscriptionRow, now time.Time) error {
	s := row.Subscription
	if err := q.RememberReminder(ctx, sqlc.RememberReminderParams{ProjectID: s.ProjectID, UserID: s.UserID, Sku: s.Sku}); err != nil {
		return err
	}
	return tellOfSubscription(ctx, q, row, "subscription_ending", now)
}

func tellEnd(ctx context.Context, q *sqlc.Queries, row sqlc.LockSubscriptionRow, now time.Time) error {
	s := row.Subscription
	if err := q.RememberEnd(ctx, sqlc.RememberEndParams{ProjectID: s.ProjectID, UserID: s.UserID, Sku: s.Sku}); err != nil {
		return err
	}
	return tellOfSubscription(ctx, q, row, "subscription_expired", now)
}

func tellOfSubscription(ctx context.Context, q *sqlc.Queries, row sqlc.LockSubscriptionRow, kind string, now time.Time) error {
	s := row.Subscription
	var name catalog.Text
	if row.Name != nil {
		if err := json.Unmarshal(row.Name, &name); err != nil {
			return fmt.Errorf("name of %s: %w", s.Sku, err)
		}
	}
	detail, err := json.Marshal(map[string]any{
		"sku":        s.Sku,
		"name":       name.In(row.DefaultLocale, row.DefaultLocale),
		"expires_at": s.ExpiresAt.UTC(),
	})
	if err != nil {
		return err
	}
	return q.InsertNotification(ctx, sqlc.InsertNotificationParams{
		ProjectID: s.ProjectID,
		UserID:    s.UserID,
		Kind:      kind,
		Detail:    detail,
		Now:       now,
	})
}

// SubscriptionChange is a subscription of which its workflow is to know.
type SubscriptionChange struct {
	Input contract.SubscriptionInput
	// Until is when to look at it first; nil: at once.
	Until   *time.Time
	Changes int // so many there have been
}

// LeaseSubscriptions hands out subscriptions whose workflow may not know of their latest change, and those of
// whose end nobody has told by so long after it. A lease, not a claim: what MarkSubscriptionsTold does not
// confirm is found again.
func (db *DB) LeaseSubscriptions(ctx context.Context, lease, overdue time.Duration, limit int, now time.Time) ([]SubscriptionChange, error) {
	rows, err := db.q.LeaseSubscriptions(ctx, sqlc.LeaseSubscriptionsParams{
		Now:              now,
		LeaseUntil:       now.Add(lease),
		Overdue:          now.Add(-overdue),
		MaxSubscriptions: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("lease subscriptions: %w", err)
	}
	changes := make([]SubscriptionChange, len(rows))
	for i, row := range rows {
		s := subscriptions.Subscription{StartedAt: row.StartedAt, ExpiresAt: row.ExpiresAt}
		changes[i] = SubscriptionChange{
			Input:   contract.SubscriptionInput{ProjectID: row.ProjectID, UserID: row.UserID, SKU: row.Sku},
			Changes: int(row.Changes),
		}
		notice := s.Notice(time.Duration(row.ReminderSeconds)*time.Second, subscriptions.Told{
			Reminded: row.RemindedAt,
			Ended:    row.EndedAt,
		}, now)
		if !notice.Remind {
			changes[i].Until = notice.Until
		}
	}
	return changes, nil
}

// MarkSubscriptionsTold notes that the workflows of these subscriptions know of so many changes.
func (db *DB) MarkSubscriptionsTold(ctx context.Context, told []SubscriptionChange, now time.Time) error {
	params := sqlc.MarkSubscriptionsToldParams{Now: now}
	for _, s := range told {
		params.ProjectIds, params.UserIds = append(params.ProjectIds, s.Input.ProjectID), append(params.UserIds, s.Input.UserID)
		params.Skus, params.Changes = append(params.Skus, s.Input.SKU), append(params.Changes, int32(s.Changes))
	}
	if err := db.q.MarkSubscriptionsTold(ctx, params); err != nil {
		return fmt.Errorf("mark subscriptions: %w", err)
	}
	return nil
}
