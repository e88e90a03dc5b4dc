package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// item is a product of the shop and how often it is bought.
type item struct {
	sku    string
	weight int
	price  int64
	stock  int64
	amount string // credits for one piece
	store.DeliverySettings
}

func quick(interval int) store.DeliverySettings {
	return store.DeliverySettings{Method: "api_call", TimeoutSeconds: 3, Retries: 3, RetryIntervalSeconds: interval}
}

// shop: most products give up sooner than seed 000's, so that a run ends in reasonable time; one is the seed's own.
var shop = []item{
	{"many-1s", 60, 10, 10_000_000, "100", quick(1)},
	{"many-2s", 30, 25, 10_000_000, "12.50", quick(2)},
	{"seed-30s", 3, 100, 10_000_000, "500", store.DefaultDelivery()},
	{"few-20", 2, 50, 20, "50", quick(1)},
	{"few-100", 3, 5, 100, "5", quick(2)},
	{"last-one", 1, 200, 1, "1000", quick(1)},
	{"draft", 1, 10, 100, "1", quick(1)},
}

const (
	buyers     = 300
	ghosts     = 10 // unknown to the main product, which the fake takes "ghost..." for
	blocked    = 5
	poor       = 5
	richCoins  = 100_000_000
	ghostCoins = 1_000_000
	poorCoins  = 15
)

// coinsOf is what a user starts with.
func coinsOf(user string) int64 {
	switch user[0] {
	case 'g':
		return ghostCoins
	case 'p':
		return poorCoins
	default:
		return richCoins
	}
}

// users lists all that QuickPass knows.
func users() []string {
	var all []string
	for prefix, count := range map[string]int{"buyer": buyers, "ghost": ghosts, "blocked": blocked, "poor": poor} {
		for n := range count {
			all = append(all, fmt.Sprintf("%s-%d", prefix, n))
		}
	}
	return all
}

// pickUser mostly takes a buyer; sometimes one that somebody refuses, or nobody's id.
func pickUser(r *rand.Rand) string {
	switch n := r.IntN(100); {
	case n < 2:
		return fmt.Sprintf("ghost-%d", r.IntN(ghosts))
	case n < 3:
		return fmt.Sprintf("blocked-%d", r.IntN(blocked))
	case n < 4:
		return fmt.Sprintf("poor-%d", r.IntN(poor))
	case n < 5:
		return fmt.Sprintf("nobody-%d", r.IntN(10))
	default:
		return fmt.Sprintf("buyer-%d", r.IntN(buyers))
	}
}

func pickItem(r *rand.Rand) item {
	total := 0
	for _, i := range shop {
		total += i.weight
	}
	n := r.IntN(total)
	for _, i := range shop {
		if n -= i.weight; n < 0 {
			return i
		}
	}
	panic("unreachable: the weights add up")
}

func seedShop(ctx context.Context, db *postgres.DB) error {
	now := time.Now()
	for _, i := range shop {
		status := store.Published
		if i.sku == "draft" {
			status = store.Draft
		}
		_, _, err := db.AddProduct(ctx, postgres.NewProduct{ProjectID: project, Actor: "chaos", Product: store.Product{
			SKU:         i.sku,
			Name:        i.sku,
			Description: "for the chaos run",
			Kind:        "credits",
			PriceCoins:  i.price,
			Status:      status,
			Stock:       store.StockSettings{Initial: i.stock},
			Integration: store.Integration{
				ResourceType: "external_currency",
				Endpoint:     store.DefaultEndpoint,
				Amount:       decimal.RequireFromString(i.amount),
				Currency:     "credits",
			},
			Delivery: i.DeliverySettings,
		}}, now)
		if err != nil {
			return fmt.Errorf("product %s: %w", i.sku, err)
		}
	}
	for _, user := range users() {
		if _, _, err := db.PutUser(ctx, project, user, postgres.UserEdit{}, now); err != nil {
			return err
		}
		_, err := db.AdjustWallet(ctx, postgres.Adjustment{
			ProjectID:    project,
			AdjustmentID: "chaos_" + user,
			UserID:       user,
			Amount:       coinsOf(user),
			Reason:       "chaos",
			Actor:        "chaos",
		}, now)
		if err != nil {
			return fmt.Errorf("coins of %s: %w", user, err)
		}
		if user[:2] == "bl" {
			if _, err := db.SetBlocked(ctx, project, user, true, "chaos", "chaos", now); err != nil {
				return err
			}
		}
	}
	return nil
}

// restock adds pieces, for replays of orders whose product sold out meanwhile.
func restock(ctx context.Context, db *postgres.DB, pieces map[string]int64) error {
	edit := postgres.StockEdit{ProjectID: project, EditID: "chaos_restock", Mode: store.AllOrNothing, Actor: "chaos", Reason: "replays"}
	for sku, n := range pieces {
		edit.Items = append(edit.Items, store.StockEdit{SKU: sku, Add: &n})
	}
	_, err := db.EditStock(ctx, edit, time.Now())
	return err
}
