package api

import (
	"context"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/optional"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

var errDisputeNotFound = fail(ProblemCodeDisputeNotFound, "no dispute of this id; GET /api/v1/admin/disputes lists them")

// AdminOpenDispute opens a dispute about an order with its first note.
func (h *handlers) AdminOpenDispute(ctx context.Context, r AdminOpenDisputeRequestObject) (AdminOpenDisputeResponseObject, error) {
	act := disputeAct(ctx, "dsp_"+xid.New().String(), &r.Body.Note)
	act.OrderID = r.ID
	dispute, replayed, err := h.db.OpenDispute(ctx, act, h.now())
	return AdminOpenDispute201JSONResponse{Body: disputeBody(dispute), Headers: AdminOpenDispute201ResponseHeaders{
		Location: new("/api/v1/admin/disputes/" + dispute.DisputeID), IdempotencyReplayed: flag(replayed)}}, orElse(err, errOrderNotFound)
}

// AdminNoteDispute adds a note.
func (h *handlers) AdminNoteDispute(ctx context.Context, r AdminNoteDisputeRequestObject) (AdminNoteDisputeResponseObject, error) {
	dispute, replayed, err := h.db.NoteDispute(ctx, disputeAct(ctx, r.ID, &r.Body.Note), h.now())
	return AdminNoteDispute201JSONResponse{Body: disputeBody(dispute), Headers: AdminNoteDispute201ResponseHeaders{
		IdempotencyReplayed: flag(replayed)}}, orElse(err, errDisputeNotFound)
}

// AdminMoveDispute moves a dispute to another state.
func (h *handlers) AdminMoveDispute(ctx context.Context, r AdminMoveDisputeRequestObject) (AdminMoveDisputeResponseObject, error) {
	act := disputeAct(ctx, r.ID, r.Body.Note)
	act.State = store.DisputeState(r.Body.State)
	dispute, _, err := h.db.NoteDispute(ctx, act, h.now())
	return AdminMoveDispute200JSONResponse(disputeBody(dispute)), orElse(err, errDisputeNotFound)
}

func disputeAct(ctx context.Context, disputeID string, note *string) postgres.DisputeAct {
	call := callOf(ctx)
	return postgres.DisputeAct{
		ProjectID:   call.key.ProjectID,
		DisputeID:   disputeID,
		Note:        value(note),
		Actor:       call.key.KeyID,
		Idempotency: call.idempotency,
	}
}

// AdminGetDispute reads a dispute with its notes.
func (h *handlers) AdminGetDispute(ctx context.Context, r AdminGetDisputeRequestObject) (AdminGetDisputeResponseObject, error) {
	dispute, err := h.db.GetDispute(ctx, callOf(ctx).key.ProjectID, r.ID)
	return AdminGetDispute200JSONResponse(disputeBody(dispute)), orElse(err, errDisputeNotFound)
}

// AdminListDisputes looks for disputes.
func (h *handlers) AdminListDisputes(ctx context.Context, r AdminListDisputesRequestObject) (AdminListDisputesResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	disputes, err := h.db.Disputes(ctx, callOf(ctx).key.ProjectID, postgres.DisputeFilter{State: string(value(r.Params.State)),
		OrderID: value(r.Params.OrderID), UserID: value(r.Params.UserID), Before: value(r.Params.Cursor), Limit: limit + 1})
	items, next := page(disputes, limit, func(d postgres.Dispute) string { return d.DisputeID })
	return AdminListDisputes200JSONResponse{Items: each(items, disputeBody), NextCursor: next}, err
}

func disputeBody(d postgres.Dispute) Dispute {
	body := Dispute{DisputeID: d.DisputeID, OrderID: d.OrderID, UserID: d.UserID, State: DisputeState(d.State), OpenedBy: d.OpenedBy,
		CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC()}
	if d.Notes != nil {
		body.Notes = new(each(d.Notes, func(n postgres.DisputeNote) DisputeNote {
			return DisputeNote{
				ID:     n.NoteID,
				Author: n.Author,
				State:  optional.Text(string(n.State)),
				Note:   optional.Text(n.Note),
				At:     n.At.UTC(),
			}
		}))
	}
	return body
}
