package api

import (
	"context"
	"strings"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/postgres"
)

// shopper is the caller's user before the catalog of the project.
func (h *handlers) shopper(ctx context.Context, userID string, locale, country, currency *string) (postgres.Shopper, error) {
	project := callOf(ctx).caller.project
	if _, known := catalog.Decimals(value(currency)); value(currency) != "" && !known {
		return postgres.Shopper{}, checkout.Refuse(checkout.InvalidField, "currency is none of ISO 4217", checkout.Detail{
			Property: "currency",
			Message:  "three capital letters of ISO 4217, such as EUR",
		})
	}
	items, err := h.items.get(ctx, project.ProjectID)
	if err != nil {
		return postgres.Shopper{}, err
	}
	return postgres.Shopper{
		ProjectID: project.ProjectID,
		UserID:    userID,
		Catalog:   items.rules,
		CartTTL:   project.CartTTL,
		View: catalog.View{
			Locale:        or(locale, catalogLocale),
			DefaultLocale: project.DefaultLocale,
			Currency:      value(currency),
			Country:       strings.ToUpper(value(country)),
			Now:           h.now(),
		},
	}, nil
}

// showCart prices a cart (seed 002, "Get cart").
func (h *handlers) showCart(ctx context.Context, cartID string, params GetCartParams) (Cart, error) {
	s, err := h.shopper(ctx, callOf(ctx).caller.userID, params.Locale, params.Country, params.Currency)
	if err != nil {
		return Cart{}, err
	}
	return h.db.ShowCart(ctx, s, cartID)
}

// fillCart sets several lines; what the body says of currency and country counts for more than the query.
func (h *handlers) fillCart(ctx context.Context, userID, cartID string, params FillCartParams, body CartFill) (Cart, error) {
	if body.Currency == nil {
		body.Currency = params.Currency
	}
	if body.Country == nil {
		body.Country = params.Country
	}
	s, err := h.shopper(ctx, userID, params.Locale, body.Country, body.Currency)
	if err != nil {
		return Cart{}, err
	}
	return h.db.FillCart(ctx, s, cartID, body.Items)
}

// editCart changes a cart whose prices nobody is shown.
func (h *handlers) editCart(ctx context.Context, edit func(postgres.Shopper) error) error {
	s, err := h.shopper(ctx, callOf(ctx).caller.userID, nil, nil, nil)
	if err != nil {
		return err
	}
	return edit(s)
}

func (h *handlers) setCartItem(ctx context.Context, cartID string, line checkout.LineRequest) error {
	return h.editCart(ctx, func(s postgres.Shopper) error { return h.db.SetCartItem(ctx, s, cartID, line) })
}

func (h *handlers) deleteCartItem(ctx context.Context, cartID, sku string) error {
	return h.editCart(ctx, func(s postgres.Shopper) error { return h.db.DeleteCartItem(ctx, s, cartID, sku) })
}

func (h *handlers) clearCart(ctx context.Context, cartID string) error {
	return h.editCart(ctx, func(s postgres.Shopper) error { return h.db.ClearCart(ctx, s, cartID) })
}

// GetCurrentCart shows the cart that calls without an id mean.
func (h *handlers) GetCurrentCart(ctx context.Context, r GetCurrentCartRequestObject) (GetCurrentCartResponseObject, error) {
	cart, err := h.showCart(ctx, postgres.CurrentCart, GetCartParams(r.Params))
	return GetCurrentCart200JSONResponse(cart), err
}

// GetCart shows a cart by its id.
func (h *handlers) GetCart(ctx context.Context, r GetCartRequestObject) (GetCartResponseObject, error) {
	cart, err := h.showCart(ctx, r.CartID, r.Params)
	return GetCart200JSONResponse(cart), err
}

// FillCurrentCart sets several lines of the current cart.
func (h *handlers) FillCurrentCart(ctx context.Context, r FillCurrentCartRequestObject) (FillCurrentCartResponseObject, error) {
	cart, err := h.fillCart(ctx, callOf(ctx).caller.userID, postgres.CurrentCart, FillCartParams(r.Params), *r.Body)
	return FillCurrentCart200JSONResponse(cart), err
}

// FillCart sets several lines of a cart.
func (h *handlers) FillCart(ctx context.Context, r FillCartRequestObject) (FillCartResponseObject, error) {
	cart, err := h.fillCart(ctx, callOf(ctx).caller.userID, r.CartID, r.Params, *r.Body)
	return FillCart200JSONResponse(cart), err
}

// SetCurrentCartItem sets one line of the current cart.
func (h *handlers) SetCurrentCartItem(ctx context.Context, r SetCurrentCartItemRequestObject) (SetCurrentCartItemResponseObject, error) {
	return SetCurrentCartItem204Response{}, h.setCartItem(ctx, postgres.CurrentCart, checkout.LineRequest{
		SKU:      r.ItemSku,
		Quantity: r.Body.Quantity,
	})
}

// SetCartItem sets one line of a cart.
func (h *handlers) SetCartItem(ctx context.Context, r SetCartItemRequestObject) (SetCartItemResponseObject, error) {
	return SetCartItem204Response{}, h.setCartItem(ctx, r.CartID, checkout.LineRequest{SKU: r.ItemSku, Quantity: r.Body.Quantity})
}

// DeleteCurrentCartItem takes one line away from the current cart.
func (h *handlers) DeleteCurrentCartItem(ctx context.Context, r DeleteCurrentCartItemRequestObject) (DeleteCurrentCartItemResponseObject, error) {
	return DeleteCurrentCartItem204Response{}, h.deleteCartItem(ctx, postgres.CurrentCart, r.ItemSku)
}

// DeleteCartItem takes one line away from a cart.
func (h *handlers) DeleteCartItem(ctx context.Context, r DeleteCartItemRequestObject) (DeleteCartItemResponseObject, error) {
	return DeleteCartItem204Response{}, h.deleteCartItem(ctx, r.CartID, r.ItemSku)
}

// ClearCurrentCart empties the current cart.
func (h *handlers) ClearCurrentCart(ctx context.Context, _ ClearCurrentCartRequestObject) (ClearCurrentCartResponseObject, error) {
	return ClearCurrentCart204Response{}, h.clearCart(ctx, postgres.CurrentCart)
}

// ClearCart empties a cart.
func (h *handlers) ClearCart(ctx context.Context, r ClearCartRequestObject) (ClearCartResponseObject, error) {
	return ClearCart204Response{}, h.clearCart(ctx, r.CartID)
}

// ServerFillCurrentCart sets several lines of a user's current cart.
func (h *handlers) ServerFillCurrentCart(ctx context.Context, r ServerFillCurrentCartRequestObject) (ServerFillCurrentCartResponseObject, error) {
	cart, err := h.fillFor(ctx, postgres.CurrentCart, ServerFillCartParams(r.Params), *r.Body)
	return ServerFillCurrentCart200JSONResponse(cart), err
}

// ServerFillCart sets several lines of a user's cart.
func (h *handlers) ServerFillCart(ctx context.Context, r ServerFillCartRequestObject) (ServerFillCartResponseObject, error) {
	cart, err := h.fillFor(ctx, r.CartID, r.Params, *r.Body)
	return ServerFillCart200JSONResponse(cart), err
}

func (h *handlers) fillFor(ctx context.Context, cartID string, params ServerFillCartParams, body CartFill) (Cart, error) {
	userID, err := h.userNamed(ctx, params.XUserFor, params.XUserID)
	if err != nil {
		return Cart{}, err
	}
	return h.fillCart(ctx, userID, cartID, FillCartParams{Locale: params.Locale}, body)
}

// userNamed is the user for whom the project's server calls: by a token or by the id, of which the server is
// the authority.
func (h *handlers) userNamed(ctx context.Context, token, userID *string) (string, error) {
	project := callOf(ctx).caller.project
	named := value(userID)
	switch {
	case (token == nil) == (userID == nil):
		return "", checkout.Refuse(checkout.InvalidField, "say for which user", checkout.Detail{
			Property: "x-user-id",
			Message:  "send either x-user-for, a token of the user, or x-user-id",
		})
	case token != nil:
		found, err := h.callerOf(ctx, project, "Bearer "+*token)
		if err != nil {
			return "", err
		}
		named = found.userID
	}
	return named, h.db.EnsureUser(ctx, project.ProjectID, named, h.now())
}
