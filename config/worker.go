package config

import "github.com/spf13/viper"

// Worker sizes the part that runs workflows. The defaults are for up to 200 purchases a second with a
// main product that hangs for 30 s (docs/decisions.md, "Slots").
type Worker struct {
	WorkflowSlots int `mapstructure:"workflow_slots"` // first deliveries that wait at the same time
	DeliverySlots int `mapstructure:"delivery_slots"` // later deliveries that wait at the same time
	QuietSlots    int `mapstructure:"quiet_slots"`    // ends of windows, and of subscriptions, that are dealt with at the same time
	CachedRuns    int `mapstructure:"cached_runs"`    // workflows kept in memory between their tasks
}

func (*Worker) defaults(v *viper.Viper) {
	v.SetDefault("worker.workflow_slots", 2000)
	v.SetDefault("worker.delivery_slots", 4000)
	v.SetDefault("worker.quiet_slots", 8)
	v.SetDefault("worker.cached_runs", 4000)
}

func (w *Worker) validate() []error {
	var m mistakes
	m.between(w.WorkflowSlots, 2, 100_000, "QUICKPASS_WORKER_WORKFLOW_SLOTS")
	m.between(w.DeliverySlots, 2, 100_000, "QUICKPASS_WORKER_DELIVERY_SLOTS")
	m.between(w.QuietSlots, 2, 100_000, "QUICKPASS_WORKER_QUIET_SLOTS")
	m.between(w.CachedRuns, 0, 1_000_000, "QUICKPASS_WORKER_CACHED_RUNS")
	return m
}
