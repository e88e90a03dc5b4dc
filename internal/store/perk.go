package store

import "time"

// Kinds of products that the shop knows (seed 000, "Main Product Product Types"); other names are allowed.
const (
	KindCredits         = "credits"
	KindCrystals        = "crystals"
	KindBonusPoints     = "bonus_points"
	KindFreeSpins       = "free_spins"
	KindFreeBets        = "free_bets"
	KindMultiplier      = "multiplier"
	KindCashback        = "cashback"
	KindVIPStatus       = "vip_status" // also makes its buyer VIP in this shop
	KindIncreasedLimits = "increased_limits"
	KindExclusiveAccess = "exclusive_access"
)

const (
	minValidity = 60                      // seconds
	maxValidity = 10 * 365 * 24 * 60 * 60 // seconds
	perkSpread  = 30 * time.Second        // over which the ends of one instant are told
)

// PerkGrant is what an order gives for a time, frozen when it is bought.
type PerkGrant struct {
	Kind    string `json:"kind"`
	Seconds int64  `json:"seconds"` // of the whole order
}

// PerkStatus is where a perk stands at a moment.
type PerkStatus string

const (
	PerkUpcoming PerkStatus = "upcoming" // bought while an earlier one runs, and begins at its end
	PerkActive   PerkStatus = "active"
	PerkEnded    PerkStatus = "ended"
)

// Perk is what one order gave for a time. The times alone say what the user is entitled to: from StartsAt
// inclusive to ExpiresAt exclusive, whether or not a timer has fired.
type Perk struct {
	OrderID   string
	UserID    string
	SKU       string
	Kind      string
	StartsAt  time.Time
	ExpiresAt time.Time
}

// StatusAt tells where the perk stands.
func (p Perk) StatusAt(now time.Time) PerkStatus {
	switch {
	case now.Before(p.StartsAt):
		return PerkUpcoming
	case now.Before(p.ExpiresAt):
		return PerkActive
	default:
		return PerkEnded
	}
}

// SecondsLeft of its time, a begun second counted whole; all of it before it starts.
func (p Perk) SecondsLeft(now time.Time) int64 {
	if now.Before(p.StartsAt) {
		now = p.StartsAt
	}
	return max(int64((p.ExpiresAt.Sub(now)+time.Second-1)/time.Second), 0)
}

// PerkJitter is how long after the end the user is told of it, by order.
func PerkJitter(orderID string) time.Duration { return Jitter(orderID, perkSpread) }

// perkOf is what so many pieces give for a time, nil when the product lasts for good.
func (p Product) perkOf(quantity int64) *PerkGrant {
	if p.ValiditySeconds == 0 {
		return nil
	}
	return &PerkGrant{Kind: p.Kind, Seconds: p.ValiditySeconds * quantity}
}

// validateValidity: the seed sells multipliers "for a certain time" and VIP status "for a period"; currency is
// credited once and for all.
func (p Product) validateValidity(check func(ok bool, field, message string)) {
	check(p.ValiditySeconds == 0 || (p.ValiditySeconds >= minValidity && p.ValiditySeconds <= maxValidity),
		"validity_seconds", "0 (for good), or from 60 to 315,360,000 seconds (ten years)")
	switch p.Kind {
	case KindMultiplier, KindVIPStatus:
		check(p.ValiditySeconds != 0, "validity_seconds", "is needed for the kind "+p.Kind+", which lasts for a time")
	case KindCredits, KindCrystals, KindBonusPoints:
		check(p.ValiditySeconds == 0, "validity_seconds", "must be left out for the kind "+p.Kind+", which does not run out")
	}
}
