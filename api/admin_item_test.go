package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
)

const adminItems = "/api/v1/admin/items"

const passInput = `{"sku": "pass_s3", "type": "virtual_good", "name": {"en": "Season 3 pass"}, "prices": [{"amount": "9.00", "currency": "EUR", "is_default": true}, {"amount": 10.5, "currency": "USD"}],
	"vc_prices": [{"sku": "coins", "amount": 90, "is_default": true}], "inventory_options": {"expiration_period": {"type": "day", "value": 30}}, "limits": {"per_user": 3}, "custom_attributes": {"tier": 1}}`

func TestAdminEditsItems(t *testing.T) {
	t.Parallel()
	s := newShop(t).openV2()
	created := s.call("admin", "POST", adminItems, passInput, header("Idempotency-Key", "k1"))
	require.Equal(t, 201, created.status, "%s", created.body)
	require.Equal(t, []string{`"1"`, "/api/v1/admin/items/pass_s3"}, []string{created.header.Get("ETag"), created.header.Get("Location")})
	pass := into[adminItem](t, created)
	require.Equal(t, []any{catalog.Draft, catalog.NonRenewingSubscription, "10.5"}, []any{pass.Status, pass.VirtualItemType, pass.Prices[1].Amount.String()})
	replayed := s.call("admin", "POST", adminItems, passInput, header("Idempotency-Key", "k1"))
	require.Equal(t, []any{201, "true", string(created.body)}, []any{replayed.status, replayed.header.Get("Idempotency-Replayed"), string(replayed.body)})
	require.Equal(t, "sku_taken", s.call("admin", "POST", adminItems, passInput).code())
	require.Equal(t, 404, s.items("/virtual_items/sku/pass_s3").status, "a draft")

	path := adminItems + "/pass_s3"
	require.Equal(t, 304, s.call("support", "GET", path, "", header("If-None-Match", `"1"`)).status)
	published := s.call("admin", "PATCH", path, `{"status": "published", "limits": null}`, header("If-Match", `"1"`))
	require.Equal(t, []any{200, `"2"`}, []any{published.status, published.header.Get("ETag")}, "%s", published.body)
	require.Zero(t, into[adminItem](t, published).Limits)
	require.Equal(t, "version_conflict", s.call("admin", "PATCH", path, `{"status": "draft"}`, header("If-Match", `"1"`)).code())
	require.Equal(t, 200, s.items("/virtual_items/sku/pass_s3").status)
	merged := s.call("admin", "PATCH", path, `{"name": {"de": "Pass"}}`, header("Content-Type", "application/merge-patch+json"))
	require.Equal(t, catalog.Text{"en": "Season 3 pass", "de": "Pass"}, into[adminItem](t, merged).Name)

	put := s.call("admin", "PUT", path, `{"name": {"en": "Pass"}, "is_free": true, "inventory_options": {"expiration_period": {"type": "month", "value": 1}}}`)
	require.Equal(t, 200, put.status, "%s", put.body)
	require.Equal(t, []any{catalog.Draft, 0}, []any{into[adminItem](t, put).Status, len(into[adminItem](t, put).Prices)}, "what is left out is gone")
	again := s.call("admin", "PUT", path, `{"name": {"en": "Pass"}, "is_free": true, "inventory_options": {"expiration_period": {"type": "month", "value": 1}}}`, header("If-Match", "*"))
	require.Equal(t, put.header.Get("ETag"), again.header.Get("ETag"), "nothing changed")
	require.Equal(t, "version_conflict", s.call("admin", "PUT", path, `{"name": {"en": "Pass"}}`, header("If-Match", `"1"`)).code())

	for _, body := range []string{passInput, strings.ReplaceAll(passInput, "pass_s3", "another")} {
		s.call("admin", "POST", adminItems, body)
	}
	first := into[AdminItemPage](t, s.call("support", "GET", adminItems+"?limit=1&type=virtual_good&status=draft", ""))
	require.Equal(t, []string{"another", "another"}, []string{first.Items[0].SKU, *first.NextCursor})
	second := into[AdminItemPage](t, s.call("support", "GET", adminItems+"?limit=1&cursor="+*first.NextCursor, ""))
	require.Equal(t, "pass_s3", second.Items[0].SKU)
	require.Nil(t, second.NextCursor)
}

func TestBadItems(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	before := s.written()
	field := func(a answer) string {
		p := into[Problem](t, a)
		require.NotNil(t, p.Errors, "%s", a.body)
		return (*p.Errors)[0].Field
	}
	for body, want := range map[string]string{
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "is_free": true, "colour": 1}`:                                                                    "colour",
		`{"sku": "coins", "type": "virtual_good", "name": {"en": "X"}, "is_free": true}`:                                                                             "sku",
		`{"sku": "x", "type": "gun", "name": {"en": "X"}}`:                                                                                                           "type",
		`{"sku": "x", "type": "virtual_good", "name": "X"}`:                                                                                                          "name",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "order": 1.5}`:                                                                                    "order",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "prices": [{"amount": "1.00", "currency": "EUR"}]}`:                                               "prices",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "prices": [{"amount": -1, "currency": "EUR", "is_default": true}]}`:                               "prices[0].amount",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "vc_prices": [{"sku": "none", "amount": 1, "is_default": true}]}`:                                 "vc_prices[0].sku",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "vc_prices": [{"sku": "gold", "amount": 99999999999999999999, "is_default": true}]}`:              "vc_prices[0].amount",
		`{"sku": "x", "type": "bundle", "name": {"en": "X"}, "content": [{"sku": "x", "quantity": 1}]}`:                                                              "content",
		`{"sku": "x", "type": "bundle", "name": {"en": "X"}, "content": []}`:                                                                                         "content",
		`{"sku": "x", "type": "virtual_good", "virtual_item_type": "non_renewing_subscription", "name": {"en": "X"}}`:                                                "inventory_options.expiration_period",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "inventory_options": {"expiration_period": {"type": "year", "value": 999999}}}`:                   "inventory_options.expiration_period",
		`{"sku": "x", "type": "virtual_good", "name": {"en": "X"}, "promotions": [{"id": "p", "name": {"en": "P"}, "discount": {"percent": "101", "value": null}}]}`: "promotions[0].discount",
	} {
		a := s.call("admin", "POST", adminItems, body)
		require.Equal(t, []any{400, "invalid_request"}, []any{a.status, a.code()}, "%s", body)
		require.Equal(t, want, field(a), body)
	}
	for body, want := range map[string]string{`{"type": "bundle"}`: "type", `{"virtual_item_type": "consumable"}`: "virtual_item_type", `{"sku": "other"}`: "sku", `{"is_free": false, "prices": [{}]}`: "prices[0].currency", `{"nothing": 1}`: "nothing"} {
		require.Equal(t, want, field(s.call("admin", "PATCH", adminItems+"/skin", body)), body)
	}
	for _, body := range []string{`[]`, `null`, `"x"`, `{`, `{"sku": "a", "sku": "b"}`, `{} {}`, "{\"sku\": \"\u0000\"}"} {
		for _, call := range []string{"POST " + adminItems, "PUT " + adminItems + "/skin", "PATCH " + adminItems + "/skin", "PUT /api/v1/admin/item-groups"} {
			method, path, _ := strings.Cut(call, " ")
			require.Equal(t, 400, s.call("admin", method, path, body).status, "%s %s", call, body)
		}
	}
	for _, method := range []string{"GET", "PUT", "PATCH"} {
		body := map[string]string{"PUT": `{"name": {"en": "X"}}`, "PATCH": `{}`}[method]
		require.Equal(t, "item_not_found", s.call("admin", method, adminItems+"/none", body).code(), method)
	}
	require.Equal(t, "groups[0].parent_external_id", field(s.call("admin", "PUT", "/api/v1/admin/item-groups", `{"groups": [{"external_id": "a", "name": {"en": "A"}, "parent_external_id": "b"}]}`)))
	require.Equal(t, before, s.written())
}

func TestItemsAreExportedAndImported(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	exported := s.call("support", "GET", adminItems+"/export", "")
	require.Equal(t, 200, exported.status)
	report := into[ItemImport](t, s.call("admin", "POST", adminItems+"/import", string(exported.body)))
	require.Equal(t, []int{0, 0, len(catalogItems())}, []int{report.Created, report.Replaced, report.Unchanged}, "importing an export changes nothing")

	fresh := newShop(t)
	require.Equal(t, "invalid_request", fresh.call("admin", "POST", adminItems+"/import", `{}`).code())
	require.Equal(t, "invalid_request", fresh.call("admin", "POST", adminItems+"/import", `null`).code())
	dry := into[ItemImport](t, fresh.call("admin", "POST", adminItems+"/import?dry_run=true", string(exported.body)))
	require.Equal(t, []any{true, len(catalogItems()), (*string)(nil)}, []any{dry.DryRun, dry.Created, dry.ImportID})
	require.Empty(t, into[AdminItemPage](t, fresh.call("admin", "GET", adminItems, "")).Items)
	first := fresh.call("admin", "POST", adminItems+"/import", string(exported.body), header("Idempotency-Key", "k"))
	require.Equal(t, len(catalogItems()), into[ItemImport](t, first).Created)
	second := fresh.call("admin", "POST", adminItems+"/import", string(exported.body), header("Idempotency-Key", "k"))
	require.Equal(t, []string{string(first.body), "true"}, []string{string(second.body), second.header.Get("Idempotency-Replayed")})
	require.Equal(t, string(exported.body), string(fresh.call("admin", "GET", adminItems+"/export", "").body))

	bad := fresh.call("admin", "POST", adminItems+"/import", `[{"sku": "a", "type": "virtual_good"}, 7, {"sku": "skin", "type": "bundle", "name": {"en": "X"}}, {"sku": "b", "b": 1}]`)
	require.Equal(t, []any{422, "import_has_mistakes"}, []any{bad.status, bad.code()})
	rows := map[int]bool{}
	for _, row := range *into[Problem](t, bad).Rows {
		rows[row.Row] = true
	}
	require.Equal(t, map[int]bool{1: true, 2: true, 3: true, 4: true}, rows)
}

// Patches of different fields at once are all applied.
func TestPatchesAtOnce(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	patches := []string{`{"order": 7}`, `{"name": {"fr": "Peau"}}`, `{"image_url": "https://example.com/a.png"}`, `{"groups": ["weapons"]}`, `{"custom_attributes": {"a": 1}}`}
	statuses := make([]int, len(patches))
	var running sync.WaitGroup
	for i, patch := range patches {
		running.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.http.URL+adminItems+"/skin", strings.NewReader(patch))
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+keyOf("admin"))
			r.Header.Set("Content-Type", "application/json")
			if response, err := http.DefaultClient.Do(r); err == nil {
				statuses[i] = response.StatusCode
				_ = response.Body.Close()
			}
		})
	}
	running.Wait()
	require.Equal(t, []int{200, 200, 200, 200, 200}, statuses)
	skin := into[adminItem](t, s.call("admin", "GET", adminItems+"/skin", ""))
	require.EqualValues(t, 1+len(patches), skin.Version)
	require.Equal(t, []any{7, "Peau", "https://example.com/a.png", []string{"weapons"}, `{"a":1}`}, []any{skin.Order, skin.Name["fr"], skin.ImageURL, skin.Groups, string(skin.CustomAttributes)})
}

func TestAdminUploadsKeys(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	text := header("Content-Type", "text/plain; charset=utf-8")
	path := adminItems + "/game_steam/keys"
	upload := into[GameKeyUpload](t, s.call("admin", "POST", path, "\ufeffAAAA\r\n  BBBB  \n\nAAAA\nCCCC", text))
	require.Equal(t, GameKeyUpload{Added: 3, Skipped: 1, Free: 3}, upload)
	require.Equal(t, GameKeyUpload{Skipped: 3, Free: 3}, into[GameKeyUpload](t, s.call("admin", "POST", path, "CCCC\nBBBB\nAAAA\n", text)))
	require.Equal(t, GameKeyCounts{Free: 3}, into[GameKeyCounts](t, s.call("support", "GET", path, "")))
	require.True(t, into[catalog.ShownKey](t, s.items("/game/key/sku/game_steam")).HasKeys)

	for body, code := range map[string]string{"\n \n": "invalid_request", strings.Repeat("x", 256): "invalid_request", "A\x01": "invalid_request", "A\xff": "invalid_request", strings.Repeat("k\n", maxKeyLines+1): "invalid_request"} {
		require.Equal(t, code, s.call("admin", "POST", path, body, text).code(), "%.20q", body)
	}
	require.Equal(t, "unsupported_media_type", s.call("admin", "POST", path, `["A"]`).code())
	require.Equal(t, "not_a_game_key", s.call("admin", "POST", adminItems+"/gun_1/keys", "A", text).code())
	require.Equal(t, "item_not_found", s.call("admin", "POST", adminItems+"/none/keys", "A", text).code())
	require.Equal(t, "item_not_found", s.call("admin", "GET", adminItems+"/none/keys", "").code())
}

func TestAdminEditsGroups(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	path := "/api/v1/admin/item-groups"
	require.Len(t, into[ItemGroups](t, s.call("support", "GET", path, "")).Groups, 3)
	put := s.call("admin", "PUT", path, `{"groups": [{"external_id": "weapons", "name": {"en": "Arms"}, "is_enabled": true}]}`)
	require.Equal(t, 200, put.status, "%s", put.body)
	require.Contains(t, string(s.items("/groups").body), `"name":"Arms"`)
	require.Equal(t, 404, s.items("/group/passes").status)
	require.Equal(t, 200, s.call("admin", "PUT", path, `{"groups": []}`).status)
	require.JSONEq(t, `{"groups": []}`, string(s.items("/groups").body))
}

func TestAdminEditsTheProject(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	path := "/api/v1/admin/projects/1"
	project := into[Project](t, s.call("support", "GET", path, ""))
	require.Equal(t, []any{false, "en", "USD", "UTC", true, 86400}, []any{project.JwtSecretSet, project.DefaultLocale, project.DefaultCurrency, project.TimeZone, project.Sandbox, project.OrderSeconds})
	require.Equal(t, 401, s.items("", byUser(t, "12345")).status, "no secret yet")

	changed := s.call("admin", "PATCH", path, fmt.Sprintf(`{"jwt_secret": %q, "time_zone": "Europe/Moscow", "default_currency": "EUR", "sandbox": false, "order_seconds": 600}`, jwtSecret))
	require.Equal(t, 200, changed.status, "%s", changed.body)
	require.NotContains(t, string(changed.body), jwtSecret)
	project = into[Project](t, changed)
	require.Equal(t, []any{true, "Europe/Moscow", "EUR", false, 600, 2592000}, []any{project.JwtSecretSet, project.TimeZone, project.DefaultCurrency, project.Sandbox, project.OrderSeconds, project.CartSeconds})
	require.Equal(t, 200, s.items("", byUser(t, "12345")).status, "at once in this process")
	require.NotContains(t, string(s.call("support", "GET", "/api/v1/admin/audit", "").body), jwtSecret)
	require.False(t, into[Project](t, s.call("admin", "PATCH", path, `{"jwt_secret": ""}`)).JwtSecretSet)
	require.Equal(t, 401, s.items("", byUser(t, "12345")).status)

	for _, body := range []string{`{"jwt_secret": "short"}`, `{"jwks_url": "ftp://example.com"}`, `{"jwks_url": "https://"}`, `{"default_locale": "xx-YY-zzzzzzzzzz"}`, `{"default_currency": "ABC"}`, `{"time_zone": "Mars"}`, `{"time_zone": ""}`,
		`{"order_seconds": 1}`, `{"name": ""}`, `{"colour": 1}`, `{"sandbox": 1}`} {
		require.Equal(t, "invalid_request", s.call("admin", "PATCH", path, body).code(), body)
	}
	for _, call := range []string{"GET /api/v1/admin/projects/2", "PATCH /api/v1/admin/projects/2", "POST /api/v1/admin/projects/2/server-keys", "DELETE /api/v1/admin/projects/2/server-keys/x"} {
		method, path, _ := strings.Cut(call, " ")
		body := map[string]string{"PATCH": "{}"}[method]
		require.Equal(t, "project_not_found", s.call("admin", method, path, body).code(), call)
	}

	made := into[ServerKey](t, s.call("admin", "POST", path+"/server-keys", ""))
	basic := func(r *http.Request) { r.SetBasicAuth("1", made.APIKey) }
	require.Equal(t, 200, s.items("", basic).status)
	require.NotContains(t, string(s.call("support", "GET", "/api/v1/admin/audit", "").body), made.APIKey)
	require.Equal(t, 204, s.call("admin", "DELETE", path+"/server-keys/"+made.KeyID, "").status)
	require.Equal(t, "server_key_not_found", s.call("admin", "DELETE", path+"/server-keys/"+made.KeyID, "").code())
	require.Equal(t, "server_key_not_found", s.call("admin", "DELETE", path+"/server-keys/id-key-of-admin", "").code(), "of another role")
}

func TestKeyLines(t *testing.T) {
	t.Parallel()
	codes, err := keyLines("a\n\r\n b\t\r\nc")
	require.NoError(t, err)
	encoded, err := json.Marshal(codes)
	require.NoError(t, err)
	require.JSONEq(t, `["a", "b", "c"]`, string(encoded))
}
