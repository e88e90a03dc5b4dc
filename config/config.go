// Package config reads QuickPass's settings: defaults, then the file quickpass.yaml, then environment
// variables QUICKPASS_<SECTION>_<NAME>. Every mistake is listed at once.
package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// Config holds every setting, a section per file of this package.
type Config struct {
	HTTP        HTTP        `mapstructure:"http"`
	Database    Database    `mapstructure:"database"`
	Temporal    Temporal    `mapstructure:"temporal"`
	MainProduct MainProduct `mapstructure:"main_product"`
	Worker      Worker      `mapstructure:"worker"`
	Outbox      Outbox      `mapstructure:"outbox"`
	Store       Store       `mapstructure:"store"`
	Log         Log         `mapstructure:"log"`
	Dev         Dev         `mapstructure:"dev"`
}

// section is one part of the configuration: its defaults and its rules.
type section interface {
	defaults(v *viper.Viper)
	validate() []error
}

func (c *Config) sections() []section {
	return []section{&c.HTTP, &c.Database, &c.Temporal, &c.MainProduct, &c.Worker, &c.Outbox, &c.Store, &c.Log, &c.Dev}
}

// Load reads the settings. file may be empty: then quickpass.yaml in the working directory is read if
// it exists. The error names every wrong setting.
func Load(file string) (Config, error) {
	var c Config
	v := viper.New()
	for _, s := range c.sections() {
		s.defaults(v) // viper sees an environment variable only for a key that it knows
	}
	v.SetEnvPrefix("QUICKPASS")
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	if err := readFile(v, file); err != nil {
		return Config{}, err
	}
	if err := v.UnmarshalExact(&c, viper.DecodeHook(mapstructure.StringToTimeDurationHookFunc())); err != nil {
		return Config{}, fmt.Errorf("settings: %w", err)
	}
	var mistakes []error
	for _, s := range c.sections() {
		mistakes = append(mistakes, s.validate()...)
	}
	return c, errors.Join(mistakes...)
}

func readFile(v *viper.Viper, file string) error {
	v.SetConfigName("quickpass")
	v.SetConfigType("yaml")
	v.AddConfigPath(".")
	if file != "" {
		v.SetConfigFile(file)
	}
	err := v.ReadInConfig()
	var missing viper.ConfigFileNotFoundError
	if errors.As(err, &missing) && file == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("settings file: %w", err)
	}
	return nil
}

// mistakes collects what is wrong with a section. The name is the environment variable.
type mistakes []error

func (m *mistakes) check(ok bool, name, must string) {
	if !ok {
		*m = append(*m, fmt.Errorf("%s must be %s", name, must))
	}
}

func (m *mistakes) positive(d time.Duration, name string) {
	m.check(d > 0, name, "a duration above zero, such as 30s")
}

func (m *mistakes) between(n, low, high int, name string) {
	m.check(n >= low && n <= high, name, fmt.Sprintf("from %d to %d", low, high))
}
