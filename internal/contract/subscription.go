package contract

import (
	"fmt"
	"time"

	"github.com/quickpass/quickpass/internal/subscriptions"
)

// Names of the workflow of one user's subscription of one SKU, its signal and its activity.
const (
	SubscriptionWorkflow = "Subscription"

	SettleSubscriptionActivity = "SettleSubscription"
)

// SubscriptionInput names a subscription. Until when it lasts is in the database.
type SubscriptionInput struct {
	ProjectID int32  `json:"project_id"`
	UserID    string `json:"user_id"`
	SKU       string `json:"sku"`
}

// SubscriptionWorkflowID is unique for a subscription: a second start finds the first.
func SubscriptionWorkflowID(in SubscriptionInput) string {
	return fmt.Sprintf("subscription/%d/%s/%s", in.ProjectID, in.UserID, in.SKU)
}

// SettledSubscription is the answer of SettleSubscription.
type SettledSubscription struct {
	Status subscriptions.Status `json:"status"`
	// Until is when to look again: at the reminder, or at the end. Nil when there is nothing left to tell.
	Until *time.Time `json:"until,omitempty"`
}
