package activities

import (
	"context"
	"time"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/postgres"
)

// Checkout holds the steps of an order of a cart or an item.
type Checkout struct {
	DB           *postgres.DB
	Product      *mainproduct.Client
	OrderChanged func(workflowID string) // called after the commit, with contract.CheckoutWorkflowID
}

// SettleCheckout delivers the order if it is paid, ends it if its time is up, and says what is left to do.
func (a *Checkout) SettleCheckout(ctx context.Context, in contract.CheckoutInput) (contract.SettledCheckout, error) {
	settled, err := a.DB.SettleCheckout(ctx, in.OrderID, time.Now())
	if err == nil && settled.Until == nil {
		a.OrderChanged(contract.CheckoutWorkflowID(in.OrderID))
	}
	return settled, classify(err)
}
