package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Stock holds the steps of the automatic replenishment.
type Stock struct {
	DB *postgres.DB
}

// Replenish restocks what is at or below its minimum and returns how many products that were. A retry finds those
// restocked that the first try reached.
func (a *Stock) Replenish(ctx context.Context) (int, error) {
	restocked, err := a.DB.Replenish(ctx, contract.ReplenishmentSchedule, time.Now())
	for _, one := range restocked {
		logger(ctx).Info("restocked", "project_id", one.ProjectID, "sku", one.SKU, "before", one.Before, "after", one.After)
	}
	if err != nil {
		return 0, classify(err)
	}
	return len(restocked), nil
}

// RaiseAlerts opens and resolves the alerts about stock.
func (a *Stock) RaiseAlerts(ctx context.Context) (contract.ReplenishmentReport, error) {
	opened, resolved, err := a.DB.RaiseStockAlerts(ctx, time.Now())
	if err != nil {
		return contract.ReplenishmentReport{}, classify(err)
	}
	return contract.ReplenishmentReport{AlertsOpened: opened, AlertsResolved: resolved}, nil
}
