package contract

import (
	"time"

	"github.com/quickpass/quickpass/internal/webhook"
)

// WebhookTaskQueue is where listeners are called: they may hang, and have slots of their own to do so.
const WebhookTaskQueue = "quickpass-webhooks"

// Names of the workflow that delivers a webhook, its signal and its activity, and of those of a test delivery.
const (
	WebhookWorkflow        = "WebhookDelivery"
	AttemptWebhookActivity = "AttemptWebhook"

	WebhookTestWorkflow = "WebhookTest"
	TestWebhookActivity = "TestWebhook"
)

const (
	// WebhookTimeout bounds one call of a listener, from the look-up of its name to the first bytes of its answer.
	WebhookTimeout = 15 * time.Second
	// WebhookTestTimeout is shorter: an admin waits for it.
	WebhookTestTimeout = 6 * time.Second
)

// WebhookWorkflowID is unique for a delivery: a second start finds the first.
func WebhookWorkflowID(deliveryID string) string { return "webhook/" + deliveryID }

// WebhookInput names the delivery; what is sent, where to and when is in the database.
type WebhookInput struct {
	ProjectID  int32         `json:"project_id"`
	DeliveryID string        `json:"delivery_id"`
	OrderID    int64         `json:"order_id"`
	UserID     string        `json:"user_id"`
	Event      webhook.Event `json:"event"`
}

// WebhookStanding is the answer of AttemptWebhook.
type WebhookStanding struct {
	Status webhook.Status `json:"status"`
	// Until is set while it is pending: there is nothing to do before.
	Until *time.Time `json:"until,omitempty"`
}

// WebhookTestInput asks for a test delivery to a project's endpoint, switched on or not.
type WebhookTestInput struct {
	ProjectID int32  `json:"project_id"`
	EventID   string `json:"event_id"`
}

// WebhookTested is what the listener said.
type WebhookTested struct {
	EventID    string         `json:"event_id"`
	Status     webhook.Status `json:"status"`                // what the answer would mean for a delivery
	StatusCode int            `json:"status_code,omitempty"` // 0: there was no answer
	Answer     string         `json:"answer,omitempty"`      // its first bytes
	Error      string         `json:"error,omitempty"`
	DurationMS int64          `json:"duration_ms"`
}
