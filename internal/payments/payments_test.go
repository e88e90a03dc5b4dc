package payments_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/quickpass/quickpass/internal/catalog"
	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/payments"
)

var errSignature = errors.New("not signed")

// Both are providers.
var (
	_ payments.Provider = payments.Sandbox{}
	_ payments.Provider = payments.Notifications{}
)

func sandbox(order checkout.Order) payments.Sandbox {
	return payments.Sandbox{Order: func(_ context.Context, hash [sha256.Size]byte) (checkout.Order, error) {
		if hash != sha256.Sum256([]byte("token")) {
			return checkout.Order{}, payments.ErrNoSuchToken
		}
		return order, nil
	}}
}

func card(t *testing.T, token, number, code string) payments.Message {
	t.Helper()
	body, err := json.Marshal(payments.TestCard{Token: token, Card: number, Code: code})
	require.NoError(t, err)
	return payments.Message{Body: body}
}

func TestSandboxAnswersByItsCards(t *testing.T) {
	t.Parallel()
	order := checkout.Order{OrderID: 41, Sandbox: true, Price: &catalog.Quote{Amount: decimal.RequireFromString("1.995"), Currency: "EUR"}}
	for name, test := range map[string]struct {
		token, card, code string
		want              error
	}{
		"pays":        {"token", payments.CardPays, "", nil},
		"with spaces": {"token", "4111 1111 1111 1111", "", nil},
		"right code":  {"token", payments.CardWithCode, payments.SandboxCode, nil},
		"no code":     {"token", payments.CardWithCode, "", payments.ErrCodeNeeded},
		"wrong code":  {"token", payments.CardWithCode, "4321", payments.ErrCodeWrong},
		"declined":    {"token", payments.CardDeclined, "", payments.ErrCardDeclined},
		"times out":   {"token", payments.CardTimesOut, "", payments.ErrCardTimeout},
		"unknown":     {"token", "4242424242424242", "", payments.ErrUnknownCard},
		"no token":    {"", payments.CardPays, "", payments.ErrNoSuchToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claim, err := sandbox(order).Read(t.Context(), card(t, test.token, test.card, test.code))
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []any{int64(41), "2", "EUR", true}, []any{claim.OrderID, claim.Amount.String(), claim.Currency, claim.Sandbox}, "what is due, in minor units")
		})
	}
	real := order
	real.Sandbox = false
	_, err := sandbox(real).Read(t.Context(), card(t, "token", payments.CardPays, ""))
	require.ErrorIs(t, err, payments.ErrSandboxOff)
}

func TestSandboxNamesAPaymentByItsKey(t *testing.T) {
	t.Parallel()
	provider := sandbox(checkout.Order{OrderID: 41, Sandbox: true, Price: &catalog.Quote{Amount: decimal.NewFromInt(1), Currency: "EUR"}})
	read := func(key string) string {
		m := card(t, "token", payments.CardPays, "")
		m.Key = key
		claim, err := provider.Read(t.Context(), m)
		require.NoError(t, err)
		return claim.ProviderID
	}
	require.Equal(t, read("k"), read("k"))
	require.NotEqual(t, read("k"), read("l"))
	require.NotEqual(t, read(""), read(""))
}

func notifications(signature error) payments.Notifications {
	return payments.Notifications{
		Verify:    func(http.Header, []byte, time.Time) error { return signature },
		IsSandbox: func(context.Context, int64) (bool, error) { return true, nil },
		Reserved:  []string{payments.SandboxName},
	}
}

func TestNotificationsAreReadWhenTheyAreSigned(t *testing.T) {
	t.Parallel()
	m := payments.Message{Body: []byte(`{"order_id": 41, "provider_id": "p1", "amount": "1.99", "currency": "EUR"}`)}
	_, err := notifications(errSignature).Read(t.Context(), m)
	require.ErrorIs(t, err, errSignature)
	claim, err := notifications(nil).Read(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, []any{int64(41), payments.UnnamedProvider, "p1", "1.99", true}, []any{claim.OrderID, claim.Provider, claim.ProviderID, claim.Amount.String(), claim.Sandbox})
	_, err = notifications(errSignature).ReadReturn(m)
	require.ErrorIs(t, err, errSignature)
}

func TestNotificationsListTheirMistakes(t *testing.T) {
	t.Parallel()
	for body, fields := range map[string][]string{
		`[]`: nil,
		`{"order_id": 41, "provider": "sandbox", "provider_id": "", "amount": "0", "currency": "EUR"}`: {"provider_id", "amount", "provider"},
		`{"order_id": 41, "provider_id": "p1", "amount": "1", "currency": "euro"}`:                     {"currency"},
	} {
		_, err := notifications(nil).Read(t.Context(), payments.Message{Body: []byte(body)})
		var refusal *payments.Refusal
		require.ErrorAs(t, err, &refusal, body)
		var named []string
		for _, field := range refusal.Fields {
			named = append(named, field.Property)
		}
		require.Equal(t, fields, named, body)
	}
}
