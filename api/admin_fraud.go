package api

import (
	"context"
	"net/netip"

	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

// AdminListDeniedAddresses lists from where nobody may buy (seed 000, "IP address and device verification").
func (h *handlers) AdminListDeniedAddresses(ctx context.Context, r AdminListDeniedAddressesRequestObject) (AdminListDeniedAddressesResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	var after *netip.Prefix
	if r.Params.Cursor != nil {
		prefix, err := addressRange("cursor", *r.Params.Cursor)
		if err != nil {
			return nil, err
		}
		after = &prefix
	}
	addresses, err := h.db.DeniedAddresses(ctx, callOf(ctx).key.ProjectID, after, limit+1)
	items, next := page(addresses, limit, func(d postgres.DeniedAddress) string { return d.Address.String() })
	return AdminListDeniedAddresses200JSONResponse{Items: each(items, deniedBody), NextCursor: next}, err
}

// AdminDenyAddress denies an address or a range.
func (h *handlers) AdminDenyAddress(ctx context.Context, r AdminDenyAddressRequestObject) (AdminDenyAddressResponseObject, error) {
	prefix, err := addressRange("address", r.Body.Address)
	if err != nil {
		return nil, err
	}
	key := callOf(ctx).key
	denied, created, err := h.db.DenyAddress(ctx, key.ProjectID, prefix, key.KeyID, r.Body.Reason, h.now())
	if created {
		return AdminDenyAddress201JSONResponse(deniedBody(denied)), err
	}
	return AdminDenyAddress200JSONResponse(deniedBody(denied)), err
}

// AdminAllowAddress takes a range off the list.
func (h *handlers) AdminAllowAddress(ctx context.Context, r AdminAllowAddressRequestObject) (AdminAllowAddressResponseObject, error) {
	prefix, err := addressRange("address", r.Params.Address)
	if err != nil {
		return nil, err
	}
	if err := checkText(r.Params.Reason); err != nil {
		return nil, invalid("reason", err.Error())
	}
	key := callOf(ctx).key
	err = h.db.AllowAddress(ctx, key.ProjectID, prefix, key.KeyID, r.Params.Reason, h.now())
	return AdminAllowAddress204Response{}, orElse(err, fail(ProblemCodeAddressNotDenied, "this very range is not on the list; GET /api/v1/admin/denied-addresses shows what is"))
}

func addressRange(field, text string) (netip.Prefix, error) {
	prefix, err := store.ParseDeniedAddresses(text)
	if err != nil {
		return prefix, invalid(field, err.Error())
	}
	return prefix, nil
}

func deniedBody(d postgres.DeniedAddress) DeniedAddress {
	return DeniedAddress{Address: d.Address.String(), Reason: d.Reason, Actor: d.Actor, CreatedAt: d.CreatedAt.UTC()}
}

// AdminGetDevice lists who has bought from a device.
func (h *handlers) AdminGetDevice(ctx context.Context, r AdminGetDeviceRequestObject) (AdminGetDeviceResponseObject, error) {
	if err := checkText(r.ID); err != nil {
		return nil, invalid("id", err.Error())
	}
	limit := limitOf(r.Params.Limit)
	users, err := h.db.DeviceUsers(ctx, callOf(ctx).key.ProjectID, r.ID, value(r.Params.Cursor), limit+1)
	items, next := page(users, limit, func(u postgres.DeviceUser) string { return u.UserID })
	return AdminGetDevice200JSONResponse{DeviceID: r.ID, Items: each(items, deviceUserBody), NextCursor: next}, err
}

func deviceUserBody(u postgres.DeviceUser) DeviceUser {
	status := Active
	if u.Blocked {
		status = Blocked
	}
	return DeviceUser{UserID: u.UserID, FirstSeen: u.FirstSeen.UTC(), Status: status, Suspicious: u.Suspicious}
}
