// Command fakeproduct runs the fake main product by itself: the crediting API of seed 000, a control
// API under /control, and a page at / to make it misbehave.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/quickpass/quickpass/internal/mainproduct/fake"
	webhookfake "github.com/quickpass/quickpass/internal/webhook/fake"
)

const (
	keyVariable = "QUICKPASS_MAIN_PRODUCT_API_KEY"
	defaultKey  = "dev-main-product-key"
	stopTimeout = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fakeproduct:", err)
		os.Exit(1)
	}
}

// run serves until the context ends. It prints one line, "ready http://address", to stdout once it listens.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("fakeproduct", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("address", "127.0.0.1:8090", "address to listen on")
	path := flags.String("books", "./fakeproduct.jsonl", "file of the books; empty keeps them in memory")
	sync := flags.String("sync", string(fake.SyncGroup), "when a line of the books is safe: group (one fsync for all that wait), each, never (kill -9 only)")
	paths := flags.String("paths", fake.CreditPath, "paths that credit, separated by commas")
	unknown := flags.String("unknown-users", "", "users that do not exist, separated by commas, besides ghost...")
	secret := flags.String("webhook-secret", "", "secret of webhooks that arrive at /webhooks; GET /control/webhooks lists them")
	// Not the flag's default, which -help would print.
	key := flags.String("api-key", "", "Bearer key that callers must send (default from "+keyVariable+", or "+defaultKey+")")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, other := range []string{getenv(keyVariable), defaultKey} {
		if *key == "" {
			*key = other
		}
	}

	// Listen first: a second fake on the same address must not touch the books of the first.
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	books, err := fake.OpenBooks(*path, fake.Sync(*sync))
	if err != nil {
		return err
	}
	product, err := fake.New(fake.Config{APIKey: *key, CreditPaths: list(*paths), UnknownUsers: list(*unknown)}, books)
	if err != nil {
		return errors.Join(err, books.Close())
	}

	server := &http.Server{Handler: withWebhooks(product, *secret), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "ready http://%s\n", listener.Addr())

	select {
	case <-ctx.Done():
		product.Close() // the calls that hang would hold the shutdown up
		stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err = server.Shutdown(stopping)
	case err = <-served:
	}
	return errors.Join(err, books.Close())
}

// withWebhooks also takes webhooks, which the fake product answers with 204 and keeps in memory.
func withWebhooks(product http.Handler, secret string) http.Handler {
	listener, mux := webhookfake.New(secret), http.NewServeMux()
	mux.Handle("POST /webhooks", listener)
	mux.HandleFunc("GET /control/webhooks", listener.List)
	mux.Handle("/", product)
	return mux
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
