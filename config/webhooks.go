package config

import (
	"strings"

	"github.com/spf13/viper"

	"github.com/quickpass/quickpass/internal/webhook"
)

// Webhooks are what projects' own servers are told of their orders.
type Webhooks struct {
	AllowPrivate  bool     `mapstructure:"allow_private"`  // also http, and addresses of this machine and of private networks, for listeners and for issuers of tokens; `dev` allows them
	RetrySchedule []string `mapstructure:"retry_schedule"` // steps such as 2x5m: two more tries, each after five minutes
	Slots         int      `mapstructure:"slots"`          // listeners that a worker calls at the same time
}

func (*Webhooks) defaults(v *viper.Viper) {
	v.SetDefault("webhooks.allow_private", false)
	v.SetDefault("webhooks.retry_schedule", strings.Split(webhook.DefaultSchedule, ","))
	v.SetDefault("webhooks.slots", 200)
}

func (w *Webhooks) validate() []error {
	var m mistakes
	_, err := webhook.ParseSchedule(w.RetrySchedule)
	m.check(err == nil, "QUICKPASS_WEBHOOKS_RETRY_SCHEDULE", "a list of steps, separated by commas, such as "+webhook.DefaultSchedule+": two more tries after 5 minutes each, and so on; at most 100")
	m.between(w.Slots, 1, 10_000, "QUICKPASS_WEBHOOKS_SLOTS")
	return m
}

// Schedule is the retry schedule, which has been validated.
func (w *Webhooks) Schedule() (webhook.Schedule, error) {
	return webhook.ParseSchedule(w.RetrySchedule)
}
