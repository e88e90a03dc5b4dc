package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// eventFront sends events over HTTP, as the main product does.
type eventFront struct {
	http *http.Client
	url  string

	mu   sync.Mutex
	sent [][]byte // bodies that were counted, to be sent again
	next int
}

const keptBodies = 1000

func newEventFront(url string) *eventFront {
	return &eventFront{
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Minute}},
		url:  url + "/api/v1/events",
	}
}

// post sends a batch of new events and wants each counted.
func (f *eventFront) post(ctx context.Context, windows int, note *notes) error {
	body := newBatch(windows)
	if err := f.send(ctx, body, eventBatch, 0, note); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sent) < keptBodies {
		f.sent = append(f.sent, body)
	}
	return nil
}

// postAgain sends a batch that was counted before, and wants none of it counted.
func (f *eventFront) postAgain(ctx context.Context, note *notes) error {
	f.mu.Lock()
	f.next = (f.next + 1) % len(f.sent)
	body := f.sent[f.next]
	f.mu.Unlock()
	return f.send(ctx, body, 0, eventBatch, note)
}

func (f *eventFront) send(ctx context.Context, body []byte, accepted, duplicates int, note *notes) error {
	begin := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+eventKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := f.http.Do(request)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	var told struct{ Accepted, Duplicates int }
	if err := json.Unmarshal(answer, &told); err != nil || response.StatusCode != http.StatusAccepted || told.Accepted != accepted || told.Duplicates != duplicates {
		return fmt.Errorf("events: %s: %.500s", response.Status, answer)
	}
	note.accept(begin)
	return nil
}
