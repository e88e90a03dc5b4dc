package catalog_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/store"
)

func siteCredits() *catalog.MainProduct {
	return &catalog.MainProduct{
		Integration: store.Integration{
			ResourceType: catalog.DefaultResourceType,
			Endpoint:     store.DefaultEndpoint,
			Amount:       dec("100"),
			Currency:     "credits",
		},
		Delivery: store.DefaultDelivery(),
	}
}

func toldOf(change func(*catalog.MainProduct)) func(*catalog.Item) {
	return func(i *catalog.Item) {
		i.MainProduct = siteCredits()
		change(i.MainProduct)
	}
}

func TestItemsOfTheMainProduct(t *testing.T) {
	t.Parallel()
	also := toldOf(func(*catalog.MainProduct) {})
	instead := toldOf(func(m *catalog.MainProduct) { m.InsteadOfInventory = true })
	for _, test := range []struct {
		of     catalog.Item
		change func(*catalog.Item)
		want   []string
	}{
		{gun(), also, nil},
		{skin(), also, nil},
		{pass(), also, nil},
		{gold(), also, nil},
		{gun(), instead, nil},
		{gold(), instead, nil},
		{skin(), instead, []string{"main_product.instead_of_inventory"}},
		{pass(), instead, []string{"main_product.instead_of_inventory"}},
		{chest(), also, []string{"main_product"}},
		{goldPack(), also, []string{"main_product"}},
		{game(), also, []string{"main_product"}},
		{key(), also, []string{"main_product"}},
		{gun(), toldOf(func(m *catalog.MainProduct) { m.Amount = dec("0") }), []string{"main_product.amount"}},
		{gun(), toldOf(func(m *catalog.MainProduct) { m.Amount, m.Currency = dec("1e10000"), " " }), []string{"main_product.amount", "main_product.currency"}},
		{gun(), toldOf(func(m *catalog.MainProduct) { m.Endpoint = "https://elsewhere.example/x" }), []string{"main_product.endpoint"}},
		{gun(), toldOf(func(m *catalog.MainProduct) { m.Parameters = json.RawMessage(`[]`) }), []string{"main_product.parameters"}},
		{gun(), toldOf(func(m *catalog.MainProduct) { m.Delivery = store.DeliverySettings{Method: "post", Retries: 21} }),
			[]string{"main_product.delivery.method", "main_product.delivery.timeout_seconds", "main_product.delivery.retries", "main_product.delivery.retry_interval_seconds"}},
	} {
		item := changed(test.of, test.change)
		require.Equal(t, test.want, fieldsOf(item.Validate(shop().Item)), "%s %+v", item.SKU, item.MainProduct)
	}
	priced := pass()
	require.Equal(t, []string{"vc_prices"}, fieldsOf(priced.Validate(shop(changed(gold(), instead)).Item)), "nobody has gold here")
	require.Empty(t, priced.Validate(shop(changed(gold(), also)).Item))
}

func TestMainProductAsItIsWritten(t *testing.T) {
	t.Parallel()
	written := func(mainProduct string) json.RawMessage {
		return json.RawMessage(`{"sku": "gun_1", "type": "virtual_good", "virtual_item_type": "consumable", "name": {"en": "x"}, "main_product": ` + mainProduct + `}`)
	}
	item, mistakes := catalog.DecodeItem(written(`{"amount": 100, "currency": "credits"}`))
	require.Empty(t, mistakes)
	require.Equal(t, siteCredits(), item.MainProduct, "what is left out is as seed 000 has it")
	item, mistakes = catalog.DecodeItem(written(`{"amount": "0.5", "currency": "xp", "instead_of_inventory": true, "parameters": {"b": 1.50, "a": {}}, "delivery": {"retries": 0}}`))
	require.Empty(t, mistakes)
	require.Equal(t, []any{0, 30, true, `{"a":{},"b":1.5}`},
		[]any{item.MainProduct.Delivery.Retries, item.MainProduct.Delivery.TimeoutSeconds, item.MainProduct.InsteadOfInventory, string(item.MainProduct.Parameters)})
	read, mistakes := catalog.DecodeItem(encoded(t, item))
	require.Empty(t, mistakes)
	require.True(t, item.Same(read))

	for mainProduct, want := range map[string]string{
		`{"amount": 1, "currency": 7}`: "main_product.currency", `{"amount": 1, "colour": 1}`: "main_product.colour", `7`: "main_product",
		`{"delivery": {"retries": "3"}}`: "main_product.delivery.retries", `{"delivery": {"tries": 3}}`: "main_product.tries", `{"amount": "many"}`: "",
	} {
		_, mistakes := catalog.DecodeItem(written(mainProduct))
		require.Len(t, mistakes, 1, mainProduct)
		require.Equal(t, want, mistakes[0].Field, mainProduct)
	}
	item, mistakes = catalog.Patch(item, json.RawMessage(`{"main_product": {"amount": 7, "delivery": {"retries": null}}}`))
	require.Empty(t, mistakes)
	require.Equal(t, []any{"7", "xp", 3}, []any{item.MainProduct.Amount.String(), item.MainProduct.Currency, item.MainProduct.Delivery.Retries})
	item, mistakes = catalog.Patch(item, json.RawMessage(`{"main_product": null}`))
	require.Empty(t, mistakes)
	require.Nil(t, item.MainProduct)
}
