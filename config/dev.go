package config

import "github.com/spf13/viper"

// Dev is what `quickpass dev` starts on this machine. Nothing else reads it.
type Dev struct {
	Dir             string `mapstructure:"dir"`               // QUICKPASS_DEV_DIR: state between runs
	PostgresPort    int    `mapstructure:"postgres_port"`     // QUICKPASS_DEV_POSTGRES_PORT
	TemporalPort    int    `mapstructure:"temporal_port"`     // QUICKPASS_DEV_TEMPORAL_PORT
	TemporalUIPort  int    `mapstructure:"temporal_ui_port"`  // QUICKPASS_DEV_TEMPORAL_UI_PORT
	MainProductPort int    `mapstructure:"main_product_port"` // QUICKPASS_DEV_MAIN_PRODUCT_PORT
}

func (*Dev) defaults(v *viper.Viper) {
	v.SetDefault("dev.dir", ".quickpass")
	v.SetDefault("dev.postgres_port", 5433)
	v.SetDefault("dev.temporal_port", 7233)
	v.SetDefault("dev.temporal_ui_port", 8233)
	v.SetDefault("dev.main_product_port", 8090)
}

func (d *Dev) validate() []error {
	var m mistakes
	m.check(d.Dir != "", "QUICKPASS_DEV_DIR", "the path of a folder")
	m.between(d.PostgresPort, 1, 65535, "QUICKPASS_DEV_POSTGRES_PORT")
	m.between(d.TemporalPort, 1, 65535, "QUICKPASS_DEV_TEMPORAL_PORT")
	m.between(d.TemporalUIPort, 1, 65535, "QUICKPASS_DEV_TEMPORAL_UI_PORT")
	m.between(d.MainProductPort, 1, 65535, "QUICKPASS_DEV_MAIN_PRODUCT_PORT")
	return m
}
