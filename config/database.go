package config

import (
	"net/url"
	"time"

	"github.com/spf13/viper"
)

// Database is QuickPass's PostgreSQL.
type Database struct {
	URL              string        `mapstructure:"url"`               // QUICKPASS_DATABASE_URL; `dev` starts its own when empty
	MaxConnections   int           `mapstructure:"max_connections"`   // of this process
	StatementTimeout time.Duration `mapstructure:"statement_timeout"` // bounds every statement
}

func (*Database) defaults(v *viper.Viper) {
	v.SetDefault("database.url", "")
	v.SetDefault("database.max_connections", 16)
	v.SetDefault("database.statement_timeout", "10s")
}

func (d *Database) validate() []error {
	var m mistakes
	parsed, err := url.Parse(d.URL)
	m.check(d.URL == "" || (err == nil && (parsed.Scheme == "postgres" || parsed.Scheme == "postgresql")),
		"QUICKPASS_DATABASE_URL", "like postgres://user:password@host:5432/database")
	m.between(d.MaxConnections, 2, 1000, "QUICKPASS_DATABASE_MAX_CONNECTIONS")
	m.positive(d.StatementTimeout, "QUICKPASS_DATABASE_STATEMENT_TIMEOUT")
	return m
}
