package contract

import (
	"strconv"
	"strings"
	"time"

	"github.com/quickpass/quickpass/internal/checkout"
	"github.com/quickpass/quickpass/internal/store"
)

// Names of the workflow of an order of a cart or an item, its signal and its activity.
const (
	CheckoutWorkflow = "Checkout"

	SettleCheckoutActivity         = "SettleCheckout"
	DeliverCheckoutActivity        = "DeliverCheckout"
	InquireCheckoutActivity        = "InquireCheckout"
	RecordCheckoutDeliveryActivity = "RecordCheckoutDelivery"
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
	// Deliveries are what the main product is to be asked for now.
	Deliveries []CheckoutDelivery `json:"deliveries,omitempty"`
}

// CheckoutDelivery asks the main product for its part of a line. What exactly is frozen in the database.
type CheckoutDelivery struct {
	OrderID   int64                  `json:"order_id"`
	UserID    string                 `json:"user_id"`
	Number    int                    `json:"number"`              // within the order
	Round     int                    `json:"round"`               // 1, and one more each time an admin has it delivered again
	Suspected bool                   `json:"suspected,omitempty"` // an earlier round may have been credited
	Summary   string                 `json:"summary"`             // such as "100 credits"
	Settings  store.DeliverySettings `json:"settings"`
}

// MainProductOrderID is the order id that the main product is told for a delivery: the same on every retry
// and in every round.
func (d CheckoutDelivery) MainProductOrderID() string { return CheckoutDeliveryID(d.OrderID, d.Number) }

// CheckoutDeliveryID names a delivery to the main product.
func CheckoutDeliveryID(orderID int64, number int) string {
	return "co_" + strconv.FormatInt(orderID, 10) + "_" + strconv.Itoa(number)
}

// RecordDeliveryInput writes down what became of a delivery.
type RecordDeliveryInput struct {
	Delivery CheckoutDelivery `json:"delivery"`
	Outcome  Outcome          `json:"outcome"` // credited, refused, or unknown
}

// RecordedDelivery is how the delivery, and with it the order, stands then.
type RecordedDelivery struct {
	Delivery checkout.DeliveryStatus `json:"delivery"`
	Order    checkout.OrderStatus    `json:"order"`
	Code     string                  `json:"code,omitempty"` // why it is not delivered
}
