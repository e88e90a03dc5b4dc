package activities

import (
	"context"
	"errors"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// Replay holds the steps of a bulk replay. What a replay may do is decided by its row, each time anew.
type Replay struct {
	DB *postgres.DB
}

// ReplayOrders writes down how earlier orders ended, then gives those of the batch their turn, one transaction each.
// The workflows of the orders are started by the sweep, as for every order that is open and not started.
func (a *Replay) ReplayOrders(ctx context.Context, in contract.ReplayBatch) (contract.ReplayStanding, error) {
	status, err := a.DB.SeeReplay(ctx, in.ReplayID, time.Now())
	if err != nil {
		return contract.ReplayStanding{}, classify(err)
	}
	if err := a.DB.SettleReplay(ctx, in.ReplayID); err != nil {
		return contract.ReplayStanding{}, classify(err)
	}
	if status == store.ReplayRunning && in.First < in.Past {
		orders, err := a.DB.WaitingItems(ctx, in)
		if err != nil {
			return contract.ReplayStanding{}, classify(err)
		}
		for _, order := range orders {
			if err := a.DB.ReplayItem(ctx, in.ReplayID, order, time.Now()); err != nil {
				return contract.ReplayStanding{}, classify(err)
			}
		}
	}
	standing, err := a.DB.StandingOfReplay(ctx, in.ReplayID, status)
	return standing, classify(err)
}

// FinishReplay writes the report, if the replay is over.
func (a *Replay) FinishReplay(ctx context.Context, in contract.ReplayRef) (contract.ReplayResult, error) {
	result, err := a.DB.FinishReplay(ctx, in, time.Now())
	return result, classify(err)
}

// CancelReplay cancels a replay whose workflow was canceled in Temporal. One that is over stays so.
func (a *Replay) CancelReplay(ctx context.Context, in contract.ReplayRef) error {
	err := a.DB.ChangeReplay(ctx, postgres.ReplayChange{ProjectID: in.ProjectID, ReplayID: in.ReplayID, Command: store.CancelReplay,
		Actor: "temporal", Reason: "the workflow was canceled by an operator"}, time.Now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil
	}
	return classify(err)
}
