package store_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/store"
)

const most = 1_000_000_000

func TestDecideStockEdits(t *testing.T) {
	t.Parallel()
	stock := map[string]int64{"a": 10, "full": most}
	for name, test := range map[string]struct {
		edit  store.StockEdit
		after int64
		code  store.EditCode
		field string
	}{
		"set":             {edit: store.StockEdit{SKU: "a", Set: new(int64(7))}, after: 7},
		"set 0":           {edit: store.StockEdit{SKU: "a", Set: new(int64(0))}, after: 0},
		"set most":        {edit: store.StockEdit{SKU: "a", Set: new(int64(most))}, after: most},
		"set more":        {edit: store.StockEdit{SKU: "a", Set: new(int64(most + 1))}, code: store.EditAboveMaximum, field: "set"},
		"set below":       {edit: store.StockEdit{SKU: "a", Set: new(int64(-1))}, code: store.EditBelowZero, field: "set"},
		"add":             {edit: store.StockEdit{SKU: "a", Add: new(int64(5))}, after: 15},
		"take all":        {edit: store.StockEdit{SKU: "a", Add: new(int64(-10))}, after: 0},
		"take one more":   {edit: store.StockEdit{SKU: "a", Add: new(int64(-11))}, code: store.EditBelowZero, field: "add"},
		"add to the most": {edit: store.StockEdit{SKU: "full", Add: new(int64(1))}, code: store.EditAboveMaximum, field: "add"},
		"nothing":         {edit: store.StockEdit{SKU: "b", Set: new(int64(1))}, code: store.EditProductNotFound, field: "sku"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, err := store.DecideStockEdits(store.PerItem, []store.StockEdit{test.edit}, stock)
			require.NoError(t, err)
			if test.code == "" {
				require.Equal(t, test.after, *results[0].After)
				require.Equal(t, stock[test.edit.SKU] != test.after, results[0].Changed())
				return
			}
			require.Nil(t, results[0].After)
			require.Equal(t, test.code, results[0].Mistake.Code)
			require.Equal(t, test.field, results[0].Mistake.Field)
			_, err = store.DecideStockEdits(store.AllOrNothing, []store.StockEdit{{SKU: "a", Add: new(int64(1))}, test.edit}, stock)
			var refused *store.RefusedEditError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, "items[1]: ")
		})
	}
	results, err := store.DecideStockEdits(store.PerItem, []store.StockEdit{{SKU: "a", Add: new(int64(1))}, {SKU: "a", Set: new(int64(3))}}, stock)
	require.NoError(t, err)
	require.EqualValues(t, 11, *results[0].After, "the first of two rows of a product is done")
	require.Equal(t, store.EditRepeated, results[1].Mistake.Code)
}

func TestStockEditsNeedOneOfTwo(t *testing.T) {
	t.Parallel()
	mistakes := store.ValidateStockEdits([]store.StockEdit{{SKU: "a", Set: new(int64(1))}, {SKU: "b"}, {SKU: "c", Set: new(int64(1)), Add: new(int64(1))}})
	require.Len(t, mistakes, 2)
	require.Equal(t, []string{"items[1]", "items[2]"}, []string{mistakes[0].Field, mistakes[1].Field})
}

func TestReplenish(t *testing.T) {
	t.Parallel()
	settings := store.StockSettings{Minimum: 10, Replenishment: store.Replenishment{Amount: 50, Ceiling: 55, MaxPerDay: 2}}
	for _, test := range []struct {
		available, times, after int64
		due                     bool
	}{
		{available: 11, after: 11},
		{available: 10, after: 55, due: true},
		{available: 5, after: 55, due: true},
		{available: 4, after: 54, due: true},
		{available: 0, times: 1, after: 50, due: true},
		{available: 0, times: 2, after: 0},
	} {
		after, due := settings.Replenish(test.available, test.times)
		require.Equal(t, test.after, after, "%+v", test)
		require.Equal(t, test.due, due, "%+v", test)
	}
	_, due := store.StockSettings{Minimum: 10}.Replenish(0, 0)
	require.False(t, due, "off unless set")
}

func TestReplenishStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.Int64Range(0, most)
		settings := store.StockSettings{Minimum: pieces.Draw(t, "minimum"), Replenishment: store.Replenishment{
			Amount: pieces.Draw(t, "amount"), Ceiling: pieces.Draw(t, "ceiling"), MaxPerDay: rapid.IntRange(0, 5).Draw(t, "most")}}
		available, times := pieces.Draw(t, "available"), rapid.Int64Range(0, 5).Draw(t, "times")
		after, due := settings.Replenish(available, times)
		if due && (after <= available || after > settings.Replenishment.Ceiling || after-available > settings.Replenishment.Amount ||
			available > settings.Minimum || times >= int64(settings.Replenishment.MaxPerDay)) {
			t.Fatalf("%+v: %d to %d after %d times", settings, available, after, times)
		}
	})
}

func TestReplenishmentIsValidated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings store.Replenishment
		field    string
	}{
		"off":              {},
		"good":             {settings: store.Replenishment{Amount: 1, Ceiling: 11, MaxPerDay: 1}},
		"no amount":        {settings: store.Replenishment{Ceiling: 11, MaxPerDay: 1}, field: "stock.replenishment.amount"},
		"ceiling too low":  {settings: store.Replenishment{Amount: 1, Ceiling: 10, MaxPerDay: 1}, field: "stock.replenishment.ceiling"},
		"ceiling too high": {settings: store.Replenishment{Amount: 1, Ceiling: most + 1, MaxPerDay: 1}, field: "stock.replenishment.ceiling"},
		"never":            {settings: store.Replenishment{Amount: 1, Ceiling: 11}, field: "stock.replenishment.max_per_day"},
	} {
		product := store.Product{
			SKU:         "a",
			Name:        "a",
			Kind:        "credits",
			PriceCoins:  1,
			Status:      store.Draft,
			Stock:       store.StockSettings{Minimum: 10, Replenishment: test.settings},
			Integration: store.Integration{ResourceType: "x", Endpoint: "/a", Amount: decimal.NewFromInt(1), Currency: "c"},
			Delivery:    store.DefaultDelivery(),
		}
		var fields []string
		for _, mistake := range product.Validate() {
			fields = append(fields, mistake.Field)
		}
		if test.field == "" {
			require.Empty(t, fields, name)
		} else {
			require.Equal(t, []string{test.field}, fields, name)
		}
	}
}

func TestForecastStock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	old := now.Add(-400 * day)
	for name, test := range map[string]struct {
		c               store.Consumption
		window, rate    string
		cover           string // "" for none
		runsOut         time.Duration
		recommended, by int64
	}{
		"two a day":            {c: store.Consumption{Available: 40, Minimum: 10, Sold: 60, Window: 30 * day, CreatedAt: old}, window: "30", rate: "2", cover: "20", runsOut: 20 * day, recommended: 42, by: 2},
		"whole pieces":         {c: store.Consumption{Available: 1, Sold: 20, Window: 3 * day, CreatedAt: old}, window: "3", rate: "6.6667", cover: "0.15", runsOut: 12960 * time.Second, recommended: 140, by: 139},
		"a piece is rounded":   {c: store.Consumption{Available: 1, Sold: 1, Window: 30 * day, CreatedAt: old}, window: "30", rate: "0.0333", cover: "30", runsOut: 30 * day, recommended: 1},
		"nothing sold":         {c: store.Consumption{Available: 40, Minimum: 10, Window: 30 * day, CreatedAt: old}, window: "30", rate: "0", recommended: 10},
		"sold out":             {c: store.Consumption{Sold: 30, Window: 30 * day, CreatedAt: old}, window: "30", rate: "1", cover: "0", recommended: 21, by: 21},
		"below the minimum":    {c: store.Consumption{Available: 40, Minimum: 100, Sold: 60, Window: 30 * day, CreatedAt: old}, window: "30", rate: "2", cover: "20", runsOut: 20 * day, recommended: 100, by: 60},
		"a young product":      {c: store.Consumption{Available: 10, Sold: 10, Window: 30 * day, CreatedAt: now.Add(-2 * day)}, window: "2", rate: "5", cover: "2", runsOut: 2 * day, recommended: 105, by: 95},
		"an hour old":          {c: store.Consumption{Available: 10, Sold: 10, Window: 30 * day, CreatedAt: now.Add(-time.Hour)}, window: "1", rate: "10", cover: "1", runsOut: day, recommended: 210, by: 200},
		"beyond ten years":     {c: store.Consumption{Available: 122, Sold: 1, Window: 30 * day, CreatedAt: old}, window: "30", rate: "0.0333", cover: "3660", recommended: 1},
		"as much as there are": {c: store.Consumption{Available: most, Sold: most, Window: day, CreatedAt: old}, window: "1", rate: "1000000000", cover: "1", runsOut: day, recommended: most},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := store.ForecastStock(test.c, now)
			require.Equal(t, []string{test.window, test.rate}, []string{f.WindowDays.String(), f.RatePerDay.String()})
			require.Equal(t, []int64{test.recommended, test.by}, []int64{f.RecommendedStock, f.RecommendedAdd})
			if test.cover == "" {
				require.Nil(t, f.DaysOfCover)
			} else {
				require.Equal(t, test.cover, f.DaysOfCover.String())
			}
			if test.runsOut == 0 && test.c.Available > 0 {
				require.Nil(t, f.RunsOutAt)
			} else {
				require.Equal(t, now.Add(test.runsOut), *f.RunsOutAt)
			}
		})
	}
}
