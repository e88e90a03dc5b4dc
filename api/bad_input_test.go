package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Bad input is refused with the right status, a stable code and a message; nothing is written, and it
// is never a 500.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	before := s.written()
	nested := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	const purchases, adjust, products = "POST /api/v1/purchases", "POST /api/v1/admin/users/rich/wallet/adjustments", "POST /api/v1/admin/products"
	goodProduct := `{"sku":"x","name":"x","price_coins":1,"stock":{"initial":1},"integration":{"amount":1,"currency":"c"}}`
	swap := func(old, new string) string { return strings.Replace(goodProduct, old, new, 1) }

	for name, test := range map[string]struct {
		call   string
		body   string
		change with
		status int    // 400 unless given
		code   string // invalid_request unless given
		field  string
	}{
		"no body":             {call: purchases},
		"no JSON":             {call: purchases, body: `hello`},
		"half JSON":           {call: purchases, body: `{"user_id":"rich",`},
		"trailing garbage":    {call: purchases, body: buy + `x`},
		"two values":          {call: purchases, body: buy + buy},
		"null":                {call: purchases, body: `null`},
		"array":               {call: purchases, body: `[` + buy + `]`},
		"string":              {call: purchases, body: `"buy"`},
		"number":              {call: purchases, body: `1`},
		"empty object":        {call: purchases, body: `{}`, field: "sku"},
		"nested junk":         {call: purchases, body: nested},
		"unknown field":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","price":1}`, field: "price"},
		"other case":          {call: purchases, body: `{"user_id":"rich","SKU":"credits-500","sku":"credits-500"}`, field: "SKU"},
		"unknown nested":      {call: purchases, body: `{"user_id":"rich","sku":"credits-500","client":{"mac":"x"}}`, field: "client.mac"},
		"duplicate key":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","sku":"credits-500"}`},
		"missing user":        {call: purchases, body: `{"sku":"credits-500"}`, field: "user_id"},
		"user null":           {call: purchases, body: `{"user_id":null,"sku":"credits-500"}`, field: "user_id"},
		"user number":         {call: purchases, body: `{"user_id":12345,"sku":"credits-500"}`, field: "user_id"},
		"user empty":          {call: purchases, body: `{"user_id":"","sku":"credits-500"}`, field: "user_id"},
		"user with slash":     {call: purchases, body: `{"user_id":"a/b","sku":"credits-500"}`, field: "user_id"},
		"user with dots":      {call: purchases, body: `{"user_id":"../rich","sku":"credits-500"}`, field: "user_id"},
		"user in Unicode":     {call: purchases, body: `{"user_id":"юзер","sku":"credits-500"}`, field: "user_id"},
		"user with newline":   {call: purchases, body: `{"user_id":"rich\n","sku":"credits-500"}`},
		"user with NUL":       {call: purchases, body: `{"user_id":"rich\u0000","sku":"credits-500"}`},
		"half a surrogate":    {call: purchases, body: `{"user_id":"rich\ud800","sku":"credits-500"}`},
		"invalid UTF-8":       {call: purchases, body: "{\"user_id\":\"rich\xff\",\"sku\":\"credits-500\"}"},
		"user too long":       {call: purchases, body: `{"user_id":"` + strings.Repeat("a", 65) + `","sku":"credits-500"}`, field: "user_id"},
		"sku with colon":      {call: purchases, body: `{"user_id":"rich","sku":"a:b"}`, field: "sku"},
		"sku object":          {call: purchases, body: `{"user_id":"rich","sku":{}}`, field: "sku"},
		"quantity zero":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":0}`, field: "quantity"},
		"quantity negative":   {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":-1}`, field: "quantity"},
		"quantity above":      {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":1001}`, field: "quantity"},
		"quantity float":      {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":1.5}`, field: "quantity"},
		"quantity 1.0":        {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":1.0}`, field: "quantity"},
		"quantity 1e2":        {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":1e2}`, field: "quantity"},
		"quantity huge":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":99999999999999999999}`, field: "quantity"},
		"quantity 1e999":      {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":1e999}`},
		"quantity long":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":` + strings.Repeat("1", 5000) + `}`},
		"quantity string":     {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":"1"}`, field: "quantity"},
		"quantity boolean":    {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":true}`, field: "quantity"},
		"quantity null":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","quantity":null}`, field: "quantity"},
		"ip":                  {call: purchases, body: `{"user_id":"rich","sku":"credits-500","client":{"ip":"300.1.1.1"}}`, field: "client.ip"},
		"ip zone":             {call: purchases, body: `{"user_id":"rich","sku":"credits-500","client":{"ip":"fe80::1%eth0"}}`, field: "client.ip"},
		"device too long":     {call: purchases, body: `{"user_id":"rich","sku":"credits-500","client":{"device_id":"` + strings.Repeat("d", 129) + `"}}`, field: "client.device_id"},
		"client string":       {call: purchases, body: `{"user_id":"rich","sku":"credits-500","client":"x"}`, field: "client"},
		"key empty":           {call: purchases, body: buy, change: header("Idempotency-Key", ""), field: "Idempotency-Key"},
		"key too long":        {call: purchases, body: buy, change: header("Idempotency-Key", strings.Repeat("k", 256)), field: "Idempotency-Key"},
		"key in Unicode":      {call: purchases, body: buy, change: header("Idempotency-Key", "ключ"), field: "Idempotency-Key"},
		"key with space":      {call: purchases, body: buy, change: header("Idempotency-Key", "a b"), field: "Idempotency-Key"},
		"two keys":            {call: purchases, body: buy, change: func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} }},
		"unknown parameter":   {call: purchases + "?dry_run=1", body: buy, field: "dry_run"},
		"broken query":        {call: purchases + "?a=%zz", body: buy},
		"text":                {call: purchases, body: buy, change: header("Content-Type", "text/plain"), status: 415, code: "unsupported_media_type"},
		"form":                {call: purchases, body: buy, change: header("Content-Type", "application/x-www-form-urlencoded"), status: 415, code: "unsupported_media_type"},
		"no content type":     {call: purchases, body: buy, change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 415, code: "unsupported_media_type"},
		"latin1":              {call: purchases, body: buy, change: header("Content-Type", "application/json; charset=latin1"), status: 415, code: "unsupported_media_type"},
		"body too large":      {call: purchases, body: `{"user_id":"` + strings.Repeat("a", 70_000) + `"}`, status: 413, code: "body_too_large"},
		"wrong method":        {call: "DELETE /api/v1/purchases", status: 405, code: "method_not_allowed"},
		"get":                 {call: "GET /api/v1/purchases", status: 405, code: "method_not_allowed"},
		"no such path":        {call: "GET /api/v1/nothing", status: 404, code: "not_found"},
		"root":                {call: "GET /", status: 404, code: "not_found"},
		"traversal":           {call: "GET /api/v1/orders/..%2f..%2fadmin", field: "id"},
		"order with slash":    {call: "GET /api/v1/orders/a%2Fb", field: "id"},
		"order with NUL":      {call: "GET /api/v1/orders/a%00b", field: "id"},
		"order in Unicode":    {call: "GET /api/v1/orders/%D0%B7", field: "id"},
		"order invalid UTF-8": {call: "GET /api/v1/orders/%ff%fe", field: "id"},
		"order too long":      {call: "GET /api/v1/orders/" + strings.Repeat("a", 65), field: "id"},
		"no order":            {call: "GET /api/v1/orders/qp_none", status: 404, code: "order_not_found"},
		"no timeline":         {call: "GET /api/v1/orders/qp_none/timeline", status: 404, code: "order_not_found"},
		"no stream":           {call: "GET /api/v1/orders/qp_none/stream", status: 404, code: "order_not_found"},
		"last event":          {call: "GET /api/v1/orders/qp_none/stream", change: header("Last-Event-ID", "x"), field: "Last-Event-ID"},
		"no user":             {call: "GET /api/v1/users/nobody", status: 404, code: "user_not_found"},
		"no wallet":           {call: "GET /api/v1/users/nobody/wallet", status: 404, code: "user_not_found"},
		"no feed":             {call: "GET /api/v1/users/nobody/notifications", status: 404, code: "user_not_found"},
		"no admin user":       {call: "GET /api/v1/admin/users/nobody", status: 404, code: "user_not_found"},
		"no product":          {call: "GET /api/v1/products/nothing", status: 404, code: "product_not_found"},
		"sku with slash":      {call: "GET /api/v1/products/a%2Fb", field: "sku"},
		"limit 0":             {call: "GET /api/v1/products?limit=0", field: "limit"},
		"limit 201":           {call: "GET /api/v1/products?limit=201", field: "limit"},
		"limit text":          {call: "GET /api/v1/products?limit=ten", field: "limit"},
		"limit empty":         {call: "GET /api/v1/products?limit=", field: "limit"},
		"limit huge":          {call: "GET /api/v1/products?limit=99999999999999999999", field: "limit"},
		"limit twice":         {call: "GET /api/v1/products?limit=1&limit=2", field: "limit"},
		"cursor":              {call: "GET /api/v1/products?cursor=%00", field: "cursor"},
		"cursor of others":    {call: "GET /api/v1/products?cursor=credits-500", field: "cursor"},
		"group too long":      {call: "GET /api/v1/products?group=" + strings.Repeat("a", 65), field: "group"},
		"group empty":         {call: "GET /api/v1/products?group=", field: "group"},
		"feed cursor":         {call: "GET /api/v1/users/rich/notifications?cursor=9999999999999999999", field: "cursor"},
		"status":              {call: "GET /api/v1/admin/orders?status=lost", field: "status"},
		"suspected":           {call: "GET /api/v1/admin/orders?suspected=maybe", field: "suspected"},
		"from":                {call: "GET /api/v1/admin/orders?from=yesterday", field: "from"},
		"from month 13":       {call: "GET /api/v1/admin/orders?from=2026-13-01T00:00:00Z"},
		"user text":           {call: "PUT /api/v1/users/u", body: `"x"`},
		"user id":             {call: "PUT /api/v1/users/a%2Fb", body: `{}`, field: "id"},
		"vip":                 {call: "PUT /api/v1/users/u", body: `{"vip":"yes"}`, field: "vip"},
		"attributes":          {call: "PUT /api/v1/users/u", body: `{"attributes":[]}`, field: "attributes"},
		"attributes NUL":      {call: "PUT /api/v1/users/u", body: `{"attributes":{"a":"\u0000"}}`},
		"attributes 1e400000": {call: "PUT /api/v1/users/u", body: `{"attributes":{"a":1e-400000}}`},
		"amount zero":         {call: adjust, body: `{"amount":0,"reason":"x"}`, field: "amount"},
		"amount float":        {call: adjust, body: `{"amount":0.5,"reason":"x"}`, field: "amount"},
		"amount huge":         {call: adjust, body: `{"amount":1000000000001,"reason":"x"}`, field: "amount"},
		"amount most":         {call: adjust, body: `{"amount":1000000000000,"reason":"x"}`, status: 422, code: "amount_out_of_range"},
		"amount least":        {call: adjust, body: `{"amount":-9223372036854775808,"reason":"x"}`, field: "amount"},
		"amount too much":     {call: adjust, body: `{"amount":-1000001,"reason":"x"}`, status: 402, code: "insufficient_coins"},
		"reason blank":        {call: adjust, body: `{"amount":1,"reason":"  "}`, field: "reason"},
		"reason missing":      {call: adjust, body: `{"amount":1}`, field: "reason"},
		"reason long":         {call: adjust, body: `{"amount":1,"reason":"` + strings.Repeat("я", 501) + `"}`, field: "reason"},
		"adjust nobody":       {call: "POST /api/v1/admin/users/nobody/wallet/adjustments", body: `{"amount":1,"reason":"x"}`, status: 404, code: "user_not_found"},
		"block nobody":        {call: "POST /api/v1/admin/users/nobody/block", body: `{"reason":"x"}`, status: 404, code: "user_not_found"},
		"block silently":      {call: "POST /api/v1/admin/users/rich/block", body: `{}`, field: "reason"},
		"replay nothing":      {call: "POST /api/v1/admin/orders/qp_none/replay", body: `{"force":true}`, field: "force"},
		"product price 0":     {call: products, body: swap(`"price_coins":1`, `"price_coins":0`), field: "price_coins"},
		"product stock":       {call: products, body: swap(`{"initial":1}`, `{}`), field: "stock.initial"},
		"product amount 0":    {call: products, body: swap(`"amount":1`, `"amount":0`), field: "integration.amount"},
		"product amount text": {call: products, body: swap(`"amount":1`, `"amount":"1e9"`), field: "integration.amount"},
		"product amount fine": {call: products, body: swap(`"amount":1`, `"amount":0.000000001`), field: "integration.amount"},
		"product amount list": {call: products, body: swap(`"amount":1`, `"amount":[1]`), field: "integration.amount"},
		"product endpoint":    {call: products, body: swap(`"amount":1`, `"amount":1,"endpoint":"//evil.example/"`), field: "integration.endpoint"},
		"product name":        {call: products, body: swap(`"name":"x"`, `"name":" x "`), field: "name"},
		"product limits":      {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"limits":{"per_user":-1}`), field: "limits.per_user"},
		"product timeout":     {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"delivery":{"timeout_seconds":0}`), field: "delivery.timeout_seconds"},
		"product validity":    {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"kind":"multiplier","validity_seconds":59`), field: "validity_seconds"},
		"product for a time":  {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"kind":"vip_status"`), field: "validity_seconds"},
		"product for good":    {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"validity_seconds":3600`), field: "validity_seconds"},
		"product lasts -1":    {call: products, body: swap(`"price_coins":1`, `"price_coins":1,"validity_seconds":-1`), field: "validity_seconds"},
		"product parameters":  {call: products, body: swap(`"amount":1`, `"amount":1,"parameters":[1]`), field: "integration.parameters"},
		"product deep":        {call: products, body: swap(`"amount":1`, `"amount":1,"parameters":{"a":{"b":{"c":{"d":{"e":1}}}}}`), field: "integration.parameters"},
		"product long":        {call: products, body: swap(`"amount":1`, `"amount":1,"parameters":{"a":"`+strings.Repeat("x", 4096)+`"}`), field: "integration.parameters"},
		"product named":       {call: products, body: swap(`"sku":"x"`, `"sku":"export"`), field: "sku"},
		"product taken":       {call: products, body: swap(`"sku":"x"`, `"sku":"credits-500"`), status: 409, code: "sku_taken"},
		"product other sku":   {call: "PUT /api/v1/admin/products/y", body: goodProduct, field: "sku"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(test.call, " ")
			changes := []with{}
			if test.change != nil {
				changes = append(changes, test.change)
			}
			a := s.call("admin", method, path, test.body, changes...)
			if test.status == 0 {
				test.status, test.code = 400, "invalid_request"
			}
			require.Equal(t, test.status, a.status, "%s", a.body)
			require.Equal(t, test.code, a.code())
			if test.field != "" {
				problem := into[Problem](t, a)
				require.NotNil(t, problem.Errors, "%s", a.body)
				require.Equal(t, test.field, (*problem.Errors)[0].Field)
			}
			if test.status == 405 {
				require.NotEmpty(t, a.header.Get("Allow"))
			}
		})
	}
	require.Equal(t, before, s.written())
	require.Empty(t, s.starter.seen())
}

func TestEveryMistakeIsListed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"a b","quantity":0,"client":{"x":1}}`)
	fields := each(*into[Problem](t, a).Errors, func(p FieldProblem) string { return p.Field })
	require.Equal(t, []string{"client.x", "quantity", "sku", "user_id"}, fields)
	require.NotContains(t, string(a.body), "a b", "values are not echoed")
}

// What decodeStrict takes, encoding/json takes too, and it survives being written and read again.
func FuzzDecodeStrict(f *testing.F) {
	for _, seed := range []string{buy, `[1,]`, `{"a":1,"a":2}`, `"\ud800"`, `1e999`, `{"a":{"b":[null,true,"x",-0.5]}}`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		value, err := decodeStrict(body)
		if err != nil {
			return
		}
		require.True(t, json.Valid(body))
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		again, err := decodeStrict(encoded)
		require.NoError(t, err)
		require.Equal(t, value, again)
	})
}
