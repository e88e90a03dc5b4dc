package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Requirements say who may buy (seed 000, "Privileges").
type Requirements struct {
	VIP            bool              `json:"vip,omitempty"`
	CompletedTasks TaskIDs           `json:"completed_tasks,omitempty"`
	Attributes     map[string]string `json:"attributes,omitempty"` // of the user, each must be equal
}

// TaskIDs are ids of tasks as text. JSON may name them by their numbers too.
type TaskIDs []string

// UnmarshalJSON takes texts and whole numbers.
func (ids *TaskIDs) UnmarshalJSON(encoded []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(encoded, &list); err != nil {
		return err
	}
	*ids = nil
	for _, item := range list {
		var text string
		if err := json.Unmarshal(item, &text); err != nil {
			var number int64
			if err := json.Unmarshal(item, &number); err != nil {
				return err
			}
			text = strconv.FormatInt(number, 10)
		}
		*ids = append(*ids, text)
	}
	return nil
}

func (r Requirements) check(buyer Buyer) *Refusal {
	if r.VIP && !buyer.VIP {
		return refuse(NotEligible, "only VIP users can buy it")
	}
	for _, task := range r.CompletedTasks {
		if !slices.Contains(buyer.CompletedTasks, task) {
			return refuse(NotEligible, "the task "+task+" must be completed first")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		if buyer.Attributes[name] != r.Attributes[name] {
			return refuse(NotEligible, fmt.Sprintf("only users with the attribute %s = %s can buy it", name, r.Attributes[name]))
		}
	}
	return nil
}

func (r Requirements) validate(check func(ok bool, field, message string)) {
	check(len(r.CompletedTasks) <= 20, "requires.completed_tasks", "at most 20 tasks")
	check(len(r.Attributes) <= 20, "requires.attributes", "at most 20 attributes")
	for _, task := range r.CompletedTasks {
		check(skuPattern.MatchString(task), "requires.completed_tasks", "ids of tasks")
	}
	for name, value := range r.Attributes {
		check(Printable(name, 1, 64) && Printable(value, 0, 200), "requires.attributes", "names of 1 to 64 and values of at most 200 printable characters")
	}
}
