package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/store"
)

const (
	importPath = "/api/v1/admin/products/import"
	exportPath = "/api/v1/admin/products/export"
)

var asCSV = header("Content-Type", "text/csv; charset=utf-8")

// summary of an answer to an import: counts, or each mistake as row and field.
func summary(t *testing.T, a answer) string {
	if a.status == 200 {
		report := into[ProductImport](t, a)
		return fmt.Sprint(report.Created, " created, ", report.Replaced, " replaced, ", report.Unchanged, " unchanged")
	}
	problem := into[Problem](t, a)
	if problem.Rows == nil {
		return fmt.Sprint(a.status, " ", a.code())
	}
	return strings.Join(each(*problem.Rows, func(r RowProblem) string { return fmt.Sprint(r.Row, " ", r.Field) }), ", ")
}

func TestImportJSON(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	body := `[` + vipProduct + `,
		{"sku":"credits-500","name":"renamed","price_coins":90,"integration":{"amount":"500","currency":"credits"}}]`
	before := s.written()
	a := s.call("admin", "POST", importPath+"?dry_run=true", body)
	require.Equal(t, "1 created, 1 replaced, 0 unchanged", summary(t, a), "%s", a.body)
	require.Nil(t, into[ProductImport](t, a).ImportID)
	require.Equal(t, before, s.written(), "a dry run writes nothing")

	key := header("Idempotency-Key", "import-1")
	a = s.call("admin", "POST", importPath, body, key)
	require.Equal(t, "1 created, 1 replaced, 0 unchanged", summary(t, a), "%s", a.body)
	again := s.call("admin", "POST", importPath, body, key)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "idempotency_key_reused", s.call("admin", "POST", importPath, `[]`, key).code())
	require.Equal(t, "0 created, 0 replaced, 2 unchanged", summary(t, s.call("admin", "POST", importPath, body)))

	edited := into[Product](t, s.call("admin", "GET", "/api/v1/admin/products/credits-500", ""))
	require.Equal(t, "renamed", edited.Name)
	require.EqualValues(t, 50, edited.Stock.Initial)
	require.EqualValues(t, 2, edited.Version)
}

func TestImportCSV(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	file := "\xef\xbb\xbf" + `sku,name,price_coins,stock.initial,stock.hide_at_zero,integration.amount,integration.currency,integration.parameters,kind,validity_seconds,schedule.weekly` + "\r\n" +
		`x2,"double, for an ""hour""",20,100,TRUE,1,multiplier,"{""factor"":2}",multiplier,3600,"[{""day"":""mon"",""from"":""09:00"",""to"":""18:00""}]"` + "\n" +
		`credits-500,'=1+1,100,,,500,credits,,,,` + "\r\n"
	a := s.call("admin", "POST", importPath, file, asCSV)
	require.Equal(t, "1 created, 1 replaced, 0 unchanged", summary(t, a), "%s", a.body)
	doubled := into[Product](t, s.call("admin", "GET", "/api/v1/admin/products/x2", ""))
	require.Equal(t, `double, for an "hour"`, doubled.Name)
	require.True(t, doubled.Stock.HideAtZero)
	require.JSONEq(t, `{"factor":2}`, string(*doubled.Integration.Parameters))
	require.Equal(t, "mon", doubled.Schedule.Weekly[0].Day)
	require.Equal(t, "=1+1", into[Product](t, s.call("admin", "GET", "/api/v1/admin/products/credits-500", "")).Name)
	require.Contains(t, string(s.call("admin", "GET", exportPath+"?format=csv", "").body), ",'=1+1,", "never a formula")
	again := header("Idempotency-Key", "csv-1")
	first := s.call("admin", "POST", importPath, file, asCSV, again)
	require.Equal(t, first.body, s.call("admin", "POST", importPath, file, asCSV, again).body)
	require.Equal(t, "idempotency_key_reused", s.call("admin", "POST", importPath, file+"\n", asCSV, again).code())
}

// Every mistake of every row in one answer, whoever finds it; nothing is written.
func TestImportListsEveryMistake(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	body := `[
		{"sku":"ok","name":"ok","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}},
		{"sku":"bad","name":" x ","price_coins":0,"colour":"red","stock":{"initial":1,"minimum":-1},"integration":{"amount":0,"currency":"c","endpoint":"//evil.example"},"kind":"vip_status"},
		{"sku":"ok","name":"twice","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}},
		{"sku":"new","name":"new","price_coins":1,"integration":{"amount":1,"currency":"c"}},
		{"sku":"credits-500","name":"x","price_coins":1,"stock":{"initial":51},"integration":{"amount":1,"currency":"c"}},
		{"sku":"a b","price_coins":"1","stock":{"initial":1.0},"schedule":{"from":"2026-02-30T00:00:00Z"},"limits":{"per_day":1.5,"per_user":-1}},
		7, null,
		{"sku":"deep","name":"x","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c","parameters":{"a":{"b":{"c":{"d":{"e":1}}}}}}},
		{"sku":"import","name":"x","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}}
	]`
	want := "2 colour, 2 integration.amount, 2 integration.endpoint, 2 name, 2 price_coins, 2 stock.minimum, 2 validity_seconds, 3 sku, 4 stock.initial, 5 stock.initial, " +
		"6 integration, 6 limits.per_day, 6 limits.per_user, 6 name, 6 price_coins, 6 schedule, 6 sku, 6 stock.initial, 7 body, 8 body, 9 integration.parameters, 10 sku"
	for _, path := range []string{importPath, importPath + "?dry_run=true"} {
		a := s.call("admin", "POST", path, body)
		require.Equal(t, 422, a.status, "%s", a.body)
		require.Equal(t, "import_has_mistakes", a.code())
		require.Equal(t, want, summary(t, a), "%s", a.body)
	}
	file := "sku,name,price_coins,stock.initial,integration.amount,integration.currency,colour,stock.hide_at_zero,requires.attributes,sku\n" +
		"a,a,1.5,1,1,c,red,maybe,{,\n" +
		"b,b,,1,1e3,c\n" +
		"c,\"c\x01\",99999999999999999999,1,1,c,,,[],c\n"
	a := s.call("admin", "POST", importPath, file, asCSV)
	require.Equal(t, "0 colour, 0 sku, 1 price_coins, 1 requires.attributes, 1 stock.hide_at_zero, 2 integration.amount, 2 price_coins, 2 row, 3 name, 3 price_coins, 3 requires.attributes", summary(t, a), "%s", a.body)
	require.Equal(t, before, s.written())
}

func TestImportBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	row := `{"sku":"p%d","name":"x","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}}`
	rows := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(row, i)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	for name, test := range map[string]struct {
		path, body string
		change     with
		want       string
	}{
		"no body":           {body: "", want: "400 invalid_request"},
		"no JSON":           {body: "x", want: "400 invalid_request"},
		"object":            {body: "{}", want: "400 invalid_request"},
		"null":              {body: "null", want: "400 invalid_request"},
		"duplicate key":     {body: `[{"sku":"a","sku":"a"}]`, want: "400 invalid_request"},
		"control character": {body: `[{"sku":"a\u0000"}]`, want: "400 invalid_request"},
		"1001 rows":         {body: rows(1001), want: "400 invalid_request"},
		"1001 lines":        {body: "sku" + strings.Repeat("\na", 1001), change: asCSV, want: "400 invalid_request"},
		"above 2 MiB":       {body: "[" + strings.Repeat(" ", 2<<20) + "]", want: "413 body_too_large"},
		"XML":               {body: "<a/>", change: header("Content-Type", "application/xml"), want: "415 unsupported_media_type"},
		"CSV in Latin-1":    {body: "sku\n", change: header("Content-Type", "text/csv; charset=iso-8859-1"), want: "415 unsupported_media_type"},
		"CSV not UTF-8":     {body: "sku\n\xff", change: asCSV, want: "400 invalid_request"},
		"CSV empty":         {body: "\xef\xbb\xbf", change: asCSV, want: "400 invalid_request"},
		"CSV open quote":    {body: "sku\n\"a", change: asCSV, want: "400 invalid_request"},
		"CSV stray quote":   {body: "sku\na\"b", change: asCSV, want: "400 invalid_request"},
		"dry run":           {path: "?dry_run=maybe", body: "[]", want: "400 invalid_request"},
		"parameter":         {path: "?force=true", body: "[]", want: "400 invalid_request"},
		"key":               {body: "[]", change: header("Idempotency-Key", "ключ"), want: "400 invalid_request"},
		"nothing":           {body: "[]", path: "?dry_run=true", want: "0 created, 0 replaced, 0 unchanged"},
		"only a header":     {body: "sku,name\n", path: "?dry_run=true", change: asCSV, want: "0 created, 0 replaced, 0 unchanged"},
		"1000 rows":         {body: rows(1000), path: "?dry_run=true", want: "1000 created, 0 replaced, 0 unchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []with{}
			if test.change != nil {
				changes = append(changes, test.change)
			}
			a := s.call("admin", "POST", importPath+test.path, test.body, changes...)
			require.Equal(t, test.want, summary(t, a), "%.500s", a.body)
		})
	}
	for _, role := range []string{"support", "storefront", "main_product", "distributor"} {
		require.Equal(t, 403, s.call(role, "POST", importPath, "[]").status, role)
	}
	require.Equal(t, 403, s.call("storefront", "GET", exportPath, "").status)
	require.Equal(t, "invalid_request", s.call("admin", "GET", exportPath+"?format=xml", "").code())
	require.Equal(t, 413, s.call("admin", "POST", "/api/v1/admin/products", "{"+strings.Repeat(" ", 64<<10)+"}").status, "other calls keep the small bound")
	require.Equal(t, before, s.written())
}

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

func rowSchema() *openapi3.Schema { return testDoc().Components.Schemas["ProductRow"].Value }

// anyProduct draws a product that the rules allow, with texts that are hard on CSV.
func anyProduct(t *rapid.T) store.Product {
	text := func(name string, min, max int) string {
		runes := rapid.StringOfN(rapid.RuneFrom([]rune(`=+-@'";, ,aZ0яё€<&>{}[]\|`)), min, max, -1)
		return strings.TrimSpace(runes.Filter(func(s string) bool { return len([]rune(strings.TrimSpace(s))) >= min }).Draw(t, name))
	}
	pieces := func(name string) int64 { return rapid.Int64Range(0, 1_000_000_000).Draw(t, name) }
	p := store.Product{
		SKU: rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,20}`).Draw(t, "sku"), Name: text("name", 1, 30), Description: text("description", 0, 60), Group: text("group", 0, 10),
		Kind: rapid.SampledFrom([]string{"multiplier", "vip_status", "=loot", "exclusive_access"}).Draw(t, "kind"), ValiditySeconds: rapid.Int64Range(60, 315_360_000).Draw(t, "validity"),
		PriceCoins: rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "price"), Status: rapid.SampledFrom([]store.ProductStatus{store.Draft, store.Published}).Draw(t, "status"),
		Position: rapid.IntRange(0, 1_000_000).Draw(t, "position"), Stock: store.StockSettings{Initial: pieces("initial"), Minimum: pieces("minimum"), HideAtZero: rapid.Bool().Draw(t, "hide")},
		Integration: store.Integration{ResourceType: text("type", 1, 20), Endpoint: "/api/v1/" + rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "endpoint"), Currency: text("currency", 1, 10),
			Amount: decimal.New(rapid.Int64Range(1, 1_000_000_000).Draw(t, "amount"), -int32(rapid.IntRange(0, 8).Draw(t, "decimals")))},
		Delivery: store.DefaultDelivery(),
		Limits:   store.Limits{PerUser: pieces("user"), PerDay: pieces("day"), VIPReserve: pieces("vip"), GiveBackOnRefund: rapid.Bool().Draw(t, "back")},
		Schedule: store.Schedule{TimeZone: rapid.SampledFrom([]string{"", "UTC", "Europe/Moscow"}).Draw(t, "zone")},
		Requires: store.Requirements{VIP: rapid.Bool().Draw(t, "for vips")},
	}
	if rapid.Bool().Draw(t, "more") {
		from := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "from"), rapid.Int64Range(0, 999_999).Draw(t, "micro")*1000).UTC()
		p.Schedule.From, p.Schedule.Weekly = &from, []store.Hours{{Day: "mon", From: "09:00", To: "24:00"}}
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
