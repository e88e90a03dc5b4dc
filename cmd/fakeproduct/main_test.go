package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

func noEnvironment(string) string { return "" }

// The program says where it listens, credits, and stops cleanly even while a call hangs.
func TestRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "books.jsonl")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-address", "127.0.0.1:0", "-books", path}, noEnvironment, writer, io.Discard)
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	require.NoError(t, err)
	baseURL, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	require.True(t, ok, line)

	client, err := mainproduct.New(mainproduct.Config{BaseURL: baseURL, APIKey: defaultKey})
	require.NoError(t, err)
	order := mainproduct.CreditRequest{UserID: "u1", Amount: decimal.NewFromInt(5), Currency: "credits", OrderID: "o1"}
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order).Kind)
	stop()
	require.NoError(t, <-ended)

	books, err := fake.OpenBooks(path, fake.SyncGroup)
	require.NoError(t, err)
	defer books.Close()
	require.Equal(t, "5", books.Balance("u1", "credits").String())
}

func TestRunRefusesBadArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"more"}, {"-nothing"}, {"-address", "nowhere"}, {"-address", "127.0.0.1:0", "-books", "", "-sync", "x"}, {"-address", "127.0.0.1:0", "-books", "", "-paths", "/other"}} {
		require.Error(t, run(t.Context(), args, noEnvironment, io.Discard, io.Discard), "%q", args)
	}
}

func TestHelpDoesNotPrintTheKey(t *testing.T) {
	t.Parallel()
	var help bytes.Buffer
	secret := func(string) string { return "a-real-key" }
	require.Error(t, run(t.Context(), []string{"-help"}, secret, io.Discard, &help))
	require.NotContains(t, help.String(), "a-real-key")
}
