package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
)

// V2CreateVirtualItem adds a virtual item in the form that clients of /api/v2 send.
func (h *handlers) V2CreateVirtualItem(ctx context.Context, _ V2CreateVirtualItemRequestObject) (V2CreateVirtualItemResponseObject, error) {
	call := callOf(ctx)
	item, err := itemOfV2(call.body, "")
	if err != nil {
		return nil, err
	}
	item, _, err = h.db.CreateItem(ctx, postgres.NewItem{ProjectID: call.key.ProjectID, Item: item, Actor: call.key.KeyID}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, refuseItem([]catalog.FieldError{{Field: "sku", Message: "another item has it"}})
	}
	return V2CreateVirtualItem201JSONResponse{Sku: item.SKU}, orRefused(err)
}

// V2PutVirtualItem replaces a virtual item: what is left out is gone, as in the API that clients know.
func (h *handlers) V2PutVirtualItem(ctx context.Context, r V2PutVirtualItemRequestObject) (V2PutVirtualItemResponseObject, error) {
	call := callOf(ctx)
	item, err := itemOfV2(call.body, r.ItemSku)
	if err != nil {
		return nil, err
	}
	_, err = h.db.EditItem(ctx, call.key.ProjectID, r.ItemSku, func(before catalog.Item) (catalog.Item, error) {
		if before.Type != catalog.VirtualGood {
			return before, errNoItem
		}
		return item, nil
	}, call.key.KeyID, h.now())
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, errNoItem
	}
	return V2PutVirtualItem204Response{}, orRefused(err)
}

// itemOfV2 reads the form of v2, in which prices and the item have switches of their own. An item that is
// deleted there is a draft here, a price that is off is left out.
func itemOfV2(body []byte, sku string) (catalog.Item, error) {
	var form map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // a price must not pass through a float
	if err := decoder.Decode(&form); err != nil {
		return catalog.Item{}, err
	}
	form["type"] = catalog.VirtualGood
	if _, given := form["sku"]; !given {
		form["sku"] = sku
	}
	if form["is_deleted"] == true {
		form["is_enabled"] = false
	}
	for _, list := range []string{"prices", "vc_prices"} {
		form[list] = thoseThatAreOn(form[list])
	}
	for _, unused := range []string{"is_deleted", "regions", "pre_order"} {
		delete(form, unused)
	}
	ours, err := json.Marshal(form)
	if err != nil {
		return catalog.Item{}, err
	}
	item, mistakes := catalog.DecodeItem(ours)
	if len(mistakes) > 0 {
		return item, refuseItem(mistakes)
	}
	return item, nil
}

func thoseThatAreOn(list any) []any {
	prices, _ := list.([]any)
	on := []any{}
	for _, price := range prices {
		object, ok := price.(map[string]any)
		if ok && object["is_enabled"] == false {
			continue
		}
		delete(object, "is_enabled")
		on = append(on, price)
	}
	return on
}

func refuseItem(mistakes []catalog.FieldError) *checkout.Refusal {
	return checkout.Refuse(checkout.InvalidField, "see errorMessageExtended for each mistake",
		each(mistakes, func(m catalog.FieldError) checkout.Detail {
			return checkout.Detail{Property: orBody(m.Field), Message: m.Message}
		})...)
}

// orRefused lists what the rules of the catalog refused, in the shape of v2.
func orRefused(err error) error {
	var refused *postgres.CatalogMistakesError
	if errors.As(err, &refused) {
		return refuseItem(refused.Mistakes)
	}
	return err
}
