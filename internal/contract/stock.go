package contract

import "time"

// Names of the automatic replenishment of stock.
const (
	ReplenishmentWorkflow = "Replenishment"
	ReplenishActivity     = "Replenish"
	StockAlertsActivity   = "RaiseStockAlerts"
)

// ReplenishmentSchedule is the id of the schedule, of its workflows, and the actor in the history of stock.
const ReplenishmentSchedule = "schedule/replenishment"

// ReplenishmentInterval between two looks at the stock of all products.
const ReplenishmentInterval = time.Minute

// ReplenishmentReport says what one look at the stock did.
type ReplenishmentReport struct {
	Replenished    int `json:"replenished"` // products
	AlertsOpened   int `json:"alerts_opened"`
	AlertsResolved int `json:"alerts_resolved"`
}
