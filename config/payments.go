package config

import (
	"slices"

	"github.com/spf13/viper"
)

// Payments are told of by outside systems that charge users (seed 002).
type Payments struct {
	WebhookSecrets []string `mapstructure:"webhook_secrets"` // whsec_ and base64; several while they are changed; none: no notifications are taken
}

func (*Payments) defaults(v *viper.Viper) { v.SetDefault("payments.webhook_secrets", []string{}) }

func (p *Payments) validate() []error {
	var m mistakes
	m.check(!slices.ContainsFunc(p.WebhookSecrets, wrongSecret), "QUICKPASS_PAYMENTS_WEBHOOK_SECRETS",
		"a list of secrets, separated by commas, each whsec_ and the base64 of 24 to 64 bytes")
	return m
}
