package tasks

import (
	"fmt"
	"time"
)

// RefusalCode says why a task can't be activated. Codes are part of the HTTP API and never change.
type RefusalCode string

const (
	ActivationNotRunning       RefusalCode = "not_running"     // not published, or the campaign has not begun or is over
	ActivationNotInAudience    RefusalCode = "not_in_audience" //
	ActivationAutomatic        RefusalCode = "automatic"       // the task needs no activation
	ActivationLocked           RefusalCode = "locked"          // required tasks are not completed
	ActivationAlreadyActive    RefusalCode = "already_active"
	ActivationAlreadyCompleted RefusalCode = "already_completed"
	ActivationAlreadyUsed      RefusalCode = "already_used" // the only window is over
)

// Refusal is an activation that the rules do not allow. It is an answer, not a failure: nothing changed.
type Refusal struct {
	Code    RefusalCode `json:"code"`
	Message string      `json:"message"`
	Missing []int64     `json:"missing,omitempty"` // of locked: the tasks to complete first
	Until   *time.Time  `json:"until,omitempty"`   // when it may be allowed; nil: no time helps
}

// Error makes a Refusal usable as an error inside one transaction.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Activate begins a user's window of a task now. Previous is the user's window of the task with the highest
// number, nil if there is none. A canceled one may be activated again; a recurring one goes on by itself and
// is activated once.
func (t Task) Activate(user User, previous *Window, now time.Time) (Window, *Refusal) {
	if refusal := t.refuseUser(user, now); refusal != nil {
		return Window{}, refusal
	}
	var others []*tracked
	if previous != nil {
		if refusal := t.refuseAgain(*previous, now); refusal != nil {
			return Window{}, refusal
		}
		others = []*tracked{{Window: *previous}}
	}
	return t.open(user.UserID, wholeSeconds(now), now, others), nil
}

func (t Task) refuseUser(user User, now time.Time) *Refusal {
	switch missing := t.Missing(user); {
	case t.offered() && t.StartsAt != nil && now.Before(*t.StartsAt):
		until := t.StartsAt.UTC()
		return &Refusal{Code: ActivationNotRunning, Message: "the task begins at " + until.Format(time.RFC3339), Until: &until}
	case !t.runs(now):
		return &Refusal{Code: ActivationNotRunning, Message: "the task is not offered any more, or not yet"}
	case !t.Admits(user):
		return &Refusal{Code: ActivationNotInAudience, Message: "the task is not offered to this user"}
	case t.Activation == Automatic:
		return &Refusal{Code: ActivationAutomatic, Message: "the task begins by itself with the first event that counts"}
	case len(missing) > 0:
		return &Refusal{
			Code:    ActivationLocked,
			Message: fmt.Sprintf("%d of the required tasks must be completed first", len(missing)),
			Missing: missing,
		}
	default:
		return nil
	}
}

func (t Task) refuseAgain(previous Window, now time.Time) *Refusal {
	ended := !now.Before(previous.EndsAt)
	switch {
	case previous.State == Canceled:
		return nil
	case t.Recurring && ended:
		return &Refusal{Code: ActivationAlreadyActive, Message: "the task is active and begins anew by itself"}
	case previous.State == Completed && t.Recurring:
		until := previous.EndsAt
		return &Refusal{
			Code:    ActivationAlreadyCompleted,
			Message: "the task is completed, and begins anew by itself at " + until.Format(time.RFC3339),
			Until:   &until,
		}
	case previous.State == Completed:
		return &Refusal{Code: ActivationAlreadyCompleted, Message: "the task is completed, and can be completed once"}
	case ended:
		return &Refusal{Code: ActivationAlreadyUsed, Message: "the time for the task is over, and it can be activated once"}
	default:
		return &Refusal{Code: ActivationAlreadyActive, Message: "the task is active until " + previous.EndsAt.Format(time.RFC3339)}
	}
}
