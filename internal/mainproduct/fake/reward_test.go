package fake_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
	"github.com/quickpass/quickpass/internal/mainproduct/fake"
)

func reward(id string) mainproduct.RewardRequest {
	return mainproduct.RewardRequest{RewardID: id, UserID: "u1", RewardType: "bonus_coins", Amount: decimal.NewFromInt(100), TaskID: 123}
}

// However often a reward is asked for, it is given once by its key, and the books keep it.
func TestRewardIsGivenOnceByItsKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "books")
	books := openBooks(t, path, fake.SyncGroup)
	_, client, url := start(t, fake.Config{}, books)
	require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order("o1")).Kind)
	answers := make([]mainproduct.Answer, 20)
	var callers sync.WaitGroup
	for i := range answers {
		callers.Go(func() { answers[i] = client.Reward(t.Context(), reward("r1")) })
	}
	callers.Wait()
	for _, answer := range answers {
		require.Equal(t, mainproduct.Credited, answer.Kind, "%+v", answer)
		require.Equal(t, answers[0].TransactionID, answer.TransactionID)
		require.Equal(t, "100", answer.NewBalance.String())
		require.Nil(t, answer.CreditedAmount, "not in the seed's answer")
	}
	other := reward("r1")
	other.TaskID = 124
	conflict := client.Reward(t.Context(), other)
	require.Equal(t, []any{mainproduct.Refused, fake.CodeKeyReused, http.StatusConflict}, []any{conflict.Kind, conflict.Code, conflict.HTTPStatus})
	ghost := reward("r2")
	ghost.UserID = "ghost7"
	require.Equal(t, fake.CodeUserNotFound, client.Reward(t.Context(), ghost).Code)

	_, text := exchange(t, http.MethodGet, url+"/control/books?order_id=r1", "")
	var entry fake.Entry
	require.NoError(t, json.Unmarshal([]byte(text), &entry))
	require.Equal(t, []any{21, 1, int64(123), "Task completion reward", "bonus_coins"}, []any{entry.Calls, entry.Credited, entry.TaskID, entry.Reason, entry.Currency})
	totals := books.Totals()
	require.Equal(t, []int{3, 2, 2}, []int{totals.Orders, totals.Rewards, totals.CreditedOrders})
	require.Equal(t, "100", books.Balance("u1", "bonus_coins").String())
	requireSameBooks(t, books, openBooks(t, path, fake.SyncGroup))
	_, page := exchange(t, http.MethodGet, url+"/", "")
	require.Contains(t, page, "(task 123)")
}

func TestWrongRewardBodies(t *testing.T) {
	t.Parallel()
	server, _, url := start(t, fake.Config{}, nil)
	post := func(body, idempotency string) string {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+fake.RewardPath, strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+key)
		request.Header.Set("Idempotency-Key", idempotency)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		var answer struct {
			ErrorCode string `json:"error_code"`
		}
		require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
		return answer.ErrorCode
	}
	const good = `{"user_id":"u","reward_type":"b","amount":1,"task_id":1,"reason":"r"}`
	for _, body := range []string{"", "{}", strings.Replace(good, `:1,"task`, `:"1","task`, 1), strings.Replace(good, `_id":1`, `_id":"1"`, 1), strings.Replace(good, `"r"}`, `"r","x":1}`, 1),
		strings.Replace(good, `amount":1`, `amount":0`, 1), strings.Replace(good, `"u"`, `""`, 1)} {
		require.Equal(t, fake.CodeInvalidRequest, post(body, "r1"), body)
	}
	require.Equal(t, fake.CodeInvalidRequest, post(good, ""))
	require.Zero(t, server.Books().Totals().Calls)
	require.Empty(t, post(good, "r1"))
	require.Equal(t, 1, server.Books().Totals().Rewards)
}

// Every misbehaviour can be that of rewards alone, and what was given under it is found by the next call.
func TestRewardsMisbehave(t *testing.T) {
	t.Parallel()
	for _, kind := range fake.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			server, client, _ := start(t, fake.Config{}, nil)
			require.NoError(t, server.SetBehaviours(fake.Behaviour{Kind: kind, On: fake.OnReward, CreditFirst: true, DelayMS: 1}))
			ctx := t.Context()
			if kind == fake.Hang {
				ctx = soon(t)
			}
			answer := client.Reward(ctx, reward("r1"))
			switch kind {
			case fake.Refuse:
				require.Equal(t, mainproduct.Refused, answer.Kind)
			case fake.Delay, fake.NotIdempotent, fake.Twice:
				require.Equal(t, mainproduct.Credited, answer.Kind)
			default:
				require.Equal(t, mainproduct.Unknown, answer.Kind)
			}
			require.Equal(t, mainproduct.Credited, client.Credit(t.Context(), order("o1")).Kind, "an order is not a reward")
			require.NoError(t, server.SetBehaviours())
			require.Equal(t, mainproduct.Credited, client.Reward(t.Context(), reward("r1")).Kind)
			entry, _ := server.Books().Entry("r1")
			require.Equal(t, 1, entry.Credited)
			require.Equal(t, 2, entry.Calls)
		})
	}
}
