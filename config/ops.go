package config

import (
	"net"

	"github.com/spf13/viper"
)

// Ops is what only operators reach.
type Ops struct {
	// Address serves /healthz, /readyz and /metrics of any process, also of one without the API; none if empty.
	Address string `mapstructure:"address"` // QUICKPASS_OPS_ADDRESS
}

func (*Ops) defaults(v *viper.Viper) { v.SetDefault("ops.address", "") }

func (o *Ops) validate() []error {
	var m mistakes
	_, port, err := net.SplitHostPort(o.Address)
	m.check(o.Address == "" || (err == nil && port != ""), "QUICKPASS_OPS_ADDRESS", "host:port, such as 127.0.0.1:8081")
	return m
}
