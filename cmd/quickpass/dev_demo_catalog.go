package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

const (
	// devJWTSecret signs the tokens of its users, and devTokenFor prints one.
	devJWTSecret = "dev-project-jwt-secret-0123456789" //nolint:gosec // known to everybody, for `quickpass dev` only
	devTokenFor  = "bin/quickpass token --project 1 --user %s"
)

// devServerKeys are those of the projects' servers, with Basic 1:dev-project; refused outside of `dev`.
var devServerKeys = map[int32]string{demoProject: "dev-project", seedProject: "dev-project-44056"}

// demoItems are what the demo's projects sell: the item of seeds 002 and 004 at its price there, and one of
// every other kind that they speak of.
func demoItems() []catalog.Item {
	usd := func(amount string) []catalog.Price {
		return []catalog.Price{{Amount: decimal.RequireFromString(amount), Currency: "USD", IsDefault: true}}
	}
	named := func(sku string, order int, en, de, about string) catalog.Item {
		return catalog.Item{
			SKU:         sku,
			Type:        catalog.VirtualGood,
			Status:      catalog.Published,
			Order:       order,
			Name:        catalog.Text{"en": en, "de": de},
			Description: catalog.Text{"en": about},
		}
	}
	pass := func(item catalog.Item, price string, coins int64) catalog.Item {
		item.VirtualItemType, item.Groups = catalog.NonRenewingSubscription, []string{"passes", "featured"}
		item.Prices, item.VirtualPrices = usd(price), []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: coins, IsDefault: true}}
		item.InventoryOptions.ExpirationPeriod = &subscriptions.Period{Unit: subscriptions.Day, Value: 30}
		return item
	}
	gold := named("gold", 1, "Gold", "Gold", "Buys what is rare")
	gold.Type, gold.Status = catalog.VirtualCurrency, catalog.Draft // sold in packages only

	gun := named("gun_1", 1, "Basic Blaster 1", "Basis-Blaster 1", "Simple, and it never jams")
	gun.VirtualItemType, gun.InventoryOptions.Consumable = catalog.Consumable, &catalog.ConsumableOptions{UsagesCount: 1}
	gun.Groups, gun.Prices = []string{"weapons", "featured"}, usd("1.99")
	gun.Promotions = []catalog.Promotion{{ID: "half", Name: catalog.Text{"en": "Half price", "de": "Halber Preis"}, Discount: &catalog.Discount{Percent: new(decimal.NewFromInt(50))}}}

	battle := pass(named("battle_pass", 2, "Battle pass", "Battle Pass", "Daily rewards for 30 days"), "4.99", 500)
	battle.Prices = append(battle.Prices, catalog.Price{Amount: decimal.RequireFromString("4.49"), Currency: "EUR"})
	season := pass(named("season_pass", 3, "Season pass", "Season Pass", "The season's levels for 30 days"), "9.99", 1000)
	season.VirtualPrices = append(season.VirtualPrices, catalog.VirtualPrice{SKU: "gold", Amount: 900})

	skin := named("welcome_skin", 4, "Welcome skin", "Willkommens-Skin", "A present")
	skin.VirtualItemType, skin.IsFree, skin.Groups, skin.Limits.PerUser = catalog.NonConsumable, true, []string{"skins"}, 1

	bag := named("gold_100", 5, "100 gold", "100 Gold", "")
	bag.Type, bag.BundleType, bag.Prices, bag.Content = catalog.Bundle, catalog.CurrencyPackage, usd("0.99"), []catalog.Content{{SKU: gold.SKU, Quantity: 100}}

	pack := named("starter_pack", 6, "Starter pack", "Starterpaket", "All one needs to begin")
	pack.Type, pack.BundleType, pack.Prices, pack.Groups = catalog.Bundle, catalog.StandardBundle, usd("6.99"), []string{"featured"}
	pack.Content = []catalog.Content{{SKU: gun.SKU, Quantity: 5}, {SKU: battle.SKU, Quantity: 1}, {SKU: bag.SKU, Quantity: 2}}

	credits := named("site-credits-100", 7, "100 site credits", "100 Website-Credits", "Credited by the main product")
	credits.VirtualItemType, credits.Prices, credits.VirtualPrices = catalog.Consumable, usd("0.99"), []catalog.VirtualPrice{{SKU: catalog.CoinsSKU, Amount: 90, IsDefault: true}}
	credits.MainProduct = &catalog.MainProduct{
		InsteadOfInventory: true,
		Delivery:           store.DefaultDelivery(),
		Integration: store.Integration{
			ResourceType: catalog.DefaultResourceType,
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(100),
			Currency:     "credits",
		},
	}
	return []catalog.Item{gold, gun, battle, season, skin, bag, pack, credits}
}

func demoGroups() []catalog.Group {
	group := func(id, parent string, order int, en, de string) catalog.Group {
		return catalog.Group{
			ExternalID:       id,
			ParentExternalID: parent,
			Order:            order,
			Name:             catalog.Text{"en": en, "de": de},
			IsEnabled:        true,
		}
	}
	return []catalog.Group{group("featured", "", 1, "Featured", "Empfohlen"), group("goods", "", 2, "Goods", "Waren"), group("weapons", "goods", 1, "Weapons", "Waffen"),
		group("skins", "goods", 2, "Skins", "Skins"), group("passes", "", 3, "Passes", "Pässe")}
}

// seedCatalog writes what is not there yet.
func seedCatalog(ctx context.Context, db *postgres.DB, projectID int32, serverKey string, now time.Time) error {
	hash := sha256.Sum256([]byte(serverKey))
	if err := db.PutAPIKey(ctx, postgres.APIKey{KeyID: serverKey, ProjectID: projectID, Role: "server"}, hash[:], now); err != nil {
		return err
	}
	project, err := db.GetProject(ctx, projectID)
	if err != nil {
		return err
	}
	if project.JWTSecret == "" && project.JWKSURL == "" {
		if _, err := db.EditProject(ctx, projectID, postgres.ProjectEdit{JWTSecret: new(devJWTSecret)}, "demo", now); err != nil {
			return err
		}
	}
	groups, err := db.CatalogGroups(ctx, projectID)
	if err != nil {
		return err
	}
	if len(groups) == 0 {
		if err := db.PutCatalogGroups(ctx, projectID, demoGroups(), "demo", now); err != nil {
			return err
		}
	}
	for _, item := range demoItems() {
		_, _, err := db.CreateItem(ctx, postgres.NewItem{ProjectID: projectID, Item: item, Actor: "demo"}, now)
		if err != nil && !errors.Is(err, postgres.ErrConflict) {
			return fmt.Errorf("demo item %s: %w", item.SKU, err)
		}
	}
	return nil
}
