package checkout_test

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
)

func line(id, unit string, quantity int64) checkout.OrderLine {
	return checkout.OrderLine{
		LineID:   id,
		SKU:      "sku" + id,
		Quantity: quantity,
		Price:    &catalog.Quote{Amount: dec(unit), WithoutDiscount: dec(unit), Currency: "USD"},
	}
}

// bought has three pieces of 0.995, two of 10 and a bonus, paid with the amount.
func bought(amount string) checkout.Order {
	o := open(recorded(pays("p1", amount, "USD"), checkout.Accepted, checkout.PaidInTime))
	o.Status = checkout.Done
	o.Lines = []checkout.OrderLine{line("1", "0.995", 3), line("2", "10", 2), {LineID: "3", SKU: "bonus", Quantity: 5, IsFree: true, IsBonus: true}}
	return o
}

func back(id string, quantity int64) checkout.RefundLine {
	return checkout.RefundLine{LineID: id, Quantity: quantity}
}

func TestRefunds(t *testing.T) {
	t.Parallel()
	order := bought("22.99") // 22.985, payable in cents
	for _, step := range []struct {
		lines  []checkout.RefundLine
		amount string
		whole  bool
	}{
		{[]checkout.RefundLine{back("1", 1)}, "1", false},    // 0.995
		{[]checkout.RefundLine{back("1", 1)}, "0.99", false}, // 1.99 less 1
		{[]checkout.RefundLine{back("3", 2)}, "0", false},
		{[]checkout.RefundLine{back("2", 1), back("1", 1)}, "11", false}, // 12.985 is 12.99, less 1.99
		{nil, "10", true}, // what is left of the payment
	} {
		refund, refusal := checkout.DecideRefund(order, fmt.Sprint(len(order.Refunds)), step.lines)
		require.Nil(t, refusal)
		require.Equal(t, step.amount, refund.Amount.String(), "%+v", step)
		require.Equal(t, step.whole, refund.Whole, "%+v", step)
		order.Refunds = append(order.Refunds, refund)
	}
	require.Equal(t, []checkout.RefundLine{back("2", 1), back("3", 3)}, order.Refunds[4].Lines)
	order.Status = checkout.Canceled
	again, refusal := checkout.DecideRefund(order, "4", nil)
	require.Nil(t, refusal, "the same refund again")
	require.Equal(t, order.Refunds[4], again)
	_, refusal = checkout.DecideRefund(order, "5", nil)
	require.Equal(t, checkout.InvalidField, refusal.Code)
}

func TestWholeRefund(t *testing.T) {
	t.Parallel()
	refund, refusal := checkout.DecideRefund(bought("22.99"), "r", nil)
	require.Nil(t, refusal)
	require.Equal(t, []checkout.RefundLine{back("1", 3), back("2", 2), back("3", 5)}, refund.Lines)
	require.Equal(t, "22.99", refund.Amount.String())
	require.True(t, refund.Whole)
	refund, refusal = checkout.DecideRefund(bought("22.99"), "r", []checkout.RefundLine{back("2", 2), back("1", 3)})
	require.Nil(t, refusal)
	require.True(t, refund.Whole, "the bonus goes with the last of what was paid for")
	require.Len(t, refund.Lines, 3)
	refund, refusal = checkout.DecideRefund(is(bought("22.985"), checkout.Paid), "r", nil)
	require.Nil(t, refusal)
	require.Equal(t, "22.985", refund.Amount.String(), "as it was paid")
}

func TestRefundsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]checkout.RefundLine{
		"too many": {back("1", 4)}, "none": {back("1", 0)}, "negative": {back("1", -1)}, "unknown": {back("9", 1)}, "twice": {back("1", 1), back("1", 1)}, "empty": {},
	} {
		_, refusal := checkout.DecideRefund(bought("22.99"), "r", lines)
		require.Equal(t, checkout.InvalidField, refusal.Code, name)
		require.Len(t, refusal.Details, 1, name)
	}
	for _, status := range []checkout.OrderStatus{checkout.New, checkout.Canceled, checkout.Expired} {
		_, refusal := checkout.DecideRefund(is(bought("22.99"), status), "r", nil)
		require.NotNil(t, refusal, status)
	}
	unpaid := bought("22.99")
	unpaid.Payments = nil
	_, refusal := checkout.DecideRefund(unpaid, "r", nil)
	require.NotNil(t, refusal, "a free order")
}

func TestRefundInAVirtualCurrency(t *testing.T) {
	t.Parallel()
	order := checkout.Order{
		Status:   checkout.Done,
		Virtual:  &catalog.VirtualQuote{SKU: "gold", Amount: 30, WithoutDiscount: 30},
		Payments: []checkout.PaymentRecord{recorded(pays("hold", "30", "gold"), checkout.Accepted, checkout.PaidInTime)},
		Lines:    []checkout.OrderLine{{LineID: "1", Quantity: 3, VirtualPrice: &catalog.VirtualQuote{SKU: "gold", Amount: 10, WithoutDiscount: 10}}},
	}
	refund, refusal := checkout.DecideRefund(order, "r", []checkout.RefundLine{back("1", 2)})
	require.Nil(t, refusal)
	require.Equal(t, "20", refund.Amount.String())
}

// Whatever is refunded in whatever steps, and whether more or less was paid than was due: no refund is
// negative, together they never exceed the payment, no piece goes back twice, and when all is back so is all
// the money.
func TestRefundsNeverExceedThePayment(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		order := bought(rapid.SampledFrom([]string{"22.99", "22.985", "20", "30.5", "0.01"}).Draw(t, "paid"))
		paid, sum, pieces := order.Payments[0].Payment.Amount, decimal.Zero, map[string]int64{}
		for n := range 20 {
			var lines []checkout.RefundLine
			for _, id := range []string{"1", "2", "3"} {
				if quantity := rapid.Int64Range(0, 3).Draw(t, "quantity"); quantity > 0 {
					lines = append(lines, back(id, quantity))
				}
			}
			refund, refusal := checkout.DecideRefund(order, fmt.Sprint(n), lines)
			if refusal != nil {
				continue
			}
			for _, line := range refund.Lines {
				pieces[line.LineID] += line.Quantity
			}
			order.Refunds, sum = append(order.Refunds, refund), sum.Add(refund.Amount)
			if refund.Amount.IsNegative() || sum.GreaterThan(paid) || pieces["1"] > 3 || pieces["2"] > 2 || pieces["3"] > 5 {
				t.Fatalf("%v: %s of %s, %v", refund, sum, paid, pieces)
			}
			if refund.Whole {
				order.Status = checkout.Canceled
			}
		}
		if (order.Status == checkout.Canceled) != (pieces["1"] == 3 && pieces["2"] == 2) {
			t.Fatalf("%s, %v", order.Status, pieces)
		}
		if order.Status == checkout.Canceled && (!sum.Equal(paid) || pieces["3"] != 5) {
			t.Fatalf("%s of %s, %v", sum, paid, pieces)
		}
	})
}
