package testkit

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

const productKey = "test-main-product-key"

// MainProduct is the fake main product over real HTTP, with books in memory.
type MainProduct struct {
	*fake.Server
	URL string
}

// NewMainProduct starts a fake main product for this test.
func NewMainProduct(t testing.TB) *MainProduct {
	t.Helper()
	books, err := fake.OpenBooks("", fake.SyncNever)
	require.NoError(t, err)
	product, err := fake.New(fake.Config{APIKey: productKey}, books)
	require.NoError(t, err)
	server := httptest.NewServer(http.Handler(product))
	t.Cleanup(func() {
		product.Close() // the calls that hang would hold the server up
		server.Close()
		require.NoError(t, books.Close())
	})
	return &MainProduct{Server: product, URL: server.URL}
}

// Client makes a client of it; with inquiry, one that can ask what became of an order.
func (p *MainProduct) Client(t testing.TB, inquiry bool) *mainproduct.Client {
	t.Helper()
	config := mainproduct.Config{BaseURL: p.URL, APIKey: productKey}
	if inquiry {
		config.InquiryPath = fake.InquiryPath
	}
	client, err := mainproduct.New(config)
	require.NoError(t, err)
	return client
}

// Misbehave replaces what the fake does wrong.
func (p *MainProduct) Misbehave(t testing.TB, list ...fake.Behaviour) {
	t.Helper()
	require.NoError(t, p.SetBehaviours(list...))
}

// RequireCalls compares how often an order was asked for and credited.
func (p *MainProduct) RequireCalls(t testing.TB, orderID string, calls, credited int) {
	t.Helper()
	entry, _ := p.Books().Entry(orderID)
	require.Equal(t, []int{calls, credited}, []int{entry.Calls, entry.Credited}, "calls and creditings of order %s", orderID)
}
