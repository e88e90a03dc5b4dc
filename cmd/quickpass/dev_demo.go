package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/config"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/tasks"
	"github.com/quickpass/quickpass/internal/webhook"
)

const (
	demoProject = 1
	// seedProject is the one in the calls of seeds 002 and 004, so that they work as they are written there.
	seedProject = 44056
)

// devKeys are fixed, and refused by every process but `quickpass dev`.
var devKeys = map[string]string{
	"storefront":   "dev-storefront",
	"main_product": "dev-main-product",
	"distributor":  "dev-distributor",
	"admin":        "dev-admin",
	"support":      "dev-support",
}

// demoProducts are seed 000's ("Nominal Products"), with its stock.
var demoProducts = []struct {
	sku, name, currency string
	amount, price       int64
	stock               int64
}{
	{"credits-100", "100 credits", "credits", 100, 20, 200},
	{"credits-500", "500 credits", "credits", 500, 100, 150},
	{"credits-1000", "1000 credits", "credits", 1000, 200, 75},
	{"crystals-50", "50 crystals", "crystals", 50, 150, 30},
	{"bonus-200", "200 bonus points", "bonus_points", 200, 50, 100},
}

// demoTasks begin with the one of seed 001 ("Task Example").
func demoTasks() []tasks.Task {
	bets := tasks.Task{
		TaskID:    123,
		Status:    tasks.Published,
		EventType: "bet_placed",
		Equals:    map[string]string{"currency": "RUB"},
		Recurring: true,
		Window:    tasks.WindowRule{TimeZone: "Europe/Moscow", GraceSeconds: -1},
	}
	daily, chained, weekly, streak := bets, bets, bets, bets
	daily.Name, daily.Description = "Make 5 bets of 100+ rubles per day", "Any game; the day ends at midnight in Moscow"
	daily.MinAmount, daily.Target = new(decimal.NewFromInt(100)), decimal.NewFromInt(5)
	daily.Reward = tasks.Reward{
		Coins:       500,
		MainProduct: &tasks.MainProductReward{RewardType: "bonus_coins", Amount: decimal.NewFromInt(100)},
	}

	chained.TaskID, chained.Requires, chained.Recurring = 124, []int64{daily.TaskID}, false
	chained.Name, chained.Description = "Win 3 roulette bets", "Within a week from the activation, after the daily task"
	chained.Condition, chained.Target = `event.game_type == "roulette" && event.outcome == "win"`, decimal.NewFromInt(3)
	chained.Window.Kind, chained.Window.Unit = tasks.Rolling, tasks.Week
	chained.Reward = tasks.Reward{Coins: 1500}

	weekly.TaskID, weekly.Activation = 125, tasks.Automatic
	weekly.Name, weekly.Description = "Bet 10,000 rubles in a week", "Begins by itself, every Monday"
	weekly.Count, weekly.Target, weekly.Window.Unit = tasks.Count{Mode: tasks.CountSum}, decimal.NewFromInt(10_000), tasks.Week
	weekly.Reward, weekly.Budget = tasks.Reward{Coins: 1000}, tasks.Budget{TotalCoins: 1_000_000}

	streak.TaskID, streak.Activation, streak.EventType, streak.Equals = 126, tasks.Automatic, "daily_login", nil
	streak.Name, streak.Description = "Come 7 days in a row", "Every calendar month anew"
	streak.Count, streak.Target, streak.Window.Unit = tasks.Count{Mode: tasks.CountStreak}, decimal.NewFromInt(7), tasks.Month
	streak.Reward = tasks.Reward{
		Coins:       300,
		MainProduct: &tasks.MainProductReward{RewardType: "free_spins", Amount: decimal.NewFromInt(10)},
	}
	return []tasks.Task{daily, chained, weekly, streak}
}

var demoUsers = []struct {
	id, who string
	coins   int64
	blocked bool
}{
	{"12345", "has coins", 10_000, false},
	{"rich", "has many coins", 1_000_000, false},
	{"poor", "has too few coins", 5, false},
	{"blocked", "is blocked", 1_000, true},
	{"ghost", "has coins, but the main product does not know them", 1_000, false},
}

// seedDemo writes what is not there yet; a second start changes nothing. The fake main product, if it runs,
// is told of orders.
func seedDemo(ctx context.Context, c config.Config, fake string) error {
	return withDB(ctx, c, func(db *postgres.DB) error { return seedDatabase(ctx, db, fake, time.Now()) })
}

func seedDatabase(ctx context.Context, db *postgres.DB, fake string, now time.Time) error {
	for role, key := range devKeys {
		hash := sha256.Sum256([]byte(key))
		if err := db.PutAPIKey(ctx, postgres.APIKey{KeyID: key, ProjectID: demoProject, Role: role}, hash[:], now); err != nil {
			return err
		}
	}
	for _, p := range demoProducts {
		_, _, err := db.AddProduct(ctx, postgres.NewProduct{
			ProjectID: demoProject,
			Actor:     "demo",
			Product: store.Product{
				SKU:         p.sku,
				Name:        p.name,
				Description: "Top up balance in main product",
				Kind:        p.currency,
				PriceCoins:  p.price,
				Status:      store.Published,
				Stock:       store.StockSettings{Initial: p.stock, Minimum: 10, HideAtZero: true},
				Integration: store.Integration{
					ResourceType: "external_currency",
					Endpoint:     store.DefaultEndpoint,
					Amount:       decimal.NewFromInt(p.amount),
					Currency:     p.currency,
				},
				Delivery: store.DefaultDelivery(),
			},
		}, now)
		if err != nil && !errors.Is(err, postgres.ErrConflict) {
			return fmt.Errorf("demo product %s: %w", p.sku, err)
		}
	}
	for _, task := range demoTasks() {
		_, _, err := db.CreateTask(ctx, postgres.NewTask{ProjectID: demoProject, Actor: "demo", Task: task.WithDefaults()}, now)
		if err != nil && !errors.Is(err, postgres.ErrConflict) {
			return fmt.Errorf("demo task %s: %w", task.Name, err)
		}
	}
	if _, err := db.CreateProject(ctx, seedProject, "the game of seeds 002 and 004", "demo", now); err != nil && !errors.Is(err, postgres.ErrConflict) {
		return err
	}
	for project, key := range devServerKeys {
		if err := seedCatalog(ctx, db, project, key, now); err != nil {
			return fmt.Errorf("demo catalog of project %d: %w", project, err)
		}
	}
	if err := seedListener(ctx, db, fake, now); err != nil {
		return fmt.Errorf("demo listener: %w", err)
	}
	for _, u := range demoUsers {
		if err := seedUser(ctx, db, u.id, u.coins, u.blocked, now); err != nil {
			return fmt.Errorf("demo user %s: %w", u.id, err)
		}
	}
	return nil
}

// seedListener has the fake main product told of orders, unless somebody else is.
func seedListener(ctx context.Context, db *postgres.DB, fake string, now time.Time) error {
	_, err := db.GetWebhookEndpoint(ctx, demoProject)
	if fake == "" || !errors.Is(err, postgres.ErrNotFound) {
		return err
	}
	_, err = db.PutWebhookEndpoint(ctx, postgres.WebhookEdit{
		ProjectID: demoProject,
		URL:       fake + "/webhooks",
		Secret:    devListenerSecret,
		Enabled:   true,
		Format:    webhook.NewestFormat,
		Events:    webhook.Events,
		Actor:     "demo",
	}, now)
	return err
}

func seedUser(ctx context.Context, db *postgres.DB, id string, coins int64, blocked bool, now time.Time) error {
	if _, err := db.GetUser(ctx, id); !errors.Is(err, postgres.ErrNotFound) {
		return err
	}
	if _, _, err := db.PutUser(ctx, demoProject, id, postgres.UserEdit{}, now); err != nil {
		return err
	}
	_, err := db.AdjustWallet(ctx, postgres.Adjustment{
		ProjectID:    demoProject,
		AdjustmentID: "demo_" + id,
		UserID:       id,
		Amount:       coins,
		Reason:       "demo data",
		Actor:        "demo",
	}, now)
	if err == nil && blocked {
		_, err = db.SetBlocked(ctx, demoProject, id, true, "demo", "demo data", now)
	}
	return err
}

func printAddresses(w io.Writer, c config.Config, s stack, logFile string) {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(what, where string) { _, _ = fmt.Fprintf(table, "  %s\t%s\n", what, where) }
	_, _ = fmt.Fprintln(table, "\nQuickPass is ready.")
	row("API", "http://"+c.HTTP.Address+"/api/v1")
	row("catalog of project 1", "http://"+c.HTTP.Address+"/api/v2/project/1/items/virtual_items")
	row("API, described", "http://"+c.HTTP.Address+"/docs")
	if s.ui != "" {
		row("Temporal UI", s.ui)
	}
	row("Temporal", c.Temporal.Address)
	if s.fake != "" {
		row("fake main product", s.fake)
		row("webhooks that it was sent", s.fake+"/control/webhooks")
	}
	row("PostgreSQL", c.Database.URL)
	row("log", logFile)
	_, _ = fmt.Fprintln(table, "\nKeys (Authorization: Bearer ...), for this machine only:")
	for _, role := range keyRoles {
		row(role, devKeys[role])
	}
	row("webhooks of events", c.Events.WebhookSecrets[0])
	row("webhooks of payments", c.Payments.WebhookSecrets[0])
	row("webhooks of orders", devListenerSecret)
	_, _ = fmt.Fprintln(table, "\nFor /api/v2:")
	row("a user's token", fmt.Sprintf(devTokenFor, demoUsers[0].id))
	for _, project := range slices.Sorted(maps.Keys(devServerKeys)) {
		row(fmt.Sprintf("project %d's server", project), fmt.Sprintf("Basic %d:%s", project, devServerKeys[project]))
	}
	_, _ = fmt.Fprintln(table, "\nDemo users:")
	for _, u := range demoUsers {
		row(u.id, fmt.Sprintf("%s (%d coins at first)", u.who, u.coins))
	}
	_, _ = fmt.Fprintln(table, "\nPress Ctrl-C to stop; state stays in "+c.Dev.Dir+".")
	_ = table.Flush()
}
