package api

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

// ShownOrder is an order as clients of /api/v2 read it, and when it expires.
type ShownOrder struct {
	checkout.ShownOrder
	ExpiresAt    *time.Time             `json:"expires_at"`         // null when nothing was to be paid outside
	Payable      *catalog.Charge        `json:"payable,omitempty"`  // likewise missing
	Refunded     string                 `json:"refunded,omitempty"` // so far; missing: nothing
	Reason       string                 `json:"reason,omitempty"`   // why it was canceled, or what keeps it from being done
	PriceChanges []checkout.PriceChange `json:"price_changes,omitempty"`
	Keys         []inventory.Key        `json:"keys,omitempty"` // that it gave
	// Deliveries are what the main product gives; none when it gives nothing.
	Deliveries []checkout.ShownDelivery `json:"deliveries,omitempty"`
}

// shownOrder tells the status by the clock: an order whose time is up takes no payment, whether or not its
// timer has fired.
func shownOrder(o postgres.CheckoutOrder, now time.Time) ShownOrder {
	if o.Status == checkout.New && !now.Before(o.ExpiresAt) {
		o.Status = checkout.Expired
	}
	shown := ShownOrder{
		ShownOrder:   checkout.ShowOrder(o.Order),
		Payable:      catalog.ChargeOf(o.Price),
		Keys:         o.Keys,
		Reason:       o.Reason,
		PriceChanges: o.PriceChanges,
		Deliveries:   checkout.ShowDeliveries(o.Deliveries),
	}
	if o.Refunded.IsPositive() {
		shown.Refunded = o.Refunded.String()
	}
	if !o.ExpiresAt.IsZero() {
		shown.ExpiresAt = &o.ExpiresAt
	}
	return shown
}

// orderRequest is what the forms of an order have in common.
type orderRequest struct {
	form    checkout.Form
	cartID  string
	wanted  []checkout.LineRequest
	virtual string
	input   OrderInput
}

// makeOrder makes an order for the user who calls.
func (h *handlers) makeOrder(ctx context.Context, r orderRequest) (MadeOrder, *string, error) {
	call := callOf(ctx)
	return h.makeOrderFor(ctx, call.caller.userID, call.idempotency, r)
}

func (h *handlers) makeOrderFor(ctx context.Context, userID string, key *postgres.Idempotency, r orderRequest) (MadeOrder, *string, error) {
	project := callOf(ctx).caller.project
	if value(r.input.Sandbox) && !project.Sandbox {
		return MadeOrder{}, nil, checkout.Refuse(checkout.InvalidField, "the project is not in sandbox mode", checkout.Detail{
			Property: "sandbox",
			Message:  "leave it out",
		})
	}
	if err := h.accepting(); err != nil {
		return MadeOrder{}, nil, err
	}
	country := r.input.Country
	if country == nil && r.input.User != nil {
		country = r.input.User.Country
	}
	s, err := h.shopper(ctx, userID, r.input.Locale, country, r.input.Currency)
	if err != nil {
		return MadeOrder{}, nil, err
	}
	o := postgres.NewCheckout{
		Shopper:         s,
		Form:            r.form,
		CartID:          r.cartID,
		Wanted:          r.wanted,
		VirtualCurrency: r.virtual,
		Sandbox:         project.Sandbox,
		Zone:            project.Zone,
		TTL:             project.OrderTTL,
		Custom:          value(r.input.CustomParameters),
		Idempotency:     key,
	}
	if r.input.Settings != nil {
		o.ExternalID, o.ReturnURL = value(r.input.Settings.ExternalID), value(r.input.Settings.ReturnURL)
		if !isWebAddress(o.ReturnURL) {
			return MadeOrder{}, nil, checkout.Refuse(checkout.InvalidField, "the payment page can't lead back there", checkout.Detail{
				Property: "settings.return_url",
				Message:  "an http or https URL",
			})
		}
	}
	created, err := h.db.CreateCheckout(ctx, o)
	if err != nil {
		return MadeOrder{}, nil, err
	}
	if created.Change.OrderID != 0 {
		h.starter.OfferCheckout(created.Change)
	} else {
		h.starter.OfferWebhooks() // no workflow has to know: it is done, or was made before
	}
	made := MadeOrder{
		OrderID:   created.OrderID,
		Token:     optional.Text(created.Token),
		ExpiresAt: utc(created.ExpiresAt),
		Payable:   catalog.ChargeOf(created.Price),
	}
	if len(created.PriceChanges) > 0 {
		made.PriceChanges = &created.PriceChanges
	}
	return made, flag(created.Replayed), nil
}

// isWebAddress is true of nothing, too.
func isWebAddress(address string) bool {
	parsed, err := url.Parse(address)
	return address == "" || (err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != "")
}

// OrderCurrentCart orders the current cart (seed 002, "Create order with all items from current cart").
func (h *handlers) OrderCurrentCart(ctx context.Context, r OrderCurrentCartRequestObject) (OrderCurrentCartResponseObject, error) {
	made, replayed, err := h.makeOrder(ctx, orderRequest{form: checkout.PaidCart, cartID: postgres.CurrentCart, input: value(r.Body)})
	return OrderCurrentCart200JSONResponse{Body: made, Headers: OrderCurrentCart200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// OrderCart orders a cart (seed 002, "Create order with all items from particular cart").
func (h *handlers) OrderCart(ctx context.Context, r OrderCartRequestObject) (OrderCartResponseObject, error) {
	made, replayed, err := h.makeOrder(ctx, orderRequest{form: checkout.PaidCart, cartID: r.CartID, input: value(r.Body)})
	return OrderCart200JSONResponse{Body: made, Headers: OrderCart200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// OrderCurrentCartFree orders the current cart, which costs nothing.
func (h *handlers) OrderCurrentCartFree(ctx context.Context, r OrderCurrentCartFreeRequestObject) (OrderCurrentCartFreeResponseObject, error) {
	made, replayed, err := h.makeOrder(ctx, orderRequest{form: checkout.FreeCart, cartID: postgres.CurrentCart, input: value(r.Body)})
	return OrderCurrentCartFree200JSONResponse{
		Body:    made,
		Headers: OrderCurrentCartFree200ResponseHeaders{IdempotencyReplayed: replayed},
	}, err
}

// OrderCartFree orders a cart that costs nothing.
func (h *handlers) OrderCartFree(ctx context.Context, r OrderCartFreeRequestObject) (OrderCartFreeResponseObject, error) {
	made, replayed, err := h.makeOrder(ctx, orderRequest{form: checkout.FreeCart, cartID: r.CartID, input: value(r.Body)})
	return OrderCartFree200JSONResponse{Body: made, Headers: OrderCartFree200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// OrderItem orders one item (seed 002, "Create order with specified item").
func (h *handlers) OrderItem(ctx context.Context, r OrderItemRequestObject) (OrderItemResponseObject, error) {
	request, err := itemOrder(checkout.PaidItem, r.ItemSku, value(r.Body))
	if err != nil {
		return nil, err
	}
	made, replayed, err := h.makeOrder(ctx, request)
	return OrderItem200JSONResponse{Body: made, Headers: OrderItem200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// OrderItemFree orders one item that costs nothing.
func (h *handlers) OrderItemFree(ctx context.Context, r OrderItemFreeRequestObject) (OrderItemFreeResponseObject, error) {
	request, err := itemOrder(checkout.FreeItem, r.ItemSku, value(r.Body))
	if err != nil {
		return nil, err
	}
	made, replayed, err := h.makeOrder(ctx, request)
	return OrderItemFree200JSONResponse{Body: made, Headers: OrderItemFree200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// itemOrder refuses a promo code rather than to let the buyer pay more than expected.
func itemOrder(form checkout.Form, sku string, in ItemOrderInput) (orderRequest, error) {
	if value(in.PromoCode) != "" {
		return orderRequest{}, checkout.Refuse(checkout.CouponNotFound, "there is no such promo code", checkout.Detail{
			Property: "promo_code",
			Message:  "leave it out",
		})
	}
	return orderRequest{
		form:   form,
		wanted: []checkout.LineRequest{{SKU: sku, Quantity: or(in.Quantity, 1)}},
		input: OrderInput{
			Currency:         in.Currency,
			Country:          in.Country,
			Locale:           in.Locale,
			Sandbox:          in.Sandbox,
			User:             in.User,
			Settings:         in.Settings,
			CustomParameters: in.CustomParameters,
		},
	}, nil
}

// OrderItemVirtual buys one item for a virtual currency, at once.
func (h *handlers) OrderItemVirtual(ctx context.Context, r OrderItemVirtualRequestObject) (OrderItemVirtualResponseObject, error) {
	in := value(r.Body)
	made, replayed, err := h.makeOrder(ctx, orderRequest{
		form:    checkout.VirtualItem,
		wanted:  []checkout.LineRequest{{SKU: r.ItemSku, Quantity: or(in.Quantity, 1)}},
		virtual: r.VirtualCurrencySku,
		input:   OrderInput{CustomParameters: in.CustomParameters},
	})
	return OrderItemVirtual200JSONResponse{Body: made, Headers: OrderItemVirtual200ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

// CreatePaymentToken orders items for a user whom the server names.
func (h *handlers) CreatePaymentToken(ctx context.Context, r CreatePaymentTokenRequestObject) (CreatePaymentTokenResponseObject, error) {
	userID := r.Body.User.ID.Value
	if err := h.db.EnsureUser(ctx, r.ProjectID, userID, h.now()); err != nil {
		return nil, err
	}
	request := orderRequest{
		form:   checkout.ServerToken,
		wanted: r.Body.Purchase.Items,
		input:  OrderInput{Sandbox: r.Body.Sandbox, CustomParameters: r.Body.CustomParameters},
	}
	if r.Body.User.Country != nil {
		request.input.Country = r.Body.User.Country.Value
	}
	if settings := r.Body.Settings; settings != nil {
		request.input.Currency, request.input.Locale = settings.Currency, settings.Language
		request.input.Settings = &OrderSettings{ExternalID: settings.ExternalID, ReturnURL: settings.ReturnURL}
	}
	made, replayed, err := h.makeOrderFor(ctx, userID, ofUser(callOf(ctx).idempotency, userID), request)
	return CreatePaymentToken201JSONResponse{Body: made, Headers: CreatePaymentToken201ResponseHeaders{IdempotencyReplayed: replayed}}, err
}

var errNoOrder = checkout.Refuse(checkout.OrderNotFound, "there is no such order")

// ownOrder reads an order that the caller may see; others are as if absent.
func (h *handlers) ownOrder(ctx context.Context, orderID int64) (postgres.CheckoutOrder, error) {
	caller := callOf(ctx).caller
	order, err := h.db.GetCheckout(ctx, caller.project.ProjectID, orderID)
	hidden := (caller.as != asServer && order.UserID != caller.userID) || (caller.as == asOrder && caller.orderID != orderID)
	if errors.Is(err, postgres.ErrNotFound) || (err == nil && hidden) {
		return postgres.CheckoutOrder{}, errNoOrder
	}
	return order, err
}

// GetCheckoutOrder reads an order (seed 002, "Get order"), at once or when it is final.
func (h *handlers) GetCheckoutOrder(ctx context.Context, r GetCheckoutOrderRequestObject) (GetCheckoutOrderResponseObject, error) {
	order, err := h.ownOrder(ctx, r.OrderID)
	if err != nil {
		return nil, err
	}
	answer := GetCheckoutOrder200JSONResponse{Body: shownOrder(order, h.now())}
	wait, asked := preferredWait(r.Params.Prefer)
	if !asked || answer.Body.Status.Terminal() || !callOf(ctx).moveTo(h.waiting) {
		return answer, nil
	}
	answer.Headers.PreferenceApplied = new(fmt.Sprintf("wait=%d", wait/time.Second))
	answer.Body, err = h.awaitCheckout(ctx, r.OrderID, wait)
	return answer, err
}

// awaitCheckout holds until the order is final, the wait is over, the client leaves or the server stops, and
// tells how it is then.
func (h *handlers) awaitCheckout(ctx context.Context, orderID int64, wait time.Duration) (ShownOrder, error) {
	call := callOf(ctx)
	call.hold(wait + h.timeout)
	waiting, cancel := context.WithTimeout(postgres.WithPoolWait(call.client, wait), wait)
	defer cancel()
	changed, stop := h.watcher.watch(contract.CheckoutWorkflowID(orderID))
	defer stop()
	for {
		reading, cancel := context.WithTimeout(call.client, h.timeout)
		order, err := h.db.GetCheckout(reading, call.caller.project.ProjectID, orderID)
		cancel()
		shown := shownOrder(order, h.now())
		if err != nil || shown.Status.Terminal() {
			return shown, err
		}
		select {
		case <-changed:
		case <-waiting.Done():
			return shown, nil
		case <-h.stopping:
			return shown, nil
		}
	}
}

// CancelCheckoutOrder ends an order that is not paid.
func (h *handlers) CancelCheckoutOrder(ctx context.Context, r CancelCheckoutOrderRequestObject) (CancelCheckoutOrderResponseObject, error) {
	order, err := h.ownOrder(ctx, r.OrderID)
	if err != nil {
		return nil, err
	}
	change, err := h.db.CancelCheckout(ctx, order.ProjectID, order.UserID, r.OrderID, h.now())
	if err != nil {
		return nil, err
	}
	if change.OrderID != 0 {
		h.checkoutChanged(change)
	}
	order, err = h.ownOrder(ctx, r.OrderID)
	return CancelCheckoutOrder200JSONResponse{Body: shownOrder(order, h.now())}, err
}

// checkoutChanged has the order's workflow told, and those who wait for the order.
func (h *handlers) checkoutChanged(change postgres.CheckoutChange) {
	h.starter.OfferCheckout(change)
	h.starter.OfferWebhooks()
	h.watcher.Changed(contract.CheckoutWorkflowID(change.OrderID))
}

// SearchCheckoutOrders lists orders for the project's server.
func (h *handlers) SearchCheckoutOrders(ctx context.Context, r SearchCheckoutOrdersRequestObject) (SearchCheckoutOrdersResponseObject, error) {
	in := value(r.Body)
	limit, offset := or(in.Limit, 10), value(in.Offset)
	orders, total, err := h.db.SearchCheckouts(ctx, r.ProjectID, postgres.CheckoutSearch{
		From:   in.CreatedDateFrom,
		Until:  in.CreatedDateUntil,
		Limit:  limit,
		Offset: offset,
	})
	if err != nil {
		return nil, err
	}
	items, err := h.items.get(ctx, r.ProjectID)
	if err != nil {
		return nil, err
	}
	now := h.now()
	found := each(orders, func(o postgres.CheckoutOrder) FoundOrder { return foundOrder(o, items.rules, now) })
	return SearchCheckoutOrders200JSONResponse{Orders: found, TotalItemsCount: total, HasMore: int64(offset+len(orders)) < total}, nil
}

// foundOrder tells an order with the ids that its items have in the catalog.
func foundOrder(o postgres.CheckoutOrder, items *catalog.Catalog, now time.Time) FoundOrder {
	shown := shownOrder(o, now)
	found := FoundOrder{
		OrderID:     o.OrderID,
		ProjectID:   o.ProjectID,
		Status:      shown.Status,
		DateCreated: o.CreatedAt.UTC(),
		Mode:        FoundOrderMode(checkout.ModeOf(o.Sandbox)),
		IsFree:      shown.Content.IsFree,
		Items:       []FoundOrderItem{},
		Promotions:  []map[string]any{},
		Coupons:     []map[string]any{},
	}
	found.User.ID, found.User.Country = o.UserID, optional.Text(o.Country)
	switch {
	case o.Virtual != nil:
		v := shown.Content.VirtualPrice
		found.Price = &FoundOrderPrice{
			Amount:                v.Amount,
			AmountWithoutDiscount: v.AmountWithoutDiscount,
			Currency:              v.Currency,
			IsVirtualCurrency:     true,
		}
	case o.Price != nil:
		found.Price = &FoundOrderPrice{
			Amount:                o.Price.Amount.String(),
			AmountWithoutDiscount: o.Price.WithoutDiscount.String(),
			Currency:              o.Price.Currency,
		}
	}
	for _, line := range o.Lines {
		item := FoundOrderItem{
			OrderItemID: line.LineID,
			Sku:         line.SKU,
			Type:        string(line.Type),
			Quantity:    line.Quantity,
			IsFree:      line.IsFree,
			IsBonus:     line.IsBonus,
			Price:       line.Price,
		}
		if listed, ok := items.Item(line.SKU); ok {
			item.ItemID = &listed.ItemID
		}
		item.Description.Name, item.Description.Description, item.Description.ImageURL = line.Name, line.Description, optional.Text(line.ImageURL)
		found.Items = append(found.Items, item)
	}
	return found
}

// StreamCheckoutOrder follows an order as server-sent events until it is final.
func (h *handlers) StreamCheckoutOrder(ctx context.Context, r StreamCheckoutOrderRequestObject) (StreamCheckoutOrderResponseObject, error) {
	order, err := h.ownOrder(ctx, r.OrderID)
	if err != nil {
		return nil, err
	}
	if !callOf(ctx).moveTo(h.waiting) {
		return nil, errOverloaded("too many streams are open")
	}
	return &checkoutStream{handlers: h, call: callOf(ctx), order: order}, nil
}
