package contract

import (
	"strconv"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/checkout"
)

// Names of the workflow of an order of a cart or an item, its signal and its activity.
const (
	CheckoutWorkflow = "Checkout"
	// CheckoutChangedSignal wakes an order that was paid, canceled or refunded in the database.
	CheckoutChangedSignal = "changed"

	SettleCheckoutActivity = "SettleCheckout"
)

// CheckoutWorkflowID is unique for an order: a second start finds the first.
func CheckoutWorkflowID(orderID int64) string { return "checkout/" + strconv.FormatInt(orderID, 10) }

// CheckoutOrderID reads CheckoutWorkflowID back; false for what is none.
func CheckoutOrderID(workflowID string) (int64, bool) {
	id, ok := strings.CutPrefix(workflowID, "checkout/")
	orderID, err := strconv.ParseInt(id, 10, 64)
	return orderID, ok && err == nil
}

// CheckoutInput starts the workflow of an order. Its lines, payments and instants are in the database.
type CheckoutInput struct {
	ProjectID int32  `json:"project_id"`
	OrderID   int64  `json:"order_id"`
	UserID    string `json:"user_id"`
}

// SettledCheckout is the answer of SettleCheckout.
type SettledCheckout struct {
	Status checkout.OrderStatus `json:"status"`
	// Until is set while the order waits to be paid: when it expires.
	Until *time.Time `json:"until,omitempty"`
}
