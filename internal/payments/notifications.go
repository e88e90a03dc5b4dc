package payments

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/checkout"
)

// UnnamedProvider is what a payment is recorded under whose notification names no provider.
const UnnamedProvider = "external"

// Notifications is the provider for whoever charges users outside of QuickPass and tells by signed notification.
type Notifications struct {
	// Verify checks the signature; what is wrong with it is the error.
	Verify func(header http.Header, body []byte, now time.Time) error
	// IsSandbox tells whether no money moves for an order, for notifications that do not say so themselves.
	IsSandbox func(ctx context.Context, orderID int64) (bool, error)
	// Reserved names are those of other providers.
	Reserved []string
}

// Notification is the message: a payment, or with a return_id that money went back.
type Notification struct {
	OrderID    int64           `json:"order_id"`
	Provider   string          `json:"provider"`
	ProviderID string          `json:"provider_id"`
	Amount     decimal.Decimal `json:"amount"`
	Currency   string          `json:"currency"`
	Sandbox    *bool           `json:"sandbox"` // nil: as the order's mode
}

// Read checks the signature, and that everything is said.
func (n Notifications) Read(ctx context.Context, m Message) (Claim, error) {
	var in Notification
	if err := n.open(m, &in); err != nil {
		return Claim{}, err
	}
	if in.Provider == "" {
		in.Provider = UnnamedProvider
	}
	if in.Sandbox == nil {
		sandbox, err := n.IsSandbox(ctx, in.OrderID)
		if err != nil {
			return Claim{}, err
		}
		in.Sandbox = &sandbox
	}
	payment := checkout.Payment{
		Provider:   in.Provider,
		ProviderID: in.ProviderID,
		Amount:     in.Amount,
		Currency:   in.Currency,
		Sandbox:    *in.Sandbox,
	}
	mistakes := append(payment.Validate(), n.checkName(in.Provider)...)
	if len(mistakes) > 0 {
		return Claim{}, mistaken(mistakes)
	}
	return Claim{in.OrderID, payment}, nil
}

// ReturnNotice says that the provider has given money back, which `GET /api/v1/admin/checkout-returns` lists.
type ReturnNotice struct {
	ReturnID  int64  `json:"return_id"`
	Provider  string `json:"provider"`
	Reference string `json:"reference"` // of the provider's own transaction
}

// ReadReturn reads the other kind of notification.
func (n Notifications) ReadReturn(m Message) (ReturnNotice, error) {
	var in ReturnNotice
	if err := n.open(m, &in); err != nil {
		return in, err
	}
	if in.Provider == "" {
		in.Provider = UnnamedProvider
	}
	mistakes := n.checkName(in.Provider)
	if in.ReturnID < 1 {
		mistakes = append(mistakes, checkout.Detail{
			Property: "return_id",
			Message:  "of what is owed, as GET /api/v1/admin/checkout-returns lists it",
		})
	}
	if len(in.Reference) < 1 || len(in.Reference) > 255 {
		mistakes = append(mistakes, checkout.Detail{Property: "reference", Message: "1 to 255 characters"})
	}
	if len(mistakes) > 0 {
		return in, mistaken(mistakes)
	}
	return in, nil
}

func (n Notifications) open(m Message, into any) error {
	if err := n.Verify(m.Header, m.Body, m.At); err != nil {
		return err
	}
	if err := json.Unmarshal(m.Body, into); err != nil {
		return &Refusal{Code: invalidRequest, Message: "the body does not fit the call"}
	}
	return nil
}

func (n Notifications) checkName(provider string) []checkout.Detail {
	for _, reserved := range n.Reserved {
		if provider == reserved {
			return []checkout.Detail{{Property: "provider", Message: "is one of ours"}}
		}
	}
	return nil
}

func mistaken(mistakes []checkout.Detail) *Refusal {
	return &Refusal{Code: invalidRequest, Message: mistakes[0].Property + ": " + mistakes[0].Message, Fields: mistakes}
}
