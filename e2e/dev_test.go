package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/devstack"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	"github.com/quickpass/quickpass/internal/testkit"
)

// devStack is `quickpass dev` on free ports and in a directory of its own.
func devStack(t *testing.T) *node {
	t.Helper()
	// Not t.TempDir: only its owner can enter that, and PostgreSQL does not run as root.
	dir, err := os.MkdirTemp("", "quickpass-e2e-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	api, product := freeAddress(t), freeAddress(t)
	port := func() string {
		_, port, err := net.SplitHostPort(freeAddress(t))
		require.NoError(t, err)
		return port
	}
	s := &stack{
		t:       t,
		dir:     dir,
		control: "http://" + product,
		keys:    map[string]string{"storefront": "dev-storefront", "admin": "dev-admin", "support": "dev-support"},
	}
	_, productPort, err := net.SplitHostPort(product)
	require.NoError(t, err)
	s.env = []string{"QUICKPASS_HTTP_ADDRESS=" + api, "QUICKPASS_DEV_DIR=" + filepath.Join(dir, "state"), "QUICKPASS_DEV_POSTGRES_PORT=" + port(),
		"QUICKPASS_DEV_TEMPORAL_PORT=" + port(), "QUICKPASS_DEV_TEMPORAL_UI_PORT=" + port(), "QUICKPASS_DEV_MAIN_PRODUCT_PORT=" + productPort}
	return &node{stack: s, url: "http://" + api}
}

func (n *node) dev() {
	n.t.Helper()
	n.Process = n.start("quickpass dev", "quickpass", n.env, devstack.ProcessOptions{
		ReadyLine:    "QuickPass is ready.",
		ReadyTimeout: 2 * time.Minute,
		StopSignal:   syscall.SIGINT,
	}, "dev")
}

// page reads a page of the fake main product.
func (n *node) page(path string) string {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, n.control+path, nil)
	require.NoError(n.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(n.t, err)
	defer func() { _ = response.Body.Close() }()
	page, err := io.ReadAll(response.Body)
	require.NoError(n.t, err)
	return string(page)
}

// `quickpass dev`, on a fresh machine, after kill -9, and after Ctrl-C.
func TestDev(t *testing.T) {
	t.Parallel()
	n := devStack(t)
	n.dev()
	testkit.Eventually(t, "the table of addresses is whole", func(context.Context) error {
		table := tail(n.LogFile())
		for _, shown := range []string{n.url, n.control, "dev-storefront", "dev-admin", "dev-support", "dev-main-product", "dev-distributor", "Temporal UI", "Ctrl-C"} {
			if !strings.Contains(table, shown) {
				return errors.New(shown + " is missing")
			}
		}
		return nil
	})
	// The fake main product is told of orders: a test arrives, well signed.
	tested := n.call("admin", http.MethodPost, "/api/v1/admin/webhooks/test", nil)
	require.Contains(t, string(tested.body), `"status":"delivered"`)
	require.Contains(t, n.page("/control/webhooks"), `"signature_ok":true,"webhook_signature_ok":true`)

	before := n.completed(n.buy(buyer))
	n.requireWallet(buyer, 9_900, 0)
	n.requireStock(149)

	n.misbehave(fake.Behaviour{Kind: fake.Hang})
	open := n.buy(buyer)
	n.arrived(open, 1)
	require.NoError(t, n.Kill())

	n.dev()
	require.Equal(t, before, n.get(before.OrderID), "state survives")
	n.completed(open) // open workflows go on
	n.requireWallet(buyer, 9_800, 0)
	n.requireStock(148)

	// What runs already is told apart from what was left behind.
	output, code := n.run(n.env, "dev")
	require.Equal(t, 1, code)
	require.Contains(t, output, "QUICKPASS_HTTP_ADDRESS")

	require.NoError(t, n.Stop(t.Context()))
	require.Contains(t, tail(n.LogFile()), "stopping ...")
	for _, variable := range n.env {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasSuffix(name, "_PORT") {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+value)
		require.NoError(t, err, "%s is still in use", name)
		require.NoError(t, listener.Close())
	}

	n.dev()
	require.Equal(t, before, n.get(before.OrderID))
	require.NoError(t, n.Stop(t.Context()))
}

// The fixed keys of `dev` open nothing elsewhere, even when somebody has put them into the database.
func TestDevKeysAreRefusedElsewhere(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	n := s.serve("serve")
	_, err := s.db.Pool().Exec(t.Context(), "UPDATE api_keys SET key_hash = sha256('dev-admin') WHERE role = 'admin'")
	require.NoError(t, err)
	s.keys["admin"] = "dev-admin"
	a := n.call("admin", http.MethodGet, "/api/v1/admin/products", nil)
	require.Equal(t, http.StatusUnauthorized, a.status)
}
