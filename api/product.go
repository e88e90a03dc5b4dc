package api

import (
	"context"

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
	purchasable, err := h.purchasable(ctx, r.Params.UserID, offers...)
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
	purchasable, err := h.purchasable(ctx, r.Params.UserID, offer)
	return GetProduct200JSONResponse(shopBody(offer, purchasable)), err
}

// purchasable returns the rules as this user meets them, or nil when nobody in particular asks.
func (h *handlers) purchasable(ctx context.Context, userID *string, offers ...store.Offer) (func(store.Offer) *Purchasable, error) {
	if userID == nil {
		return nil, nil
	}
	now := h.now()
	skus := each(offers, func(o store.Offer) string { return o.Product.SKU })
	eligibility, err := h.db.ReadEligibility(ctx, callOf(ctx).key.ProjectID, *userID, skus, now)
	if err != nil {
		return nil, err
	}
	return func(offer store.Offer) *Purchasable {
		request := store.Request{Quantity: 1, Now: now, Bought: eligibility.Bought[offer.Product.SKU]}
		_, refusal := store.DecidePurchase(eligibility.Buyer, &offer, request, h.policy)
		if refusal == nil {
			return &Purchasable{Allowed: true}
		}
		return &Purchasable{Code: new(string(refusal.Code)), Message: &refusal.Message, Until: refusal.Until}
	}, nil
}

func shopBody(offer store.Offer, purchasable func(store.Offer) *Purchasable) ShopProduct {
	p := offer.Product
	body := ShopProduct{
		Sku: p.SKU, Name: p.Name, Description: p.Description, Kind: p.Kind, PriceCoins: p.PriceCoins, Status: ProductStatus(p.Status),
		Stock:       ShopStock{Available: offer.Available, Status: StockStatus(p.Stock.StatusOf(offer.Available))},
		Integration: integrationBody(p.Integration), Delivery: deliveryBody(p.Delivery),
		Group: p.Group, Position: p.Position, Limits: p.Limits, Schedule: p.Schedule, Requires: p.Requires, ValiditySeconds: p.ValiditySeconds,
	}
	if purchasable != nil {
		body.Purchasable = purchasable(offer)
	}
	return body
}

func integrationBody(i store.Integration) Integration {
	body := Integration{ResourceType: i.ResourceType, Endpoint: i.Endpoint, Amount: i.Amount, Currency: i.Currency}
	if len(i.Parameters) > 0 {
		body.Parameters = &i.Parameters
	}
	return body
}

func deliveryBody(d store.DeliverySettings) Delivery {
	return Delivery{Method: d.Method, TimeoutSeconds: d.TimeoutSeconds, Retries: d.Retries, RetryIntervalSeconds: d.RetryIntervalSeconds}
}
