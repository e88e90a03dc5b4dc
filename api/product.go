package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

var errProductNotFound = fail(ProblemCodeProductNotFound, "no such product is on sale; GET /api/v1/products lists what is")

// ListProducts shows what is on sale (seed 000, "Product Selection").
func (h *handlers) ListProducts(ctx context.Context, r ListProductsRequestObject) (ListProductsResponseObject, error) {
	after, err := shopPlaceOf(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit, projectID := limitOf(r.Params.Limit), callOf(ctx).key.ProjectID
	read := func(ctx context.Context) (ShopProductPage, error) {
		offers, err := h.db.ListShopProducts(ctx, projectID, r.Params.Group, after, limit+1)
		if err != nil {
			return ShopProductPage{}, err
		}
		purchasable, err := h.purchasable(ctx, r.Params.UserID, offers...)
		items, next := page(offers, limit, shopCursor)
		return ShopProductPage{
			Items:      each(items, func(o store.Offer) ShopProduct { return shopBody(o, purchasable) }),
			NextCursor: next,
		}, err
	}
	if r.Params.UserID != nil {
		body, err := read(ctx)
		return ListProducts200JSONResponse{Body: body}, err
	}
	key := shopKey{projectID: projectID, group: value(r.Params.Group), cursor: value(r.Params.Cursor), limit: limit}
	entry, err := h.shop.get(ctx, key, func(ctx context.Context) (any, error) { return read(ctx) })
	if err != nil {
		return nil, err
	}
	return entry.answer(r.Params.IfNoneMatch), nil
}

// shopCursor is the place of the last product that was shown, so that a page goes on there even if that product has
// moved since.
func shopCursor(last store.Offer) string {
	p := last.Product
	encoded, _ := json.Marshal(postgres.ShopPlace{Group: p.Group, Position: int32(p.Position), SKU: p.SKU}) // texts and a number
	return base64.RawURLEncoding.EncodeToString(encoded)
}

func shopPlaceOf(cursor *string) (postgres.ShopPlace, error) {
	if cursor == nil {
		return postgres.ShopStart, nil
	}
	var place postgres.ShopPlace
	encoded, err := base64.RawURLEncoding.DecodeString(*cursor)
	if err == nil {
		err = json.Unmarshal(encoded, &place)
	}
	if err != nil || strings.ContainsRune(place.Group+place.SKU, 0) {
		return place, invalid("cursor", "must be the next_cursor of the page before")
	}
	return place, nil
}

// GetProduct shows one product that is on sale.
func (h *handlers) GetProduct(ctx context.Context, r GetProductRequestObject) (GetProductResponseObject, error) {
	projectID := callOf(ctx).key.ProjectID
	read := func(ctx context.Context) (ShopProduct, error) {
		offer, err := h.db.GetProduct(ctx, projectID, r.Sku)
		if err != nil {
			return ShopProduct{}, orElse(err, errProductNotFound)
		}
		if offer.Product.Status != store.Published || offer.Product.Stock.Hidden(offer.Available) {
			return ShopProduct{}, errProductNotFound
		}
		purchasable, err := h.purchasable(ctx, r.Params.UserID, offer)
		return shopBody(offer, purchasable), err
	}
	if r.Params.UserID != nil {
		body, err := read(ctx)
		return GetProduct200JSONResponse{Body: body}, err
	}
	entry, err := h.shop.get(ctx, shopKey{projectID: projectID, sku: r.Sku}, func(ctx context.Context) (any, error) { return read(ctx) })
	if err != nil {
		return nil, err
	}
	return entry.answer(r.Params.IfNoneMatch), nil
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
		Sku:             p.SKU,
		Name:            p.Name,
		Description:     p.Description,
		Kind:            p.Kind,
		PriceCoins:      p.PriceCoins,
		Status:          ProductStatus(p.Status),
		Stock:           ShopStock{Available: offer.Available, Status: StockStatus(p.Stock.StatusOf(offer.Available))},
		Integration:     integrationBody(p.Integration),
		Delivery:        deliveryBody(p.Delivery),
		Group:           p.Group,
		Position:        p.Position,
		Limits:          p.Limits,
		Schedule:        p.Schedule,
		Requires:        p.Requires,
		ValiditySeconds: p.ValiditySeconds,
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
