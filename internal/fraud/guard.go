// Package fraud applies the rules that act on accounts by themselves, apart from any purchase.
package fraud

import (
	"context"
	"log/slog"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// checkTimeout bounds one look at the orders of a day.
const checkTimeout = 30 * time.Second

// Guard blocks accounts by rule (seed 000, "Suspicious account blocking"). It looks at what was bought, away from
// the path of purchases; several processes may do so at once.
type Guard struct {
	DB     *postgres.DB
	Policy store.Policy
	Logger *slog.Logger
	Every  time.Duration // between two looks
}

// Run looks every so often until the context ends.
func (g Guard) Run(ctx context.Context) {
	if g.Policy.RiskyOrders <= 0 {
		return
	}
	tick := time.NewTicker(g.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.check(ctx, time.Now())
		case <-ctx.Done():
			return
		}
	}
}

func (g Guard) check(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	blocked, err := g.DB.BlockRisky(ctx, g.Policy, now)
	for _, userID := range blocked {
		g.Logger.Warn("an account was blocked by rule", "user_id", userID)
	}
	if err != nil && ctx.Err() == nil {
		g.Logger.Warn("risky orders were not looked at, the next look will", "error", err)
	}
}
