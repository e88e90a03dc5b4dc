package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// StreamUserTasks follows a user's tasks as server-sent events (seed 001, "What the User Sees").
func (h *handlers) StreamUserTasks(ctx context.Context, r StreamUserTasksRequestObject) (StreamUserTasksResponseObject, error) {
	if _, err := h.user(ctx, r.ID); err != nil {
		return nil, err
	}
	if !callOf(ctx).moveTo(h.waiting) {
		return nil, errOverloaded("too many streams are open")
	}
	return &taskStream{handlers: h, call: callOf(ctx), userID: r.ID, last: value(r.Params.LastEventID)}, nil
}

// taskStream is an answer that is written whenever the list has changed.
type taskStream struct {
	*handlers
	call   *call
	userID string
	last   string // stands for the list that the client has
}

// VisitStreamUserTasksResponse writes the list as it is, and each time it has changed, which only a look tells.
func (s *taskStream) VisitStreamUserTasksResponse(w http.ResponseWriter) error {
	return s.follow(w, s.call, nil, s.news)
}

// news is the list if it is another than the one that the client has; there is never a last one.
func (s *taskStream) news(ctx context.Context) (event []byte, last bool, err error) {
	list, err := s.userTasks(ctx, s.call.key.ProjectID, s.userID)
	if err != nil {
		return nil, false, err
	}
	id, err := taskListID(list)
	if err != nil || id == s.last {
		return nil, false, err
	}
	s.last = id
	event, err = appendEvent(nil, "tasks", id, UserTasks{Tasks: list})
	return event, false, err
}

// taskListID stands for all that a list shows but the seconds that are left, which the client counts down by itself.
func taskListID(list []UserTask) (string, error) {
	still := each(list, func(t UserTask) UserTask {
		t.SecondsLeft = nil
		return t
	})
	encoded, err := json.Marshal(still)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(encoded)
	return base64.RawURLEncoding.EncodeToString(hash[:16]), nil
}
