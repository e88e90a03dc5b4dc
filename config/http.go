package config

import (
	"net"
	"net/url"
	"slices"
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
	// CORSOrigins are those of pages that may make the calls of /api/v2 in a browser; "*" are all.
	CORSOrigins []string `mapstructure:"cors_origins"`
	// RatePerKey bounds the requests a second of one API key, over all processes; 0 is no limit.
	RatePerKey int `mapstructure:"rate_per_key"`
	// RatePerUser bounds the purchases a minute that are tried for one user, over all processes; 0 is no limit.
	RatePerUser int `mapstructure:"rate_per_user"`
	// MaxInFlight requests are worked on at the same time by this process; more get 503.
	MaxInFlight int `mapstructure:"max_in_flight"`
	// MaxWaiting requests wait for an order at the same time: `Prefer: wait`, and streams.
	MaxWaiting int `mapstructure:"max_waiting"`
	// DatabaseWait is how long a request waits for a connection to the database before it gets 503.
	DatabaseWait time.Duration `mapstructure:"database_wait"`
}

func (*HTTP) defaults(v *viper.Viper) {
	v.SetDefault("http.address", "127.0.0.1:8080")
	v.SetDefault("http.drain_delay", "0s")
	v.SetDefault("http.drain_timeout", "40s")
	v.SetDefault("http.pprof_address", "")
	v.SetDefault("http.cors_origins", []string{"*"})
	v.SetDefault("http.rate_per_key", 0)
	v.SetDefault("http.rate_per_user", 0)
	v.SetDefault("http.max_in_flight", 1000)
	v.SetDefault("http.max_waiting", 1000)
	v.SetDefault("http.database_wait", "2s")
}

func (h *HTTP) validate() []error {
	var m mistakes
	_, port, err := net.SplitHostPort(h.Address)
	m.check(err == nil && port != "", "QUICKPASS_HTTP_ADDRESS", "host:port, such as 127.0.0.1:8080")
	m.check(h.DrainDelay >= 0 && h.DrainDelay < h.DrainTimeout, "QUICKPASS_HTTP_DRAIN_DELAY", "shorter than QUICKPASS_HTTP_DRAIN_TIMEOUT")
	_, port, err = net.SplitHostPort(h.PprofAddress)
	m.check(h.PprofAddress == "" || (err == nil && port != ""), "QUICKPASS_HTTP_PPROF_ADDRESS", "host:port, such as 127.0.0.1:6060")
	m.check(!slices.ContainsFunc(h.CORSOrigins, isNoOrigin), "QUICKPASS_HTTP_CORS_ORIGINS", "a list of origins, separated by commas, such as https://shop.example, or *")
	m.positive(h.DrainTimeout, "QUICKPASS_HTTP_DRAIN_TIMEOUT")
	m.between(h.RatePerKey, 0, 1_000_000, "QUICKPASS_HTTP_RATE_PER_KEY")
	m.between(h.RatePerUser, 0, 1_000_000, "QUICKPASS_HTTP_RATE_PER_USER")
	m.between(h.MaxInFlight, 1, 1_000_000, "QUICKPASS_HTTP_MAX_IN_FLIGHT")
	m.between(h.MaxWaiting, 1, 1_000_000, "QUICKPASS_HTTP_MAX_WAITING")
	m.positive(h.DatabaseWait, "QUICKPASS_HTTP_DATABASE_WAIT")
	return m
}

// isNoOrigin is true of what no browser sends as the origin of a page: a scheme and a host are all of it.
func isNoOrigin(origin string) bool {
	parsed, err := url.Parse(origin)
	return origin != "*" && (err != nil || parsed.Host == "" || origin != parsed.Scheme+"://"+parsed.Host)
}
