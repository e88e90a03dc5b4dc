package checkout

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/store"
)

// MaxDeliveries bounds how often the main product is asked for one order.
const MaxDeliveries = 50

// DeliveryStatus is what became of the main product's part of a line.
type DeliveryStatus string

const (
	DeliveryPending   DeliveryStatus = "pending" // a call may be under way
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryRefused   DeliveryStatus = "refused"   // by the main product, for good; its line is paid back
	DeliverySuspected DeliveryStatus = "suspected" // nobody knows, or a part of its line was delivered: an admin decides
	DeliveryRefunded  DeliveryStatus = "refunded"  // paid back without having been delivered, as far as is known
)

// Open says whether it keeps its order from being done.
func (s DeliveryStatus) Open() bool { return s == DeliveryPending || s == DeliverySuspected }

// Delivery is what the main product gives for one item of a line, of a bundle's for each of its items.
type Delivery struct {
	Number   int // within the order, from 1
	LineID   string
	SKU      string
	Quantity int64          // pieces of the SKU
	Ask      store.Delivery // for all pieces
	Instead  bool           // nothing is put into the inventory for it
	Status   DeliveryStatus
	Round    int // 1, and one more each time an admin has it delivered again
	Calls    int
	// Unsettled counts the calls that may have had, or may still have, an effect.
	Unsettled int
	Begun     bool // a call of this round has been begun
	Credit    *store.Credit
	Reason    *DeliveryReason
}

// DeliveryReason is why a delivery is not delivered.
type DeliveryReason struct {
	Code    string `json:"code"`    // the main product's when it refused, or of the call that failed
	Message string `json:"message"` // foreign text
}

// OfMainProduct says whether the main product gives any of it.
func OfMainProduct(lines []OrderLine) bool {
	return slices.ContainsFunc(lines, func(l OrderLine) bool { return l.MainProduct != nil || partOfMainProduct(l.Content) })
}

func partOfMainProduct(content []Part) bool {
	return slices.ContainsFunc(content, func(p Part) bool { return p.MainProduct != nil || partOfMainProduct(p.Content) })
}

// Deliveries are what the lines ask of the main product, as it was frozen. It fails when that is more than
// may be asked for.
func Deliveries(lines []OrderLine) ([]Delivery, error) {
	if !OfMainProduct(lines) {
		return nil, nil
	}
	grants, err := Grants(lines)
	if err != nil {
		return nil, err
	}
	told := toldParts(lines)
	var all []Delivery
	for _, grant := range grants {
		part := told[grant.SKU]
		if part.MainProduct == nil {
			continue
		}
		amount := part.MainProduct.Amount.Mul(decimal.NewFromInt(grant.Quantity))
		if amount.GreaterThan(decimal.NewFromInt(ledger.MaxCoins)) {
			return nil, fmt.Errorf("%s %s of %s are more than the main product is asked for at once", amount, part.MainProduct.Currency, grant.SKU)
		}
		if len(all) == MaxDeliveries {
			return nil, fmt.Errorf("the main product would have to be asked more than %d times", MaxDeliveries)
		}
		all = append(all, Delivery{
			Number:   len(all) + 1,
			LineID:   grant.LineID,
			SKU:      grant.SKU,
			Quantity: grant.Quantity,
			Instead:  part.MainProduct.InsteadOfInventory,
			Status:   DeliveryPending,
			Round:    1,
			Ask:      askOf(part, amount),
		})
	}
	return all, nil
}

func askOf(part Part, amount decimal.Decimal) store.Delivery {
	m := part.MainProduct
	return store.Delivery{ProductName: part.Name, ResourceType: m.ResourceType, Endpoint: m.Endpoint,
		Amount: amount, Currency: m.Currency, Parameters: m.Parameters, DeliverySettings: m.Delivery}
}

// toldParts are all items of the lines by SKU.
func toldParts(lines []OrderLine) map[string]Part {
	parts := map[string]Part{}
	var add func(Part)
	add = func(part Part) {
		parts[part.SKU] = part
		for _, inner := range part.Content {
			add(inner)
		}
	}
	for _, line := range lines {
		add(Part{SKU: line.SKU, Name: line.Name, MainProduct: line.MainProduct, Content: line.Content})
	}
	return parts
}

// LocalGrants are the grants that go into the inventory: all but those that the main product gives instead.
func LocalGrants(lines []OrderLine) ([]inventory.Grant, error) {
	grants, err := Grants(lines)
	if err != nil || !OfMainProduct(lines) {
		return grants, err
	}
	told := toldParts(lines)
	return slices.DeleteFunc(grants, func(g inventory.Grant) bool {
		m := told[g.SKU].MainProduct
		return m != nil && m.InsteadOfInventory
	}), nil
}

// DeliveryAnswer is what the calls of a round came to.
type DeliveryAnswer struct {
	Credit  *store.Credit // it was credited
	Refused bool          // by an answer to the last call
	Reason  DeliveryReason
}

// Answered is the delivery after a round. A refusal is final; yet while an earlier call may still have an
// effect, it proves nothing about that one, and so nothing is paid back for it.
func (d Delivery) Answered(a DeliveryAnswer) Delivery {
	if a.Credit != nil {
		d.Status, d.Credit, d.Reason = DeliveryDelivered, a.Credit, nil
		return d
	}
	d.Reason = &a.Reason
	if a.Refused {
		d.Unsettled = max(d.Unsettled-1, 0) // of the call that brought it
	}
	d.Status = DeliverySuspected
	if a.Refused && d.Unsettled == 0 {
		d.Status = DeliveryRefused
	}
	return d
}

// Refused lists the lines that are to be paid back, once nothing is pending any more: those of which the main
// product has refused all that it was asked for. Where it has delivered a part, what a bundle's rest is worth
// is nobody's to guess; the rest becomes suspected, in place.
func Refused(all []Delivery) (lineIDs []string) {
	if slices.ContainsFunc(all, func(d Delivery) bool { return d.Status == DeliveryPending }) {
		return nil
	}
	for k, d := range all {
		if d.Status != DeliveryRefused || slices.Contains(lineIDs, d.LineID) {
			continue
		}
		of := func(status DeliveryStatus) bool {
			return slices.ContainsFunc(all, func(other Delivery) bool { return other.LineID == d.LineID && other.Status == status })
		}
		switch {
		case of(DeliveryDelivered):
			all[k].Status = DeliverySuspected
		case !of(DeliverySuspected):
			lineIDs = append(lineIDs, d.LineID)
		}
	}
	return lineIDs
}

// RefundOfLines pays back all that is left of these lines, whatever it cost; false when nothing is left of
// them. Unlike DecideRefund it knows free orders too: nothing moves, and the goods and limits go back.
func (o Order) RefundOfLines(why string, lineIDs []string) (Refund, bool) {
	var lines []RefundLine
	for _, line := range o.left() {
		if slices.Contains(lineIDs, line.LineID) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return Refund{}, false
	}
	payment, _ := o.paid()
	return o.refundOf("rf_"+strconv.FormatInt(o.OrderID, 10)+"_"+why+"_"+lines[0].LineID, lines, payment), true
}

// DeliveryDecision is what an admin does with a delivery that is suspected.
type DeliveryDecision string

const (
	DeliverAgain    DeliveryDecision = "deliver_again" // with the same order id: what was credited is not credited twice
	MarkDelivered   DeliveryDecision = "delivered"     // the main product's own books say so
	RefundUndecided DeliveryDecision = "refund"        // its line is paid back
)

// Decided is the delivery after an admin's decision; only one that is suspected waits for one.
func (d Delivery) Decided(decision DeliveryDecision, transactionID string) (Delivery, *Refusal) {
	if d.Status != DeliverySuspected {
		return d, Refuse(InvalidField, "the delivery is "+string(d.Status)+"; only one that is suspected waits for a decision")
	}
	switch decision {
	case DeliverAgain:
		d.Status, d.Begun, d.Reason = DeliveryPending, false, nil
		d.Round++
	case MarkDelivered:
		d.Status, d.Reason = DeliveryDelivered, nil
		if transactionID != "" {
			d.Credit = &store.Credit{TransactionID: transactionID}
		}
	case RefundUndecided:
		d.Status = DeliveryRefunded
	default:
		return d, Refuse(InvalidField, "this is no decision", Detail{"decision", "deliver_again, delivered or refund"})
	}
	return d, nil
}

// GivenPart is what the main product has given for a line.
type GivenPart struct {
	LineID   string          `json:"line_id"`
	SKU      string          `json:"sku"`
	Amount   decimal.Decimal `json:"amount"` // for the refunded pieces, in Currency
	Currency string          `json:"currency"`
}

// GivenFor tells what the main product has given for the pieces of a refund.
func (o Order) GivenFor(refund Refund) []GivenPart {
	var given []GivenPart
	for _, d := range o.Deliveries {
		pieces := refund.QuantityOf(d.LineID)
		line := slices.IndexFunc(o.Lines, func(l OrderLine) bool { return l.LineID == d.LineID })
		if d.Status != DeliveryDelivered || pieces == 0 || line < 0 {
			continue
		}
		amount := d.Ask.Amount.Mul(decimal.NewFromInt(pieces)).Div(decimal.NewFromInt(o.Lines[line].Quantity))
		given = append(given, GivenPart{d.LineID, d.SKU, amount, d.Ask.Currency})
	}
	return given
}

// ShownDelivery is the main product's part of an order as clients read it.
type ShownDelivery struct {
	SKU      string          `json:"sku"`
	Quantity int64           `json:"quantity"` // pieces of the SKU
	Amount   decimal.Decimal `json:"amount"`   // of the main product's currency, for all pieces
	Currency string          `json:"currency"`
	Status   DeliveryStatus  `json:"status"`
}

// ShowDeliveries shows them in their order.
func ShowDeliveries(all []Delivery) []ShownDelivery {
	var shown []ShownDelivery
	for _, d := range all {
		shown = append(shown, ShownDelivery{d.SKU, d.Quantity, d.Ask.Amount, d.Ask.Currency, d.Status})
	}
	return shown
}
