package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

func TestPlanImport(t *testing.T) {
	t.Parallel()
	named := func(sku string, change func(*Product)) Product {
		p := valid()
		p.SKU, p.Version, p.Stock.Initial = sku, 7, 50
		if change != nil {
			change(&p)
		}
		return p
	}
	from := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	zoned := from.In(time.FixedZone("", 3*60*60))
	existing := map[string]Product{
		"same": named("same", func(p *Product) {
			p.Schedule.From, p.Integration.Parameters, p.Integration.Amount = &from, json.RawMessage(`{"b": 1, "a": 2}`), decimal.RequireFromString("1.0")
		}),
		"other": named("other", nil), "fixed": named("fixed", nil),
	}
	rows := []ImportRow{
		{Row: 1, Product: named("same", func(p *Product) {
			p.Version, p.Stock.Initial = 0, 0
			p.Schedule.From, p.Integration.Parameters = &zoned, json.RawMessage(`{"a":2,"b":1}`)
		})},
		{Row: 2, Product: named("other", func(p *Product) { p.Name = "edited" }), InitialGiven: true},
		{Row: 3, Product: named("new", nil), InitialGiven: true},
	}
	steps, mistakes, err := PlanImport(rows, existing)
	require.NoError(t, err)
	require.Empty(t, mistakes)
	require.Equal(t, []ImportAction{ImportUnchanged, ImportReplace, ImportCreate}, []ImportAction{steps[0].Action, steps[1].Action, steps[2].Action})

	rows = append(rows,
		ImportRow{Row: 4, Product: named("new", nil), InitialGiven: true},
		ImportRow{Row: 5, Product: named("fixed", func(p *Product) { p.Stock.Initial = 51 }), InitialGiven: true},
		ImportRow{Row: 6, Product: named("newer", func(p *Product) { p.Stock.Initial = 0 })})
	_, mistakes, err = PlanImport(rows, existing)
	require.NoError(t, err)
	var found []RowError
	for _, m := range mistakes {
		m.Message = ""
		found = append(found, m)
	}
	require.Equal(t, []RowError{{4, FieldError{"sku", ""}}, {5, FieldError{"stock.initial", ""}}, {6, FieldError{"stock.initial", ""}}}, found)
}
