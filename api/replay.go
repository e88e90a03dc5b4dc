package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/xid"

	"github.com/quickpass/quickpass/internal/contract"
	"github.com/quickpass/quickpass/internal/postgres"
	"github.com/quickpass/quickpass/internal/store"
)

const replaySample = 20

var errReplayNotFound = fail(ProblemCodeReplayNotFound, "no replay of this id; GET /api/v1/admin/replays lists them")

// AdminCreateReplay freezes the orders of a bulk replay and has it started, or says what it would do.
func (h *handlers) AdminCreateReplay(ctx context.Context, r AdminCreateReplayRequestObject) (AdminCreateReplayResponseObject, error) {
	if r.Body.Filter.EmptyRange() {
		return nil, invalid("filter.to", "must be after from")
	}
	if value(r.Body.DryRun) {
		return h.previewReplay(ctx, r.Body.Filter)
	}
	call := callOf(ctx)
	replay := postgres.NewReplay{
		ProjectID:     call.key.ProjectID,
		ReplayID:      "rp_" + xid.New().String(),
		Filter:        r.Body.Filter,
		RatePerSecond: or(r.Body.RatePerSecond, store.DefaultReplayRate),
		Reason:        r.Body.Reason,
		Actor:         call.key.KeyID,
		Idempotency:   call.idempotency,
	}
	replayID, replayed, err := h.db.CreateReplay(ctx, replay, h.now())
	switch {
	case errors.Is(err, postgres.ErrNothingToReplay):
		return nil, fail(ProblemCodeNothingToReplay, "no canceled order fits the filter; a dry run says what does")
	case errors.Is(err, postgres.ErrTooManyOrders):
		return nil, fail(ProblemCodeTooManyOrders, fmt.Sprintf("a replay takes at most %d orders; narrow the filter, such as by time", store.MaxReplayOrders))
	case err != nil:
		return nil, err
	}
	if !replayed {
		current, _, err := h.readReplay(ctx, replayID)
		if err != nil {
			return nil, err
		}
		h.starter.Replay(contract.ReplayInputOf(current))
	}
	// A repeat gets the answer of the first, whatever became of the replay since.
	return AdminCreateReplay202JSONResponse{
		Body: BulkReplayAccepted{ReplayID: replayID, Status: BulkReplayStatus(store.ReplayRunning)},
		Headers: AdminCreateReplay202ResponseHeaders{
			Location:            new("/api/v1/admin/replays/" + replayID),
			IdempotencyReplayed: flag(replayed),
		},
	}, nil
}

func (h *handlers) previewReplay(ctx context.Context, filter store.ReplayFilter) (AdminCreateReplayResponseObject, error) {
	preview, err := h.db.PreviewReplay(ctx, callOf(ctx).key.ProjectID, filter, replaySample)
	return AdminCreateReplay200JSONResponse{DryRun: true, Total: preview.Total, Sample: each(preview.Sample, orderBody)}, err
}

// AdminGetReplay reads a bulk replay with its progress.
func (h *handlers) AdminGetReplay(ctx context.Context, r AdminGetReplayRequestObject) (AdminGetReplayResponseObject, error) {
	_, body, err := h.readReplay(ctx, r.ID)
	return AdminGetReplay200JSONResponse(body), err
}

func (h *handlers) readReplay(ctx context.Context, replayID string) (store.BulkReplay, BulkReplay, error) {
	replay, progress, err := h.db.GetReplay(ctx, callOf(ctx).key.ProjectID, replayID)
	body := replayBody(replay)
	body.Progress = &progress
	return replay, body, orElse(err, errReplayNotFound)
}

// AdminListReplays lists bulk replays, newest first.
func (h *handlers) AdminListReplays(ctx context.Context, r AdminListReplaysRequestObject) (AdminListReplaysResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	replays, err := h.db.ListReplays(ctx, callOf(ctx).key.ProjectID, value(r.Params.Cursor), limit+1)
	items, next := page(replays, limit, func(r store.BulkReplay) string { return r.ReplayID })
	return AdminListReplays200JSONResponse{Items: each(items, replayBody), NextCursor: next}, err
}

// AdminPauseReplay stops a bulk replay from beginning orders.
func (h *handlers) AdminPauseReplay(ctx context.Context, r AdminPauseReplayRequestObject) (AdminPauseReplayResponseObject, error) {
	body, err := h.changeReplay(ctx, r.ID, store.PauseReplay, r.Body.Reason)
	return AdminPauseReplay200JSONResponse(body), err
}

// AdminResumeReplay lets a paused bulk replay go on.
func (h *handlers) AdminResumeReplay(ctx context.Context, r AdminResumeReplayRequestObject) (AdminResumeReplayResponseObject, error) {
	body, err := h.changeReplay(ctx, r.ID, store.ResumeReplay, r.Body.Reason)
	return AdminResumeReplay200JSONResponse(body), err
}

// AdminCancelReplay skips what a bulk replay has not begun.
func (h *handlers) AdminCancelReplay(ctx context.Context, r AdminCancelReplayRequestObject) (AdminCancelReplayResponseObject, error) {
	body, err := h.changeReplay(ctx, r.ID, store.CancelReplay, r.Body.Reason)
	return AdminCancelReplay200JSONResponse(body), err
}

// changeReplay writes the change, which is what counts, then has the workflow told.
func (h *handlers) changeReplay(ctx context.Context, replayID string, command store.ReplayCommand, reason string) (BulkReplay, error) {
	key := callOf(ctx).key
	err := h.db.ChangeReplay(ctx, postgres.ReplayChange{
		ProjectID: key.ProjectID,
		ReplayID:  replayID,
		Command:   command,
		Actor:     key.KeyID,
		Reason:    reason,
	}, h.now())
	if errors.Is(err, postgres.ErrConflict) {
		return BulkReplay{}, fail(ProblemCodeReplayOver, "the replay is over or about to be; there is nothing left to "+string(command))
	}
	if err != nil {
		return BulkReplay{}, orElse(err, errReplayNotFound)
	}
	replay, body, err := h.readReplay(ctx, replayID)
	if err != nil {
		return BulkReplay{}, err
	}
	h.starter.Replay(contract.ReplayInputOf(replay))
	return body, nil
}

func replayBody(r store.BulkReplay) BulkReplay {
	filter := r.Filter
	filter.From, filter.To = utc(filter.From), utc(filter.To)
	return BulkReplay{
		ReplayID:      r.ReplayID,
		Status:        BulkReplayStatus(r.Status),
		Filter:        filter,
		RatePerSecond: r.RatePerSecond,
		Reason:        r.Reason,
		Actor:         r.Actor,
		Total:         r.Total,
		Report:        r.Report,
		CreatedAt:     r.CreatedAt.UTC(),
		StartedAt:     utc(r.StartedAt),
		FinishedAt:    utc(r.FinishedAt),
	}
}
