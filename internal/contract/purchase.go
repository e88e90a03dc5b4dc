package contract

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// Names of the purchase workflow, its query and its activities.
const (
	PurchaseWorkflow      = "Purchase"
	PurchaseProgressQuery = "progress"
	// PurchaseConfirmedSignal wakes an order whose confirmation was written to the database.
	PurchaseConfirmedSignal = "confirmed"

	ReserveActivity      = "Reserve"
	DeliverFirstActivity = "DeliverFirst"
	DeliverActivity      = "Deliver"
	InquireActivity      = "Inquire"
	CaptureActivity      = "Capture"
	ReleaseActivity      = "Release"
)

// PurchaseWorkflowID is unique for an order: a second start finds the first.
func PurchaseWorkflowID(orderID string) string { return "purchase/" + orderID }

// PurchaseInput starts a purchase. It names the order; what to deliver is frozen in the order row.
type PurchaseInput struct {
	ProjectID int32  `json:"project_id"`
	OrderID   string `json:"order_id"`
	UserID    string `json:"user_id"`
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	Attempt   int    `json:"attempt"` // 1, and one more for each replay by an admin
}

// PurchaseResult is how a purchase ended. A refusal is a result, not a failure.
type PurchaseResult struct {
	Status  store.OrderStatus `json:"status"`
	Reason  *store.Reason     `json:"reason,omitempty"`
	Refusal *store.Refusal    `json:"refusal,omitempty"` // nothing was reserved
}

// PurchaseProgress answers the progress query and Temporal UI's question: what does it wait for?
type PurchaseProgress struct {
	Step       string    `json:"step"`
	WaitingFor string    `json:"waiting_for,omitempty"`
	LastError  string    `json:"last_error,omitempty"`
	Since      time.Time `json:"since"`
}

// Reservation is the answer of Reserve: either a refusal, or what is held and must be delivered.
type Reservation struct {
	Status    store.OrderStatus `json:"status"`
	Attempt   int               `json:"attempt"`
	Suspected bool              `json:"suspected,omitempty"` // an earlier attempt may have been credited
	Delivery  *store.Delivery   `json:"delivery,omitempty"`
	Refusal   *store.Refusal    `json:"refusal,omitempty"`
	ConfirmBy *time.Time        `json:"confirm_by,omitempty"` // while it awaits the buyer's confirmation
	Reason    *store.Reason     `json:"reason,omitempty"`     // why it was canceled
}

// DeliveryInput asks the main product for an order's credits.
type DeliveryInput struct {
	ProjectID int32          `json:"project_id"`
	OrderID   string         `json:"order_id"`
	UserID    string         `json:"user_id"`
	Attempt   int            `json:"attempt"`
	Delivery  store.Delivery `json:"delivery"`
	// JoinOnly asks for the answer of a call in flight in this very process, and never sends one.
	JoinOnly bool `json:"join_only,omitempty"`
}

// OutcomeKind is one of the main product's three answers, or that none is there yet.
type OutcomeKind string

const (
	Credited  OutcomeKind = "credited"
	Refused   OutcomeKind = "refused"
	Unknown   OutcomeKind = "unknown"    // timeout, broken connection, 5xx, garbage
	InFlight  OutcomeKind = "in_flight"  // the first call is still waiting for its answer
	NotJoined OutcomeKind = "not_joined" // no such call in this process
	NotFound  OutcomeKind = "not_found"  // answer to an inquiry: the order never arrived
	NotDue    OutcomeKind = "not_due"    // it has been settled otherwise meanwhile; nothing was sent
)

// Outcome of a call to the main product.
type Outcome struct {
	Kind          OutcomeKind   `json:"kind"`
	Credit        *store.Credit `json:"credit,omitempty"`
	Reason        *store.Reason `json:"reason,omitempty"`         // refused
	Error         string        `json:"error,omitempty"`          // unknown: a stable code
	MaybeCredited bool          `json:"maybe_credited,omitempty"` // unknown: it may have credited
	Call          *CallInFlight `json:"call,omitempty"`           // in flight
}

// CallInFlight says where a call waits for its answer and until when.
type CallInFlight struct {
	TaskQueue string    `json:"task_queue"` // of the one process that has it
	Deadline  time.Time `json:"deadline"`
}

// CaptureInput completes an order: held coins become revenue, reserved stock is sold.
type CaptureInput struct {
	ProjectID int32        `json:"project_id"`
	OrderID   string       `json:"order_id"`
	Attempt   int          `json:"attempt"`
	Credit    store.Credit `json:"credit"`
	Calls     int          `json:"calls"` // answered calls not yet counted: 1, or 0 after an inquiry
}

// ReleaseInput cancels an order: held coins and reserved stock go back.
type ReleaseInput struct {
	ProjectID int32        `json:"project_id"`
	OrderID   string       `json:"order_id"`
	Attempt   int          `json:"attempt"`
	Reason    store.Reason `json:"reason"`
	Calls     int          `json:"calls"` // answered calls not yet counted: 1 after a refusal
	// MaybeCredited: some call of this attempt may have had, or may still have, an effect. The order is then suspected.
	MaybeCredited bool `json:"maybe_credited,omitempty"`
	// Expected is the status that the order must still have; processing if empty.
	Expected store.OrderStatus `json:"expected,omitempty"`
}

// InquiryInput asks the main product what became of an order.
type InquiryInput struct {
	ProjectID int32  `json:"project_id"`
	OrderID   string `json:"order_id"`
	Attempt   int    `json:"attempt"`
}

// Types of errors that workflows tell apart.
const (
	// ErrorTypeMainProduct: a delivery without a final answer; Temporal retries it.
	ErrorTypeMainProduct = "MainProductUnavailable"
	// ErrorTypeTransactionClash: the main product's transaction id belongs to another order already, so
	// its answer can't be this order's.
	ErrorTypeTransactionClash = "TransactionClash"
)
