package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/quickpass/quickpass/internal/store"
)

// MainProduct is what the main product gives for one piece of an item, as a product of the shop has it: asked
// for by the crediting call of seed 000 when an order of the item is paid.
type MainProduct struct {
	store.Integration
	Delivery store.DeliverySettings `json:"delivery"`
	// InsteadOfInventory: the item is the main product's alone, and the user's inventory here does not change.
	InsteadOfInventory bool `json:"instead_of_inventory"`
}

// DefaultResourceType is what a product's integration is of when nothing is said.
const DefaultResourceType = "external_currency"

// UnmarshalJSON fills in what was left out, which a zero could not tell from what was meant: no retries are allowed.
// Fields that do not exist are mistakes, as in the item around it.
func (m *MainProduct) UnmarshalJSON(raw []byte) error {
	type plain MainProduct // without this method
	read := plain{
		Integration: store.Integration{ResourceType: DefaultResourceType, Endpoint: store.DefaultEndpoint},
		Delivery:    store.DefaultDelivery(),
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return within("main_product", err)
	}
	*m = MainProduct(read)
	return nil
}

// within names an unknown field by its whole path; that of a wrong type is named by the decoder of the item around it.
func within(field string, err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		named := *wrong
		named.Field = strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "Integration"), ".")
		return &named
	}
	if name, ok := strings.CutPrefix(err.Error(), unknownField); ok {
		return errors.New(unknownField + `"` + field + "." + strings.Trim(name, `"`) + `"`)
	}
	return err
}

// canonical writes the parameters always the same way.
func (m *MainProduct) canonical() *MainProduct {
	if m == nil {
		return nil
	}
	same := *m
	if parameters, err := store.CanonicalParameters(m.Parameters); err == nil {
		same.Parameters = parameters
	}
	return &same
}

// validateMainProduct also says which items the main product can't have instead of QuickPass.
func (i Item) validateMainProduct(m *mistakes, lookup func(string) (Item, bool)) {
	for _, price := range i.VirtualPrices {
		currency, ok := lookup(price.SKU)
		m.check(!ok || currency.MainProduct == nil || !currency.MainProduct.InsteadOfInventory, "vc_prices",
			price.SKU+" is kept by the main product instead of the inventory, so nobody can pay in it here")
	}
	if i.MainProduct == nil {
		return
	}
	const field = "main_product"
	m.check(i.Type != Bundle, field, "of a bundle the main product gives what its contents say; say it there")
	m.check(i.Type != Unit, field, "a game is not sold; its keys are")
	m.check(i.Type != GameKey, field, "a key of a game is given by QuickPass")
	i.MainProduct.Check(field+".", m.check)
	i.MainProduct.Delivery.Check(field+".delivery.", m.check)
	if !i.MainProduct.InsteadOfInventory {
		return
	}
	const instead = field + ".instead_of_inventory"
	m.check(i.VirtualItemType != NonConsumable, instead, "what is owned once must be known here, so that it is not sold again")
	m.check(i.VirtualItemType != NonRenewingSubscription, instead, "the time of a subscription is kept here")
}
