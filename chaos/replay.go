package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// replays is what the replay of all unreachable orders came to.
type replays struct {
	asked, completed, creditedBefore, refused, short int
}

// replay tries every order again that was canceled because the main product could not be reached. Nothing fails now, so
// each ends completed with one crediting, also where the product had credited without our knowing; only users whom the
// product does not know are refused.
func replay(ctx context.Context, s *stack, before truth, f *findings) (replays, error) {
	var done replays
	var ids []string
	pieces := map[string]int64{}
	for id, o := range before.orders {
		if o.Status == "canceled" && o.Reason == "main_product_unreachable" {
			ids = append(ids, id)
			pieces[o.SKU] += o.Quantity
		}
	}
	if len(pieces) > 0 { // some have sold out meanwhile
		if err := restock(ctx, s.db, pieces); err != nil {
			return done, err
		}
	}
	client := &http.Client{Timeout: answerTimeout}
	var group errgroup.Group
	var short sync.Map // orders whose users have spent the coins elsewhere
	group.SetLimit(16)
	for n, id := range ids {
		group.Go(func() error {
			url := s.apis[n%len(s.apis)] + "/api/v1/admin/orders/" + id + "/replay"
			status, _, data, err := post(ctx, client, url, s.keys["admin"], "chaos-replay-"+id, map[string]string{"reason": "the main product is back"})
			if err != nil {
				return err
			}
			switch status {
			case http.StatusAccepted:
			case http.StatusPaymentRequired:
				short.Store(id, true)
			default:
				f.add("every unreachable order can be replayed", "order %s: %d %s", id, status, data)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return done, err
	}
	done.asked = len(ids)
	fmt.Printf("  %d orders are replayed\n", len(ids))
	if err := settle(ctx, s, f, time.Minute); err != nil {
		return done, err
	}
	after, err := readTruth(ctx, s, before.intents, before.earned)
	if err != nil {
		return done, err
	}
	after.judge(f)
	for _, id := range ids {
		o, entry, was := after.orders[id], after.books[id], before.books[id]
		if was.Credited > 0 {
			done.creditedBefore++
		}
		_, noCoins := short.Load(id)
		switch {
		case noCoins && o.Status == "canceled":
			done.short++
		case o.completed() && entry.Credited == 1:
			done.completed++
		case o.User[0] == 'g' && o.Reason == "main_product_refused":
			done.refused++
		default:
			f.add("a replayed order is completed with one crediting", "order %s of %s is %s (%s), credited %d times", id, o.User, o.Status, o.Reason, entry.Credited)
		}
	}
	return done, nil
}
