package tasks

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/quickpass/quickpass/internal/ledger"
	"github.com/quickpass/quickpass/internal/store"
)

// DefaultGraceSeconds is how late an event of a window may arrive if the task does not say.
const DefaultGraceSeconds = 300

const (
	maxGraceSeconds = 24 * 60 * 60
	maxDistinct     = 1000 // values that a window has to remember
	maxCount        = 1_000_000_000
)

// FieldError is one mistake in a task.
type FieldError struct {
	Field   string
	Message string
}

// WithDefaults fills in what was left out. A negative grace is one that was left out, because 0 is a choice.
func (t Task) WithDefaults() Task {
	t.Status = orDefault(t.Status, Draft)
	t.Count.Mode = orDefault(t.Count.Mode, CountEvents)
	if t.Count.Mode == CountSum {
		t.Count.Field = orDefault(t.Count.Field, "amount")
	}
	t.Window.Kind = orDefault(t.Window.Kind, Calendar)
	t.Window.Unit = orDefault(t.Window.Unit, Day)
	t.Window.TimeZone = orDefault(t.Window.TimeZone, "UTC")
	if t.Window.GraceSeconds < 0 {
		t.Window.GraceSeconds = DefaultGraceSeconds
	}
	t.Activation = orDefault(t.Activation, Manual)
	return t
}

func orDefault[T ~string](value, otherwise T) T {
	if value == "" {
		return otherwise
	}
	return value
}

// Validate lists every mistake at once. That required tasks exist, and that chains have an end
// (RequiresCycle), is for the caller to check, who knows the other tasks.
func (t Task) Validate() []FieldError {
	var errs []FieldError
	check := func(ok bool, field, message string) {
		if !ok {
			errs = append(errs, FieldError{field, message})
		}
	}
	check(t.Status == Draft || t.Status == Published, "status", "draft or published")
	check(store.Printable(t.Name, 1, 200), "name", "1 to 200 printable characters")
	check(store.Printable(t.Description, 0, 2000), "description", "at most 2000 printable characters")
	check(validEventType(t.EventType), "event_type", eventTypeRule)
	t.validateMatch(check)
	t.validateCount(check)
	t.Window.validate(check)
	check(t.Activation == Manual || t.Activation == Automatic, "activation", "manual or automatic")
	t.validateRequires(check)
	check(t.StartsAt == nil || t.StartsAt.Nanosecond() == 0, "starts_at", "in whole seconds")
	check(t.EndsAt == nil || t.EndsAt.Nanosecond() == 0, "ends_at", "in whole seconds")
	check(t.StartsAt == nil || t.EndsAt == nil || t.StartsAt.Before(*t.EndsAt), "ends_at", "after starts_at")
	t.Audience.validate(check)
	t.validateReward(check)
	return errs
}

type checkFunc = func(ok bool, field, message string)

func (t Task) validateMatch(check checkFunc) {
	check(t.MinAmount == nil || (!t.MinAmount.IsNegative() && boundedDecimal(*t.MinAmount)), "min_amount", "0 or more, at most 18 digits before and 8 after the point")
	check(len(t.Equals) <= 20, "equals", "at most 20 fields")
	for name, value := range t.Equals {
		check(store.Printable(name, 1, 64) && store.Printable(value, 0, 200), "equals", "names of 1 to 64 and values of at most 200 printable characters")
	}
	if _, err := NewCondition(t.Condition); err != nil {
		check(false, "condition", err.Error())
	}
}

func (t Task) validateCount(check checkFunc) {
	field := t.Count.Field
	whole := t.Target.IsInteger()
	most := decimal.NewFromInt(maxCount)
	switch t.Count.Mode {
	case CountEvents:
		check(field == "", "count.field", "only for sum and distinct")
	case CountSum:
		check(store.Printable(field, 1, 64), "count.field", "1 to 64 printable characters")
		whole, most = boundedDecimal(t.Target), tooLargeAmount
	case CountDistinct:
		check(store.Printable(field, 1, 64), "count.field", "the field whose values are counted: 1 to 64 printable characters")
		most = decimal.NewFromInt(maxDistinct)
	case CountStreak:
		check(field == "", "count.field", "only for sum and distinct")
		most = decimal.NewFromInt(t.Window.days())
	default:
		check(false, "count.mode", "events, sum, distinct or streak")
	}
	check(t.Target.IsPositive() && t.Target.LessThanOrEqual(most) && whole, "target",
		"above 0 and at most "+most.String()+" for this count and window; whole, or with at most 8 decimals for a sum")
}

// boundedDecimal: as many digits as an amount may have.
func boundedDecimal(d decimal.Decimal) bool {
	return d.Exponent() >= -maxDecimals && d.Exponent() <= maxWholeDigits && d.Abs().LessThan(tooLargeAmount)
}

// days that every window has: more days in a row could not be reached in February.
func (r WindowRule) days() int64 {
	switch r.Unit {
	case Month:
		return 28
	case Week:
		return 7
	default:
		return 1
	}
}

func (r WindowRule) validate(check checkFunc) {
	check(r.Kind == Calendar || r.Kind == Rolling, "window.kind", "calendar or rolling")
	check(r.Unit == Day || r.Unit == Week || r.Unit == Month, "window.unit", "day, week or month")
	zone, err := time.LoadLocation(r.TimeZone)
	check(err == nil && zone != time.Local, "window.time_zone", "an IANA time zone, such as Europe/Moscow")
	check(r.ResetHour >= 0 && r.ResetHour <= 23, "window.reset_hour", "from 0 to 23")
	check(r.GraceSeconds >= 0 && r.GraceSeconds <= maxGraceSeconds, "window.grace_seconds", "from 0 to 86,400 (a day)")
}

func (t Task) validateRequires(check checkFunc) {
	check(len(t.Requires) <= 20, "requires", "at most 20 tasks")
	sorted := slices.Sorted(slices.Values(t.Requires))
	check(len(slices.Compact(sorted)) == len(t.Requires), "requires", "each task once")
	for _, id := range t.Requires {
		check(id > 0, "requires", "ids of tasks")
		check(id != t.TaskID || id <= 0, "requires", "a task can't require itself")
	}
}

func (a Audience) validate(check checkFunc) {
	check(len(a.Attributes) <= 20, "audience.attributes", "at most 20 attributes")
	for name, value := range a.Attributes {
		check(store.Printable(name, 1, 64) && store.Printable(value, 0, 200), "audience.attributes", "names of 1 to 64 and values of at most 200 printable characters")
	}
	check(len(a.UserIDs) <= 1000, "audience.user_ids", "at most 1000 users")
	check(!slices.ContainsFunc(a.UserIDs, func(id string) bool { return !store.Printable(id, 1, maxText) }), "audience.user_ids", "ids of 1 to 64 printable characters")
}

var itemPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)

func (t Task) validateReward(check checkFunc) {
	coins := t.Reward.Coins
	check(coins >= 0 && coins <= ledger.MaxCoins, "reward.coins", "from 0 to 1,000,000,000,000 coins")
	if part := t.Reward.MainProduct; part != nil {
		check(store.Printable(part.RewardType, 1, 64), "reward.main_product.reward_type", "1 to 64 printable characters")
		check(part.Amount.IsPositive() && boundedDecimal(part.Amount) && part.Amount.LessThanOrEqual(decimal.NewFromInt(ledger.MaxCoins)),
			"reward.main_product.amount", "above 0, at most 1,000,000,000,000, at most 8 decimals")
	}
	check(len(t.Reward.Items) <= 20, "reward.items", "at most 20 items")
	for i, item := range t.Reward.Items {
		check(itemPattern.MatchString(item.SKU), fmt.Sprintf("reward.items[%d].sku", i), "the SKU of an item of the catalog")
		check(item.Quantity >= 1 && item.Quantity <= 1_000_000, fmt.Sprintf("reward.items[%d].quantity", i), "from 1 to 1,000,000")
		twice := slices.ContainsFunc(t.Reward.Items[:i], func(other ItemReward) bool { return other.SKU == item.SKU })
		check(!twice, fmt.Sprintf("reward.items[%d].sku", i), "each item once")
	}
	validateCap := func(limit int64, field string) {
		check(limit >= 0 && limit <= ledger.MaxCoins, field, "from 0 (no bound) to 1,000,000,000,000 coins")
		check(limit <= 0 || coins > 0, field, "only for a task that rewards coins")
		check(limit <= 0 || limit >= coins, field, "not less than the coins of one reward")
	}
	validateCap(t.Budget.TotalCoins, "budget.total_coins")
	validateCap(t.Budget.PerUser, "budget.per_user")
}

// RequiresCycle finds a chain of tasks that nobody could begin because it runs in a circle: the ids along it,
// nil if there is none.
func RequiresCycle(all []Task) []int64 {
	requires := make(map[int64][]int64, len(all))
	for _, task := range all {
		requires[task.TaskID] = task.Requires
	}
	done := make(map[int64]bool, len(all))
	var path []int64
	var visit func(id int64) []int64
	visit = func(id int64) []int64 {
		if at := slices.Index(path, id); at >= 0 {
			return slices.Clone(path[at:])
		}
		if done[id] {
			return nil
		}
		path = append(path, id)
		for _, required := range requires[id] {
			if cycle := visit(required); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		done[id] = true
		return nil
	}
	for _, task := range all {
		if cycle := visit(task.TaskID); cycle != nil {
			return cycle
		}
	}
	return nil
}
