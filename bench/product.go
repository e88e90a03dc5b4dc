package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

// product is the fake main product, a process with books of its own.
type product struct {
	process *devstack.Process
	url     string
}

func (st *stack) startProduct(ctx context.Context) error {
	binary, err := devstack.FindTool("fakeproduct")
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	st.product = &product{url: "http://" + address}
	st.product.process, err = devstack.StartProcess(ctx, devstack.ProcessOptions{
		Name: "the fake main product", Path: binary, ReadyLine: "ready ", LogFile: filepath.Join(st.dir, "fakeproduct.log"),
		// Its own disk is not what is measured.
		Args: []string{"-address", address, "-books", filepath.Join(st.dir, "books.jsonl"), "-sync", "never", "-api-key", productKey},
	})
	if err != nil {
		return err
	}
	st.stops = append(st.stops, st.product.process.Stop)
	st.calls, err = mainproduct.New(mainproduct.Config{BaseURL: st.product.url, APIKey: productKey})
	return err
}

// behave sets how it misbehaves; without arguments it is well.
func (p *product) behave(ctx context.Context, behaviours ...fake.Behaviour) error {
	if behaviours == nil {
		behaviours = []fake.Behaviour{}
	}
	return p.control(ctx, http.MethodPut, "/control/behaviours", behaviours, nil)
}

// recover ends all misbehaviour at once: the calls that hang lose their connection.
func (p *product) recover(ctx context.Context) error { return p.process.Restart(ctx) }

// orders counts the orders in the books.
func (p *product) orders(ctx context.Context) (int, error) {
	var page fake.BooksPage
	err := p.control(ctx, http.MethodGet, "/control/books?limit=1", nil, &page)
	return page.Totals.Orders, err
}

// callsSince lists how many calls came for each order that is in the books since they had this many.
func (p *product) callsSince(ctx context.Context, orders int) (map[string]int, error) {
	calls := map[string]int{}
	for offset := orders; ; {
		var page fake.BooksPage
		if err := p.control(ctx, http.MethodGet, fmt.Sprintf("/control/books?limit=1000&offset=%d", offset), nil, &page); err != nil {
			return nil, err
		}
		for _, entry := range page.Entries {
			calls[entry.OrderID] = entry.Calls
		}
		if page.NextOffset == 0 {
			return calls, nil
		}
		offset = page.NextOffset
	}
}

func (p *product) control(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("control the fake main product: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("control the fake main product: %s %s: %s", method, path, response.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(out)
}
