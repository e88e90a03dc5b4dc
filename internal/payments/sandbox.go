package payments

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/quickpass/quickpass/internal/checkout"
)

// SandboxName is what payments of the sandbox are recorded under.
const SandboxName = "sandbox"

// Cards of the sandbox. Clients rely on their numbers.
const (
	CardPays     = "4111111111111111"
	CardDeclined = "4000000000000002"
	CardWithCode = "4000000000003220" // 3-D Secure: asks for SandboxCode
	CardTimesOut = "4000000000000119"
	SandboxCode  = "1234"
)

// What the sandbox answers.
var (
	ErrNoSuchToken  = &Refusal{Code: orderNotFound, Message: "nobody has this token"}
	ErrSandboxOff   = &Refusal{Code: "sandbox_off", Message: "the order is to be paid with money, not with a test card"}
	ErrCardDeclined = &Refusal{Code: "card_declined", Message: "the card was declined; pay with another one"}
	ErrCodeNeeded   = &Refusal{Code: "payment_code_required", Message: "the card asks for a code; send it again with the code"}
	ErrCodeWrong    = &Refusal{Code: "payment_code_required", Message: "the code is wrong; send it again with the right one"}
	ErrCardTimeout  = &Refusal{Code: "payment_timeout", Message: "the provider did not answer; nothing was paid"}
	ErrUnknownCard  = &Refusal{
		Code:    invalidRequest,
		Message: "card: is none of the test cards",
		Fields:  []checkout.Detail{{Property: "card", Message: "is none of the test cards"}},
	}
)

// Sandbox is the provider that QuickPass serves itself, for orders of projects in sandbox mode.
type Sandbox struct {
	// Order is the order that a payment token pays for, given as its SHA-256; ErrNoSuchToken when it is nobody's.
	Order func(ctx context.Context, hash [sha256.Size]byte) (checkout.Order, error)
}

// TestCard is the message of the sandbox.
type TestCard struct {
	Token string `json:"token"`
	Card  string `json:"card"` // spaces are allowed
	Code  string `json:"code,omitempty"`
}

// Read pays what is due, if the card allows. A message with the same key is the same payment.
func (s Sandbox) Read(ctx context.Context, m Message) (Claim, error) {
	var in TestCard
	if err := json.Unmarshal(m.Body, &in); err != nil {
		return Claim{}, &Refusal{Code: invalidRequest, Message: "the body does not fit the call"}
	}
	order, err := s.Order(ctx, sha256.Sum256([]byte(in.Token)))
	switch {
	case err != nil:
		return Claim{}, err
	case !order.Sandbox || order.Price == nil:
		return Claim{}, ErrSandboxOff
	}
	if err := answerOf(strings.ReplaceAll(in.Card, " ", ""), in.Code); err != nil {
		return Claim{}, err
	}
	return Claim{order.OrderID, checkout.Payment{
		Provider:   SandboxName,
		ProviderID: sandboxID(in.Token, m.Key),
		Amount:     order.Price.Payable(),
		Currency:   order.Price.Currency,
		Sandbox:    true,
	}}, nil
}

// answerOf is what the card's bank says; nil: it pays.
func answerOf(card, code string) error {
	switch {
	case card == CardPays, card == CardWithCode && code == SandboxCode:
		return nil
	case card == CardWithCode && code == "":
		return ErrCodeNeeded
	case card == CardWithCode:
		return ErrCodeWrong
	case card == CardDeclined:
		return ErrCardDeclined
	case card == CardTimesOut:
		return ErrCardTimeout
	default:
		return ErrUnknownCard
	}
}

func sandboxID(token, key string) string {
	if key == "" {
		return "sb_" + strings.ToLower(rand.Text())
	}
	own := sha256.Sum256([]byte(token + "\n" + key))
	return "sb_" + hex.EncodeToString(own[:16])
}
