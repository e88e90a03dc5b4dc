package config

import (
	"log/slog"

	"github.com/spf13/viper"
)

// Log says how much is logged and in which form.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn, error
	Format string `mapstructure:"format"` // json, text
}

func (*Log) defaults(v *viper.Viper) {
	v.SetDefault("log.level", "info")
	v.SetDefault("log.format", "json")
}

func (l *Log) validate() []error {
	var m mistakes
	var level slog.Level
	m.check(level.UnmarshalText([]byte(l.Level)) == nil, "QUICKPASS_LOG_LEVEL", "debug, info, warn or error")
	m.check(l.Format == "json" || l.Format == "text", "QUICKPASS_LOG_FORMAT", "json or text")
	return m
}
