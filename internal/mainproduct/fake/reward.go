package fake

import (
	"encoding/json"
	"errors"
	"net/http"
)

// reward serves the call of seed 001, "Main Product Reward Processing". Its Idempotency-Key is demanded, so
// that a client that forgets it is found out.
func (s *Server) reward(w http.ResponseWriter, r *http.Request) {
	order, err := readReward(w, r)
	if err != nil {
		refusalReply(Refusal{Code: CodeInvalidRequest, Message: err.Error()}, 0).write(w)
		return
	}
	s.give(w, r, OnReward, order)
}

// readReward demands the types of seed 001, as readOrder does those of seed 000.
func readReward(w http.ResponseWriter, r *http.Request) (Order, error) {
	var body struct {
		UserID     string          `json:"user_id"`
		RewardType string          `json:"reward_type"`
		Amount     json.RawMessage `json:"amount"`
		TaskID     int64           `json:"task_id"`
		Reason     string          `json:"reason"`
	}
	if err := readBody(w, r, &body); err != nil {
		return Order{}, err
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" || body.UserID == "" || body.RewardType == "" || body.TaskID <= 0 || body.Reason == "" {
		return Order{}, errors.New("user_id, reward_type, task_id, reason and the header Idempotency-Key are required")
	}
	amount, err := readAmount(body.Amount)
	if err != nil {
		return Order{}, err
	}
	return Order{
		OrderID:  key,
		UserID:   body.UserID,
		Amount:   amount,
		Currency: body.RewardType,
		TaskID:   body.TaskID,
		Reason:   body.Reason,
	}, nil
}
