package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/inventory"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/webhook"
)

// completeAtOnce writes an order that needs no payment from outside: it is free, or a virtual currency pays
// for it. It is done at once, unless the main product has to give a part of it.
func (d checkoutDraft) completeAtOnce(ctx context.Context, q *sqlc.Queries) (CreatedCheckout, error) {
	now, status := d.view.Now, checkout.Done
	if checkout.OfMainProduct(d.lines) {
		status = checkout.Paid
	}
	params, err := d.params(status)
	if err != nil {
		return CreatedCheckout{}, err
	}
	params.PaidAt, params.GivenAt = &now, &now
	if status == checkout.Done {
		params.FinishedAt, params.Told = &now, 1 // nothing is left for a workflow
	}
	if err := d.payWithCoins(ctx, q); err != nil {
		return CreatedCheckout{}, err
	}
	if err := d.reserve(ctx, q, pieceSold); err != nil {
		return CreatedCheckout{}, err
	}
	owed, err := checkout.Deliveries(d.lines)
	if err != nil {
		return CreatedCheckout{}, err
	}
	params.OpenDeliveries = int32(len(owed))
	if err := q.InsertCheckoutOrder(ctx, params); err != nil {
		return CreatedCheckout{}, fmt.Errorf("write order: %w", err)
	}
	if err := d.writePayment(ctx, q, params.Paid); err != nil {
		return CreatedCheckout{}, err
	}
	if err := d.give(ctx, q); err != nil {
		return CreatedCheckout{}, err
	}
	created := CreatedCheckout{OrderID: d.id, Status: status, PriceChanges: d.priceChanges}
	row := rowOf(params)
	if status == checkout.Done {
		if err := tellOfCheckout(ctx, q, row, "checkout_done", nil, now); err != nil {
			return created, err
		}
		return created, tellByWebhook(ctx, q, row, nil, now, webhook.OrderPaid, webhook.OrderDone)
	}
	created.Change = CheckoutChange{ProjectID: d.ProjectID, OrderID: d.id, UserID: d.UserID, Status: status, Changes: 1}
	if _, err = oweDeliveries(ctx, q, d.ProjectID, d.id, d.lines, now); err != nil {
		return created, err
	}
	return created, tellByWebhook(ctx, q, row, nil, now, webhook.OrderPaid)
}

// rowOf is the row as it was just written, as far as it is told of.
func rowOf(p sqlc.InsertCheckoutOrderParams) sqlc.CheckoutOrder {
	return sqlc.CheckoutOrder{
		OrderID:          p.OrderID,
		ProjectID:        p.ProjectID,
		UserID:           p.UserID,
		Status:           p.Status,
		Mode:             p.Mode,
		Price:            p.Price,
		VirtualPrice:     p.VirtualPrice,
		Lines:            p.Lines,
		Country:          p.Country,
		CustomParameters: p.CustomParameters,
		ExternalID:       p.ExternalID,
		Paid:             p.Paid,
		ExpiresAt:        p.ExpiresAt,
	}
}

// writePayment writes what a virtual currency pays.
func (d checkoutDraft) writePayment(ctx context.Context, q *sqlc.Queries, paid *decimal.Decimal) error {
	v := d.cart.Virtual
	if v == nil {
		return nil
	}
	_, err := q.InsertCheckoutPayment(ctx, sqlc.InsertCheckoutPaymentParams{
		OrderID:    d.id,
		Provider:   WalletProvider,
		ProviderID: checkoutReference(d.id),
		Amount:     *paid,
		Currency:   v.SKU,
		Sandbox:    d.Sandbox,
		Outcome:    string(checkout.Accepted),
		Reason:     string(checkout.PaidInTime),
		Now:        d.view.Now,
	})
	if err != nil {
		return fmt.Errorf("write payment: %w", err)
	}
	return nil
}

// give puts the goods into the inventory.
func (d checkoutDraft) give(ctx context.Context, q *sqlc.Queries) error {
	grants, err := checkout.LocalGrants(d.lines)
	if err != nil {
		return err
	}
	giving := Giving{
		ProjectID: d.ProjectID,
		UserID:    d.UserID,
		Reference: checkoutReference(d.id),
		Grants:    grants,
		Snapshots: d.snapshots(grants),
		Source:    SourceOrder,
		Zone:      d.Zone,
		OrderID:   d.id,
	}
	if v := d.cart.Virtual; v != nil && v.SKU != catalog.CoinsSKU {
		giving.Spend = &Spending{SKU: v.SKU, Amount: v.Amount}
	}
	return spendingRefusal(giveGrants(ctx, q, giving, d.view.Now), giving.Spend)
}

// WalletProvider is what pays in coins or in a virtual currency.
const WalletProvider = "wallet"

// spendingRefusal tells a buyer who has none of a currency the same as one who has not enough of it.
func spendingRefusal(err error, spend *Spending) error {
	var refused *RefusedChangeError
	if errors.As(err, &refused) && spend != nil && refused.SKU == spend.SKU && refused.Operation == 0 {
		return errNotEnoughCurrency
	}
	return err
}

var errNotEnoughCurrency = checkout.Refuse(checkout.NotEnoughCurrency, "there is not enough of the virtual currency")

func (d checkoutDraft) payWithCoins(ctx context.Context, q *sqlc.Queries) error {
	v := d.cart.Virtual
	if v == nil || v.SKU != catalog.CoinsSKU {
		return nil
	}
	moved, err := q.MoveCoinsForCheckout(ctx, sqlc.MoveCoinsForCheckoutParams{
		Amount:    v.Amount,
		UserID:    d.UserID,
		ProjectID: d.ProjectID,
		Reference: checkoutReference(d.id),
		Now:       d.view.Now,
	})
	switch {
	case err != nil:
		return fmt.Errorf("pay with coins: %w", err)
	case moved == 0:
		return errNotEnoughCurrency
	default:
		return nil
	}
}

func (d checkoutDraft) snapshots(grants []inventory.Grant) map[string]catalog.Item {
	items := map[string]catalog.Item{}
	for _, grant := range grants {
		if item, ok := d.Catalog.Item(grant.SKU); ok {
			items[grant.SKU] = item
		}
	}
	return items
}
