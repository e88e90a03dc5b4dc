package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/subscriptions"
)

// viewOf is how the caller of /api/v2 reads items.
func (h *handlers) viewOf(ctx context.Context, locale *string) catalog.View {
	return catalog.View{
		Locale:        strings.ReplaceAll(value(locale), "_", "-"),
		DefaultLocale: callOf(ctx).caller.project.DefaultLocale,
		Now:           h.now(),
	}
}

// GetUserInventory shows what the user owns (seed 002, "Get subscriptions from the inventory").
func (h *handlers) GetUserInventory(ctx context.Context, r GetUserInventoryRequestObject) (GetUserInventoryResponseObject, error) {
	caller := callOf(ctx).caller
	owned, groups, err := h.db.Inventory(ctx, r.ProjectID, caller.userID, limitOf(r.Params.Limit), value(r.Params.Offset))
	if err != nil {
		return nil, err
	}
	var keys map[string][]inventory.Key
	if caller.as == asUser { // a payment token is seen in addresses of pages: it tells the keys of its own order only
		if keys, err = h.db.KeysOfUser(ctx, r.ProjectID, caller.userID, owned); err != nil {
			return nil, err
		}
	}
	items := make([]catalog.Item, len(owned))
	for i, o := range owned {
		items[i] = o.Item
	}
	shelf, view := catalog.New(items, groups), h.viewOf(ctx, r.Params.Locale)
	return GetUserInventory200JSONResponse{Items: each(owned, func(o postgres.Owned) InventoryItem {
		return inventoryBody(o, shelf.ShowItem(o.Item, view), keys[o.Item.SKU])
	})}, nil
}

func inventoryBody(o postgres.Owned, shown catalog.ShownItem, keys []inventory.Key) InventoryItem {
	body := InventoryItem{
		Sku:         shown.SKU,
		Name:        shown.Name,
		Description: shown.Description,
		Type:        shownType(o.Kind),
		ImageURL:    shown.ImageURL,
		Attributes:  shown.Attributes,
		Groups:      shown.Groups,
		Quantity:    o.Quantity,
	}
	if len(keys) > 0 {
		body.Keys = &keys
	}
	if body.Type == catalog.VirtualGood {
		body.VirtualItemType = new(catalog.VirtualItemType(o.Kind))
	}
	if o.Kind == inventory.Consumable {
		uses := int64(1)
		if options := o.Item.InventoryOptions.Consumable; options != nil {
			uses = max(uses, int64(options.UsagesCount))
		}
		body.RemainingUses = new(o.Quantity * uses)
	}
	return body
}

// shownType is the type under which an owned item is shown.
func shownType(kind inventory.Kind) catalog.Type {
	switch kind {
	case inventory.VirtualCurrency:
		return catalog.VirtualCurrency
	case inventory.GameKey:
		return catalog.GameKey
	default:
		return catalog.VirtualGood
	}
}

// GetTimeLimitedItems shows the user's subscriptions (seed 002, "Get the current user's subscriptions").
func (h *handlers) GetTimeLimitedItems(ctx context.Context, r GetTimeLimitedItemsRequestObject) (GetTimeLimitedItemsResponseObject, error) {
	items, err := h.timeLimited(ctx, r.ProjectID, r.Params.Locale)
	return GetTimeLimitedItems200JSONResponse{Items: items}, err
}

// GetSubscriptionItems is the path that older clients use.
func (h *handlers) GetSubscriptionItems(ctx context.Context, r GetSubscriptionItemsRequestObject) (GetSubscriptionItemsResponseObject, error) {
	items, err := h.timeLimited(ctx, r.ProjectID, r.Params.Locale)
	return GetSubscriptionItems200JSONResponse{Items: items}, err
}

func (h *handlers) timeLimited(ctx context.Context, projectID int32, locale *string) ([]TimeLimitedItem, error) {
	owned, err := h.db.TimeLimited(ctx, projectID, callOf(ctx).caller.userID)
	if err != nil {
		return nil, err
	}
	view := h.viewOf(ctx, locale)
	return each(owned, func(o postgres.OwnedSubscription) TimeLimitedItem {
		shown := catalog.New(nil, nil).ShowItem(o.Item, view)
		body := TimeLimitedItem{Sku: o.Item.SKU, Name: shown.Name, Description: shown.Description, Type: catalog.VirtualGood,
			VirtualItemType: catalog.NonRenewingSubscription, ImageURL: shown.ImageURL, Status: o.Time.Status(view.Now)}
		if o.Time.ExpiresAt != nil {
			body.ExpiredAt = new(o.Time.ExpiresAt.Unix())
		}
		return body
	}), nil
}

// GetVirtualCurrencyBalance shows the user's currencies, and the coins of QuickPass's own wallet as one of them.
func (h *handlers) GetVirtualCurrencyBalance(ctx context.Context, r GetVirtualCurrencyBalanceRequestObject) (GetVirtualCurrencyBalanceResponseObject, error) {
	balances, coins, err := h.db.CurrencyBalances(ctx, r.ProjectID, callOf(ctx).caller.userID)
	if err != nil {
		return nil, err
	}
	view := h.viewOf(ctx, r.Params.Locale)
	items := each(balances, func(o postgres.Owned) CurrencyBalance {
		shown := catalog.New(nil, nil).ShowItem(o.Item, view)
		return CurrencyBalance{
			Sku:         shown.SKU,
			Type:        catalog.VirtualCurrency,
			Name:        shown.Name,
			Description: shown.Description,
			ImageURL:    shown.ImageURL,
			Amount:      o.Quantity,
		}
	})
	items = append(items, CurrencyBalance{Sku: catalog.CoinsSKU, Type: catalog.VirtualCurrency, Name: "Coins", Amount: coins})
	return GetVirtualCurrencyBalance200JSONResponse{Items: items}, nil
}

// ConsumeItem uses up what the user owns.
func (h *handlers) ConsumeItem(ctx context.Context, r ConsumeItemRequestObject) (ConsumeItemResponseObject, error) {
	if r.Body.Sku == nil || r.Body.InstanceID != nil || value(r.Body.Quantity) < 1 {
		return nil, checkout.Refuse(checkout.InvalidConsumption, "send a sku and a quantity from 1 on; there are no instances")
	}
	answer, replayed, err := h.changeInventory(ctx, inventory.ActionConsume, postgres.SourceUser,
		[]inventory.Request{{User: inventory.User{ID: callOf(ctx).caller.userID}, Items: []inventory.RequestedItem{{SKU: *r.Body.Sku, Quantity: *r.Body.Quantity}}}})
	if err != nil {
		return nil, err
	}
	return ConsumeItem200JSONResponse{
		Body:    answer.Operations[0].Items[0],
		Headers: ConsumeItem200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, nil
}

// GrantReward gives items (seed 002, "Server-side subscription management").
func (h *handlers) GrantReward(ctx context.Context, r GrantRewardRequestObject) (GrantRewardResponseObject, error) {
	answer, replayed, err := h.changeInventory(ctx, inventory.ActionGrant, postgres.SourceReward, *r.Body)
	return GrantReward200JSONResponse{Body: answer, Headers: GrantReward200ResponseHeaders{IdempotencyReplayed: flag(replayed)}}, err
}

// GrantPurchase gives items that were bought outside, each purchase once.
func (h *handlers) GrantPurchase(ctx context.Context, r GrantPurchaseRequestObject) (GrantPurchaseResponseObject, error) {
	answer, replayed, err := h.changeInventory(ctx, inventory.ActionGrant, postgres.SourcePurchase, *r.Body)
	return GrantPurchase200JSONResponse{Body: answer, Headers: GrantPurchase200ResponseHeaders{IdempotencyReplayed: flag(replayed)}}, err
}

// SetInventory replaces how many of an item users own.
func (h *handlers) SetInventory(ctx context.Context, r SetInventoryRequestObject) (SetInventoryResponseObject, error) {
	answer, replayed, err := h.changeInventory(ctx, inventory.ActionSet, postgres.SourceServer, *r.Body)
	return SetInventory200JSONResponse{Body: answer, Headers: SetInventory200ResponseHeaders{IdempotencyReplayed: flag(replayed)}}, err
}

// RevokeInventory takes items away (seed 002, "Revoke").
func (h *handlers) RevokeInventory(ctx context.Context, r RevokeInventoryRequestObject) (RevokeInventoryResponseObject, error) {
	answer, replayed, err := h.changeInventory(ctx, inventory.ActionRevoke, postgres.SourceServer, *r.Body)
	return RevokeInventory200JSONResponse{
		Body:    answer,
		Headers: RevokeInventory200ResponseHeaders{IdempotencyReplayed: flag(replayed)},
	}, err
}

func (h *handlers) changeInventory(ctx context.Context, action inventory.Action, source string, requests []inventory.Request) (inventory.Answer, bool, error) {
	call := callOf(ctx)
	answer, replayed, err := h.db.ChangeInventory(ctx, postgres.InventoryCall{
		ProjectID:   call.caller.project.ProjectID,
		Action:      action,
		Source:      source,
		Requests:    requests,
		Zone:        call.caller.project.Zone,
		Idempotency: call.idempotency,
	}, h.now())
	return answer, replayed, inventoryRefused(err)
}

// inventoryRefused says which operation of a call was refused, and why.
func inventoryRefused(err error) error {
	var refused *postgres.InventoryCallError
	if !errors.As(err, &refused) {
		return err
	}
	property := fmt.Sprintf("[%d]", refused.Operation)
	if refused.Item >= 0 {
		property += fmt.Sprintf(".items[%d]", refused.Item)
	}
	code, message := inventoryCode(refused.Err)
	return checkout.Refuse(code, message, checkout.Detail{Property: property, Message: message})
}

func inventoryCode(err error) (checkout.Code, string) {
	var refusal *inventory.Refusal
	switch {
	case errors.As(err, &refusal):
		_, code := refusal.Code.V2()
		return checkout.Code(code), refusal.Message
	case errors.Is(err, inventory.ErrUnknownItem):
		return checkout.ItemNotFound, err.Error()
	case errors.Is(err, inventory.ErrQuantityOutOfRange), errors.Is(err, inventory.ErrTooManyGrants), errors.Is(err, subscriptions.ErrTooLong),
		errors.Is(err, postgres.ErrPurchaseReused):
		return checkout.InvalidField, err.Error()
	default: // of an item that can't be owned
		return checkout.InvalidItem, err.Error()
	}
}

// CheckEntitlement answers by the clock.
func (h *handlers) CheckEntitlement(ctx context.Context, r CheckEntitlementRequestObject) (CheckEntitlementResponseObject, error) {
	if caller := callOf(ctx).caller; caller.as == asUser && caller.userID != r.User {
		return nil, checkout.Refuse(checkout.UserNotFound, "a user's token answers about that user only")
	}
	e, err := h.checks.Check(ctx, r.ProjectID, r.User, r.Sku, h.now())
	if err != nil {
		return nil, err
	}
	body := Entitlement{UserID: r.User, Sku: r.Sku, Status: e.Status, Active: e.Status == subscriptions.Active, Quantity: e.Quantity}
	if e.ExpiresAt != nil {
		body.ExpiresAt = new(e.ExpiresAt.UTC())
	}
	return CheckEntitlement200JSONResponse{Body: body, Headers: CheckEntitlement200ResponseHeaders{CacheControl: new("no-store")}}, nil
}
