package api

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/store"
)

const replays = "/api/v1/admin/replays"

// failOrders makes so many orders that the main product did not answer.
func (s *shop) failOrders(n int) {
	s.t.Helper()
	for range n {
		s.call("storefront", "POST", "/api/v1/purchases", buy)
		s.release(s.starter.seen()[len(s.starter.seen())-1], store.Reason{Code: store.MainProductUnreachable, Message: "no answer"})
	}
}

func TestBulkReplayDryRun(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.failOrders(25)
	before := s.written()
	a := s.call("support", "POST", replays, `{"filter":{"reason":"main_product_unreachable","suspected":false},"dry_run":true,"reason":"look"}`)
	require.Equal(t, 200, a.status, "%s", a.body)
	preview := into[BulkReplayPreview](t, a)
	require.True(t, preview.DryRun)
	require.Equal(t, store.ReplayTally{Orders: 25, Coins: 2_500}, preview.Total)
	require.Len(t, preview.Sample, 20)
	require.Equal(t, "credits-500", preview.Sample[0].Sku)
	preview = into[BulkReplayPreview](t, s.call("support", "POST", replays, `{"filter":{"user_id":"nobody"},"dry_run":true,"reason":"look"}`))
	require.Zero(t, preview.Total)
	require.NotNil(t, preview.Sample)
	require.Equal(t, before, s.written(), "a dry run writes nothing")
	require.Empty(t, s.starter.told())
}

func TestBulkReplay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.failOrders(3)
	const body = `{"filter":{"sku":"credits-500","from":"2020-01-01T03:00:00+03:00"},"rate_per_second":0.1,"reason":"the product is back"}`
	key := header("Idempotency-Key", "bulk-1")
	a := s.call("support", "POST", replays, body, key)
	require.Equal(t, 202, a.status, "%s", a.body)
	accepted := into[BulkReplayAccepted](t, a)
	require.EqualValues(t, "running", accepted.Status)
	path := a.header.Get("Location")
	require.Equal(t, replays+"/"+accepted.ReplayID, path)
	told := s.starter.told()
	require.Len(t, told, 1)
	require.Equal(t, []any{accepted.ReplayID, int64(3), 0.1, "credits-500"}, []any{told[0].ReplayID, told[0].Orders, told[0].RatePerSecond, told[0].Filter.SKU})

	again := s.call("support", "POST", replays, body, key)
	require.Equal(t, a.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, 422, s.call("support", "POST", replays, strings.Replace(body, "0.1", "1", 1), key).status)
	require.Len(t, s.starter.told(), 1)

	replay := into[BulkReplay](t, s.call("admin", "GET", path, ""))
	require.Equal(t, "the product is back", replay.Reason)
	require.Equal(t, "id-"+keyOf("support"), replay.Actor)
	require.Equal(t, "2020-01-01T00:00:00Z", replay.Filter.From.Format(time.RFC3339))
	require.EqualValues(t, 3, replay.Progress.Waiting.Orders)
	require.Nil(t, replay.Report)
	require.Nil(t, replay.StartedAt)

	act := func(command string, status int) answer {
		a := s.call("support", "POST", path+"/"+command, `{"reason":"as told"}`)
		require.Equal(t, status, a.status, "%s: %s", command, a.body)
		return a
	}
	require.EqualValues(t, "paused", into[BulkReplay](t, act("pause", 200)).Status)
	require.EqualValues(t, "paused", into[BulkReplay](t, act("pause", 200)).Status)
	require.EqualValues(t, "running", into[BulkReplay](t, act("resume", 200)).Status)
	canceling := into[BulkReplay](t, act("cancel", 200))
	require.EqualValues(t, "canceling", canceling.Status)
	require.EqualValues(t, 3, canceling.Progress.Skipped.Orders)
	require.Equal(t, "replay_over", act("resume", 409).code())
	require.Len(t, s.starter.told(), 5, "the workflow is told of each")

	_, err := s.db.FinishReplay(t.Context(), contract.ReplayRef{ProjectID: 1, ReplayID: accepted.ReplayID}, time.Now())
	require.NoError(t, err)
	over := into[BulkReplay](t, s.call("support", "GET", path, ""))
	require.EqualValues(t, "canceled", over.Status)
	require.EqualValues(t, 3, over.Report.Skipped.Orders)
	require.Equal(t, []store.ReplayReason{{Outcome: store.ItemSkipped, Code: "replay_canceled", ReplayTally: store.ReplayTally{Orders: 3, Coins: 300}}}, over.Report.Reasons)
	require.NotNil(t, over.FinishedAt)
	act("cancel", 200)
}

func TestBulkReplayLists(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.failOrders(1)
	require.Empty(t, into[BulkReplayPage](t, s.call("support", "GET", replays, "")).Items)
	var ids []string
	for range 3 {
		ids = append(ids, into[BulkReplayAccepted](t, s.call("admin", "POST", replays, `{"filter":{"user_id":"rich"},"reason":"x"}`)).ReplayID)
	}
	page := into[BulkReplayPage](t, s.call("support", "GET", replays+"?limit=2", ""))
	require.Equal(t, []string{ids[2], ids[1]}, each(page.Items, func(r BulkReplay) string { return r.ReplayID }))
	require.EqualValues(t, 5, page.Items[0].RatePerSecond, "unless given")
	require.Nil(t, page.Items[0].Progress)
	page = into[BulkReplayPage](t, s.call("support", "GET", replays+"?limit=2&cursor="+*page.NextCursor, ""))
	require.Len(t, page.Items, 1)
	require.Nil(t, page.NextCursor)
}

func TestBulkReplayBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.failOrders(1)
	id := into[BulkReplayAccepted](t, s.call("admin", "POST", replays, `{"filter":{"user_id":"rich"},"reason":"x"}`)).ReplayID
	before := s.written()
	const create = "POST " + replays
	filter := func(f string) string { return `{"reason":"x","filter":` + f + `}` }
	with := func(field string) string { return `{"reason":"x","filter":{"sku":"credits-500"},` + field + `}` }
	for name, test := range map[string]struct {
		call, body, field string
		status            int // 400 unless given
		code              string
	}{
		"no body":          {call: create},
		"array":            {call: create, body: `[]`},
		"no filter":        {call: create, body: `{"reason":"x"}`, field: "filter"},
		"empty filter":     {call: create, body: filter(`{}`), field: "filter"},
		"filter null":      {call: create, body: filter(`null`), field: "filter"},
		"unknown filter":   {call: create, body: filter(`{"status":"canceled"}`), field: "filter.status"},
		"reason unknown":   {call: create, body: filter(`{"reason":"bored"}`), field: "filter.reason"},
		"reason of buyer":  {call: create, body: filter(`{"reason":"not_confirmed"}`), field: "filter.reason"},
		"sku":              {call: create, body: filter(`{"sku":"a b"}`), field: "filter.sku"},
		"user empty":       {call: create, body: filter(`{"user_id":""}`), field: "filter.user_id"},
		"user number":      {call: create, body: filter(`{"user_id":5}`), field: "filter.user_id"},
		"suspected text":   {call: create, body: filter(`{"suspected":"true"}`), field: "filter.suspected"},
		"from no time":     {call: create, body: filter(`{"from":"yesterday"}`), field: "filter.from"},
		"from a day":       {call: create, body: filter(`{"from":"2026-11-22"}`), field: "filter.from"},
		"from no such day": {call: create, body: filter(`{"from":"2026-02-30T00:00:00Z"}`)},
		"to before from":   {call: create, body: filter(`{"from":"2026-11-22T00:00:00Z","to":"2026-11-22T00:00:00Z"}`), field: "filter.to"},
		"dry to, from":     {call: create, body: `{"dry_run":true,"reason":"x","filter":{"from":"2026-11-22T00:00:00Z","to":"2026-11-21T00:00:00Z"}}`, field: "filter.to"},
		"rate zero":        {call: create, body: with(`"rate_per_second":0`), field: "rate_per_second"},
		"rate negative":    {call: create, body: with(`"rate_per_second":-5`), field: "rate_per_second"},
		"rate low":         {call: create, body: with(`"rate_per_second":0.09`), field: "rate_per_second"},
		"rate high":        {call: create, body: with(`"rate_per_second":100.01`), field: "rate_per_second"},
		"rate text":        {call: create, body: with(`"rate_per_second":"5"`), field: "rate_per_second"},
		"rate null":        {call: create, body: with(`"rate_per_second":null`), field: "rate_per_second"},
		"dry run text":     {call: create, body: with(`"dry_run":"yes"`), field: "dry_run"},
		"unknown field":    {call: create, body: with(`"force":true`), field: "force"},
		"why missing":      {call: create, body: `{"filter":{"sku":"credits-500"}}`, field: "reason"},
		"why blank":        {call: create, body: `{"filter":{"sku":"credits-500"},"reason":"  "}`, field: "reason"},
		"why long":         {call: create, body: `{"filter":{"sku":"credits-500"},"reason":"` + strings.Repeat("x", 501) + `"}`, field: "reason"},
		"nothing":          {call: create, body: filter(`{"user_id":"nobody"}`), status: 422, code: "nothing_to_replay"},
		"list limit":       {call: "GET " + replays + "?limit=0", field: "limit"},
		"list cursor":      {call: "GET " + replays + "?cursor=a%20b", field: "cursor"},
		"list parameter":   {call: "GET " + replays + "?status=running", field: "status"},
		"get nothing":      {call: "GET " + replays + "/rp_none", status: 404, code: "replay_not_found"},
		"get bad id":       {call: "GET " + replays + "/a%20b", field: "id"},
		"pause nothing":    {call: "POST " + replays + "/rp_none/pause", body: `{"reason":"x"}`, status: 404, code: "replay_not_found"},
		"resume nothing":   {call: "POST " + replays + "/rp_none/resume", body: `{"reason":"x"}`, status: 404, code: "replay_not_found"},
		"cancel nothing":   {call: "POST " + replays + "/rp_none/cancel", body: `{"reason":"x"}`, status: 404, code: "replay_not_found"},
		"pause silently":   {call: "POST " + replays + "/" + id + "/pause", body: `{}`, field: "reason"},
		"cancel no body":   {call: "POST " + replays + "/" + id + "/cancel"},
		"resume more":      {call: "POST " + replays + "/" + id + "/resume", body: `{"reason":"x","rate_per_second":5}`, field: "rate_per_second"},
		"delete":           {call: "DELETE " + replays + "/" + id, status: 405, code: "method_not_allowed"},
		"unknown command":  {call: "POST " + replays + "/" + id + "/stop", body: `{"reason":"x"}`, status: 404, code: "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(test.call, " ")
			a := s.call("admin", method, path, test.body)
			if test.status == 0 {
				test.status, test.code = 400, "invalid_request"
			}
			require.Equal(t, test.status, a.status, "%s", a.body)
			require.Equal(t, test.code, a.code())
			if test.field != "" {
				require.Equal(t, test.field, (*into[Problem](t, a).Errors)[0].Field, "%s", a.body)
			}
		})
	}
	for _, role := range []string{"storefront", "main_product", "distributor"} {
		require.Equal(t, 403, s.call(role, "POST", replays, filter(`{"sku":"x"}`)).status)
	}
	require.Equal(t, before, s.written())
	require.Len(t, s.starter.told(), 1)
}
