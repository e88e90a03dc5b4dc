package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/payments"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// handlers implement the calls of openapi.yaml.
type handlers struct {
	db              *postgres.DB
	starter         Starter
	watcher         *Watcher
	shop            *shopCache
	catalogs        *byRevision[taskCatalog]
	items           *byRevision[itemCatalog]
	checks          *postgres.Entitlements
	projects        *projects
	privateWebhooks bool // endpoints and issuers may be on this machine and in private networks
	callerOf        func(ctx context.Context, project postgres.Project, authorization string) (caller, error)
	sandbox         payments.Provider
	notifications   *payments.Notifications // of payments; nil when none are taken
	events          EventIntake
	shadows         *gate // one at a time: each reads and counts many events, and holds two connections
	perUser         *limiter
	waiting         *gate
	policy          store.Policy
	stopping        <-chan struct{}
	timeout         time.Duration
	now             func() time.Time
}

// longestWait bounds what Prefer: wait may ask for.
const longestWait = 60 * time.Second

// CreatePurchase reserves at once and answers; the delivery goes on (seed 000, "Purchase Processing Flow").
func (h *handlers) CreatePurchase(ctx context.Context, r CreatePurchaseRequestObject) (CreatePurchaseResponseObject, error) {
	if err := h.accepting(); err != nil {
		return nil, err
	}
	purchase, err := purchaseOf(callOf(ctx), *r.Body)
	if err != nil {
		return nil, err
	}
	if err := h.perUser.check(ctx, purchase.UserID, callOf(ctx).header); err != nil {
		return nil, err
	}
	purchase.Policy = h.policy
	reserved, err := h.db.ReservePurchase(ctx, purchase, h.now())
	if err != nil {
		return nil, err
	}
	if !reserved.Replayed {
		h.starter.Offer(contract.PurchaseInput{ProjectID: purchase.ProjectID, OrderID: reserved.OrderID, UserID: purchase.UserID,
			SKU: purchase.SKU, Quantity: purchase.Quantity, Attempt: 1})
	}
	headers := CreatePurchase202ResponseHeaders{Location: new(orderPath(reserved.OrderID)), IdempotencyReplayed: flag(reserved.Replayed)}
	// With no room to wait the preference is not applied; the order is accepted all the same.
	if wait, ok := preferredWait(r.Params.Prefer); ok && callOf(ctx).moveTo(h.waiting) {
		headers.PreferenceApplied = new(fmt.Sprintf("wait=%d", wait/time.Second))
		order, final, err := h.await(ctx, purchase.ProjectID, reserved.OrderID, wait)
		if err != nil {
			return nil, err
		}
		if final {
			return CreatePurchase200JSONResponse{Body: orderBody(order), Headers: CreatePurchase200ResponseHeaders{
				IdempotencyReplayed: headers.IdempotencyReplayed, PreferenceApplied: headers.PreferenceApplied}}, nil
		}
	}
	return CreatePurchase202JSONResponse{Body: acceptedBody(reserved), Headers: headers}, nil
}

func acceptedBody(reserved postgres.Reserved) Accepted {
	if reserved.ConfirmBy != nil {
		return Accepted{OrderID: reserved.OrderID, Status: AcceptedStatusAwaitingConfirmation, ConfirmBy: utc(reserved.ConfirmBy)}
	}
	return Accepted{OrderID: reserved.OrderID, Status: AcceptedStatusProcessing}
}

// accepting refuses new work while too much waits to be started, as when Temporal is away.
func (h *handlers) accepting() error {
	if retryAfter, ok := h.starter.Accepting(); !ok {
		return &failure{
			code:       ProblemCodeOverloaded,
			detail:     "too many purchases wait to be started; nothing was reserved, try again later",
			retryAfter: max(retryAfter, time.Second),
		}
	}
	return nil
}

func purchaseOf(call *call, in PurchaseInput) (postgres.Purchase, error) {
	purchase := postgres.Purchase{
		ProjectID:   call.key.ProjectID,
		OrderID:     "qp_" + xid.New().String(),
		UserID:      in.UserID,
		SKU:         in.Sku,
		Quantity:    1,
		Idempotency: call.idempotency,
	}
	if in.Quantity != nil {
		purchase.Quantity = *in.Quantity
	}
	if in.Client == nil {
		return purchase, nil
	}
	if in.Client.IP != nil {
		address, err := netip.ParseAddr(*in.Client.IP)
		if err != nil || address.Zone() != "" {
			return purchase, invalid("client.ip", "must be an IPv4 or IPv6 address")
		}
		purchase.Address = address.Unmap()
		in.Client.IP = new(purchase.Address.String())
	}
	purchase.DeviceID = value(in.Client.DeviceID)
	var err error
	purchase.Client, err = json.Marshal(in.Client)
	return purchase, err
}

// preferredWait reads `Prefer: wait=N` (RFC 7240); what it can't read it ignores, as the RFC asks.
func preferredWait(prefer *string) (time.Duration, bool) {
	if prefer == nil {
		return 0, false
	}
	for preference := range strings.SplitSeq(*prefer, ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0, false
		}
		return min(time.Duration(seconds)*time.Second, longestWait), true
	}
	return 0, false
}

// await holds until the order is final, the wait is over, the client leaves or the server stops.
func (h *handlers) await(ctx context.Context, projectID int32, orderID string, wait time.Duration) (store.Order, bool, error) {
	call := callOf(ctx)
	call.hold(wait + h.timeout)
	// The purchase is accepted whatever happens here; also a busy database only makes the wait vain.
	ctx, cancel := context.WithTimeout(postgres.WithPoolWait(call.client, wait), wait)
	defer cancel()
	changed, stop := h.watcher.watch(orderID)
	defer stop()
	for {
		order, err := h.db.GetOrder(ctx, projectID, orderID)
		switch {
		case ctx.Err() != nil:
			return store.Order{}, false, nil
		case err != nil:
			return store.Order{}, false, err
		case order.Status.Final():
			return order, true, nil
		case order.Status == store.AwaitingConfirmation: // for the buyer, who wants the answer first
			return order, false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return store.Order{}, false, nil
		case <-h.stopping:
			return store.Order{}, false, nil
		}
	}
}

// flag is a header that is there only when something is so.
func flag(is bool) *string {
	if !is {
		return nil
	}
	return new("true")
}

// ConfirmOrder is the second verification (seed 000, "Double verification for large transactions"). The database
// decides; the workflow is told after that.
func (h *handlers) ConfirmOrder(ctx context.Context, r ConfirmOrderRequestObject) (ConfirmOrderResponseObject, error) {
	projectID := callOf(ctx).key.ProjectID
	err := h.db.ConfirmOrder(ctx, projectID, r.ID, h.now())
	conflict := errors.Is(err, postgres.ErrConflict)
	if err != nil && !conflict {
		return nil, err
	}
	order, err := h.order(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if conflict && order.Status != store.Processing {
		return nil, fail(ProblemCodeNotAwaitingConfirmation, "the order is "+string(order.Status)+"; only an order that awaits confirmation can be confirmed, and only in time")
	}
	h.starter.Confirmed(contract.PurchaseInput{ProjectID: projectID, OrderID: order.OrderID, UserID: order.UserID, SKU: order.SKU,
		Quantity: order.Quantity, Attempt: order.Attempt})
	return ConfirmOrder202JSONResponse{Body: Accepted{OrderID: order.OrderID, Status: AcceptedStatusProcessing},
		Headers: ConfirmOrder202ResponseHeaders{Location: new(orderPath(order.OrderID))}}, nil
}
