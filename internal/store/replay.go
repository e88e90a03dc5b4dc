package store

import (
	"math"
	"time"
)

// Bounds of a bulk replay.
const (
	MaxReplayOrders   = 50_000 // so that freezing the set is one short transaction; narrow the filter for more
	MinReplayRate     = 0.1    // orders a second
	MaxReplayRate     = 100.0
	DefaultReplayRate = 5.0
)

// ReplayStatus is where a bulk replay stands.
type ReplayStatus string

const (
	ReplayRunning   ReplayStatus = "running"
	ReplayPaused    ReplayStatus = "paused"
	ReplayCanceling ReplayStatus = "canceling" // begins no more orders, and waits for the outcomes of those it has begun
	ReplayCanceled  ReplayStatus = "canceled"
	ReplayCompleted ReplayStatus = "completed"
)

// Final says whether the report is there.
func (s ReplayStatus) Final() bool { return s == ReplayCanceled || s == ReplayCompleted }

// ReplayCommand is what an admin may do to a bulk replay.
type ReplayCommand string

const (
	PauseReplay  ReplayCommand = "pause"
	ResumeReplay ReplayCommand = "resume"
	CancelReplay ReplayCommand = "cancel"
)

// DecideReplayCommand says where a command leads; false when it comes too late. Repeating one changes nothing.
func DecideReplayCommand(status ReplayStatus, command ReplayCommand) (ReplayStatus, bool) {
	open := status == ReplayRunning || status == ReplayPaused
	switch {
	case command == PauseReplay && open:
		return ReplayPaused, true
	case command == ResumeReplay && open:
		return ReplayRunning, true
	case command == CancelReplay && open:
		return ReplayCanceling, true
	case command == CancelReplay && status != ReplayCompleted:
		return status, true
	default:
		return status, false
	}
}

// ReplayFilter says which canceled orders a bulk replay tries again; empty fields do not narrow it.
type ReplayFilter struct {
	Reason    ReasonCode `json:"reason,omitempty"`
	SKU       string     `json:"sku,omitempty"`
	UserID    string     `json:"user_id,omitempty"`
	Suspected *bool      `json:"suspected,omitempty"`
	From      *time.Time `json:"from,omitempty"` // creation, inclusive
	To        *time.Time `json:"to,omitempty"`   // creation, exclusive
}

// Reasons are those of the orders to try again: the one named, or every failure of a delivery. What a person
// decided is left alone unless it is named, and an order that its buyer did not confirm is never among them.
func (f ReplayFilter) Reasons() []ReasonCode {
	if f.Reason != "" {
		return []ReasonCode{f.Reason}
	}
	return []ReasonCode{MainProductUnreachable, MainProductRefused, MainProductInsufficientFunds}
}

// EmptyRange tells whether no order can have been created in it.
func (f ReplayFilter) EmptyRange() bool { return f.From != nil && f.To != nil && !f.From.Before(*f.To) }

// ReplayPace turns a rate, in orders a second, into so many orders every so often: about a second's worth at
// once, or single orders when they are further apart.
func ReplayPace(rate float64) (orders int64, every time.Duration) {
	orders = max(int64(math.Floor(rate)), 1)
	return orders, time.Duration(math.Round(float64(orders) / rate * float64(time.Second)))
}

// ReplayItemState is what became of one order of a bulk replay.
type ReplayItemState string

const (
	ItemWaiting   ReplayItemState = "waiting"
	ItemReplayed  ReplayItemState = "replayed"  // begun, no outcome yet
	ItemCompleted ReplayItemState = "completed" // delivered, the coins are spent
	ItemCanceled  ReplayItemState = "canceled"  // failed again, the coins are back
	ItemRefused   ReplayItemState = "refused"   // by our rules, such as too few coins; nothing moved
	ItemSkipped   ReplayItemState = "skipped"   // no longer canceled when its turn came, or the replay was canceled
)

// Why an order was skipped.
const (
	SkippedNotCanceled    = "order_not_replayable"
	SkippedReplayCanceled = "replay_canceled"
)

// ReplayTally is a number of orders and their price in coins.
type ReplayTally struct {
	Orders int64 `json:"orders"`
	Coins  int64 `json:"coins"`
}

func (t *ReplayTally) add(other ReplayTally) {
	t.Orders += other.Orders
	t.Coins += other.Coins
}

// ReplayCount counts the items of one state and one reason; the reason may be empty.
type ReplayCount struct {
	State  ReplayItemState
	Reason string
	ReplayTally
}

// ReplayReason says why orders did not complete.
type ReplayReason struct {
	Outcome ReplayItemState `json:"outcome"`
	Code    string          `json:"code"`
	ReplayTally
}

// ReplayProgress sums a bulk replay up; when it is over, this is its report.
type ReplayProgress struct {
	Total     ReplayTally    `json:"total"`
	Waiting   ReplayTally    `json:"waiting"`
	InFlight  ReplayTally    `json:"in_flight"`
	Completed ReplayTally    `json:"completed"`
	Canceled  ReplayTally    `json:"canceled"`
	Refused   ReplayTally    `json:"refused"`
	Skipped   ReplayTally    `json:"skipped"`
	Reasons   []ReplayReason `json:"reasons"`
}

// SumReplay adds the counts up.
func SumReplay(counts []ReplayCount) ReplayProgress {
	progress := ReplayProgress{Reasons: []ReplayReason{}}
	byState := map[ReplayItemState]*ReplayTally{
		ItemWaiting: &progress.Waiting, ItemReplayed: &progress.InFlight, ItemCompleted: &progress.Completed,
		ItemCanceled: &progress.Canceled, ItemRefused: &progress.Refused, ItemSkipped: &progress.Skipped,
	}
	for _, count := range counts {
		progress.Total.add(count.ReplayTally)
		byState[count.State].add(count.ReplayTally)
		if count.Reason != "" {
			progress.Reasons = append(progress.Reasons, ReplayReason{
				Outcome:     count.State,
				Code:        count.Reason,
				ReplayTally: count.ReplayTally,
			})
		}
	}
	return progress
}

// BulkReplay tries many canceled orders again, at a limited rate.
type BulkReplay struct {
	ReplayID      string
	ProjectID     int32
	Status        ReplayStatus
	Filter        ReplayFilter
	RatePerSecond float64
	Reason        string // why somebody wanted it
	Actor         string // the key of whoever did
	Total         ReplayTally
	Report        *ReplayProgress // when it is over
	CreatedAt     time.Time
	StartedAt     *time.Time
	FinishedAt    *time.Time
}
