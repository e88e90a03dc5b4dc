package tasks

import "github.com/shopspring/decimal"

// Code says why an event counted for a task or not. Stable: callers rely on it.
type Code string

const (
	Counted          Code = "counted"
	AlreadySeen      Code = "already_seen"      // distinct: this value was counted before; streak: this day
	TooSmall         Code = "too_small"         // less than min_amount
	NoAmount         Code = "no_amount"         // min_amount or sum asks for an amount that the event lacks
	NotEqual         Code = "not_equal"         // a field differs from what equals asks for
	ConditionFalse   Code = "condition_false"   //
	ConditionFailed  Code = "condition_failed"  // it could not be evaluated, for example because a field is missing
	BeforeActivation Code = "before_activation" // it happened before the window was activated
	WindowClosed     Code = "window_closed"     // it happened after the window had ended
	Late             Code = "late"              // it happened in time, and arrived after the grace
	AlreadyCompleted Code = "already_completed" // the window had reached its target
	WindowCanceled   Code = "window_canceled"
	NotActivated     Code = "not_activated" // the user has not activated the task
	NotInAudience    Code = "not_in_audience"
	Locked           Code = "locked"       // a task that it requires is not completed
	NotRunning       Code = "not_running"  // the campaign has not begun, or is over
	OverBudget       Code = "over_budget"  //
	UnknownUser      Code = "unknown_user" // of the whole event: QuickPass does not know the user
	Duplicate        Code = "duplicate"    // of the whole event: it was delivered before
)

// Decision is what one event meant for one task.
type Decision struct {
	TaskID   int64             `json:"task_id"`
	Version  int64             `json:"version"`
	WindowID string            `json:"window_id,omitempty"`
	Code     Code              `json:"code"`
	Added    *decimal.Decimal  `json:"added,omitempty"`  // to the progress, when it counted
	Values   map[string]string `json:"values,omitempty"` // what was compared, such as amount and min_amount
}
