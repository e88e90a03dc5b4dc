package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
