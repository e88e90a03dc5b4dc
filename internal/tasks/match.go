package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// rule is a task made ready for many events.
type rule struct {
	Task
	zone      *time.Location
	equals    []equal
	condition *Condition
}

type equal struct {
	field  string
	text   string
	number *decimal.Decimal // when the text is one: 5 and 5.0 are equal
}

// measure is what one event adds: an amount or, for distinct and streak, a mark.
type measure struct {
	amount decimal.Decimal
	mark   string
}

var one = decimal.NewFromInt(1)

func newRule(task Task) (*rule, error) {
	condition, err := NewCondition(task.Condition)
	if err != nil {
		return nil, err
	}
	r := &rule{Task: task, zone: task.Window.Zone(), condition: condition}
	for _, field := range slices.Sorted(maps.Keys(task.Equals)) {
		text := task.Equals[field]
		wanted := equal{field: field, text: text}
		if number, ok := readDecimal(text); ok {
			wanted.number = &number
		}
		r.equals = append(r.equals, wanted)
	}
	return r, nil
}

// Try says what an event by itself means for a task, whoever sent it and whenever: Counted with what it adds,
// or why not. It is the dry run of a definition. Days of a streak are counted as one each. An error is a
// condition that does not compile.
func (t Task) Try(event Event) (Decision, error) {
	r, err := newRule(t)
	if err != nil {
		return Decision{}, err
	}
	decision := Decision{TaskID: t.TaskID, Version: t.Version, Code: NotEqual}
	if event.Type != t.EventType {
		decision.Values = map[string]string{"field": "event_type", "value": event.Type, "expected": t.EventType}
		return decision, nil
	}
	found, code, values := r.match(&event)
	decision.Code, decision.Values = code, values
	if code == Counted {
		decision.Added = &found.amount
	}
	return decision, nil
}

// match looks at the event alone, without regard to windows.
func (r *rule) match(e *Event) (measure, Code, map[string]string) {
	if r.MinAmount != nil {
		switch {
		case !e.Amount.Valid:
			return measure{}, NoAmount, map[string]string{"min_amount": r.MinAmount.String()}
		case e.Amount.Decimal.LessThan(*r.MinAmount):
			return measure{}, TooSmall, map[string]string{"amount": e.Amount.Decimal.String(), "min_amount": r.MinAmount.String()}
		}
	}
	for i := range r.equals {
		if wanted := &r.equals[i]; !wanted.holds(e.Fields[wanted.field]) {
			value, _ := e.text(wanted.field)
			return measure{}, NotEqual, map[string]string{"field": wanted.field, "value": value, "expected": wanted.text}
		}
	}
	if code, values := r.condition.eval(e); code != Counted {
		return measure{}, code, values
	}
	return r.measure(e)
}

func (q *equal) holds(value any) bool {
	text, ok := scalar(value)
	if !ok {
		return false
	}
	if _, isNumber := value.(json.Number); isNumber && q.number != nil {
		number, ok := readDecimal(value)
		return ok && number.Equal(*q.number)
	}
	return text == q.text
}

func (r *rule) measure(e *Event) (measure, Code, map[string]string) {
	switch r.Count.Mode {
	case CountSum:
		return r.measureSum(e)
	case CountDistinct:
		text, ok := scalar(e.Fields[r.Count.Field])
		if !ok {
			return measure{}, ConditionFailed, map[string]string{
				"field": r.Count.Field,
				"error": "the event has no text, number or truth value there",
			}
		}
		return measure{one, distinctValue(e.Fields[r.Count.Field], text)}, Counted, nil
	case CountStreak:
		return measure{one, dayOf(r.zone, r.Window.ResetHour, e.OccurredAt).Format(time.DateOnly)}, Counted, nil
	default:
		return measure{amount: one}, Counted, nil
	}
}

// measureSum: what is added can't be taken away, so that the order of events does not matter.
func (r *rule) measureSum(e *Event) (measure, Code, map[string]string) {
	amount, ok := e.Amount.Decimal, e.Amount.Valid
	if r.Count.Field != "amount" {
		amount, ok = readDecimal(e.Fields[r.Count.Field])
	}
	switch {
	case !ok:
		value, _ := e.text(r.Count.Field)
		return measure{}, NoAmount, map[string]string{"field": r.Count.Field, "value": value}
	case !amount.IsPositive():
		return measure{}, TooSmall, map[string]string{"field": r.Count.Field, "value": amount.String()}
	default:
		return measure{amount: amount}, Counted, nil
	}
}

const maxMark = 64 // bytes of a value that a window remembers

// distinctValue: 5 and 5.0 are one value, and of a long one the window remembers its hash.
func distinctValue(value any, text string) string {
	if _, isNumber := value.(json.Number); isNumber {
		if number, ok := readDecimal(value); ok {
			return number.String()
		}
	}
	if len(text) <= maxMark {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:16])
}
