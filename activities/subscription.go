package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Subscription holds the database step of a subscription.
type Subscription struct{ DB *postgres.DB }

// SettleSubscription reminds the user or tells of the end, each once for an expiry, and says when to look again.
func (a *Subscription) SettleSubscription(ctx context.Context, in contract.SubscriptionInput) (contract.SettledSubscription, error) {
	settled, err := a.DB.SettleSubscription(ctx, in, time.Now())
	return settled, classify(err)
}
