package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func codeOf(refusal *Refusal) Code {
	if refusal == nil {
		return ""
	}
	return refusal.Code
}

func TestDecideResolution(t *testing.T) {
	t.Parallel()
	updated := instant(t, "2026-11-22T12:00:00Z")
	confirmBy := updated.Add(10 * time.Minute)
	stuck := updated.Add(4*40*time.Second + StuckGrace) // 4 tries of 30 s, 10 s apart
	delivery := Delivery{DeliverySettings: DefaultDelivery()}
	processing := Order{Status: Processing, UpdatedAt: updated, Delivery: delivery}
	awaiting := Order{Status: AwaitingConfirmation, UpdatedAt: updated, ConfirmBy: &confirmBy, Delivery: delivery}
	for name, test := range map[string]struct {
		order  Order
		action ResolveAction
		at     time.Time
		code   Code
	}{
		"suspected, retry":           {Order{Status: Canceled, Suspected: true}, ResolveRetry, updated, ""},
		"suspected, delivered":       {Order{Status: Canceled, Suspected: true}, ResolveMarkDelivered, updated, ""},
		"suspected, refund":          {Order{Status: Canceled, Suspected: true}, ResolveRefund, updated, ""},
		"canceled":                   {Order{Status: Canceled}, ResolveRefund, updated, OrderNotResolvable},
		"completed":                  {Order{Status: Completed}, ResolveMarkDelivered, updated, OrderNotResolvable},
		"refunded":                   {Order{Status: Refunded}, ResolveRefund, updated, OrderNotResolvable},
		"under way, last instant":    {processing, ResolveRefund, stuck.Add(-1), OrderNotResolvable},
		"stuck, first instant":       {processing, ResolveRefund, stuck, ""},
		"stuck, delivered":           {processing, ResolveMarkDelivered, stuck, ""},
		"stuck, retry":               {processing, ResolveRetry, stuck, OrderNotResolvable},
		"awaits, last instant":       {awaiting, ResolveRefund, confirmBy.Add(StuckGrace - 1), OrderNotResolvable},
		"awaits too long":            {awaiting, ResolveRefund, confirmBy.Add(StuckGrace), ""},
		"awaits too long, delivered": {awaiting, ResolveMarkDelivered, confirmBy.Add(StuckGrace), OrderNotResolvable},
		"open and marked suspected":  {Order{Status: Processing, Suspected: true, UpdatedAt: updated, Delivery: delivery}, ResolveRefund, updated, OrderNotResolvable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.code, codeOf(DecideResolution(test.order, test.action, test.at)))
		})
	}
}

func TestDecideRefund(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status                 OrderStatus
		refunded, amount, want int64
		code                   Code
	}{
		"all":                 {Completed, 0, 0, 100, ""},
		"all that is left":    {Completed, 30, 0, 70, ""},
		"a part":              {Completed, 30, 1, 1, ""},
		"the last coin":       {Completed, 99, 1, 1, ""},
		"one too many":        {Completed, 30, 71, 0, RefundTooLarge},
		"far too many":        {Completed, 0, 1 << 62, 0, RefundTooLarge},
		"negative":            {Completed, 30, -1, 0, RefundTooLarge},
		"refunded":            {Refunded, 100, 1, 0, OrderNotRefundable},
		"under way":           {Processing, 0, 1, 0, OrderNotRefundable},
		"canceled, suspected": {Canceled, 0, 0, 0, OrderNotRefundable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			coins, refusal := DecideRefund(Order{Status: test.status, PriceCoins: 100, RefundedCoins: test.refunded}, test.amount)
			require.Equal(t, test.code, codeOf(refusal))
			require.Equal(t, test.want, coins)
		})
	}
}

// However refunds are asked for, they never sum to more than was paid.
func TestRefundsNeverExceedThePrice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		order := Order{Status: Completed, PriceCoins: rapid.Int64Range(1, 1000).Draw(t, "price")}
		for _, amount := range rapid.SliceOf(rapid.Int64Range(-5, 1100)).Draw(t, "amounts") {
			coins, refusal := DecideRefund(order, amount)
			if refusal == nil && coins <= 0 {
				t.Fatal("an empty refund")
			}
			order.RefundedCoins += coins
			if order.RefundedCoins > order.PriceCoins {
				t.Fatal("more than was paid")
			}
			if order.RefundedCoins == order.PriceCoins {
				order.Status = Refunded
			}
		}
	})
}

func TestNeedsApproval(t *testing.T) {
	t.Parallel()
	p := Policy{ApprovalLimit: 100}
	require.False(t, p.NeedsApproval(100))
	require.True(t, p.NeedsApproval(101))
	require.False(t, p.NeedsApproval(-100))
	require.True(t, p.NeedsApproval(-101))
	require.False(t, Policy{}.NeedsApproval(1<<40))
}

func TestDecideDispute(t *testing.T) {
	t.Parallel()
	states := []DisputeState{DisputeOpen, DisputeInReview, DisputeResolved, DisputeRejected}
	for _, from := range states {
		for _, to := range states {
			closed := from == DisputeResolved || from == DisputeRejected
			allowed := !closed || to == from || to == DisputeInReview
			require.Equal(t, allowed, DecideDispute(from, to) == nil, "%s to %s", from, to)
		}
	}
}
