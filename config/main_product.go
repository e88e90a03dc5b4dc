package config

import (
	"net/url"
	"strings"

	"github.com/spf13/viper"
)

// MainProduct is the product whose credits are sold.
type MainProduct struct {
	URL         string `mapstructure:"url"`          // QUICKPASS_MAIN_PRODUCT_URL; `dev` starts a fake when empty
	APIKey      string `mapstructure:"api_key"`      // QUICKPASS_MAIN_PRODUCT_API_KEY
	InquiryPath string `mapstructure:"inquiry_path"` // with {order_id} in it; empty: the product can't be asked
	RewardPath  string `mapstructure:"reward_path"`  // gives what tasks promise of the main product
}

func (*MainProduct) defaults(v *viper.Viper) {
	v.SetDefault("main_product.url", "")
	v.SetDefault("main_product.api_key", "")
	v.SetDefault("main_product.inquiry_path", "")
	v.SetDefault("main_product.reward_path", "/api/v1/rewards")
}

func (p *MainProduct) validate() []error {
	var m mistakes
	parsed, err := url.Parse(p.URL)
	m.check(p.URL == "" || (err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""),
		"QUICKPASS_MAIN_PRODUCT_URL", "like https://game.example")
	m.check(p.InquiryPath == "" || strings.HasPrefix(p.InquiryPath, "/") && strings.Contains(p.InquiryPath, "{order_id}"),
		"QUICKPASS_MAIN_PRODUCT_INQUIRY_PATH", "a path with {order_id} in it")
	m.check(strings.HasPrefix(p.RewardPath, "/"), "QUICKPASS_MAIN_PRODUCT_REWARD_PATH", "a path, like /api/v1/rewards")
	return m
}
