package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const (
	shoppers        = 40 // users who order carts and items
	tills           = 3  // of them at the same time
	shopperCoins    = 1_000_000
	betweenOrders   = 150 * time.Millisecond // on average
	orderSeconds    = 60                     // until an unpaid order expires
	shopperSecret   = "the secret of the chaos run's users, 32 bytes"
	shopperSeedBase = 2000 // their random choices are nobody else's
	testCard        = "4111111111111111"
	passDays        = 30
)

// ware is an item of the catalog, and what one piece of it comes to in an inventory.
type ware struct {
	catalog.Item
	gives map[string]int64
}

// topUp is what the main product gives, and no inventory here.
const topUp = "topup"

// wares are one of every kind, and one that the main product delivers.
func wares() []ware {
	usd := []catalog.Price{{Amount: decimal.RequireFromString("1.99"), Currency: "USD", IsDefault: true}}
	coins := func(n int64) []catalog.VirtualPrice {
		return []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: n, IsDefault: true}}
	}
	good := func(sku string, kind catalog.VirtualItemType) catalog.Item {
		return catalog.Item{
			SKU:             sku,
			Type:            catalog.VirtualGood,
			VirtualItemType: kind,
			Status:          catalog.Published,
			Name:            catalog.Text{"en": sku},
		}
	}
	gold := catalog.Item{SKU: "gold", Type: catalog.VirtualCurrency, Status: catalog.Draft, Name: catalog.Text{"en": "gold"}}
	gun, pass, gift := good("gun", catalog.Consumable), good("pass", catalog.NonRenewingSubscription), good("gift", catalog.Consumable)
	gun.Prices, gun.VirtualPrices = usd, coins(7)
	pass.Prices, pass.VirtualPrices = usd, coins(11)
	pass.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: subscriptions.Day, Value: passDays}
	gift.IsFree = true
	bag, pack := good("bag", ""), good("pack", "")
	bag.Type, bag.BundleType, bag.Prices, bag.Content = catalog.Bundle, catalog.CurrencyPackage, usd, []catalog.Content{{SKU: "gold", Quantity: 100}}
	pack.Type, pack.BundleType, pack.Prices = catalog.Bundle, catalog.StandardBundle, usd
	pack.Content = []catalog.Content{{SKU: "gun", Quantity: 5}, {SKU: "pass", Quantity: 1}, {SKU: "bag", Quantity: 2}}
	up := good(topUp, catalog.Consumable)
	up.Prices = usd
	up.MainProduct = &catalog.MainProduct{
		Integration: store.Integration{
			ResourceType: catalog.DefaultResourceType,
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(5),
			Currency:     "credits",
		},
		Delivery:           quick(1),
		InsteadOfInventory: true,
	}
	return []ware{{gold, nil}, {up, nil}, {gun, map[string]int64{"gun": 1}}, {pass, map[string]int64{"pass": 1}}, {gift, map[string]int64{"gift": 1}},
		{bag, map[string]int64{"gold": 100}}, {pack, map[string]int64{"gun": 5, "pass": 1, "gold": 200}}}
}

func seedCatalog(ctx context.Context, db *postgres.DB) error {
	now := time.Now()
	_, err := db.EditProject(ctx, project, postgres.ProjectEdit{
		JWTSecret:    new(shopperSecret),
		OrderSeconds: new(int32(orderSeconds)),
	}, "chaos", now)
	if err != nil {
		return err
	}
	for _, w := range wares() {
		if _, _, err := db.CreateItem(ctx, postgres.NewItem{ProjectID: project, Item: w.Item, Actor: "chaos"}, now); err != nil {
			return fmt.Errorf("item %s: %w", w.SKU, err)
		}
	}
	for n := range shoppers {
		user := fmt.Sprintf("shopper-%d", n)
		if _, _, err := db.PutUser(ctx, project, user, postgres.UserEdit{}, now); err != nil {
			return err
		}
		_, err := db.AdjustWallet(ctx, postgres.Adjustment{
			ProjectID:    project,
			AdjustmentID: "chaos_" + user,
			UserID:       user,
			Amount:       shopperCoins,
			Reason:       "chaos",
			Actor:        "chaos",
		}, now)
		if err != nil {
			return fmt.Errorf("coins of %s: %w", user, err)
		}
	}
	return nil
}

// line is so many pieces of a ware.
type line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// shopping is one order as its user wants it, and what the user was told.
type shopping struct {
	key, user string
	lines     []line
	coins     int64 // it costs; 0: it costs money, or nothing
	orderID   int64
	token     string
	paid      bool // the user was told so
	canceled  bool // the user was told so
}

// checkoutLoad are users who order carts and items, pay, pay twice, change their mind, or forget about it.
type checkoutLoad struct {
	stack    *stack
	findings *findings
	client   *http.Client

	orders, payments, cancels, retries atomic.Int64
	mu                                 sync.Mutex
	all                                []*shopping
}

func newCheckoutLoad(s *stack, f *findings) *checkoutLoad {
	return &checkoutLoad{stack: s, findings: f, client: &http.Client{Timeout: answerTimeout}}
}

// run orders until ordering ends; then each till finishes what it has, until giveUp ends.
func (l *checkoutLoad) run(ordering, giveUp context.Context, seed uint64) {
	var group sync.WaitGroup
	for n := range tills {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, shopperSeedBase+uint64(n)))
			for i := 0; pause(ordering, time.Duration(r.Int64N(int64(2*betweenOrders)))); i++ {
				l.shop(giveUp, &shopping{
					key:  fmt.Sprintf("checkout-%d-%d-%d", seed, n, i),
					user: fmt.Sprintf("shopper-%d", r.IntN(shoppers)),
				}, r)
			}
		})
	}
	group.Wait()
}

// shop makes one order in one of four ways, and ends one that costs money in one of five.
func (l *checkoutLoad) shop(ctx context.Context, o *shopping, r *rand.Rand) {
	l.mu.Lock()
	l.all = append(l.all, o)
	l.mu.Unlock()
	forMoney := true
	switch n := r.IntN(10); {
	case n < 4:
		l.orderItem(ctx, o, r, line{[]string{"gun", "pass", "bag", "pack", topUp}[r.IntN(5)], 1 + r.Int64N(3)}, "/payment/item/", "")
	case n < 7:
		l.orderCart(ctx, o, r)
	case n < 8:
		forMoney = false
		l.orderItem(ctx, o, r, line{"gift", 1}, "/free/item/", "")
	default:
		forMoney = false
		what := []struct {
			sku   string
			coins int64
		}{{"gun", 7}, {"pass", 11}}[r.IntN(2)]
		o.coins = what.coins
		l.orderItem(ctx, o, r, line{what.sku, 1}, "/payment/item/", "/virtual/coins")
	}
	if o.orderID == 0 || !forMoney {
		return
	}
	switch n := r.IntN(20); {
	case n < 13:
		l.pay(ctx, o, r, "1")
	case n < 15:
		one, other := another(r), another(r)
		atOnce(func() { l.pay(ctx, o, one, "1") }, func() { l.pay(ctx, o, other, "2") })
	case n < 17:
		l.cancel(ctx, o, r)
	case n < 19:
		one, other := another(r), another(r)
		atOnce(func() { l.pay(ctx, o, one, "1") }, func() { l.cancel(ctx, o, other) })
	default: // forgotten: it expires
	}
}

// another is a source of its own for what goes on at the same time.
func another(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }

func atOnce(one, other func()) {
	var group sync.WaitGroup
	group.Go(one)
	group.Go(other)
	group.Wait()
}

func (l *checkoutLoad) orderItem(ctx context.Context, o *shopping, r *rand.Rand, what line, before, after string) {
	o.lines = []line{what}
	body := map[string]any{}
	if after == "" && before != "/free/item/" {
		body["quantity"] = what.Quantity
	}
	l.order(ctx, o, r, before+what.SKU+after, body)
}

// orderCart fills a cart of its own and orders it.
func (l *checkoutLoad) orderCart(ctx context.Context, o *shopping, r *rand.Rand) {
	o.lines = []line{{"gun", 1 + r.Int64N(5)}, {[]string{"pass", "bag", "pack", topUp}[r.IntN(4)], 1 + r.Int64N(2)}}
	status, data := l.send(ctx, o, r, http.MethodPut, "/api/v2/project/1/cart/"+o.key+"/fill", "", map[string]any{"items": o.lines})
	if status != http.StatusOK {
		l.complain(ctx, "a cart is filled", o, status, data)
		return
	}
	l.order(ctx, o, r, "/payment/cart/"+o.key, map[string]any{})
}

func (l *checkoutLoad) order(ctx context.Context, o *shopping, r *rand.Rand, path string, body map[string]any) {
	path = "/api/v2/project/1" + path
	status, data := l.send(ctx, o, r, http.MethodPost, path, o.key, body)
	var made struct {
		OrderID int64 `json:"order_id"`
		Token   string
	}
	if status != http.StatusOK || json.Unmarshal(data, &made) != nil || made.OrderID == 0 {
		l.complain(ctx, "what is on sale can be ordered", o, status, data)
		return
	}
	o.orderID, o.token = made.OrderID, made.Token
	if n := l.orders.Add(1); n%askAgain == 0 {
		var again struct {
			OrderID int64 `json:"order_id"`
		}
		if status, data = l.send(ctx, o, r, http.MethodPost, path, o.key, body); status == http.StatusOK && json.Unmarshal(data, &again) == nil && again.OrderID != o.orderID {
			l.findings.add("the same key gets the same order", "key %s: order %d first, then %d", o.key, o.orderID, again.OrderID)
		}
	}
}

func (l *checkoutLoad) pay(ctx context.Context, o *shopping, r *rand.Rand, which string) {
	status, data := l.send(ctx, o, r, http.MethodPost, "/api/v1/sandbox/payments", o.key+"-pay-"+which, map[string]any{
		"token": o.token,
		"card":  testCard,
	})
	switch {
	case status == http.StatusOK:
		l.payments.Add(1)
		l.mu.Lock()
		o.paid = true
		l.mu.Unlock()
	case status != http.StatusConflict: // paid already, canceled, or too late
		l.complain(ctx, "a payment is taken or refused", o, status, data)
	}
}

func (l *checkoutLoad) cancel(ctx context.Context, o *shopping, r *rand.Rand) {
	status, data := l.send(ctx, o, r, http.MethodPost, fmt.Sprintf("/api/v2/project/1/order/%d/cancel", o.orderID), "", map[string]any{})
	switch {
	case status == http.StatusOK:
		l.cancels.Add(1)
		l.mu.Lock()
		o.canceled = true
		l.mu.Unlock()
	case status != http.StatusUnprocessableEntity: // paid already, or expired
		l.complain(ctx, "an order is canceled or can't be", o, status, data)
	}
}

func (l *checkoutLoad) complain(ctx context.Context, rule string, o *shopping, status int, data []byte) {
	if ctx.Err() == nil {
		l.findings.add(rule, "%s of %s: %d %s", o.key, o.user, status, data)
	}
}

// send repeats a request at one process after the other until one has an answer. It gives up with ctx.
func (l *checkoutLoad) send(ctx context.Context, o *shopping, r *rand.Rand, method, path, idempotency string, body any) (status int, data []byte) {
	at := r.IntN(len(l.stack.apis))
	for ctx.Err() == nil {
		status, data, err := l.ask(ctx, method, l.stack.apis[at]+path, o.user, idempotency, body)
		if err == nil && status < 500 {
			return status, data
		}
		if err == nil && status != http.StatusServiceUnavailable {
			l.findings.add("an outage is answered with 503", "%s %s: %d %s", method, path, status, data)
		}
		l.retries.Add(1)
		at = (at + 1) % len(l.stack.apis)
		pause(ctx, 100*time.Millisecond+time.Duration(r.IntN(400))*time.Millisecond)
	}
	return 0, nil
}

func (l *checkoutLoad) ask(ctx context.Context, method, url, user, idempotency string, body any) (status int, data []byte, err error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	token, err := shopperToken(user)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if idempotency != "" {
		request.Header.Set("Idempotency-Key", idempotency)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	data, err = io.ReadAll(response.Body)
	return response.StatusCode, data, err
}

func shopperToken(user string) (string, error) {
	claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix(), "project_id": project}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(shopperSecret))
}
