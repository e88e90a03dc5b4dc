package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	answerTimeout = 12 * time.Second // of one request; the server bounds its work to 10 s
	askAgain      = 20               // one answer in so many is asked for again, of another process
)

// intent is one buyer's wish, under one Idempotency-Key. It ends as exactly one order or one refusal.
type intent struct {
	key, user, sku string
	quantity       int64

	tries   int
	orderID string        // accepted
	refusal string        // or why not
	took    time.Duration // from the first request to the answer, retries included
}

// load are the buyers.
type load struct {
	stack    *stack
	findings *findings
	client   *http.Client

	accepted, refused, retries atomic.Int64
	open                       atomic.Int64 // orders open at the moment
	mu                         sync.Mutex
	intents                    []*intent
	unanswered                 map[string]int // tries without a definite answer, by cause
}

func newLoad(s *stack, f *findings) *load {
	return &load{stack: s, findings: f, unanswered: map[string]int{},
		client: &http.Client{Timeout: answerTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
}

// run buys with all callers until buying ends; then every caller finishes the intent it has, until giveUp ends.
func (l *load) run(buying, giveUp context.Context, o options) {
	var group sync.WaitGroup
	group.Go(func() { l.countOpen(buying) })
	begin := time.Now()
	var tickets atomic.Int64
	for n := range o.callers {
		group.Go(func() {
			r := rand.New(rand.NewPCG(o.seed, uint64(n)))
			for i := 0; buying.Err() == nil; i++ {
				if o.rate > 0 {
					due := begin.Add(time.Duration(float64(tickets.Add(1)) / o.rate * float64(time.Second)))
					if !pause(buying, time.Until(due)) {
						return
					}
				}
				for o.open > 0 && l.open.Load() >= int64(o.open) {
					if !pause(buying, 50*time.Millisecond) {
						return
					}
				}
				wish := &intent{
					key:      fmt.Sprintf("chaos-%d-%d-%d", o.seed, n, i),
					user:     pickUser(r),
					sku:      pickItem(r).sku,
					quantity: 1 + int64(r.IntN(3)),
				}
				l.note(wish)
				l.pursue(giveUp, wish, r)
			}
		})
	}
	group.Wait()
}

// note remembers an intent, for the judge.
func (l *load) note(wish *intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intents = append(l.intents, wish)
}

// countOpen asks how many orders are open, for as long as the database answers.
func (l *load) countOpen(ctx context.Context) {
	for pause(ctx, 250*time.Millisecond) {
		if n, err := openOrders(ctx, l.stack); err == nil {
			l.open.Store(int64(n))
		}
	}
}

// pursue asks one process after the other, under the same key, until one answers.
func (l *load) pursue(ctx context.Context, wish *intent, r *rand.Rand) {
	begin := time.Now()
	at := r.IntN(len(l.stack.apis))
	for ctx.Err() == nil {
		wish.tries++
		answer := l.ask(ctx, l.stack.apis[at], wish)
		if answer.definite {
			wish.orderID, wish.refusal, wish.took = answer.orderID, answer.code, time.Since(begin)
			if wish.orderID == "" {
				l.refused.Add(1)
				return
			}
			l.accepted.Add(1)
			if r.IntN(askAgain) == 0 {
				l.repeat(ctx, wish, l.stack.apis[1-at])
			}
			return
		}
		l.retries.Add(1)
		l.mu.Lock()
		l.unanswered[answer.code]++
		l.mu.Unlock()
		at = 1 - at
		if !pause(ctx, min(answer.after, 2*time.Second)+time.Duration(r.IntN(100))*time.Millisecond) {
			return
		}
	}
}

// repeat sends an answered request once more: it must get the same order.
func (l *load) repeat(ctx context.Context, wish *intent, api string) {
	answer := l.ask(ctx, api, wish)
	if answer.definite && answer.orderID != wish.orderID {
		l.findings.add("the same key gets the same order", "key %s: order %s first, then %q %s", wish.key, wish.orderID, answer.orderID, answer.code)
	}
}

// answer is what one request came to.
type answer struct {
	definite bool
	orderID  string
	code     string // of the refusal, or why there is no definite answer
	after    time.Duration
}

// refusals are the codes that end an intent.
var refusals = map[string]bool{
	"insufficient_coins": true,
	"out_of_stock":       true,
	"user_blocked":       true,
	"user_not_found":     true,
	"product_not_found":  true,
}

func (l *load) ask(ctx context.Context, api string, wish *intent) answer {
	body := map[string]any{"user_id": wish.user, "sku": wish.sku, "quantity": wish.quantity}
	status, header, data, err := post(ctx, l.client, api+"/api/v1/purchases", l.stack.keys["storefront"], wish.key, body)
	if err != nil {
		return answer{code: "no answer"}
	}
	var reply struct {
		OrderID string `json:"order_id"`
		Code    string `json:"code"`
		ID      string `json:"request_id"`
	}
	if err := json.Unmarshal(data, &reply); err != nil {
		l.findings.add("every answer is JSON", "POST /purchases: %d %q", status, data)
		return answer{code: "broken answer"}
	}
	seconds, _ := strconv.Atoi(header.Get("Retry-After")) // none is 0
	after := time.Duration(seconds) * time.Second
	switch {
	case (status == http.StatusAccepted || status == http.StatusOK) && reply.OrderID != "":
		return answer{definite: true, orderID: reply.OrderID}
	case refusals[reply.Code]:
		return answer{definite: true, code: reply.Code}
	case status == http.StatusServiceUnavailable:
		return answer{code: "503 " + reply.Code, after: after}
	default:
		l.findings.add("an outage is answered with 503", "POST /purchases: %d %s (request %s)", status, reply.Code, reply.ID)
		return answer{code: fmt.Sprintf("%d %s", status, reply.Code), after: after}
	}
}

// post sends JSON under an Idempotency-Key and reads the whole answer.
func post(ctx context.Context, client *http.Client, url, key, idempotency string, body any) (status int, header http.Header, data []byte, err error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(content))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", idempotency)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	data, err = io.ReadAll(response.Body)
	return response.StatusCode, response.Header, data, err
}
