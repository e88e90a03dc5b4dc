package store

import (
	"fmt"
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
