package config

import (
	"net"
	"time"

	"github.com/spf13/viper"
)

// HTTP is the API's listener.
type HTTP struct {
	Address string `mapstructure:"address"` // QUICKPASS_HTTP_ADDRESS
	// DrainDelay is how long /readyz fails before the listener closes, for balancers to notice.
	DrainDelay time.Duration `mapstructure:"drain_delay"`
	// DrainTimeout bounds the whole stop: requests, workflow steps and calls in flight.
	DrainTimeout time.Duration `mapstructure:"drain_timeout"`
	PprofAddress string        `mapstructure:"pprof_address"` // Go's profiles, for operators; none if empty
}

func (*HTTP) defaults(v *viper.Viper) {
	v.SetDefault("http.address", "127.0.0.1:8080")
	v.SetDefault("http.drain_delay", "0s")
	v.SetDefault("http.drain_timeout", "40s")
	v.SetDefault("http.pprof_address", "")
}

func (h *HTTP) validate() []error {
	var m mistakes
	_, port, err := net.SplitHostPort(h.Address)
	m.check(err == nil && port != "", "QUICKPASS_HTTP_ADDRESS", "host:port, such as 127.0.0.1:8080")
	m.check(h.DrainDelay >= 0 && h.DrainDelay < h.DrainTimeout, "QUICKPASS_HTTP_DRAIN_DELAY", "shorter than QUICKPASS_HTTP_DRAIN_TIMEOUT")
	_, port, err = net.SplitHostPort(h.PprofAddress)
	m.check(h.PprofAddress == "" || (err == nil && port != ""), "QUICKPASS_HTTP_PPROF_ADDRESS", "host:port, such as 127.0.0.1:6060")
	m.positive(h.DrainTimeout, "QUICKPASS_HTTP_DRAIN_TIMEOUT")
	return m
}
