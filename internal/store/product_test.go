package store_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/store"
)

// credits500 is the product of seed 000.
func credits500() store.Product {
	return store.Product{
		SKU:         "credits-500",
		Name:        "500 credits",
		Description: "Top up balance in main product",
		Kind:        "credits",
		PriceCoins:  100,
		Status:      store.Published,
		Stock:       store.StockSettings{Initial: 50, Minimum: 10, HideAtZero: true},
		Integration: store.Integration{
			ResourceType: "external_currency",
			Endpoint:     store.DefaultEndpoint,
			Amount:       decimal.NewFromInt(500),
			Currency:     "credits",
		},
		Delivery: store.DefaultDelivery(),
	}
}

func TestSeedsProductIsValid(t *testing.T) {
	t.Parallel()
	require.Empty(t, credits500().Validate())
}

func TestDefaultDeliveryIsTheSeeds(t *testing.T) {
	t.Parallel()
	delivery := store.DefaultDelivery()
	require.Equal(t, store.DeliverySettings{Method: "api_call", TimeoutSeconds: 30, Retries: 3, RetryIntervalSeconds: 10}, delivery)
	require.Equal(t, 30*time.Second, delivery.Timeout())
	require.Equal(t, 10*time.Second, delivery.RetryInterval())
}

// edges lists, for every field, values at its edges and whether they are allowed.
var edges = map[string][]struct {
	change func(*store.Product)
	ok     bool
}{
	"sku": {
		{func(p *store.Product) { p.SKU = "a" }, true},
		{func(p *store.Product) { p.SKU = strings.Repeat("a", 64) }, true},
		{func(p *store.Product) { p.SKU = "A.b_c-9" }, true},
		{func(p *store.Product) { p.SKU = "" }, false},
		{func(p *store.Product) { p.SKU = strings.Repeat("a", 65) }, false},
		{func(p *store.Product) { p.SKU = "-a" }, false},
		{func(p *store.Product) { p.SKU = "a/b" }, false},
		{func(p *store.Product) { p.SKU = "a b" }, false},
		{func(p *store.Product) { p.SKU = "кредиты" }, false},
		{func(p *store.Product) { p.SKU = "a\n" }, false},
	},
	"name": {
		{func(p *store.Product) { p.Name = "x" }, true},
		{func(p *store.Product) { p.Name = strings.Repeat("ж", 200) }, true},
		{func(p *store.Product) { p.Name = strings.Repeat("ж", 201) }, false},
		{func(p *store.Product) { p.Name = "" }, false},
		{func(p *store.Product) { p.Name = " x" }, false},
		{func(p *store.Product) { p.Name = "x\x00y" }, false},
		{func(p *store.Product) { p.Name = "x\x7fy" }, false},
		{func(p *store.Product) { p.Name = "x\xffy" }, false},
	},
	"description": {
		{func(p *store.Product) { p.Description = "" }, true},
		{func(p *store.Product) { p.Description = strings.Repeat("x", 2000) }, true},
		{func(p *store.Product) { p.Description = strings.Repeat("x", 2001) }, false},
	},
	"kind": {
		{func(p *store.Product) { p.Kind = strings.Repeat("x", 64) }, true},
		{func(p *store.Product) { p.Kind = "" }, false},
		{func(p *store.Product) { p.Kind = strings.Repeat("x", 65) }, false},
	},
	"price_coins": {
		{func(p *store.Product) { p.PriceCoins = 1 }, true},
		{func(p *store.Product) { p.PriceCoins = ledger.MaxCoins }, true},
		{func(p *store.Product) { p.PriceCoins = 0 }, false},
		{func(p *store.Product) { p.PriceCoins = -1 }, false},
		{func(p *store.Product) { p.PriceCoins = ledger.MaxCoins + 1 }, false},
	},
	"status": {
		{func(p *store.Product) { p.Status = store.Draft }, true},
		{func(p *store.Product) { p.Status = "" }, false},
		{func(p *store.Product) { p.Status = "PUBLISHED" }, false},
	},
	"stock.initial": {
		{func(p *store.Product) { p.Stock.Initial = 0 }, true},
		{func(p *store.Product) { p.Stock.Initial = 1_000_000_000 }, true},
		{func(p *store.Product) { p.Stock.Initial = -1 }, false},
		{func(p *store.Product) { p.Stock.Initial = 1_000_000_001 }, false},
	},
	"stock.minimum": {
		{func(p *store.Product) { p.Stock.Minimum = 0 }, true},
		{func(p *store.Product) { p.Stock.Minimum = -1 }, false},
		{func(p *store.Product) { p.Stock.Minimum = 1_000_000_001 }, false},
	},
	"integration.resource_type": {
		{func(p *store.Product) { p.Integration.ResourceType = "" }, false},
		{func(p *store.Product) { p.Integration.ResourceType = strings.Repeat("x", 65) }, false},
	},
	"integration.endpoint": {
		{func(p *store.Product) { p.Integration.Endpoint = "/x" }, true},
		{func(p *store.Product) { p.Integration.Endpoint = "/" + strings.Repeat("x", 199) }, true},
		{func(p *store.Product) { p.Integration.Endpoint = "/" + strings.Repeat("x", 200) }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "/" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "x" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "//evil.example" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "https://evil.example/x" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "/x?y=1" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "/x/../y" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "/x/" }, false},
		{func(p *store.Product) { p.Integration.Endpoint = "/x\n" }, false},
	},
	"integration.amount": {
		{func(p *store.Product) { p.Integration.Amount = decimal.RequireFromString("0.00000001") }, true},
		{func(p *store.Product) { p.Integration.Amount = decimal.NewFromInt(ledger.MaxCoins) }, true},
		{func(p *store.Product) { p.Integration.Amount = decimal.Zero }, false},
		{func(p *store.Product) { p.Integration.Amount = decimal.NewFromInt(-1) }, false},
		{func(p *store.Product) { p.Integration.Amount = decimal.RequireFromString("0.000000001") }, false},
		{func(p *store.Product) { p.Integration.Amount = decimal.RequireFromString("1000000000000.00000001") }, false},
	},
	"integration.currency": {
		{func(p *store.Product) { p.Integration.Currency = strings.Repeat("x", 32) }, true},
		{func(p *store.Product) { p.Integration.Currency = "" }, false},
		{func(p *store.Product) { p.Integration.Currency = strings.Repeat("x", 33) }, false},
	},
	"delivery.method": {
		{func(p *store.Product) { p.Delivery.Method = "" }, false},
		{func(p *store.Product) { p.Delivery.Method = "carrier_pigeon" }, false},
	},
	"delivery.timeout_seconds": {
		{func(p *store.Product) { p.Delivery.TimeoutSeconds = 1 }, true},
		{func(p *store.Product) { p.Delivery.TimeoutSeconds = 300 }, true},
		{func(p *store.Product) { p.Delivery.TimeoutSeconds = 0 }, false},
		{func(p *store.Product) { p.Delivery.TimeoutSeconds = 301 }, false},
	},
	"delivery.retries": {
		{func(p *store.Product) { p.Delivery.Retries = 0 }, true},
		{func(p *store.Product) { p.Delivery.Retries = 20 }, true},
		{func(p *store.Product) { p.Delivery.Retries = -1 }, false},
		{func(p *store.Product) { p.Delivery.Retries = 21 }, false},
	},
	"delivery.retry_interval_seconds": {
		{func(p *store.Product) { p.Delivery.RetryIntervalSeconds = 1 }, true},
		{func(p *store.Product) { p.Delivery.RetryIntervalSeconds = 3600 }, true},
		{func(p *store.Product) { p.Delivery.RetryIntervalSeconds = 0 }, false},
		{func(p *store.Product) { p.Delivery.RetryIntervalSeconds = 3601 }, false},
	},
}

func TestValidateAtTheEdgesOfEachField(t *testing.T) {
	t.Parallel()
	for field, cases := range edges {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			for i, c := range cases {
				product := credits500()
				c.change(&product)
				mistakes := product.Validate()
				if c.ok {
					require.Empty(t, mistakes, "case %d", i)
					continue
				}
				require.Equal(t, []string{field}, fieldsOf(mistakes), "case %d: this field and no other", i)
				require.NotEmpty(t, mistakes[0].Message)
			}
		})
	}
}

// With any set of fields wrong at once, exactly these are named, each once.
func TestValidateListsAllMistakes(t *testing.T) {
	t.Parallel()
	type edge struct {
		field  string
		change func(*store.Product)
	}
	var wrong []edge
	for field, cases := range edges {
		for _, c := range cases {
			if !c.ok {
				wrong = append(wrong, edge{field, c.change})
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		product := credits500()
		expected := map[string]bool{}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(wrong)-1)).Draw(t, "mistakes") {
			wrong[i].change(&product)
			expected[wrong[i].field] = true
		}
		got := map[string]bool{}
		for _, field := range fieldsOf(product.Validate()) {
			require.False(t, got[field], "%s is named twice", field)
			got[field] = true
		}
		require.Equal(t, expected, got)
	})
}

func fieldsOf(mistakes []store.FieldError) []string {
	fields := make([]string, len(mistakes))
	for i, mistake := range mistakes {
		fields[i] = mistake.Field
	}
	return fields
}

// The amount of an order is exact: eight decimals times any number of pieces, never a float's rounding.
func TestDeliveryOfMultipliesExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unscaled, exponent := rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "unscaled"), rapid.Int32Range(-8, 0).Draw(t, "exponent")
		quantity := rapid.Int64Range(1, 1_000_000_000).Draw(t, "quantity")
		product := credits500()
		product.Integration.Amount = decimal.New(unscaled, exponent)
		delivery := product.DeliveryOf(quantity)

		scaled := delivery.Amount.Mul(decimal.New(1, 8)) // at most eight decimals: now a whole number
		require.True(t, scaled.IsInteger())
		exact := new(big.Int).Mul(big.NewInt(unscaled), big.NewInt(quantity))
		exact.Mul(exact, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(8+exponent)), nil))
		require.Equal(t, exact.String(), scaled.BigInt().String())
	})
}

// What is bought is frozen: all that the call needs is in it.
func TestDeliveryOfFreezesTheProduct(t *testing.T) {
	t.Parallel()
	product := credits500()
	delivery := product.DeliveryOf(3)
	product.Name, product.Integration.Endpoint, product.Delivery.Retries = "other", "/other", 0
	require.Equal(t, store.Delivery{ProductName: "500 credits", ResourceType: "external_currency", Endpoint: store.DefaultEndpoint,
		Amount: decimal.NewFromInt(1500), Currency: "credits", DeliverySettings: store.DefaultDelivery()}, delivery)
}

func TestStockInWords(t *testing.T) {
	t.Parallel()
	for available, status := range map[int64]store.StockStatus{0: store.SoldOut, 1: store.LowStock, 10: store.LowStock, 11: store.InStock} {
		require.Equal(t, status, store.StockSettings{Minimum: 10}.StatusOf(available), "%d left", available)
	}
	require.Equal(t, store.InStock, store.StockSettings{}.StatusOf(1), "no minimum: never low")
	require.True(t, store.StockSettings{HideAtZero: true}.Hidden(0))
	require.False(t, store.StockSettings{HideAtZero: true}.Hidden(1))
	require.False(t, store.StockSettings{}.Hidden(0))
}
