package catalog_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
)

func quoteText(t *testing.T, q catalog.Quote) string {
	t.Helper()
	text, err := json.Marshal(q)
	require.NoError(t, err)
	return string(text)
}

// The sums that the seeds' sample gets wrong.
func TestSeedsSums(t *testing.T) {
	t.Parallel()
	unit, err := gun().QuoteOf(view)
	require.NoError(t, err)
	require.JSONEq(t, `{"amount":"0.9950","amount_without_discount":"1.9900","currency":"USD"}`, quoteText(t, *unit))
	total, ok := unit.Times(123)
	require.True(t, ok)
	require.JSONEq(t, `{"amount":"122.3850","amount_without_discount":"244.7700","currency":"USD"}`, quoteText(t, total))
	require.Equal(t, "122.39", total.Payable().String())
}

func TestQuotesAreWrittenByOneRule(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ amount, without, currency, wantAmount, wantWithout string }{
		{"4.5", "9", "EUR", "4.50", "9.00"},
		{"0.995", "1.99", "USD", "0.9950", "1.9900"},
		{"0", "9", "USD", "0.00", "9.00"},
		{"120", "240", "JPY", "120", "240"},
		{"120.5", "241", "JPY", "120.50", "241.00"},
		{"1.234", "1.234", "KWD", "1.234", "1.234"},
		{"1.2345", "2", "KWD", "1.23450", "2.00000"},
	} {
		text := quoteText(t, catalog.Quote{Amount: dec(test.amount), WithoutDiscount: dec(test.without), Currency: test.currency})
		require.JSONEq(t, `{"amount":"`+test.wantAmount+`","amount_without_discount":"`+test.wantWithout+`","currency":"`+test.currency+`"}`, text)
		var back catalog.Quote
		require.NoError(t, json.Unmarshal([]byte(text), &back))
		require.True(t, back.Equal(catalog.Quote{Amount: dec(test.amount), WithoutDiscount: dec(test.without), Currency: test.currency}))
	}
}

func TestPayableRoundsHalfUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ amount, currency, want string }{
		{"0.995", "USD", "1"}, {"0.985", "USD", "0.99"}, {"0.9849", "USD", "0.98"}, {"2.5", "JPY", "3"}, {"3.5", "JPY", "4"}, {"1.2345", "KWD", "1.235"},
		{"0.004", "USD", "0.01"}, {"0.01", "JPY", "1"}, {"0", "USD", "0"}, // only what is free costs nothing
	} {
		require.Equal(t, test.want, catalog.Quote{Amount: dec(test.amount), Currency: test.currency}.Payable().String(), "%+v", test)
	}
}

func TestTotalsAreBounded(t *testing.T) {
	t.Parallel()
	q := catalog.Quote{Amount: dec("1"), WithoutDiscount: dec("1000000"), Currency: "USD"}
	most, ok := q.Times(1_000_000)
	require.True(t, ok)
	_, ok = q.Times(1_000_001)
	require.False(t, ok)
	_, ok = most.Plus(catalog.Quote{Amount: dec("0.01"), WithoutDiscount: dec("0.01"), Currency: "USD"})
	require.False(t, ok)
	_, ok = catalog.VirtualQuote{SKU: "gold", Amount: 1, WithoutDiscount: 1_000_000_000_000}.Times(2)
	require.False(t, ok)
	three, ok := catalog.VirtualQuote{SKU: "gold", Amount: 1, WithoutDiscount: 2}.Times(3)
	require.True(t, ok)
	require.Equal(t, catalog.VirtualQuote{SKU: "gold", Amount: 3, WithoutDiscount: 6}, three)
}

func TestPriceResolution(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ currency, country, want string }{
		"nothing known: the default":                       {"", "", "9EUR"},
		"a country without a price of its own":             {"", "FR", "9EUR"},
		"the country's":                                    {"", "JP", "900JPY"},
		"the country's, in the default's currency":         {"", "DE", "8EUR"},
		"a currency asked for":                             {"USD", "", "10USD"},
		"a currency asked for wins over the country's":     {"USD", "JP", "10USD"},
		"a currency and the country's price in it":         {"EUR", "DE", "8EUR"},
		"a currency, elsewhere":                            {"EUR", "FR", "9EUR"},
		"a currency that only another country has":         {"JPY", "US", "none in JPY"},
		"a currency that nobody has":                       {"GBP", "", "none in GBP"},
		"what is no currency":                              {"XXX", "", "none in XXX"},
		"a currency in small letters is no other currency": {"usd", "", "none in usd"},
	} {
		quote, err := pass().QuoteOf(catalog.View{Currency: test.currency, Country: test.country, Now: now})
		if test.want == "none in "+test.currency {
			var missing *catalog.NoPriceError
			require.ErrorAs(t, err, &missing, name)
			require.Equal(t, catalog.NoPriceError{SKU: "pass_s3", Currency: test.currency}, *missing, name)
			require.Nil(t, quote, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, test.want, quote.Amount.String()+quote.Currency, name)
	}
	_, err := gold().QuoteOf(view)
	require.EqualError(t, err, "gold has no price in money")
	free, err := skin().QuoteOf(view)
	require.NoError(t, err)
	require.Nil(t, free)
	_, err = pass().VirtualQuoteOf("silver", view)
	require.EqualError(t, err, "pass_s3 has no price in silver")
}

func TestBestDiscountCounts(t *testing.T) {
	t.Parallel()
	promotions := []catalog.Promotion{
		{ID: "ten", Discount: percent("10")},
		{ID: "over", Discount: percent("90"), Until: &now},
		{ID: "soon", Discount: percent("80"), From: &after},
		{ID: "once", Discount: percent("50"), From: &now, Until: &after, Limits: catalog.PromotionLimits{PerUser: 1}},
		{ID: "off", Discount: &catalog.Discount{Value: new(dec("2")), Currency: "EUR"}},
		{ID: "yen", Discount: &catalog.Discount{Value: new(dec("899")), Currency: "JPY"}},
	}
	item := changed(pass(), func(i *catalog.Item) { i.Promotions = promotions })
	once := map[string]catalog.Usage{"pass_s3": {Promotions: map[string]int64{"once": 1}}}
	for name, test := range map[string]struct {
		view catalog.View
		want string
		gold int64
	}{
		"the lowest of those that run":                    {catalog.View{Now: now}, "4.5", 450},
		"used up: the next":                               {catalog.View{Now: now, Usages: once}, "7", 810},
		"a value in this currency":                        {catalog.View{Now: now, Usages: once, Currency: "USD"}, "9", 810},
		"a value in another currency does not count here": {catalog.View{Now: now, Country: "JP"}, "1", 450},
		"before":              {catalog.View{Now: before}, "0.9", 90},
		"a later one":         {catalog.View{Now: after}, "1.8", 180},
		"the instant it ends": {catalog.View{Now: after, Currency: "USD"}, "2", 180},
	} {
		quote, err := item.QuoteOf(test.view)
		require.NoError(t, err, name)
		require.Equal(t, test.want, quote.Amount.String(), name)
		virtual, err := item.VirtualQuoteOf("gold", test.view)
		require.NoError(t, err, name)
		require.Equal(t, catalog.VirtualQuote{SKU: "gold", Amount: test.gold, WithoutDiscount: 900}, virtual, name)
	}
	require.Equal(t, []string{"once"}, item.UsedPromotions(now, catalog.Usage{}))
	require.Empty(t, item.UsedPromotions(now, once["pass_s3"]))
	require.Empty(t, item.UsedPromotions(before, catalog.Usage{}))
}

// A discount is never negative, never more than the price, exact to the last decimal that is kept, and only a
// full one makes a price zero.
func TestDiscounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"USD", "JPY", "KWD"}).Draw(t, "currency")
		decimals, _ := catalog.Decimals(currency)
		smallest := dec("1").Shift(-decimals - 2)
		price := smallest.Mul(dec("1").Mul(dec(rapid.StringMatching(`[1-9][0-9]{0,11}`).Draw(t, "price"))))
		item := changed(gun(), func(i *catalog.Item) {
			i.Prices = []catalog.Price{{Amount: price, Currency: currency, IsDefault: true}}
			i.VirtualPrices = []catalog.VirtualPrice{{SKU: "gold", Amount: rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "gold")}}
			i.Promotions = nil
			for range rapid.IntRange(0, 3).Draw(t, "promotions") {
				p := dec("0.01").Mul(dec("1").Mul(dec(rapid.StringMatching(`[1-9][0-9]{0,3}`).Draw(t, "percent"))))
				v := smallest.Mul(dec(rapid.StringMatching(`[1-9][0-9]{0,11}`).Draw(t, "value")))
				if rapid.Bool().Draw(t, "kind") {
					i.Promotions = append(i.Promotions, catalog.Promotion{Discount: &catalog.Discount{Percent: &p}})
				} else {
					i.Promotions = append(i.Promotions, catalog.Promotion{Discount: &catalog.Discount{Value: &v, Currency: currency}})
				}
			}
		})
		quote, err := item.QuoteOf(view)
		if err != nil || quote.Amount.IsNegative() || quote.Amount.GreaterThan(price) || !quote.WithoutDiscount.Equal(price) ||
			!quote.Amount.Equal(quote.Amount.Truncate(decimals+2)) {
			t.Fatalf("%v %v", quote, err)
		}
		lowest := price // by the rule, computed anew
		for _, p := range item.Promotions {
			var with decimal.Decimal
			if p.Discount.Value != nil {
				if with = price.Sub(*p.Discount.Value); with.IsNegative() {
					with = dec("0")
				}
			} else if with = price.Sub(price.Mul(*p.Discount.Percent).Div(dec("100"))).Round(decimals + 2); with.IsZero() {
				with = smallest
			}
			if with.LessThan(lowest) {
				lowest = with
			}
		}
		if !lowest.Equal(quote.Amount) {
			t.Fatalf("%s, by the rule %s", quote.Amount, lowest)
		}
		virtual, err := item.VirtualQuoteOf("gold", view)
		if err != nil || virtual.Amount < 1 || virtual.Amount > virtual.WithoutDiscount {
			t.Fatalf("%v %v", virtual, err)
		}
	})
}

func TestFullDiscountIsFree(t *testing.T) {
	t.Parallel()
	for _, discount := range []*catalog.Discount{percent("100"), {Value: new(dec("1.99")), Currency: "USD"}, {Value: new(dec("5")), Currency: "USD"}} {
		quote, err := changed(gun(), func(i *catalog.Item) { i.Promotions[0].Discount = discount }).QuoteOf(view)
		require.NoError(t, err)
		require.True(t, quote.Amount.IsZero())
		require.True(t, shop().ShowItem(changed(gun(), func(i *catalog.Item) { i.Promotions[0].Discount = discount }), view).IsFree, "it is ordered as free")
	}
	require.False(t, shop().ShowItem(gun(), view).IsFree)
}

func TestBonus(t *testing.T) {
	t.Parallel()
	item := changed(gun(), func(i *catalog.Item) {
		i.Promotions = []catalog.Promotion{
			{ID: "a", Bonus: []catalog.Content{{SKU: "gold", Quantity: 10}, {SKU: "skin", Quantity: 1}}},
			{ID: "b", Bonus: []catalog.Content{{SKU: "gold", Quantity: 5}}, Limits: catalog.PromotionLimits{PerUser: 2}},
			{ID: "c", Bonus: []catalog.Content{{SKU: "chest", Quantity: 5}}, Until: &before},
		}
	})
	bonus, ok := item.BonusOf(3, now, catalog.Usage{Promotions: map[string]int64{"b": 1}})
	require.True(t, ok)
	require.Equal(t, []catalog.Content{{SKU: "gold", Quantity: 45}, {SKU: "skin", Quantity: 3}}, bonus)
	bonus, ok = item.BonusOf(3, now, catalog.Usage{Promotions: map[string]int64{"b": 2}})
	require.True(t, ok)
	require.Equal(t, int64(30), bonus[0].Quantity)
	_, ok = item.BonusOf(1_000_000_000, now, catalog.Usage{})
	require.False(t, ok)
}

func TestLocales(t *testing.T) {
	t.Parallel()
	all := catalog.Text{"pt": "pt", "pt-BR": "pt-BR", "en": "en", "de": "de", "fr": "fr", "zh-Hant": "zh-Hant"}
	without := func(locales ...string) catalog.Text {
		rest := catalog.Text{}
		for locale, text := range all {
			rest[locale] = text
		}
		for _, locale := range locales {
			delete(rest, locale)
		}
		return rest
	}
	for _, test := range []struct {
		text           catalog.Text
		locale, of, it string
	}{
		{all, "pt-BR", "de", "pt-BR"}, {all, "pt-br", "de", "pt-BR"}, {all, "PT", "de", "pt"}, {without("pt-BR"), "pt-BR", "de", "pt"},
		{all, "zh-Hant-TW", "de", "zh-Hant"}, {all, "ru", "de", "en"}, {all, "", "de", "en"}, {all, "not a locale", "de", "en"},
		{without("en"), "ru", "de", "de"}, {without("en", "de"), "ru", "de", "fr"}, {without("en", "de", "fr"), "ru", "", "pt"}, {nil, "en", "en", ""},
	} {
		require.Equal(t, test.it, test.text.In(test.locale, test.of), "%+v", test)
	}
}

func TestObstacles(t *testing.T) {
	t.Parallel()
	limited := func(l catalog.Limits) func(*catalog.Item) { return func(i *catalog.Item) { i.Limits = l } }
	daily := catalog.RecurrentSchedule{PerUser: &catalog.Recurrence{Interval: catalog.Daily}}
	same := func(*catalog.Item) {}
	for name, test := range map[string]struct {
		item     catalog.Item
		change   func(*catalog.Item)
		quantity int64
		country  string
		usage    catalog.Usage
		want     catalog.Obstacle
	}{
		"none":                         {item: gun(), change: same},
		"draft":                        {item: gun(), change: func(i *catalog.Item) { i.Status = catalog.Draft }, want: catalog.NotPublished},
		"unit":                         {item: game(), change: same, want: catalog.NotSoldAlone},
		"country":                      {item: gun(), change: func(i *catalog.Item) { i.Countries = []string{"DE"} }, country: "DE"},
		"other country":                {item: gun(), change: func(i *catalog.Item) { i.Countries = []string{"DE"} }, country: "FR", want: catalog.NotInCountry},
		"unknown country":              {item: gun(), change: func(i *catalog.Item) { i.Countries = []string{"DE"} }, want: catalog.NotInCountry},
		"first instant of a period":    {item: gun(), change: func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: now, Until: &after}} }},
		"end of a period":              {item: gun(), change: func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: before, Until: &now}} }, want: catalog.NotInPeriod},
		"before":                       {item: gun(), change: func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: after}} }, want: catalog.NotInPeriod},
		"second period":                {item: gun(), change: func(i *catalog.Item) { i.Periods = []catalog.SalePeriod{{From: after}, {From: before}} }},
		"owned":                        {item: skin(), change: same, usage: catalog.Usage{Owned: true}, want: catalog.AlreadyOwned},
		"two of what is owned once":    {item: skin(), change: same, quantity: 2, want: catalog.AlreadyOwned},
		"last of the user":             {item: gun(), change: limited(catalog.Limits{PerUser: 3}), usage: catalog.Usage{ByUser: 2}},
		"more than the user may":       {item: gun(), change: limited(catalog.Limits{PerUser: 3}), quantity: 2, usage: catalog.Usage{ByUser: 2}, want: catalog.UserLimit},
		"more than the user may today": {item: gun(), change: limited(catalog.Limits{PerUser: 3, Recurrent: daily}), quantity: 2, usage: catalog.Usage{ByUser: 2}, want: catalog.UserLimitReset},
		"last of all":                  {item: gun(), change: limited(catalog.Limits{PerItem: 3}), usage: catalog.Usage{Sold: 1, Reserved: 1}},
		"more than are left":           {item: gun(), change: limited(catalog.Limits{PerItem: 3}), quantity: 2, usage: catalog.Usage{Sold: 1, Reserved: 1}, want: catalog.TooMany},
		"sold out":                     {item: gun(), change: limited(catalog.Limits{PerItem: 3}), usage: catalog.Usage{Sold: 1, Reserved: 2}, want: catalog.SoldOut},
		"keys":                         {item: key(), change: same, quantity: 2, usage: catalog.Usage{Keys: 2}},
		"too few keys":                 {item: key(), change: same, quantity: 3, usage: catalog.Usage{Keys: 2}, want: catalog.TooFewKeys},
		"no keys":                      {item: key(), change: same, want: catalog.NoKeys},
		"bundle":                       {item: chest(), change: same, quantity: 1000},
		"bundle with a deleted item":   {item: chest(), change: func(i *catalog.Item) { i.Content = []catalog.Content{{SKU: "gone", Quantity: 1}} }, want: catalog.Incomplete},
		"a hundred years":              {item: pass(), change: same, quantity: 1216},
		"more than a hundred years":    {item: pass(), change: same, quantity: 1217, want: catalog.TooLong},
	} {
		item := changed(test.item, test.change)
		looking := catalog.View{Now: now, Country: test.country, Usages: map[string]catalog.Usage{item.SKU: test.usage}}
		require.Equal(t, test.want, shop().Obstacle(item, max(test.quantity, 1), looking), name)
	}
}

func TestBundleStopsSellingWithoutItsKeys(t *testing.T) {
	t.Parallel()
	edition := changed(chest(), func(i *catalog.Item) {
		i.SKU, i.Content = "edition", []catalog.Content{{SKU: "game_steam", Quantity: 2}}
	})
	c := shop(edition)
	for keys, want := range map[int64]catalog.Obstacle{0: catalog.NoKeys, 3: catalog.TooFewKeys, 4: ""} {
		looking := catalog.View{Now: now, Usages: map[string]catalog.Usage{"game_steam": {Keys: keys}}}
		require.Equal(t, want, c.Obstacle(edition, 2, looking))
		require.Equal(t, keys >= 2, c.ShowBundle(edition, looking).CanBeBought)
	}
}

func TestBundleOfWhatIsOwnedOnce(t *testing.T) {
	t.Parallel()
	edition := changed(chest(), func(i *catalog.Item) {
		i.SKU, i.Content = "edition", []catalog.Content{{SKU: "skin", Quantity: 1}, {SKU: "gun_1", Quantity: 5}}
	})
	c := shop(edition)
	for owned, want := range map[bool]catalog.Obstacle{false: "", true: catalog.AlreadyOwned} {
		looking := catalog.View{Now: now, Usages: map[string]catalog.Usage{"skin": {Owned: owned}}}
		require.Equal(t, want, c.Obstacle(edition, 1, looking))
		require.Equal(t, catalog.AlreadyOwned, c.Obstacle(edition, 2, looking))
		require.Equal(t, !owned, c.CanBeGiven(edition, 1, looking))
		require.False(t, c.CanBeGiven(skin(), 2, looking))
	}
}

func TestUnfold(t *testing.T) {
	t.Parallel()
	grants, err := shop().Unfold(chest(), 2)
	require.NoError(t, err)
	counts := map[string]int64{}
	for _, grant := range grants {
		counts[grant.SKU] = grant.Quantity
	}
	require.Equal(t, map[string]int64{"gun_1": 4, "gold": 600}, counts)
	_, err = shop().Unfold(game(), 1)
	require.ErrorIs(t, err, inventory.ErrUnknownKind)
}

func TestLimitsBeginAnew(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 22, 30, 0, 0, time.UTC) // a Sunday; Monday in Moscow
	for _, test := range []struct {
		recurrence catalog.Recurrence
		start, end string
	}{
		{catalog.Recurrence{Interval: catalog.Daily}, "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{catalog.Recurrence{Interval: catalog.Daily, TimeZone: "Europe/Moscow"}, "2026-11-22T21:00:00Z", "2026-11-23T21:00:00Z"},
		{catalog.Recurrence{Interval: catalog.Weekly}, "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{catalog.Recurrence{Interval: catalog.Weekly, TimeZone: "Europe/Moscow"}, "2026-11-22T21:00:00Z", "2026-11-29T21:00:00Z"},
		{catalog.Recurrence{Interval: catalog.Monthly}, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{catalog.Recurrence{Interval: catalog.Monthly, TimeZone: "America/New_York"}, "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
	} {
		period := test.recurrence.PeriodAt(at)
		require.Equal(t, test.start, period.Start.UTC().Format(time.RFC3339), "%+v", test)
		require.Equal(t, test.end, period.End.UTC().Format(time.RFC3339), "%+v", test)
		item := changed(gun(), func(i *catalog.Item) {
			i.Limits = catalog.Limits{PerUser: 3, Recurrent: catalog.RecurrentSchedule{PerUser: &test.recurrence}}
		})
		shown := shop().ShowItem(item, catalog.View{Now: at, Usages: map[string]catalog.Usage{"gun_1": {ByUser: 5}}}).Limits.PerUser
		require.Equal(t, catalog.ShownTotal{Available: 0, Total: 3}, shown.ShownTotal)
		require.Equal(t, &catalog.ShownRecurrence{
			IntervalType:  test.recurrence.Interval,
			ResetNextDate: period.End.Unix(),
		}, shown.RecurrentSchedule)
	}
}
