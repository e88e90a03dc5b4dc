package fake_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

func openBooks(t *testing.T, path string, mode fake.Sync) *fake.Books {
	t.Helper()
	books, err := fake.OpenBooks(path, mode)
	require.NoError(t, err)
	t.Cleanup(func() { _ = books.Close() })
	return books
}

func TestEqualCallsCreditOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []fake.Sync{fake.SyncGroup, fake.SyncEach, fake.SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "books.jsonl")
			books := openBooks(t, path, mode)
			_, client, _ := start(t, fake.Config{}, books)

			const calls = 100
			answers := make([]mainproduct.Answer, calls)
			var callers sync.WaitGroup
			for i := range calls {
				callers.Go(func() { answers[i] = client.Credit(t.Context(), order("o1")) })
			}
			callers.Wait()

			for _, answer := range answers {
				require.Equal(t, mainproduct.Credited, answer.Kind, "%+v", answer)
				require.Equal(t, answers[0].TransactionID, answer.TransactionID)
				require.Equal(t, "500", answer.NewBalance.String())
			}
			entry, _ := books.Entry("o1")
			require.Equal(t, calls, entry.Calls)
			require.Equal(t, 1, entry.Credited)
			require.Equal(t, "500", books.Balance("u1", "credits").String())

			// What was answered is in the file already: another process reads it without any goodbye.
			again := openBooks(t, path, mode)
			requireSameBooks(t, books, again)
		})
	}
}

func requireSameBooks(t *testing.T, want, got *fake.Books) {
	t.Helper()
	require.Empty(t, cmp.Diff(want.Entries(0, 1000), got.Entries(0, 1000)))
	require.Empty(t, cmp.Diff(want.Totals(), got.Totals()))
	require.Empty(t, cmp.Diff(want.RecentBalances(100), got.RecentBalances(100)))
}

func TestBooksSurviveATornLine(t *testing.T) {
	t.Parallel()
	for name, torn := range map[string]string{
		"half a line":  `{"op":"credit","at":"2026-01-`,
		"a whole line": "\x00\x00\x00\x00\n",
		"zeros":        "\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "books.jsonl")
			before := openBooks(t, path, fake.SyncGroup)
			server, client, _ := start(t, fake.Config{}, before)
			require.NoError(t, server.SetBehaviours(fake.Behaviour{Kind: fake.Refuse, Orders: []string{"refused"}}))
			client.Credit(t.Context(), order("credited"))
			client.Credit(t.Context(), order("refused"))
			client.Credit(t.Context(), order("refused"))
			require.NoError(t, before.Close())
			appendTo(t, path, torn)

			after := openBooks(t, path, fake.SyncGroup)
			requireSameBooks(t, before, after)
			entry, _ := after.Entry("refused")
			require.Equal(t, 2, entry.Calls)
			require.Equal(t, fake.CodeUserNotFound, entry.Refusal.Code)

			// The next line is not glued to the torn one, and the old order is still known.
			_, client, _ = start(t, fake.Config{}, after)
			entry, _ = after.Entry("credited")
			require.Equal(t, entry.TransactionID, client.Credit(t.Context(), order("credited")).TransactionID)
			client.Credit(t.Context(), order("later"))
			requireSameBooks(t, after, openBooks(t, path, fake.SyncGroup))
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestBadBooksAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "books.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("nonsense\n{}\n"), 0o600))
	_, err := fake.OpenBooks(path, fake.SyncGroup)
	require.ErrorContains(t, err, "line 1")
	_, err = fake.OpenBooks(path, "sometimes")
	require.ErrorContains(t, err, "sync mode")
	_, err = fake.OpenBooks(t.TempDir(), fake.SyncGroup)
	require.ErrorContains(t, err, "open the books")
}

func TestClosedBooksCreditNothing(t *testing.T) {
	t.Parallel()
	books := openBooks(t, filepath.Join(t.TempDir(), "books.jsonl"), fake.SyncGroup)
	_, client, _ := start(t, fake.Config{}, books)
	require.NoError(t, books.Close())
	require.Equal(t, mainproduct.ReasonServerError, client.Credit(t.Context(), order("o1")).Reason)
}

func TestReset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "books.jsonl")
	books := openBooks(t, path, fake.SyncGroup)
	_, client, _ := start(t, fake.Config{}, books)
	client.Credit(t.Context(), order("o1"))
	require.NoError(t, books.Reset())
	require.Zero(t, books.Totals().Calls)
	require.True(t, books.Balance("u1", "credits").IsZero())
	client.Credit(t.Context(), order("o2"))
	after := openBooks(t, path, fake.SyncGroup)
	requireSameBooks(t, books, after)
	require.Equal(t, 1, after.Totals().Orders)
}

func BenchmarkCredit(b *testing.B) {
	for _, mode := range []fake.Sync{fake.SyncGroup, fake.SyncNever} {
		b.Run(string(mode), func(b *testing.B) { benchmarkCredit(b, mode) })
	}
}
