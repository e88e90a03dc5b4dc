package postgres

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// DeniedAddress is an address, or a range, from which nobody may buy.
type DeniedAddress struct {
	Address   netip.Prefix
	Reason    string
	Actor     string
	CreatedAt time.Time
}

// DenyAddress adds a range to the list, or gives it a new reason; created tells which.
func (db *DB) DenyAddress(ctx context.Context, projectID int32, address netip.Prefix, actor, reason string, now time.Time) (denied DeniedAddress, created bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.PutDeniedAddress(ctx, sqlc.PutDeniedAddressParams{
			ProjectID: projectID,
			Address:   address,
			Reason:    reason,
			Actor:     actor,
			Now:       now,
		})
		if err != nil {
			return fmt.Errorf("deny address: %w", err)
		}
		denied, created = DeniedAddress{Address: row.Address, Reason: row.Reason, Actor: row.Actor, CreatedAt: row.CreatedAt}, row.Created
		return audit(ctx, q, projectID, actor, "address.deny", address.String(), map[string]string{"reason": reason}, now)
	})
	return denied, created, err
}

// AllowAddress takes a range off the list; ErrNotFound when it is not on it.
func (db *DB) AllowAddress(ctx context.Context, projectID int32, address netip.Prefix, actor, reason string, now time.Time) error {
	return db.inTx(ctx, func(q *sqlc.Queries) error {
		rows, err := q.DeleteDeniedAddress(ctx, sqlc.DeleteDeniedAddressParams{ProjectID: projectID, Address: address})
		if err != nil {
			return fmt.Errorf("allow address: %w", err)
		}
		if rows == 0 {
			return ErrNotFound
		}
		return audit(ctx, q, projectID, actor, "address.allow", address.String(), map[string]string{"reason": reason}, now)
	})
}

// DeniedAddresses lists the ranges in their order, after the given one (nil: from the first).
func (db *DB) DeniedAddresses(ctx context.Context, projectID int32, after *netip.Prefix, limit int) ([]DeniedAddress, error) {
	rows, err := db.q.ListDeniedAddresses(ctx, sqlc.ListDeniedAddressesParams{
		ProjectID:    projectID,
		After:        after,
		MaxAddresses: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list denied addresses: %w", err)
	}
	addresses := make([]DeniedAddress, len(rows))
	for i, row := range rows {
		addresses[i] = DeniedAddress{Address: row.Address, Reason: row.Reason, Actor: row.Actor, CreatedAt: row.CreatedAt}
	}
	return addresses, nil
}

// DeviceUser is a user who has bought from a device.
type DeviceUser struct {
	UserID     string
	FirstSeen  time.Time
	Blocked    bool
	Suspicious bool
}

// DeviceUsers lists who has bought from a device, in the order of the user ids, after the given one.
func (db *DB) DeviceUsers(ctx context.Context, projectID int32, deviceID, after string, limit int) ([]DeviceUser, error) {
	rows, err := db.q.ListDeviceUsers(ctx, sqlc.ListDeviceUsersParams{
		ProjectID: projectID,
		DeviceID:  deviceID,
		After:     after,
		MaxUsers:  int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list users of device: %w", err)
	}
	users := make([]DeviceUser, len(rows))
	for i, row := range rows {
		users[i] = DeviceUser{UserID: row.UserID, FirstSeen: row.FirstSeen, Blocked: row.Status == "blocked", Suspicious: row.Suspicious}
	}
	return users, nil
}

// SetSuspicious flags an account, or takes the flag away, with who and why. ErrNotFound when there is none.
func (db *DB) SetSuspicious(ctx context.Context, projectID int32, userID string, suspicious bool, actor, reason string, now time.Time) (user User, err error) {
	action := "user.unflag"
	if suspicious {
		action = "user.flag"
	}
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.SetUserSuspicious(ctx, sqlc.SetUserSuspiciousParams{UserID: userID, Suspicious: suspicious, Now: now})
		if err != nil {
			return notFound(err)
		}
		user = userOf(row)
		return audit(ctx, q, projectID, actor, action, userID, map[string]string{"reason": reason}, now)
	})
	return user, err
}

// riskRule is the actor of what the rule does.
const riskRule = "rule:risk"

// BlockRisky blocks the accounts that the policy's rule says, each in a transaction of its own, and returns whom. It
// may run anywhere and at the same time: an account is blocked once.
func (db *DB) BlockRisky(ctx context.Context, policy store.Policy, now time.Time) (blocked []string, err error) {
	rows, err := db.q.ListRiskyOrders(ctx, now.Add(-store.RiskWindow))
	if err != nil {
		return nil, fmt.Errorf("list risky orders: %w", err)
	}
	for len(rows) > 0 {
		userID, orders, n := rows[0].UserID, []store.RiskyOrder(nil), 0
		for ; n < len(rows) && rows[n].UserID == userID; n++ {
			orders = append(orders, store.RiskyOrder{Score: int(rows[n].Score), At: rows[n].CreatedAt})
		}
		projectID := rows[n-1].ProjectID
		rows = rows[n:]
		reason, block := policy.BlockForRisk(orders, now)
		if !block {
			continue
		}
		done, err := db.blockByRule(ctx, projectID, userID, reason, now)
		if err != nil {
			return blocked, err
		}
		if done {
			blocked = append(blocked, userID)
		}
	}
	return blocked, nil
}

func (db *DB) blockByRule(ctx context.Context, projectID int32, userID, reason string, now time.Time) (done bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		rows, err := q.BlockIfActive(ctx, sqlc.BlockIfActiveParams{UserID: userID, Reason: reason, Now: now})
		if err != nil {
			return fmt.Errorf("block user: %w", err)
		}
		if done = rows == 1; !done {
			return nil
		}
		return audit(ctx, q, projectID, riskRule, "user.block", userID, map[string]string{"reason": reason}, now)
	})
	return done, err
}
