package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// ShopPlace is where a product stands in the shop: by group, then position, then SKU.
type ShopPlace struct {
	Group    string
	Position int32
	SKU      string
}

// ShopStart is before every product.
var ShopStart = ShopPlace{Position: -1}

// ListShopProducts lists what a shopper sees, in the order of the shop and after the place given: no drafts and
// nothing that hides when sold out. group narrows it to one group; nil is all.
func (db *DB) ListShopProducts(ctx context.Context, projectID int32, group *string, after ShopPlace, limit int) ([]store.Offer, error) {
	rows, err := db.q.ListShopProducts(ctx, sqlc.ListShopProductsParams{ProjectID: projectID, ProductGroup: group,
		AfterGroup: after.Group, AfterPosition: after.Position, AfterSku: after.SKU, MaxProducts: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the shop: %w", err)
	}
	offers := make([]store.Offer, 0, len(rows))
	for _, row := range rows {
		offer, err := offerOf(sqlc.FindOfferRow(row))
		if err != nil {
			return nil, err
		}
		offers = append(offers, offer)
	}
	return offers, nil
}

const (
	catalogChannel = "quickpass_catalog" // migration 00006 notifies it
	listenCheck    = 5 * time.Second     // how long a listener trusts a silent connection
)

// ListenCatalog calls changed after each committed edit of a product or of its stock, by any process, on a connection
// of its own beside the pool. It calls listening once nothing can be missed any more, and returns when ctx ends or the
// connection is lost: what is committed from then on is not heard of.
func (db *DB) ListenCatalog(ctx context.Context, listening, changed func()) error {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("listen to the catalog: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+catalogChannel); err != nil {
		return fmt.Errorf("listen to the catalog: %w", err)
	}
	listening()
	for {
		heard, err := waitOrPing(ctx, conn)
		if err != nil {
			return fmt.Errorf("listen to the catalog: %w", err)
		}
		if heard {
			changed()
		}
	}
}

// waitOrPing waits for a notification; after some silence it makes sure that the connection still stands.
func waitOrPing(ctx context.Context, conn *pgx.Conn) (heard bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	_, err = conn.WaitForNotification(waiting)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil || !pgconn.Timeout(err) {
		return false, err
	}
	pinging, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	return false, conn.Ping(pinging)
}
