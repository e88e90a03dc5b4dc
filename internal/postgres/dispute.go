package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres/sqlc"
	"github.com/quickpass/quickpass/internal/store"
)

// Dispute is a user's complaint about an order, as support works on it.
type Dispute struct {
	DisputeID string
	OrderID   string
	UserID    string
	State     store.DisputeState
	OpenedBy  string
	CreatedAt time.Time
	UpdatedAt time.Time
	Notes     []DisputeNote // oldest first, at most 1,000; nil in lists
}

// DisputeNote is what somebody said about a dispute, or a change of its state.
type DisputeNote struct {
	NoteID int64
	Author string
	State  store.DisputeState // the new one; empty: no change
	Note   string             // may be empty when the state changed
	At     time.Time
}

// DisputeAct opens a dispute, adds a note or moves it to another state.
type DisputeAct struct {
	ProjectID   int32
	DisputeID   string
	OrderID     string             // to open
	State       store.DisputeState // to move; empty: stay
	Note        string
	Actor       string
	Idempotency *Idempotency
}

// OpenDispute opens a dispute about an order with its first note. It fails with ErrNotFound when there is no such
// order, and with ErrIdempotencyKeyReused.
func (db *DB) OpenDispute(ctx context.Context, a DisputeAct, now time.Time) (dispute Dispute, replayed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		id, err := a.Idempotency.claim(ctx, q, a.ProjectID, a.DisputeID, now)
		if err != nil {
			return err
		}
		if replayed = id != a.DisputeID; !replayed {
			order, err := readOrder(ctx, q, a.ProjectID, a.OrderID)
			if err != nil {
				return err
			}
			err = q.InsertDispute(ctx, sqlc.InsertDisputeParams{
				DisputeID: id,
				ProjectID: a.ProjectID,
				OrderID:   a.OrderID,
				UserID:    order.UserID,
				OpenedBy:  a.Actor,
				Now:       now,
			})
			if err != nil {
				return fmt.Errorf("open dispute: %w", err)
			}
			a.State = store.DisputeOpen
			if err := noteDispute(ctx, q, a, a.OrderID, "dispute.open", now); err != nil {
				return err
			}
		}
		dispute, err = readDispute(ctx, q, a.ProjectID, id)
		return err
	})
	return dispute, replayed, err
}

// NoteDispute adds a note, a new state, or both. Moving to the state it has, without a note, changes nothing. It fails
// with ErrNotFound, a *store.Refusal or ErrIdempotencyKeyReused.
func (db *DB) NoteDispute(ctx context.Context, a DisputeAct, now time.Time) (dispute Dispute, replayed bool, err error) {
	err = db.inTx(ctx, func(q *sqlc.Queries) error {
		resource := "note/" + a.DisputeID + "/" + xid.New().String()
		first, err := a.Idempotency.claim(ctx, q, a.ProjectID, resource, now)
		if err != nil {
			return err
		}
		if replayed = first != resource; !replayed {
			if err := note(ctx, q, a, now); err != nil {
				return err
			}
		}
		dispute, err = readDispute(ctx, q, a.ProjectID, a.DisputeID)
		return err
	})
	return dispute, replayed, err
}

func note(ctx context.Context, q *sqlc.Queries, a DisputeAct, now time.Time) error {
	row, err := q.LockDispute(ctx, sqlc.LockDisputeParams{DisputeID: a.DisputeID, ProjectID: a.ProjectID})
	if err != nil {
		return notFound(err)
	}
	action := "dispute.note"
	if string(a.State) == row.State {
		a.State = ""
	}
	if a.State != "" {
		if refusal := store.DecideDispute(store.DisputeState(row.State), a.State); refusal != nil {
			return refusal
		}
		action = "dispute.move"
	} else if a.Note == "" {
		return nil
	}
	state := row.State
	if a.State != "" {
		state = string(a.State)
	}
	if err := q.SetDisputeState(ctx, sqlc.SetDisputeStateParams{DisputeID: a.DisputeID, State: state, Now: now}); err != nil {
		return fmt.Errorf("note dispute: %w", err)
	}
	return noteDispute(ctx, q, a, row.OrderID, action, now)
}

func noteDispute(ctx context.Context, q *sqlc.Queries, a DisputeAct, orderID, action string, now time.Time) error {
	err := q.InsertDisputeNote(ctx, sqlc.InsertDisputeNoteParams{
		DisputeID: a.DisputeID,
		Author:    a.Actor,
		State:     optional.Text(string(a.State)),
		Note:      optional.Text(a.Note),
		Now:       now,
	})
	if err != nil {
		return fmt.Errorf("note dispute: %w", err)
	}
	return audit(ctx, q, a.ProjectID, a.Actor, action, orderID, map[string]any{
		"dispute_id": a.DisputeID,
		"state":      a.State,
		"reason":     a.Note,
	}, now)
}

// GetDispute reads a dispute with its notes; ErrNotFound when there is none.
func (db *DB) GetDispute(ctx context.Context, projectID int32, disputeID string) (Dispute, error) {
	return readDispute(ctx, db.q, projectID, disputeID)
}

func readDispute(ctx context.Context, q *sqlc.Queries, projectID int32, disputeID string) (Dispute, error) {
	row, err := q.GetDispute(ctx, sqlc.GetDisputeParams{DisputeID: disputeID, ProjectID: projectID})
	if err != nil {
		return Dispute{}, notFound(err)
	}
	notes, err := q.ListDisputeNotes(ctx, disputeID)
	if err != nil {
		return Dispute{}, fmt.Errorf("notes of dispute: %w", err)
	}
	dispute := disputeOf(row)
	for _, n := range notes {
		dispute.Notes = append(dispute.Notes, DisputeNote{
			NoteID: n.NoteID,
			Author: n.Author,
			State:  store.DisputeState(text(n.State)),
			Note:   text(n.Note),
			At:     n.At,
		})
	}
	return dispute, nil
}

// DisputeFilter narrows a list of disputes; empty fields do not.
type DisputeFilter struct {
	State, OrderID, UserID string
	Before                 string // cursor: disputes older than this one
	Limit                  int
}

// Disputes lists a project's disputes without their notes, newest first.
func (db *DB) Disputes(ctx context.Context, projectID int32, f DisputeFilter) ([]Dispute, error) {
	rows, err := db.q.ListDisputes(ctx, sqlc.ListDisputesParams{
		ProjectID:   projectID,
		Before:      optional.Text(f.Before),
		State:       optional.Text(f.State),
		OrderID:     optional.Text(f.OrderID),
		UserID:      optional.Text(f.UserID),
		MaxDisputes: int32(f.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list disputes: %w", err)
	}
	disputes := make([]Dispute, len(rows))
	for i, row := range rows {
		disputes[i] = disputeOf(row)
	}
	return disputes, nil
}

func disputeOf(row sqlc.Dispute) Dispute {
	return Dispute{
		DisputeID: row.DisputeID,
		OrderID:   row.OrderID,
		UserID:    row.UserID,
		State:     store.DisputeState(row.State),
		OpenedBy:  row.OpenedBy,
		CreatedAt: row.CreatedAt,
		UpdatedAt: row.UpdatedAt,
	}
}
