package config

import (
	"time"

	"github.com/spf13/viper"
)

// Store is the shop's fraud protection; zero switches a rule off.
type Store struct {
	PurchaseInterval time.Duration `mapstructure:"purchase_interval"` // between two purchases of one user
	LargePurchase    int64         `mapstructure:"large_purchase"`    // coins from which the buyer must confirm
	ConfirmWithin    time.Duration `mapstructure:"confirm_within"`    // how long coins and pieces are held for that
	SharedDevice     int           `mapstructure:"shared_device"`     // other users on one device from which it is suspicious
}

func (*Store) defaults(v *viper.Viper) {
	v.SetDefault("store.purchase_interval", "1m")
	v.SetDefault("store.large_purchase", 10_000)
	v.SetDefault("store.confirm_within", "10m")
	v.SetDefault("store.shared_device", 3)
}

func (s *Store) validate() []error {
	var m mistakes
	m.check(s.PurchaseInterval >= 0, "QUICKPASS_STORE_PURCHASE_INTERVAL", "a duration, such as 1m, or 0s for none")
	m.check(s.LargePurchase >= 0, "QUICKPASS_STORE_LARGE_PURCHASE", "coins, or 0 for none")
	m.check(s.ConfirmWithin >= 0, "QUICKPASS_STORE_CONFIRM_WITHIN", "a duration, such as 10m, or 0s for no confirmation")
	m.between(s.SharedDevice, 0, 1000, "QUICKPASS_STORE_SHARED_DEVICE")
	return m
}
