package api

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
)

const (
	catalogPage   = 50
	catalogLocale = "en"
)

var (
	errNoItem  = checkout.Refuse(checkout.ItemNotFound, "there is no such item, or it is not sold now or here")
	errNoGroup = checkout.Refuse(checkout.GroupNotFound, "there is no such group, or it is off")
)

// look is one look at a project's catalog.
type look struct {
	*itemCatalog
	h        *handlers
	project  int32
	userID   string // empty: nobody's
	view     catalog.View
	inactive bool // also what is outside of its sale periods
}

// itemKind narrows a look to the items of one of the calls.
type itemKind func(catalog.Item) bool

func isVirtualGood(i catalog.Item) bool     { return i.Type == catalog.VirtualGood }
func isVirtualCurrency(i catalog.Item) bool { return i.Type == catalog.VirtualCurrency }
func isPackage(i catalog.Item) bool         { return i.BundleType == catalog.CurrencyPackage }
func isBundle(i catalog.Item) bool          { return i.BundleType == catalog.StandardBundle }
func isGame(i catalog.Item) bool            { return i.Type == catalog.Unit }
func isGameKey(i catalog.Item) bool         { return i.Type == catalog.GameKey }
func isSellable(i catalog.Item) bool        { return i.Type != catalog.Unit } // a game is not sold: its keys are

func (h *handlers) look(ctx context.Context, params GetSellableItemParams) (*look, error) {
	caller := callOf(ctx).caller
	if _, known := catalog.Decimals(value(params.Currency)); params.Currency != nil && !known {
		return nil, checkout.Refuse(checkout.InvalidField, "currency is none of ISO 4217", checkout.Detail{
			Property: "currency",
			Message:  "three capital letters of ISO 4217, such as EUR",
		})
	}
	items, err := h.items.get(ctx, caller.project.ProjectID)
	if err != nil {
		return nil, err
	}
	fields := value(params.AdditionalFields)
	return &look{
		itemCatalog: items,
		h:           h,
		project:     caller.project.ProjectID,
		userID:      caller.userID,
		inactive:    value(params.ShowInactiveTimeLimitedItems) == 1,
		view: catalog.View{
			Locale:          or(params.Locale, catalogLocale),
			DefaultLocale:   caller.project.DefaultLocale,
			Currency:        value(params.Currency),
			Country:         strings.ToUpper(value(params.Country)),
			Now:             h.now(),
			MediaList:       slices.Contains(fields, "media_list"),
			LongDescription: slices.Contains(fields, "long_description"),
		},
	}, nil
}

// count reads what was taken of these items, if any of them has a limit; the user's part when a user looks.
func (l *look) count(ctx context.Context, items []catalog.Item) (err error) {
	if skus := l.counted(items, l.userID != ""); len(skus) > 0 {
		l.view.Usages, err = l.h.db.Usages(ctx, l.project, l.userID, skus, l.view.Now)
	}
	return err
}

// shown are the items of a kind that the shop shows, in its order.
func (l *look) shown(kind itemKind) []catalog.Item {
	var shown []catalog.Item
	for _, item := range l.items {
		if kind(item) && item.IsShown(l.view, l.inactive) {
			shown = append(shown, item)
		}
	}
	return shown
}

// showItem is one of the forms of catalog.Catalog.
type showItem[T any] func(*catalog.Catalog, catalog.Item, catalog.View) T

// itemPage is converted to the pages of openapi.yaml.
type itemPage[T any] struct {
	HasMore bool
	Items   []T
}

func listItems[T any](ctx context.Context, h *handlers, params ListSellableItemsParams, kind itemKind, show showItem[T]) (page itemPage[T], err error) {
	return listGroup(ctx, h, catalog.AllGroups, params, kind, show)
}

func listGroup[T any](ctx context.Context, h *handlers, group string, params ListSellableItemsParams, kind itemKind, show showItem[T]) (page itemPage[T], err error) {
	l, err := h.look(ctx, GetSellableItemParams{Locale: params.Locale, Country: params.Country, Currency: params.Currency,
		AdditionalFields: params.AdditionalFields, ShowInactiveTimeLimitedItems: params.ShowInactiveTimeLimitedItems})
	if err != nil {
		return page, err
	}
	if group != catalog.AllGroups && !l.rules.GroupIsOn(group) {
		return page, errNoGroup
	}
	items := l.shown(func(i catalog.Item) bool {
		return kind(i) && (group == catalog.AllGroups || slices.Contains(i.Groups, group))
	})
	items = items[min(value(params.Offset), len(items)):]
	if limit := or(params.Limit, catalogPage); len(items) > limit {
		page.HasMore, items = true, items[:limit]
	}
	if err := l.count(ctx, items); err != nil {
		return page, err
	}
	page.Items = each(items, func(item catalog.Item) T { return show(l.rules, item, l.view) })
	return page, nil
}

func getItem[T any](ctx context.Context, h *handlers, sku string, params GetSellableItemParams, kind itemKind, show showItem[T]) (shown T, err error) {
	l, err := h.look(ctx, params)
	if err != nil {
		return shown, err
	}
	item, ok := l.rules.Item(sku)
	if !ok {
		return shown, errNoItem
	}
	return showOne(ctx, l, item, kind, show)
}

func showOne[T any](ctx context.Context, l *look, item catalog.Item, kind itemKind, show showItem[T]) (shown T, err error) {
	if !kind(item) || !item.IsShown(l.view, l.inactive) {
		return shown, errNoItem
	}
	if err := l.count(ctx, []catalog.Item{item}); err != nil {
		return shown, err
	}
	return show(l.rules, item, l.view), nil
}

// sellable shows an item in the form of its kind.
func sellable(c *catalog.Catalog, item catalog.Item, view catalog.View) any {
	view.Sellable = true
	switch {
	case isPackage(item):
		return c.ShowPackage(item, view)
	case isBundle(item):
		return c.ShowBundle(item, view)
	case isGameKey(item):
		return c.ShowKey(item, view)
	default:
		return c.ShowItem(item, view)
	}
}

// encodedPage is a page whose items differ in form.
func encodedPage(page itemPage[any], err error) (itemPage[json.RawMessage], error) {
	encoded := itemPage[json.RawMessage]{HasMore: page.HasMore, Items: make([]json.RawMessage, len(page.Items))}
	for i := 0; err == nil && i < len(page.Items); i++ {
		encoded.Items[i], err = json.Marshal(page.Items[i])
	}
	return encoded, err
}

// ListSellableItems lists everything that is for sale.
func (h *handlers) ListSellableItems(ctx context.Context, r ListSellableItemsRequestObject) (ListSellableItemsResponseObject, error) {
	page, err := encodedPage(listItems(ctx, h, r.Params, isSellable, sellable))
	return ListSellableItems200JSONResponse(page), err
}

// ListSellableItemsOfGroup lists everything that is for sale in a group.
func (h *handlers) ListSellableItemsOfGroup(ctx context.Context, r ListSellableItemsOfGroupRequestObject) (ListSellableItemsOfGroupResponseObject, error) {
	page, err := encodedPage(listGroup(ctx, h, r.ExternalID, ListSellableItemsParams(r.Params), isSellable, sellable))
	return ListSellableItemsOfGroup200JSONResponse(page), err
}

// GetSellableItem reads anything that is for sale by its SKU.
func (h *handlers) GetSellableItem(ctx context.Context, r GetSellableItemRequestObject) (GetSellableItemResponseObject, error) {
	item, err := getItem(ctx, h, r.Sku, r.Params, isSellable, sellable)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(item)
	return GetSellableItem200JSONResponse(encoded), err
}

// GetSellableItemByID reads anything that is for sale by its id.
func (h *handlers) GetSellableItemByID(ctx context.Context, r GetSellableItemByIDRequestObject) (GetSellableItemByIDResponseObject, error) {
	l, err := h.look(ctx, GetSellableItemParams(r.Params))
	if err != nil {
		return nil, err
	}
	item, err := showOne(ctx, l, l.byID[r.ItemID], isSellable, sellable)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(item)
	return GetSellableItemByID200JSONResponse(encoded), err
}

// ListVirtualItems lists virtual items, subscriptions among them (seed 002, "Get virtual items list").
func (h *handlers) ListVirtualItems(ctx context.Context, r ListVirtualItemsRequestObject) (ListVirtualItemsResponseObject, error) {
	page, err := listItems(ctx, h, ListSellableItemsParams(r.Params), isVirtualGood, (*catalog.Catalog).ShowItem)
	return ListVirtualItems200JSONResponse(page), err
}

// ListAllVirtualItems lists all virtual items in short.
func (h *handlers) ListAllVirtualItems(ctx context.Context, r ListAllVirtualItemsRequestObject) (ListAllVirtualItemsResponseObject, error) {
	l, err := h.look(ctx, GetSellableItemParams{Locale: r.Params.Locale, Country: r.Params.Country})
	if err != nil {
		return nil, err
	}
	return ListAllVirtualItems200JSONResponse{Items: each(l.shown(isVirtualGood), func(i catalog.Item) ShortItem { return l.rules.ShowShort(i, l.view) })}, nil
}

// GetVirtualItem reads a virtual item.
func (h *handlers) GetVirtualItem(ctx context.Context, r GetVirtualItemRequestObject) (GetVirtualItemResponseObject, error) {
	item, err := getItem(ctx, h, r.ItemSku, GetSellableItemParams(r.Params), isVirtualGood, (*catalog.Catalog).ShowItem)
	return GetVirtualItem200JSONResponse(item), err
}

// ListVirtualItemsOfGroup lists the virtual items of a group.
func (h *handlers) ListVirtualItemsOfGroup(ctx context.Context, r ListVirtualItemsOfGroupRequestObject) (ListVirtualItemsOfGroupResponseObject, error) {
	page, err := listGroup(ctx, h, r.ExternalID, ListSellableItemsParams(r.Params), isVirtualGood, (*catalog.Catalog).ShowItem)
	return ListVirtualItemsOfGroup200JSONResponse(page), err
}

// ListItemGroups shows the tree of groups.
func (h *handlers) ListItemGroups(ctx context.Context, r ListItemGroupsRequestObject) (ListItemGroupsResponseObject, error) {
	l, err := h.look(ctx, GetSellableItemParams{Locale: r.Params.Locale})
	if err != nil {
		return nil, err
	}
	return ListItemGroups200JSONResponse{Groups: l.rules.ShowGroups(l.view)}, nil
}

// ListVirtualCurrencies lists virtual currencies that are sold by the piece.
func (h *handlers) ListVirtualCurrencies(ctx context.Context, r ListVirtualCurrenciesRequestObject) (ListVirtualCurrenciesResponseObject, error) {
	page, err := listItems(ctx, h, ListSellableItemsParams(r.Params), isVirtualCurrency, (*catalog.Catalog).ShowItem)
	return ListVirtualCurrencies200JSONResponse(page), err
}

// GetVirtualCurrency reads a virtual currency.
func (h *handlers) GetVirtualCurrency(ctx context.Context, r GetVirtualCurrencyRequestObject) (GetVirtualCurrencyResponseObject, error) {
	item, err := getItem(ctx, h, r.Sku, GetSellableItemParams(r.Params), isVirtualCurrency, (*catalog.Catalog).ShowItem)
	return GetVirtualCurrency200JSONResponse(item), err
}

// ListCurrencyPackages lists packages of virtual currency.
func (h *handlers) ListCurrencyPackages(ctx context.Context, r ListCurrencyPackagesRequestObject) (ListCurrencyPackagesResponseObject, error) {
	page, err := listItems(ctx, h, ListSellableItemsParams(r.Params), isPackage, (*catalog.Catalog).ShowPackage)
	return ListCurrencyPackages200JSONResponse(page), err
}

// GetCurrencyPackage reads a package of virtual currency.
func (h *handlers) GetCurrencyPackage(ctx context.Context, r GetCurrencyPackageRequestObject) (GetCurrencyPackageResponseObject, error) {
	item, err := getItem(ctx, h, r.Sku, GetSellableItemParams(r.Params), isPackage, (*catalog.Catalog).ShowPackage)
	return GetCurrencyPackage200JSONResponse(item), err
}

// ListBundles lists bundles.
func (h *handlers) ListBundles(ctx context.Context, r ListBundlesRequestObject) (ListBundlesResponseObject, error) {
	page, err := listItems(ctx, h, ListSellableItemsParams(r.Params), isBundle, (*catalog.Catalog).ShowBundle)
	return ListBundles200JSONResponse(page), err
}

// GetBundle reads a bundle.
func (h *handlers) GetBundle(ctx context.Context, r GetBundleRequestObject) (GetBundleResponseObject, error) {
	item, err := getItem(ctx, h, r.Sku, GetSellableItemParams(r.Params), isBundle, (*catalog.Catalog).ShowBundle)
	return GetBundle200JSONResponse(item), err
}

// ListBundlesOfGroup lists the bundles of a group.
func (h *handlers) ListBundlesOfGroup(ctx context.Context, r ListBundlesOfGroupRequestObject) (ListBundlesOfGroupResponseObject, error) {
	page, err := listGroup(ctx, h, r.ExternalID, ListSellableItemsParams(r.Params), isBundle, (*catalog.Catalog).ShowBundle)
	return ListBundlesOfGroup200JSONResponse(page), err
}

// ListGames lists games with their keys.
func (h *handlers) ListGames(ctx context.Context, r ListGamesRequestObject) (ListGamesResponseObject, error) {
	page, err := listItems(ctx, h, ListSellableItemsParams(r.Params), isGame, (*catalog.Catalog).ShowUnit)
	return ListGames200JSONResponse(page), err
}

// GetGame reads a game with its keys.
func (h *handlers) GetGame(ctx context.Context, r GetGameRequestObject) (GetGameResponseObject, error) {
	item, err := getItem(ctx, h, r.ItemSku, GetSellableItemParams(r.Params), isGame, (*catalog.Catalog).ShowUnit)
	return GetGame200JSONResponse(item), err
}

// ListGamesOfGroup lists the games of a group.
func (h *handlers) ListGamesOfGroup(ctx context.Context, r ListGamesOfGroupRequestObject) (ListGamesOfGroupResponseObject, error) {
	page, err := listGroup(ctx, h, r.ExternalID, ListSellableItemsParams(r.Params), isGame, (*catalog.Catalog).ShowUnit)
	return ListGamesOfGroup200JSONResponse(page), err
}

// GetGameKey reads a game key.
func (h *handlers) GetGameKey(ctx context.Context, r GetGameKeyRequestObject) (GetGameKeyResponseObject, error) {
	item, err := getItem(ctx, h, r.ItemSku, GetSellableItemParams(r.Params), isGameKey, (*catalog.Catalog).ShowKey)
	return GetGameKey200JSONResponse(item), err
}

// ListGameKeysOfGroup lists the game keys of a group.
func (h *handlers) ListGameKeysOfGroup(ctx context.Context, r ListGameKeysOfGroupRequestObject) (ListGameKeysOfGroupResponseObject, error) {
	page, err := listGroup(ctx, h, r.ExternalID, ListSellableItemsParams(r.Params), isGameKey, (*catalog.Catalog).ShowKey)
	return ListGameKeysOfGroup200JSONResponse(page), err
}

// ListDRMs lists the platforms that game keys are for.
func (h *handlers) ListDRMs(context.Context, ListDRMsRequestObject) (ListDRMsResponseObject, error) {
	return ListDRMs200JSONResponse{Drm: catalog.DRMs()}, nil
}
