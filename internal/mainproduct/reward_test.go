package mainproduct_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/mainproduct"
)

func reward() mainproduct.RewardRequest {
	return mainproduct.RewardRequest{
		RewardID:   "tw_1.main_product",
		UserID:     "12345",
		RewardType: "bonus_coins",
		Amount:     decimal.NewFromInt(100),
		TaskID:     123,
	}
}

// The request of seed 001, to the letter; the key of idempotency is a header.
func TestRewardSendsTheSeedsRequest(t *testing.T) {
	t.Parallel()
	for path, config := range map[string]mainproduct.Config{
		"/base/api/v1/rewards": {},
		"/base/bonuses":        {RewardPath: "/bonuses"},
	} {
		var method, sent, body string
		var header http.Header
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			method, sent, header, body = r.Method, r.URL.Path, r.Header, string(raw)
			_, _ = io.WriteString(w, `{"success": true, "transaction_id": "tx_789", "new_balance": 1500}`)
		}))
		t.Cleanup(server.Close)
		config.BaseURL, config.APIKey = server.URL+"/base", key
		client, err := mainproduct.New(config)
		require.NoError(t, err)

		answer := client.Reward(t.Context(), reward())
		require.Equal(t, mainproduct.Credited, answer.Kind, "%+v", answer)
		require.Equal(t, "tx_789", answer.TransactionID)
		require.Equal(t, "1500", answer.NewBalance.String())
		require.Equal(t, []string{http.MethodPost, path}, []string{method, sent})
		require.Equal(t, []string{"Bearer " + key, "application/json", "tw_1.main_product"},
			[]string{header.Get("Authorization"), header.Get("Content-Type"), header.Get("Idempotency-Key")})
		require.Equal(t, `{"user_id":"12345","reward_type":"bonus_coins","amount":100,"task_id":123,"reason":"Task completion reward"}`, body)
	}
}

// The balance is told "if needed".
func TestRewardAnswers(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]mainproduct.Answer{
		`{"success": true, "transaction_id": "tx"}`:                                                         {Kind: mainproduct.Credited, TransactionID: "tx"},
		`{"success": false, "error_code": "USER_NOT_FOUND", "error_message": "No", "retry_allowed": false}`: {Kind: mainproduct.Refused, Code: "USER_NOT_FOUND"},
		`{"success": true}`: {Kind: mainproduct.Unknown, Reason: mainproduct.ReasonUnintelligibleAnswer},
		``:                  {Kind: mainproduct.Unknown, Reason: mainproduct.ReasonUnintelligibleAnswer},
	} {
		answer := serve(t, http.StatusOK, body).Reward(t.Context(), reward())
		require.Equal(t, want, mainproduct.Answer{
			Kind:          answer.Kind,
			TransactionID: answer.TransactionID,
			Code:          answer.Code,
			Reason:        answer.Reason,
		}, body)
	}
}

func TestRewardThatCanNotBeWrittenIsNotSent(t *testing.T) {
	t.Parallel()
	client := serve(t, http.StatusOK, `{"success": true, "transaction_id": "tx"}`)
	for name, spoil := range map[string]func(*mainproduct.RewardRequest){
		"no key":         func(r *mainproduct.RewardRequest) { r.RewardID = "" },
		"key of lines":   func(r *mainproduct.RewardRequest) { r.RewardID = "a\r\nX: y" },
		"no user":        func(r *mainproduct.RewardRequest) { r.UserID = " " },
		"no UTF-8":       func(r *mainproduct.RewardRequest) { r.UserID = "\xff" },
		"no type":        func(r *mainproduct.RewardRequest) { r.RewardType = "" },
		"zero":           func(r *mainproduct.RewardRequest) { r.Amount = decimal.Zero },
		"negative":       func(r *mainproduct.RewardRequest) { r.Amount = decimal.NewFromInt(-1) },
		"astronomically": func(r *mainproduct.RewardRequest) { r.Amount = decimal.New(1, 1_000_000) },
	} {
		request := reward()
		spoil(&request)
		answer := client.Reward(t.Context(), request)
		require.Equal(t, mainproduct.ReasonInvalidRequest, answer.Reason, name)
		require.False(t, answer.MaybeCredited, name)
	}
	for _, path := range []string{"rewards", "//evil.example", "/../x", "https://evil.example/", strings.Repeat("/a", 600)} {
		_, err := mainproduct.New(mainproduct.Config{BaseURL: "http://x", APIKey: "k", RewardPath: path})
		require.ErrorContains(t, err, "reward path", path)
	}
}
