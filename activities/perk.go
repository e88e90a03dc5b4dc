package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Perk holds the database step of a perk's end.
type Perk struct{ DB *postgres.DB }

// EndPerk tells the user that it has ended, once; or says until when it goes on.
func (a *Perk) EndPerk(ctx context.Context, in contract.PerkInput) (contract.PerkEnd, error) {
	until, err := a.DB.EndPerk(ctx, in.OrderID, time.Now())
	return contract.PerkEnd{Until: until}, classify(err)
}
