package api

import (
	"context"
	"errors"
	"time"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// AdminListProducts lists drafts and hidden products too.
func (h *handlers) AdminListProducts(ctx context.Context, r AdminListProductsRequestObject) (AdminListProductsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	offers, err := h.db.ListProducts(ctx, callOf(ctx).key.ProjectID, value(r.Params.Cursor), limit+1)
	items, next := page(offers, limit, func(o store.Offer) string { return o.Product.SKU })
	return AdminListProducts200JSONResponse{Items: each(items, productBody), NextCursor: next}, err
}

// AdminGetProduct reads a product's settings and stock (seed 000, "Product Configuration").
func (h *handlers) AdminGetProduct(ctx context.Context, r AdminGetProductRequestObject) (AdminGetProductResponseObject, error) {
	offer, err := h.db.GetProduct(ctx, callOf(ctx).key.ProjectID, r.Sku)
	if err != nil {
		return nil, orElse(err, errNoSuchProduct)
	}
	tag := etag(offer)
	if r.Params.IfNoneMatch != nil && sameEntity(*r.Params.IfNoneMatch, tag) {
		return AdminGetProduct304Response{AdminGetProduct304ResponseHeaders{ETag: &tag}}, nil
	}
	return AdminGetProduct200JSONResponse{Body: productBody(offer), Headers: AdminGetProduct200ResponseHeaders{ETag: &tag}}, nil
}

var errNoSuchProduct = fail(ProblemCodeProductNotFound, "no product of this SKU; GET /api/v1/admin/products lists them, PUT creates it")

// AdminCreateProduct adds a product. A repeat under the same key gets the answer of the first.
func (h *handlers) AdminCreateProduct(ctx context.Context, r AdminCreateProductRequestObject) (AdminCreateProductResponseObject, error) {
	call := callOf(ctx)
	product, err := productOf(r.Body.Sku, inputOf(*r.Body))
	if err != nil {
		return nil, err
	}
	createdAt, replayed, err := h.db.AddProduct(ctx, postgres.NewProduct{
		ProjectID: call.key.ProjectID, Product: product, Actor: call.key.KeyID, Idempotency: call.idempotency,
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return nil, fail(ProblemCodeSkuTaken, "there is a product of this SKU; PUT replaces it")
	}
	if err != nil {
		return nil, err
	}
	offer := created(product, createdAt)
	return AdminCreateProduct201JSONResponse{Body: productBody(offer), Headers: AdminCreateProduct201ResponseHeaders{
		ETag: new(etag(offer)), Location: new("/api/v1/admin/products/" + product.SKU), IdempotencyReplayed: flag(replayed),
	}}, nil
}

// inputOf is a creation as the PUT of the same fields.
func inputOf(c ProductCreation) ProductInput {
	return ProductInput{
		Sku:             &c.Sku,
		Name:            c.Name,
		Description:     c.Description,
		Kind:            c.Kind,
		PriceCoins:      c.PriceCoins,
		Status:          (*ProductInputStatus)(c.Status),
		Stock:           &c.Stock,
		Integration:     c.Integration,
		Delivery:        c.Delivery,
		Group:           c.Group,
		Position:        c.Position,
		Limits:          c.Limits,
		Schedule:        c.Schedule,
		Requires:        c.Requires,
		ValiditySeconds: c.ValiditySeconds,
	}
}

func created(p store.Product, at time.Time) store.Offer {
	p.Version, p.UpdatedAt = 1, at
	return store.Offer{Product: p, Available: p.Stock.Initial}
}

// AdminPutProduct replaces a product or adds it.
func (h *handlers) AdminPutProduct(ctx context.Context, r AdminPutProductRequestObject) (AdminPutProductResponseObject, error) {
	call := callOf(ctx)
	if r.Body.Sku != nil && *r.Body.Sku != r.Sku {
		return nil, invalid("sku", "must be the SKU of the address, or be left out")
	}
	current, err := h.db.GetProduct(ctx, call.key.ProjectID, r.Sku)
	exists := err == nil
	if err != nil && !errors.Is(err, postgres.ErrNotFound) {
		return nil, err
	}
	version, err := precondition(r.Params, current, exists)
	if err != nil {
		return nil, err
	}
	if exists {
		if err := keepStock(r.Body, current); err != nil {
			return nil, err
		}
	}
	product, err := productOf(r.Sku, *r.Body)
	if err != nil {
		return nil, err
	}
	if !exists {
		return h.putNew(ctx, product)
	}
	product.Version = version
	return h.replace(ctx, product)
}

func (h *handlers) putNew(ctx context.Context, product store.Product) (AdminPutProductResponseObject, error) {
	call := callOf(ctx)
	createdAt, _, err := h.db.AddProduct(ctx, postgres.NewProduct{
		ProjectID: call.key.ProjectID,
		Product:   product,
		Actor:     call.key.KeyID,
	}, h.now())
	if err != nil {
		return nil, orConflict(err)
	}
	offer := created(product, createdAt)
	return AdminPutProduct201JSONResponse{Body: productBody(offer), Headers: AdminPutProduct201ResponseHeaders{ETag: new(etag(offer))}}, nil
}

func (h *handlers) replace(ctx context.Context, product store.Product) (AdminPutProductResponseObject, error) {
	call := callOf(ctx)
	if _, err := h.db.UpdateProduct(ctx, call.key.ProjectID, product, call.key.KeyID, h.now()); err != nil {
		return nil, orConflict(err)
	}
	offer, err := h.db.GetProduct(ctx, call.key.ProjectID, product.SKU)
	return AdminPutProduct200JSONResponse{Body: productBody(offer), Headers: AdminPutProduct200ResponseHeaders{ETag: new(etag(offer))}}, err
}

func orConflict(err error) error {
	if errors.Is(err, postgres.ErrConflict) {
		return errVersionConflict
	}
	return err
}

// keepStock lets an edit repeat the initial stock or leave it out, but not change it: pieces sold since
// would no longer add up.
func keepStock(in *ProductInput, current store.Offer) error {
	initial := current.Product.Stock.Initial
	if in.Stock == nil {
		in.Stock = &StockInput{}
	}
	if given := in.Stock.Initial; given != nil && *given != initial {
		return fail(ProblemCodeStockInitialFixed, "stock.initial is set when a product is created; leave it out, and change the stock with POST /api/v1/admin/stock")
	}
	in.Stock.Initial = &initial
	return nil
}

// productOf fills in the defaults of openapi.yaml and applies the rules.
func productOf(sku string, in ProductInput) (store.Product, error) {
	stock, delivery := value(in.Stock), value(in.Delivery)
	if stock.Initial == nil {
		return store.Product{}, invalid("stock.initial", "is needed to create a product")
	}
	usual := store.DefaultDelivery()
	product := store.Product{
		SKU:         sku,
		Name:        in.Name,
		Description: value(in.Description),
		Kind:        or(in.Kind, "credits"),
		PriceCoins:  in.PriceCoins,
		Status:      store.ProductStatus(or(in.Status, ProductInputStatusDraft)),
		Group:       value(in.Group),
		Position:    value(in.Position),
		Limits:      value(in.Limits),
		Schedule:    value(in.Schedule),
		Requires:    value(in.Requires),
		Stock: store.StockSettings{
			Initial:       *stock.Initial,
			Minimum:       or(stock.Minimum, 10),
			HideAtZero:    value(stock.HideAtZero),
			Replenishment: value(stock.Replenishment),
		},
		Integration: store.Integration{
			ResourceType: or(in.Integration.ResourceType, "external_currency"),
			Endpoint:     or(in.Integration.Endpoint, store.DefaultEndpoint),
			Amount:       in.Integration.Amount,
			Currency:     in.Integration.Currency,
			Parameters:   value(in.Integration.Parameters),
		},
		ValiditySeconds: value(in.ValiditySeconds),
		Delivery: store.DeliverySettings{
			Method:               string(or(delivery.Method, APICall)),
			TimeoutSeconds:       or(delivery.TimeoutSeconds, usual.TimeoutSeconds),
			Retries:              or(delivery.Retries, usual.Retries),
			RetryIntervalSeconds: or(delivery.RetryIntervalSeconds, usual.RetryIntervalSeconds),
		},
	}
	mistakes := product.Validate()
	if mistakes == nil {
		var err error
		product.Integration.Parameters, err = store.CanonicalParameters(product.Integration.Parameters)
		return product, err
	}
	return product, mistaken(mistakes)
}

func productBody(offer store.Offer) Product {
	p := offer.Product
	return Product{
		Sku:         p.SKU,
		Name:        p.Name,
		Description: p.Description,
		Kind:        p.Kind,
		PriceCoins:  p.PriceCoins,
		Status:      ProductStatus(p.Status),
		Stock: Stock{
			Initial:       p.Stock.Initial,
			Minimum:       p.Stock.Minimum,
			HideAtZero:    p.Stock.HideAtZero,
			Replenishment: replenishmentBody(p.Stock.Replenishment),
			Available:     offer.Available,
			Status:        StockStatus(p.Stock.StatusOf(offer.Available)),
		},
		Integration:     integrationBody(p.Integration),
		Delivery:        deliveryBody(p.Delivery),
		Group:           p.Group,
		Position:        p.Position,
		Limits:          p.Limits,
		Schedule:        p.Schedule,
		Requires:        p.Requires,
		ValiditySeconds: p.ValiditySeconds,
		Version:         p.Version,
		UpdatedAt:       p.UpdatedAt.UTC(),
	}
}
