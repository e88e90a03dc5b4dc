package store

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Policy is the shop's fraud protection (seed 000, "Fraud Protection"); zero switches a rule off.
type Policy struct {
	PurchaseInterval time.Duration // between two purchases of one user
	LargePurchase    int64         // coins from which a purchase needs a second verification
	ConfirmWithin    time.Duration // for the second verification
	SharedDevice     int           // users on one device from which it is suspicious
	RiskyOrders      int           // risky orders of one user within a day from which the account is blocked
	ApprovalLimit    int64         // coins above which support's acts need a second admin
}

// Trace is what is known of where a purchase comes from.
type Trace struct {
	AddressDenied bool
	DeviceKnown   bool // the buyer has bought from it before
	DeviceUsers   int  // other users who have
	HasDevice     bool
}

// Risk is a score from 0 to 100 with what it is made of.
type Risk struct {
	Score   int      `json:"score"`
	Reasons []string `json:"reasons"`
}

const (
	riskSharedDevice = 60
	riskNewDevice    = 30
	riskSuspicious   = 50
	riskReview       = 50 // from here on a purchase needs a second verification
)

// AssessRisk adds up what speaks against a purchase; nil: nothing does.
func (p Policy) AssessRisk(buyer Buyer, trace Trace, total int64) *Risk {
	risk := &Risk{}
	add := func(score int, reason string) {
		risk.Score = min(risk.Score+score, 100)
		risk.Reasons = append(risk.Reasons, reason)
	}
	if buyer.Suspicious {
		add(riskSuspicious, "the account is flagged as suspicious")
	}
	if p.SharedDevice > 0 && trace.DeviceUsers >= p.SharedDevice {
		add(riskSharedDevice, fmt.Sprintf("%d other users have bought from this device", trace.DeviceUsers))
	}
	if p.large(total) && trace.HasDevice && !trace.DeviceKnown {
		add(riskNewDevice, "a large purchase from a new device")
	}
	if len(risk.Reasons) == 0 {
		return nil
	}
	return risk
}

func (p Policy) large(total int64) bool { return p.LargePurchase > 0 && total >= p.LargePurchase }

// needsConfirmation says whether the buyer must confirm (seed 000, "Double verification for large transactions").
func (p Policy) needsConfirmation(total int64, risk *Risk) bool {
	return p.ConfirmWithin > 0 && (p.large(total) || (risk != nil && risk.Score >= riskReview))
}

// checkFrequency allows one purchase per interval.
func (p Policy) checkFrequency(last *time.Time, now time.Time) *Refusal {
	if p.PurchaseInterval <= 0 || last == nil {
		return nil
	}
	next := last.Add(p.PurchaseInterval)
	if !now.Before(next) {
		return nil
	}
	return refuseUntil(TooFrequent, next, fmt.Sprintf("one purchase in %s is allowed", p.PurchaseInterval))
}

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
			return netip.Prefix{}, errors.New("must be an address or a range such as 203.0.113.0/24")
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
		return netip.Prefix{}, errors.New("must be written as IPv4, such as 203.0.113.0/24")
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("must start its range: %s", prefix.Masked())
	case prefix.Bits() < widest:
		return netip.Prefix{}, fmt.Errorf("must not be wider than /%d", widest)
	default:
		return prefix, nil
	}
}
