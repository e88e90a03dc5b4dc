package store

import (
	"fmt"
	"net/netip"
	"time"
)

// RiskWindow is the time in which risky orders of one user are counted together.
const RiskWindow = 24 * time.Hour

// RiskyOrder is an order that something spoke against when it was made.
type RiskyOrder struct {
	Score int // from 0 to 100
	At    time.Time
}

// BlockForRisk says whether an account is blocked by rule, and why (seed 000, "Suspicious account blocking"):
// so many risky orders within a day, whatever became of them.
func (p Policy) BlockForRisk(orders []RiskyOrder, now time.Time) (reason string, block bool) {
	if p.RiskyOrders <= 0 {
		return "", false
	}
	risky := 0
	for _, order := range orders {
		if order.Score >= riskReview && order.At.After(now.Add(-RiskWindow)) {
			risky++
		}
	}
	if risky < p.RiskyOrders {
		return "", false
	}
	return fmt.Sprintf("risk: %d orders of risk %d or more within a day", risky, riskReview), true
}

// ParseDeniedAddresses reads an address or a range in CIDR notation. What covers a large part of the Internet is
// taken for a mistake: wider than /8, or /16 of IPv6.
func ParseDeniedAddresses(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("must be an address or a range such as 203.0.113.0/24")
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	widest := 8
	if prefix.Addr().Is6() {
		widest = 16
	}
	switch {
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("must be written as IPv4, such as 203.0.113.0/24")
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("must start its range: %s", prefix.Masked())
	case prefix.Bits() < widest:
		return netip.Prefix{}, fmt.Errorf("must not be wider than /%d", widest)
	default:
		return prefix, nil
	}
}
