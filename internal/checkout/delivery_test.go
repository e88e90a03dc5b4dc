package checkout_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/store"
)

func toldOf(amount string, instead bool) *catalog.MainProduct {
	return &catalog.MainProduct{
		Delivery:           store.DefaultDelivery(),
		InsteadOfInventory: instead,
		Integration: store.Integration{
			ResourceType: catalog.DefaultResourceType,
			Endpoint:     store.DefaultEndpoint,
			Amount:       dec(amount),
			Currency:     "credits",
			Parameters:   json.RawMessage(`{"a":1}`),
		},
	}
}

func frozen(t *testing.T, c *catalog.Catalog, wanted ...checkout.LineRequest) ([]checkout.OrderLine, *checkout.Refusal) {
	t.Helper()
	cart, warnings := checkout.PriceCart(c, view, wanted)
	require.Empty(t, warnings)
	return checkout.Freeze(c, cart, view)
}

func TestDeliveriesOfLines(t *testing.T) {
	t.Parallel()
	credits := with(good("credits", catalog.Consumable, usd("1")), func(i *catalog.Item) { i.MainProduct = toldOf("0.5", true) })
	skin := with(good("skin", catalog.NonConsumable, usd("5")), func(i *catalog.Item) { i.MainProduct = toldOf("1", false) })
	box := with(good("box", "", usd("3")), func(i *catalog.Item) {
		i.Type, i.BundleType, i.Content = catalog.Bundle, catalog.StandardBundle, []catalog.Content{{SKU: "credits", Quantity: 10}, {SKU: "euro", Quantity: 2}}
	})
	crate := with(good("crate", "", usd("3")), func(i *catalog.Item) {
		i.Type, i.BundleType, i.Content = catalog.Bundle, catalog.StandardBundle, []catalog.Content{{SKU: "box", Quantity: 3}, {SKU: "credits", Quantity: 1}}
	})
	c := shop(credits, skin, box, crate)
	lines, refusal := frozen(t, c, want("skin", 1), want("crate", 2), want("gun_1", 4), want("credits", 3))
	require.Nil(t, refusal)
	for _, line := range [][]checkout.OrderLine{lines, restored(t, lines)} { // as it was frozen, and as it is read back
		all, err := checkout.Deliveries(line)
		require.NoError(t, err)
		var told []string
		for _, d := range all {
			told = append(told, fmt.Sprintf("%d %s/%s %d: %s %s %s", d.Number, d.LineID, d.SKU, d.Quantity, d.Ask.Amount, d.Ask.Currency, d.Ask.Parameters))
		}
		require.Equal(t, []string{`1 1/skin 1: 1 credits {"a":1}`, `2 2/credits 62: 31 credits {"a":1}`, `3 4/credits 3: 1.5 credits {"a":1}`}, told, "what a line gives of one item is summed")
		grants, err := checkout.LocalGrants(line)
		require.NoError(t, err)
		var local []string
		for _, g := range grants {
			local = append(local, g.ID)
		}
		require.Equal(t, []string{"1/skin", "2/euro", "3/gun_1"}, local)
	}
	none, err := checkout.Deliveries(lines[2:3])
	require.NoError(t, err)
	require.Empty(t, none)
}

func restored(t *testing.T, lines []checkout.OrderLine) (read []checkout.OrderLine) {
	t.Helper()
	encoded, err := json.Marshal(lines)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &read))
	return read
}

func TestOrdersOfTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	var items []catalog.Item
	var wanted []checkout.LineRequest
	for k := range checkout.MaxDeliveries + 1 {
		items = append(items, with(good(fmt.Sprint("c", k), catalog.Consumable, usd("1")), func(i *catalog.Item) { i.MainProduct = toldOf("1", true) }))
		wanted = append(wanted, want(fmt.Sprint("c", k), 1))
	}
	huge := with(good("huge", catalog.Consumable, usd("0.01")), func(i *catalog.Item) { i.MainProduct = toldOf("1000000000", true) })
	c := shop(append(items, huge)...)
	_, refusal := frozen(t, c, wanted[1:]...)
	require.Nil(t, refusal)
	_, refusal = frozen(t, c, wanted...)
	require.Equal(t, checkout.TooManyItems, refusal.Code)
	_, refusal = frozen(t, c, want("huge", 1000))
	require.Nil(t, refusal)
	_, refusal = frozen(t, c, want("huge", 1001))
	require.Equal(t, checkout.TooManyItems, refusal.Code)
}

func TestAnswersToADelivery(t *testing.T) {
	t.Parallel()
	credit := &store.Credit{TransactionID: "tx"}
	refused := checkout.DeliveryAnswer{Refused: true, Reason: checkout.DeliveryReason{Code: "LIMIT_REACHED"}}
	unknown := checkout.DeliveryAnswer{Reason: checkout.DeliveryReason{Code: "timeout"}}
	for _, test := range []struct {
		unsettled int
		answer    checkout.DeliveryAnswer
		want      checkout.DeliveryStatus
	}{
		{1, checkout.DeliveryAnswer{Credit: credit}, checkout.DeliveryDelivered},
		{4, checkout.DeliveryAnswer{Credit: credit}, checkout.DeliveryDelivered},
		{1, refused, checkout.DeliveryRefused},
		{2, refused, checkout.DeliverySuspected},
		{1, unknown, checkout.DeliverySuspected},
		{0, unknown, checkout.DeliverySuspected},
	} {
		d := checkout.Delivery{Status: checkout.DeliveryPending, Calls: 4, Unsettled: test.unsettled}.Answered(test.answer)
		require.Equal(t, test.want, d.Status, "%+v", test)
		require.Equal(t, d.Status == checkout.DeliveryDelivered, d.Reason == nil)
	}
}

func TestDecisionsAboutADelivery(t *testing.T) {
	t.Parallel()
	suspected := checkout.Delivery{
		Status:    checkout.DeliverySuspected,
		Round:     1,
		Begun:     true,
		Unsettled: 1,
		Reason:    &checkout.DeliveryReason{Code: "timeout"},
	}
	again, refusal := suspected.Decided(checkout.DeliverAgain, "")
	require.Nil(t, refusal)
	require.Equal(t, checkout.Delivery{
		Status:    checkout.DeliveryPending,
		Round:     2,
		Unsettled: 1,
	}, again, "what the first round may have done stays known")
	delivered, refusal := suspected.Decided(checkout.MarkDelivered, "tx")
	require.Nil(t, refusal)
	require.Equal(t, []any{checkout.DeliveryDelivered, "tx"}, []any{delivered.Status, delivered.Credit.TransactionID})
	refunded, refusal := suspected.Decided(checkout.RefundUndecided, "")
	require.Nil(t, refusal)
	require.Equal(t, checkout.DeliveryRefunded, refunded.Status)
	_, refusal = suspected.Decided("guess", "")
	require.NotNil(t, refusal)
	for _, status := range []checkout.DeliveryStatus{checkout.DeliveryPending, checkout.DeliveryDelivered, checkout.DeliveryRefused, checkout.DeliveryRefunded} {
		_, refusal = checkout.Delivery{Status: status}.Decided(checkout.RefundUndecided, "")
		require.NotNil(t, refusal, status)
	}
}

// Whatever the answers are: nothing is paid back while something is under way, nor of a line of which
// something was given or may have been; and what was refused ends either paid back or with an admin.
func TestRefusedLinesArePaidBackWithoutAGuess(t *testing.T) {
	t.Parallel()
	statuses := []checkout.DeliveryStatus{checkout.DeliveryPending, checkout.DeliveryDelivered, checkout.DeliveryRefused, checkout.DeliverySuspected, checkout.DeliveryRefunded}
	rapid.Check(t, func(t *rapid.T) {
		var all []checkout.Delivery
		for k := range rapid.IntRange(0, 8).Draw(t, "deliveries") {
			all = append(all, checkout.Delivery{
				Number: k + 1,
				LineID: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "line"),
				Status: rapid.SampledFrom(statuses).Draw(t, "status"),
			})
		}
		of := func(lineID string, status checkout.DeliveryStatus) bool {
			return slices.ContainsFunc(all, func(d checkout.Delivery) bool { return d.LineID == lineID && d.Status == status })
		}
		pending := slices.ContainsFunc(all, func(d checkout.Delivery) bool { return d.Status == checkout.DeliveryPending })
		before := slices.Clone(all)
		back := checkout.Refused(all)
		for _, lineID := range back {
			if pending || of(lineID, checkout.DeliveryDelivered) || of(lineID, checkout.DeliverySuspected) || !of(lineID, checkout.DeliveryRefused) {
				t.Fatalf("line %s of %+v is paid back", lineID, before)
			}
		}
		for k, d := range all {
			if !pending && d.Status == checkout.DeliveryRefused && !slices.Contains(back, d.LineID) && !of(d.LineID, checkout.DeliverySuspected) {
				t.Fatalf("delivery %d of %+v ends nowhere", d.Number, before)
			}
			if d.Status != before[k].Status && (before[k].Status != checkout.DeliveryRefused || d.Status != checkout.DeliverySuspected) {
				t.Fatalf("delivery %d of %+v became %s", d.Number, before, d.Status)
			}
		}
	})
}

func TestRefundOfLines(t *testing.T) {
	t.Parallel()
	order := bought("22.99")
	order.OrderID, order.Status = 41, checkout.Paid
	refund, left := order.RefundOfLines("refused", []string{"2"})
	require.True(t, left)
	require.Equal(t, []any{"rf_41_refused_2", "20", false}, []any{refund.ID, refund.Amount.String(), refund.Whole})
	order.Refunds = append(order.Refunds, refund)
	_, left = order.RefundOfLines("refused", []string{"2"})
	require.False(t, left, "once")
	rest, left := order.RefundOfLines("refused", []string{"1"})
	require.True(t, left)
	require.Equal(t, []any{"2.99", true}, []any{rest.Amount.String(), rest.Whole}, "the bonus goes with it")

	free := checkout.Order{
		OrderID: 42,
		Status:  checkout.Paid,
		Lines:   []checkout.OrderLine{{LineID: "1", SKU: "a", Quantity: 2, IsFree: true}, {LineID: "2", SKU: "b", Quantity: 1, IsFree: true}},
	}
	part, left := free.RefundOfLines("refused", []string{"1"})
	require.True(t, left)
	require.Equal(t, []any{"0", false}, []any{part.Amount.String(), part.Whole})
	whole, _ := free.RefundOfLines("refused", []string{"1", "2"})
	require.True(t, whole.Whole)
}

func TestWhatTheMainProductKeeps(t *testing.T) {
	t.Parallel()
	order := bought("22.99")
	order.Deliveries = []checkout.Delivery{
		{LineID: "1", SKU: "sku1", Status: checkout.DeliveryDelivered, Ask: store.Delivery{Amount: dec("1.5"), Currency: "credits"}},
		{LineID: "2", SKU: "sku2", Status: checkout.DeliveryRefused, Ask: store.Delivery{Amount: dec("2"), Currency: "credits"}},
	}
	kept := order.GivenFor(checkout.Refund{Lines: []checkout.RefundLine{back("1", 2), back("2", 2)}})
	require.Len(t, kept, 1)
	require.Equal(t, []string{"1", "sku1", "1"}, []string{kept[0].LineID, kept[0].SKU, kept[0].Amount.String()}, "two of three pieces")
	require.Empty(t, order.GivenFor(checkout.Refund{Lines: []checkout.RefundLine{back("2", 1)}}))
}
