package contract

import (
	"time"

	"github.com/quickpass/quickpass/internal/store"
)

// Names of the workflow of a bulk replay, its query, its signal and its activities.
const (
	ReplayWorkflow      = "Replay"
	ReplayProgressQuery = "progress"

	ReplayOrdersActivity = "ReplayOrders"
	FinishReplayActivity = "FinishReplay"
	CancelReplayActivity = "CancelReplay"
)

// ReplayWorkflowID is unique for a bulk replay.
func ReplayWorkflowID(replayID string) string { return "replay/" + replayID }

// ReplayInput starts the workflow of a bulk replay, or continues it as new.
type ReplayInput struct {
	ProjectID     int32              `json:"project_id"`
	ReplayID      string             `json:"replay_id"`
	Orders        int64              `json:"orders"`
	Filter        store.ReplayFilter `json:"filter"`
	RatePerSecond float64            `json:"rate_per_second"`
	Next          int64              `json:"next,omitempty"` // position of the first order that may wait; from the first if 0
	Due           time.Time          `json:"due,omitzero"`   // no order is begun before
}

// ReplayInputOf is what the workflow of a replay is started with.
func ReplayInputOf(r store.BulkReplay) ReplayInput {
	return ReplayInput{
		ProjectID:     r.ProjectID,
		ReplayID:      r.ReplayID,
		Orders:        r.Total.Orders,
		Filter:        r.Filter,
		RatePerSecond: r.RatePerSecond,
	}
}

// ReplayBatch asks for the orders at the positions from First to before Past to be begun, and for the outcomes of
// those begun before. Positions are fixed, so that a repeat begins none but the same orders.
type ReplayBatch struct {
	ReplayID string `json:"replay_id"`
	First    int64  `json:"first"`
	Past     int64  `json:"past"`
}

// ReplayStanding is where a replay stands in PostgreSQL.
type ReplayStanding struct {
	Status   store.ReplayStatus `json:"status"`
	Waiting  int64              `json:"waiting"`
	InFlight int64              `json:"in_flight"`
	Next     int64              `json:"next,omitempty"` // position of the first order that waits
}

// Over says whether every order of the replay has its outcome.
func (s ReplayStanding) Over() bool { return s.Waiting == 0 && s.InFlight == 0 }

// ReplayRef names a replay.
type ReplayRef struct {
	ProjectID int32  `json:"project_id"`
	ReplayID  string `json:"replay_id"`
}

// ReplayResult is how a replay ended. A status that is not final: it was changed meanwhile and goes on.
type ReplayResult struct {
	Status store.ReplayStatus    `json:"status"`
	Report *store.ReplayProgress `json:"report,omitempty"`
}
