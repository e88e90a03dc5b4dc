package catalog

import (
	"encoding/json"
	"strings"

	"github.com/shopspring/decimal"
)

// The active currencies of ISO 4217 by the decimals of their minor unit.
const (
	noDecimals   = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
	twoDecimals  = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
	threeDecimal = "BHD IQD JOD KWD LYD OMR TND"
	fourDecimals = "CLF UYW"
)

var minorUnits = func() map[string]int32 {
	units := map[string]int32{}
	for decimals, codes := range map[int32]string{0: noDecimals, 2: twoDecimals, 3: threeDecimal, 4: fourDecimals} {
		for _, code := range strings.Fields(codes) {
			units[code] = decimals
		}
	}
	return units
}()

// Decimals of a currency's minor unit by ISO 4217: 2 for USD, 0 for JPY; false for what is no currency.
func Decimals(currency string) (int32, bool) {
	decimals, ok := minorUnits[currency]
	return decimals, ok
}

// extraDecimals are those that a price may have beyond the currency's own: seeds 002 and 004 sell for 0.9950 USD.
const extraDecimals = 2

// MaxAmount bounds every amount of money, and every total.
var MaxAmount = decimal.New(1, 12)

// Quote is what a piece, a line or an order costs in money.
//
// Prices have at most two decimals more than the currency, and a discount is rounded half up to as many. Quantities
// multiply and lines add up exactly, so a total never differs from the sum of its lines. Payable rounds
// once, at the end.
type Quote struct {
	Amount          decimal.Decimal `json:"amount"` // with the discount
	WithoutDiscount decimal.Decimal `json:"amount_without_discount"`
	Currency        string          `json:"currency"`
}

// Texts are both amounts with the currency's decimals, or with two more if one of them needs those: "4.50"
// and "9.00", "0.9950" and "1.9900".
func (q Quote) Texts() (amount, withoutDiscount string) {
	scale, _ := Decimals(q.Currency)
	if !whole(q.Amount, scale) || !whole(q.WithoutDiscount, scale) {
		scale += extraDecimals
	}
	return q.Amount.StringFixed(scale), q.WithoutDiscount.StringFixed(scale)
}

// MarshalJSON writes both amounts as Texts does.
func (q Quote) MarshalJSON() ([]byte, error) {
	amount, without := q.Texts()
	return json.Marshal(map[string]string{"amount": amount, "amount_without_discount": without, "currency": q.Currency})
}

// Times is the price of so many pieces; false when it is beyond MaxAmount.
func (q Quote) Times(quantity int64) (Quote, bool) {
	n := decimal.NewFromInt(quantity)
	return q.bounded(q.Amount.Mul(n), q.WithoutDiscount.Mul(n))
}

// Plus adds a price in the same currency; false when the sum is beyond MaxAmount.
func (q Quote) Plus(other Quote) (Quote, bool) {
	return q.bounded(q.Amount.Add(other.Amount), q.WithoutDiscount.Add(other.WithoutDiscount))
}

// Equal compares amounts, not the way they are written.
func (q Quote) Equal(other Quote) bool {
	return q.Currency == other.Currency && q.Amount.Equal(other.Amount) && q.WithoutDiscount.Equal(other.WithoutDiscount)
}

// Payable is the amount in the currency's minor units, half up: what a payment provider can charge. Only what
// is free costs nothing.
func (q Quote) Payable() decimal.Decimal {
	rounded := RoundToMinorUnit(q.Amount, q.Currency)
	if rounded.IsZero() && q.Amount.IsPositive() {
		scale, _ := Decimals(q.Currency)
		return decimal.New(1, -scale)
	}
	return rounded
}

// Charge is what a payment provider charges.
type Charge struct {
	Amount   string `json:"amount"` // with the currency's own decimals: "2.99" USD, "467" JPY
	Currency string `json:"currency"`
}

// ChargeOf writes what is payable of a price; nil when there is none.
func ChargeOf(price *Quote) *Charge {
	if price == nil {
		return nil
	}
	scale, _ := Decimals(price.Currency)
	return &Charge{price.Payable().StringFixed(scale), price.Currency}
}

// RoundToMinorUnit rounds half up to what the currency has coins for.
func RoundToMinorUnit(amount decimal.Decimal, currency string) decimal.Decimal {
	scale, _ := Decimals(currency)
	return amount.Round(scale)
}

func (q Quote) bounded(amount, without decimal.Decimal) (Quote, bool) {
	q.Amount, q.WithoutDiscount = amount, without
	return q, without.LessThanOrEqual(MaxAmount)
}

// whole says whether an amount has at most so many decimals that are not zero.
func whole(amount decimal.Decimal, decimals int32) bool {
	return amount.Equal(amount.Truncate(decimals))
}

// ValidAmount says whether it is above 0, at most MaxAmount, and not finer than two decimals beyond the
// currency's own.
func ValidAmount(amount decimal.Decimal, currency string) bool {
	scale, ok := Decimals(currency)
	return ok && amount.IsPositive() && amount.LessThanOrEqual(MaxAmount) && whole(amount, scale+extraDecimals)
}

// VirtualQuote is what a piece, a line or an order costs in a virtual currency.
type VirtualQuote struct {
	SKU             string `json:"sku"` // of the currency
	Amount          int64  `json:"amount"`
	WithoutDiscount int64  `json:"amount_without_discount"`
}
