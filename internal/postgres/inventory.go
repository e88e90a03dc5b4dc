package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
)

// Where a change of the inventory comes from.
const (
	SourceOrder    = "order"
	SourceReward   = "reward"
	SourcePurchase = "purchase" // that the server tells of
	SourceServer   = "server"
	SourceUser     = "user"
)

// Giving gives grants to one user, each once.
type Giving struct {
	ProjectID int32
	UserID    string
	// Reference is what they belong to, such as order/41: the same on every attempt. With a grant's id it is
	// the key of that grant, and the id of the extension of a subscription.
	Reference string
	Grants    []inventory.Grant
	Snapshots map[string]catalog.Item // by SKU, of as many as are known
	Source    string
	Comment   string
	Zone      *time.Location
	OrderID   int64     // whose reserved game keys are given first; 0: no order
	Spend     *Spending // what is paid for it in the same moment; nil: nothing
}

// Spending takes so much of a virtual currency that the user owns.
type Spending struct {
	SKU    string
	Amount int64
}

// giveGrants gives in the transaction of q; what was given before is skipped. It locks the rows that it
// changes, of the inventory and then of the subscriptions, each in the order of the SKUs. It fails with
// *RefusedChangeError, which wraps an *inventory.Refusal: the user has not enough to spend, owns a
// non-consumable already, or there are not enough keys; everything is to be taken back then.
func giveGrants(ctx context.Context, q *sqlc.Queries, g Giving, now time.Time) error {
	changes, err := g.changes()
	if err != nil {
		return err
	}
	_, err = changeInventory(ctx, q, g.ProjectID, changes, now)
	return err
}

func (g Giving) changes() ([]inventoryChange, error) {
	var changes []inventoryChange
	if g.Spend != nil {
		changes = append(changes, inventoryChange{userID: g.UserID, sku: g.Spend.SKU, source: g.Source, comment: g.Comment,
			op: inventory.Operation{ID: spendReference(g.Reference), Action: inventory.ActionConsume, Quantity: g.Spend.Amount}})
	}
	for _, grant := range g.Grants {
		change, err := g.change(grant)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}

func (g Giving) change(grant inventory.Grant) (inventoryChange, error) {
	change := inventoryChange{
		userID:  g.UserID,
		sku:     grant.SKU,
		kind:    grant.Kind,
		orderID: keysOrder(g.OrderID),
		source:  g.Source,
		comment: g.Comment,
		op: inventory.Operation{
			ID:       grantReference(g.Reference, grant),
			Action:   inventory.ActionGrant,
			Quantity: grant.Quantity,
			Period:   grant.Period,
			Zone:     g.Zone,
		},
	}
	var err error
	if item, known := g.Snapshots[grant.SKU]; known {
		change.snapshot, err = json.Marshal(item)
	} else {
		change.minimal, err = json.Marshal(map[string]string{"sku": grant.SKU})
	}
	if err != nil {
		return change, fmt.Errorf("snapshot of %s: %w", grant.SKU, err)
	}
	return change, nil
}

func keysOrder(orderID int64) *int64 {
	if orderID == 0 {
		return nil
	}
	return &orderID
}

func grantReference(reference string, grant inventory.Grant) string {
	return reference + "/" + grant.ID
}

func spendReference(reference string) string { return reference + "/spent" }

// TakingBack takes back what a Giving gave, for one refund.
type TakingBack struct {
	ProjectID int32
	UserID    string
	Reference string // of the Giving
	RefundID  string // the same on every attempt; two refunds of one line are two
	// Grants are those of the refunded lines, with as much of each as is refunded. Of a subscription all
	// periods of a grant go back together.
	Grants  []inventory.Grant
	Source  string
	Comment string
	OrderID int64
	Return  *Spending // what the user gets back of a virtual currency; nil: nothing
}

// takeBack takes in the transaction of q, each grant once for a refund, with the locks of giveGrants. What
// was never given is not taken, and no more than is left. It fails with *RefusedChangeError when a part of a
// subscription's grant is to be taken.
func takeBack(ctx context.Context, q *sqlc.Queries, t TakingBack, now time.Time) error {
	var changes []inventoryChange
	if t.Return != nil {
		minimal, err := json.Marshal(map[string]string{"sku": t.Return.SKU})
		if err != nil {
			return err
		}
		changes = append(changes, inventoryChange{
			userID:  t.UserID,
			sku:     t.Return.SKU,
			kind:    inventory.VirtualCurrency,
			minimal: minimal,
			source:  t.Source,
			comment: t.Comment,
			op: inventory.Operation{
				ID:       spendReference(t.Reference) + "/" + t.RefundID,
				Action:   inventory.ActionGrant,
				Quantity: t.Return.Amount,
			},
		})
	}
	for _, grant := range t.Grants {
		given := grantReference(t.Reference, grant)
		changes = append(changes, inventoryChange{
			userID:  t.UserID,
			sku:     grant.SKU,
			orderID: keysOrder(t.OrderID),
			source:  t.Source,
			comment: t.Comment,
			op: inventory.Operation{
				ID:       given + "/" + t.RefundID,
				Action:   inventory.ActionRefund,
				Quantity: grant.Quantity,
				GrantID:  given,
			},
		})
	}
	_, err := changeInventory(ctx, q, t.ProjectID, changes, now)
	return err
}
