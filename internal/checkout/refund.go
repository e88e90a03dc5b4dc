package checkout

import (
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
)

// RefundLine is so many pieces of a line of an order.
type RefundLine struct {
	LineID   string `json:"line_id"`
	Quantity int64  `json:"quantity"`
}

// Refund gives money back and takes away what was bought with it. ID names the intent: two refunds of the same line are
// two, and one that is asked for twice is one.
type Refund struct {
	ID     string          `json:"refund_id"`
	Lines  []RefundLine    `json:"lines"`
	Amount decimal.Decimal `json:"amount"` // in the currency of the payment
	Whole  bool            `json:"whole"`  // nothing is left of the order, which is canceled
	// NotTakenBack is what the main product has given for these pieces; only it can take that back.
	NotTakenBack []GivenPart `json:"not_taken_back,omitempty"`
	Reason       string      `json:"reason,omitempty"` // in the words of who wanted it; not for the buyer
}

// QuantityOf is how many pieces of a line go back.
func (r Refund) QuantityOf(lineID string) int64 { return quantityOf(r.Lines, lineID) }

// DecideRefund says what a refund of so many pieces of these lines gives back; without lines, of all that is left.
//
// The amounts of several refunds add up: each is what the pieces refunded so far cost, rounded half up to the
// currency's minor unit, less what was given back before; the last gives back the rest of what was paid. So
// no order of refunds gives back more than the payment. The same id again has the same answer. A bonus line
// goes back with the last refund, or when it is named.
func DecideRefund(o Order, id string, lines []RefundLine) (Refund, *Refusal) {
	for _, earlier := range o.Refunds {
		if earlier.ID == id {
			return earlier, nil
		}
	}
	payment, paid := o.paid()
	if !paid || (o.Status != Paid && o.Status != Done) {
		return Refund{}, Refuse(InvalidField, "only an order that is paid can be refunded; this one is "+string(o.Status))
	}
	left := o.left()
	if lines == nil {
		lines = left
	}
	if refusal := checkRefund(lines, left); refusal != nil {
		return Refund{}, refusal
	}
	return o.refundOf(id, lines, payment), nil
}

// refundOf reckons what these pieces give back of the payment.
func (o Order) refundOf(id string, lines []RefundLine, payment Payment) Refund {
	left := o.left()
	taken := map[string]int64{}
	for _, line := range lines {
		taken[line.LineID] = line.Quantity
	}
	cost, remaining, refunded := decimal.Zero, false, o.refunded()
	for _, line := range o.Lines {
		back := line.Quantity - quantityOf(left, line.LineID) + taken[line.LineID]
		cost = cost.Add(line.unitAmount().Mul(decimal.NewFromInt(back)))
		remaining = remaining || (back < line.Quantity && !line.IsBonus)
	}
	if !remaining {
		return Refund{ID: id, Lines: left, Amount: payment.Amount.Sub(refunded), Whole: true}
	}
	amount := decimal.Min(catalog.RoundToMinorUnit(cost, payment.Currency), payment.Amount).Sub(refunded)
	return Refund{ID: id, Lines: lines, Amount: amount}
}

// unitAmount is what one piece cost, in money or in a virtual currency.
func (l OrderLine) unitAmount() decimal.Decimal {
	switch {
	case l.Price != nil:
		return l.Price.Amount
	case l.VirtualPrice != nil:
		return decimal.NewFromInt(l.VirtualPrice.Amount)
	default:
		return decimal.Zero
	}
}

// checkRefund allows each line once, and each of its pieces once.
func checkRefund(lines, left []RefundLine) *Refusal {
	var details []Detail
	for k, line := range lines {
		field := fmt.Sprintf("lines[%d]", k)
		if slices.ContainsFunc(lines[:k], func(l RefundLine) bool { return l.LineID == line.LineID }) {
			details = append(details, Detail{field, "this line is named twice"})
			continue
		}
		switch most := quantityOf(left, line.LineID); {
		case most == 0:
			details = append(details, Detail{field, "there is no such line, or all of it was refunded"})
		case line.Quantity < 1 || line.Quantity > most:
			details = append(details, Detail{field, fmt.Sprintf("from 1 to %d pieces of this line can be refunded", most)})
		}
	}
	if len(lines) == 0 {
		details = append(details, Detail{"lines", "at least one"})
	}
	if len(details) > 0 {
		return Refuse(InvalidField, "this cannot be refunded", details...)
	}
	return nil
}

// left are the pieces that were not refunded yet.
func (o Order) left() []RefundLine {
	var left []RefundLine
	for _, line := range o.Lines {
		quantity := line.Quantity
		for _, refund := range o.Refunds {
			quantity -= refund.QuantityOf(line.LineID)
		}
		if quantity > 0 {
			left = append(left, RefundLine{line.LineID, quantity})
		}
	}
	return left
}

func (o Order) refunded() decimal.Decimal {
	sum := decimal.Zero
	for _, refund := range o.Refunds {
		sum = sum.Add(refund.Amount)
	}
	return sum
}

func quantityOf(lines []RefundLine, lineID string) int64 {
	for _, line := range lines {
		if line.LineID == lineID {
			return line.Quantity
		}
	}
	return 0
}
