package api

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/testkit"
)

const (
	soon  = 20 * time.Second
	three = `{"initial":3}`
)

// listening starts what Run starts beside the listener, and waits until edits are heard of.
func (s *shop) listening() {
	s.t.Helper()
	s.t.Cleanup(s.server.background(context.Background()))
	s.requireLive()
}

func (s *shop) requireLive() {
	s.t.Helper()
	require.Eventually(s.t, s.server.shop.live.Load, soon, time.Millisecond)
}

// frozen stops the cache's clock: from now on only an edit makes it read again.
func frozen(s *shop) *shop {
	now := time.Now()
	s.server.shop.clock = func() time.Time { return now }
	return s
}

// another is a second API process on the database of the first.
func (s *shop) another() *shop {
	s.t.Helper()
	db := testkit.OpenDatabase(s.t, s.url)
	other := &shop{t: s.t, url: s.url, db: db, starter: s.starter, watcher: NewWatcher(db), log: &syncBuffer{}}
	other.serve()
	return other
}

func (s *shop) put(sku, stock, more string) {
	s.t.Helper()
	a := s.call("admin", "PUT", "/api/v1/admin/products/"+sku,
		`{"name":"x","price_coins":1,"status":"published","stock":`+stock+`,"integration":{"amount":1,"currency":"c"}`+more+`}`)
	require.Contains(s.t, []int{200, 201}, a.status, "%s", a.body)
}

func (s *shop) price(t *testing.T, sku string) int64 {
	return into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/"+sku, "")).PriceCoins
}

func (s *shop) setPrice(sku string, coins int) {
	s.t.Helper()
	a := s.call("admin", "PUT", "/api/v1/admin/products/"+sku, fmt.Sprintf(`{"name":"x","price_coins":%d,"status":"published","integration":{"amount":1,"currency":"c"}}`, coins))
	require.Equal(s.t, 200, a.status, "%s", a.body)
}

func TestOrderOfTheShop(t *testing.T) {
	t.Parallel()
	s := newShop(t) // with credits-500, in no group
	s.listening()
	s.put("b-2", three, `,"group":"b","position":2`)
	s.put("a-10", three, `,"group":"a <\"б\">","position":10`)
	s.put("a-9", three, `,"group":"a <\"б\">","position":9`)
	s.put("b-2-too", three, `,"group":"b","position":2`)
	s.put("b-1", three, `,"group":"b","position":1`)
	skus := func(p ShopProductPage) []string { return each(p.Items, func(p ShopProduct) string { return p.Sku }) }
	all := []string{"credits-500", "a-9", "a-10", "b-1", "b-2", "b-2-too"}
	require.Equal(t, all, skus(into[ShopProductPage](t, s.call("storefront", "GET", "/api/v1/products", ""))))
	for _, more := range []string{"", "&user_id=rich"} {
		var read []string
		for path := "/api/v1/products?limit=1" + more; path != ""; {
			page := into[ShopProductPage](t, s.call("storefront", "GET", path, ""))
			require.Len(t, page.Items, 1)
			read = append(read, skus(page)...)
			path = ""
			if page.NextCursor != nil {
				path = "/api/v1/products?limit=1&cursor=" + *page.NextCursor + more
			}
		}
		require.Equal(t, all, read)
	}
	group := "/api/v1/products?group=" + url.QueryEscape(`a <"б">`)
	require.Equal(t, []string{"a-9", "a-10"}, skus(into[ShopProductPage](t, s.call("storefront", "GET", group, ""))))
	require.Empty(t, into[ShopProductPage](t, s.call("storefront", "GET", "/api/v1/products?group=none", "")).Items)
	require.Equal(t, "invalid_request", s.call("storefront", "GET", "/api/v1/products?cursor=credits-500", "").code())
	require.Equal(t, "invalid_request", s.call("storefront", "GET", "/api/v1/products?cursor=eyJHcm91cCI6Ilx1MDAwMCJ9", "").code(), "a NUL inside")
}

func TestCatalogIsCached(t *testing.T) {
	t.Parallel()
	s := frozen(newShop(t))
	s.listening()
	for _, path := range []string{"/api/v1/products", "/api/v1/products/credits-500"} {
		first := s.call("storefront", "GET", path, "")
		require.Equal(t, 200, first.status)
		tag := first.header.Get("ETag")
		require.NotEmpty(t, tag)
		require.Equal(t, "private, no-cache", first.header.Get("Cache-Control"))

		same := s.call("storefront", "GET", path, "", header("If-None-Match", `"x", W/`+tag))
		require.Equal(t, 304, same.status)
		require.Empty(t, same.body)
		require.Equal(t, tag, same.header.Get("ETag"))
		require.Equal(t, 200, s.call("storefront", "GET", path, "", header("If-None-Match", `"x"`)).status)

		forUser := s.call("storefront", "GET", path+"?user_id=rich", "", header("If-None-Match", tag))
		require.Equal(t, 200, forUser.status)
		require.Equal(t, "no-store", forUser.header.Get("Cache-Control"))
	}
	require.Equal(t, 404, s.call("storefront", "GET", "/api/v1/products/none", "").status)

	// It answers although the table can't be read.
	conn, err := pgx.Connect(t.Context(), s.url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE products")
	require.NoError(t, err)
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/products", "").status)
	require.NoError(t, tx.Rollback(t.Context()))
}

func TestSalesShowWithinASecond(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	start, passed := time.Now(), atomic.Int64{}
	s.server.shop.clock = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	s.listening()
	before := s.server.shop.generation.Load()
	s.put("last", `{"initial":1}`, "")
	s.put("hides", `{"initial":1,"hide_at_zero":true}`, "")
	status := func() StockStatus {
		return into[ShopProduct](t, s.call("storefront", "GET", "/api/v1/products/last", "")).Stock.Status
	}
	// Each edit counts here at once, and again when the listener hears of it.
	require.Eventually(t, func() bool { return s.server.shop.generation.Load() == before+4 }, soon, time.Millisecond)
	require.Equal(t, StockStatusLowStock, status())
	require.Equal(t, 200, s.call("storefront", "GET", "/api/v1/products/hides", "").status)
	for _, sku := range []string{"last", "hides"} {
		require.Equal(t, 202, s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"`+sku+`"}`).status)
	}
	passed.Store(int64(shownFor - 1))
	require.Equal(t, StockStatusLowStock, status(), "it may lag")
	require.Equal(t, "out_of_stock", s.call("storefront", "POST", "/api/v1/purchases", `{"user_id":"rich","sku":"last"}`).code(), "a purchase never looks at the cache")
	passed.Store(int64(shownFor))
	require.Equal(t, StockStatusOutOfStock, status())
	require.Equal(t, "product_not_found", s.call("storefront", "GET", "/api/v1/products/hides", "").code())
}

// An edit through one API process shows through the cache of the other: its clock stands still, so that only the
// notification can have told it.
func TestEditsShowInEveryProcess(t *testing.T) {
	t.Parallel()
	one := frozen(newShop(t))
	two := frozen(one.another())
	one.listening()
	two.listening()
	for coins := 101; coins <= 110; coins++ {
		two.price(t, "credits-500") // both have it in memory
		one.setPrice("credits-500", coins)
		require.EqualValues(t, coins, one.price(t, "credits-500"), "the process of the edit shows it at once")
		require.Eventually(t, func() bool { return two.price(t, "credits-500") == int64(coins) }, soon, time.Millisecond)
	}
	tag := two.call("storefront", "GET", "/api/v1/products", "").header.Get("ETag")
	require.Equal(t, tag, one.call("storefront", "GET", "/api/v1/products", "").header.Get("ETag"), "a client may change the process")

	two.price(t, "credits-500")
	testkit.Exec(t, one.db, "UPDATE stock SET restocked = restocked + 7, available = available + 7")
	require.Eventually(t, func() bool {
		return into[ShopProduct](t, two.call("storefront", "GET", "/api/v1/products/credits-500", "")).Stock.Available == 57
	}, soon, time.Millisecond)
}

// What was edited while the listener was away shows at once, and after it is back.
func TestListenerComesBack(t *testing.T) {
	t.Parallel()
	one := newShop(t)
	two := frozen(one.another())
	two.listening()
	require.EqualValues(t, 100, two.price(t, "credits-500"))
	testkit.Exec(t, one.db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
	require.Eventually(t, func() bool { return !two.server.shop.live.Load() }, soon, time.Millisecond)
	one.setPrice("credits-500", 7)
	require.EqualValues(t, 7, two.price(t, "credits-500"), "not from memory meanwhile")
	two.requireLive()
	require.EqualValues(t, 7, two.price(t, "credits-500"))
	one.setPrice("credits-500", 8)
	require.Eventually(t, func() bool { return two.price(t, "credits-500") == 8 }, soon, time.Millisecond)
	require.Contains(t, two.log.String(), "the catalog is not cached")
}

// Many who ask for the same at once cause one read.
func TestReadsAreShared(t *testing.T) {
	t.Parallel()
	s := frozen(newShop(t)).server.shop
	s.live.Store(true)
	reading, release := make(chan struct{}), make(chan struct{})
	reads := 0
	read := func(context.Context) (any, error) {
		reads++
		close(reading)
		<-release
		return "x", nil
	}
	gone, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := s.get(gone, shopKey{sku: "x"}, read)
		first <- err
	}()
	<-reading
	leave()
	require.ErrorIs(t, <-first, context.Canceled, "who leaves does not wait, and does not spoil it for others")
	others := make(chan error, 10)
	for range cap(others) {
		go func() {
			_, err := s.get(t.Context(), shopKey{sku: "x"}, read)
			others <- err
		}()
	}
	close(release)
	for range cap(others) {
		require.NoError(t, <-others)
	}
	require.Equal(t, 1, reads)
	_, err := s.get(t.Context(), shopKey{sku: "y"}, func(context.Context) (any, error) { panic("y") })
	require.ErrorContains(t, err, "panic: y", "and the process lives on")
}
