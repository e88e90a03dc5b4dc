package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/optional"
)

const stockCall = "/api/v1/admin/stock"

func TestAdminEditsStock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.Equal(t, 201, s.call("admin", "POST", "/api/v1/admin/products", newProduct).status)
	key := header("Idempotency-Key", "delivery-1")
	const edit = `{"reason":"delivery of March","items":[{"sku":"credits-500","add":-3},{"sku":"credits-1000","set":100}]}`
	a := s.call("admin", "POST", stockCall, edit, key)
	require.Equal(t, 200, a.status, "%s", a.body)
	done := into[StockEdit](t, a)
	require.Equal(t, []int{1, 1, 0}, []int{done.Changed, done.Unchanged, done.Refused})
	require.Equal(t, StockEditModeAllOrNothing, done.Mode)
	require.Equal(t, []int64{50, 47}, []int64{*done.Items[0].Before, *done.Items[0].After})

	again := s.call("admin", "POST", stockCall, edit, key)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, "idempotency_key_reused", s.call("admin", "POST", stockCall, `{"reason":"x","items":[{"sku":"credits-500","add":1}]}`, key).code())

	levels := into[StockLevelPage](t, s.call("support", "GET", stockCall, "")).Items
	require.Equal(t, []string{"credits-1000", "credits-500"}, each(levels, func(l StockLevel) string { return l.Sku }))
	require.Equal(t, []int64{50, -3, 47, 0, 0, 10}, []int64{levels[1].Initial, levels[1].Restocked, levels[1].Available, levels[1].Reserved, levels[1].Sold, levels[1].Minimum})
	require.Equal(t, StockStatusInStock, levels[1].Status)
	page := into[StockLevelPage](t, s.call("support", "GET", stockCall+"?limit=1", ""))
	require.Equal(t, "credits-1000", *page.NextCursor)
	page = into[StockLevelPage](t, s.call("support", "GET", stockCall+"?limit=1&cursor=credits-1000", ""))
	require.Equal(t, "credits-500", page.Items[0].Sku)
	require.Nil(t, page.NextCursor)

	history := into[StockChangePage](t, s.call("support", "GET", stockCall+"/credits-500/history", ""))
	require.Len(t, history.Items, 1)
	change := history.Items[0]
	require.Equal(t, []any{"manual", "id-key-of-admin", "delivery of March", int64(50), int64(47), done.EditID},
		[]any{change.Kind, change.Actor, change.Reason, change.Before, change.After, *change.EditID})
	require.Empty(t, into[StockChangePage](t, s.call("support", "GET", stockCall+"/credits-1000/history", "")).Items)
}

func TestOneWrongRowIsNamed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	const items = `"items":[{"sku":"credits-500","set":7},{"sku":"credits-500","add":1},{"sku":"x","add":1},{"sku":"y","set":1}]`
	a := s.call("admin", "POST", stockCall, `{"reason":"x",`+items+`}`)
	require.Equal(t, 422, a.status, "%s", a.body)
	require.Equal(t, "stock_edit_refused", a.code())
	require.Equal(t, []string{"items[1].sku", "items[2].sku", "items[3].sku"}, each(*into[Problem](t, a).Errors, func(p FieldProblem) string { return p.Field }))
	a = s.call("admin", "POST", stockCall, `{"reason":"x","items":[{"sku":"credits-500","add":-51}]}`)
	require.Equal(t, "items[0].add", (*into[Problem](t, a).Errors)[0].Field)
	require.Equal(t, before, s.written())

	done := into[StockEdit](t, s.call("admin", "POST", stockCall, `{"mode":"per_item","reason":"x",`+items+`}`))
	require.Equal(t, []StockEditRowResult{Changed, Refused, Refused, Refused}, each(done.Items, func(r StockEditRow) StockEditRowResult { return r.Result }))
	require.Equal(t, []int{1, 0, 3}, []int{done.Changed, done.Unchanged, done.Refused})
	require.Equal(t, "sku_repeated", *done.Items[1].Code)
	require.Equal(t, "product_not_found", *done.Items[2].Code)
	require.Nil(t, done.Items[2].Before)
}

func TestThousandStockRows(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	rows := func(n int) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(`{"sku":"%064d","add":-1000000000}`, i)
		}
		return `{"mode":"per_item","reason":"x","items":[` + strings.Join(items, ",") + `]}`
	}
	a := s.call("admin", "POST", stockCall, rows(1000))
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, 1000, into[StockEdit](t, a).Refused)
	a = s.call("admin", "POST", stockCall, rows(1001))
	require.Equal(t, 400, a.status)
	require.Equal(t, "items", (*into[Problem](t, a).Errors)[0].Field)
	require.Equal(t, "body_too_large", s.call("admin", "POST", stockCall, rows(4000)).code())
}

func TestStockForecast(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	s := newShop(t, func(o *Options) { o.Clock = func() time.Time { return now } })
	for i := range 2 {
		a := s.call("storefront", "POST", "/api/v1/purchases", fmt.Sprintf(`{"user_id":"rich","sku":"credits-500","quantity":%d}`, i+1))
		require.Equal(t, 202, a.status, "%s", a.body)
		s.capture(contract.PurchaseInput{OrderID: into[Accepted](t, a).OrderID, Attempt: 1})
	}
	now = now.Add(24*time.Hour + time.Minute).Truncate(time.Second)
	a := s.call("support", "GET", stockCall+"/credits-500/forecast", "")
	f := into[StockForecast](t, a)
	require.EqualValues(t, 3, f.Sold)
	require.EqualValues(t, 47, f.Available)
	require.InDelta(t, 1, f.WindowDays.InexactFloat64(), 0.01, "the product is a day old")
	require.InDelta(t, 3, f.RatePerDay.InexactFloat64(), 0.01)
	require.InDelta(t, 15.7, f.DaysOfCover.InexactFloat64(), 0.1)
	require.WithinDuration(t, now.Add(376*time.Hour), *f.RunsOutAt, time.Hour)
	require.Equal(t, []any{14, "1.5", int64(63), int64(16)}, []any{f.TargetDays, f.SafetyFactor.String(), f.RecommendedStock, f.RecommendedAdd})

	now = now.Add(400 * 24 * time.Hour)
	a = s.call("support", "GET", stockCall+"/credits-500/forecast?days=365", "")
	f = into[StockForecast](t, a)
	require.Zero(t, f.Sold)
	require.Equal(t, "365", f.WindowDays.String())
	require.Contains(t, string(a.body), `"days_of_cover":null`)
	require.Nil(t, f.RunsOutAt)
	require.EqualValues(t, 10, f.RecommendedStock)
}

func TestAdminSetsReplenishment(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	body := strings.Replace(newProduct, `"hide_at_zero":true`, `"hide_at_zero":true,"replenishment":{"amount":50,"ceiling":120,"max_per_day":2}`, 1)
	a := s.call("admin", "POST", "/api/v1/admin/products", body)
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Contains(t, string(a.body), `"replenishment":{"amount":50,"ceiling":120,"max_per_day":2}`)
	require.EqualValues(t, 120, into[StockLevelPage](t, s.call("support", "GET", stockCall, "")).Items[0].Replenishment.Ceiling)
	for _, off := range []string{`"stock":{"replenishment":null},`, ``} {
		a = s.call("admin", "PUT", "/api/v1/admin/products/credits-1000", `{`+off+`"name":"x","price_coins":1,"integration":{"amount":1,"currency":"c"}}`)
		require.Equal(t, 200, a.status, "%s", a.body)
		require.Contains(t, string(a.body), `"replenishment":null`)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	sweep := func() {
		_, _, err := s.db.RaiseStockAlerts(t.Context(), time.Now())
		require.NoError(t, err)
	}
	alerts := func(query string) []Alert {
		return into[AlertPage](t, s.call("support", "GET", "/api/v1/admin/alerts"+query, "")).Items
	}
	sweep()
	require.Empty(t, alerts(""))
	require.Equal(t, 200, s.call("admin", "POST", stockCall, `{"reason":"lost","items":[{"sku":"credits-500","set":0}]}`).status)
	sweep()
	require.Equal(t, []string{"stock_out", "stock_low"}, each(alerts("?open=true"), func(a Alert) string { return a.Kind }))
	require.Equal(t, 200, s.call("admin", "POST", stockCall, `{"reason":"found","items":[{"sku":"credits-500","set":10}]}`).status)
	sweep()
	require.Equal(t, []string{"stock_low"}, each(alerts("?open=true"), func(a Alert) string { return a.Kind }))
	resolved := alerts("?open=false")
	require.Equal(t, "credits-500", resolved[0].Subject)
	require.NotNil(t, resolved[0].ResolvedAt)

	low := fmt.Sprintf("/api/v1/admin/alerts/%d/resolve", alerts("?open=true")[0].ID)
	require.Equal(t, "invalid_request", s.call("support", "POST", low, `{"reason": ""}`).code())
	first := into[Alert](t, s.call("support", "POST", low, `{"reason": "more is on its way"}`))
	require.NotNil(t, first.ResolvedAt)
	require.Equal(t, first, into[Alert](t, s.call("admin", "POST", low, `{"reason": "again"}`)), "once")
	require.Empty(t, alerts("?open=true"))
	require.Equal(t, "alert_not_found", s.call("admin", "POST", "/api/v1/admin/alerts/999/resolve", `{"reason": "x"}`).code())
	sweep()
	require.Equal(t, []string{"stock_low"}, each(alerts("?open=true"), func(a Alert) string { return a.Kind }), "it is still low")
	page := into[AlertPage](t, s.call("admin", "GET", "/api/v1/admin/alerts?limit=1", ""))
	require.Len(t, into[AlertPage](t, s.call("admin", "GET", "/api/v1/admin/alerts?limit=1&cursor="+*page.NextCursor, "")).Items, 1)
}

func TestBadStockInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	items := func(items string) string { return `{"reason":"x","items":[` + items + `]}` }
	good := items(`{"sku":"credits-500","add":1}`)
	for name, test := range map[string]struct {
		method, path, body string
		role               string // admin unless given
		status             int    // 400 unless given
		code, field        string // invalid_request unless given
	}{
		"no items":           {body: `{"reason":"x"}`, field: "items"},
		"empty":              {body: items(``), field: "items"},
		"no reason":          {body: `{"items":[{"sku":"credits-500","add":1}]}`, field: "reason"},
		"blank reason":       {body: strings.Replace(good, `"x"`, `" "`, 1), field: "reason"},
		"mode":               {body: `{"mode":"some","reason":"x","items":[{"sku":"credits-500","add":1}]}`, field: "mode"},
		"both":               {body: items(`{"sku":"credits-500","add":1},{"sku":"credits-500","add":1,"set":1}`), field: "items[1]"},
		"neither":            {body: items(`{"sku":"credits-500"}`), field: "items[0]"},
		"set null":           {body: items(`{"sku":"credits-500","set":null}`), field: "items[0].set"},
		"set negative":       {body: items(`{"sku":"credits-500","set":-1}`), field: "items[0].set"},
		"set too many":       {body: items(`{"sku":"credits-500","set":1000000001}`), field: "items[0].set"},
		"set fraction":       {body: items(`{"sku":"credits-500","set":0.5}`), field: "items[0].set"},
		"add overflow":       {body: items(`{"sku":"credits-500","add":9223372036854775807}`), field: "items[0].add"},
		"add text":           {body: items(`{"sku":"credits-500","add":"1"}`), field: "items[0].add"},
		"add most":           {body: items(`{"sku":"credits-500","add":1000000000}`), status: 422, code: "stock_edit_refused", field: "items[0].add"},
		"sku missing":        {body: items(`{"add":1}`), field: "items[0].sku"},
		"sku with slash":     {body: items(`{"sku":"a/b","add":1}`), field: "items[0].sku"},
		"unknown in a row":   {body: items(`{"sku":"credits-500","add":1,"force":true}`), field: "items[0].force"},
		"row is no object":   {body: items(`1`), field: "items[0]"},
		"support":            {body: good, role: "support", status: 403, code: "forbidden"},
		"storefront":         {body: good, role: "storefront", status: 403, code: "forbidden"},
		"storefront reads":   {method: "GET", path: stockCall, role: "storefront", status: 403, code: "forbidden"},
		"put":                {method: "PUT", body: good, status: 405, code: "method_not_allowed"},
		"no history":         {method: "GET", path: stockCall + "/nothing/history", status: 404, code: "product_not_found"},
		"no forecast":        {method: "GET", path: stockCall + "/nothing/forecast", status: 404, code: "product_not_found"},
		"history cursor":     {method: "GET", path: stockCall + "/credits-500/history?cursor=0", field: "cursor"},
		"days 0":             {method: "GET", path: stockCall + "/credits-500/forecast?days=0", field: "days"},
		"days 366":           {method: "GET", path: stockCall + "/credits-500/forecast?days=366", field: "days"},
		"days text":          {method: "GET", path: stockCall + "/credits-500/forecast?days=week", field: "days"},
		"open":               {method: "GET", path: "/api/v1/admin/alerts?open=maybe", field: "open"},
		"alert cursor":       {method: "GET", path: "/api/v1/admin/alerts?cursor=-1", field: "cursor"},
		"replenishment half": {path: "/api/v1/admin/products", body: replenished(`{"amount":1}`), field: "stock.replenishment.ceiling"},
		"replenishment low":  {path: "/api/v1/admin/products", body: replenished(`{"amount":1,"ceiling":10,"max_per_day":1}`), field: "stock.replenishment.ceiling"},
		"replenishment zero": {path: "/api/v1/admin/products", body: replenished(`{"amount":0,"ceiling":11,"max_per_day":1}`), field: "stock.replenishment.amount"},
		"replenishment list": {path: "/api/v1/admin/products", body: replenished(`[]`), field: "stock.replenishment"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(or(optional.Text(test.role), "admin"), or(optional.Text(test.method), http.MethodPost), or(optional.Text(test.path), stockCall), test.body)
			if test.status == 0 {
				test.status, test.code = 400, "invalid_request"
			}
			require.Equal(t, []any{test.status, test.code}, []any{a.status, a.code()}, "%s", a.body)
			if test.field != "" {
				require.Equal(t, test.field, (*into[Problem](t, a).Errors)[0].Field, "%s", a.body)
			}
		})
	}
	require.Equal(t, before, s.written())
}

func replenished(settings string) string {
	return strings.Replace(newProduct, `"hide_at_zero":true`, `"hide_at_zero":true,"replenishment":`+settings, 1)
}
