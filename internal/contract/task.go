package contract

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/tasks"
)

// Names of the workflow of one user's window of one task, its signal and its activities.
const (
	TaskWindowWorkflow = "TaskWindow"

	SettleWindowActivity  = "SettleWindow"
	DeliverRewardActivity = "DeliverReward"
	RecordRewardActivity  = "RecordReward"
)

// The main product is asked for a reward as for a purchase: one try and three retries, ten seconds apart, each with
// the same RewardID.
const (
	RewardTimeout  = 30 * time.Second
	RewardInterval = 10 * time.Second
	RewardCalls    = 4
)

// TaskWindowWorkflowID is unique for a window: a second start finds the first.
func TaskWindowWorkflowID(windowID string) string { return "task/" + windowID }

// TaskWindowInput starts the workflow of a window. Progress and instants are in the database.
type TaskWindowInput struct {
	ProjectID int32  `json:"project_id"`
	WindowID  string `json:"window_id"`
	UserID    string `json:"user_id"`
	TaskID    int64  `json:"task_id"`
}

// SettledWindow is the answer of SettleWindow.
type SettledWindow struct {
	State tasks.State `json:"state"`
	// Until is set while the window is open: when it closes.
	Until *time.Time `json:"until,omitempty"`
	// Reward is set when the main product still owes the user its part.
	Reward *RewardInput `json:"reward,omitempty"`
}

// RewardInput asks the main product for its part of a reward.
type RewardInput struct {
	ProjectID int32  `json:"project_id"`
	RewardID  string `json:"reward_id"` // the same on every retry and replay
	UserID    string `json:"user_id"`
	TaskID    int64  `json:"task_id"`
	tasks.MainProductReward
}

// RewardStatus of a part of a reward.
type RewardStatus string

const (
	RewardPending     RewardStatus = "pending"
	RewardDelivered   RewardStatus = "delivered"
	RewardRefused     RewardStatus = "refused"     // by the main product, for good; an admin may replay it
	RewardUndelivered RewardStatus = "undelivered" // all tries failed; an admin may replay it
	RewardOverBudget  RewardStatus = "over_budget" // the task's budget was spent
)

// RewardResult is what became of the main product's part of a reward.
type RewardResult struct {
	Status        RewardStatus     `json:"status"` // delivered, refused or undelivered
	TransactionID string           `json:"transaction_id,omitempty"`
	NewBalance    *decimal.Decimal `json:"new_balance,omitempty"`
	Code          string           `json:"code,omitempty"`    // why not: the main product's, or ours when undelivered
	Message       string           `json:"message,omitempty"` // foreign text, at most 200 runes
}

// RecordRewardInput writes down what became of a reward.
type RecordRewardInput struct {
	RewardID string       `json:"reward_id"`
	Result   RewardResult `json:"result"`
}
