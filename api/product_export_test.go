package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/testkit"
)

// Importing an export changes nothing, in either format, also into an empty shop.
func TestExportIsWhatImportTakes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	products := make([]string, 2*exportPage+7) // more than two pages
	for i := range products {
		products[i] = fmt.Sprintf(`{"sku":"p%03d","name":"'-%d","description":"=a;\"b\"","price_coins":%d,"position":%d,"stock":{"initial":%d,"minimum":0},
			"integration":{"amount":"%d.25","currency":"c","parameters":{"n":1.50,"a":[1,{"b":"<&>"}]}},"limits":{"per_user":1,"give_back_on_refund":true},
			"schedule":{"from":"2026-11-22T15:00:00+03:00","time_zone":"Europe/Moscow"},"requires":{"completed_tasks":["t"],"attributes":{"a,b":"=c"}}}`, i, i, i+1, i, i, i+1)
	}
	require.Equal(t, "407 created, 0 replaced, 0 unchanged", summary(t, s.call("admin", "POST", importPath, "["+strings.Join(products, ",")+"]")))
	asJSON, inCSV := s.call("support", "GET", exportPath, ""), s.call("admin", "GET", exportPath+"?format=csv", "")
	require.Equal(t, 200, asJSON.status)
	require.Equal(t, `attachment; filename="products.csv"`, inCSV.header.Get("Content-Disposition"))
	before := s.written()
	require.Equal(t, "0 created, 0 replaced, 408 unchanged", summary(t, s.call("admin", "POST", importPath+"?dry_run=true", string(asJSON.body))))
	require.Equal(t, "0 created, 0 replaced, 408 unchanged", summary(t, s.call("admin", "POST", importPath+"?dry_run=true", string(inCSV.body), asCSV)))
	require.Equal(t, before, s.written())

	empty := newShop(t)
	require.Equal(t, "407 created, 0 replaced, 1 unchanged", summary(t, empty.call("admin", "POST", importPath, string(inCSV.body), asCSV)))
	require.Equal(t, string(asJSON.body), string(empty.call("admin", "GET", exportPath, "").body))
	require.Equal(t, string(inCSV.body), string(empty.call("admin", "GET", exportPath+"?format=csv", "").body))
}

// An export that fails after its first page breaks off: what arrived can't be taken for the whole.
func TestExportThatFailsBreaksOff(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	file := "sku,name,price_coins,stock.initial,integration.amount,integration.currency\n"
	for i := range exportPage + 1 {
		file += fmt.Sprintf("p%03d,x,1,1,1,c\n", i)
	}
	require.Equal(t, 200, s.call("admin", "POST", importPath, file, asCSV).status)
	testkit.Exec(t, s.db, "UPDATE products SET requires = '[]' WHERE sku = 'p200'")
	for _, format := range []string{"json", "csv"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.http.URL+exportPath+"?format="+format, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+keyOf("admin"))
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_, err = io.ReadAll(response.Body)
		require.NoError(t, response.Body.Close())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.Contains(t, s.log.String(), "requires of product p200", "and it is logged")
	testkit.Exec(t, s.db, "UPDATE products SET requires = '[]' WHERE sku = 'p000'")
	require.Equal(t, 500, s.call("admin", "GET", exportPath, "").status, "before the first page it is a problem")
}

func rowSchema() *openapi3.Schema { return testDoc().Components.Schemas["ProductRow"].Value }

// anyProduct draws a product that the rules allow, with texts that are hard on CSV.
func anyProduct(t *rapid.T) store.Product {
	text := func(name string, min, max int) string {
		runes := rapid.StringOfN(rapid.RuneFrom([]rune(`=+-@'";, ,aZ0яё€<&>{}[]\|`)), min, max, -1)
		return strings.TrimSpace(runes.Filter(func(s string) bool { return len([]rune(strings.TrimSpace(s))) >= min }).Draw(t, name))
	}
	pieces := func(name string) int64 { return rapid.Int64Range(0, 1_000_000_000).Draw(t, name) }
	p := store.Product{
		SKU:             rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,20}`).Draw(t, "sku"),
		Name:            text("name", 1, 30),
		Description:     text("description", 0, 60),
		Group:           text("group", 0, 10),
		Kind:            rapid.SampledFrom([]string{"multiplier", "vip_status", "=loot", "exclusive_access"}).Draw(t, "kind"),
		ValiditySeconds: rapid.Int64Range(60, 315_360_000).Draw(t, "validity"),
		PriceCoins:      rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "price"),
		Status:          rapid.SampledFrom([]store.ProductStatus{store.Draft, store.Published}).Draw(t, "status"),
		Position:        rapid.IntRange(0, 1_000_000).Draw(t, "position"),
		Stock: store.StockSettings{
			Initial:    pieces("initial"),
			Minimum:    pieces("minimum"),
			HideAtZero: rapid.Bool().Draw(t, "hide"),
		},
		Integration: store.Integration{
			ResourceType: text("type", 1, 20),
			Endpoint:     "/api/v1/" + rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "endpoint"),
			Currency:     text("currency", 1, 10),
			Amount:       decimal.New(rapid.Int64Range(1, 1_000_000_000).Draw(t, "amount"), -int32(rapid.IntRange(0, 8).Draw(t, "decimals"))),
		},
		Delivery: store.DefaultDelivery(),
		Limits: store.Limits{
			PerUser:          pieces("user"),
			PerDay:           pieces("day"),
			VIPReserve:       pieces("vip"),
			GiveBackOnRefund: rapid.Bool().Draw(t, "back"),
		},
		Schedule: store.Schedule{TimeZone: rapid.SampledFrom([]string{"", "UTC", "Europe/Moscow"}).Draw(t, "zone")},
		Requires: store.Requirements{VIP: rapid.Bool().Draw(t, "for vips")},
	}
	if rapid.Bool().Draw(t, "more") {
		from := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "from"), rapid.Int64Range(0, 999_999).Draw(t, "micro")*1000).UTC()
		p.Schedule.From, p.Schedule.Weekly = &from, []store.Hours{{Day: "mon", From: "09:00", To: "24:00"}}
		p.Stock.Replenishment = store.Replenishment{Amount: 1, Ceiling: p.Stock.Minimum/2 + 1, MaxPerDay: 2}
		p.Stock.Minimum /= 2
		p.Requires.CompletedTasks, p.Requires.Attributes = []string{"t-1", "t-2"}, map[string]string{text("attribute", 1, 5): text("value", 0, 5)}
		note, err := json.Marshal(text("note", 0, 10))
		if err == nil {
			p.Integration.Parameters, err = store.CanonicalParameters(fmt.Appendf(nil, `{"note":%s,"n":[%d.5,true,null]}`, note, rapid.IntRange(0, 99).Draw(t, "n")))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestEveryProductSurvivesExportAndImport(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := anyProduct(t)
		if mistakes := p.Validate(); mistakes != nil {
			t.Fatalf("the generator is wrong: %v", mistakes)
		}
		var file, array bytes.Buffer
		lines := newCSVRows(&file)
		objects := &jsonRows{to: &array}
		for _, err := range []error{lines.add(rowOf(p)), lines.end(), objects.add(rowOf(p)), objects.end()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var list []any
		decoder := json.NewDecoder(&array)
		decoder.UseNumber()
		if err := decoder.Decode(&list); err != nil {
			t.Fatal(err)
		}
		rows, header, err := csvToRows(file.String(), rowSchema())
		if err != nil || header != nil || len(rows) != 1 {
			t.Fatalf("%v %v %d", err, header, len(rows))
		}
		for _, row := range append(rows, importedRow{value: list[0]}) {
			read, mistakes := row.read(rowSchema())
			if mistakes != nil {
				t.Fatalf("%v", mistakes)
			}
			steps, wrong, err := store.PlanImport([]store.ImportRow{read}, map[string]store.Product{p.SKU: p})
			if err != nil || wrong != nil || steps[0].Action != store.ImportUnchanged {
				t.Fatalf("%v %v %v\n%+v\n%+v", err, wrong, steps, read.Product, p)
			}
		}
		cells, err := csv.NewReader(strings.NewReader(file.String())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, cell := range cells[1] {
			if cell != "" && strings.Contains("=+-@", cell[:1]) {
				t.Fatalf("a spreadsheet would run %q", cell)
			}
		}
	})
}

func TestCellsAreEscapedAndBack(t *testing.T) {
	t.Parallel()
	for text, cell := range map[string]string{"": "", "a": "a", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "'": "''", "'a": "''a", "'=1": "''=1", "''": "'''", "a=": "a="} {
		require.Equal(t, cell, escapeCell(text))
		require.Equal(t, text, unescapeCell(cell))
	}
	require.Equal(t, "'a", unescapeCell("'a"), "written by hand")
	require.Equal(t, "'", unescapeCell("'"))
}

// Every field of the schema has its column.
func TestColumnsAreAllFields(t *testing.T) {
	t.Parallel()
	var fields []string
	for name, property := range rowSchema().Properties {
		if len(property.Value.Properties) == 0 {
			fields = append(fields, name)
		}
		for inner := range property.Value.Properties {
			fields = append(fields, name+"."+inner)
		}
	}
	require.ElementsMatch(t, fields, slices.Compact(slices.Sorted(slices.Values(csvColumns))))
}
