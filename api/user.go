package api

import (
	"context"
	"strconv"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
)

var errUserNotFound = fail(ProblemCodeUserNotFound, "no such user; create it with PUT /api/v1/users/{id} first")

// PutUser creates a user with an empty wallet, or changes one.
func (h *handlers) PutUser(ctx context.Context, r PutUserRequestObject) (PutUserResponseObject, error) {
	var edit postgres.UserEdit
	if r.Body != nil {
		edit = postgres.UserEdit{VIP: r.Body.Vip, Attributes: value(r.Body.Attributes)}
	}
	user, created, err := h.db.PutUser(ctx, callOf(ctx).key.ProjectID, r.ID, edit, h.now())
	if created {
		return PutUser201JSONResponse(userBody(user)), err
	}
	return PutUser200JSONResponse(userBody(user)), err
}

// GetUser reads a user.
func (h *handlers) GetUser(ctx context.Context, r GetUserRequestObject) (GetUserResponseObject, error) {
	user, err := h.user(ctx, r.ID)
	return GetUser200JSONResponse(userBody(user)), err
}

// GetWallet reads a user's coins.
func (h *handlers) GetWallet(ctx context.Context, r GetWalletRequestObject) (GetWalletResponseObject, error) {
	user, err := h.user(ctx, r.ID)
	return GetWallet200JSONResponse(walletBody(user)), err
}

func (h *handlers) user(ctx context.Context, userID string) (postgres.User, error) {
	user, err := h.db.GetUser(ctx, userID)
	return user, orElse(err, errUserNotFound)
}

// ListNotifications reads a user's feed (seed 000, "User Notification"), newest first.
func (h *handlers) ListNotifications(ctx context.Context, r ListNotificationsRequestObject) (ListNotificationsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, err := entryCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	feed, err := h.db.Notifications(ctx, callOf(ctx).key.ProjectID, r.ID, before, limit+1)
	if err == nil && len(feed) == 0 {
		_, err = h.user(ctx, r.ID) // nobody has been told nothing
	}
	items, next := page(feed, limit, func(n postgres.Notification) string { return strconv.FormatInt(n.ID, 10) })
	return ListNotifications200JSONResponse{Items: each(items, notificationBody), NextCursor: next}, err
}

func userBody(u postgres.User) User {
	status := Active
	if u.Blocked {
		status = Blocked
	}
	return User{
		UserID:        u.UserID,
		Status:        status,
		BlockedReason: optional.Text(u.BlockedReason),
		Vip:           u.VIP,
		VipUntil:      utc(u.VIPUntil),
		Attributes:    u.Attributes,
		CreatedAt:     u.CreatedAt.UTC(),
		UpdatedAt:     u.UpdatedAt.UTC(),
	}
}

func walletBody(u postgres.User) Wallet {
	return Wallet{UserID: u.UserID, Available: u.Available, Held: u.Held}
}

func notificationBody(n postgres.Notification) Notification {
	return Notification{ID: n.ID, OrderID: optional.Text(n.OrderID), Kind: n.Kind, Detail: n.Detail, CreatedAt: n.CreatedAt.UTC()}
}
