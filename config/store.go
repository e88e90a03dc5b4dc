package config

import (
	"time"

	"github.com/spf13/viper"
)

// Store is the shop's fraud protection and the limits of its support; zero switches a rule off.
type Store struct {
	PurchaseInterval time.Duration `mapstructure:"purchase_interval"` // between two purchases of one user
	LargePurchase    int64         `mapstructure:"large_purchase"`    // coins from which the buyer must confirm
	ConfirmWithin    time.Duration `mapstructure:"confirm_within"`    // how long coins and pieces are held for that
	SharedDevice     int           `mapstructure:"shared_device"`     // other users on one device from which it is suspicious
	RiskyOrders      int           `mapstructure:"risky_orders"`      // risky orders within a day from which an account is blocked
	ApprovalLimit    int64         `mapstructure:"approval_limit"`    // coins above which support's acts need a second admin
}

func (*Store) defaults(v *viper.Viper) {
	v.SetDefault("store.purchase_interval", "1m")
	v.SetDefault("store.large_purchase", 10_000)
	v.SetDefault("store.confirm_within", "10m")
	v.SetDefault("store.shared_device", 3)
	v.SetDefault("store.risky_orders", 3)
	v.SetDefault("store.approval_limit", 100_000)
}

func (s *Store) validate() []error {
	var m mistakes
	m.check(s.PurchaseInterval >= 0, "QUICKPASS_STORE_PURCHASE_INTERVAL", "a duration, such as 1m, or 0s for none")
	m.check(s.LargePurchase >= 0, "QUICKPASS_STORE_LARGE_PURCHASE", "coins, or 0 for none")
	m.check(s.ConfirmWithin >= 0, "QUICKPASS_STORE_CONFIRM_WITHIN", "a duration, such as 10m, or 0s for no confirmation")
	m.between(s.SharedDevice, 0, 1000, "QUICKPASS_STORE_SHARED_DEVICE")
	m.between(s.RiskyOrders, 0, 1000, "QUICKPASS_STORE_RISKY_ORDERS")
	m.check(s.ApprovalLimit >= 0, "QUICKPASS_STORE_APPROVAL_LIMIT", "coins, or 0 for none")
	return m
}
