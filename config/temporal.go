package config

import (
	"net"

	"github.com/spf13/viper"
)

// Temporal is the engine. TLS and API keys come from the SDK's own environment configuration (TEMPORAL_*).
type Temporal struct {
	Address   string `mapstructure:"address"`   // QUICKPASS_TEMPORAL_ADDRESS
	Namespace string `mapstructure:"namespace"` // QUICKPASS_TEMPORAL_NAMESPACE
	Compress  bool   `mapstructure:"compress"`  // gzip on the wire; off saves CPU on a local link
}

func (*Temporal) defaults(v *viper.Viper) {
	v.SetDefault("temporal.address", "127.0.0.1:7233")
	v.SetDefault("temporal.namespace", "default")
	v.SetDefault("temporal.compress", false)
}

func (t *Temporal) validate() []error {
	var m mistakes
	_, port, err := net.SplitHostPort(t.Address)
	m.check(err == nil && port != "", "QUICKPASS_TEMPORAL_ADDRESS", "host:port, such as 127.0.0.1:7233")
	m.check(t.Namespace != "", "QUICKPASS_TEMPORAL_NAMESPACE", "the name of a namespace")
	return m
}
