package config

import "github.com/spf13/viper"

// Outbox sizes the way from a reserved order to its workflow.
type Outbox struct {
	Workers int `mapstructure:"workers"` // orders started at the same time
	Queue   int `mapstructure:"queue"`   // orders that wait in memory; more wait in PostgreSQL
	Backlog int `mapstructure:"backlog"` // orders that may wait to be started; beyond it the API answers 503
	Open    int `mapstructure:"open"`    // orders that may be open in all; likewise
}

func (*Outbox) defaults(v *viper.Viper) {
	v.SetDefault("outbox.workers", 16)
	v.SetDefault("outbox.queue", 1024)
	v.SetDefault("outbox.backlog", 10_000)
	v.SetDefault("outbox.open", 20_000)
}

func (o *Outbox) validate() []error {
	var m mistakes
	m.between(o.Workers, 1, 1000, "QUICKPASS_OUTBOX_WORKERS")
	m.between(o.Queue, 1, 1_000_000, "QUICKPASS_OUTBOX_QUEUE")
	m.between(o.Backlog, 1, 10_000_000, "QUICKPASS_OUTBOX_BACKLOG")
	m.between(o.Open, 1, 10_000_000, "QUICKPASS_OUTBOX_OPEN")
	return m
}
