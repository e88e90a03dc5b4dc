package api

import (
	"context"
	"errors"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

var errProductNotFound = fail(ProblemCodeProductNotFound, "no such product is on sale; GET /api/v1/products lists what is")

// ListProducts shows what is on sale (seed 000, "Product Selection").
func (h *handlers) ListProducts(ctx context.Context, r ListProductsRequestObject) (ListProductsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	offers, err := h.db.ListProducts(ctx, callOf(ctx).key.ProjectID, true, value(r.Params.Cursor), limit+1)
	if err != nil {
		return nil, err
	}
	purchasable, err := h.purchasable(ctx, r.Params.UserID)
	if err != nil {
		return nil, err
	}
	items, next := page(offers, limit, func(o store.Offer) string { return o.Product.SKU })
	return ListProducts200JSONResponse{Items: each(items, func(o store.Offer) ShopProduct { return shopBody(o, purchasable) }), NextCursor: next}, nil
}

// GetProduct shows one product that is on sale.
func (h *handlers) GetProduct(ctx context.Context, r GetProductRequestObject) (GetProductResponseObject, error) {
	offer, err := h.db.GetProduct(ctx, callOf(ctx).key.ProjectID, r.Sku)
	if err != nil {
		return nil, orElse(err, errProductNotFound)
	}
	if offer.Product.Status != store.Published || offer.Product.Stock.Hidden(offer.Available) {
		return nil, errProductNotFound
	}
	purchasable, err := h.purchasable(ctx, r.Params.UserID)
	return GetProduct200JSONResponse(shopBody(offer, purchasable)), err
}

// purchasable returns the rules as this user meets them, or nil when nobody in particular asks.
func (h *handlers) purchasable(ctx context.Context, userID *string) (func(store.Offer) *Purchasable, error) {
	if userID == nil {
		return nil, nil
	}
	var buyer *store.Buyer // nil: the rules say that there is no such user
	user, err := h.db.GetUser(ctx, *userID)
	switch {
	case err == nil:
		buyer = &store.Buyer{UserID: user.UserID, Blocked: user.Blocked, Available: user.Available}
	case !errors.Is(err, postgres.ErrNotFound):
		return nil, err
	}
	return func(offer store.Offer) *Purchasable {
		_, refusal := store.DecidePurchase(buyer, &offer, 1)
		if refusal == nil {
			return &Purchasable{Allowed: true}
		}
		return &Purchasable{Code: new(string(refusal.Code)), Message: &refusal.Message}
	}, nil
}

func shopBody(offer store.Offer, purchasable func(store.Offer) *Purchasable) ShopProduct {
	p := offer.Product
	body := ShopProduct{
		Sku: p.SKU, Name: p.Name, Description: p.Description, Kind: p.Kind, PriceCoins: p.PriceCoins, Status: ProductStatus(p.Status),
		Stock:       ShopStock{Available: offer.Available, Status: StockStatus(p.Stock.StatusOf(offer.Available))},
		Integration: integrationBody(p.Integration), Delivery: deliveryBody(p.Delivery),
	}
	if purchasable != nil {
		body.Purchasable = purchasable(offer)
	}
	return body
}

func integrationBody(i store.Integration) Integration {
	return Integration{ResourceType: i.ResourceType, Endpoint: i.Endpoint, Amount: i.Amount, Currency: i.Currency}
}

func deliveryBody(d store.DeliverySettings) Delivery {
	return Delivery{Method: d.Method, TimeoutSeconds: d.TimeoutSeconds, Retries: d.Retries, RetryIntervalSeconds: d.RetryIntervalSeconds}
}
