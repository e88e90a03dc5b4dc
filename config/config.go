// Package config reads QuickPass's settings: defaults, then the file quickpass.yaml, then environment
// variables QUICKPASS_<SECTION>_<NAME>. Every mistake is listed at once.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// Config holds every setting, a section per file of this package.
type Config struct {
	HTTP        HTTP        `mapstructure:"http"`
	Ops         Ops         `mapstructure:"ops"`
	Database    Database    `mapstructure:"database"`
	Temporal    Temporal    `mapstructure:"temporal"`
	MainProduct MainProduct `mapstructure:"main_product"`
	Worker      Worker      `mapstructure:"worker"`
	Outbox      Outbox      `mapstructure:"outbox"`
	Store       Store       `mapstructure:"store"`
	Events      Events      `mapstructure:"events"`
	Kafka       Kafka       `mapstructure:"kafka"`
	AMQP        AMQP        `mapstructure:"amqp"`
	Payments    Payments    `mapstructure:"payments"`
	Webhooks    Webhooks    `mapstructure:"webhooks"`
	Log         Log         `mapstructure:"log"`
	Dev         Dev         `mapstructure:"dev"`
}

// section is one part of the configuration: its defaults and its rules.
type section interface {
	defaults(v *viper.Viper)
	validate() []error
}

func (c *Config) sections() []section {
	return []section{&c.HTTP, &c.Ops, &c.Database, &c.Temporal, &c.MainProduct, &c.Worker, &c.Outbox, &c.Store, &c.Events, &c.Kafka, &c.AMQP, &c.Payments, &c.Webhooks, &c.Log, &c.Dev}
}

// Load reads the settings. file may be empty: then quickpass.yaml in the working directory is read if
// it exists. The error names every wrong setting, those that the given checks find among them.
func Load(file string, checks ...func(Config) error) (Config, error) {
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
	undecoded := wrongTypes(v.UnmarshalExact(&c, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(
		mapstructure.DecodeHookFuncType(durationWithUnit), mapstructure.StringToSliceHookFunc(",")))))
	all := undecoded
	for _, s := range c.sections() {
		all = append(all, s.validate()...)
	}
	for _, check := range checks {
		all = append(all, unjoin(check(c))...)
	}
	return c, errors.Join(withoutEchoes(all, undecoded)...)
}

// durationWithUnit reads durations: a bare number would be nanoseconds, which nobody means.
func durationWithUnit(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, errors.New("a duration needs a unit, such as 10s")
	}
	return time.ParseDuration(text)
}

// wrongTypes names settings that could not be read by their environment variables.
func wrongTypes(err error) []error {
	var all []error
	for _, one := range unjoin(err) {
		var undecoded *mapstructure.DecodeError
		if errors.As(one, &undecoded) {
			variable := "QUICKPASS_" + strings.ToUpper(strings.ReplaceAll(undecoded.Name(), ".", "_"))
			one = fmt.Errorf("%s must be of another type (%s in a file): %w", variable, undecoded.Name(), undecoded.Unwrap())
		}
		all = append(all, one)
	}
	return all
}

// withoutEchoes drops what the rules say of a setting that could not be read in the first place.
func withoutEchoes(all, undecoded []error) []error {
	var kept []error
	for i, one := range all {
		name, _, _ := strings.Cut(one.Error(), " ")
		if i < len(undecoded) || !slices.ContainsFunc(undecoded, func(e error) bool { return strings.HasPrefix(e.Error(), name+" ") }) {
			kept = append(kept, one)
		}
	}
	return kept
}

// unjoin lists the errors that were joined into one.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, unjoin(one)...)
		}
		return all
	}
	if _, ok := errors.Unwrap(err).(interface{ Unwrap() []error }); ok {
		return unjoin(errors.Unwrap(err))
	}
	return []error{err}
}

// readFile reads the given file, or quickpass.yaml if there is one: by its whole name, because viper would also
// take a program called quickpass for it.
func readFile(v *viper.Viper, file string) error {
	if file == "" {
		file = defaultFile
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return fmt.Errorf("settings file: %w", err)
	}
	return nil
}

const defaultFile = "quickpass.yaml"

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
