package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
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

func (s *taskStream) VisitStreamUserTasksResponse(w http.ResponseWriter) error {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would collect it
	refresh, heartbeat := time.NewTicker(streamRefresh), time.NewTicker(streamHeartbeat)
	defer refresh.Stop()
	defer heartbeat.Stop()
	if err := s.call.send(w, []byte("retry: 2000\n\n"), s.timeout); err != nil { // the client knows at once that it is heard
		return err
	}
	for {
		event, err := s.news()
		if err == nil && event != nil {
			err = s.call.send(w, event, s.timeout)
		}
		if err != nil {
			return err
		}
		select {
		case <-refresh.C:
		case <-heartbeat.C:
			if err := s.call.send(w, []byte(":\n\n"), s.timeout); err != nil {
				return err
			}
		case <-s.call.client.Done():
			return nil
		case <-s.stopping:
			return nil
		}
	}
}

// news is the list if it is another than the one that the client has.
func (s *taskStream) news() ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.call.client, s.timeout)
	defer cancel()
	list, err := s.userTasks(ctx, s.call.key.ProjectID, s.userID)
	if err != nil {
		return nil, err
	}
	id, err := taskListID(list)
	if err != nil || id == s.last {
		return nil, err
	}
	encoded, err := json.Marshal(UserTasks{Tasks: list})
	if err != nil {
		return nil, err
	}
	s.last = id
	var buf bytes.Buffer
	_, err = fmt.Fprintf(&buf, "id: %s\nevent: tasks\ndata: %s\n\n", id, encoded)
	return buf.Bytes(), err
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
