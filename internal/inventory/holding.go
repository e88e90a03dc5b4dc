// Package inventory holds the rules of what users own (seeds 002 and 004): what the lines of an order give,
// and what a user's holding of one SKU is after a grant, a consumption, a set, a revocation or a refund. It
// does no I/O and has no clock.
//
// Consumables, currencies and game keys are counted. A non-consumable is owned once. A subscription is owned
// once too, and a grant of n extends it by n periods; a revocation takes it wholly (package subscriptions has
// the arithmetic). It stays owned when it has run out. Bundles are never owned: Unfold them first.
package inventory

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

// MaxQuantity bounds every quantity and balance, so that a sum of two stays far from overflowing an int64.
const MaxQuantity int64 = 1_000_000_000_000

// MaxOperations of one call. More are refused as a whole.
const MaxOperations = 50

// Kind says how an item is owned.
type Kind string

const (
	Consumable              Kind = "consumable"
	NonConsumable           Kind = "non_consumable"
	NonRenewingSubscription Kind = "non_renewing_subscription"
	VirtualCurrency         Kind = "virtual_currency"
	Bundle                  Kind = "bundle" // also a package of currency
	GameKey                 Kind = "game_key"
)

// Action is what an operation does to a holding.
type Action string

const (
	ActionGrant   Action = "grant" // by an order, or by the server as a reward or purchase
	ActionConsume Action = "consume"
	ActionSet     Action = "set"    // replaces the quantity
	ActionRevoke  Action = "revoke" // by the server
	ActionRefund  Action = "refund" // takes back what is left of a grant
)

// actions that each kind allows. A subscription is managed by the server, and what a set would make of its
// time nobody has said; a game key is a code of its own, which the stock of keys knows.
var actions = map[Kind][]Action{
	Consumable:              {ActionGrant, ActionConsume, ActionSet, ActionRevoke, ActionRefund},
	VirtualCurrency:         {ActionGrant, ActionConsume, ActionSet, ActionRevoke, ActionRefund},
	NonConsumable:           {ActionGrant, ActionSet, ActionRevoke, ActionRefund},
	NonRenewingSubscription: {ActionGrant, ActionRevoke, ActionRefund},
	GameKey:                 {ActionGrant, ActionRevoke, ActionRefund},
}

func (k Kind) valid() bool { return k == Bundle || actions[k] != nil }

// most pieces that a user can own.
func (k Kind) most() int64 {
	if k == NonConsumable || k == NonRenewingSubscription {
		return 1
	}
	return MaxQuantity
}

// Holding is what a user owns of one SKU.
type Holding struct {
	SKU          string
	Kind         Kind
	Quantity     int64                      // 0: not owned
	GrantID      string                     // of an owned non-consumable: the operation that gave it
	Subscription subscriptions.Subscription // of a subscription
}

// Operation changes a holding, once: ID is its key.
type Operation struct {
	ID       string // of a grant: Grant.ID
	Action   Action
	Quantity int64 // from 1, of a set from 0; of a granted subscription: periods
	At       time.Time

	Period subscriptions.Period // of a granted subscription
	Zone   *time.Location       // of a granted subscription

	GrantID   string                  // of a refund: the grant that is taken back
	Extension subscriptions.Extension // of a refunded subscription: what that grant added
}

// Entry records what an operation did. The deltas of a holding's entries sum to its quantity.
type Entry struct {
	OperationID string
	Action      Action
	Delta       int64
	Balance     int64 // after the operation
	At          time.Time
	// Subscription is what to add to the subscription's ledger. Nil for other kinds, and for a refund that
	// was made before.
	Subscription *subscriptions.Entry
}

// CheckBatch refuses a call of no or too many operations before anything is done: none is cut off.
func CheckBatch(operations int) *Refusal {
	switch {
	case operations < 1:
		return Refuse(BatchEmpty, "at least one operation is needed")
	case operations > MaxOperations:
		return Refuse(BatchTooLarge, fmt.Sprintf("at most %d operations are done in one call, these are %d; nothing was done", MaxOperations, operations))
	default:
		return nil
	}
}

// Apply does an operation. A refused one changes nothing.
//
// A refund takes no more than what is there, and is not refused for want of it: the money goes back all the
// same. Of a non-consumable it takes only what its own grant gave.
func Apply(h Holding, op Operation) (Holding, Entry, *Refusal) {
	least := int64(1)
	if op.Action == ActionSet {
		least = 0
	}
	var after Holding
	var ledger *subscriptions.Entry
	var refusal *Refusal
	switch {
	case !slices.Contains(actions[h.Kind], op.Action):
		refusal = Refuse(NotAllowed, fmt.Sprintf("%s is not possible with an item of type %s", op.Action, h.Kind))
	case op.Quantity < least || op.Quantity > MaxQuantity:
		refusal = Refuse(QuantityOutOfRange, fmt.Sprintf("the quantity is from %d to %d", least, MaxQuantity))
	case h.Kind == NonRenewingSubscription:
		after, ledger, refusal = h.applySubscription(op)
	default:
		after, refusal = h.applyCount(op)
	}
	if refusal != nil {
		return h, Entry{}, refusal
	}
	return after, Entry{
		OperationID:  op.ID,
		Action:       op.Action,
		Delta:        after.Quantity - h.Quantity,
		Balance:      after.Quantity,
		At:           op.At,
		Subscription: ledger,
	}, nil
}

func (h Holding) applyCount(op Operation) (Holding, *Refusal) {
	most := h.Kind.most()
	switch op.Action {
	case ActionGrant:
		switch {
		case op.Quantity <= most-h.Quantity:
			return h.count(h.Quantity+op.Quantity, op.ID), nil
		case h.Kind == NonConsumable:
			return h, Refuse(AlreadyOwned, "the item can be owned once only")
		default:
			return h, Refuse(BalanceTooLarge, fmt.Sprintf("at most %d can be owned, %d are", most, h.Quantity))
		}
	case ActionSet:
		if op.Quantity > most {
			return h, Refuse(QuantityOutOfRange, fmt.Sprintf("at most %d can be owned", most))
		}
		return h.count(op.Quantity, op.ID), nil
	case ActionRefund:
		if h.Kind == NonConsumable && h.GrantID != op.GrantID {
			return h, nil
		}
		return h.count(h.Quantity-min(h.Quantity, op.Quantity), op.ID), nil
	default: // consume, revoke
		if op.Quantity > h.Quantity {
			return h, h.notEnough(op)
		}
		return h.count(h.Quantity-op.Quantity, op.ID), nil
	}
}

// count sets the quantity; by is the operation that does so.
func (h Holding) count(quantity int64, by string) Holding {
	switch {
	case h.Kind != NonConsumable:
	case quantity == 0:
		h.GrantID = ""
	case h.Quantity == 0:
		h.GrantID = by
	}
	h.Quantity = quantity
	return h
}

func (h Holding) notEnough(op Operation) *Refusal {
	message := fmt.Sprintf("%d are asked for, %d are owned", op.Quantity, h.Quantity)
	if h.Kind == VirtualCurrency && op.Action == ActionConsume {
		return Refuse(NotEnoughCurrency, message)
	}
	return Refuse(NotOwned, message)
}

func (h Holding) applySubscription(op Operation) (Holding, *subscriptions.Entry, *Refusal) {
	switch op.Action {
	case ActionGrant:
		subscription, extension, err := h.Subscription.Extend(op.ID, op.Period, op.Quantity, op.At, op.Zone)
		switch {
		case errors.Is(err, subscriptions.ErrTooLong):
			return h, nil, Refuse(PeriodTooLong, err.Error())
		case err != nil:
			return h, nil, Refuse(InvalidPeriod, err.Error())
		}
		h.Subscription, h.Quantity = subscription, 1
		return h, &subscriptions.Entry{Extended: &extension}, nil
	case ActionRefund:
		subscription, refund := h.Subscription.Refund(op.Extension, op.At)
		if refund == nil {
			return h, nil, nil
		}
		h.Subscription = subscription
		return h, &subscriptions.Entry{Refunded: refund}, nil
	default: // revoke
		subscription, revocation := h.Subscription.Revoke(op.At)
		if revocation == nil || op.Quantity > h.Quantity {
			return h, nil, h.notEnough(op)
		}
		h.Subscription, h.Quantity = subscription, 0
		return h, &subscriptions.Entry{Revoked: revocation}, nil
	}
}
