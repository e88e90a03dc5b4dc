package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// mood is one way of the main product to misbehave, under the name that the report uses.
type mood struct {
	name string
	fake.Behaviour
}

var moods = []mood{
	{"refuses: USER_NOT_FOUND", fake.Behaviour{Kind: fake.Refuse, Code: fake.CodeUserNotFound}},
	{"refuses: INSUFFICIENT_FUNDS, retry allowed", fake.Behaviour{Kind: fake.Refuse, Code: fake.CodeInsufficientFunds, RetryAllowed: true}},
	{"refuses: a code of its own", fake.Behaviour{Kind: fake.Refuse, Code: "LIMIT_REACHED", Message: "Daily limit reached"}},
	{"does not know a third of the users", fake.Behaviour{Kind: fake.Refuse, Code: fake.CodeUserNotFound, Users: []string{"buyer-1"}}},
	{"hangs", fake.Behaviour{Kind: fake.Hang}},
	{"hangs for a third of the users", fake.Behaviour{Kind: fake.Hang, Users: []string{"buyer-1"}}},
	{"credits, then hangs", fake.Behaviour{Kind: fake.Hang, CreditFirst: true}},
	{"answers 1.5 s late", fake.Behaviour{Kind: fake.Delay, DelayMS: 1500}},
	{"answers and credits 5 s late", fake.Behaviour{Kind: fake.Delay, DelayMS: 5000}},
	{"credits, answers 9 s late", fake.Behaviour{Kind: fake.Delay, DelayMS: 9000, CreditFirst: true}},
	{"answers 500", fake.Behaviour{Kind: fake.ErrorStatus}},
	{"answers 503", fake.Behaviour{Kind: fake.ErrorStatus, Status: http.StatusServiceUnavailable}},
	{"credits, then answers 500", fake.Behaviour{Kind: fake.ErrorStatus, CreditFirst: true}},
	{"drops the connection", fake.Behaviour{Kind: fake.Drop}},
	{"credits, then drops the connection", fake.Behaviour{Kind: fake.Drop, CreditFirst: true}},
	{"answers twice", fake.Behaviour{Kind: fake.Twice}},
	{"answers twice in one body", fake.Behaviour{Kind: fake.DoubleBody}},
	{"cuts its answers", fake.Behaviour{Kind: fake.Truncated}},
	{"answers garbage", fake.Behaviour{Kind: fake.Garbage}},
	{"credits, then answers garbage", fake.Behaviour{Kind: fake.Garbage, CreditFirst: true}},
	{"answers nothing", fake.Behaviour{Kind: fake.Empty}},
	{"answers a web page", fake.Behaviour{Kind: fake.WrongContent, CreditFirst: true}},
}

// misbehave gives the main product one mood after the other, with calm in between, until ctx ends.
func misbehave(ctx context.Context, s *stack, c *counts, r *rand.Rand) {
	order := r.Perm(len(moods))
	for n := 0; pause(ctx, between(r, time.Second, 5*time.Second)); n++ {
		m := moods[order[n%len(order)]] // each comes once before any comes again
		if r.IntN(2) == 0 {
			fraction := 0.2 + 0.8*r.Float64()
			m.Fraction = &fraction
		}
		lasting := between(r, 2*time.Second, 7*time.Second)
		if r.IntN(4) == 0 {
			lasting += 12 * time.Second // longer than all tries of most products
		}
		m.DurationMS = lasting.Milliseconds()
		s.moods.Lock()
		if setMoods(ctx, s, []fake.Behaviour{m.Behaviour, onRewards(m.Behaviour)}) == nil { // or it is down, which is a mood too
			c.add("main product " + m.name)
			pause(ctx, lasting)
		}
		s.moods.Unlock()
	}
}

// onRewards is the same mood for the rewards of tasks.
func onRewards(b fake.Behaviour) fake.Behaviour {
	b.On = fake.OnReward
	return b
}

// setMoods replaces the fake's behaviours; none makes it well again.
func setMoods(ctx context.Context, s *stack, list []fake.Behaviour) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.fakeURL+"/control/behaviours", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the fake main product refuses a behaviour: %s", response.Status)
	}
	return nil
}

// readBooks reads all of the fake's books, by order.
func readBooks(ctx context.Context, s *stack) (map[string]fake.Entry, fake.Totals, error) {
	books := map[string]fake.Entry{}
	for offset := 0; ; {
		var page fake.BooksPage
		if err := getJSON(ctx, fmt.Sprintf("%s/control/books?limit=1000&offset=%d", s.fakeURL, offset), &page); err != nil {
			return nil, fake.Totals{}, err
		}
		for _, entry := range page.Entries {
			books[entry.OrderID] = entry
		}
		if offset = page.NextOffset; offset == 0 {
			return books, page.Totals, nil
		}
	}
}

func getJSON(ctx context.Context, url string, into any) error {
	answer, err := devstack.Get(ctx, url)
	if err != nil {
		return err
	}
	defer answer.Close()
	return json.NewDecoder(answer).Decode(into)
}
