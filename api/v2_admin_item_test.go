package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
)

func TestV2EditsVirtualItems(t *testing.T) {
	t.Parallel()
	s := newCatalog(t)
	const path = v2Project + "/admin/items/virtual_items"
	created := s.call("", "POST", path, `{"sku": "sword", "name": {"en": "Sword"}, "description": {}, "image_url": "https://example.com/sword.png", "groups": ["weapons"], "attributes": [],
		"prices": [{"amount": 1.10, "currency": "USD", "is_default": true, "is_enabled": true, "country_iso": null}, {"amount": 9, "currency": "EUR", "is_default": false, "is_enabled": false}],
		"vc_prices": [{"sku": "gold", "amount": 11, "is_default": true, "is_enabled": true}], "is_enabled": true, "is_deleted": false, "is_show_in_store": true, "is_free": false, "order": 9,
		"inventory_options": {"consumable": {"usages_count": 1}, "expiration_period": null}, "pre_order": null, "regions": [], "limits": {"per_user": 5}, "periods": null, "custom_attributes": {}}`, byServer())
	require.Equal(t, []any{201, `{"sku":"sword"}`}, []any{created.status, string(created.body[:len(created.body)-1])}, "%s", created.body)
	sword := into[catalog.ShownItem](t, s.items("/virtual_items/sku/sword?currency=EUR"))
	require.Equal(t, []any{catalog.Consumable, "null"}, []any{sword.VirtualItemType, amounts(t, sword.Price)}, "the price in EUR is off")
	require.Equal(t, "1.10 1.10 USD", amounts(t, into[catalog.ShownItem](t, s.items("/virtual_items/sku/sword")).Price))

	require.Equal(t, 204, s.call("", "PUT", path+"/sku/sword", `{"name": {"en": "Sabre"}, "is_free": true, "inventory_options": {"consumable": {"usages_count": 1}}}`, byServer()).status)
	require.Equal(t, 404, s.items("/virtual_items/sku/sword").status, "it says no more that it is on")
	item, err := s.db.FindItem(t.Context(), 1, "sword")
	require.NoError(t, err)
	require.Equal(t, []any{"Sabre", int64(0), catalog.Draft}, []any{item.Name["en"], item.Limits.PerUser, item.Status})
	require.Equal(t, 204, s.call("", "PUT", path+"/sku/sword", `{"name": {"en": "Sabre"}, "is_free": true, "is_enabled": true, "inventory_options": {"consumable": {"usages_count": 1}}}`, byServer()).status)
	require.Equal(t, 200, s.items("/virtual_items/sku/sword").status)
	require.Equal(t, 204, s.call("", "PUT", path+"/sku/sword", `{"name": {"en": "Sabre"}, "is_free": true, "is_enabled": true, "is_deleted": true, "inventory_options": {"consumable": {"usages_count": 1}}}`, byServer()).status)
	require.Equal(t, 404, s.items("/virtual_items/sku/sword").status)

	before := s.written()
	for body, property := range map[string]string{
		`{"sku": "sword", "name": {"en": "X"}, "is_free": true}`: "sku", `{"sku": "x"}`: "name", `{"name": {"en": "X"}, "is_free": true}`: "sku", `{"sku": "x", "name": "X"}`: "name",
		`{"sku": "x", "name": {"en": "X"}, "regions": [{"id": 1}]}`: "regions", `{"sku": "x", "name": {"en": "X"}, "colour": 1}`: "colour",
		`{"sku": "x", "name": {"en": "X"}, "prices": [{"amount": 0, "currency": "USD", "is_default": true}]}`: "prices[0].amount", `{"sku": "x", "name": {"en": "X"}, "prices": [7]}`: "prices[0]",
	} {
		a := s.call("", "POST", path, body, byServer())
		refused := into[v2Error](t, a)
		require.Equal(t, []int{422, 1102}, []int{a.status, refused.ErrorCode}, body)
		require.Equal(t, property, refused.ErrorMessageExtended[0].Property, body)
	}
	require.Equal(t, 404, s.call("", "PUT", path+"/sku/none", `{"name": {"en": "X"}}`, byServer()).status)
	require.Equal(t, 404, s.call("", "PUT", path+"/sku/chest", `{"name": {"en": "X"}, "is_free": true}`, byServer()).status, "a bundle")
	require.Equal(t, 422, s.call("", "PUT", path+"/sku/sword", `{"name": {"en": "X"}, "is_free": true}`, byServer()).status, "it was a consumable")
	require.Equal(t, before, s.written())
}
