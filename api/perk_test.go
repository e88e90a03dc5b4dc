package api

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/store"
)

const vipProduct = `{"sku":"vip-30","name":"VIP for 30 days","kind":"vip_status","validity_seconds":2592000,"price_coins":500,"status":"published","stock":{"initial":5},
	"integration":{"resource_type":"status","amount":1,"currency":"vip","parameters":{"level":"gold","days":30}}}`

func TestPerks(t *testing.T) {
	t.Parallel()
	var now atomic.Pointer[time.Time]
	now.Store(new(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)))
	s := newShop(t, func(o *Options) { o.Clock = func() time.Time { return *now.Load() } })
	a := s.call("admin", "POST", "/api/v1/admin/products", vipProduct)
	require.Equal(t, 201, a.status, "%s", a.body)
	created := into[Product](t, a)
	require.EqualValues(t, 2_592_000, created.ValiditySeconds)
	require.JSONEq(t, `{"level":"gold","days":30}`, string(*created.Integration.Parameters))
	require.EqualValues(t, 2_592_000, into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/vip-30", "")).ValiditySeconds)

	list := func(query string) []Perk {
		a := s.call("storefront", "GET", "/api/v1/users/rich/perks"+query, "")
		require.Equal(t, 200, a.status, "%s", a.body)
		return into[PerkPage](t, a).Items
	}
	require.Empty(t, list(""))
	start := time.Now().UTC()
	for range 2 {
		a = s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"vip-30"}`)
		require.Equal(t, 202, a.status, "%s", a.body)
	}
	require.Empty(t, list(""), "nothing is given before the main product has")
	for _, in := range s.starter.seen() {
		s.capture(in) // at the time of this machine
	}
	perks := list("")
	require.Len(t, perks, 2)
	later, first := perks[0], perks[1]
	month := 30 * 24 * time.Hour
	require.WithinDuration(t, start, first.StartsAt, time.Minute)
	require.Equal(t, first.StartsAt.Add(month), first.ExpiresAt)
	require.Equal(t, first.ExpiresAt, later.StartsAt)
	require.Equal(t, later.StartsAt.Add(month), later.ExpiresAt)

	for at, want := range map[time.Time]string{
		first.StartsAt:                    "active upcoming [" + first.OrderID + "]",
		first.ExpiresAt.Add(-1):           "active upcoming [" + first.OrderID + "]",
		first.ExpiresAt:                   "ended active [" + later.OrderID + "]",
		later.ExpiresAt.Add(-time.Minute): "ended active [" + later.OrderID + "]",
		later.ExpiresAt:                   "ended ended []",
	} {
		now.Store(&at)
		all := list("")
		active := each(list("?active=true"), func(p Perk) string { return p.OrderID })
		require.Equal(t, want, fmt.Sprint(all[1].Status, " ", all[0].Status, " ", active), "%s", at)
	}
	user := into[User](t, s.call("storefront", "GET", "/api/v1/users/rich", ""))
	require.False(t, user.Vip)
	require.Equal(t, later.ExpiresAt, *user.VipUntil)

	now.Store(&later.ExpiresAt)
	page := into[PerkPage](t, s.call("main_product", "GET", "/api/v1/users/rich/perks?limit=1", ""))
	require.Equal(t, later.OrderID, *page.NextCursor)
	require.Equal(t, first.OrderID, list("?cursor=" + *page.NextCursor)[0].OrderID)
	require.Equal(t, store.PerkEnded, page.Items[0].Status)
}

func TestPerksBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for call, want := range map[string]string{
		"/api/v1/users/nobody/perks":           "404 user_not_found",
		"/api/v1/users/a%2Fb/perks":            "400 invalid_request",
		"/api/v1/users/rich/perks?active=yes":  "400 invalid_request",
		"/api/v1/users/rich/perks?active=":     "400 invalid_request",
		"/api/v1/users/rich/perks?limit=0":     "400 invalid_request",
		"/api/v1/users/rich/perks?cursor=%00":  "400 invalid_request",
		"/api/v1/users/rich/perks?status=over": "400 invalid_request",
	} {
		a := s.call("storefront", "GET", call, "")
		require.Equal(t, want, fmt.Sprint(a.status, " ", a.code()), "%s", call)
	}
	require.Equal(t, 403, s.call("distributor", "GET", "/api/v1/users/rich/perks", "").status)
	require.Equal(t, 401, s.call("", "GET", "/api/v1/users/rich/perks", "").status)
}
