package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/quickpass/quickpass/internal/contract"
)

// Replenishment restocks what is low and then tells admins what still is (seed 000, "Auto Replenishment", "Admin
// notifications about need for restocking"). A schedule runs it every minute. One product that can't be
// restocked keeps neither the others from it nor the admins from their alerts; it fails the workflow at the end.
func Replenishment(ctx workflow.Context) (contract.ReplenishmentReport, error) {
	replenished, replenishErr := replenish(ctx)
	report, alertsErr := raiseStockAlerts(ctx)
	report.Replenished = replenished
	return report, errors.Join(replenishErr, alertsErr)
}
